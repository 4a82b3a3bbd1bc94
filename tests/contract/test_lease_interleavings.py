"""Claims, renewals, releases and appends in any order, under clocks that disagree.

What a lease means is told a second time here, in a few lines, and every log must agree with it.
More of them: `pytest -m slow tests/contract/test_lease_interleavings.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sleepmem.errors import AgentHeld, LeaseLost
from sleepmem.leases import LEASE, LEASE_S
from sleepmem.protocols import EpisodeLog
from sleepmem.store import MemoryEpisodeLog, open_log
from sleepmem.testing.life import BIRTH, FINGERPRINT
from sleepmem.types import MAIN, LoggedMessage, Role, Thread

WHO = ("one", "two", "three")
who = st.sampled_from(WHO)
seconds = st.sampled_from([0.0, 1.0, LEASE_S / 2, LEASE_S, 2 * LEASE_S])
claims = st.tuples(st.just("claim"), who, st.sampled_from(["", "last", "stale"]))
appends = st.tuples(st.just("append"), who)
steps = st.one_of(
    claims,
    appends,
    claims,
    appends,
    st.tuples(st.just("renew"), who),
    st.tuples(st.just("release"), who),
    st.tuples(st.just("pass"), who, seconds),
    st.tuples(st.just("jump"), who, st.sampled_from([-1e6, -LEASE_S, 1.0, LEASE_S, 1e6])),
)


@dataclass
class Lease:
    """What is true of the one agent that all fight for."""

    epoch: int = 0
    holder: str | None = None
    until: datetime = BIRTH
    said: list[int] = field(default_factory=list)


@dataclass
class Fight:
    """Plays steps on a log and asserts that it does what a lease means."""

    log: EpisodeLog
    agent: str
    truth: Lease = field(default_factory=Lease)
    epochs: dict[str, int] = field(default_factory=dict)
    clocks: dict[str, datetime] = field(default_factory=lambda: dict.fromkeys(WHO, BIRTH))
    thread: Thread | None = None

    async def play(self, step: tuple[Any, ...]) -> None:
        verb, *given = step
        await getattr(self, f"_{verb}")(*given)

    async def _claim(self, name: str, over: str) -> None:
        truth, now = self.truth, self.clocks[name]
        epoch = {"": None, "last": truth.epoch, "stale": truth.epoch - 1}[over]
        is_held = truth.holder not in (None, name) and now < truth.until
        claiming = self.log.claim(
            self.agent,
            fingerprint=FINGERPRINT,
            holder=name + self.agent,
            create=True,
            now=now,
            over=epoch,
        )
        if is_held and over != "last":
            with pytest.raises(AgentHeld) as caught:
                await claiming
            found = caught.value.holder, caught.value.epoch
            assert found == (f"{truth.holder}{self.agent}", truth.epoch)
            return
        claimed = await claiming
        assert not truth.epoch or claimed == truth.epoch + 1
        truth.epoch, truth.holder, truth.until = claimed, name, now + LEASE
        self.epochs[name] = claimed

    async def _append(self, name: str) -> None:
        epoch = self.epochs.get(name)
        if epoch is None:
            return
        token_id = len(self.truth.said) + 1
        try:
            self.thread = self.thread or await self.log.thread(
                self.agent, epoch, branch=MAIN, name=MAIN, system=None
            )
            message = LoggedMessage(role=Role.USER, content="x", token_ids=(token_id,))
            await self.log.stage(
                self.thread, epoch, [message], request_id=None, done=True, now=self.clocks[name]
            )
        except LeaseLost:
            assert epoch != self.truth.epoch
        else:
            assert epoch == self.truth.epoch, "who lost the lease has written"
            self.truth.said.append(token_id)

    async def _renew(self, name: str) -> None:
        holds, holder = self.truth.holder == name, name + self.agent
        renewed = await self.log.renew(holder, now=self.clocks[name])
        assert renewed == (self.truth.epoch if holds else 0)
        assert await self.log.held(holder) == ({self.agent} if holds else frozenset())
        if holds:
            self.truth.until = self.clocks[name] + LEASE

    async def _release(self, name: str) -> None:
        await self.log.release(name + self.agent)
        if self.truth.holder == name:
            self.truth.holder = None

    async def _pass(self, _: str, seconds: float) -> None:
        for name in WHO:
            self.clocks[name] += timedelta(seconds=seconds)

    async def _jump(self, name: str, seconds: float) -> None:
        self.clocks[name] += timedelta(seconds=seconds)

    async def lived(self) -> list[int]:
        if self.thread is None:
            return []
        return list((await self.log.open_episode(self.thread)).token_ids)


@dataclass
class Arena:
    """A log that many agents are fought for on, one after the other; opening takes too long."""

    runner: asyncio.Runner
    log: EpisodeLog
    names: Iterator[str] = field(default_factory=lambda: (f"agent {n}" for n in count()))

    def fight(self, script: list[tuple[Any, ...]]) -> tuple[list[int], list[int]]:
        """Return what was acknowledged and what the log then holds."""
        return self.runner.run(self._fight(script))

    async def _fight(self, script: list[tuple[Any, ...]]) -> tuple[list[int], list[int]]:
        fight = Fight(self.log, next(self.names))
        for step in script:
            await fight.play(step)
        return fight.truth.said, await fight.lived()


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def arena(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Arena]:
    url = f"sqlite:///{tmp_path / 'agents.db'}"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
    with asyncio.Runner() as runner:
        is_sql = request.param != "memory"
        log: EpisodeLog = runner.run(open_log(url)) if is_sql else MemoryEpisodeLog()
        yield Arena(runner, log)
        runner.run(log.aclose())


any_fight = given(script=st.lists(steps, min_size=8, max_size=24))
at_leisure = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}


@settings(max_examples=30, **at_leisure)
@any_fight
def test_any_fight_has_one_writer_at_a_time(arena: Arena, script: list[tuple[Any, ...]]) -> None:
    acknowledged, lived = arena.fight(script)
    assert lived == acknowledged


@pytest.mark.slow
@settings(max_examples=1_000, **at_leisure)
@any_fight
def test_any_of_many_fights(arena: Arena, script: list[tuple[Any, ...]]) -> None:
    acknowledged, lived = arena.fight(script)
    assert lived == acknowledged
