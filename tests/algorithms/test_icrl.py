from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import surefoot as sf
from probe import lap_grid, ring_road
from probe.training import play, train
from probe.worlds import ByAction
from surefoot.algorithms.imitation.icrl import (
    Allowed,
    Icrl,
    backward,
    constraint_loss,
    divergences,
    importance_weights,
    improve,
)
from surefoot.data.demonstrations import Demonstrations
from surefoot.data.pairs import Pairs
from surefoot.errors import SurefootError
from surefoot.worlds.jax_world import JaxWorld
from surefoot.worlds.world import Steps

QUICK = Icrl(
    forward_updates=5,
    warmup=0,
    batch_steps=400,
    episodes=10,
    minibatch=100,
    learning_rate=3e-3,
    hidden=(32,),
    constraint_hidden=(20,),
    constraint_learning_rate=0.01,
    constraint_sees_action=True,
    backward_passes=20,
    regulariser=0.1,
    budget=0.0,
    multiplier_start=1.0,
    multiplier_learning_rate=0.1,
)

PATIENT = Icrl(
    forward_updates=2,
    batch_steps=400,
    episodes=10,
    minibatch=100,
    learning_rate=1.5e-4,
    entropy_weight=0.1,
    hidden=(32,),
    constraint_hidden=(20,),
    constraint_learning_rate=0.01,
    constraint_sees_action=False,
    backward_passes=20,
    weights="none",
    regulariser=0.5,
)
"""zeta settles while the policy still tries everything; one that has settled sees no other way."""


def few(env, actions):
    """Demonstrations that only have the right form."""
    steps, last = len(actions), np.arange(len(actions)) == len(actions) - 1
    size, names = env.task.observation.size, env.task.constraints
    return Demonstrations(
        observations=np.zeros((steps, size)),
        actions=actions,
        rewards=np.zeros(steps),
        costs=np.zeros((steps, len(names))),
        terminations=last,
        truncations=~last & False,
        lengths=np.array([steps]),
        final_observations=np.zeros((1, size)),
        constraints=names,
    )


# The constraint network and its loss


@pytest.mark.parametrize("kind", ["trajectory", "step", "none"])
def test_weights_equal_products_of_ratios(kind):
    rng = np.random.default_rng(0)
    valid = np.array([[1, 1, 1], [1, 1, 1], [1, 0, 1], [1, 0, 0]], bool)
    ratio = np.where(valid, rng.uniform(0.5, 2.0, valid.shape), 1.0)
    found = importance_weights(jnp.asarray(np.log(ratio), jnp.float32), jnp.asarray(valid), kind)
    whole = ratio.prod(axis=0)
    wanted = {
        "trajectory": np.broadcast_to(3 * whole / whole.sum(), valid.shape) * valid,
        "step": np.where(valid, ratio / ratio[valid].mean(), 0.0),
        "none": valid,
    }[kind]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_estimates_of_divergence_equal_their_formulas():
    whole = np.array([0.2, 0.9, 1.7, 3.0])
    forward, reverse = divergences(jnp.asarray(np.log(whole), jnp.float32))
    np.testing.assert_allclose(forward, np.mean(-np.log(whole)), rtol=1e-5)
    np.testing.assert_allclose(
        reverse, np.mean((whole - whole.mean()) * np.log(whole)) / whole.mean(), rtol=1e-5
    )


def test_long_episodes_neither_underflow_nor_overflow():
    steps = jnp.stack([jnp.full(500, -3.0), jnp.full(500, -3.01), jnp.full(500, 2.0)], axis=1)
    valid = jnp.ones(steps.shape, bool)
    forward, reverse = divergences(jnp.sum(steps, axis=0))
    np.testing.assert_allclose(forward, (1500 + 1505 - 1000) / 3, rtol=1e-4)
    np.testing.assert_allclose(reverse, 1000 - (-2005 / 3), rtol=1e-4)
    weights = importance_weights(steps[:, :2], valid[:, :2], "trajectory")
    np.testing.assert_allclose(weights[0], 2 / (1 + np.exp([-5.0, 5.0])), rtol=2e-2)


def allowed(task, **options):
    return Allowed.create(task, (8,), jax.random.key(1), **options)


def sampled(env, policy_action=0, episodes=3):
    class Fixed:
        def act(self, observation, key):
            return jnp.array(policy_action)

    return play(Fixed(), env, episodes)


@pytest.mark.parametrize("regulariser", [0.0, 0.6])
def test_loss_equals_its_formula(regulariser):
    env = ring_road.RingRoad()
    zeta, batch = allowed(env.task), sampled(env)
    unequal = jnp.arange(20)[:, None] < jnp.array([4, 1, 20])
    batch = eqx.tree_at(lambda b: b.valid, batch, unequal)
    demos = ring_road.demonstrations()
    pairs = Pairs(jnp.asarray(demos.observations), jnp.asarray(demos.actions))
    weight = jax.random.uniform(jax.random.key(2), batch.reward.shape)
    good = np.asarray(zeta(pairs.observation, pairs.action), np.float64)
    other = np.asarray(zeta(batch.observation, batch.action), np.float64)
    valid, w = np.asarray(batch.valid), np.asarray(weight)
    assert 0 < valid.sum() < valid.size
    # All 25 sampled steps count the same, whatever the length of their episode.
    wanted = -np.log(good + 1e-5).sum() / good.size + (w * np.log(other + 1e-5))[valid].sum() / valid.sum()
    wanted += regulariser * ((1 - good).sum() / good.size + (1 - other)[valid].sum() / valid.sum())
    np.testing.assert_allclose(constraint_loss(zeta, pairs, batch, weight, regulariser), wanted, rtol=1e-5)


def test_outputs_of_actions_and_unseen_inputs():
    task = ring_road.RingRoad().task
    here, there = jnp.eye(10)[3], jnp.eye(10)[4]
    both = allowed(task)
    table = jax.nn.sigmoid(both.network(here))
    np.testing.assert_allclose([both(here, jnp.array(a)) for a in (0, 1)], table, rtol=1e-6)
    blind = allowed(task, sees_action=False)
    assert blind(here, jnp.array(0)) == blind(here, jnp.array(1))
    narrow = allowed(task, dimensions=(0,))
    assert narrow(here, jnp.array(0)) == narrow(there, jnp.array(0)) != narrow(jnp.eye(10)[0], jnp.array(0))
    bounded = allowed(ByAction(continuous=True).task)
    seen = jnp.zeros(1)
    assert (
        bounded(seen, jnp.array([1.0])) == bounded(seen, jnp.array([5.0])) != bounded(seen, jnp.array([0.5]))
    )
    assert bounded(jnp.array([20.0]), jnp.zeros(1)) == bounded(jnp.array([500.0]), jnp.zeros(1))


def test_passes_lower_what_only_the_policy_does_and_stop_when_it_is_out_of_date():
    env, demos = ring_road.RingRoad(), ring_road.demonstrations()
    state = QUICK.init(env.task, jax.random.key(0), demonstrations=demos)
    batch = sampled(env, ring_road.UP)
    after, metrics = backward(QUICK, state, batch)
    assert metrics["zeta_expert"] > metrics["zeta_nominal"] + 0.05
    assert metrics["backward_passes"] == 20
    assert after.outer == 1
    strict = eqx.tree_at(lambda x: x.forward_kl, QUICK, 1e-4)
    _, metrics = backward(strict, state, batch)
    assert metrics["backward_passes"] == 1
    assert metrics["forward_kl"] > 1e-4


@pytest.fixture(scope="module")
def ring():
    env, demos = ring_road.RingRoad(), ring_road.demonstrations()
    state = QUICK.init(env.task, jax.random.key(0), demonstrations=demos)
    return state, sampled(env, ring_road.UP)


def weights_of(state):
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(eqx.filter(state.zeta, eqx.is_array))])


def test_passes_are_shorter_by_the_decay_in_every_outer_iteration(ring):
    state, batch = ring
    learner = replace(QUICK, constraint_decay=0.5, backward_passes=1)
    moves = []
    for outer in (0, 3):
        at = eqx.tree_at(lambda s: s.outer, state, jnp.array(outer, jnp.int32))
        moves.append(weights_of(backward(learner, at, batch)[0]) - weights_of(state))
    np.testing.assert_allclose(moves[1], moves[0] / 8, rtol=1e-3, atol=1e-7)
    assert np.abs(moves[0]).max() > 1e-3


def test_passes_stop_by_the_reverse_divergence_too_and_weigh_what_was_sampled(ring):
    state, batch = ring
    mixed = play(state.forward.networks.policy, ring_road.RingRoad(), 50)  # goes all ways
    _, metrics = backward(replace(QUICK, reverse_kl=1e-4), state, mixed)
    assert metrics["backward_passes"] == 1 and metrics["reverse_kl"] > 1e-4
    ends = [weights_of(backward(replace(QUICK, weights=kind), state, batch)[0]) for kind in ("step", "none")]
    assert np.abs(ends[0] - ends[1]).max() > 1e-3


@pytest.mark.parametrize(("over", "sign"), [(0.1, -1), (-0.1, 1)])
def test_the_multiplier_grows_where_the_mean_cost_is_above_the_budget_and_falls_below(ring, over, sign):
    state, _ = ring
    env = ring_road.RingRoad()
    world = JaxWorld.create(env, 8, jax.random.key(0))
    _, batch = world.collect(state.forward.networks.policy, Steps(400), jax.random.key(1))
    paid = float(jnp.mean(1 - state.zeta(batch.observation, batch.action)))
    learner = replace(QUICK, budget=paid + over)
    after, metrics = improve(
        learner, state.forward, state.zeta, jnp.zeros((), bool), batch, jax.random.key(2)
    )
    assert metrics["learned_cost"] == pytest.approx(paid, rel=1e-4)
    assert sign * float(after.multipliers.value[0] - state.forward.multipliers.value[0]) > 0.01


# Whole trainings


def train_seeds(learner, env, iterations, seeds, demonstrations):
    """As ``train``, for several seeds in one compiled call."""
    return eqx.filter_vmap(
        lambda seed: train(learner, env, iterations, seed=seed, demonstrations=demonstrations)
    )(jnp.arange(seeds))


def test_finds_the_forbidden_cell():
    env, demos = ring_road.RingRoad(), ring_road.demonstrations()
    state, metrics = train_seeds(PATIENT, env, 50, 3, demos)
    zeta = jax.vmap(lambda s: s.zeta(jnp.eye(10), jnp.zeros(10, int)))(state)
    assert np.all(zeta[:, ring_road.FORBIDDEN] < 0.1)
    assert np.all(zeta[:, np.array(ring_road.LONG_WAY)] > 0.9)  # the start too, which both ways pass
    late = {name: jnp.mean(values[:, -3:], axis=1) for name, values in metrics.items()}
    assert np.all(late["violating_episodes"] < 0.1)
    assert np.all(late["return"] > 3.5)
    assert np.all(late["zeta_expert"] > late["zeta_nominal"] - 0.05)


def laps(warmup):
    """Ten iterations; the warm-up is an argument of the compiled function, not a constant of it."""
    settings = 2000, 250, jnp.asarray(warmup)
    learner = eqx.tree_at(lambda x: (x.batch_steps, x.minibatch, x.warmup), QUICK, settings)
    return train(learner, lap_grid.LapGrid(), 10, envs=10, demonstrations=lap_grid.demonstrations())


def test_laps_without_stepping_back():
    state, _ = laps(warmup=0)
    cells = jnp.arange(40)[:, None] / 20 - 1.0
    ahead, back = (np.asarray(state.zeta(cells, jnp.full(40, action))) for action in (0, 1))
    assert np.all(back < ahead - 0.2)
    true = play(state.forward.networks.policy, lap_grid.LapGrid(true=True), 20)
    returns = np.asarray(jnp.sum(jnp.where(true.valid, true.reward, 0.0), axis=0))
    assert 57 <= returns.mean() <= 60


def test_without_the_constraint_stepping_back_pays():
    """The task above is not solved by chance: a policy that knows nothing of the constraint breaks it."""
    _, metrics = laps(warmup=1000)
    assert metrics["violating_steps_per_episode"][-1] > 20
    assert metrics["backward_passes"][-1] == 0
    assert metrics["multiplier"][-1] == metrics["multiplier"][0]


def test_continuous_actions():
    """Reward is best at 0.5, demonstrations act at -0.1."""
    env = ByAction(cost=True, continuous=True)
    learner = eqx.tree_at(lambda x: (x.learning_rate, x.constraint_sees_action), PATIENT, (1e-3, True))
    state, metrics = train_seeds(learner, env, 30, 3, few(env, np.full((40, 1), -0.1)))
    zeta = jax.vmap(lambda s: s.zeta(jnp.zeros((2, 1)), jnp.array([[-0.1], [0.6]])))(state)
    assert np.all(zeta[:, 0] > 0.5)
    assert np.all(zeta[:, 1] < 0.1)
    mode = jax.vmap(lambda s: s.forward.networks.policy.mode(jnp.zeros(1))[0])(state)
    assert np.all(mode < 0.35)
    assert np.isfinite(np.asarray(metrics["zeta_nominal"])).all()


def test_a_reward_may_be_any_function():
    world = sf.relabel(
        JaxWorld.create(ring_road.RingRoad(), 4, jax.random.key(0)), lambda state: state[..., 3]
    )
    learner = eqx.tree_at(lambda x: (x.batch_steps, x.forward_updates), QUICK, (100, 2))
    state = learner.init(world.task, jax.random.key(1), demonstrations=ring_road.demonstrations())
    state, world, metrics = learner.iteration(state, world, jax.random.key(2))
    assert int(state.outer) == 1
    assert np.isfinite(float(metrics["learned_cost"]))


def test_runs_on_gymnasium():
    world = sf.make("gymnasium:CartPole-v1", envs=2)
    learner = eqx.tree_at(
        lambda x: (x.batch_steps, x.minibatch, x.episodes, x.forward_updates), QUICK, (64, 32, 2, 2)
    )
    state = learner.init(world.task, jax.random.key(0), demonstrations=few(world, np.ones(9, np.int32)))
    for i in range(2):
        state, world, metrics = learner.iteration(state, world, jax.random.key(i))
    assert int(state.outer) == 2
    assert metrics["sampled_steps"] == metrics["length"] * 2
    assert np.isfinite(float(metrics["zeta_nominal"]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": "trajectories"}, "Did you mean 'trajectory'"),
        ({"budget": 2.0}, "budget = 2.0"),
        ({"constraint_decay": 0.0}, "constraint_decay = 0.0"),
        ({"minibatch": 10**6}, "minibatch"),
        ({"episodes": 0}, "episodes = 0"),
        ({"constraint_hidden": (0,)}, "constraint_hidden = 0"),
    ],
)
def test_refuses_settings_out_of_range(settings, message):
    with pytest.raises(SurefootError, match=message):
        Icrl(**settings)


def test_refuses_missing_or_foreign_demonstrations_and_dimensions():
    task, key = ring_road.RingRoad().task, jax.random.key(0)
    with pytest.raises(SurefootError, match="none were given"):
        Icrl().init(task, key)
    with pytest.raises(SurefootError, match="observations of 1 numbers, but 'RingRoad' gives 10"):
        Icrl().init(task, key, demonstrations=lap_grid.demonstrations())
    with pytest.raises(SurefootError, match="indices from 0 to 9"):
        Icrl(constraint_dimensions=(10,)).init(task, key, demonstrations=ring_road.demonstrations())
