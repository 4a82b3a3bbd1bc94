"""What was said is in the log and the replies: not in records, not in errors, not in events."""

from __future__ import annotations

import logging
import sqlite3
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sleepmem import SleepMemory
from sleepmem.errors import SleepmemError
from sleepmem.events import Event
from sleepmem.testing import FakeSleepLM
from sleepmem.types import Outcome

CANARY = "canary-7919"
FORMAT = logging.Formatter("%(levelname)s %(name)s %(message)s")


@pytest.fixture
def told() -> list[Event]:
    return []


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "agents.db"


@pytest.fixture
def opened(db: Path, told: list[Event]) -> Any:
    @asynccontextmanager
    async def open_(**options: Any) -> AsyncIterator[SleepMemory]:
        lm = FakeSleepLM(200)
        options = {"max_tokens": 16, "min_tokens": 4, "passes": 1, **options}
        async with SleepMemory(str(db), model=lm, on_event=told.append, **options) as memory:
            yield memory

    return open_


def texts_of(error: BaseException | None) -> Iterator[str]:
    """Yield all that a log would show of an error and of its causes."""
    if error is not None:
        yield from traceback.format_exception(error)


async def failing(call: Any) -> str:
    """Return all that is shown of an error that the call must end in."""
    with pytest.raises(SleepmemError) as caught:
        await call
    return "".join(texts_of(caught.value))


def shown(caplog: pytest.LogCaptureFixture) -> str:
    """Return what was logged at INFO and above, and the fields of each record."""
    loud = [record for record in caplog.records if record.levelno >= logging.INFO]
    assert loud
    ours = [record for record in loud if record.name.startswith("sleepmem.")]
    assert ours
    return "\n".join(FORMAT.format(record) + repr(record.__dict__) for record in loud)


async def test_a_life_and_its_troubles_are_told_without_a_word_of_it(
    opened: Any, db: Path, told: list[Event], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    secret = f"pet={CANARY.replace('-', '_')} {CANARY}"
    errors = []
    async with opened(retention_floor=1e9) as memory:
        ana = await memory.agent("ana")
        ana.thread(system=f"keep {CANARY}")
        await ana.say(secret, request_id="r1")
        stream = ana.stream(f"and {CANARY}?")
        await anext(stream)
        await stream.aclose()
        await ana.observe(
            [{"role": "user", "content": CANARY}, {"role": "tool", "content": CANARY}]
        )
        assert (await ana.sleep()).outcome is Outcome.REJECTED
        assert (await ana.sleep(force=True)).outcome is Outcome.SLEPT
        wrong = (
            f"{CANARY}\0",
            {"role": CANARY, "content": CANARY},
            {"role": "user", "content": "x", "also": CANARY},
            {"role": "user", "content": [CANARY]},
        )
        errors += [await failing(ana.say(message)) for message in wrong]
        errors.append(await failing(ana.thread("side").say(secret, request_id="r1")))
    async with opened() as memory:  # as after a kill: somebody else's turn was left staged
        ana = await memory.agent("ana")
        assert CANARY.replace("-", "_")[:6] in (await ana.say("pet?")).text
        with sqlite3.connect(db) as connection:
            connection.execute(
                "CREATE TRIGGER full BEFORE INSERT ON sleepmem_message "
                "BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
            )
            connection.execute(
                "CREATE TRIGGER none BEFORE INSERT ON sleepmem_sleep "
                "BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
            )
        connection.close()
        errors.append(await failing(ana.say(f"more of {secret}")))
        assert (await ana.sleep(force=True)).outcome is Outcome.FAILED
        with sqlite3.connect(db) as connection:
            connection.execute("DROP TRIGGER full")
            connection.execute("UPDATE sleepmem_message SET tool_calls = content")
        connection.close()
        errors.append(await failing(ana.say("pet?")))
    for text in (shown(caplog), "\n".join(errors), repr(told)):
        assert "canary" not in text
