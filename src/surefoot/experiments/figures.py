"""Figures of the experiments' pages, as SVG files that are equal for equal numbers."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surefoot.evaluation.statistics import Estimate
from surefoot.training.run import atomic_write

COLOURS = ("#444444", "#d62728", "#9467bd", "#8c564b", "#1f77b4", "#2ca02c", "#ff7f0e", "#17becf", "#7f7f7f")
MARKS = ("*", "X", "P", "v", "o", "s", "D", "^", "<")


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
        figure.legend(
            found.values(), found.keys(), loc="outside lower center", ncols=min(8, len(found)), fontsize=8
        )


def _save(figure: Any, path: Path) -> None:
    import matplotlib
    from matplotlib import pyplot

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "surefoot", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    pyplot.close(figure)
    lines = [line.rstrip() for line in buffer.getvalue().splitlines()]
    atomic_write(path, ("\n".join(lines) + "\n").encode())
