"""What is said in a soak: every line follows from the seed, and no line comes twice.

Each agent has two conversations, which run side by side on its one branch. Most lines tell a fact;
every fifth asks for the one before it. Some are longer than the window.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from sleepmem.types import MAIN

THREADS = (MAIN, "side")
ASKED_EVERY = 5  # lines
LONG_EVERY = 97  # lines
LONG, SHORT = 400, 60  # letters behind a fact, at most


@dataclass(frozen=True, slots=True)
class Script:
    """Who says what to whom.

    Args:
        name: begins the names of the agents.
        n_messages: lines of all conversations together.
    """

    name: str
    seed: int
    n_agents: int
    n_messages: int

    @property
    def agents(self) -> list[str]:
        return [f"{self.name}-{n:03}" for n in range(self.n_agents)]

    @property
    def conversations(self) -> range:
        return range(len(THREADS) * self.n_agents)

    def conversations_of(self, agent: int) -> range:
        return range(len(THREADS) * agent, len(THREADS) * (agent + 1))

    def place(self, conversation: int) -> tuple[str, str]:
        """Return agent and thread of a conversation."""
        n, thread = divmod(conversation, len(THREADS))
        return self.agents[n], THREADS[thread]

    def n_lines(self, conversation: int) -> int:
        share, rest = divmod(self.n_messages, len(self.conversations))
        return share + (conversation < rest)

    def request_id(self, conversation: int, n: int) -> str:
        return f"{conversation}.{n}"

    def line(self, conversation: int, n: int) -> str:
        """Return the n-th line of a conversation."""
        thread = THREADS[conversation % len(THREADS)]
        if self.expected(conversation, n) is not None:
            return f"what of {thread}{n - 1}?"
        rng = self._rng(conversation, n)
        fact = f"{thread}{n}={rng.randbytes(4).hex()}"
        n_more = rng.randrange(LONG if n % LONG_EVERY == LONG_EVERY - 2 else SHORT)
        return f"{fact} {'and so on ' * (n_more // 10)}".rstrip()

    def expected(self, conversation: int, n: int) -> str | None:
        """Return the answer to a line that asks for the fact before it."""
        if n % ASKED_EVERY != ASKED_EVERY - 1:
            return None
        return self._rng(conversation, n - 1).randbytes(4).hex()

    def _rng(self, conversation: int, n: int) -> Random:
        return Random(f"{self.seed}/{conversation}/{n}")
