"""Pictures of learned rewards: a heat map over two entries of the state, or lines along trajectories."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from surefoot.reports.plots import look
from surefoot.training.run import atomic_write

LARGEST = 6
"""Seeds drawn side by side at most."""


def heat_maps(
    values: Mapping[str, np.ndarray],
    extent: tuple[float, float, float, float],
    labels: tuple[str, str],
    *,
    title: str = "",
    points: np.ndarray | None = None,
) -> Figure:
    """One map a title in ``values``, all in one scale of colours.

    Args:
        values: title -> ``[y, x]``, the first row at the lower edge; NaN is left white.
        extent: left, right, lower and upper edge.
        labels: of the horizontal and the vertical axis.
        title: of all.
        points: ``[n, 2]``, drawn as dots, such as demonstrated states.
    """
    shown = dict(list(values.items())[:LARGEST])
    low, high = (limit([limit(v[np.isfinite(v)]) for v in shown.values()]) for limit in (np.min, np.max))
    figure = Figure(figsize=(3.1 * len(shown) + 0.9, 3.3), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(shown), sharey=True, squeeze=True))
    drawn: Any = None
    for ax, (name, grid) in zip(axes, shown.items(), strict=True):
        drawn = ax.imshow(grid, origin="lower", extent=extent, vmin=low, vmax=high, cmap="viridis")
        ax.set(title=name, xlabel=labels[0])
        if points is not None:
            ax.plot(*points.T, ".", color="white", markersize=2, alpha=0.5)
        ax.set_xlim(extent[0], extent[1])
        ax.set_ylim(extent[2], extent[3])
    axes[0].set_ylabel(labels[1])
    figure.colorbar(drawn, ax=list(axes), label="reward", shrink=0.85)
    if title:
        figure.suptitle(title)
    return figure


def along(lines: Mapping[str, Sequence[np.ndarray]], *, title: str = "") -> Figure:
    """Reward of each step of trajectories: a thin line a trajectory, a colour a title."""
    figure = Figure(figsize=(7.0, 3.3), layout="constrained")
    axes = figure.subplots()
    for index, (name, trajectories) in enumerate(lines.items()):
        style = look(index)
        for number, values in enumerate(trajectories):
            dashes: Any = (0, style.dashes) if style.dashes else "-"
            label = name if number == 0 else None
            axes.plot(values, color=style.colour, linestyle=dashes, linewidth=0.8, alpha=0.7, label=label)
    axes.set(xlabel="step", ylabel="reward", title=title)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def write(figure: Figure, path: Path) -> None:
    """As PNG, SVG or PDF, by the name's ending; whole or not at all."""
    with matplotlib.rc_context({"svg.hashsalt": "surefoot"}):
        data = io.BytesIO()
        figure.savefig(data, format=path.suffix.lstrip(".") or "png", dpi=150)
    atomic_write(path, data.getvalue())
