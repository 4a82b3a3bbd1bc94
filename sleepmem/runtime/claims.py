"""The agents that a memory holds: waited for, claimed, kept by a heartbeat, given back."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import secrets
from contextlib import suppress
from datetime import datetime
from functools import cache
from pathlib import Path
from weakref import WeakValueDictionary

from blake3 import blake3

from sleepmem.errors import AgentHeld, ConfigError, NotOpen, SleepmemError
from sleepmem.events import LeaseLost, Watcher, tell
from sleepmem.leases import HEARTBEAT_S, LEASE_S, Leases
from sleepmem.protocols import Clock
from sleepmem.runtime.parts import Lease

log = logging.getLogger(__name__)

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 0.5  # between two looks at an agent that is held


class Claims:
    """The leases of one memory; `aclose` gives them back.

    Of an agent that rests nothing is kept but its name and its epoch.

    Args:
        watcher: is told what was lost.

    Attributes:
        holder: names this memory among all that reach the log.
    """

    def __init__(self, leases: Leases, clock: Clock, watcher: Watcher | None) -> None:
        self.holder = new_holder()
        self._leases, self._clock, self._watcher = leases, clock, watcher
        self._held: dict[str, int] = {}  # epochs, also of agents that rest
        self._in_use: WeakValueDictionary[str, Lease] = WeakValueDictionary()
        self._claiming: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._heartbeat: asyncio.Task[None] | None = None
        self._is_closed = False

    async def lease(
        self, agent: str, *, fingerprint: str, create: bool, wait_s: float, take_over: bool
    ) -> Lease:
        """Return the claim on an agent, claimed if it is not held or was lost.

        Args:
            wait_s: how long another holder is waited for.
            take_over: claim at once, whoever holds it.

        Raises:
            AgentHeld, AgentNotFound, FingerprintMismatch, NotOpen
            ConfigError: `wait_s` is no number from 0 on.
        """
        wait = _Wait(self._clock, wait_s, take_over)
        while True:
            self._check_open()
            # not held while it waits: another caller may be in more of a hurry
            async with self._claiming.setdefault(agent, asyncio.Lock()):
                if agent in self._held:
                    return self._lease_of(agent)
                try:
                    return await self._claim(agent, fingerprint, create, wait.over)
                except AgentHeld as found:
                    held = found
            await wait.after(held)

    def forget(self, agent: str) -> None:
        """Regard the claim on an agent that was deleted as lost."""
        self._held.pop(agent, None)
        lease = self._in_use.pop(agent, None)
        if lease is not None:
            lease.is_lost = True

    async def aclose(self) -> None:
        """Give everything back; what cannot be given back expires."""
        self._is_closed = True
        if self._heartbeat is None:
            return
        self._heartbeat.cancel()
        await asyncio.wait([self._heartbeat])
        await self._give_back()

    async def _give_back(self) -> None:
        try:
            await self._leases.release(self.holder)
        except SleepmemError:
            log.warning("agents could not be given back", exc_info=True)

    async def _claim(self, agent: str, fingerprint: str, create: bool, over: int | None) -> Lease:
        if self._heartbeat is None:
            self._heartbeat = asyncio.create_task(self._beat())
        epoch = await self._leases.claim(
            agent,
            fingerprint=fingerprint,
            holder=self.holder,
            create=create,
            now=self._clock.now(),
            over=over,
        )
        if self._is_closed:
            await self._give_back()
        self._check_open()
        self._held[agent] = epoch
        lease = self._lease_of(agent)
        lease.epoch, lease.is_lost = epoch, False
        return lease

    def _lease_of(self, agent: str) -> Lease:
        return self._in_use.setdefault(agent, Lease(agent, self._held[agent], self._lost))

    def _lost(self, agent: str, epoch: int) -> None:
        del self._held[agent]
        log.warning("agent was claimed elsewhere", extra={"agent": agent, "epoch": epoch})
        tell(self._watcher, LeaseLost(agent=agent, epoch=epoch))

    def _check_open(self) -> None:
        if self._is_closed:
            raise NotOpen()

    async def _beat(self) -> None:
        """Renew what is held, and note what was lost, for as long as the memory is open."""
        while True:
            await self._clock.sleep(HEARTBEAT_S)
            if not self._held:
                continue
            try:
                renewed = await self._leases.renew(self.holder, now=self._clock.now())
                if renewed != sum(self._held.values()):
                    await self._note_lost()
            except Exception:  # whatever it was: without a heartbeat all would be lost unnoticed
                log.warning("leases could not be renewed", exc_info=True)

    async def _note_lost(self) -> None:
        """Look at every name: some agent was lost, or one is being claimed at this moment."""
        epochs = self._held.copy()
        for name in epochs.keys() - await self._leases.held(self.holder):
            # of a claim that was made again meanwhile it says nothing
            if self._held.get(name) == epochs[name]:
                self._lease_of(name).lose()


class _Wait:
    """How long one caller waits for an agent that is held.

    Attributes:
        over: the epoch whose lease it regards as ended.

    Raises:
        ConfigError: `wait_s` is no number from 0 on.
    """

    def __init__(self, clock: Clock, wait_s: float, take_over: bool) -> None:
        if isinstance(wait_s, bool) or not isinstance(wait_s, int | float) or not wait_s >= 0:
            raise ConfigError(f"wait_s must be a number from 0 on, not {wait_s!r}")
        self._clock, self._wait_s, self._take_over = clock, wait_s, take_over
        self.over: int | None = None
        self._began_s = self._since_s = clock.monotonic_s()
        self._seen: tuple[int, datetime] | None = None  # since `_since_s`
        self._pause_s = _FIRST_PAUSE_S

    async def after(self, held: AgentHeld) -> None:
        """Return when it is time to claim again. Raises AgentHeld if the wait runs out.

        A lease that is not renewed for its whole length has ended, whatever its holder's clock
        shows.
        """
        now_s, found = self._clock.monotonic_s(), (held.epoch, held.expires_at)
        if found != self._seen:
            self._seen, self._since_s = found, now_s
        if self._take_over or now_s - self._since_s >= LEASE_S or has_ended(held.holder):
            self.over = held.epoch
            return
        waited_s = now_s - self._began_s
        if waited_s >= self._wait_s:
            raise AgentHeld(held.agent, held.holder, held.epoch, held.expires_at, waited_s)
        if not waited_s:
            log.info("waiting for %s", held.holder, extra={"agent": held.agent})
        await self._clock.sleep(min(self._pause_s, self._wait_s - waited_s))
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)


def new_holder() -> str:
    """Return a new name for who holds agents: machine, process, and which of them is meant."""
    return f"{platform.node() or 'unknown'}:{os.getpid()}:{_place()}:{secrets.token_hex(4)}"


def has_ended(holder: str) -> bool:
    """Return whether a holder's process, of this machine, is no more. A guess: ids are reused."""
    machine, _, rest = holder.rpartition(f":{_place()}:")[0].rpartition(":")
    if os.name != "posix" or machine != (platform.node() or "unknown"):
        return False
    try:
        os.kill(int(rest), 0)
    except ProcessLookupError:
        return True
    except (ValueError, OverflowError, PermissionError):
        pass
    return False


@cache
def _place() -> str:
    """Return what tells machines of one name apart, and containers in which other ids count."""
    found = b""
    with suppress(OSError):
        found += Path("/proc/sys/kernel/random/boot_id").read_bytes()
    with suppress(OSError):
        found += os.readlink("/proc/self/ns/pid").encode()
    return blake3(found).hexdigest()[:8]
