"""The chat model as a user has it: nothing but a database and the checkpoint that is shipped."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sleepmem import SleepChatModel
from sleepmem.chat.home import close_shared
from sleepmem.errors import CheckpointNotFound


@pytest.fixture(scope="module", autouse=True)
def _checkpoint() -> Iterator[None]:
    from sleepmem.model.checkpoint import checkpoint_folder

    try:
        checkpoint_folder("sleepmem/tiny-2")
    except CheckpointNotFound:
        pytest.skip("installed without its checkpoint")
    yield
    close_shared()


def test_models_over_one_database_share_its_memory(tmp_path: Path) -> None:
    db = str(tmp_path / "agents.db")
    first, second = (SleepChatModel(agent_id="ana", db=db, max_tokens=4) for _ in range(2))
    reply = first.invoke("hello")
    talk = [("human", "hello"), reply, ("human", "and again")]
    again = asyncio.run(second.ainvoke(talk))
    metadata = again.response_metadata["sleepmem"]
    assert metadata["window_tokens"] > reply.response_metadata["sleepmem"]["window_tokens"]


def test_process_that_used_a_model_ends_by_itself(tmp_path: Path) -> None:
    code = (
        "from sleepmem import SleepChatModel\n"
        f"model = SleepChatModel(agent_id='ana', db={str(tmp_path / 'a.db')!r}, max_tokens=4)\n"
        "model.invoke('hello')\n"
        "next(model.stream('hello'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
