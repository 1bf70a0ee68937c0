"""The cross-entropy method on problems with known answers, and against the same recursion in NumPy."""

from __future__ import annotations

from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from surefoot.errors import SurefootError
from surefoot.numerics.cem import Cem, Proposal, Scores, cem, middle, ranking, shifted, within_bounds

LOW, HIGH = np.array([-1.0, -3.0]), np.array([1.0, 3.0])
HORIZON = 3


def array(*values):
    return jnp.asarray(np.asarray(*values, dtype=np.float32))


def proposal(mean=0.0, extra=None):
    mean = np.broadcast_to(mean, (HORIZON, 2))
    return Proposal(array(mean), array(LOW), array(HIGH), extra=None if extra is None else array(extra))


def search(objective, given, key, settings=None, **more):
    """The plan as NumPy arrays, from one compiled program."""
    run = jax.jit(lambda given, key: cem(objective, given, key, settings, **more))
    plan = run(given, jax.random.key(key))
    fields = {**vars(plan), "action": plan.action, "metrics": plan.metrics}
    return SimpleNamespace(**jax.tree.map(np.asarray, fields))


def towards(goal):
    """Minus a quadratic with this optimum, whose entries depend on each other."""

    def returns(actions, key):
        a, b = jnp.moveaxis(actions - np.asarray(goal), -1, 0)
        return -jnp.sum(a**2 + 0.6 * a * b + 0.5 * b**2, axis=-1)

    return returns


# Known optima ------------------------------------------------------------------------------------------


def test_the_optimum_of_a_quadratic():
    goal = np.array([[0.5, -1.5], [0.0, 2.0], [-0.7, 0.1]])
    plan = search(towards(goal), proposal(), 0, Cem(200, 20, 40))
    np.testing.assert_allclose(plan.mean, goal, atol=0.02)
    assert plan.elite_return > -1e-3
    np.testing.assert_array_equal(plan.action, plan.mean[0])


def test_the_optimum_under_active_bounds():
    """Beyond a bound in one entry: on it there; in the other, where the quadratic is largest given that."""
    plan = search(towards([2.0, 0.5]), proposal(), 1, Cem(200, 20, 40))
    np.testing.assert_allclose(plan.mean[:, 0], 1.0, atol=0.02)
    # d/db [ 0.6 (1 - 2)(b - 0.5) + 0.5 (b - 0.5)^2 ] = 0
    np.testing.assert_allclose(plan.mean[:, 1], 0.5 + 0.6, atol=0.05)
    assert plan.frozen > 0.1


def test_the_best_within_a_limit_on_costs():
    """Return a, cost a, limit 0.3: as near to the limit as may be, and no further."""

    def objective(actions, key):
        return Scores(jnp.sum(actions[..., 0], axis=1), jnp.max(actions[..., 0], axis=1, keepdims=True))

    @jax.jit
    def best(limit):
        plan = cem(objective, proposal(), jax.random.key(2), Cem(200, 20, 30), limits=limit)
        return plan.mean[:, 0], plan.feasible

    mean, feasible = best(array([0.3]))
    np.testing.assert_allclose(mean, 0.3, atol=0.03)
    assert 0.2 < feasible < 1
    # No candidate keeps a limit of -2: then the least cost counts, not the return. (It is the largest of
    # three entries, so that the others are free to lie below.)
    mean, feasible = best(array([-2.0]))
    assert np.all(np.asarray(mean) < -0.75)
    assert feasible == 0


def test_those_that_exceed_a_limit_are_no_elites_where_any_keeps_it():
    """Half of the candidates keep it, and all would be elites: mean and variance are those of that half."""

    def objective(actions, key):
        return Scores(actions[:, 0, 0], (actions[:, 0, :1] > 0).astype(jnp.float32), aux=actions)

    settings = Cem(40, 40, 1, smoothing=0.0)
    plan = search(objective, proposal(), 3, settings, limits=(0.0,))
    seen = plan.aux[0]
    kept = seen[seen[:, 0, 0] <= 0]
    assert 10 < len(kept) < 30
    np.testing.assert_allclose(plan.mean, kept.mean(0), atol=1e-6)
    np.testing.assert_allclose(plan.variance, kept.var(0), atol=1e-6)
    np.testing.assert_allclose(plan.elite_return, kept[:, 0, 0].mean(), atol=1e-6)
    np.testing.assert_array_equal(plan.actions, kept[np.argmax(kept[:, 0, 0])])
    np.testing.assert_array_equal(seen[0], proposal().mean)
    free = search(objective, proposal(), 3, settings)  # the mean, which need not be a candidate
    np.testing.assert_array_equal(free.actions, free.mean)
    nowhere = search(objective, proposal(), 3, settings, limits=(-1.0,))  # then all of them count
    np.testing.assert_allclose(nowhere.mean, nowhere.aux[0].mean(0), atol=1e-6)


def test_what_is_done_keeps_the_limit_though_the_mean_does_not():
    """Two ways round an obstacle that are equally good: their mean leads into it."""

    def objective(actions, key):
        side = actions[:, 0, 0]
        blocked = (jnp.abs(side) < 0.4).astype(jnp.float32)[:, None]
        return Scores(-((jnp.abs(side) - 0.5) ** 2), blocked)

    plan = search(objective, proposal(), 5, Cem(200, 100, 2, smoothing=0.0), limits=(0.0,))
    assert abs(plan.mean[0, 0]) < 0.4
    assert abs(plan.actions[0, 0]) == pytest.approx(0.5, abs=0.02)
    np.testing.assert_array_equal(plan.action, plan.actions[0])


def test_held_actions_find_a_way_out_that_lies_far_from_the_mean():
    """Only plans whose first entries all are above 0.6 cost nothing; no cost says where they are."""

    def objective(actions, key):
        costs = jnp.any(actions[..., 0] < 0.6, axis=1, keepdims=True).astype(jnp.float32)
        return Scores(-jnp.sum(actions[..., 0] ** 2, axis=1), costs, aux=actions)

    start = Proposal(jnp.full((8, 2), -0.5), array(LOW), array(HIGH))
    without = search(objective, start, 4, Cem(60, 10, 3), limits=(0.0,))
    assert without.feasible == 0 and without.mean[:, 0].max() < 0.6
    plan = search(objective, start, 4, Cem(60, 10, 3, held=20), limits=(0.0,))
    assert plan.feasible > 0.05 and plan.mean[:, 0].min() > 0.5
    seen = np.asarray(plan.aux)[:, 1:]  # the first is the mean
    constant = (np.ptp(seen, axis=2) < 1e-6).all(-1)
    np.testing.assert_array_equal(constant.sum(1), [20, 20, 20])  # of 59, anew in each iteration
    drawn = seen[constant][:, 0]
    share, inside = (np.abs(drawn) == array(HIGH)).mean(0), drawn[:, 0][np.abs(drawn[:, 0]) < 1]
    assert np.all(np.abs(share - 0.5) < 4 * np.sqrt(0.25 / 60))  # at a bound
    assert len(np.unique(inside)) == len(inside) and np.ptp(inside) > 1.5


# The recursion -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing_on, smooth_mean", [("old", True), ("new", False)])
def test_the_recursion_in_numpy(smoothing_on, smooth_mean):
    """From the candidates that were scored, mean and variance follow by lines 4 and 5 of the box."""
    settings = Cem(30, 6, 4, smoothing=0.25, smoothing_on=smoothing_on, smooth_mean=smooth_mean)
    extra = np.tile([0.9, 0.0], (2, HORIZON, 1))

    def objective(actions, key):
        returns = towards([0.4, 1.0])(actions, key) + jax.random.normal(key, (len(actions),))
        return Scores(returns, aux=(actions, returns))

    plan = search(objective, proposal(extra=extra), 3, settings)
    mean, variance = np.zeros((HORIZON, 2)), np.tile(np.array([0.5, 1.5]) ** 2, (HORIZON, 1))
    used = []
    for actions, returns in zip(*plan.aux, strict=True):
        np.testing.assert_allclose(actions[30:], extra, rtol=1e-6)
        best = np.argsort(-returns)[:6]
        used.append(np.mean([i in best for i in (30, 31)]))
        old = 0.25 if smoothing_on == "old" else 0.75
        elites = actions[best]
        mean = old * mean + (1 - old) * elites.mean(0) if smooth_mean else elites.mean(0)
        variance = old * variance + (1 - old) * elites.var(0)
    np.testing.assert_allclose(plan.mean, mean, atol=1e-5)
    np.testing.assert_allclose(plan.variance, variance, atol=1e-5)
    np.testing.assert_allclose(plan.usage, np.mean(used), atol=1e-6)
    np.testing.assert_allclose(plan.elite_return, np.sort(plan.aux[1][-1])[-6:].mean(), rtol=1e-5)


def test_candidates_are_a_normal_cut_at_two_deviations():
    """Its variance is 1 - 4 phi(2) / (2 Phi(2) - 1) = 0.774 of the one that it is cut from."""
    settings = Cem(20_000, 20_000, 1, smoothing=0.0)
    plan = search(lambda actions, key: actions[:, 0, 0], proposal(), 4, settings)
    np.testing.assert_allclose(plan.variance / [0.25, 2.25], np.full((HORIZON, 2), 0.7737), atol=0.02)
    np.testing.assert_allclose(plan.mean / [0.5, 1.5], np.zeros((HORIZON, 2)), atol=0.02)


@pytest.mark.parametrize("floor", [0.0, 0.01])
def test_candidates_stay_in_the_box_and_a_mean_on_a_bound_may_leave_it(floor):
    """Without the floor an entry whose mean is on a bound has no spread at all, and stays there for ever."""

    def objective(actions, key):
        return Scores(towards([0.0, 2.9])(actions, key), aux=actions)

    plan = search(objective, proposal([1.0, 0.0]), 5, Cem(100, 10, 30, floor=floor))
    assert np.all(plan.aux >= LOW) and np.all(plan.aux <= HIGH)
    if floor:
        assert np.all(plan.mean[:, 0] < 0.97)
    else:
        np.testing.assert_array_equal(plan.mean[:, 0], 1.0)


def test_the_share_of_frozen_entries():
    given = proposal([1.0, 0.0])
    spread, frozen = within_bounds(given.mean, 0 * given.mean + 0.1, given.low, given.high, 0.01)
    assert frozen == 0.5  # one of two entries
    np.testing.assert_allclose(spread, np.tile([0.02**2, 0.1], (HORIZON, 1)), rtol=1e-5)


def test_the_warm_start_is_shifted():
    mean = array(np.arange(6.0).reshape(3, 2))
    np.testing.assert_array_equal(shifted(mean), [[2, 3], [4, 5], [4, 5]])
    np.testing.assert_array_equal(middle(array([0.0]), array([3.0]), 2), [[1.5], [1.5]])


# An actor's sequences ----------------------------------------------------------------------------------


def test_usage_of_sequences_that_are_the_best_and_of_such_as_are_no_better():
    goal = [0.5, -1.5]

    @jax.jit
    @jax.vmap
    def usage(key, best):
        key_extra, key_search = jax.random.split(key)
        z = jax.random.truncated_normal(key_extra, -2.0, 2.0, (5, HORIZON, 2))
        extra = jnp.where(best, jnp.asarray(goal), z * (HIGH - LOW) / 4)
        given = eqx.tree_at(lambda p: p.extra, proposal(extra=np.zeros((5, HORIZON, 2))), extra)
        return cem(towards(goal), given, key_search, Cem(iterations=1)).usage

    found = np.asarray(usage(jax.random.split(jax.random.key(7), 400), jnp.arange(400) < 10))
    np.testing.assert_array_equal(found[:10], 1)
    np.testing.assert_allclose(np.mean(found[10:]), 20 / 105, atol=4 * np.std(found[10:]) / np.sqrt(390))


# What is not a number ----------------------------------------------------------------------------------


def test_candidates_without_a_score_are_dropped_and_counted():
    def broken(actions, key):
        returns = towards([0.5, 0.5])(actions, key)
        return Scores(jnp.where(actions[:, 0, 0] > 0, jnp.nan, returns), aux=actions[:, 0, 0])

    plan = search(broken, proposal(), 8, Cem(50, 20, 3))
    assert plan.dropped == np.sum(plan.aux > 0) > 30
    assert np.all(np.isfinite(plan.mean)) and np.all(np.isfinite(plan.variance))
    assert plan.mean[0, 0] < 0  # though the optimum is at 0.5
    assert np.isfinite(plan.elite_return)
    assert np.isnan(plan.usage)  # there was no actor


def test_nothing_is_learnt_where_everything_is_dropped():
    """Neither from scores that are no numbers, nor from an actor that is not."""

    def silent(actions, key):
        return jnp.full(len(actions), jnp.nan)

    plan = search(silent, proposal(0.2, extra=np.full((5, HORIZON, 2), np.nan)), 9)
    np.testing.assert_allclose(plan.mean, np.full((HORIZON, 2), 0.2), rtol=1e-6)
    np.testing.assert_allclose(plan.variance, np.tile([0.25, 2.25], (HORIZON, 1)))
    assert plan.dropped == 525 and plan.metrics["plan_dropped"] == 525 and plan.usage == 0


def test_ranking_by_hand():
    scores = Scores(
        array([5.0, 9.0, 1.0, 7.0, 8.0, np.nan]),
        array([[0.0, 0.0], [2.0, 0.0], [0.5, 1.0], [0.0, 1.5], [0.0, 3.0], [0.0, 0.0]]),
    )
    limits = array([1.0, 1.0])
    # 0 and 2 keep both limits; 3 exceeds one by 0.5, 1 by 1, 4 by 2; 5 has no score.
    valid = jnp.isfinite(scores.returns)
    np.testing.assert_array_equal(ranking(scores, limits, valid), [0, 2, 3, 1, 4, 5])
    np.testing.assert_array_equal(ranking(scores, None, valid), [1, 4, 3, 0, 2, 5])


# Many at once, and bad input ---------------------------------------------------------------------------


def test_several_searches_in_one_call_are_those_made_singly():
    means = array(0.3 * np.random.default_rng(0).standard_normal((3, HORIZON, 2)))
    keys = jax.random.split(jax.random.key(12), 3)

    def one(mean, key):
        return cem(towards(np.ones(2)), Proposal(mean, array(LOW), array(HIGH)), key).mean

    together, singly = jax.jit(jax.vmap(one))(means, keys), jax.jit(one)
    for i in range(3):
        np.testing.assert_allclose(together[i], singly(means[i], keys[i]), atol=1e-5)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"population": 0}, "population = 0 is out of range"),
        ({"elites": 0}, "elites = 0 is out of range"),
        ({"iterations": 0}, "iterations = 0 is out of range"),
        ({"smoothing": 1.5}, "smoothing = 1.5 is out of range"),
        ({"held": 101}, "held = 101 is out of range"),
    ],
)
def test_settings_out_of_range(change, message):
    with pytest.raises(SurefootError, match=message):
        Cem(**change)


def test_searches_that_cannot_work():
    key, flat = jax.random.key(0), towards([0.0, 0.0])
    with pytest.raises(SurefootError, match="elites = 20 is more than the 12 candidates"):
        cem(flat, proposal(extra=np.zeros((2, HORIZON, 2))), key, Cem(10, 20))
    with pytest.raises(SurefootError, match="horizon of at least 1"):
        cem(flat, Proposal(array(np.zeros((0, 2))), array(LOW), array(HIGH)), key)
    with pytest.raises(SurefootError, match="finite bounds"):
        cem(flat, eqx.tree_at(lambda p: p.high, proposal(), array(HIGH + np.inf)), key)
    with pytest.raises(SurefootError, match="the objective gives none"):
        cem(flat, proposal(), key, limits=(1.0,))
    with pytest.raises(SurefootError, match="one return a candidate"):
        cem(lambda actions, key: jnp.zeros(3), proposal(), key)
    with pytest.raises(SurefootError, match="one cost a limit"):
        cem(lambda a, key: Scores(a[:, 0, 0], a[:, 0, :1]), proposal(), key, limits=(1.0, 2.0))
