"""Figures of the experiments' pages, as SVG files that are equal for equal numbers."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from surefoot.evaluation.statistics import Estimate, bootstrap_band
from surefoot.training.run import atomic_write

COLOURS = ("#444444", "#d62728", "#9467bd", "#8c564b", "#1f77b4", "#2ca02c", "#ff7f0e", "#17becf", "#7f7f7f")
MARKS = ("*", "X", "P", "v", "o", "s", "D", "^", "<")


Curves = dict[tuple[str, str], dict[str, tuple[np.ndarray, np.ndarray]]]
"""(column, row) -> method -> places ``[points]`` and values ``[seeds, points]``, see :func:`curves`."""


@dataclass(frozen=True)
class Point:
    """One value of an option, and what came of it from training and test starts."""

    value: float
    usual: bool
    violations: Sequence[Estimate | None]
    success: Sequence[Estimate | None]


def tradeoff(
    panels: Mapping[str, Mapping[str, Sequence[tuple[Estimate | None, Estimate | None]]]], path: Path
) -> None:
    """Panel -> method -> (violating episodes, return) from training and test starts."""
    figure, axes = _panels(len(panels), 3.6, 3.2)
    style = _styles(panels)
    for axis, (title, methods) in zip(axes, panels.items(), strict=True):
        for method, pairs in methods.items():
            for index, (x, y) in enumerate(pairs):
                if x is None or y is None:
                    continue
                colour, mark = style[method]
                axis.errorbar(
                    100 * x.estimate,
                    y.estimate,
                    xerr=_bar(x, 100.0),
                    yerr=_bar(y),
                    fmt=mark,
                    color=colour,
                    markerfacecolor=colour if index == 0 else "white",
                    markersize=7,
                    linewidth=1,
                    label=method if index == 0 else None,
                )
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("violating episodes (%)", fontsize=8)
        axis.set_xlim(-3, 103)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.25)
    axes[0].set_ylabel("return", fontsize=8)
    _legend(figure, axes)
    _save(figure, path)


def scatter(
    panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]],
    path: Path,
    *,
    across: str,
    up: str,
    methods: Sequence[str] = (),
) -> None:
    """Panel -> method -> points, all panels on the same axes; ``methods`` fixes the colours, as in
    :func:`curves`."""
    figure, axes = _panels(len(panels), 3.8, 3.4)
    named: dict[str, Mapping[str, Any]] = {"": dict.fromkeys(methods)}
    style = _styles(named | dict(panels))
    highest = max(
        (y for panel in panels.values() for points in panel.values() for _, y in points), default=1.0
    )
    for axis, (title, panel) in zip(axes, panels.items(), strict=True):
        for method, points in panel.items():
            colour, mark = style[method]
            axis.plot(*zip(*points, strict=True), mark, color=colour, markersize=7, alpha=0.8, label=method)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel(across, fontsize=8)
        axis.set(xlim=(-4, 104), ylim=(-0.05, 1.08 * max(1.0, highest)))
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.25)
    axes[0].set_ylabel(up, fontsize=8)
    _legend(figure, axes)
    _save(figure, path)


def functions(
    lines: Mapping[str, tuple[Any, Any, Any]], path: Path, *, across: str, up: str, edge: float
) -> None:
    """Name -> places, values, and values of a second, dashed line; ``edge`` is where the first ends."""
    figure, (axis,) = _panels(1, 5.0, 3.2)
    finite = []
    for colour, (name, (places, values, dashed)) in zip(COLOURS[4:], lines.items(), strict=False):
        axis.plot(places, values, color=colour, linewidth=1.4, label=name)
        axis.plot(places, dashed, color=colour, linewidth=0.9, linestyle="--")
        finite += [value for value in values if math.isfinite(value)]
    axis.axvline(edge, color="red", linewidth=1, linestyle="--")
    axis.axhline(0.0, color="black", linewidth=0.6)
    axis.set_xlabel(across, fontsize=8)
    axis.set_ylabel(up, fontsize=8)
    axis.set_ylim(1.2 * min(finite), 0.6 * max(finite))
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.25)
    _legend(figure, [axis])
    _save(figure, path)


def bars(
    panels: Mapping[str, Mapping[str, Sequence[Estimate | None]]],
    groups: Mapping[str, Sequence[str]],
    path: Path,
) -> None:
    """Panel -> method -> one share a constraint; ``groups`` names the constraints of each panel."""
    figure, axes = _panels(len(panels), 3.6, 3.0, [len(groups[title]) for title in panels])
    style = _styles(panels)
    for axis, (title, methods) in zip(axes, panels.items(), strict=True):
        width = 0.84 / max(len(methods), 1)
        for row, (method, values) in enumerate(methods.items()):
            for group, value in enumerate(values):
                if value is None:
                    continue
                axis.bar(
                    group - 0.42 + (row + 0.5) * width,
                    100 * value.estimate,
                    width,
                    yerr=_bar(value, 100.0),
                    color=style[method][0],
                    error_kw={"linewidth": 0.8},
                    label=method if group == 0 else None,
                )
        axis.set_title(title, fontsize=9)
        axis.set_xticks(range(len(groups[title])), groups[title], fontsize=8)
        axis.set_ylim(0, 103)
        axis.tick_params(labelsize=8)
        axis.grid(axis="y", alpha=0.25)
    axes[0].set_ylabel("violating episodes (%)", fontsize=8)
    _legend(figure, axes)
    _save(figure, path)


def sensitivity(panels: Mapping[str, Sequence[Point]], path: Path) -> None:
    """Option -> points in rising order; violations above, success below."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, grid = pyplot.subplots(
        2, len(panels), figsize=(2.9 * len(panels), 4.4), squeeze=False, sharex="col", layout="constrained"
    )
    rows = (("violating steps\nan episode", "violations", 1.0), ("success (%)", "success", 100.0))
    for column, (title, points) in enumerate(panels.items()):
        for row, (label, name, scale) in enumerate(rows):
            axis = grid[row][column]
            for index in (0, 1):
                known = [(p, e) for p in points if (e := getattr(p, name)[index]) is not None]
                if not known:
                    continue
                axis.errorbar(
                    [point.value for point, _ in known],
                    [scale * value.estimate for _, value in known],
                    yerr=[[_bar(value, scale)[side][0] for _, value in known] for side in (0, 1)],
                    fmt="o-" if index == 0 else "o--",
                    color=COLOURS[4],
                    markerfacecolor=COLOURS[4] if index == 0 else "white",
                    linewidth=1,
                    markersize=5,
                )
                usual = [(p.value, scale * e.estimate) for p, e in known if p.usual]
                if usual:
                    ring = {"color": "none", "markeredgecolor": "black", "markersize": 11}
                    axis.plot(*zip(*usual, strict=True), "o", **ring)
            values = [point.value for point in points]
            if min(values) > 0 and max(values) / min(values) > 20:
                axis.set_xscale("log")
            if column == 0:
                axis.set_ylabel(label, fontsize=8)
            axis.set_ylim(bottom=0, top=103 if name == "success" else None)
            axis.tick_params(labelsize=8)
            axis.grid(alpha=0.25)
        grid[0][column].set_title(title, fontsize=9)
    _save(figure, path)


def curves(
    panels: Mapping[tuple[str, str], Mapping[str, tuple[Any, Any]]],
    path: Path,
    *,
    along: str,
    limits: Mapping[str, float] | None = None,
    log: bool = False,
    methods: Sequence[str] = (),
    dashed: Sequence[str] = (),
) -> None:
    """(column, row) -> method -> places ``[points]`` and values ``[seeds, points]``.

    Drawn are the mean and a bootstrap band over seeds. ``along`` names the horizontal axis, which is
    logarithmic with ``log``. ``limits`` are heights at which the panels of a row have a red line.
    ``methods`` fixes the colours where not all of them are in every figure; those in ``dashed`` have dashed
    lines. The panels of a row, or of a column, need not all be there.
    """
    figure, grid, columns, rows = _grid(panels, 3.6, 2.4, sharex="col")
    named = {"": dict.fromkeys(methods)}
    style = _styles(named | {str(key): panel for key, panel in panels.items()})
    for (column, row), panel in panels.items():
        axis = grid[rows.index(row)][columns.index(column)]
        for method, (places, values) in panel.items():
            colour, _ = style[method]
            mean, lower, upper = bootstrap_band(values)
            axis.fill_between(places, lower, upper, color=colour, alpha=0.15, linewidth=0)
            stroke = "--" if method in dashed else "-"
            axis.plot(places, mean, color=colour, linewidth=1.3, linestyle=stroke, label=method)
        axis.axhline(0.0, color="black", linewidth=0.6)
        if limits and row in limits:
            axis.axhline(limits[row], color="red", linewidth=1, linestyle="--")
        if log:
            axis.set_xscale("log")
        axis.grid(alpha=0.25)
        axis.tick_params(labelsize=8)
    for axis, column in zip(grid[0], columns, strict=True):
        axis.set_title(column, fontsize=9)
    for axis in grid[-1]:
        axis.set_xlabel(along, fontsize=8)
    for line, row in zip(grid, rows, strict=True):
        line[0].set_ylabel(row, fontsize=8)
    _legend(figure, [axis for line in grid for axis in line])
    _save(figure, path)


def states(
    panels: Mapping[tuple[str, str], Any],
    densities: Mapping[str, tuple[tuple[float, float, float, float], Any]],
    path: Path,
) -> None:
    """(row, column) -> positions ``[seeds, points, 2]`` as dots, or nothing, over lines of equal density.

    ``densities`` has for each row the edges (left, right, lower, upper) and the values ``[y, x]``.
    """
    swapped = {(column, row): points for (row, column), points in panels.items()}
    figure, grid, columns, rows = _grid(swapped, 1.9, 2.0)
    for (column, row), points in swapped.items():
        axis = grid[rows.index(row)][columns.index(column)]
        extent, density = densities[row]
        if points is None:
            axis.set_axis_off()
            continue
        for seed, dots in enumerate(points):
            colour = COLOURS[(4 + seed) % len(COLOURS)]
            # Thousands of dots, each an element of the file otherwise.
            axis.plot(*dots.T, ".", color=colour, markersize=1.5, alpha=0.5, rasterized=True)
        levels = [share * density.max() for share in (0.1, 0.4, 0.7, 0.95)]
        axis.contour(density, levels=levels, extent=extent, colors="black", linewidths=0.7)
        left, right, low, high = extent
        margin = 0.03 * (right - left)
        axis.set(xlim=(left - margin, right + margin), ylim=(low - margin, high + margin), aspect="equal")
        axis.set(xticks=[], yticks=[])
    for axis, column in zip(grid[0], columns, strict=True):
        axis.set_title(column, fontsize=8)
    for line, row in zip(grid, rows, strict=True):
        line[0].set_ylabel(row, fontsize=8)
    _save(figure, path)


def heat_maps(
    panels: Mapping[str, Any],
    path: Path,
    *,
    across: tuple[str, Sequence[str]],
    up: tuple[str, Sequence[str]],
    label: str,
) -> None:
    """Title -> numbers ``[up, across]``, NaN where there is none, on one colour scale.

    ``across`` and ``up`` name the axes and what stands at each place of them, ``label`` what the numbers are.
    """
    figure, axes = _panels(len(panels), 0.55 * len(across[1]) + 1.6, 0.45 * len(up[1]) + 1.5)
    known = np.concatenate([np.ravel(values) for values in panels.values()])
    known = known[np.isfinite(known)]
    low, high = (known.min(), known.max()) if len(known) else (0.0, 1.0)
    image = None
    for axis, (title, values) in zip(axes, panels.items(), strict=True):
        image = axis.imshow(values, origin="lower", vmin=low, vmax=high, cmap="viridis", aspect="auto")
        for row, line in enumerate(values):
            for column, value in enumerate(line):
                if math.isfinite(value):
                    dark = value < (low + high) / 2
                    axis.text(
                        column, row, f"{value:.1f}", ha="center", va="center", fontsize=7,
                        color="white" if dark else "black",
                    )  # fmt: skip
        axis.set_title(title, fontsize=9)
        axis.set_xlabel(across[0], fontsize=8)
        axis.set_xticks(range(len(across[1])), across[1], fontsize=7)
        axis.set_yticks(range(len(up[1])), up[1], fontsize=7)
    axes[0].set_ylabel(up[0], fontsize=8)
    if image is not None:
        figure.colorbar(image, ax=axes, label=label, fraction=0.05)
    _save(figure, path)


def fields(
    panels: Mapping[tuple[str, str], Any], extent: tuple[float, float, float, float], path: Path
) -> None:
    """(column, title) -> numbers ``[y, x]`` over the plane within ``extent``, each in its own colours."""
    figure, axes = _panels(len(panels), 2.9, 2.5)
    for axis, ((name, title), values) in zip(axes, panels.items(), strict=True):
        image = axis.imshow(
            values, origin="lower", extent=extent, cmap="viridis", interpolation="nearest", rasterized=True
        )
        axis.set_title(f"{name}\n{title}", fontsize=8)
        axis.tick_params(labelsize=7)
        figure.colorbar(image, ax=axis, fraction=0.05)
    _save(figure, path)


def _grid(
    panels: Mapping[tuple[str, str], Any], width: float, height: float, **shared: Any
) -> tuple[Any, list[list[Any]], list[str], list[str]]:
    """A figure with an axis for each column and row of the keys; and the names of both."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = list(dict.fromkeys(column for column, _ in panels))
    rows = list(dict.fromkeys(row for _, row in panels))
    size = (width * len(columns), height * len(rows))
    figure, axes = pyplot.subplots(
        len(rows), len(columns), figsize=size, squeeze=False, layout="constrained", **shared
    )
    return figure, [list(line) for line in axes], columns, rows


def _panels(count: int, width: float, height: float, ratios: Sequence[int] | None = None) -> tuple[Any, list]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        1, count, figsize=(max(width * count, 5.0), height), squeeze=False, sharey=ratios is not None,
        width_ratios=ratios, layout="constrained",
    )  # fmt: skip
    return figure, list(axes[0])


def _styles(panels: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[str, str]]:
    """Colour and mark of each method, the same in every panel."""
    methods = list(dict.fromkeys(method for panel in panels.values() for method in panel))
    return {method: (COLOURS[i % len(COLOURS)], MARKS[i % len(MARKS)]) for i, method in enumerate(methods)}


def _bar(value: Estimate, scale: float = 1.0) -> list[list[float]]:
    """Lengths of the error bar below and above, as matplotlib wants them; 0 where the end is unknown."""

    def length(x: float) -> float:
        return max(0.0, scale * x) if math.isfinite(x) else 0.0

    return [[length(value.estimate - value.lower)], [length(value.upper - value.estimate)]]


def _legend(figure: Any, axes: Sequence[Any]) -> None:
    found: dict[str, Any] = {}
    for axis in axes:
        handles, labels = axis.get_legend_handles_labels()
        found |= {label: handle for handle, label in zip(handles, labels, strict=True) if label not in found}
    if found:
        entry = max(1.15, 0.55 + 0.06 * max(map(len, found)))  # its width, in inches, more or less
        across = max(1, min(8, len(found), int(figure.get_figwidth() / entry)))
        figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=across, fontsize=8)


def _save(figure: Any, path: Path) -> None:
    import matplotlib
    from matplotlib import pyplot

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "surefoot", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    pyplot.close(figure)
    lines = [line.rstrip() for line in in_hexadecimal(buffer.getvalue()).splitlines()]
    atomic_write(path, ("\n".join(lines) + "\n").encode())


def in_hexadecimal(svg: str) -> str:
    """``svg`` with images percent-encoded, for base64 spells words by chance, which searches then find."""

    def encoded(found: re.Match[str]) -> str:
        return "data:image/png,%" + base64.b64decode(found[1]).hex("%").upper()

    return re.sub(r"data:image/png;base64,([A-Za-z0-9+/=\s]+)", encoded, svg)
