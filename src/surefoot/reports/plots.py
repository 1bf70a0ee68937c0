"""Figures as SVG text, to be put inline into a page.

Text and lines take their colours from the page (``currentColor``, ``var(--grid)``), so that they can be
read on light and dark ground. Each method keeps one :class:`Look` in all figures. The ids of a figure
begin with its name, so that figures do not disturb each other on one page.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from surefoot.envs.marble_maze_board import Board
from surefoot.evaluation.statistics import Estimate, bootstrap_band
from surefoot.training.metrics import is_episode_metric


@dataclass(frozen=True)
class Look:
    """How a method is drawn: colour, marker and dashes, so that colour is not all that tells."""

    colour: str
    marker: str
    dashes: tuple[float, ...] = ()
    """Lengths of dash and gap in widths of the line; empty for a solid line."""


LOOKS = (
    Look("#0072B2", "o"),
    Look("#E69F00", "s", (5.0, 1.6)),
    Look("#009E73", "^", (1.4, 1.2)),
    Look("#CC79A7", "D", (6.0, 1.5, 1.4, 1.5)),
    Look("#56B4E9", "v", (3.0, 1.2)),
    Look("#8C6BB1", "P", (8.0, 2.0)),
    Look("#A6761D", "X", (1.0, 2.0)),
    Look("#7A8793", "h", (4.0, 1.2, 1.0, 1.2, 1.0, 1.2)),
)
"""Colours that are told apart with the common forms of colour blindness (Okabe and Ito's, mostly)."""

VIOLATION = "#D1201F"
"""Steps that violate a constraint, on boards."""

# Placeholders, replaced in the finished SVG by what the page decides.
_INK, _MUTED, _GRID, _PAPER = "#010203", "#010204", "#010205", "#010206"
_FROM_PAGE = {
    _INK: "currentColor",
    _MUTED: "var(--muted, #667085)",
    _GRID: "var(--grid, #dde1e7)",
    _PAPER: "var(--card, #ffffff)",
}
_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: smaller, and it can be found and read aloud
    "svg.hashsalt": "surefoot",
    "font.family": "sans-serif",
    "font.size": 9.5,
    "axes.labelsize": 9.5,
    "axes.edgecolor": _MUTED,
    "axes.labelcolor": _INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.7,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "text.color": _INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "lines.solid_capstyle": "round",
}
_LIMIT: Any = {"color": "#D1201F", "linewidth": 1.1, "dashes": (2.0, 1.5), "zorder": 1.5}
"""A limit of a cost, across a figure."""
_SIZE = (4.2, 2.8)  # inches; the page scales it


def look(index: int) -> Look:
    """The look of the method at that place; after the last one the colours begin again."""
    return LOOKS[index % len(LOOKS)]


@dataclass(frozen=True)
class Line:
    """A number over the steps of training: ``values [seeds, points]`` at ``steps [points]``."""

    label: str
    look: Look
    steps: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Level:
    """A number of a method that does not change with environment steps, such as one trained offline."""

    label: str
    look: Look
    value: Estimate


def curves(
    name: str,
    lines: Sequence[Line | Level],
    *,
    axis: str,
    percent: bool = False,
    wide: bool = False,
    limits: Sequence[float] = (),
    about: str = "",
) -> str:
    """Mean over seeds against steps, with a bootstrap band; a :class:`Level` is a horizontal line.

    ``wide`` takes a logarithmic axis where values differ by more than fifty times; ``limits`` are drawn
    across.
    """
    with _figure() as (figure, axes):
        scale = 100.0 if percent else 1.0
        for index, line in enumerate(lines):
            if isinstance(line, Level):
                _level(axes, line, scale)
                continue
            mean, lower, upper = (scale * each for each in bootstrap_band(line.values))
            if len(line.values) > 1:
                axes.fill_between(
                    line.steps, lower, upper, color=line.look.colour, alpha=0.18, linewidth=0, zorder=2
                )
            every = max(1, len(line.steps) // 6)
            axes.plot(
                line.steps,
                mean,
                color=line.look.colour,
                linewidth=1.7,
                dashes=line.look.dashes or (None, None),
                marker=line.look.marker,
                markersize=4,
                markevery=(index * every // max(1, len(lines)), every),
                markeredgewidth=0,
                zorder=3,
            )
        for limit in limits:
            axes.axhline(limit, **_LIMIT)
        axes.set_xlabel("environment steps, each seed")
        axes.set_ylabel(axis)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: thousands(x)))
        axes.xaxis.set_major_locator(MaxNLocator(6))
        if percent:
            _percent_axis(axes.yaxis)
            axes.set_ylim(-2, 102)
        elif wide and _spans(lines):
            axes.set_yscale("log")
        return _svg(figure, name, about or f"{axis} against steps")


def _spans(lines: Sequence[Line | Level]) -> bool:
    """Whether the values are positive and differ so much that only a logarithmic axis shows them."""
    parts = [line.values[np.isfinite(line.values)] for line in lines if isinstance(line, Line)]
    values = np.concatenate(parts or [np.empty(0)])
    return bool(len(values) and values.min() > 0 and values.max() > 50 * values.min())


def _level(axes: Any, line: Level, scale: float) -> None:
    if not np.isfinite(line.value.estimate):
        return
    if np.isfinite([line.value.lower, line.value.upper]).all():
        lower, upper = scale * line.value.lower, scale * line.value.upper
        axes.axhspan(lower, upper, color=line.look.colour, alpha=0.12, linewidth=0)
    axes.axhline(
        scale * line.value.estimate,
        color=line.look.colour,
        linewidth=1.5,
        dashes=line.look.dashes or (2.0, 2.0),
        zorder=2.5,
    )


@dataclass(frozen=True)
class Mark:
    """A method in the plane of violations and return, or one of its bars."""

    label: str
    look: Look
    x: Estimate
    y: Estimate
    hollow: bool = False
    """Drawn with an empty marker, for the test starts."""


def trade_off(
    name: str,
    marks: Sequence[Mark],
    *,
    axis: str = "episodes with a violation",
    percent: bool = True,
    limits: Sequence[float] = (),
    about: str = "",
) -> str:
    """Return over the share of violating episodes, or over what ``axis`` says, intervals both ways.

    ``limits``, in the unit of that axis, are drawn across.
    """
    scale = 100.0 if percent else 1.0
    with _figure() as (figure, axes):
        for mark in marks:
            if not np.isfinite([mark.x.estimate, mark.y.estimate]).all():
                continue
            x, y = scale * mark.x.estimate, mark.y.estimate
            axes.errorbar(
                x,
                y,
                xerr=_reach(x, scale * mark.x.lower, scale * mark.x.upper),
                yerr=_reach(y, mark.y.lower, mark.y.upper),
                color=mark.look.colour,
                marker=mark.look.marker,
                markersize=8,
                markerfacecolor=_PAPER if mark.hollow else mark.look.colour,
                markeredgecolor=mark.look.colour,
                markeredgewidth=1.5,
                elinewidth=1.2,
                capsize=2.5,
                linestyle="none",
                zorder=4 if mark.hollow else 3,
            )
        for limit in limits:
            axes.axvline(limit, **_LIMIT)
        axes.set_xlabel(axis)
        axes.set_ylabel("return")
        axes.margins(0.12)
        high = axes.get_xlim()[1]
        if percent:
            high = min(max(high, 5), 103)
            _percent_axis(axes.xaxis)
        axes.set_xlim(-0.03 * high, high)
        return _svg(figure, name, about or f"return over {axis}")


def _reach(value: float, lower: float, upper: float) -> list[list[float]]:
    """Lengths of an error bar; none at an end that does not exist."""
    return [
        [max(0.0, value - lower) if lower <= value else 0.0],
        [max(0.0, upper - value) if upper >= value else 0.0],
    ]


@dataclass(frozen=True)
class Bars:
    """One method's bars: an estimate for each group."""

    label: str
    look: Look
    values: Mapping[str, Estimate]


def bars(
    name: str,
    groups: Sequence[str],
    methods: Sequence[Bars],
    *,
    axis: str,
    percent: bool = False,
    top: float | None = None,
    about: str = "",
) -> str:
    """A group of bars for each constraint, one a method in the order of the legend, with intervals.

    ``top`` fixes the upper end of the axis (in the unit of the values), so that figures can be compared.
    """
    with _figure() as (figure, axes):
        scale = 100.0 if percent else 1.0
        width = 0.8 / max(1, len(methods))
        for index, method in enumerate(methods):
            for place, group in enumerate(groups):
                value = method.values.get(group)
                if value is None or not np.isfinite(value.estimate):
                    continue
                x, y = place + (index + 0.5) * width - 0.4, scale * value.estimate
                axes.bar(x, y, 0.9 * width, color=method.look.colour, linewidth=0, zorder=2)
                error = [[max(0.0, y - scale * value.lower)], [max(0.0, scale * value.upper - y)]]
                axes.errorbar(x, y, yerr=error, color=_INK, elinewidth=0.9, capsize=1.8, zorder=3)
                # A bar of height zero would look like a missing one.
                axes.plot(x, y, marker=method.look.marker, markersize=3.2, color=method.look.colour, zorder=4)
        axes.set_xticks(range(len(groups)), groups)
        axes.set_xlim(-0.6, len(groups) - 0.4)
        axes.tick_params(axis="x", length=0)
        axes.grid(visible=False, axis="x")
        axes.set_ylabel(axis)
        if percent:
            _percent_axis(axes.yaxis)
        axes.set_ylim(0, scale * top if top else None)
        return _svg(figure, name, about or f"{axis}, by constraint")


@dataclass(frozen=True)
class Path:
    """One episode on the board: positions ``[n + 1, 2]`` px, and which of the ``n`` steps violated."""

    points: np.ndarray
    violated: np.ndarray
    success: bool = True
    look: Look = field(default=LOOKS[0])


def board(
    name: str, which: Board, paths: Sequence[Path], *, goal_radius: float = 24.0, about: str = ""
) -> str:
    """Paths on the board; violating steps in red, a cross where an episode ended without success."""
    from surefoot.envs.marble_maze_view import draw_board_svg

    with _figure((3.0, 3.0), (0.0, 0.0, 1.0, 1.0)) as (figure, axes):
        draw_board_svg(axes, which, goal_radius=goal_radius)
        wrong: list[np.ndarray] = []
        for path in paths:
            x, y = path.points.T
            axes.plot(x, y, color=path.look.colour, alpha=0.5, linewidth=0.9, zorder=2)
            axes.plot(x[0], y[0], ".", color=path.look.colour, markersize=3, zorder=2)
            if not path.success:
                axes.plot(x[-1], y[-1], "x", color="#20242a", markersize=4, markeredgewidth=1, zorder=5)
            wrong += [path.points[i : i + 2] for i in np.flatnonzero(path.violated)]
        if wrong:
            gap = np.full((1, 2), np.nan)
            x, y = np.concatenate([part for pair in wrong for part in (pair, gap)]).T
            axes.plot(x, y, color="#ffffff", linewidth=2.8, alpha=0.8, solid_capstyle="round", zorder=3)
            axes.plot(x, y, color=VIOLATION, linewidth=1.7, solid_capstyle="round", zorder=4)
        return _svg(figure, name, about or "paths on the board")


def key(name: str, look: Look) -> str:
    """A piece of line with a marker, for a legend."""
    with _figure((0.42, 0.17), (0.0, 0.0, 1.0, 1.0)) as (figure, axes):
        axes.set_axis_off()
        axes.plot([0, 1], [0, 0], color=look.colour, linewidth=2, dashes=look.dashes or (None, None))
        axes.plot([0.5], [0], color=look.colour, marker=look.marker, markersize=6, markeredgewidth=0)
        axes.set_xlim(-0.1, 1.1)
        axes.set_ylim(-1, 1)
        return _svg(figure, name, "")


def binned(
    columns: Mapping[str, np.ndarray], name: str, bins: int = 60, share: float = 0.0
) -> tuple[np.ndarray, np.ndarray] | None:
    """A column of ``metrics.csv`` as ``steps [points]`` and ``values [seeds, points]``, smoothed.

    The steps are cut into at most ``bins`` equal stretches, each drawn at its end; a value is the mean
    over those around it that make up this ``share`` of the steps, and at least itself. Means over episodes
    are weighted by their number, if the column ``episodes`` says it. ``None`` if the column is missing or
    holds no number.
    """
    values = columns.get(name)
    if values is None or not np.isfinite(values).any():
        return None
    steps = columns["steps"]
    known, row = np.unique(columns["seed"], return_inverse=True)
    count = min(bins, len(np.unique(steps)))
    edges = np.linspace(0, steps.max(), count + 1)
    place = np.clip(np.searchsorted(edges, steps, side="left") - 1, 0, count - 1)
    weights = np.isfinite(values).astype(float)
    if is_episode_metric(name) and "episodes" in columns:
        weights *= np.nan_to_num(columns["episodes"])
    sums, counts = np.zeros((len(known), count)), np.zeros((len(known), count))
    np.add.at(sums, (row, place), weights * np.nan_to_num(values))
    np.add.at(counts, (row, place), weights)
    some = counts.any(axis=0)
    near = np.abs(np.subtract.outer(np.arange(count), np.arange(count))) <= int(share * count / 2)
    sums, counts = sums @ near, counts @ near
    means = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    return edges[1:][some], means[:, some]


def thousands(value: int | float) -> str:
    """250000 as 250k, 2000000 as 2M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _percent_axis(axis: Any) -> None:
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g} %"))


@contextmanager
def _figure(
    size: tuple[float, float] = _SIZE, place: tuple[float, float, float, float] | None = None
) -> Iterator[tuple[Figure, Any]]:
    """A figure with one pair of axes, in our style; ``place`` puts them exactly (shares of the figure)."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size, layout=None if place else "constrained")
        yield figure, figure.add_axes(place) if place else figure.add_subplot()


def _svg(figure: Figure, name: str, about: str) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return clean(buffer.getvalue(), name, about)


def clean(svg: str, name: str, about: str = "") -> str:
    """An SVG file of matplotlib as an element for a page: ids made unique by ``name``, colours left to
    the page, ``about`` for those who cannot see it."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    prefix = re.sub(r"[^A-Za-z0-9_-]+", "-", name) + "-"
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    svg = re.sub(r'href="#', f'href="#{prefix}', svg).replace("url(#", f"url(#{prefix}")
    for placeholder, value in _FROM_PAGE.items():
        svg = svg.replace(placeholder, value)
    svg = re.sub(r"(-?\d+\.\d\d)\d+", r"\1", svg)  # a hundredth of a point is fine enough
    box = re.search(r'viewBox="([^"]+)"', svg)
    hidden = f'role="img" aria-label="{html.escape(about)}"' if about else 'aria-hidden="true"'
    return re.sub(
        r"<svg[^>]*>",
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{box[1] if box else ""}" {hidden}>',
        svg,
        count=1,
    ).strip()
