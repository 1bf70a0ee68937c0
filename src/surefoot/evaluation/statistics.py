"""Estimates with intervals. NumPy only; SciPy is imported where it is used.

Two kinds of number leave an evaluation, and each has its interval:

- a **score** of a seed (return, violating steps an episode): the mean over its episodes. A method's
  number is the interquartile mean over seeds (Agarwal et al. 2021), its interval a hierarchical
  bootstrap: draw seeds with replacement, then episodes with replacement inside each drawn seed.
  It speaks of the method: of seeds that were not trained as well.
- a **rate** (success, violating episodes): the share of all episodes, with Clopper and Pearson's
  interval. It speaks of the policies that were trained. Where their true rates differ,
  it is conservative: a sum of unequal coins varies less than the binomial.

Evidence of safety needs a third: the **expected cost** of an episode, a plain mean (an interquartile one
would cut off the seeds that break the limit), with one-sided bounds. Costs of episodes lie between 0 and
the horizon, most are small, a few are large; :func:`mean_bounds` and :func:`betting_bound` say what each does
about it.

All raise :class:`surefoot.errors.SurefootError` where there are no values, where one is not finite, and for a
level outside (0, 1).
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
RATES = (
    "success", "violating_episodes", "violating_policies", "unsafe_epochs", "training_unsafe_epochs",
    "way_left",
)  # fmt: skip
"""Metrics that are shares, shown in percent."""


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
    """Interquartile mean over seeds of each seed's mean, with a hierarchical bootstrap interval.

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


def mean_bounds(
    per_seed: Groups, *, resamples: int = 2000, level: int | float = 0.95, seed: int = 0
) -> Estimate:
    """Mean over seeds of each seed's mean; each end is a one-sided bound that holds with ``level``.

    The bounds are those of the bootstrap-t (Efron 1981; Hall 1988): with m the mean, s its standard error and
    m*, s* those of a sample drawn with replacement,

        upper = m - s q,    q the (1 - level)-quantile of (m* - m) / s*

    Student's t takes q from a normal population. Where large costs are rare, a sample with few of them has a
    small mean and a small s at once, and Student's bound is too low: with 200 lognormal costs it held in
    92 %, this one in 95 %; with costs of which nine tenths are zero in 88 % and 96 %. Episodes are drawn
    within each seed, so the bounds speak of the policies that were trained, not of other seeds.

    NaN stands for no bound: a seed with a single episode, no spread at all, or so few episodes that differ
    that a resample may have no spread.
    """
    groups = _groups(per_seed)
    _check(level, resamples)
    mean = float(np.mean([values.mean() for values in groups]))
    n = sum(len(values) for values in groups)
    if any(len(values) < 2 for values in groups):
        return Estimate(mean, math.nan, math.nan, n)
    rng = np.random.default_rng(seed)
    drawn_mean, drawn_square = np.zeros(resamples), np.zeros(resamples)
    for values in groups:
        means, variances = _resampled_moments(values, resamples, rng)
        drawn_mean += means / len(groups)
        drawn_square += variances / len(values) / len(groups) ** 2
    error = math.sqrt(sum(values.var(ddof=1) / len(values) for values in groups)) / len(groups)
    if error <= 1e-12 * max(1.0, abs(mean)):
        return Estimate(mean, math.nan, math.nan, n)
    with np.errstate(divide="ignore", invalid="ignore"):
        away = (drawn_mean - mean) / np.sqrt(drawn_square)
    away = np.sort(np.where(np.isnan(away), 0.0, away))  # 0 / 0: the mean itself, without spread
    rank = max(0, math.ceil((1 - level) * resamples - 1e-9) - 1)  # 0.05 * 2000 is a little above 100
    ends = mean - error * away[-1 - rank], mean - error * away[rank]
    lower, upper = (float(end) if math.isfinite(end) else math.nan for end in ends)
    return Estimate(mean, lower, upper, n)


def _resampled_moments(
    values: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Means and variances (n - 1 in the denominator) of ``count`` bootstrap samples, each ``[count]``."""
    centre, rows = values.mean(), max(1, _CHUNK // len(values))
    means, variances = [], []
    for start in range(0, count, rows):
        drawn = (values - centre)[rng.integers(len(values), size=(min(rows, count - start), len(values)))]
        middle = drawn.mean(axis=1)
        left = np.maximum(np.einsum("ij,ij->i", drawn, drawn) - len(values) * middle**2, 0.0)
        left = np.where(np.ptp(drawn, axis=1) == 0, 0.0, left)  # no spread is to be seen as none
        means.append(centre + middle)
        variances.append(left / (len(values) - 1))
    return np.concatenate(means), np.concatenate(variances)


def betting_bound(values: Any, largest: float | int, *, level: int | float = 0.95) -> float:
    """Upper bound of the mean of numbers in [0, largest], with ``level`` whatever their distribution is.

    ``largest`` is the most that a value can be, in its unit; one outside raises.

    Waudby-Smith and Ramdas (2024), one side: to bet that the mean is below m, stake a share of one's capital
    on each number y = value / largest,

        K_t(m) = prod_{i <= t} (1 - l_i (y_i - m)),   l_i = min(3/4, sqrt(2 log(1 / (1 - level)) / (n v_i)))

    with v_i the variance of the numbers before. If the mean is m or more, the capital ever exceeds
    1 / (1 - level) with probability 1 - level at most (Ville); the bound is the least m at which it does. The
    numbers must be independent and of one distribution; in another order the bound is a little different.

    Beside it the bounds of Anderson (1969) and of Maurer and Pontil (2009) were measured: with 200 costs
    around 25, of at most 1000, they lie near 110 and 75, this one near 45, the bootstrap-t's near 30.
    """
    y = _sample("values", values) / float(largest)
    _check(level)
    if y.min() < 0 or y.max() > 1:
        raise SurefootError(f"Values from 0 to {largest} were promised, but there are others.")
    n, goal = len(y), math.log(1 / (1 - level))
    count = np.arange(1, n + 1)
    means = (0.5 + np.cumsum(y)) / (count + 1)
    spreads = (0.25 + np.cumsum((y - means) ** 2)) / (count + 1)
    before = np.concatenate([[0.25], spreads[:-1]])
    stake = np.minimum(0.75, np.sqrt(2 * goal / (n * before)))
    low, high = 0.0, 1.0
    for _ in range(50):  # the capital grows with m
        middle = (low + high) / 2
        if np.cumsum(np.log1p(-stake * (y - middle))).max() >= goal:
            high = middle
        else:
            low = middle
    return high * float(largest)


def cvar(values: Any, tail: float = 0.1) -> float:
    """Conditional value at risk: the mean of the worst (largest) share ``tail`` of the values.

    Where ``tail`` times their number is no whole number, the last value counts by the part of it that is left
    (Rockafellar and Uryasev 2002): the least t + mean(max(0, x - t)) / tail over t.
    """
    values = _sample("values", values)
    check_range("tail", tail, low=0, high=1, open_low=True)
    return float(_cvar(values[None], tail)[0])


def _cvar(rows: np.ndarray, tail: float) -> np.ndarray:
    """Of each row."""
    n = rows.shape[1]
    share = tail * n
    whole = min(n, max(math.ceil(share - 1e-9), 1))
    worst = np.sort(np.partition(rows, n - whole, axis=1)[:, n - whole :], axis=1)
    weights = np.ones(whole)
    weights[0] -= whole - max(share, 1e-9)  # the least of the worst counts in part
    return worst @ weights / max(share, 1e-9)


def bootstrap_cvar(
    per_seed: Groups,
    tail: float = 0.1,
    *,
    resamples: int = 1000,
    level: int | float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Mean over seeds of each seed's :func:`cvar`; episodes are drawn within each seed for the interval.

    It speaks of the policies that were trained, and of what was seen: what is worse than the worst episode
    is in no resample, so that the interval is too short where the tail holds few episodes.
    """
    groups = _groups(per_seed)
    _check(level, resamples)
    check_range("tail", tail, low=0, high=1, open_low=True)
    rng = np.random.default_rng(seed)
    drawn = np.zeros(resamples)
    for values in groups:
        rows = max(1, _CHUNK // len(values))
        for start in range(0, resamples, rows):
            stop = min(start + rows, resamples)
            chosen = values[rng.integers(len(values), size=(stop - start, len(values)))]
            drawn[start:stop] += _cvar(chosen, tail) / len(groups)
    lower, upper = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    found = float(np.mean([cvar(values, tail) for values in groups]))
    return Estimate(found, float(lower), float(upper), sum(len(values) for values in groups))


def over_seeds(values: Any, *, n: int | None = None, level: int | float = 0.95) -> Estimate:
    """Mean of one number a seed, with Student's interval; NaN for its ends with a single seed.

    ``n`` is the number of observations behind these numbers, their own number if not given.
    """
    from scipy.special import stdtrit

    values = _sample("values", values)
    _check(level)
    count, mean = len(values), float(values.mean())
    if count < 2:
        return Estimate(mean, math.nan, math.nan, count if n is None else n)
    half = float(stdtrit(count - 1, (1 + level) / 2)) * float(values.std(ddof=1)) / math.sqrt(count)
    return Estimate(mean, mean - half, mean + half, count if n is None else n)


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
