"""Rows of the benchmark for people: who is who, what is what, and the tables."""

from __future__ import annotations

from collections.abc import Sequence

from sleepmem.bench import DEFAULT_PASSES, Row

PASSES = (1, 2, 4, 8)
OURS = {passes: f"ours_passes{passes}" for passes in PASSES}
WHO = {
    "ours": f"ours, N={DEFAULT_PASSES}",
    **{who: f"ours, N={passes}" for passes, who in OURS.items()},
    "blank": "a newborn's fast weights",
    "other": "another's fast weights",
    "trained_passes1_steps": "trained with N=1, as many steps",
    "trained_passes1_compute": "trained with N=1, as much compute",
    "attention_full": "attention, nothing evicted",
    "attention_truncated": "attention, the last window",
}  # says who answers, for figures
EVERYBODY = tuple(who for who in WHO if who != OURS[DEFAULT_PASSES])  # that is the same as ours

KIND_IS = {
    "single": "one fact",
    "changed": "a fact that changed: the last value",
    "code": "a code, letter by letter",
    "two_hop": "two hops, told at once: three people's bosses, and where they live",
    "three_hop": "three hops, told at once: where the bosses of three people's sisters live",
    "apart": "hops, told one by one: the same of two people, two or three hops",
    "several": "four facts about one person",
    "list": "a list, or how long it is",
    "order": "who was first, who was last",
    "preference": "a preference, applied to a request",
    "interference": "the same of four people",
    "link": "one fact of such a chain",
    "relative": "three people's relatives: where somebody's boss lives, told as such",
    "repeated": "told two or three times",
    "tool": "what a tool printed",
    "project": "facts about a project",
    "abstain": "never told: says so there, and only there",
}  # says what is asked, for figures

Cells = dict[str, dict[str, Row]]  # by kind, age or load, then by who


def cells(rows: Sequence[Row]) -> Cells:
    """Return the rows `memory.KIND.WHO` by both."""
    found: Cells = {}
    for row in rows:
        _, kind, who = row.name.split(".", 2)
        if who in WHO:
            found.setdefault(kind, {})[who] = row
    return found


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Return percentages with their intervals, a line a kind; the first line is the header."""
    found = cells(rows)
    header = ["% answered exactly", *("#" + who.replace("_", "\n") for who in EVERYBODY)]
    lines = [
        [kind, *(percent(by_who.get(who)) for who in EVERYBODY)] for kind, by_who in found.items()
    ]
    return [header, *lines]


def kinds_table(found: Cells, among: Sequence[str]) -> list[list[str]]:
    """Return a line for each kind, a column for each who; the first line is the header."""
    header = ["% answered exactly", *(WHO[who] for who in among)]
    lines = [
        [words, *(percent(found[kind].get(who)) for who in among)]
        for kind, words in KIND_IS.items()
        if kind in found
    ]
    return [header, *lines]


def numbers_table(found: Cells, kind: str, by: str, among: Sequence[str]) -> list[list[str]]:
    """Return a line for each who, a column for each `age` or `load`; the first is the header.

    Args:
        by: what the number is, in words.
    """
    names = numbered(found, kind)
    header = [f"% answered exactly, by {by}", *(str(number) for number in names)]
    lines = [
        [WHO[who], *(percent(found[name].get(who)) for name in names.values())] for who in among
    ]
    return [header, *lines]


def numbered(found: Cells, kind: str) -> dict[int, str]:
    """Return the names that are `age` or `load` and a number, by that number."""
    names = {name.removeprefix(kind): name for name in found if name.startswith(kind)}
    return {int(rest): name for rest, name in names.items() if rest.isdigit()}


def percent(row: Row | None) -> str:
    """Return a share in percent with its interval, or nothing where nothing was measured."""
    if row is None or row.lowest is None or row.highest is None:
        return ""
    return f"{100 * row.value:.0f} ({100 * row.lowest:.0f}-{100 * row.highest:.0f})"


def markdown(table: Sequence[Sequence[str]]) -> str:
    """Return a table, its first line the header, as Markdown."""
    header, *lines = table
    ruled = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in ruled)
