"""The pictures of the benchmarks: lines over an axis, and dots by name. One SVG and PNG each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from sleepmem.errors import ConfigError

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#777777", "#000000")
STROKES = ("-", "--", ":")  # where there are more lines than colours
WIDTH, HEIGHT, LINE = 4.6, 3.5, 0.2  # inches of a panel, and of a line of its legend
ROW = 0.34  # inches of a name among dots
SPREAD = 0.6  # share of that which the dots of a name take
HINT = "Install it with: pip install 'sleepmem[figures]', or leave the figures with --no-figures."


class Point(NamedTuple):
    """A figure, and the range that it stands in: of seeds, or an interval."""

    value: float
    lowest: float
    highest: float


Curve = Mapping[float, Point]  # by x
Panel = tuple[str, Mapping[str, Curve]]  # title, curves by label


def over_seeds(values: Sequence[float]) -> Point:
    """Return the mean of some values, from the lowest to the highest."""
    return Point(mean(values), min(values), max(values))


def check_drawable() -> None:
    """Fail now rather than after the work that is to be drawn.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401, PLC0415
    except ImportError as problem:
        raise ConfigError("figures need matplotlib", hint=HINT) from problem


def draw(
    path: Path,
    panels: Sequence[Panel],
    *,
    x: str,
    guessing: Mapping[float, float] | None = None,
    is_logarithmic: bool = False,
) -> list[Path]:
    """Draw accuracy over x, one line a curve, its band the range of its points.

    Args:
        path: without a suffix.
        guessing: accuracy of always giving the commonest answer.
        is_logarithmic: space x by its logarithm, with a mark where something was measured.

    Returns:
        The files: `path` as .svg and .png.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    n_lines = 1 + max(len(curves) for _, curves in panels)
    size = WIDTH * len(panels), HEIGHT + LINE * n_lines
    with _figure(size) as figure:
        row = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        numbered = count()  # through all panels, so that a colour means one thing
        for axes, (title, curves) in zip(row, panels, strict=True):
            for (label, curve), n in zip(curves.items(), numbered, strict=False):
                _line(axes, label, curve, *_look(n))
            if guessing:
                axes.plot(
                    list(guessing), list(guessing.values()),
                    color="#888888", linestyle=":", label="always the commonest answer",
                )  # fmt: skip
            if is_logarithmic:
                _space_by_logarithm(axes, sorted({at for curve in curves.values() for at in curve}))
            axes.set(xlabel=x, ylim=(-0.02, 1.02))
            axes.set_title(title, loc="left", fontsize=11)
            _tidy(axes)
        row[0].set_ylabel("answered exactly")
        return _saved(figure, path)


def draw_dots(path: Path, dots: Mapping[str, Mapping[str, Point]]) -> list[Path]:
    """Draw accuracy by name, one row a name, one colour a label; a bar is the range of a dot.

    Args:
        path: without a suffix.
        dots: by label, then by name.

    Returns:
        The files: `path` as .svg and .png.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    names = list(dict.fromkeys(name for points in dots.values() for name in points))
    size = 1.4 * WIDTH, 1 + ROW * len(names) + LINE * len(dots)
    with _figure(size) as figure:
        axes = figure.subplots()
        for n, (label, points) in enumerate(dots.items()):
            beside = SPREAD * ((n + 0.5) / len(dots) - 0.5)
            at = [names.index(name) + beside for name in points]
            values = [point.value for point in points.values()]
            below = [point.value - point.lowest for point in points.values()]
            above = [point.highest - point.value for point in points.values()]
            colour, _ = _look(n)
            axes.errorbar(
                values, at, xerr=(below, above), fmt="o", ms=4, lw=1.2, color=colour, label=label
            )
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="answered exactly", xlim=(-0.02, 1.02), ylim=(len(names) - 0.4, -0.6))
        _tidy(axes)
        return _saved(figure, path)


@contextmanager
def _figure(size: tuple[float, float]) -> Iterator[Any]:
    check_drawable()
    import matplotlib  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    with matplotlib.rc_context({"svg.hashsalt": "sleepmem", "font.size": 10}):
        yield Figure(size, layout="constrained")


def _look(number: int) -> tuple[str, str]:
    """Return the colour and the stroke of a line."""
    return COLOURS[number % len(COLOURS)], STROKES[number // len(COLOURS) % len(STROKES)]


def _line(axes: Any, label: str, curve: Curve, colour: str, stroke: str) -> None:
    at = sorted(curve)
    values = [curve[x].value for x in at]
    axes.plot(at, values, color=colour, linestyle=stroke, marker="o", ms=3, label=label)
    lowest, highest = [curve[x].lowest for x in at], [curve[x].highest for x in at]
    axes.fill_between(at, lowest, highest, color=colour, alpha=0.18, lw=0)


def _space_by_logarithm(axes: Any, marks: Sequence[float]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(marks, [f"{mark:g}" for mark in marks])


def _tidy(axes: Any) -> None:
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.16), frameon=False, fontsize=8.5)


def _saved(figure: Any, path: Path) -> list[Path]:
    files = [path.with_suffix(".svg"), path.with_suffix(".png")]
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(files[0], metadata={"Date": None})
    figure.savefig(files[1], dpi=150)
    return files
