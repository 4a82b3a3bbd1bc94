"""What a soak left behind, held against what was acknowledged."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import asdict, dataclass

from sleepmem.bench import Report
from sleepmem.bench.soak.script import Script
from sleepmem.errors import SleepmemError
from sleepmem.history import LogEntry
from sleepmem.memory import SleepMemory
from sleepmem.types import Episode, Role, TurnState


@dataclass(slots=True)
class Verdict:
    """Counts of what must not be, and how much was looked at.

    Attributes:
        lost: acknowledged lines that are not in the log, or not answered there.
        read_twice: lines that are in the log more than once, and tokens that two episodes hold.
        out_of_order: conversations that are not in the log as they were held.
        altered: acknowledged replies that the log has otherwise, or that came otherwise when they
            were asked for again.
        forgotten: questions for the line before that were answered wrong.
        unread: tokens between two episodes of a thread that no episode holds.
        broken_heads: agents that cannot wake.
        unverified: episodes whose snapshot the log does not give, or that could not be looked at.
    """

    n_episodes: int = 0
    lost: int = 0
    read_twice: int = 0
    out_of_order: int = 0
    altered: int = 0
    forgotten: int = 0
    unread: int = 0
    broken_heads: int = 0
    unverified: int = 0

    def counts(self) -> dict[str, int]:
        """Return the counts that must be zero."""
        return {name: count for name, count in asdict(self).items() if name != "n_episodes"}


@dataclass(slots=True)
class Acknowledged:
    """What was acknowledged, line by line, as it came."""

    script: Script
    replies: list[list[str]]
    altered: int = 0

    @classmethod
    def of(cls, script: Script) -> Acknowledged:
        return cls(script, [[] for _ in script.conversations])

    @property
    def n_lines(self) -> int:
        return sum(len(replies) for replies in self.replies)

    @property
    def answered(self) -> tuple[int, ...]:
        return tuple(len(replies) for replies in self.replies)

    def add(self, conversation: int, n: int, reply: str) -> None:
        """Note a reply; one that was asked for again must be the one that came before."""
        replies = self.replies[conversation]
        if n == len(replies):
            replies.append(reply)
        else:
            self.altered += replies[n] != reply

    def forgotten(self) -> int:
        """Return how many questions for the line before were answered wrong."""
        return sum(
            expected is not None and reply != expected
            for conversation, replies in enumerate(self.replies)
            for n, reply in enumerate(replies)
            for expected in [self.script.expected(conversation, n)]
        )


async def judged(
    memory: SleepMemory, acknowledged: Acknowledged, *, can_recall: bool, report: Report
) -> Verdict:
    """Read every log, derive every snapshot again, and wake every agent.

    Args:
        can_recall: the model answers what it was told; of others no recall is asked.
    """
    script = acknowledged.script
    verdict = Verdict(altered=acknowledged.altered)
    verdict.forgotten = acknowledged.forgotten() if can_recall else 0
    born = {summary.agent for summary in await memory.agents()}
    for done, name in enumerate(script.agents):
        report("verifying what was lived", done / script.n_agents)
        entries: dict[tuple[str, str], list[LogEntry]] = defaultdict(list)
        if name in born:
            async for entry in memory.log(name):
                entries[name, entry.thread].append(entry)
            await _judge_episodes(verdict, memory, name)
            await _judge_head(verdict, memory, name)
        for conversation in script.conversations_of(done):
            _judge_log(verdict, acknowledged, conversation, entries[script.place(conversation)])
    return verdict


def _judge_log(
    verdict: Verdict, acknowledged: Acknowledged, conversation: int, entries: list[LogEntry]
) -> None:
    replies = acknowledged.replies[conversation]
    asked = [acknowledged.script.line(conversation, n) for n in range(len(replies))]
    said = Counter(entry.content for entry in entries if entry.role is Role.USER)
    done = [entry for entry in entries if entry.state is TurnState.DONE]
    answers: dict[str, str] = {}
    for line, answer in zip(done[::2], done[1::2], strict=False):
        if answer.role is Role.ASSISTANT:
            answers.setdefault(line.content, answer.content)
    verdict.read_twice += sum(n - 1 for n in said.values())
    verdict.lost += sum(line not in answers for line in asked)
    verdict.altered += sum(
        line in answers and answers[line] != reply
        for line, reply in zip(asked, replies, strict=True)
    )
    known = set(asked)
    in_log = [line for line in answers if line in known]
    verdict.out_of_order += in_log != [line for line in asked if line in answers]


async def _judge_episodes(verdict: Verdict, memory: SleepMemory, name: str) -> None:
    episodes: list[Episode] = [replayed.episode async for replayed in memory.replay(name)]
    verdict.n_episodes += len(episodes)
    slept: Counter[str] = Counter()
    for episode in episodes:
        gap = episode.start - slept[episode.thread]
        verdict.unread += max(0, gap)
        verdict.read_twice += max(0, -gap)
        slept[episode.thread] = episode.stop
    n_verified = 0
    try:
        async for replayed in memory.replay(name, verify=True):
            n_verified += replayed.verified is True
    except SleepmemError:
        pass  # it says which one, and all from there on count
    verdict.unverified += len(episodes) - n_verified


async def _judge_head(verdict: Verdict, memory: SleepMemory, name: str) -> None:
    try:
        agent = await memory.agent(name, create=False)
        await agent.thread("judge").say("are you awake?")
    except SleepmemError:
        verdict.broken_heads += 1
