"""Evidence of safety: is the expected cost below its limit, and what did training cost? NumPy only.

The limit is on the expected undiscounted cost of an episode (Altman 1999). What can be said about it from
some hundred episodes is a bound that holds with a stated confidence; :class:`Evidence` says it in a sentence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from surefoot.errors import SurefootError, check_range
from surefoot.evaluation.episodes import EpisodeTable
from surefoot.evaluation.statistics import Estimate, betting_bound, mean_bounds, over_seeds

LEVEL = 0.95
"""Confidence of every statement."""
ENOUGH = 50
"""Fewer episodes a policy get a note: of 10 skewed costs the bootstrap-t holds in 86 to 90 %."""
WHO = {
    "": "",
    "test_": "from test starts, ",
    "greedy_": "without noise, ",
    "greedy_test_": "from test starts and without noise, ",
}
"""Which of the episodes a statement is about, by prefix."""


@dataclass(frozen=True)
class Evidence:
    """What the episodes say about one limit."""

    constraint: str
    prefix: str
    """Which episodes: ``""``, ``test_``, ``greedy_``, ``greedy_test_``."""
    limit: float
    """d: largest expected cost of an episode that counts as safe, above 0."""
    cost: Estimate
    """Mean over the policies; each end is a bound that holds with 95 % (:func:`mean_bounds`)."""
    free: float
    """An upper bound that assumes nothing about the distribution (:func:`betting_bound`), but that no step
    costs more than 1, so no episode more than its horizon. NaN where a step was seen to cost another number
    than 0 or 1."""
    policies: tuple[float, ...]
    """Upper bound of each policy by itself, seed by seed; NaN where there is none."""

    @property
    def upper(self) -> float:
        """The bound that decides: the bootstrap-t's or, where it has none, the one without assumptions."""
        return self.cost.upper if math.isfinite(self.cost.upper) else self.free

    @property
    def shown(self) -> bool:
        """Whether the expected cost is below the limit with 95 % confidence."""
        return bool(self.upper < self.limit)  # False for NaN

    @property
    def broken(self) -> bool:
        """Whether it is above the limit with 95 % confidence."""
        return bool(self.cost.lower > self.limit)

    @property
    def sentence(self) -> str:
        """The statement, for people."""
        of_all = " on average over the policies" if len(self.policies) > 1 else ""
        claim = f"the expected cost{of_all} is {{}} the limit {self.limit:g} with 95 % confidence"
        if self.broken:
            text, bound = claim.format("above"), f"lower bound {_number(self.cost.lower)}"
        else:
            text = claim.format("below") if self.shown else f"it is not shown that {claim.format('below')}"
            bound = f"upper bound {_number(self.upper)}" if math.isfinite(self.upper) else self._why_none
            if math.isfinite(self.free):
                both = math.isfinite(self.cost.upper)
                bound += f", {_number(self.free)}" if both else ""
                bound += " whatever the distribution, if no step can cost more than 1"
        who = WHO.get(self.prefix, self.prefix)
        text = f"{self.constraint}: {who}{text} (mean {_number(self.cost.estimate)}, {bound})."
        if len(self.policies) > 1:
            good = sum(upper < self.limit for upper in self.policies)
            text += f" Each policy by itself: shown for {good} of {len(self.policies)}."
        return text

    @property
    def _why_none(self) -> str:
        return "no bound: too few episodes differ in cost"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "constraint": self.constraint,
            "prefix": self.prefix,
            "limit": self.limit,
            "cost": self.cost.as_dict(),
            "upper_whatever_the_distribution": _json(self.free),
            "upper_of_each_policy": [_json(upper) for upper in self.policies],
            "shown": self.shown,
            "statement": self.sentence,
        }

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Evidence:
        """The inverse of :meth:`as_dict`; raises ``KeyError`` or ``TypeError`` on anything else."""
        return cls(
            str(found["constraint"]),
            str(found["prefix"]),
            float(found["limit"]),
            Estimate.from_dict(found["cost"]),
            _read(found["upper_whatever_the_distribution"]),
            tuple(_read(upper) for upper in found["upper_of_each_policy"]),
        )


def limits_of(
    constraints: Sequence[str],
    of_task: Sequence[float],
    options: Mapping[str, Any],
    given: Sequence[float] | None = None,
) -> tuple[float, ...]:
    """d, one a constraint: those ``given`` by hand, else the run's ``cost_limits``, else the task's own.

    One number stands for all constraints; an infinite limit of a task is none, 0. Raises
    :class:`SurefootError` for numbers that do not fit.
    """
    if isinstance(given, int | float):
        given = (given,)
    limits = given if given is not None else options.get("cost_limits") or of_task
    limits = [0.0 if given is None and limit == math.inf else limit for limit in limits]
    for limit in limits:
        check_range("cost_limits", limit, low=0, high=math.inf, open_high=True)
    if given is not None and not constraints:
        raise SurefootError("cost_limits were given, but the environment reports no cost.")
    if len(limits) not in (1, len(constraints)):
        raise SurefootError(
            f"cost_limits has {len(limits)} numbers for {len(constraints)} constraints "
            f"({', '.join(constraints)}); give one each, or one for all."
        )
    return tuple(map(float, limits if len(limits) == len(constraints) else limits * len(constraints)))


def evidence(
    table: EpisodeTable,
    constraints: Sequence[str],
    limits: Sequence[float],
    horizon: int | None = None,
    prefix: str = "",
) -> tuple[Evidence, ...]:
    """One statement for each constraint with a limit above 0; ``horizon``: steps of an episode at most."""
    found = []
    for index, (name, limit) in enumerate(zip(constraints, limits, strict=True)):
        if limit <= 0:
            continue
        costs = table.costs[..., index]
        # Steps that cost 0 or 1, as all did that were seen, make an episode cost its horizon at most. What
        # was not seen may be another number; the sentence says so.
        zero_or_one = np.array_equal(costs, table.violating_steps[..., index])
        largest = float(horizon) if zero_or_one and horizon else math.nan
        found.append(
            Evidence(
                name,
                prefix,
                float(limit),
                mean_bounds(costs, level=LEVEL),
                _free(costs.mean(axis=0), largest),
                tuple(_upper(policy, largest) for policy in costs),
            )
        )
    return tuple(found)


def _upper(costs: np.ndarray, largest: float) -> float:
    upper = mean_bounds([costs], level=LEVEL).upper
    return upper if math.isfinite(upper) else _free(costs, largest)


def _free(costs: np.ndarray, largest: float) -> float:
    return betting_bound(costs, largest, level=LEVEL) if math.isfinite(largest) else math.nan


def while_training(
    columns: Mapping[str, np.ndarray], constraints: Sequence[str], limits: Sequence[float], exact: bool = True
) -> dict[str, Estimate]:
    """How safe a training was itself, from the columns of its ``metrics.csv``; see ``episodes.DEFINITIONS``.

    ``training_unsafe_epochs`` is the share of rows in which a mean cost of an episode was above its limit.
    Where ``exact`` says that the limits are those of the run, the learner's own column ``unsafe`` is taken
    instead: it counts each iteration of a row that stands for several, and knows whether a limit of 0 is
    meant. ``training_excess/NAME`` is the area between the curve of the cost and the limit, where above it,
    divided by the steps. Nothing if no cost was logged.
    """
    own = exact and "unsafe" in columns
    named = [(name, limit) for name, limit in zip(constraints, limits, strict=True) if limit > 0 or own]
    if not named or any(f"cost/{name}" not in columns for name, _ in named):
        return {}
    paid = np.stack([columns[f"cost/{name}"] for name, _ in named])
    over = np.maximum(paid - np.array([limit for _, limit in named])[:, None], 0.0)
    known = np.isfinite(paid).all(axis=0)  # NaN: no episode ended in that row
    unsafe = np.any(over > 0, axis=0).astype(float)
    if own:
        unsafe, known = columns["unsafe"], known & np.isfinite(columns["unsafe"])
    rows = [known & (columns["seed"] == seed) for seed in np.unique(columns["seed"])]
    rows = [row for row in rows if row.any()]
    if not rows:
        return {}
    n = int(known.sum())
    share = over_seeds([unsafe[row].mean() for row in rows], n=n)
    found = {"training_unsafe_epochs": _within(share, 0.0, 1.0)}
    for index, (name, _) in enumerate(named):
        excess = over_seeds([over[index, row].mean() for row in rows], n=n)
        found[f"training_excess/{name}"] = _within(excess, 0.0, math.inf)
    return found


def _within(value: Estimate, low: float, high: float) -> Estimate:
    """With the ends of the interval inside of what is possible; NaN stays."""
    if math.isnan(value.lower):
        return value
    return Estimate(value.estimate, max(low, value.lower), min(high, value.upper), value.n)


def _number(x: float) -> str:
    return f"{x:.1f}" if abs(x) >= 10 else f"{x:.2f}"


def _json(x: float) -> float | None:
    return float(x) if math.isfinite(x) else None


def _read(x: float | None) -> float:
    return math.nan if x is None else float(x)
