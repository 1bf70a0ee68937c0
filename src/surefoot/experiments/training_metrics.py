"""Metrics of a training as numbers of a cell: what each came to at the end, and its curve. NumPy only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from surefoot.errors import unknown
from surefoot.evaluation.statistics import Estimate, bootstrap_iqm
from surefoot.training.metrics import INDEX

POINTS = 50
"""Points that a curve is thinned to, so that it can stand in a summary."""
UNSAFE = "unsafe_epochs"
"""Share of the rows in which the mean cost of an episode was above its limit, of any constraint. Where a
row is an epoch, it is the share of unsafe behaviour policies. With ``eval_`` in front: as fresh episodes
judge it."""
WHOLE = (UNSAFE, "eval_" + UNSAFE)
"""Metrics whose number is the mean over the whole run, not over its last tenth."""


@dataclass(frozen=True)
class Curve:
    """A metric against the steps of training."""

    steps: np.ndarray
    """``[points]`` environment steps a seed."""
    values: np.ndarray
    """``[seeds, points]``; NaN where there is no number."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON, to four digits."""

        def number(x: float) -> float | None:
            return float(f"{x:.4g}") if math.isfinite(x) else None

        return {
            "steps": [int(step) for step in self.steps],
            "seeds": [[number(x) for x in row] for row in self.values],
        }

    def after(self, steps: int) -> np.ndarray:
        """``[seeds]``: mean of the last tenth of the first ``steps``; NaN entries are left out."""
        return _mean(self.values[:, (self.steps > 0.9 * steps) & (self.steps <= steps)])

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Curve:
        """The inverse of :meth:`as_dict`."""
        rows = [[math.nan if x is None else x for x in row] for row in found["seeds"]]
        return cls(np.array(found["steps"], int), np.array(rows, float))


@dataclass(frozen=True)
class Trained:
    """What the metrics of one training say."""

    metrics: Mapping[str, Estimate] = field(default_factory=dict)
    """Mean of the last tenth of the run (of the whole run for those in ``WHOLE``): interquartile mean over
    seeds, bootstrap over seeds."""
    per_seed: Mapping[str, list[float]] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)


def of(columns: Mapping[str, np.ndarray], names: Sequence[str], limits: Sequence[float] = ()) -> Trained:
    """The metrics of these names from the columns of ``metrics.csv``, see :meth:`Run.metrics`.

    ``limits``, of the costs in the order of their columns, or one for all, are what ``unsafe_epochs`` asks
    for. Raises :class:`SurefootError` for a metric that was not logged, or is no number at the end.
    """
    columns = {**columns, **unsafe(columns, limits)}
    curves = {name: logged(columns, name) for name in names}
    ends = {
        name: _mean(curve.values) if name in WHOLE else at_the_end(curve.values)
        for name, curve in curves.items()
    }
    return Trained(
        {name: bootstrap_iqm(values[:, None]) for name, values in ends.items()},
        {name: [round(float(x), 6) for x in values] for name, values in ends.items()},
        {name: thinned(curve) for name, curve in curves.items()},
    )


def unsafe(columns: Mapping[str, np.ndarray], limits: Sequence[float]) -> dict[str, np.ndarray]:
    """The columns of ``WHOLE``, 1 or 0 a row, NaN where no episode ended; those whose costs were logged."""
    found = {}
    for prefix in ("", "eval_"):
        costs = [values for name, values in columns.items() if name.startswith(f"{prefix}cost/")]
        if costs and limits:
            paid, bound = np.stack(costs), np.broadcast_to(limits, len(costs))
            over = np.any(paid > bound[:, None], axis=0).astype(float)
            found[prefix + UNSAFE] = np.where(np.isfinite(paid).all(axis=0), over, math.nan)
    return found


def logged(columns: Mapping[str, np.ndarray], name: str) -> Curve:
    """Every row of one metric, the seeds in the order of the run."""
    if name not in columns:
        raise unknown("metric of the training", name, (n for n in columns if n not in INDEX))
    seeds = list(dict.fromkeys(columns["seed"].tolist()))
    rows = [columns["seed"] == seed for seed in seeds]
    return Curve(columns["steps"][rows[0]], np.stack([columns[name][row] for row in rows]))


def at_the_end(values: np.ndarray) -> np.ndarray:
    """Mean of the last tenth of ``[seeds, rows]``, rounded up to whole rows; NaN entries are left out."""
    return _mean(values[:, -math.ceil(values.shape[1] / 10) :])


def thinned(curve: Curve, points: int = POINTS) -> Curve:
    """Means over equal stretches of rows, at most ``points`` of them, each at its last step."""
    rows = len(curve.steps)
    size = max(1, math.ceil(rows / points))
    firsts = range(0, rows, size)
    parts = [_mean(curve.values[:, first : first + size]) for first in firsts]
    lasts = [min(first + size, rows) - 1 for first in firsts]
    return Curve(curve.steps[lasts], np.stack(parts, axis=1))


def _mean(values: np.ndarray) -> np.ndarray:
    known = np.isfinite(values)
    total, count = np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1)
    return np.divide(total, count, out=np.full(len(values), math.nan), where=count > 0)
