"""Write what the runtime costs, from its record, into README.

sleepmem bench runtime --out sleepmem/pretrained/runtime
python -m sleepmem.bench.runtime.card README.md
"""

from __future__ import annotations

import json
import sys
from importlib.resources import files
from pathlib import Path
from textwrap import fill
from typing import Any

from sleepmem.bench import Row
from sleepmem.bench.memory.card import WIDTH, refreshed
from sleepmem.bench.memory.tables import markdown

BEGIN = "<!-- begin: written by python -m sleepmem.bench.runtime.card -->\n"
AT_LEAST = {
    "attention_twin_over_ours_64k",
    "decode_32_agents_over_one",
    "sleep_pass_over_prefill",
    "reread_4096_over_restore",
    "messages_per_commit",
}  # goals are upper bounds, but for these
ROW_IS = {
    "decode_64k_over_1k.fill_25": "a wake token after 65,536 tokens, against after 1,024; "
    "the window a quarter full",
    "decode_64k_over_1k.fill_100": "the same, the window full",
    "attention_twin_over_ours_64k": "a token of attention alone after 65,536 tokens, against ours",
    "decode_32_agents_over_one": "32 agents that speak at once, against one",
    "sleep_pass_over_prefill": "a pass of a sleep, against plain reading without the output layer",
    "decode_p99_gap_during_sleep": "99th percentile of the wait for a token while another agent "
    "sleeps, against while nobody does",
    "sleep_time_beside_stream": "that sleep, against one that nobody speaks beside",
    "restore_over_raw_read_1mib": "1 MiB of fast weights restored and checked, against reading "
    "the file",
    "restore_over_raw_read_16mib": "the same of 16 MiB",
    "publish_over_raw": "a snapshot published, against write, flush, rename, flush of the folder",
    "reread_4096_over_restore": "4,096 tokens read again, against restoring what they became",
    "commits_per_message": "commits for a message of one writer",
    "messages_per_commit": "messages in a commit of 64 writers",
    "durable_message_minus_flush": "a durable message, less a flush of as many bytes",
    "batch64_minus_executemany": "64 messages at once, less one raw statement",
    "fenced_minus_plain_append": "an append that looks whose the agent is, less one that does not",
    "bytes_per_resting_agent": "memory for each of the 9,968 of 10,000 agents that lived and rest",
}  # says what a row is, for people


def costs(record: dict[str, Any]) -> str:
    """Return what README says of a run."""
    rows = [Row(**row) for row in record["rows"]]
    header = ["what", "ours", "beside it", "ratio or difference", "goal", "holds"]
    table = markdown([header, *(_cells(row) for row in rows)])
    where, given = record["environment"], record["model"]
    made = (
        f"Made by `sleepmem bench runtime --seed {record['seed']}` with `{given}` in "
        f"{record['seconds']} seconds on a virtual machine with two cores ({where['processor']}, "
        f"torch {where['torch']}, one thread); medians of interleaved rounds."
    )
    return f"{table}\n\n{fill(made, WIDTH, break_long_words=False, break_on_hyphens=False)}\n"


def write(readme: Path) -> None:
    """Write README's part from the record that is shipped.

    Raises:
        ConfigError: README has no marks.
    """
    text = refreshed(readme.read_text("utf-8"), costs(shipped()), BEGIN)
    readme.write_text(text, "utf-8")


def shipped() -> dict[str, Any]:
    """Return the record that comes with the package."""
    path = files("sleepmem").joinpath("pretrained", "runtime", "runtime.json")
    record: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return record


def _cells(row: Row) -> list[str]:
    compared = ""
    if row.ratio is not None:
        compared = f"{row.ratio:.3g}"
    elif row.difference is not None:
        compared = f"{row.difference:.2g} {row.unit}"
    beside = "" if row.reference is None else f"{row.reference:.3g} {row.unit}"
    bound = "at least" if row.name in AT_LEAST else "at most"
    goal = "" if row.goal is None else f"{bound} {row.goal:g}"
    holds = {True: "yes", False: "no", None: ""}[row.holds]
    return [ROW_IS[row.name], f"{row.value:.3g} {row.unit}", beside, compared, goal, holds]


if __name__ == "__main__":
    write(Path(sys.argv[1]))
