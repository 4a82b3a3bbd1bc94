from __future__ import annotations

import pytest
from nursery import Nursery


@pytest.fixture(scope="session")
def nursery() -> Nursery:
    return Nursery("killed_life", "killed_gc", "sleepmem.model.checkpoint")
