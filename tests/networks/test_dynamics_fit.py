"""Fitting ensembles: closed-form regression, noise that varies, doubt away from data, and what stays out."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from surefoot.errors import SurefootError
from surefoot.networks import dynamics_fit
from surefoot.networks.dynamics import Ensemble
from surefoot.networks.dynamics_fit import Experience, Fit, fit, init_optimiser
from surefoot.numerics.shuffle import Split

CAPACITY = 2048
SMALL = {"members": 3, "hidden": (32, 32)}


def fresh(settings, **more):
    model = Ensemble.create(1, 1, key=jax.random.key(0), **{**SMALL, **more})
    return model, init_optimiser(model, settings)


def experience(observation, action, change, reward):
    columns = [np.asarray(x, np.float32) for x in (observation, action, observation + change, reward)]
    columns = [np.pad(x, (0, CAPACITY - len(x)), constant_values=np.nan) for x in columns]
    return Experience(*(jnp.asarray(x)[:, None] for x in columns[:3]), reward=jnp.asarray(columns[3]))


@pytest.fixture(scope="module")
def fitted():
    """A linear step with constant noise, and a reward whose noise grows from 0.05 to 0.5 over s in [-1, 1].

    Beyond the 1500 transitions the arrays hold NaN, which would show if it were read.
    """
    rng = np.random.default_rng(0)
    s, a = rng.uniform(-1, 1, (2, 1500))
    change = 0.3 - 0.5 * s + 0.8 * a + 0.2 * rng.standard_normal(1500)
    reward = np.sin(2 * s) + noise_of(s) * rng.standard_normal(1500)
    data, settings = experience(s, a, change, reward), Fit(epochs=200, max_minibatches=1200)
    model, optimiser = fresh(settings)
    model, _, metrics = fit(model, optimiser, data, 1500, jax.random.key(1), settings)
    return model, metrics, (s, a, change, reward)


def test_the_price_of_weights_and_of_wide_bounds_by_hand():
    """Two members, two layers: sums over entries; costs' networks and biases are free."""
    model = Ensemble.create(2, 1, key=jax.random.key(0), members=2, hidden=(3,), costs=1)
    settings = Fit(weight_decay=(0.1, 0.3), bound_penalty=0.05)
    rng = np.random.default_rng(0)
    members = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), model.members)
    wanted = 0.0
    for e in range(2):
        wanted += 0.1 * np.sum(members.weights[0][e] ** 2) / 2 + 0.3 * np.sum(members.weights[1][e] ** 2) / 2
        wanted += 0.05 * np.sum(members.max_log_variance[e] - members.min_log_variance[e]) / 2
    assert len(members.cost_weights) and dynamics_fit.regulariser(members, settings) == pytest.approx(
        float(wanted), rel=1e-5
    )


def noise_of(s):
    return np.exp(np.log(0.05) + (s + 1) / 2 * np.log(10))


def test_linear_gaussian_regression(fitted):
    """Mean and likelihood of the change of the state beside those of least squares."""
    model, _, (s, a, change, _) = fitted
    x = np.stack([np.ones_like(s), s, a], axis=1)
    coefficients, *_ = np.linalg.lstsq(x, change, rcond=None)
    variance = np.mean((change - x @ coefficients) ** 2)

    rng = np.random.default_rng(1)
    s, a = rng.uniform(-0.9, 0.9, (2, 1000))
    drawn = 0.3 - 0.5 * s + 0.8 * a + 0.2 * rng.standard_normal(1000)
    mean, log_variance = (np.asarray(y)[..., 0] for y in model.predict(*columns(s, a)))
    exact = np.stack([np.ones_like(s), s, a], axis=1) @ coefficients
    assert np.sqrt(np.mean((mean - exact) ** 2)) < 0.06  # the noise is 0.2
    ours = np.mean((drawn - mean) ** 2 * np.exp(-log_variance) + log_variance, axis=1)
    best = np.mean((drawn - exact) ** 2 / variance + np.log(variance))
    assert np.all(ours < best + 0.15)
    np.testing.assert_allclose(np.exp(0.5 * log_variance).mean(), 0.2, rtol=0.12)


def test_noise_that_varies_is_recovered(fitted):
    model, _, _ = fitted
    s = np.linspace(-0.9, 0.9, 50)
    _, log_variance = model.predict(*columns(s, np.zeros(50)))
    found = 0.5 * np.asarray(log_variance)[..., 1].mean(0)
    expected = np.log(noise_of(s))
    assert np.sqrt(np.mean((found - expected) ** 2)) < 0.2  # it spans log 10 = 2.3
    assert np.corrcoef(found, expected)[0, 1] > 0.97


def test_members_disagree_away_from_the_data(fitted):
    model, _, _ = fitted
    spread = [
        float(np.asarray(model.predict(*columns([s], [0.0]))[0])[:, 0, 1].std()) for s in (0.0, 2.0, 4.0, 8.0)
    ]
    assert spread[0] < 0.1 < spread[2]
    assert spread[0] < spread[1] < spread[2] < spread[3]


def columns(s, a):
    return tuple(jnp.asarray(x, jnp.float32)[:, None] for x in (s, a))


def test_what_is_reported(fitted):
    model, metrics, (s, a, _, _) = fitted
    assert metrics["model_minibatches"] == 1200  # 200 epochs of 6 minibatches
    assert metrics["model_epochs"] == 200
    assert np.isfinite(metrics["model_loss"])
    np.testing.assert_allclose(model.input_mean, [s.mean(), a.mean()], atol=1e-5)
    np.testing.assert_allclose(model.input_scale, [s.std(), a.std()], rtol=1e-4)


def test_a_rare_cost_is_found_where_it_is():
    """Four in a hundred steps cost 1, in one corner, beside a change and a reward without any noise."""
    rng = np.random.default_rng(6)
    s, a = rng.uniform(-1, 1, (2, 1500))
    cost = (s > 0.6) & (a > 0.6)
    data = experience(s, a, 0.1 * a, s)
    data = eqx.tree_at(
        lambda d: d.cost, data, jnp.zeros((CAPACITY, 1)).at[:1500, 0].set(cost), is_leaf=lambda x: x is None
    )
    settings = Fit(epochs=400, max_minibatches=1000)
    model, optimiser = fresh(settings, costs=1)
    model, _, _ = fit(model, optimiser, data, 1500, jax.random.key(1), settings)
    s, a = rng.uniform(-1, 1, (2, 3000))
    expected = np.maximum(model.predict(*columns(s, a))[0][..., 2], 0)
    inside, outside = (s > 0.7) & (a > 0.7), (s < 0.5) | (a < 0.5)
    assert 0.03 < cost.mean() < 0.05
    assert np.quantile(expected[:, inside], 0.05) > 0.5
    assert np.quantile(expected[:, outside], 0.95) < 0.02  # not a little everywhere
    assert (
        np.abs(model.predict(*columns(s, a))[0][..., 0] - 0.1 * a).mean() < 0.02
    )  # and the change as before


def test_costs_count_by_poissons_quasi_likelihood():
    """Against the sum written out."""
    rng = np.random.default_rng(7)
    model = fresh(Fit(), costs=2, hidden=(8,), cost_hidden=(8,))[0]
    x = jnp.asarray(rng.normal(size=(3, 5, 2)), jnp.float32)
    y = jnp.asarray(np.abs(rng.normal(size=(3, 5, 4))), jnp.float32)
    mean, wide = (np.asarray(z, float) for z in model.members(x))
    assert mean.shape == (3, 5, 4) and wide.shape == (3, 5, 2)
    expected = np.log1p(np.exp(50 * mean[..., 2:])) / 50
    target = np.asarray(y, float)
    gauss = (mean - target)[..., :2] ** 2 / np.exp(wide) + wide
    costs = expected - target[..., 2:] * np.log(expected + 1e-8)
    ours = dynamics_fit.negative_log_likelihood(model.members, x, y)
    np.testing.assert_allclose(ours, (gauss.mean(-1) + costs.sum(-1)).mean(1).sum(), rtol=1e-4)


def held_out_case():
    rng = np.random.default_rng(2)
    s, a = rng.uniform(-1, 1, (2, 1000))
    settings = Fit(epochs=3, holdout=0.2, patience=5, max_minibatches=7)
    return s, a, settings


def test_one_program_for_a_growing_buffer_that_holds_some_out():
    """The number of transitions is an array: a cap holds, and what is held out is never looked at."""
    s, a, settings = held_out_case()
    data = experience(s, a, 0.1 * a, s)
    model, optimiser = fresh(settings)
    run = jax.jit(lambda data, count: fit(model, optimiser, data, count, jax.random.key(3), settings))
    for count, minibatches in ((0, 0), (1, 0), (2, 3), (320, 3), (330, 6), (1000, 7)):
        found, _, metrics = run(data, jnp.asarray(count))
        assert metrics["model_minibatches"] == minibatches
        if count > 1:
            assert np.isfinite(metrics["model_holdout_error"])
        assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(found.members))
    held = np.asarray(Split.of(jnp.asarray(1000), 0.2).held_out(jnp.arange(200)))
    spoilt = eqx.tree_at(lambda d: d.next_observation, data, data.next_observation.at[held].add(5.0))
    once = run(data, jnp.asarray(1000))
    patient = eqx.tree_at(lambda d: d.reward, spoilt, jnp.asarray(data.reward).at[held].add(-3.0))
    again = run(patient, jnp.asarray(1000))
    assert again[2]["model_holdout_error"] > 10 * once[2]["model_holdout_error"]
    assert again[2]["model_loss"] == once[2]["model_loss"]
    for x, y in zip(jax.tree.leaves(once[1]), jax.tree.leaves(again[1]), strict=True):
        np.testing.assert_array_equal(x, y)  # Adam's moments: the same gradients


def test_stopping_early_goes_back_to_the_best_weights():
    """A step far too large makes everything worse, so that the best weights are those before the fit."""
    s, a, _ = held_out_case()
    settings = Fit(epochs=50, learning_rate=30.0, holdout=0.2, patience=2)
    model, optimiser = fresh(settings)
    after, _, metrics = fit(model, optimiser, experience(s, a, 0.1 * a, s), 1000, jax.random.key(4), settings)
    assert metrics["model_epochs"] == 3
    for x, y in zip(jax.tree.leaves(model.members), jax.tree.leaves(after.members), strict=True):
        np.testing.assert_array_equal(x, y)


def test_small_gains_add_up_to_progress():
    """A third of a hundredth an epoch: no epoch alone is progress by a hundredth, some together are."""
    s, a, _ = held_out_case()
    settings = Fit(epochs=30, learning_rate=1e-4, holdout=0.2, patience=4)
    model, optimiser = fresh(settings)
    data = experience(s, a, 0.1 * a, s)
    _, _, metrics = fit(model, optimiser, data, 1000, jax.random.key(4), settings)
    before, variance = dynamics_fit.with_statistics(
        model, data, split := Split.of(jnp.asarray(1000), 0.2), settings
    )
    first = jnp.mean(dynamics_fit.holdout_error(before, data, split, variance, settings))
    assert metrics["model_epochs"] == 30
    assert 0.99**30 < 0.88 < metrics["model_holdout_error"] / first < 0.95


def test_a_cost_is_judged_as_it_is_predicted():
    """A mean below 0 predicts no cost: how far below it lies is no error."""
    model = fresh(Fit(), costs=1, hidden=(8,), cost_hidden=(8,))[0]
    low = eqx.tree_at(
        lambda e: (e.members.cost_weights[-1], e.members.cost_biases[-1]),
        model,
        (jnp.zeros((3, 8, 1)), jnp.full((3, 1), -0.3)),
    )
    zero = eqx.tree_at(lambda e: e.members.cost_biases[-1], low, jnp.zeros((3, 1)))
    s, a, _ = held_out_case()
    cost = jnp.pad(jnp.asarray(s > 0.9, jnp.float32)[:, None], ((0, CAPACITY - 1000), (0, 0)))
    data = dataclasses.replace(experience(s, a, 0.1 * a, s), cost=cost)
    split, variance = Split.of(jnp.asarray(1000), 0.2), jnp.array([1.0, 1.0, 0.05])
    found = [dynamics_fit.holdout_error(m, data, split, variance, Fit(holdout=0.2)) for m in (low, zero)]
    np.testing.assert_allclose(*found, rtol=1e-6)


def test_the_elites_are_those_that_explain_most():
    """A member that has been spoilt is not among them."""
    s, a, _ = held_out_case()
    settings = Fit(epochs=2, holdout=0.2)
    model, optimiser = fresh(settings, elites=2)
    model = eqx.tree_at(lambda e: e.members.biases[-1], model, model.members.biases[-1].at[0].add(50.0))
    after, _, _ = fit(model, optimiser, experience(s, a, 0.1 * a, s), 1000, jax.random.key(5), settings)
    assert sorted(after.elites.tolist()) == [1, 2]


def test_inputs_that_hardly_vary_are_not_magnified():
    s, a, _ = held_out_case()
    model, _ = fresh(Fit())
    data = experience(1 + 1e-7 * s, a, 0.1 * a, s)
    split = Split.of(jnp.asarray(1000), 0.0)
    scaled, variance = dynamics_fit.with_statistics(model, data, split, Fit())
    np.testing.assert_allclose(scaled.input_scale, [1, a.std()], rtol=1e-4)
    np.testing.assert_allclose(scaled.target_scale, [np.std(0.1 * a), np.std(s)], rtol=1e-3)
    np.testing.assert_allclose(variance, [1, 1], rtol=1e-3)
    raw, variance = dynamics_fit.with_statistics(model, data, split, Fit(scale_targets=False))
    np.testing.assert_array_equal(raw.target_scale, [1, 1])
    np.testing.assert_allclose(variance, [np.var(0.1 * a), np.var(s)], rtol=1e-3)


def test_the_unit_of_the_state_does_not_matter():
    """Changes of a thousandth or of a thousand are as well known as those of 1, and so are the costs."""
    s, a, _ = held_out_case()
    x, y = columns(s, a)
    shares = {}
    for unit in (1e-3, 1.0, 1e3):
        data = Experience(unit * x, y, unit * (x + 0.5 * y * x + 0.2), unit * x[:, 0], jnp.abs(y))
        settings = Fit(epochs=100)
        model, optimiser = fresh(settings, costs=1)
        model, _, _ = fit(model, optimiser, data, 1000, jax.random.key(6), settings)
        mean, log_variance = (np.asarray(z) for z in model.predict(unit * x, y))
        change, cost = 0.5 * a * s + 0.2, np.abs(a)
        shares[unit] = np.sqrt(np.mean((mean[..., 0] / unit - change) ** 2)) / change.std()
        width = np.exp(0.5 * log_variance[..., 0]).mean() / (unit * change.std())
        assert shares[unit] < 0.1 and width < 0.2
        assert np.abs(mean[..., 2] - cost).mean() < 0.1
    np.testing.assert_allclose(shares[1e-3], shares[1.0], rtol=0.2)
    np.testing.assert_allclose(shares[1e3], shares[1.0], rtol=0.2)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"epochs": 0}, "epochs = 0 is out of range"),
        ({"batch_size": 0}, "batch_size = 0 is out of range"),
        ({"max_minibatches": 0}, "max_minibatches = 0 is out of range"),
        ({"holdout": 0.9}, "holdout = 0.9 is out of range"),
        ({"patience": 3}, "patience needs transitions held out"),
    ],
)
def test_settings_out_of_range(change, message):
    with pytest.raises(SurefootError, match=message):
        Fit(**change)


def test_data_that_do_not_fit_the_model():
    data, settings = experience(*np.zeros((4, 9))), Fit()

    def refused(model, data, message):
        with pytest.raises(SurefootError, match=message):
            fit(model, init_optimiser(model, settings), data, 9, jax.random.key(0), settings)

    wide = Ensemble.create(2, 1, key=jax.random.key(0), **SMALL)
    refused(wide, data, "made for 2 observations, but 1 are needed")
    model = fresh(settings)[0]
    refused(model, eqx.tree_at(lambda d: d.reward, data, None), "the transitions have none")
    costly = fresh(settings, costs=1)[0]
    refused(costly, data, "predicts 1 costs, but the transitions have 0")
    discrete = eqx.tree_at(lambda d: d.action, data, jnp.zeros(CAPACITY, jnp.int32))
    refused(model, discrete, "needs real actions")
