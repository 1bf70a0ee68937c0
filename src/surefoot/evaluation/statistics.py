"""Estimates with intervals. NumPy only; SciPy is imported where it is used.

Two kinds of number leave an evaluation, and each has its interval:

- a **score** of a seed (return, violating steps an episode): the mean over its episodes. A method's
  number is the interquartile mean over seeds (Agarwal et al. 2021), its interval a stratified
  bootstrap: draw seeds with replacement, then episodes with replacement inside each drawn seed.
  It speaks of the method: of seeds that were not trained as well.
- a **rate** (success, violating episodes): the share of all episodes, with Clopper and Pearson's
  interval. It speaks of the policies that were trained. Where their true rates differ, a sum of
  unequal coins varies less than the binomial, so the interval is still not too short.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from surefoot.errors import SurefootError, check_range, unknown

Alternative = Literal["two-sided", "greater", "less"]
Groups = Sequence[Any] | np.ndarray
"""One array of numbers a seed: a list of arrays ``[episodes]``, or one array ``[seeds, ...]``."""

_CHUNK = 2_000_000  # numbers drawn at once by the bootstrap, about 16 MB


@dataclass(frozen=True)
class Estimate:
    """A number, its interval, and how many observations (episodes, usually) it rests on."""

    estimate: float
    lower: float
    upper: float
    n: int

    def as_dict(self) -> dict[str, float | int | None]:
        """For JSON: a number that does not exist (NaN) becomes ``None``."""

        def number(x: float) -> float | None:
            return float(x) if math.isfinite(x) else None

        return {
            "estimate": number(self.estimate),
            "lower": number(self.lower),
            "upper": number(self.upper),
            "n": int(self.n),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Estimate:
        """The inverse of :meth:`as_dict`; raises ``KeyError`` or ``TypeError`` on anything else."""

        def number(x: float | None) -> float:
            return math.nan if x is None else float(x)

        return cls(
            number(values["estimate"]), number(values["lower"]), number(values["upper"]), int(values["n"])
        )

    def __str__(self) -> str:
        return f"{self.estimate:.4g} [{self.lower:.4g}, {self.upper:.4g}] (n = {self.n})"


def iqm(values: Any, axis: int | None = None) -> Any:
    """Mean of the middle half: a quarter of the values, rounded down, is cut at each end.

    Over all values, or along ``axis``. Three values or fewer are all kept. NaN for no values.
    """
    values = np.asarray(values, float)
    if axis is None:
        values, axis = values.reshape(-1), 0
    n = values.shape[axis]
    if n == 0:
        return math.nan
    cut = n // 4
    middle = np.take(np.sort(values, axis=axis), range(cut, n - cut), axis=axis)
    return np.mean(middle, axis=axis)[()]


def bootstrap_iqm(
    per_seed: Groups, *, resamples: int = 2000, level: int | float = 0.95, seed: int = 0
) -> Estimate:
    """Interquartile mean over seeds of each seed's mean, with a stratified bootstrap interval.

    A resample draws as many seeds as there are, with replacement, and for each of them as many of
    its episodes as it has, with replacement; the interval is between the percentiles of the
    resampled estimates. With one seed only its episodes are drawn, so that the interval speaks of
    that policy alone. ``n`` counts episodes. ``seed`` makes the interval repeatable.
    """
    groups = _groups(per_seed)
    _check(level, resamples)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(groups), size=(resamples, len(groups)))
    means = np.empty(drawn.shape)
    for index, values in enumerate(groups):
        slots = drawn == index
        means[slots] = _resampled_means(values, int(slots.sum()), rng)
    estimates = iqm(means, axis=1)
    lower, upper = np.quantile(estimates, [(1 - level) / 2, (1 + level) / 2])
    estimate = float(iqm([values.mean() for values in groups]))
    return Estimate(estimate, float(lower), float(upper), sum(len(values) for values in groups))


def _resampled_means(values: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Means ``[count]`` of ``count`` bootstrap samples of ``values``."""
    if np.all(values == values[0]):
        return np.full(count, values[0])
    rows = max(1, _CHUNK // len(values))
    parts = [
        values[rng.integers(len(values), size=(min(rows, count - start), len(values)))].mean(axis=1)
        for start in range(0, count, rows)
    ]
    return np.concatenate(parts) if parts else np.empty(0)


def bootstrap_band(
    curves: Any, *, resamples: int = 500, level: int | float = 0.95, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over seeds of ``curves [seeds, points]`` and its bootstrap interval, each ``[points]``.

    NaN marks a number that a seed does not have; it is left out. With one seed the interval is the
    curve itself.
    """
    curves = np.asarray(curves, float)
    if curves.ndim != 2 or not len(curves):
        raise SurefootError(f"curves must have shape [seeds, points], got {list(curves.shape)}.")
    _check(level, resamples)
    drawn = np.random.default_rng(seed).integers(len(curves), size=(resamples, len(curves)))
    known = np.isfinite(curves)
    sums = np.where(known, curves, 0.0)[drawn].sum(axis=1)
    counts = known[drawn].sum(axis=1)
    samples = np.divide(sums, counts, out=np.full(sums.shape, math.nan), where=counts > 0)
    mean = np.full(curves.shape[1], math.nan)
    lower, upper = mean.copy(), mean.copy()
    some = known.any(axis=0)
    if not some.any():
        return mean, lower, upper
    mean[some] = np.nanmean(np.where(known, curves, math.nan)[:, some], axis=0)
    lower[some], upper[some] = np.nanquantile(samples[:, some], [(1 - level) / 2, (1 + level) / 2], axis=0)
    return mean, lower, upper


def clopper_pearson(successes: int, trials: int, level: int | float = 0.95) -> Estimate:
    """The exact binomial interval: it covers the true rate with probability ``level`` or more.

    The lower end p solves P(X >= successes | p) = (1 - level) / 2, the upper end
    P(X <= successes | p) = (1 - level) / 2. No trials: NaN in [0, 1].
    """
    from scipy.special import betaincinv

    _check(level)
    if not 0 <= successes <= trials:
        raise SurefootError(f"{successes} successes in {trials} trials: must be 0 <= successes <= trials.")
    if trials == 0:
        return Estimate(math.nan, 0.0, 1.0, 0)
    tail = (1 - level) / 2
    lower = 0.0 if successes == 0 else float(betaincinv(successes, trials - successes + 1, tail))
    upper = 1.0 if successes == trials else float(betaincinv(successes + 1, trials - successes, 1 - tail))
    return Estimate(successes / trials, lower, upper, int(trials))


def rate(flags: Groups, level: int | float = 0.95) -> Estimate:
    """Share of true flags over all seeds and episodes, with Clopper and Pearson's interval."""
    flat = np.concatenate([np.asarray(group, bool).reshape(-1) for group in flags] or [np.empty(0, bool)])
    return clopper_pearson(int(flat.sum()), flat.size, level)


def permutation_test(
    a: Any,
    b: Any,
    *,
    alternative: Alternative = "two-sided",
    resamples: int = 20_000,
    seed: int = 0,
) -> float:
    """p-value of the hypothesis that ``a`` and ``b`` come from one distribution.

    The statistic is mean(a) - mean(b); ``alternative="greater"`` asks whether a's mean is greater.
    All ways to split the pooled values are tried if there are at most ``resamples``, else as many
    random ones, of which the observed split counts as one more, so that the value is never zero.
    """
    from itertools import combinations

    a, b = _sample("a", a), _sample("b", b)
    if alternative not in ("two-sided", "greater", "less"):
        raise unknown("alternative", alternative, ("two-sided", "greater", "less"))
    pooled, n, m = np.concatenate([a, b]), len(a), len(b)
    exact = math.comb(n + m, n) <= resamples
    if exact:
        rows = np.array(list(combinations(range(n + m), n)))
    else:
        rng = np.random.default_rng(seed)
        rows = rng.permuted(np.tile(np.arange(n + m), (resamples, 1)), axis=1)[:, :n]
    sums = pooled[rows].sum(axis=1)
    differences = sums / n - (pooled.sum() - sums) / m
    observed = a.mean() - b.mean()
    # Equal splits differ by rounding; they must count as equal.
    slack = 1e-12 * max(1.0, float(np.abs(pooled).max()))
    extreme: dict[str, Callable[[], np.ndarray]] = {
        "greater": lambda: differences >= observed - slack,
        "less": lambda: differences <= observed + slack,
        "two-sided": lambda: np.abs(differences) >= abs(observed) - slack,
    }
    count = int(extreme[alternative]().sum())
    return count / len(rows) if exact else (count + 1) / (resamples + 1)


def probability_of_improvement(
    a: Any, b: Any, *, resamples: int = 2000, level: int | float = 0.95, seed: int = 0
) -> Estimate:
    """P(A > B) + P(A = B) / 2 for scores of two methods, one a seed (Mann and Whitney's U / (n m)).

    The interval is a bootstrap that draws the scores of each method with replacement; ``n`` counts
    the scores of both.
    """
    a, b = _sample("a", a), _sample("b", b)
    _check(level, resamples)
    wins = (a[:, None] > b) + 0.5 * (a[:, None] == b)
    rng = np.random.default_rng(seed)
    # How often each score was drawn is all that a resample needs.
    drawn_a = rng.multinomial(len(a), np.full(len(a), 1 / len(a)), size=resamples)
    drawn_b = rng.multinomial(len(b), np.full(len(b), 1 / len(b)), size=resamples)
    samples = np.einsum("ri,ij,rj->r", drawn_a, wins, drawn_b, optimize=True) / (len(a) * len(b))
    lower, upper = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(float(wins.mean()), float(lower), float(upper), len(a) + len(b))


def _groups(per_seed: Groups) -> list[np.ndarray]:
    groups = [np.asarray(values, float).reshape(-1) for values in per_seed]
    if not groups or any(len(values) == 0 for values in groups):
        raise SurefootError("An interval needs at least one seed, and one episode a seed.")
    if any(not np.all(np.isfinite(values)) for values in groups):
        raise SurefootError("An interval needs finite numbers; NaN or infinity was given.")
    return groups


def _sample(name: str, values: Any) -> np.ndarray:
    array = np.asarray(values, float).reshape(-1)
    if not len(array) or not np.all(np.isfinite(array)):
        raise SurefootError(f"{name} must hold at least one number, all finite.")
    return array


def _check(level: int | float, resamples: int = 1) -> None:
    check_range("level", level, low=0, high=1, open_low=True, open_high=True)
    check_range("resamples", resamples, low=1)
