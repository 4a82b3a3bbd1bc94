"""`sleepmem sleep`."""

from __future__ import annotations

import asyncio

import click

from sleepmem.cli.documents import EXIT_CODES, plan_line, sleep_document, sleep_line
from sleepmem.cli.options import (
    Address,
    agent_option,
    common,
    pass_terminal,
    take_over_option,
    thread_option,
)
from sleepmem.cli.terminal import Terminal


@click.command()
@agent_option()
@thread_option
@click.option("--passes", type=click.IntRange(min=1), help="Passes over the episode.")
@click.option("--plan", "only_plan", is_flag=True, help="Say what a sleep would do; do nothing.")
@click.option("--force", is_flag=True, help="Accept any retention.")
@take_over_option
@common
@pass_terminal
def sleep(
    terminal: Terminal,
    address: Address,
    thread: str,
    passes: int | None,
    only_plan: bool,
    force: bool,
    take_over: bool,
) -> None:
    """Let an agent sleep on its open episode, now.

    Exit codes: 0 slept or nothing to do, 3 rejected, 4 superseded, 1 failed.

    \b
    Example:
      sleepmem sleep --agent ana --passes 4
    """

    async def run() -> int:
        async with terminal.memory() as memory:
            # it is known that there is such a thread before the agent is taken from anybody
            plan = await memory.plan(
                address.agent, branch=address.branch, thread=thread, passes=passes
            )
            if only_plan:
                terminal.write(plan_line(plan))
                terminal.write_document(plan.model_dump(mode="json"))
                return 0
            agent = await terminal.agent(memory, address, create=False, take_over=take_over)
            report = await agent.thread(thread).sleep(passes=passes, force=force)
        terminal.write(sleep_line(report))
        terminal.write_document(sleep_document(report))
        return EXIT_CODES[report.outcome]

    click.get_current_context().exit(asyncio.run(run()))
