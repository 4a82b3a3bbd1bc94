"""The two processes of the demo: one that lives and ends, one that wakes and answers.

    python -m sleepmem.cli.demo_process live < plan.json
    python -m sleepmem.cli.demo_process ask  < plan.json

Public API only. Each prints one JSON line per step on stdout; the demo draws them.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

from sleepmem import SleepMemory
from sleepmem.errors import SleepmemError
from sleepmem.runtime.agent import Agent

Plan = dict[str, Any]  # see `sleepmem.cli.demo.plan_of`


async def live(plan: Plan) -> AsyncIterator[dict[str, Any]]:
    """Tell each agent its facts, episode by episode, and end a task after each."""
    async with memory_of(plan) as memory:
        await start_over(memory, plan)
        for name, episodes in plan["lives"].items():
            agent = await memory.agent(name)
            for statements in episodes:
                for text in statements:
                    await agent.say(text)
                report = await agent.end_task()
                outcome = report.outcome.value if report else "not asked to"
                yield {"agent": name, "outcome": outcome}


async def start_over(memory: SleepMemory, plan: Plan) -> None:
    """Delete what an earlier demo left, once it is sure that there is a model to follow it."""
    assert memory.lm
    for summary in await memory.agents():
        if summary.agent in plan["asked"].values():
            await memory.delete_agent(summary.agent)


async def ask(plan: Plan) -> AsyncIterator[dict[str, Any]]:
    """Ask every agent every question, each in a thread of its own: the KV cache starts empty."""
    async with memory_of(plan) as memory:
        agents = {who: await memory.agent(name) for who, name in plan["asked"].items()}
        for number, question in enumerate(plan["questions"]):
            answers = {
                who: await answer(agent, f"question {number}", question)
                for who, agent in agents.items()
            }
            yield {"question": question, "answers": answers}


async def answer(agent: Agent, thread: str, question: str) -> str:
    """Return what the agent says to a question in a fresh thread."""
    reply = await agent.thread(thread).say(question, max_tokens=16)
    return reply.text


def memory_of(plan: Plan) -> SleepMemory:
    return SleepMemory(plan["db"], model=plan["model"], data=plan["data"], passes=plan["passes"])


async def main() -> None:
    plan = json.loads(sys.stdin.read())
    try:
        async for step in {"live": live, "ask": ask}[sys.argv[1]](plan):
            tell(step)
    except SleepmemError as error:
        problem = {"type": type(error).__name__, "message": str(error), "hint": error.hint}
        tell({"error": problem})
        sys.exit(1)


def tell(step: dict[str, Any]) -> None:
    try:
        sys.stdout.write(json.dumps(step) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:  # the demo is gone, and with it whoever would read an error
        os._exit(1)


if __name__ == "__main__":
    asyncio.run(main())
