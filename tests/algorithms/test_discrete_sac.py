"""Discrete SAC: one step against NumPy, its fixed point against soft value iteration."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import PRNGKeyArray
from scipy.optimize import brentq

import side_by_side as both
from oracles import actor_critic as oracle
from oracles.tabular import random_mdp, soft_value_iteration
from surefoot.algorithms.rl import discrete_sac as sac
from surefoot.algorithms.rl.discrete_sac import DiscreteSac
from surefoot.data.replay import Transition
from surefoot.errors import SurefootError
from surefoot.task import Box, Task
from surefoot.worlds.jax_world import JaxWorld


@partial(jax.jit, static_argnums=(0, 3))
def train(settings: Any, agents: sac.Agent, batches: Transition, steps: int) -> sac.Agent:
    """``steps`` gradient steps on the same whole batch, for several agents side by side."""

    def one(agent: sac.Agent, batch: Transition) -> sac.Agent:
        return jax.lax.fori_loop(0, steps, lambda _, a: sac.gradient_step(settings, a, batch)[0], agent)

    return jax.vmap(one)(agents, batches)


# One step ----------------------------------------------------------------------------------------------


TINY = DiscreteSac(
    hidden=(4,),
    learning_rate=1e-2,
    critic_learning_rate=2e-2,
    alpha_learning_rate=3e-2,
    polyak=0.3,
    discount=0.9,
    max_gradient_norm=0.5,
    target_entropy_ratio=0.5,
)


def test_gradient_steps_equal_the_papers_losses_differentiated_numerically() -> None:
    agent = both.random_agent(TINY, obs=2, actions=3, seed=1, alpha=0.7)
    learner = both.learner_of(TINY, agent)
    step = jax.jit(partial(sac.gradient_step, TINY))
    before = both.layers(agent.actor.network)
    for seed in (1, 2):  # the second step also tests what the optimisers and targets carry over
        rows = both.random_rows(seed, 16, obs=2, actions=3)
        agent, metrics = step(agent, both.batch_of(rows))
        learner.step(rows)
        both.assert_same(agent, learner, atol=2e-5)
    moved = max(np.abs(a - b).max() for a, b in zip(before, both.layers(agent.actor.network), strict=True))
    assert moved > 5e-3  # or the comparison would say little
    assert max(learner.actor_adam.norms) < TINY.max_gradient_norm < min(learner.critic_adam.norms)
    np.testing.assert_allclose(float(metrics["alpha"]), math.exp(learner.log_alpha), rtol=1e-4)


def test_policy_loss_and_its_gradient() -> None:
    """Against its definition and central differences, with Q and alpha as plain numbers."""
    agent = both.random_agent(TINY, obs=2, actions=3, seed=3)
    rng = np.random.default_rng(0)
    states, q, alpha = rng.normal(size=(16, 2)), rng.normal(size=(16, 3)), 0.4

    def loss(actor: oracle.Layers) -> float:
        p = oracle.probabilities(actor, states)
        return float((p * (alpha * np.log(p) - q)).sum(axis=1).mean())

    value, gradient = jax.jit(jax.value_and_grad(sac.soft_policy_loss))(
        agent.actor, jnp.asarray(q, jnp.float32), jnp.asarray(alpha), jnp.asarray(states, jnp.float32)
    )
    actor = both.layers(agent.actor.network)
    np.testing.assert_allclose(float(value), loss(actor), rtol=1e-5)
    for mine, theirs in zip(both.layers(gradient.network), oracle.slope(loss, actor), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)


def test_critic_loss_is_the_soft_bellman_error_by_hand() -> None:
    """One transition into a state where all is known: V = sum_a pi (Q - alpha log pi)."""
    agent = both.random_agent(TINY, obs=2, actions=3, seed=5, alpha=0.5)
    update = jax.jit(partial(sac.update_critics, TINY))
    rows = both.random_rows(0, 1, obs=2, actions=3)
    p = oracle.probabilities(both.layers(agent.actor.network), rows.next_observation)[0]
    q_next = np.minimum(*(oracle.forward(t, rows.next_observation)[0] for t in both.twin(agent.targets)))
    q_now = [oracle.forward(c, rows.observation)[0, rows.action[0]] for c in both.twin(agent.critics)]
    for terminated in (False, True):
        rows.terminated = np.array([terminated])
        value = 0.0 if terminated else sum(p[a] * (q_next[a] - 0.5 * math.log(p[a])) for a in range(3))
        target = rows.reward[0] + 0.9 * value
        expected = 0.5 * sum((q - target) ** 2 for q in q_now)
        _, loss = update(agent, both.batch_of(rows))
        np.testing.assert_allclose(float(loss), expected, rtol=1e-4)


def test_temperature_moves_towards_the_target_entropy() -> None:
    """One Adam step is rate g / (|g| + 1e-4), down where the entropy is above its target."""
    batch = both.batch_of(both.random_rows(0, 8, obs=2, actions=3))
    for ratio in (0.1, 1.0):
        settings = DiscreteSac(hidden=(4,), alpha_learning_rate=0.01, target_entropy_ratio=ratio)
        agent = both.random_agent(settings, obs=2, actions=3, seed=2)
        entropy = float(jnp.mean(agent.actor.entropy(batch.observation)))
        gap = entropy - ratio * math.log(3)
        assert abs(gap) > 1e-3
        after, reported = sac.update_temperature(settings, agent, batch)
        np.testing.assert_allclose(float(after.log_alpha), -0.01 * gap / (abs(gap) + 1e-4), rtol=1e-4)
        np.testing.assert_allclose(float(reported), entropy, rtol=1e-6)
    fixed = DiscreteSac(hidden=(4,), alpha_learning_rate=0.0)
    after, _ = sac.update_temperature(fixed, both.random_agent(fixed, 2, 3, seed=2), batch)
    assert float(after.log_alpha) == 0.0


# Fixed points ------------------------------------------------------------------------------------------


def test_learns_the_soft_optimal_policy_of_random_mdps() -> None:
    """Exact expectations, so that what is left is the optimiser's error: 0.02 in Q, 0.01 in pi."""
    discount, alphas = 0.8, (0.3, 0.6, 1.2)
    settings = DiscreteSac(
        hidden=(32,),
        discount=discount,
        learning_rate=3e-3,
        critic_learning_rate=3e-3,
        alpha_learning_rate=0.0,
        polyak=0.05,
    )
    mdps = [random_mdp(seed) for seed in range(len(alphas))]
    agents = [both.random_agent(settings, 5, 3, seed, alpha) for seed, alpha in enumerate(alphas)]
    trained = train(settings, both.stack(agents), both.stack([both.whole_table(mdp) for mdp in mdps]), 2500)
    for i, (mdp, alpha) in enumerate(zip(mdps, alphas, strict=True)):
        q, policy = soft_value_iteration(mdp, discount, alpha)
        agent = both.pick(trained, i)
        for learned in agent.critics(jnp.eye(mdp.states)):
            np.testing.assert_allclose(learned, q, atol=0.02)
        learned = np.exp(agent.actor.log_probabilities(jnp.eye(mdp.states)))
        np.testing.assert_allclose(learned, policy, atol=0.01)
        assert np.abs(policy - 1 / 3).max() > 0.15  # the problem is not trivial
        np.testing.assert_allclose(np.exp(agent.log_alpha), alpha, rtol=1e-6)  # it was fixed


def test_temperature_converges_to_the_entropy_target_on_a_bandit() -> None:
    """The policy is softmax(r / alpha), with the alpha at which its entropy is the target."""
    reward = np.array([[0.3, -0.5, 1.0, 0.8]])
    settings = DiscreteSac(
        hidden=(16,), discount=0.0, learning_rate=3e-3, alpha_learning_rate=3e-3, target_entropy_ratio=0.6
    )
    target = 0.6 * math.log(4)

    def policy(alpha: float) -> np.ndarray:
        weights = np.exp((reward[0] - reward.max()) / alpha)
        return weights / weights.sum()

    def entropy(alpha: float) -> float:
        p = policy(alpha)
        return float(-(p * np.log(p)).sum())

    alpha = brentq(lambda a: entropy(a) - target, 0.02, 20.0)
    n = reward.shape[1]
    batch = Transition(
        jnp.ones((n, 1)), jnp.arange(n), jnp.asarray(reward[0], jnp.float32), jnp.zeros((n, 0)),
        jnp.ones((n, 1)), jnp.zeros(n),
    )  # fmt: skip
    agents = both.stack([both.random_agent(settings, 1, n, seed=0)])
    agent = both.pick(train(settings, agents, both.stack([batch]), 4000), 0)
    np.testing.assert_allclose(np.exp(agent.log_alpha), alpha, rtol=0.01)
    np.testing.assert_allclose(agent.actor.entropy(jnp.ones(1)), target, atol=0.005)
    np.testing.assert_allclose(np.exp(agent.actor.log_probabilities(jnp.ones(1))), policy(alpha), atol=0.005)


# In a world --------------------------------------------------------------------------------------------


SMALL = DiscreteSac(
    hidden=(8,),
    discount=0.5,
    learning_rate=1e-2,
    critic_learning_rate=1e-2,
    alpha_learning_rate=0.0,
    polyak=0.1,
    batch_size=64,
    replay_capacity=256,
    steps_per_iteration=32,
    warm_up=64,
)


def fresh() -> tuple[sac.State, JaxWorld]:
    world = JaxWorld.create(both.Bandit(), 4, jax.random.key(0))
    return SMALL.init(world.task, jax.random.key(1)), world


def test_learns_in_a_world_where_truncation_bootstraps_and_termination_does_not() -> None:
    """At temperature 1, Q = a where episodes terminate. Where they are truncated Q = a + V / 2 with
    V = log sum exp(Q), hence V = 2 log sum exp(a). The policy is softmax(a) in both."""
    state, world = fresh()
    iterate = eqx.filter_jit(SMALL.iteration)
    for i in range(2):  # warm-up: uniform actions, no learning
        assert bool(SMALL.policy(state).uniform)
        before, (state, world, metrics) = state, iterate(state, world, jax.random.key(i))
        assert both.same_bits(before.agent, state.agent)
    assert not bool(SMALL.policy(state).uniform)
    assert int(state.steps) == int(state.replay.size) == 64
    counts = np.bincount(np.asarray(state.replay.data.action)[:64], minlength=3)
    assert counts.min() >= 10  # uniform: 64 / 3 each

    for i in range(2, 80):
        state, world, metrics = iterate(state, world, jax.random.key(i))
    rewards = np.arange(3.0)
    total = np.exp(rewards).sum()
    expected = [rewards, rewards + math.log(total)]
    for learned in state.agent.critics(jnp.eye(2)):
        np.testing.assert_allclose(learned, expected, atol=0.06)
    policy = np.exp(state.agent.actor.log_probabilities(jnp.eye(2)))
    np.testing.assert_allclose(policy, np.tile(np.exp(rewards) / total, (2, 1)), atol=0.03)
    assert float(metrics["episodes"]) == 32.0 and float(metrics["length"]) == 1.0
    assert abs(float(metrics["return"]) - (policy[0] * rewards).sum()) < 0.5
    assert abs(float(metrics["violating_episodes/high"]) - policy[0, 2]) < 0.3


def test_same_key_same_bits_and_seeds_side_by_side_equal_single_ones() -> None:
    state, world = fresh()
    _, batch = eqx.filter_jit(world.collect)(SMALL.policy(state), sac.Steps(32), jax.random.key(9))
    state = eqx.tree_at(lambda s: s.steps, state, jnp.asarray(64))
    keys = jax.random.split(jax.random.key(3), 2)
    states = [
        eqx.tree_at(lambda s: s.agent, state, both.random_agent(SMALL, 2, 3, seed)) for seed in range(2)
    ]

    def update(state: sac.State, key: PRNGKeyArray) -> Any:
        return SMALL.update(*jax.tree.map(jnp.copy, (state, batch, key)))  # what it is given is used up

    ring = jnp.copy(state.replay.data.observation)
    given = eqx.tree_at(lambda s: s.replay.data.observation, jax.tree.map(jnp.copy, states[0]), ring)
    SMALL.update(given, *jax.tree.map(jnp.copy, (batch, keys[0])))
    assert ring.is_deleted()  # the buffer was written where it lies
    single = [update(s, k) for s, k in zip(states, keys, strict=True)]
    assert both.same_bits(update(states[0], keys[0]), single[0])
    assert not both.same_bits(update(states[0], keys[1])[0].agent, single[0][0].agent)
    adam_steps = [int(x) for x in jax.tree.leaves(single[0][0].agent.actor_optimiser) if x.dtype == jnp.int32]
    assert adam_steps == [32]  # one update an environment step
    stacked = both.stack(states)
    for many in (
        jax.jit(jax.vmap(update))(stacked, keys),
        jax.jit(lambda s, k: jax.lax.map(lambda x: update(*x), (s, k)))(stacked, keys),
    ):
        for a, b in zip(jax.tree.leaves(many), jax.tree.leaves(both.stack(single)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_number_of_updates_an_iteration() -> None:
    assert [sac.updates(DiscreteSac(updates_per_step=share)) for share in (2.0, 1.0, 0.25)] == [128, 64, 16]


def test_metrics_do_not_exist_before_the_first_update() -> None:
    """They are NaN, as the face of all learners promises; not zero."""
    _, metrics = sac.repeat(
        lambda state, key: (state, {"loss": state}),
        jnp.ones(()),
        jax.random.key(0),
        3,
        enabled=jnp.asarray(False),
    )
    assert np.isnan(float(metrics["loss"]))


# Settings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, name",
    [
        ({"discount": 1.0}, "discount"),
        ({"polyak": 0.0}, "polyak"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"alpha_init": 0.0}, "alpha_init"),
        ({"alpha_learning_rate": -1.0}, "alpha_learning_rate"),
        ({"target_entropy_ratio": 1.5}, "target_entropy_ratio"),
        ({"hidden": ()}, "hidden"),
        ({"hidden": (32, 0)}, "hidden"),
        ({"batch_size": 0}, "batch_size"),
        ({"replay_capacity": 10}, "replay_capacity"),
        ({"updates_per_step": 0.001}, "updates_per_step"),
        ({"max_gradient_norm": float("nan")}, "max_gradient_norm"),
        ({"warm_up": -1}, "warm_up"),
    ],
)
def test_settings_out_of_range_are_named(options: dict[str, Any], name: str) -> None:
    with pytest.raises(SurefootError, match=f"^{name} ="):
        DiscreteSac(**options)


def test_continuous_actions_are_refused() -> None:
    box = Box((1,), (0.0,), (1.0,))
    with pytest.raises(SurefootError, match="continuous"):
        DiscreteSac().init(Task("Car-v0", box, box), jax.random.key(0))
