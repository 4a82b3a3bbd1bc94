"""What every `EpisodeLog` must do with leases; part of `EpisodeLogContract`."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from sleepmem.errors import AgentHeld, ConfigError, FingerprintMismatch, LeaseLost
from sleepmem.leases import LEASE
from sleepmem.protocols import EpisodeLog
from sleepmem.testing.life import BIRTH, FINGERPRINT, Life

LATER = BIRTH + LEASE
JUST_BEFORE = LATER - timedelta(microseconds=1)


class LeaseContract:
    """Who holds an agent, and when another may claim it."""

    async def test_held_agent_is_refused_until_its_lease_expires(self, log: EpisodeLog) -> None:
        life = await Life.born(log)
        for moment in (BIRTH, JUST_BEFORE, BIRTH - timedelta(days=1)):
            with pytest.raises(AgentHeld) as caught:
                await claim(log, "other", moment)
            held = caught.value
            assert (held.agent, held.holder, held.epoch) == ("ana", "test", life.epoch)
            assert held.expires_at == LATER
        await life.stage()
        assert await claim(log, "other", LATER) == life.epoch + 1
        with pytest.raises(LeaseLost):
            await life.stage()

    async def test_holder_claims_its_own_again(self, log: EpisodeLog) -> None:
        first = await Life.born(log)
        assert await claim(log, "test", BIRTH) == first.epoch + 1
        with pytest.raises(LeaseLost):
            await first.stage()

    async def test_renewed_lease_lasts_longer(self, log: EpisodeLog) -> None:
        life = await Life.born(log)
        assert await log.renew("test", now=BIRTH + LEASE / 2) == life.epoch
        with pytest.raises(AgentHeld) as caught:
            await claim(log, "other", LATER)
        assert caught.value.expires_at == LATER + LEASE / 2
        await life.stage()
        await claim(log, "other", LATER + LEASE / 2)

    async def test_renewal_after_expiry_counts_if_nobody_came(self, log: EpisodeLog) -> None:
        life = await Life.born(log)
        assert await log.renew("test", now=LATER + LEASE) == life.epoch
        with pytest.raises(AgentHeld):
            await claim(log, "other", LATER + LEASE)
        await life.stage()

    async def test_renewal_tells_what_is_held_and_revives_nothing(self, log: EpisodeLog) -> None:
        ana, bob, eve = [await Life.born(log, name) for name in ("ana", "bob", "eve")]
        assert await log.renew("test", now=BIRTH) == ana.epoch + bob.epoch + eve.epoch
        await claim(log, "other", LATER)
        assert await log.renew("test", now=LATER) == bob.epoch + eve.epoch
        assert await log.held("test") == {"bob", "eve"}
        assert await log.renew("other", now=LATER) == ana.epoch + 1
        assert await log.held("other") == {"ana"}
        assert await log.renew("nobody", now=LATER) == 0
        assert await log.held("nobody") == frozenset()
        with pytest.raises(LeaseLost):
            await ana.stage()

    async def test_released_agents_are_free_at_once(self, log: EpisodeLog) -> None:
        ana, bob = await Life.born(log, "ana"), await Life.born(log, "bob")
        await claim(log, "other", LATER)
        await log.release("test")
        assert await log.renew("test", now=LATER) == 0
        assert await claim(log, "third", BIRTH, "bob") == bob.epoch + 1
        with pytest.raises(AgentHeld):
            await claim(log, "third", LATER)
        assert await log.renew("test", now=LATER) == 0
        await log.release("test")
        await log.release("nobody")
        with pytest.raises(LeaseLost):
            await ana.stage()

    async def test_what_was_given_back_may_be_written_until_somebody_claims(
        self, log: EpisodeLog
    ) -> None:
        """A release is no fence: what is under way when a process ends comes to its end."""
        life = await Life.born(log)
        turn = await life.stage()
        await log.release("test")
        await life.finish(turn)
        await claim(log, "other", BIRTH)
        with pytest.raises(LeaseLost):
            await life.stage()

    async def test_epoch_that_is_claimed_over_is_taken_and_no_later_one(
        self, log: EpisodeLog
    ) -> None:
        life = await Life.born(log)
        second = await claim(log, "other", BIRTH, over=life.epoch)
        assert second == life.epoch + 1
        with pytest.raises(AgentHeld) as caught:
            await claim(log, "third", BIRTH, over=life.epoch)
        assert (caught.value.holder, caught.value.epoch) == ("other", second)
        assert await claim(log, "third", BIRTH, over=second) == second + 1

    async def test_held_agent_of_another_model_is_that_first(self, log: EpisodeLog) -> None:
        await Life.born(log)
        with pytest.raises(FingerprintMismatch):
            await log.claim("ana", fingerprint="0" * 64, holder="other", create=True, now=BIRTH)

    @pytest.mark.parametrize("holder", ["", "\0", "\ud800", "x" * 60_000])
    async def test_impossible_holders_hold_nothing(self, log: EpisodeLog, holder: str) -> None:
        await Life.born(log, "bob")
        await log.release("test")
        await Life.born(log)
        with pytest.raises(ConfigError):
            await claim(log, holder, LATER)
        assert await log.renew(holder, now=LATER) == 0
        assert await log.held(holder) == frozenset()
        await log.release(holder)
        with pytest.raises(AgentHeld):
            await claim(log, "other", BIRTH)


async def claim(
    log: EpisodeLog, holder: str, now: datetime, agent: str = "ana", over: int | None = None
) -> int:
    """Claim an agent that there is."""
    return await log.claim(
        agent, fingerprint=FINGERPRINT, holder=holder, create=False, now=now, over=over
    )
