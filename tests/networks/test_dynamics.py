"""Ensembles: what they predict against plain NumPy, how they sample, and that members are independent."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oracles import dynamics as oracle
from surefoot.errors import SurefootError
from surefoot.networks.dynamics import Ensemble
from surefoot.networks.dynamics_fit import negative_log_likelihood


@pytest.fixture(scope="module")
def ensemble():
    """With statistics and bounds unlike the ones at the start."""
    made = Ensemble.create(3, 2, key=jax.random.key(0), members=4, hidden=(16, 12), costs=2)
    keys = jax.random.split(jax.random.key(1), 3)
    return eqx.tree_at(
        lambda e: (
            *(e.input_mean, e.input_scale, e.target_mean, e.target_scale),
            *(e.members.max_log_variance, e.members.biases[-1]),
        ),
        made,
        (
            jax.random.normal(keys[0], (5,)),
            jnp.array([0.5, 2.0, 1.0, 3.0, 0.1]),
            jax.random.normal(keys[2], (4,)),
            jnp.array([0.1, 2.0, 1.0, 0.5]),
            made.members.max_log_variance + jnp.arange(4.0)[:, None],
            jax.random.normal(keys[1], (4, 8)),
        ),
    )


def inputs(batch, key=2):
    keys = jax.random.split(jax.random.key(key))
    return jax.random.normal(keys[0], (batch, 3)), jax.random.normal(keys[1], (batch, 2))


def test_prediction_in_numpy(ensemble):
    observation, action = inputs(7)
    mean, log_variance = ensemble.predict(observation, action)
    expected = oracle.predict(ensemble, *map(np.asarray, (observation, action)))
    np.testing.assert_allclose(mean, expected[0], atol=1e-4)
    np.testing.assert_allclose(log_variance, expected[1], atol=1e-4)
    # Rows that belong to a member each: the diagonal of the above.
    mine = ensemble.predict(observation[:4, None], action[:4, None])[0]
    np.testing.assert_allclose(mine[:, 0], mean[jnp.arange(4), jnp.arange(4)], atol=1e-5)


def test_products_in_lower_precision(ensemble):
    """Against NumPy that rounds what is multiplied, and nothing else."""
    observation, action = inputs(50)

    def rounded(x):
        return np.asarray(x).astype(jnp.bfloat16).astype(np.float64)

    def layers(x, weights, biases):
        for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            x = rounded(x) @ rounded(weight) + np.asarray(bias, np.float64)[:, None]
            x = x / (1 + np.exp(-x)) if i < len(weights) - 1 else x
        return x

    members, lower = ensemble.members, ensemble.products_in("bfloat16")
    x = (np.concatenate([observation, action], axis=-1) - ensemble.input_mean) / ensemble.input_scale
    x = np.broadcast_to(x, (4, *x.shape))
    drawn = layers(x, members.weights, members.biases)[..., :4] * ensemble.target_scale + ensemble.target_mean
    expected = np.concatenate([drawn, layers(x, members.cost_weights, members.cost_biases)], axis=-1)
    mean, log_variance = lower.predict(observation, action)
    assert mean.dtype == log_variance.dtype == jnp.float32
    # Here and there a sum in float32 falls on the other side of a rounding.
    assert np.quantile(np.abs(mean - expected), 0.95) < 1e-5
    np.testing.assert_allclose(mean, expected, atol=0.02)
    full, _ = ensemble.predict(observation, action)
    assert np.quantile(np.abs(mean - full), 0.5) > 1e-4
    again = lower.products_in("float32").predict(observation, action)[0]
    np.testing.assert_allclose(again, full, atol=0.05)


def test_log_variances_stay_within_their_bounds_however_wild_the_input(ensemble):
    observation, action = inputs(50)
    _, log_variance = ensemble.predict(1e4 * observation, 1e4 * action)
    log_variance -= 2 * jnp.log(ensemble.target_scale)
    upper = np.asarray(ensemble.members.max_log_variance)[:, None]
    # The lower bound is soft: the upper one, put through it, moves by softplus(lower - upper) at most.
    assert np.all(np.asarray(log_variance) <= upper + 1e-3) and np.all(np.asarray(log_variance) >= -10 - 1e-3)
    assert np.ptp(log_variance) > 5


def test_fresh_weights_are_a_cut_normal():
    members = Ensemble.create(17, 6, key=jax.random.key(3)).members
    assert [w.shape for w in members.weights] == [(5, 23, 200), *[(5, 200, 200)] * 3, (5, 200, 36)]
    for weight in members.weights:
        sigma = 1 / (2 * np.sqrt(weight.shape[1]))
        assert np.abs(weight).max() <= 2 * sigma * (1 + 1e-6)
        np.testing.assert_allclose(np.std(weight) / sigma, 0.8796, rtol=0.02)  # of a normal cut at +-2
    assert not any(np.any(b) for b in members.biases)
    flat = np.asarray(members.weights[1]).reshape(5, -1)
    assert np.abs(np.corrcoef(flat) - np.eye(5)).max() < 0.03


def test_costs_have_networks_of_their_own(ensemble):
    """Their errors move nothing that predicts states and rewards, nor the other way round."""
    x, y = jax.random.normal(jax.random.key(4), (4, 9, 5)), jax.random.uniform(jax.random.key(5), (4, 9, 6))
    slope = jax.jit(jax.grad(negative_log_likelihood))
    before = slope(ensemble.members, x, y)
    dearer = slope(ensemble.members, x, y.at[..., 4:].add(3.0))
    moved = slope(ensemble.members, x, y.at[..., :4].add(3.0))

    def split(m):
        return jax.tree.leaves((m.weights, m.biases, m.max_log_variance)), jax.tree.leaves(m.cost_weights)

    for one, other in zip(split(before)[0], split(dearer)[0], strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(split(before)[1], split(moved)[1], strict=True):
        np.testing.assert_array_equal(one, other)
    assert all(np.any(x != y) for x, y in zip(split(before)[1], split(dearer)[1], strict=True))


def test_the_loss_of_a_member_does_not_touch_the_others(ensemble):
    x, y = jax.random.normal(jax.random.key(4), (4, 9, 5)), jax.random.uniform(jax.random.key(5), (4, 9, 6))
    slope = jax.jit(jax.grad(negative_log_likelihood))
    before, after = (slope(ensemble.members, x.at[2].multiply(m), y) for m in (1.0, 3.0))
    for one, other in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(one[jnp.array([0, 1, 3])], other[jnp.array([0, 1, 3])])
        assert np.any(one[2] != other[2])


def test_a_sampled_step_has_the_mean_and_spread_that_it_should():
    noise = [[-2.0, 0.0, 1.0]]
    model = oracle.linear_ensemble(
        np.zeros((1, 3, 4)), [[1.0, 2.0, 3.0, -0.4]], noise, observation_size=2, rewards=True, costs=1
    )
    observation = jnp.ones((1, 20_000, 2))
    step = model.step(observation, jnp.zeros((1, 20_000, 1)), jax.random.key(6))
    np.testing.assert_allclose(step.next_observation[0].mean(0), [2, 3], atol=0.03)
    np.testing.assert_allclose(step.next_observation[0].std(0), np.exp([-1.0, 0.0]), rtol=0.03)
    np.testing.assert_allclose([step.reward.mean(), step.reward.std()], [3, np.exp(0.5)], rtol=0.03)
    np.testing.assert_array_equal(step.cost, 0)  # expected costs, which are not below 0
    assert abs(np.corrcoef(step.reward[0], step.next_observation[0, :, 0])[0, 1]) < 0.03


@pytest.mark.parametrize("balanced", [False, True])
def test_any_member_may_make_a_step(balanced):
    """Drifts of 1, 10 and 100 say which member it was."""
    model = oracle.drifting([1.0, 10.0, 100.0])
    n = 3001
    observation, action = jnp.arange(n, dtype=jnp.float32)[:, None] / 1e4, jnp.zeros((n, 1))
    step = jax.jit(lambda key: model.step_any(observation, action, key, balanced=balanced))
    drift = np.round((step(jax.random.key(7)).next_observation - observation)[:, 0]).astype(int)
    again = np.round((step(jax.random.key(8)).next_observation - observation)[:, 0]).astype(int)
    counts = [np.sum(drift == d) for d in (1, 10, 100)]
    assert sum(counts) == n
    if balanced:
        assert max(counts) - min(counts) <= 2
    else:
        assert np.all(np.abs(np.array(counts) - n / 3) < 4 * np.sqrt(n * 2 / 9))
    assert abs(np.mean(drift == again) - 1 / 3) < 0.05  # drawn anew each time, not by place
    assert abs(np.mean(drift[1:] == drift[:-1]) - 1 / 3) < 0.05


def test_the_elites_alone():
    model = oracle.drifting([1.0, 10.0, 100.0])
    chosen = eqx.tree_at(lambda e: e.elites, model, jnp.array([2, 0])).chosen()
    assert chosen.size == 2 and model.chosen() is model
    mean, _ = chosen.predict(jnp.zeros((1, 1)), jnp.zeros((1, 1)))
    np.testing.assert_allclose(mean.ravel(), [100, 1], rtol=1e-5)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"members": 0}, "members = 0 is out of range"),
        ({"hidden": ()}, "at least one hidden layer"),
        ({"hidden": (8, 0)}, "at least one hidden layer"),
        ({"costs": -1}, "costs = -1 is out of range"),
        ({"elites": 6}, "elites = 6 is out of range"),
    ],
)
def test_sizes_that_make_no_sense(change, message):
    with pytest.raises(SurefootError, match=message):
        Ensemble.create(3, 2, key=jax.random.key(0), **change)


def test_a_model_for_other_sizes_is_refused(ensemble):
    ensemble.check_sizes(3, 2, 2)
    with pytest.raises(SurefootError, match="made for 3 observations, but 4 are needed"):
        ensemble.check_sizes(4, 2)
    with pytest.raises(SurefootError, match="made for 2 actions, but 1 are needed"):
        ensemble.check_sizes(3, 1)
    with pytest.raises(SurefootError, match="made for 2 costs, but 0 are needed"):
        ensemble.check_sizes(3, 2, 0)
