"""GAIL, f-MAX, AIRL and SMM."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import surefoot as sf
from surefoot.algorithms.imitation import adversarial, matching
from surefoot.algorithms.imitation import discriminator as adversary
from surefoot.algorithms.imitation.airl import Airl
from surefoot.algorithms.imitation.fmax import Fmax
from surefoot.algorithms.imitation.gail import Gail
from surefoot.algorithms.imitation.smm import Smm
from surefoot.data.demonstrations import Demonstrations
from surefoot.data.replay import Transition
from surefoot.errors import SurefootError
from surefoot.numerics.density import Gaussian, Kde, UniformBox
from surefoot.training.metrics import is_episode_metric
from surefoot.training.run import learner_from, options_of

WORLD = sf.make("PointMass-v0", envs=16)
TASK = WORLD.task
SMALL = {
    "hidden": (32, 32),
    "batch_size": 32,
    "steps_per_iteration": 96,
    "steps_per_round": 48,
    "learning_starts": 48,
}
SMALL_RATIO = {"ratio_hidden": 16, "ratio_batch_size": 32, "updates_per_step": 0.5, "ratio_updates": 4}
DENSITY = {"density": "point-mass/gaussian", "trajectories": 20, "expert_samples": 200}


def walks(episodes=4, length=29):
    """Straight walks from the corner, at a pace and direction of their own."""
    rng = np.random.default_rng(0)
    moves = np.array([0.12, 0.06]) + 0.01 * rng.normal(size=(episodes, 1, 2))
    states = (moves * np.arange(length + 1)[:, None]).astype(np.float32)
    ends = np.zeros((episodes, length), bool)
    ends[:, -1] = True
    return Demonstrations(
        observations=states[:, :-1].reshape(-1, 2),
        actions=np.repeat(moves, length, axis=1).reshape(-1, 2).astype(np.float32),
        rewards=np.zeros(ends.size),
        costs=np.zeros((ends.size, 0)),
        terminations=np.zeros(ends.size, bool),
        truncations=ends.ravel(),
        lengths=np.full(episodes, length),
        final_observations=states[:, -1],
    )


FAR = 100.0
"""From a state to the next one where the next one is not to be looked at."""

LEARNERS = {
    "gail": Gail(**SMALL, **SMALL_RATIO, **DENSITY, ratio_blocks=1, ratio_network="batch-norm"),
    "fmax": Fmax(**SMALL, **SMALL_RATIO, ratio_blocks=1, penalty=1.0),
    "airl": Airl(**SMALL, **{k: v for k, v in SMALL_RATIO.items() if k != "ratio_hidden"}, reward_hidden=16),
    "smm": Smm(**SMALL, **DENSITY | {"density": UniformBox((3.5, 3.5), (4.0, 4.0))}),
}


def batch(observation, far=FAR):
    observation = jnp.asarray(observation, jnp.float32)
    zero = jnp.zeros(len(observation))
    return Transition(
        observation,
        jnp.zeros((len(observation), 2)),
        zero,
        jnp.zeros((len(observation), 0)),
        observation + far,
        zero,
    )


@pytest.mark.parametrize("name", LEARNERS)
def test_two_iterations_learn_something_finite(name):
    learner = LEARNERS[name]
    assert learner_from(name, options_of(learner)) == learner
    demonstrations = None if learner.density else walks()
    state, world = learner.init(TASK, jax.random.key(0), demonstrations=demonstrations), WORLD
    before = eqx.filter(learner.policy(state), eqx.is_array)
    iterate = eqx.filter_jit(learner.iteration)
    for seed in range(2):
        state, world, metrics = iterate(state, world, jax.random.key(seed))
    unknown = {name for name in metrics if name == "success" or name.startswith("violating")}
    assert len(unknown) == 3 and all(np.isnan(metrics[name]) for name in unknown)  # they are not reported
    # In 12 steps an environment no episode ends.
    learned = {
        name: value
        for name, value in metrics.items()
        if name not in unknown and (learner.trajectories or not is_episode_metric(name))
    }
    assert "actor_loss" in learned
    assert all(np.isfinite(value) for value in learned.values()), learned
    assert ("forward_kl" in metrics) == ("zero_density" in metrics) == bool(learner.density)
    if learner.density:  # a Gaussian, which is zero nowhere, or a box in a corner
        second = np.asarray(state.replay.data.observation[96:192])
        outside = np.mean(np.any(second < 3.5, axis=1)) if name == "smm" else 0.0
        assert metrics["zero_density"] == pytest.approx(outside)
    after = eqx.filter(learner.policy(state), eqx.is_array)
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), before, after)
    assert min(jax.tree.leaves(moved)) > 0
    assert int(state.steps) == 192


def fixed(learner, logit):
    """A state whose discriminator says ``logit`` everywhere."""
    state = learner.init(TASK, jax.random.key(0), demonstrations=walks())
    return eqx.tree_at(lambda s: s.discriminator, state, lambda x: jnp.full(x.shape[:-1], logit))


@pytest.mark.parametrize("logit", [-3.0, 0.0, 2.0, 9.0])
def test_rewards_of_a_logit(logit):
    share = 1 / (1 + np.exp(-logit))
    cases = [
        (Gail(), -np.log(1 - share)),
        (Gail(form="log-d"), np.log(share)),
        (Fmax(), logit),
        (Fmax(divergence="fkl"), np.clip(-logit * np.exp(logit), -10, 10)),
        (Fmax(reward_factor=0.2), 0.2 * logit),
    ]
    for learner, expected in cases:
        found = learner.relabel(fixed(learner, logit), batch([(1.0, 2.0)]))
        np.testing.assert_allclose(found, [expected], rtol=2e-4, atol=1e-6)


def test_airl_logit_is_shaped_reward_minus_log_policy():
    learner = Airl(reward_hidden=8, normalise=True)
    state = learner.init(TASK, jax.random.key(0), demonstrations=walks())
    now, after = jnp.array([(0.3, 0.1), (1.0, 2.0)]), jnp.array([(0.5, 0.2), (1.5, 2.0)])
    action = jnp.array([(0.2, 0.1), (0.5, 0.0)])
    pairs = state.scale.batch(adversarial.Pairs(now, action, after))
    network = state.discriminator.network
    network = eqx.tree_at(lambda n: n.shaping.body.biases[-1], network, jnp.array([3.0]))
    r = learner.reward(state)  # of plain observations

    def v(x):  # the same network but for its last bias
        return r(x) - float(network.reward.body.biases[-1][0]) + 3.0

    log_pi = learner.policy(state).log_prob(now, action)
    expected = r(now) + 0.99 * v(after) - v(now) - log_pi
    np.testing.assert_allclose(learner.logit(state, network, pairs), expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(learner.relabel(state, batch(state.scale(now))), r(now), rtol=1e-3, atol=1e-5)


def test_scaled_policies_and_plain_ones_act_alike():
    learner = Gail(normalise=True)
    state = learner.init(TASK, jax.random.key(0), demonstrations=walks())
    observation = jnp.array([(0.3, 0.1), (3.0, 2.0)])
    inside = state.agent.actor.mode(state.scale(observation))
    np.testing.assert_allclose(learner.policy(state).mode(observation), inside, rtol=1e-4, atol=1e-6)
    demonstrated = state.scale(state.pairs.next_observation)
    np.testing.assert_allclose(demonstrated.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(demonstrated.std(axis=0), 1, rtol=1e-4)


def filled(learner, states, demonstrations=None):
    """A state whose buffer holds ``states``, and otherwise nothing; the next ones are far away, but for AIRL,
    which learns from them, the same."""
    state, n = learner.init(TASK, jax.random.key(0), demonstrations=demonstrations), len(states)
    data, states = state.replay.data, jnp.asarray(states)
    after = states if isinstance(learner, Airl) else states + FAR
    rows = data.observation.at[:n].set(states), data.next_observation.at[:n].set(after)
    data = eqx.tree_at(lambda d: (d.observation, d.next_observation), data, rows)
    replay = eqx.tree_at(lambda r: (r.data, r.size), state.replay, (data, jnp.asarray(n, jnp.int32)))
    return eqx.tree_at(lambda s: s.replay, state, replay)


def test_rows_that_were_never_written_do_not_count():
    states = np.random.default_rng(0).uniform(0.5, 2.0, (300, 2)).astype(np.float32)
    learner = Fmax(density=Gaussian((1, 1), 0.5))
    state = filled(learner, states)
    x = jnp.asarray(states[:50])
    expected = jnp.exp(Gaussian((1, 1), 0.5).log_prob(x)) / jnp.exp(
        Kde(jnp.asarray(states), learner.bandwidth).log_prob(x)
    )
    found = adversarial.importance(learner, state.replay, (0, 1), x)
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_the_share_of_states_where_the_density_is_zero():
    learner = Smm(density=UniformBox((0, 0), (1, 1)))
    states = jnp.array([(0.5, 0.5), (1.5, 0.5), (0.5, 9.0)])
    assert matching.zero_density(learner, states)["zero_density"] == pytest.approx(2 / 3)
    assert matching.zero_density(Smm(), states) == {}


def test_smm_rewards_what_was_visited_less_than_it_should():
    rng = np.random.default_rng(1)
    learner = Smm(density=Gaussian((2, 2), 0.5), bandwidth=0.5)
    state = filled(learner, rng.normal((2.6, 2.0), 0.5, (2_000, 2)).astype(np.float32))
    where = jnp.array([(1.7, 2.0), (2.3, 2.0), (2.9, 2.0)])
    # The buffer is the wanted density moved by 0.6, so the log-ratio falls by 0.6 / 0.25 a unit of x.
    found = learner.relabel(state, where)
    np.testing.assert_allclose(found, (2.3 - where[:, 0]) * 2.4, atol=0.5)
    assert np.all(np.diff(found) < 0)


HERE, THERE = jnp.array([2.0, 1.0]), jnp.array([1.0, 2.0])
"""Where the expert is, and where the agent is too or instead; each is the mirror image of the other."""
TINY = SMALL | {"ratio_batch_size": 32, "ratio_learning_rate": 3e-3, "replay_capacity": 400}
TINY |= {"updates_per_step": 0.5, "ratio_updates": 4}


class Seen(eqx.Module):
    """In place of a discriminator: keeps the batch that it is trained on."""

    batch: Any = None

    def __call__(self, x):
        return jnp.zeros(x.shape[:-1])

    def training(self, x):
        return jnp.zeros(len(x)), Seen(x)


@pytest.mark.parametrize("normalise", [False, True])
def test_demonstrations_that_end_early_are_not_padded(normalise):
    shown = walks(length=4)
    shown = dataclasses.replace(shown, terminations=shown.truncations, truncations=shown.terminations)
    learner = Fmax(**TINY | {"ratio_batch_size": 1000}, normalise=normalise)
    state = filled(learner, around(THERE), shown)
    assert state.expert.trajectories.shape[1] == TASK.horizon > 20
    _, seen = learner.loss(state, Seen(), jax.random.key(3))
    theirs, ours = seen.batch[:1000], seen.batch[1000:]
    last = state.scale(jnp.asarray(shown.final_observations))
    distance = jnp.linalg.norm(theirs[:, None] - last, axis=-1).min(axis=1)
    assert np.mean(distance < 1e-6) == 0  # no step was made from there; padded, nearly all would be these
    starts = jnp.linalg.norm(theirs - state.scale(jnp.zeros(2)), axis=-1) < 1e-6
    assert 0.2 < np.mean(starts) < 0.3  # one in four
    np.testing.assert_allclose(state.scale(jnp.asarray(THERE)), ours.mean(axis=0), atol=0.2)


def test_a_penalty_is_added_to_the_loss():
    learner = Fmax(**TINY | {"ratio_batch_size": 2_000}, ratio_hidden=16, ratio_blocks=1)
    state, key = filled(learner, around(THERE), walks()), jax.random.key(5)
    network = jax.tree.map(lambda x: 3 * x if eqx.is_inexact_array(x) else x, state.discriminator.network)
    plain, dear = (
        dataclasses.replace(learner, penalty=weight).loss(state, network, key)[0] for weight in (0.0, 2.0)
    )
    _, seen = learner.loss(state, Seen(), key)
    theirs, ours = jnp.split(seen.batch, 2)
    # Which points between them is chance: many draws of it.
    draws = jax.random.split(key, 30)
    penalties = np.array([adversary.gradient_penalty(network, theirs, ours, k) for k in draws], float)
    assert float(dear - plain) / 2 == pytest.approx(np.mean(penalties), abs=4 * np.std(penalties))
    assert np.mean(penalties) > 10 * np.std(penalties)


def stays(where):
    """An expert that is around a place and does nothing."""
    shown = walks()
    around = np.asarray(where) + 0.1 * np.random.default_rng(0).normal(size=shown.observations.shape)
    return dataclasses.replace(
        shown,
        observations=around,
        actions=np.zeros_like(shown.actions),
        final_observations=np.tile(np.asarray(where), (shown.episodes, 1)),
    )


def around(where, n=200):
    return (np.asarray(where) + 0.1 * np.random.default_rng(1).normal(size=(n, 2))).astype(np.float32)


def told_apart(make, given):
    """A learner, its state after turns of the discriminator alone, and by how much its logit grew at both."""
    if given == "density":  # then the agent has been at both places, and one of them is wanted
        learner = make(density=Gaussian(tuple(HERE.tolist()), 0.1), expert_samples=10, **TINY)
        state = filled(learner, np.concatenate([around(HERE), around(THERE)]))
    else:
        learner = make(**TINY)
        state = filled(learner, around(THERE), stays(HERE))

    def logits(state):
        network = state.discriminator.network
        if isinstance(learner, Airl):
            return learner.logit(state, network, batch([HERE, THERE], far=0.0))
        return network(jnp.stack([HERE, THERE]))

    @eqx.filter_jit
    def trained(state):
        adam = adversarial.ratio_adam(learner)

        def turn(network, key):
            return learner.loss(state, network, key)

        found, _ = adversary.train(state.discriminator, turn, adam, jax.random.key(1), 100)
        return eqx.tree_at(lambda s: s.discriminator, state, found)

    before, state = logits(state), trained(state)
    return learner, state, logits(state) - before


@pytest.mark.parametrize("given", ["demonstrations", "density"])
def test_a_discriminator_takes_the_expert_for_the_expert_and_pays_for_it(given):
    _, state, (here, there) = told_apart(partial(Fmax, ratio_hidden=16, ratio_blocks=1), given)
    assert here > there + 1
    for learner in (Gail(), Gail(form="log-d"), Fmax()):
        here, there = learner.relabel(state, batch([HERE, THERE]))
        assert here > there + 0.5, learner
    # -D exp(D) is below 0 where D is above it: this one pays most just outside of the expert.
    here, there = Fmax(divergence="fkl").relabel(state, batch([HERE, THERE]))
    assert here < 0 < there


@pytest.mark.parametrize("given", ["demonstrations", "density"])
def test_airl_takes_the_expert_for_the_expert_and_pays_for_it(given):
    learner, state, (here, there) = told_apart(partial(Airl, reward_hidden=16), given)
    assert here > there + 1
    here, there = learner.relabel(state, batch([HERE, THERE]))
    assert here > there + 0.5


@pytest.mark.parametrize("given", ["demonstrations", "density"])
def test_smm_pays_for_being_where_the_expert_is_and_the_agent_was_not(given):
    density = Gaussian(tuple(HERE.tolist()), 0.2) if given == "density" else ""
    learner = Smm(**SMALL, density=density, expert_samples=10, replay_capacity=400)
    shown = stays(HERE) if given == "demonstrations" else None
    here, there = learner.relabel(filled(learner, around(THERE), shown), jnp.stack([HERE, THERE]))
    assert here > 10 and there < -10


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Gail(form="d"), "Unknown form 'd'"),
        (lambda: Fmax(divergence="js"), "Unknown divergence of f-MAX 'js'"),
        (lambda: Gail(ratio_network="cnn"), "Unknown ratio_network 'cnn'"),
        (lambda: Gail(ratio_updates=7), "cannot be shared out evenly"),
        (lambda: Gail(steps_per_iteration=1_500), "must be a multiple of steps_per_round = 1000"),
        (lambda: Airl(reward_hidden=0), "reward_hidden = 0 is out of range"),
        (lambda: Fmax(density="point-mass/gaussian", normalise=True), "cannot be used with a density"),
        (
            lambda: Gail(density='{"outside-disc": {"centre": [0, 0], "radius": 1}}'),
            "importance weights need",
        ),
        (lambda: Smm().init(TASK, jax.random.key(0)), "neither is given"),
    ],
)
def test_clear_errors(make, words):
    with pytest.raises(SurefootError, match=words):
        make()
