import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import surefoot as sf
from probe.training import probability, train
from probe.worlds import ByAction, ByBoth, ByObservation, Cut, Delayed
from surefoot.algorithms.rl.ppo import Ppo, Sample, approximate_kl, clipped_gain, loss, minibatch_passes
from surefoot.errors import SurefootError
from surefoot.networks.policies import Mode
from surefoot.task import Box

QUICK = Ppo(batch_steps=128, minibatch=32, learning_rate=1e-2, hidden=(16,), target_kl=0.1, discount=0.9)


def values(state, *seen):
    return np.asarray(state.networks.value(jnp.array(seen)[:, None])[:, 0])


@pytest.mark.parametrize(
    ("env", "seen", "wanted"),
    [
        (ByObservation(), [-1.0, 1.0], [-1.0, 1.0]),
        (Delayed(), [0.0, 1.0], [0.9, 1.0]),
        (Cut(), [0.0], [1 / (1 - 0.5)]),
    ],
)
def test_values_of_the_probes(env, seen, wanted):
    learner = dataclasses.replace(QUICK, discount=0.5) if isinstance(env, Cut) else QUICK
    state, _ = train(learner, env, 40)
    np.testing.assert_allclose(values(state, *seen), wanted, atol=0.05)


def test_a_start_that_does_not_fit_is_refused_in_one_line():
    real, discrete = (QUICK.init(ByAction(continuous=c).task, jax.random.key(0)) for c in (True, False))
    with pytest.raises(SurefootError, match="discrete actions and the task has not"):
        QUICK.start_from(real, discrete.networks.policy, None)
    wide = dataclasses.replace(ByAction(continuous=True).task, observation=Box((2,), (-1.0,) * 2, (1.0,) * 2))
    with pytest.raises(SurefootError, match="takes 2 numbers and gives 1, but this task needs 1 and 1"):
        QUICK.start_from(real, QUICK.init(wide, jax.random.key(0)).networks.policy, None)
    with pytest.raises(SurefootError, match="which this method cannot train"):
        QUICK.start_from(real, Mode(real.networks.policy), None)


def test_the_loss_by_hand():
    """Four steps of a policy over three actions, each term written out; all weights differ."""
    learner = dataclasses.replace(QUICK, clip=0.1, value_weight=0.7, entropy_weight=0.3, hidden=(4,))
    state = learner.init(ByAction().task, jax.random.key(0))
    rng = np.random.default_rng(0)
    seen, action = rng.normal(size=(4, 1)), np.array([0, 1, 1, 0])
    advantage, target = rng.normal(size=(2, 4))
    moved = rng.normal(size=4) * 0.3  # log pi - log pi_old
    logits, value = (
        np.asarray(f(jnp.asarray(seen))) for f in (state.networks.policy.network, state.networks.value)
    )
    chance = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    old = np.log(chance[np.arange(4), action]) - moved
    found, _ = loss(
        learner, state.networks, Sample(*map(jnp.asarray, (seen, action, old, advantage, target)))
    )
    scaled = (advantage - advantage.mean()) / advantage.std()
    gains = [min(np.exp(m) * a, np.clip(np.exp(m), 0.9, 1.1) * a) for m, a in zip(moved, scaled, strict=True)]
    entropy = -(chance * np.log(chance)).sum(axis=1).mean()
    wanted = -np.mean(gains) + 0.7 * np.mean((value[:, 0] - target) ** 2) - 0.3 * entropy
    assert found == pytest.approx(wanted, rel=1e-5)


def test_learns_what_pays_where():
    state, metrics = train(QUICK, ByBoth(), 40)
    assert metrics["return"][-1] > 0.8 > metrics["return"][0]
    assert probability(state.networks.policy, 1.0) > 0.95
    assert probability(state.networks.policy, -1.0) < 0.05


def test_learns_continuous_actions():
    state, metrics = train(QUICK, ByAction(continuous=True), 60)
    policy = state.networks.policy
    assert abs(float(policy.mode(jnp.zeros(1))[0]) - 0.5) < 0.1
    assert metrics["entropy"][-1] < metrics["entropy"][0] - 0.5


def test_gradient_of_the_clipped_gain_vanishes_only_where_it_went_far_enough():
    ratio = jnp.array([0.5, 0.5, 1.0, 1.0, 1.5, 1.5])
    advantage = jnp.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
    gradient = 6 * jax.grad(clipped_gain)(jnp.log(ratio), advantage, 0.2)
    np.testing.assert_allclose(gradient, [0.5, 0.0, 1.0, -1.0, 0.0, -1.5], rtol=1e-5)


def test_approximate_kl_is_right_on_average():
    old, new = np.array([0.2, 0.3, 0.5]), np.array([0.3, 0.3, 0.4])
    actions = np.random.default_rng(0).choice(3, size=200_000, p=old)
    found = approximate_kl(jnp.asarray(np.log(new / old)[actions], jnp.float32))
    np.testing.assert_allclose(found, np.sum(old * np.log(old / new)), rtol=0.05)


@pytest.mark.parametrize(("kl", "passes"), [(0.0, 3), (1.1, 1)])
def test_every_pass_sees_every_row_once_and_none_follows_a_long_move(kl, passes):
    data, seen, descent = jnp.arange(12.0), jnp.zeros(12), optax.sgd(1.0)

    def loss(seen, rows):  # its gradient marks the rows
        marks = jnp.zeros(12).at[rows.astype(int)].set(1.0)
        return -jnp.dot(seen, marks), {"kl": jnp.asarray(kl)}

    seen, _, metrics = minibatch_passes(
        loss,
        seen,
        descent.init(seen),
        data,
        jax.random.key(0),
        optimiser=descent,
        passes=3,
        minibatch=4,
        stop_above=1.0,
    )
    np.testing.assert_array_equal(seen, np.full(12, passes))
    assert metrics["passes"] == passes


def test_same_key_same_result_and_seeds_differ():
    first, again, other = (train(QUICK, ByBoth(), 40, seed=seed)[0] for seed in (0, 0, 1))
    same = jax.tree.map(lambda a, b: bool(jnp.all(a == b)), first.networks, again.networks)
    assert all(jax.tree.leaves(same))
    assert not eqx.tree_equal(first.networks, other.networks)


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1"])
def test_runs_on_gymnasium(name):
    world = sf.make(f"gymnasium:{name}", envs=2)
    learner = Ppo(batch_steps=64, minibatch=32, passes=2)
    state = learner.init(world.task, jax.random.key(0))
    before = state
    for i in range(2):
        state, world, metrics = learner.iteration(state, world, jax.random.key(i))
    assert np.isfinite(float(metrics["value_loss"]))
    assert not eqx.tree_equal(before.networks, state.networks)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_steps": 0}, "batch_steps = 0"),
        ({"minibatch": 4096}, "minibatch = 4096 is larger than batch_steps = 2048"),
        ({"discount": 1.5}, "discount = 1.5"),
        ({"clip": float("nan")}, "clip = nan"),
        ({"learning_rate": 0.0}, "learning_rate = 0.0"),
        ({"hidden": (64, 0)}, "hidden = 0"),
    ],
)
def test_refuses_settings_out_of_range(settings, message):
    with pytest.raises(SurefootError, match=message):
        Ppo(**settings)
