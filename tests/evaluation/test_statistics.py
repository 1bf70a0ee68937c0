"""Statistics against SciPy, exact binomial sums and numbers worked out by hand."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from surefoot.errors import SurefootError
from surefoot.evaluation.statistics import (
    Estimate,
    betting_bound,
    bootstrap_band,
    bootstrap_cvar,
    bootstrap_iqm,
    clopper_pearson,
    cvar,
    iqm,
    mean_bounds,
    over_seeds,
    permutation_test,
    probability_of_improvement,
    rate,
)


def test_iqm_by_hand():
    assert iqm([0, 1, 2, 3, 4, 5, 6, 100]) == pytest.approx((2 + 3 + 4 + 5) / 4)
    assert iqm([5.0, 1.0, 9.0]) == pytest.approx(5.0)  # too few to cut
    assert math.isnan(iqm([]))


@pytest.mark.parametrize("n", [1, 3, 4, 5, 7, 8, 20, 101])
def test_iqm_is_the_trimmed_mean_of_scipy(n):
    values = np.random.default_rng(n).normal(size=(3, n))
    assert np.allclose(iqm(values, axis=1), stats.trim_mean(values, 0.25, axis=1))
    assert iqm(values[0]) == pytest.approx(stats.trim_mean(values[0], 0.25))


@pytest.mark.parametrize("successes,trials", [(0, 10), (3, 10), (10, 10), (1, 1), (17, 200), (199, 200)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_clopper_pearson_equals_scipy(successes, trials, level):
    ours = clopper_pearson(successes, trials, level)
    theirs = stats.binomtest(successes, trials).proportion_ci(level, method="exact")
    assert ours.estimate == successes / trials
    assert (ours.lower, ours.upper) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert ours.n == trials


def binomial_pmf(k: int, n: int, p: float) -> float:
    return math.comb(n, k) * p**k * (1 - p) ** (n - k)


def test_clopper_pearson_ends_solve_the_tail_equations():
    n, k, level = 24, 5, 0.95
    found = clopper_pearson(k, n, level)
    upper_tail = sum(binomial_pmf(j, n, found.lower) for j in range(k, n + 1))
    lower_tail = sum(binomial_pmf(j, n, found.upper) for j in range(k + 1))
    assert upper_tail == pytest.approx(0.025, abs=1e-9)
    assert lower_tail == pytest.approx(0.025, abs=1e-9)


@pytest.mark.parametrize("n", [1, 5, 30])
def test_clopper_pearson_covers_at_every_rate(n):
    """Coverage summed over all outcomes is never below the level."""
    intervals = [clopper_pearson(k, n) for k in range(n + 1)]
    for p in np.linspace(0, 1, 101):
        covered = sum(
            binomial_pmf(k, n, float(p))
            for k, each in enumerate(intervals)
            if each.lower <= p + 1e-12 and p - 1e-12 <= each.upper
        )
        assert covered >= 0.95 - 1e-9


def test_rate_of_unequal_policies_still_covers():
    """Policies with different rates: the pooled interval covers the mean rate (exact sum)."""
    rates, episodes = (0.02, 0.5, 0.9), 6
    covered = 0.0
    for outcome in product(range(episodes + 1), repeat=len(rates)):
        chance = math.prod(binomial_pmf(k, episodes, p) for k, p in zip(outcome, rates, strict=True))
        flags = [[True] * k + [False] * (episodes - k) for k in outcome]
        found = rate(flags)
        covered += chance * (found.lower <= np.mean(rates) <= found.upper)
    assert covered >= 0.95


def test_rate_counts_all_flags():
    found = rate(np.array([[True, False], [False, False], [True, True]]))
    assert found == clopper_pearson(3, 6)


def test_no_trials_say_nothing():
    found = clopper_pearson(0, 0)
    assert math.isnan(found.estimate) and (found.lower, found.upper, found.n) == (0.0, 1.0, 0)


@pytest.mark.parametrize("successes,trials", [(-1, 5), (6, 5)])
def test_impossible_counts_are_refused(successes, trials):
    with pytest.raises(SurefootError, match="successes"):
        clopper_pearson(successes, trials)


def test_bootstrap_estimate_is_iqm_of_seed_means():
    per_seed = [[0.0, 2.0], [10.0, 10.0], [3.0, 5.0], [100.0, 300.0]]
    found = bootstrap_iqm(per_seed)
    assert found.estimate == pytest.approx((4 + 10) / 2)  # of 1, 10, 4, 200
    assert found.lower <= found.estimate <= found.upper
    assert found.n == 8
    assert found == bootstrap_iqm(per_seed)


def test_bootstrap_of_one_episode_a_seed_is_exact():
    """Three seeds, one episode each: all 27 resamples by hand give the distribution."""
    values = np.array([0.0, 1.0, 5.0])
    means = np.array([np.mean(draw) for draw in product(values, repeat=3)])
    found = bootstrap_iqm(values[:, None], resamples=20_000, level=0.8)
    # The resampled means take few values, so the percentiles are those of the exact distribution.
    assert found.lower == pytest.approx(np.quantile(means, 0.1, method="inverted_cdf"))
    assert found.upper == pytest.approx(np.quantile(means, 0.9, method="inverted_cdf"))


def test_bootstrap_of_one_seed_equals_scipys():
    values = np.random.default_rng(3).exponential(size=80)
    ours = bootstrap_iqm([values], resamples=10_000)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert (ours.lower, ours.upper) == pytest.approx((theirs.low, theirs.high), abs=0.02)


def test_bootstrap_sees_the_spread_between_seeds():
    """Ten thousand episodes of two opposite seeds do not make the method's number certain."""
    found = bootstrap_iqm([np.zeros(10_000), np.ones(10_000)])
    assert (found.lower, found.estimate, found.upper) == (0.0, 0.5, 1.0)


def test_bootstrap_variance_is_the_two_stage_one():
    """Var = between-seed variance / S + mean within-seed variance / (S n), for the plain mean (3 seeds)."""
    rng = np.random.default_rng(0)
    data = rng.normal(size=(3, 40)) + np.array([[0.0], [0.5], [1.0]])
    found = bootstrap_iqm(data, resamples=20_000, level=0.6826894921)
    variance = data.mean(axis=1).var() / 3 + data.var(axis=1).mean() / (3 * 40)
    assert (found.upper - found.lower) / 2 == pytest.approx(math.sqrt(variance), rel=0.12)


def test_bootstrap_of_a_constant_has_no_width():
    found = bootstrap_iqm(np.full((4, 7), 3.0))
    assert (found.estimate, found.lower, found.upper, found.n) == (3.0, 3.0, 3.0, 28)


@pytest.mark.parametrize("bad", [[], [[]], [[1.0], []], [[math.nan]]])
def test_bootstrap_refuses_nothing_and_nan(bad):
    with pytest.raises(SurefootError):
        bootstrap_iqm(bad)


def test_band_is_the_mean_and_leaves_nan_out():
    curves = np.array([[1.0, math.nan, math.nan], [3.0, 4.0, math.nan]])
    mean, lower, upper = bootstrap_band(curves)
    assert mean[0] == 2.0 and mean[1] == 4.0 and math.isnan(mean[2])
    assert (lower[0], upper[0]) == (1.0, 3.0)
    assert (lower[1], upper[1]) == (4.0, 4.0)


def test_band_of_three_seeds_is_that_of_all_resamples():
    """All 27 by hand; three points whose numbers are not each other's multiples."""
    curves = np.array([[0.0, 5.0, 2.0], [1.0, 0.0, 2.0], [5.0, 7.0, 2.0]])
    _, lower, upper = bootstrap_band(curves, resamples=20_000, level=0.8)
    means = np.array([np.mean(draw, axis=0) for draw in product(curves, repeat=3)])
    np.testing.assert_allclose(lower, np.quantile(means, 0.1, axis=0, method="inverted_cdf"))
    np.testing.assert_allclose(upper, np.quantile(means, 0.9, axis=0, method="inverted_cdf"))


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_permutation_test_equals_scipys_exact_one(alternative):
    rng = np.random.default_rng(1)
    a, b = rng.normal(0.8, 1, size=6), rng.normal(size=5)

    def difference(x, y, axis):
        return np.mean(x, axis=axis) - np.mean(y, axis=axis)

    ours = permutation_test(a, b, alternative=alternative)
    greater = stats.permutation_test((a, b), difference, vectorized=True, alternative="greater").pvalue
    less = stats.permutation_test((a, b), difference, vectorized=True, alternative="less").pvalue
    if alternative == "two-sided":
        pooled = np.concatenate([a, b])
        splits = [
            abs(np.mean(pooled[list(rows)]) - np.mean(np.delete(pooled, rows)))
            for rows in __import__("itertools").combinations(range(11), 6)
        ]
        assert ours == pytest.approx(np.mean(np.array(splits) >= abs(a.mean() - b.mean()) - 1e-12))
    else:
        assert ours == pytest.approx({"greater": greater, "less": less}[alternative])


def test_permutation_test_by_hand():
    # Of the 6 splits only the observed one is as extreme upwards.
    assert permutation_test([3, 4], [1, 2], alternative="greater") == pytest.approx(1 / 6)
    assert permutation_test([3, 4], [1, 2]) == pytest.approx(2 / 6)
    assert permutation_test([1, 1, 1], [1, 1]) == 1.0


def test_random_permutations_agree_with_the_exact_test():
    rng = np.random.default_rng(5)
    a, b = rng.normal(0.5, 1, size=9), rng.normal(size=9)
    exact = permutation_test(a, b, resamples=100_000)
    drawn = permutation_test(a, b, resamples=20_000, seed=3)
    assert drawn == pytest.approx(exact, abs=0.015)
    assert 0 < permutation_test(np.arange(20) + 100, np.arange(20), resamples=500) <= 1 / 501 + 1e-12


def test_interval_of_an_improvement_is_that_of_all_resamples():
    """27 resamples of either method, all pairs by hand."""
    a, b = np.array([1.0, 3.0, 6.0]), np.array([0.0, 2.0, 4.0])
    chances = [
        np.mean([[x > y for y in second] for x in first])
        for first in product(a, repeat=3)
        for second in product(b, repeat=3)
    ]
    found = probability_of_improvement(a, b, resamples=20_000, level=0.8)
    assert found.lower == pytest.approx(np.quantile(chances, 0.1, method="inverted_cdf"))
    assert found.upper == pytest.approx(np.quantile(chances, 0.9, method="inverted_cdf"))


def test_probability_of_improvement_is_mann_whitneys_u():
    rng = np.random.default_rng(2)
    a, b = rng.integers(0, 6, size=9), rng.integers(0, 6, size=7)  # with ties
    u = stats.mannwhitneyu(a, b).statistic
    found = probability_of_improvement(a, b)
    assert found.estimate == pytest.approx(u / (9 * 7))
    assert found.lower <= found.estimate <= found.upper
    assert found.n == 16
    sure = probability_of_improvement([5, 6], [1, 2])
    assert (sure.estimate, sure.lower, sure.upper) == (1.0, 1.0, 1.0)


def test_estimate_survives_json():
    for each in (Estimate(0.5, 0.25, 0.75, 8), Estimate(math.nan, 0.0, 1.0, 0)):
        again = Estimate.from_dict(each.as_dict())
        assert again.as_dict() == each.as_dict()
    assert Estimate(math.nan, 0.0, 1.0, 0).as_dict()["estimate"] is None


@pytest.mark.parametrize("level", [0, 1, 2, math.nan])
def test_levels_out_of_range_are_refused(level):
    with pytest.raises(SurefootError, match="level"):
        clopper_pearson(1, 2, level)


# Bounds of an expected cost ----------------------------------------------------------------------------


def test_bounds_equal_those_of_every_resample():
    """Four episodes: all 256 resamples by hand give the distribution of (m* - m) / s*."""
    values = np.array([0.0, 1.0, 3.0, 9.0])
    mean, error = values.mean(), values.std(ddof=1) / 2
    away = []
    for draw in product(values, repeat=4):
        spread = np.std(draw, ddof=1) / 2
        gap = np.mean(draw) - mean
        away.append(gap / spread if spread else math.copysign(math.inf, gap))
    found = mean_bounds([values], resamples=40_000, level=0.8)
    low, high = (np.quantile(away, q, method="inverted_cdf") for q in (0.2, 0.8))
    assert found.estimate == mean and found.n == 4
    assert found.upper == pytest.approx(mean - error * low, rel=0.03)
    assert found.lower == pytest.approx(mean - error * high, rel=0.03)


def test_bounds_of_normal_costs_are_students():
    values = np.random.default_rng(0).normal(20, 5, 400)
    half = stats.t.ppf(0.95, 399) * values.std(ddof=1) / 20
    found = mean_bounds([values], resamples=8000)
    assert found.upper - values.mean() == pytest.approx(half, rel=0.06)
    assert values.mean() - found.lower == pytest.approx(half, rel=0.06)


def test_bounds_of_several_seeds_add_their_errors():
    """The variance of a mean of two means is a quarter of the sum; their distance does not count."""
    rng = np.random.default_rng(1)
    few, many = rng.normal(0, 1, 50), rng.normal(100, 3, 400)
    half = 1.645 * math.sqrt(few.var(ddof=1) / 50 + many.var(ddof=1) / 400) / 2
    found = mean_bounds([few, many], resamples=8000)
    assert found.estimate == pytest.approx((few.mean() + many.mean()) / 2)
    assert found.upper - found.estimate == pytest.approx(half, rel=0.08)
    assert found.n == 450


COSTS = {
    "geometric": (lambda rng, n: rng.geometric(1 / 26, n) - 1.0, 25.0),
    "lognormal": (lambda rng, n: np.exp(rng.normal(2.5, 1.0, n)), math.exp(3.0)),
    "nine tenths are zero": (lambda rng, n: (rng.random(n) < 0.1) * rng.gamma(1, 250, n), 25.0),
}
"""How costs of episodes look, and their expectation."""


@pytest.mark.parametrize("kind", COSTS)
def test_upper_bounds_of_skewed_costs_cover_where_students_does_not(kind):
    draw, expected = COSTS[kind]
    rng, trials, n = np.random.default_rng(5), 400, 100
    ours = students = 0
    for _ in range(trials):
        values = draw(rng, n)
        ours += bool(mean_bounds([values], resamples=400).upper >= expected)
        students += bool(values.mean() + 1.66 * values.std(ddof=1) / 10 >= expected)
    assert ours / trials >= 0.91  # 95 % is what is sought; the error of this count is 1 %
    assert ours > students


def test_no_bound_where_no_spread_is_seen():
    for values in ([3.0], [0.0] * 50):
        found = mean_bounds([values])
        assert math.isnan(found.upper) and math.isnan(found.lower)
    rare = [0.0] * 49 + [500.0]  # a third of the resamples lack it
    assert math.isnan(mean_bounds([rare]).upper)
    assert mean_bounds([rare]).lower <= 10.0


def test_a_bet_that_wins_by_the_definition():
    """At the bound the capital reaches 20, just below it does not; played step by step."""
    values = np.random.default_rng(2).geometric(1 / 30, 60).clip(0, 1000) - 1.0
    bound = betting_bound(values, 1000)

    def most(mean: float) -> float:
        capital, best, seen = 1.0, 0.0, []
        for value in values / 1000:
            past = [(x - (0.5 + sum(seen[: i + 1])) / (i + 2)) ** 2 for i, x in enumerate(seen)]
            variance = (0.25 + sum(past)) / (len(seen) + 1)
            capital *= 1 - min(0.75, math.sqrt(2 * math.log(20) / (60 * variance))) * (value - mean)
            best = max(best, capital)
            seen.append(value)
        return best

    assert most(bound / 1000 + 1e-6) >= 20 > most(bound / 1000 - 1e-6)


@pytest.mark.parametrize("p", [0.05, 0.3, 0.8])
def test_a_bet_is_lost_rarely_enough(p):
    """Exact: over all outcomes of eight coins the bound is below their chance in 5 % at most."""
    missed = sum(
        math.prod(p if coin else 1 - p for coin in coins)
        for coins in product((0.0, 1.0), repeat=8)
        if betting_bound(coins, 1.0) < p
    )
    assert missed <= 0.05


def test_a_bet_needs_no_spread_but_the_promised_range():
    clean = betting_bound(np.zeros(200), 1000)
    assert 1000 * (1 - 0.05 ** (1 / 200)) <= clean < 25  # no bound can be below Clopper and Pearson's
    with pytest.raises(SurefootError, match="from 0 to 1"):
        betting_bound([0.5, 1.5], 1)


# The worst episodes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n,tail", [(20, 0.1), (7, 0.1), (33, 0.25), (10, 1.0), (3, 0.01)])
def test_cvar_is_the_least_of_rockafellar_and_uryasev(n, tail):
    values = np.random.default_rng(n).exponential(10, n)
    least = min(
        t + np.maximum(values - t, 0).mean() / tail for t in values
    )  # convex, its bends are the values
    assert cvar(values, tail) == pytest.approx(least)


def test_cvar_by_hand():
    assert cvar(range(1, 11), 0.2) == pytest.approx(9.5)
    assert cvar(range(1, 11), 0.25) == pytest.approx((10 + 9 + 0.5 * 8) / 2.5)
    assert cvar([4.0, 6.0], 1.0) == pytest.approx(5.0)


def test_cvar_of_an_exponential():
    """CVaR = mean (1 + log(1 / tail)); its interval covers that most of the time."""
    expected, rng = 10 * (1 + math.log(10)), np.random.default_rng(3)
    assert cvar(rng.exponential(10, 200_000)) == pytest.approx(expected, rel=0.02)
    covered = 0
    for _ in range(100):
        found = bootstrap_cvar([rng.exponential(10, 200)], resamples=200)
        covered += found.lower <= expected <= found.upper
    assert covered >= 80


def test_interval_of_a_cvar_is_that_of_all_resamples():
    """Five episodes: all 3,125 resamples by hand."""
    values = np.array([0.0, 1.0, 3.0, 7.0, 20.0])
    worst = [cvar(draw, 0.4) for draw in product(values, repeat=5)]
    found = bootstrap_cvar([values], 0.4, resamples=20_000, level=0.8)
    assert found.lower == pytest.approx(np.quantile(worst, 0.1, method="inverted_cdf"))
    assert found.upper == pytest.approx(np.quantile(worst, 0.9, method="inverted_cdf"))


def test_cvar_of_seeds_is_that_of_each():
    seeds = [np.arange(20.0), np.arange(20.0) + 100]
    found = bootstrap_cvar(seeds, 0.1)
    assert found.estimate == pytest.approx((18.5 + 118.5) / 2)
    assert found.lower <= found.estimate and found.n == 40


def test_numbers_of_seeds_have_students_interval():
    values = [0.1, 0.3, 0.35, 0.8]
    half = stats.t.ppf(0.975, 3) * stats.sem(values)
    found = over_seeds(values, n=100)
    assert (found.estimate, found.n) == (pytest.approx(np.mean(values)), 100)
    assert found.upper - found.estimate == pytest.approx(half) == found.estimate - found.lower
    assert math.isnan(over_seeds([0.4]).upper)
