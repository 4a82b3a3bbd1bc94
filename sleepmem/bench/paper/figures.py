"""The pictures: accuracy by depth for each N, and how it was learned. One SVG and PNG each.

Lines are means over seeds, bands reach from the lowest to the highest seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from statistics import mean
from typing import Any

from sleepmem.errors import ConfigError

Curve = Mapping[float, Sequence[float]]  # x -> one value for each seed
Panel = tuple[str, Mapping[str, Curve]]  # title, curves by label
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#777777", "#000000")
STROKES = ("-", "--", ":")  # where there are more lines than colours
WIDTH, HEIGHT, LINE = 4.6, 3.5, 0.2  # inches of a panel, and of a line of its legend
HINT = "Install it with: pip install 'sleepmem[figures]', or leave the figures with --no-figures."


def check_drawable() -> None:
    """Fail now rather than after the work that is to be drawn.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as problem:
        raise ConfigError("figures need matplotlib", hint=HINT) from problem


def draw(path: Path, panels: Sequence[Panel], *, x: str, guessing: Curve) -> list[Path]:
    """Draw accuracy over x, one line a curve, and return the files: `path` as .svg and .png.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    check_drawable()
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "sleepmem", "font.size": 10}):
        n_lines = 1 + max(len(curves) for _, curves in panels)
        size = WIDTH * len(panels), HEIGHT + LINE * n_lines
        figure = Figure(size, layout="constrained")
        row = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        numbered = count()  # through all panels, so that a colour means one thing
        for axes, (title, curves) in zip(row, panels, strict=True):
            for (label, curve), n in zip(curves.items(), numbered, strict=False):
                stroke = STROKES[n // len(COLOURS) % len(STROKES)]
                _line(axes, label, curve, COLOURS[n % len(COLOURS)], stroke)
            axes.plot(
                list(guessing), [mean(guessing[at]) for at in guessing],
                color="#888888", linestyle=":", label="always the commonest answer",
            )  # fmt: skip
            axes.set(xlabel=x, ylim=(-0.02, 1.02))
            axes.set_title(title, loc="left", fontsize=11)
            axes.grid(alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)
            axes.legend(
                loc="upper left", bbox_to_anchor=(-0.02, -0.16), frameon=False, fontsize=8.5
            )
        row[0].set_ylabel("answered exactly")
        files = [path.with_suffix(".svg"), path.with_suffix(".png")]
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(files[0], metadata={"Date": None})
        figure.savefig(files[1], dpi=150)
    return files


def _line(axes: Any, label: str, curve: Curve, colour: str, stroke: str) -> None:
    at = sorted(curve)
    means = [mean(curve[x]) for x in at]
    axes.plot(at, means, color=colour, linestyle=stroke, marker="o", ms=3, label=label)
    axes.fill_between(
        at, [min(curve[x]) for x in at], [max(curve[x]) for x in at], color=colour, alpha=0.18, lw=0
    )
