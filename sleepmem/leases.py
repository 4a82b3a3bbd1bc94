"""Leases: which process lives with an agent, and how long others wait for it.

A lease is a row of the log: an epoch that only rises, a holder, and a moment at which it expires.
Safety rests on the epoch alone: every write names the epoch of the claim that it is made under,
and is refused once a later claim has raised it. Holders and clocks only say how long somebody
waits before he claims. Where they are wrong a holder gets `LeaseLost`, and no message is lost.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol

HEARTBEAT_S = 5.0
LEASE_S = 3 * HEARTBEAT_S  # two late heartbeats are forgiven; a dead machine's agents wait no more
WAIT_S = 2 * LEASE_S  # whoever waits for a dead machine outlives its lease
LEASE = timedelta(seconds=LEASE_S)


class Leases(Protocol):
    """The part of an `EpisodeLog` that says who may write. One method is one transaction."""

    async def claim(
        self,
        agent: str,
        *,
        fingerprint: str,
        holder: str,
        create: bool,
        now: datetime,
        over: int | None = None,
    ) -> int:
        """Take the agent for `holder` and return the new epoch; older epochs can no longer write.

        Nor can those of a deleted agent of that name: no epoch comes twice.
        Creates the agent with branch `main` if it is unknown and `create`.

        Args:
            now: the lease expires `LEASE` later, unless it is renewed.
            over: an epoch whose lease is ended, expired or not.

        Raises:
            AgentHeld: another holder's lease has not expired.
            AgentNotFound: unknown, and `create` is false.
            FingerprintMismatch: the agent lives with another model.
        """
        ...

    async def renew(self, holder: str, *, now: datetime) -> int:
        """Let the leases of `holder` expire `LEASE` after `now`.

        Return the sum of their epochs: one number, however many agents it holds, that is another
        one once an agent was lost. 0 is none.
        """
        ...

    async def held(self, holder: str) -> frozenset[str]:
        """Return the agents that `holder` holds."""
        ...

    async def release(self, holder: str) -> None:
        """Give back all that `holder` holds. Its epochs may write until somebody claims."""
        ...
