"""Agents and their threads, as callers hold them."""

from __future__ import annotations

from sleepmem.runtime.parts import Lease, Parts
from sleepmem.runtime.thread import LiveThread, live_thread
from sleepmem.runtime.verbs import Verbs
from sleepmem.types import MAIN, checked_name


class AgentThread(Verbs):
    """One conversation of an agent, with its own system prompt, open episode and KV cache."""

    def __init__(self, live: LiveThread) -> None:
        self._live = live

    @property
    def agent(self) -> str:
        return self._live.lease.agent

    @property
    def branch(self) -> str:
        return self._live.branch

    @property
    def name(self) -> str:
        return self._live.name


class Agent(Verbs):
    """An agent on one branch of its memory; its own verbs act on the thread `main`."""

    def __init__(self, parts: Parts, lease: Lease, branch: str) -> None:
        self._parts, self._lease, self._branch = parts, lease, branch
        self._live = live_thread(parts, lease, branch, MAIN)
        self._threads = {MAIN: self._live}

    @property
    def name(self) -> str:
        return self._lease.agent

    @property
    def branch(self) -> str:
        return self._branch

    def resume(self) -> None:
        """Have the policy asked about what was left open before this claim."""
        self._parts.idle.search(self._arm_what_waits)

    async def _arm_what_waits(self) -> None:
        log = self._parts.log
        for row in await log.threads(self.name):
            if row.branch == self._branch and (await log.open_episode(row)).token_ids:
                self._live_thread(row.name).ask_soon(row)

    def thread(self, name: str = MAIN, *, system: str | None = None) -> AgentThread:
        """Return a thread, made when it is first used.

        Args:
            system: its system prompt from now on; None keeps the one it has.
        """
        checked_name("thread name", name)
        live = self._live_thread(name)
        if system is not None:
            live.prompt(system)
        return AgentThread(live)

    def _live_thread(self, name: str) -> LiveThread:
        if name not in self._threads:
            self._threads[name] = live_thread(self._parts, self._lease, self._branch, name)
        return self._threads[name]
