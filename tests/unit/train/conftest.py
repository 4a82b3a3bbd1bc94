from __future__ import annotations

import pytest
from small_tasks import SMALL_TASKS

from sleepmem.train.tasks import TASKS


@pytest.fixture
def small_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs find the small tasks by name."""
    for name, task in SMALL_TASKS.items():
        monkeypatch.setitem(TASKS, name, f"small_tasks:{task.__name__}")
