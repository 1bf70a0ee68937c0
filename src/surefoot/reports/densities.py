"""Pictures of densities over states: a heat map over two entries, a curve over one, an agent's states in it.

>>> from surefoot.numerics.density import Gaussian                                 # doctest: +SKIP
>>> draw(Gaussian((2, 2), 0.5), (0, 0), (4, 4)).savefig("density.png")             # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from surefoot.errors import SurefootError
from surefoot.reports.plots import look

CELLS = 200
"""Points along each side of a heat map, and along a curve."""
MOST_STATES = 3_000
"""Dots in a panel at most."""


def draw(
    density: Any,
    low: Sequence[float | int] | None = None,
    high: Sequence[float | int] | None = None,
    *,
    dimensions: Sequence[int] | None = None,
    at: Sequence[float | int] | None = None,
    states: Mapping[str, np.ndarray] | np.ndarray | None = None,
    labels: Sequence[str] | None = None,
    title: str = "",
) -> Figure:
    """A density, white where it is zero; one panel for each set of states.

    Args:
        density: one of :mod:`surefoot.numerics.density`, or text that means one. A density that is not
            normalised is drawn relative to its largest value, and says so.
        low, high: bounds of the picture, one number for each entry of the state that is drawn. Where they
            are left out, the density must lie somewhere by itself, see
            :func:`surefoot.numerics.density.extent`.
        dimensions: the one or two entries that are drawn; the first two if left out.
        at: a whole state, whose other entries are those of the slice that is drawn; the middle of what the
            density extends over if left out.
        states: ``[..., d]``, drawn as dots, or in one dimension as a histogram; a dictionary of titles to
            states is one panel each.
        labels: of the entries that are drawn.
        title: of all.

    Raises:
        SurefootError: what is given does not fit, or the density is NaN, infinite, or zero all over.
    """
    view = look_at(density, low, high, dimensions=dimensions, at=at)
    panels = {"": None} if states is None else states if isinstance(states, Mapping) else {"": states}
    shown = {name: None if one is None else _chosen(one, view) for name, one in panels.items()}
    labels = [f"state {i}" for i in view.dimensions] if labels is None else list(labels)
    if len(view.dimensions) == 1:
        return _curves(view, shown, labels[0], title)
    figure = Figure(figsize=(3.1 * len(shown) + 1.3, 3.7), layout="constrained")
    axes = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    sides = float((view.high[1] - view.low[1]) / (view.high[0] - view.low[0]))
    drawn: Any = None
    for ax, (name, dots) in zip(axes, shown.items(), strict=True):
        drawn = ax.imshow(
            np.where(view.values > 0, view.values, np.nan).T,
            origin="lower",
            extent=(view.low[0], view.high[0], view.low[1], view.high[1]),
            vmin=0,
            cmap="viridis",
            aspect="auto",
        )
        if dots is not None:
            ax.plot(*_some(dots).T, ".", color="#FF7043", markersize=3, alpha=0.6, markeredgewidth=0)
        ax.set(title=name, xlabel=labels[0])
        ax.set_xlim(view.low[0], view.high[0])
        ax.set_ylim(view.low[1], view.high[1])
        ax.set_box_aspect(sides if 0.4 < sides < 2.5 else 1)
    axes[0].set_ylabel(labels[1])
    figure.colorbar(drawn, ax=list(axes), label=view.unit, shrink=0.85)
    if title:
        figure.suptitle(title)
    return figure


@dataclass(frozen=True)
class View:
    """A density on a grid over one or two entries of the state."""

    dimensions: tuple[int, ...]
    low: np.ndarray
    high: np.ndarray
    """Bounds of the picture."""
    at: np.ndarray
    """A whole state: its other entries are those of the slice."""
    values: np.ndarray
    """At the middles of the cells, the last dimension fastest."""
    unit: str
    """What these numbers are."""
    zero: float
    """Share of the picture where the density is zero."""
    mass: float | None
    """Integral over the picture; ``None`` for a slice, or if the density is not normalised."""


def look_at(
    density: Any,
    low: Sequence[float | int] | None = None,
    high: Sequence[float | int] | None = None,
    *,
    dimensions: Sequence[int] | None = None,
    at: Sequence[float | int] | None = None,
) -> View:
    """The numbers of a picture; arguments and errors as of :func:`draw`."""
    from surefoot.numerics.density import extent
    from surefoot.numerics.density_text import density_of

    density = density_of(density)
    if (low is None) != (high is None):
        raise SurefootError("Give both bounds of the picture, low and high, or none of them.")
    size = density.size
    if size is None:
        size = next((len(each) for each in (at, low) if each is not None), None)
    found = extent(density)
    if size is None or (found is None and low is None):
        raise SurefootError(
            "This density does not say where it lies; give the bounds of the picture, low and high, with a "
            "number for each entry of the state, such as --low 0 0 --high 4 4."
        )
    chosen = tuple(range(min(size, 2))) if dimensions is None else tuple(dimensions)
    if len(chosen) not in (1, 2) or len(set(chosen)) != len(chosen) or not all(0 <= i < size for i in chosen):
        raise SurefootError(f"dimensions = {chosen}: give one or two different entries, of 0 to {size - 1}.")
    if low is not None and high is not None:
        bounds = _bounds(low, high, len(chosen))
    else:
        assert found is not None
        bounds = np.array(found)[:, list(chosen)]
    middle = np.zeros(size) if found is None else np.mean(found, axis=0)
    if at is not None:
        middle = np.asarray(at, float)
        if middle.shape != (size,) or not np.isfinite(middle).all():
            raise SurefootError(f"at = {tuple(at)}: give a whole state, {size} finite numbers.")
    elif found is None and len(chosen) < size:
        raise SurefootError(
            f"Give at, a state of {size} numbers in which the other entries stay as they are."
        )
    return _view(density, chosen, bounds[0], bounds[1], middle)


def _view(
    density: Any, dimensions: tuple[int, ...], low: np.ndarray, high: np.ndarray, at: np.ndarray
) -> View:
    import jax.numpy as jnp

    from surefoot.numerics.density import check_density, grid

    cells = grid(low, high, CELLS)
    points = np.tile(at.astype(np.float32), (len(cells), 1))
    points[:, list(dimensions)] = cells
    check_density(density, len(at), points)
    logs = np.asarray(density.log_prob(jnp.asarray(points)), np.float64)
    values = np.exp(logs - (0.0 if density.normalised else np.max(logs)))
    unit = "density" if density.normalised else "density / its largest value\n(not normalised)"
    others = [i for i in range(len(at)) if i not in dimensions]
    if others:
        unit += "\nwhere " + ", ".join(f"s{i} = {at[i]:.3g}" for i in others)
    cell = float(np.prod((high - low) / CELLS))
    mass = float(np.sum(values)) * cell if density.normalised and not others else None
    shape = (CELLS,) * len(dimensions)
    zero = float(np.mean(np.isneginf(logs)))
    return View(dimensions, low, high, at, values.reshape(shape), unit, zero, mass)


def _bounds(low: Sequence[float | int], high: Sequence[float | int], size: int) -> np.ndarray:
    given = f"low = {tuple(low)}, high = {tuple(high)}"
    if len(low) != size or len(high) != size:
        raise SurefootError(f"{given}: give one number for each entry that is drawn, so {size} in each.")
    bounds = np.array([low, high], float)
    if not np.isfinite(bounds).all() or not (bounds[0] < bounds[1]).all():
        raise SurefootError(f"{given}: give finite numbers, each of low below that of high.")
    return bounds


def _chosen(states: np.ndarray, view: View) -> np.ndarray:
    """The drawn entries of the states, ``[n, 1 or 2]``."""
    size = len(view.at)
    states = np.asarray(states)
    if not states.ndim or states.shape[-1] != size:
        raise SurefootError(
            f"The density is over {size} numbers, but the states are of shape {states.shape}; give those "
            "entries of the state that it speaks of."
        )
    return states.reshape(-1, size)[:, list(view.dimensions)]


def _some(states: np.ndarray) -> np.ndarray:
    return states[:: max(1, -(-len(states) // MOST_STATES))]


def _curves(view: View, shown: Mapping[str, np.ndarray | None], label: str, title: str) -> Figure:
    """The density of one entry, and histograms of states, in the density's scale."""
    figure = Figure(figsize=(5.5, 3.3), layout="constrained")
    axes = figure.subplots()
    edges = np.linspace(view.low[0], view.high[0], 61)
    width = float(edges[1] - edges[0])
    given = {name: states for name, states in shown.items() if states is not None}
    for index, (name, states) in enumerate(given.items()):
        counts = np.histogram(states, edges)[0]
        heights = counts / max(1, np.max(counts)) if view.mass is None else counts / len(states) / width
        colour = look(index + 1).colour
        axes.stairs(heights, edges, fill=True, alpha=0.35, color=colour, label=name or "states")
    middles = view.low[0] + (np.arange(CELLS) + 0.5) * (view.high[0] - view.low[0]) / CELLS
    axes.plot(middles, view.values, color=look(0).colour, label="density")
    axes.set(xlabel=label, ylabel=view.unit, title=title, xlim=(view.low[0], view.high[0]))
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    if len(axes.get_legend_handles_labels()[0]) > 1:
        axes.legend(frameon=False)
    return figure
