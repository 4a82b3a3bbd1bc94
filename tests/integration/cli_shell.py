"""The command line as a person has it, over a model without torch."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from sleepmem.cli import main
from sleepmem.cli.terminal import Terminal
from sleepmem.memory import SleepMemory
from sleepmem.protocols import SleepLM
from sleepmem.settings import Settings
from sleepmem.testing.fake_model import FakeSleepLM

LONG = "Rex is my dog and he likes to sleep under the old table"


@dataclass
class Shell:
    """Runs commands, each with a memory of its own, as if each were a process."""

    db: str
    lm: Callable[[], SleepLM] = FakeSleepLM
    memory: dict[str, Any] = field(default_factory=dict)

    @asynccontextmanager
    async def opener(self, settings: Settings) -> AsyncIterator[SleepMemory]:
        async with SleepMemory(settings.db, model=self.lm(), **self.memory) as memory:
            yield memory

    def run(self, *arguments: str, stdin: str | bytes | None = None, code: int = 0) -> Result:
        """Run one command and expect its exit code."""
        terminal = Terminal(opener=self.opener, db=self.db)
        result = CliRunner().invoke(main, arguments, obj=terminal, input=stdin)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, (result.exit_code, result.stdout, result.stderr)
        return result

    def json(self, *arguments: str, stdin: str | bytes | None = None, code: int = 0) -> Any:
        """Run one command with --json and return its one document."""
        return json.loads(self.run(*arguments, "--json", stdin=stdin, code=code).stdout)

    def error(self, *arguments: str, stdin: str | bytes | None = None, code: int = 1) -> str:
        """Run one command that fails and return its one line."""
        result = self.run(*arguments, stdin=stdin, code=code)
        assert result.stdout == ""
        line, end, rest = result.stderr.partition("\n")
        assert (end, rest) == ("\n", ""), result.stderr
        assert line.startswith("error: ")
        assert " · " in line, "what to do next is missing"
        return line

    def snapshots(self) -> list[Path]:
        """Return the snapshot files."""
        return sorted(path for path in Path(f"{self.db}.snapshots").rglob("*") if path.is_file())
