from __future__ import annotations

from typing import Any

from home import Home

from sleepmem.runtime.measure import BLOCK, scored_ids
from sleepmem.testing import FakeSleepLM
from sleepmem.types import Episode, Message, Role


def test_latest_whole_messages_are_scored() -> None:
    messages = [(1, 2), (3, 4, 5), (7, 8)]
    assert scored_ids(messages, 99) == [1, 2, 3, 4, 5, 7, 8]
    assert scored_ids(messages, 7) == [1, 2, 3, 4, 5, 7, 8]
    assert scored_ids(messages, 6) == [3, 4, 5, 7, 8]
    assert scored_ids(messages, 4) == [7, 8], "only whole ones, and none behind a gap"
    assert scored_ids(messages, 1) == [7], "a message that is too long counts as far as it fits"
    assert scored_ids([], 4) == []


async def test_interference_reads_no_more_of_a_long_life_than_it_needs(home: Home) -> None:
    n_read: list[int] = []
    lineage, ids_between = home.log.lineage, home.log.ids_between

    async def counted(*args: Any, **kwargs: Any) -> list[Episode]:
        found: list[Episode] = await lineage(*args, **kwargs)
        n_read.append(len(found))
        return found

    async def counted_ids(*args: Any) -> list[tuple[int, ...]]:
        n_read.append(1)
        return await ids_between(*args)  # type: ignore[no-any-return]

    async with home.memory() as memory:
        ana = await memory.agent("ana")
        for n in range(12):
            await ana.say(f"k{n}=v{n} and more")
            report = await ana.sleep()
            if n == 10:
                home.log.lineage, home.log.ids_between = counted, counted_ids
    assert report.measures is not None
    assert report.measures.interference is not None
    # four earlier episodes, and the ids of their messages and of those of the episode itself
    assert sum(n_read) == 4 + 4 + 1


async def test_measuring_gives_way_to_wake_work_after_every_block() -> None:
    home, told, sizes = Home(lm=FakeSleepLM(window=512)), "on and on " * 15, list[int]()
    read, loss = home.lm.read, home.lm.loss

    def counted(method: Any) -> Any:
        return lambda state, ids: sizes.append(len(ids)) or method(state, ids)

    async with home.memory() as memory:
        ana = await memory.agent("ana")
        for _ in range(2):
            await ana.observe(told)
            home.lm.read, home.lm.loss = counted(read), counted(loss)
            report = await ana.sleep()
    assert report.measures is not None
    n_scored = len(home.lm.encode(Message(role=Role.USER, content=told)))
    # first, again, read before cached, cached; the second sleep also two for interference
    assert sum(sizes) == (4 + 4 + 2) * n_scored
    assert max(sizes) == BLOCK < n_scored
