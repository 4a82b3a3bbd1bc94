"""The command line: a command parses, calls the library, prints.

Commands are imported when they are run, so that `sleepmem --help` stays instant.
"""

from __future__ import annotations

import click

from sleepmem import __version__
from sleepmem.cli.lazy import Lazy, LazyGroup

COMMANDS = {
    "demo": Lazy("sleepmem.cli.demo:demo", "Watch an agent learn, sleep, end, wake and answer."),
    "chat": Lazy("sleepmem.cli.chat:chat", "Talk with an agent."),
    "say": Lazy("sleepmem.cli.say:say", "Say one thing to an agent and print its reply."),
    "agents": Lazy("sleepmem.cli.agents:agents", "List the agents of the database."),
    "log": Lazy("sleepmem.cli.log:log", "Show what an agent lived through, word for word."),
    "sleep": Lazy("sleepmem.cli.sleep:sleep", "Let an agent sleep on its open episode."),
    "replay": Lazy("sleepmem.cli.replay:replay", "Show an agent's life episode by episode."),
    "gc": Lazy("sleepmem.cli.gc:gc", "Remove old snapshots; the log stays."),
    "pin": Lazy("sleepmem.cli.pin:pin", "Keep the snapshot of one episode from gc."),
    "import": Lazy("sleepmem.cli.import_file:import_file", "Let an agent live through a file."),
    "db": Lazy("sleepmem.cli.db:db", "Upgrade or check the database."),
    "model": Lazy("sleepmem.cli.model:model", "List and show checkpoints."),
    "train": Lazy("sleepmem.cli.train:train", "Train a checkpoint."),
    "bench": Lazy("sleepmem.cli.bench:bench", "Measure what is claimed."),
}


@click.group(cls=LazyGroup, commands_by_name=COMMANDS)
@click.version_option(__version__, prog_name="sleepmem")
def main() -> None:
    """Memory for agents that lives in weights, not in prompts.

    \b
    Example:
      sleepmem say --agent ana "My dog is called Rex."
      sleepmem say --agent ana "Maria lives in Lisbon."
      sleepmem sleep --agent ana
      sleepmem say --agent ana "What is my dog called?"

    Results go to stdout, talk to stderr. Every command takes --json for one JSON document, --db
    for the database (or SLEEPMEM_DB) and --model for the checkpoint (or SLEEPMEM_MODEL).
    """
