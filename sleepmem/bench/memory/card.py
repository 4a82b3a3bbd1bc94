"""Write what the shipped model is and remembers, from its records: its card, and a part of README.

    sleepmem bench memory --out sleepmem/pretrained/tiny-2
    sleepmem bench wake --json > sleepmem/pretrained/tiny-2/wake.json
    python -m sleepmem.bench.memory.card sleepmem/pretrained/tiny-2 README.md

Prose is in `card.md` and `remembers.md` beside this file, figures come from `figures_of`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from textwrap import fill

from sleepmem.bench.memory.card_words import figures_of
from sleepmem.bench.memory.evidence import PICTURES, Evidence, read_evidence
from sleepmem.bench.memory.tables import EVERYBODY
from sleepmem.errors import ConfigError

CARD, README_PICTURE = "README.md", "age.svg"
BEGIN = "<!-- begin: written by python -m sleepmem.bench.memory.card -->\n"
END = "<!-- end -->\n"
WIDTH = 100
README_WHO = tuple(
    who for who in EVERYBODY if who not in ("ours_passes2", "ours_passes8")
)  # the card has them all


def card(evidence: Evidence) -> str:
    """Return the model card."""
    figures = figures_of(evidence, EVERYBODY)
    return _filled("card.md", figures | {"pictures": _shown(evidence.pictures)})


def remembers(evidence: Evidence, folder_at: str) -> str:
    """Return what README says of the model.

    Args:
        folder_at: path of the checkpoint, from README.
    """
    first = [name for name in evidence.pictures if name == README_PICTURE]
    figures = figures_of(evidence, README_WHO)
    where = {"card": f"{folder_at}/{CARD}", "pictures": _shown(first, f"{folder_at}/")}
    return _filled("remembers.md", figures | where)


def refreshed(readme: str, part: str, begin: str = BEGIN) -> str:
    """Return README with the part replaced that stands between `begin` and the end after it.

    Raises:
        ConfigError: it has no marks.
    """
    before, found, rest = readme.partition(begin)
    _, end, after = rest.partition(END)
    if not (found and end):
        raise ConfigError(
            "README has no place for what is to be written there",
            hint=f"Give it the lines {begin.strip()!r} and {END.strip()!r}.",
        )
    return f"{before}{begin}\n{part}\n{end}{after}"


def write(folder: Path, readme: Path) -> None:
    """Write the card of a shipped checkpoint and its part of README.

    Raises:
        ConfigError: a record is missing or of another checkpoint, or README has no marks.
    """
    evidence = read_evidence(folder)
    folder_at = folder.resolve().relative_to(readme.resolve().parent).as_posix()
    text = refreshed(readme.read_text("utf-8"), remembers(evidence, folder_at))
    (folder / CARD).write_text(card(evidence), "utf-8")
    readme.write_text(text, "utf-8")


def _shown(pictures: Sequence[str], folder_at: str = "") -> str:
    return "\n\n".join(f"![{PICTURES[name]}]({folder_at}{name})" for name in pictures)


def _filled(template: str, figures: dict[str, str]) -> str:
    """Return a template with its figures, prose wrapped anew, without blocks that are empty."""
    text = files("sleepmem.bench.memory").joinpath(template).read_text("utf-8")
    blocks = (block.format_map(figures) for block in text.strip().split("\n\n"))
    return "\n\n".join(_wrapped(block) for block in blocks if block.strip()) + "\n"


def _wrapped(block: str) -> str:
    """Return a block; a paragraph is wrapped, all else stays as it is."""
    if re.match(r"[|#!\s]", block):
        return block.rstrip("\n")
    return fill(" ".join(block.split()), WIDTH, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
