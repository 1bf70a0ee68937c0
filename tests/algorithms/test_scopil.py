"""SCOPIL: one step against NumPy, its saddle point against a general-purpose optimiser, lambda's dynamics."""

from __future__ import annotations

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jaxtyping import Array
from scipy import stats

import side_by_side as both
from oracles import actor_critic as oracle
from oracles import saddle
from surefoot.algorithms.imitation.scopil import Scopil
from surefoot.algorithms.rl import discrete_sac as sac
from surefoot.data.pairs import Pairs
from surefoot.data.replay import Transition
from surefoot.errors import SurefootError
from surefoot.worlds.jax_world import JaxWorld

NETWORKS: dict[str, Any] = {
    "hidden": (4,),
    "learning_rate": 1e-2,
    "critic_learning_rate": 2e-2,
    "alpha_learning_rate": 3e-2,
    "polyak": 0.3,
    "discount": 0.9,
    "target_entropy_ratio": 0.5,
}
TINY = Scopil(beta=0.3, epsilon=0.1, lambda_learning_rate=0.05, **NETWORKS)
STEP = jax.jit(partial(Scopil.gradient_step, TINY))


def pairs(seed: int, n: int = 16) -> Pairs:
    rng = np.random.default_rng(seed)
    return Pairs(jnp.asarray(rng.normal(size=(n, 2)), jnp.float32), jnp.asarray(rng.integers(3, size=n)))


def imitation_of(settings: Scopil, shown: Pairs, multiplier: float) -> oracle.Imitation:
    return oracle.Imitation(
        np.array(shown.observation, np.float64),
        np.array(shown.action),
        multiplier,
        oracle.Adam(settings.lambda_learning_rate),
        settings.beta,
        settings.epsilon,
        settings.entropy_in_constraint,
    )


def multiplier_of(settings: Scopil, value: float) -> tuple[Array, optax.OptState]:
    """lambda and a fresh optimiser."""
    start = jnp.asarray(value, jnp.float32)
    return start, optax.adam(settings.lambda_learning_rate, eps=1e-4).init(start)


# One step ----------------------------------------------------------------------------------------------


def test_gradient_steps_equal_the_losses_differentiated_numerically() -> None:
    agent = both.random_agent(TINY, obs=2, actions=3, seed=1, alpha=0.7)
    learner = both.learner_of(TINY, agent)
    multiplier, optimiser = multiplier_of(TINY, 1.05)
    imitation = imitation_of(TINY, pairs(0), 1.05)
    for seed in (1, 2):
        rows, shown = both.random_rows(seed, 16, obs=2, actions=3), pairs(seed)
        (agent, multiplier, optimiser), metrics = STEP(
            agent, multiplier, optimiser, both.batch_of(rows), shown
        )
        imitation.observation, imitation.action = np.array(shown.observation, float), np.array(shown.action)
        learner.step(rows, imitation)
        both.assert_same(agent, learner, atol=2e-5)
        np.testing.assert_allclose(float(multiplier), imitation.multiplier, atol=1e-5)
    assert abs(imitation.multiplier - 1.05) > 0.02
    constraint = imitation.constraint(learner.actor, np.exp(learner.log_alpha))
    np.testing.assert_allclose(float(metrics["constraint"]), constraint, atol=1e-4)
    assert float(metrics["lambda"]) == float(multiplier)


@pytest.mark.parametrize("beta", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("entropy_in_constraint", [True, False])
def test_constraint_equals_its_sum_pair_by_pair(beta: float, entropy_in_constraint: bool) -> None:
    settings = Scopil(beta=beta, entropy_in_constraint=entropy_in_constraint, **NETWORKS)
    agent = both.random_agent(settings, obs=2, actions=3, seed=4, alpha=0.6)
    shown = pairs(3)
    value, likelihood = settings.constraint(agent.actor, jnp.asarray(0.6), shown)
    imitation = imitation_of(settings, shown, 1.0)
    actor = both.layers(agent.actor.network)
    np.testing.assert_allclose(float(value), imitation.constraint(actor, 0.6), rtol=1e-5)
    p = oracle.probabilities(actor, imitation.observation)[np.arange(16), imitation.action]
    np.testing.assert_allclose(float(likelihood), -np.log(p).mean(), rtol=1e-5)
    if not entropy_in_constraint:
        assert float(value) == float(likelihood)


def test_without_multiplier_a_step_is_discrete_sacs_and_lambda_can_be_fixed() -> None:
    settings = Scopil(beta=0.5, learn_lambda=False, **NETWORKS)
    plain = sac.DiscreteSac(**NETWORKS)
    agent = both.random_agent(settings, obs=2, actions=3, seed=2, alpha=0.5)
    batch, shown = both.batch_of(both.random_rows(5, 16, obs=2, actions=3)), pairs(5)
    step = jax.jit(partial(Scopil.gradient_step, settings))
    (mine, zero, _), _ = step(agent, *multiplier_of(settings, 0.0), batch, shown)
    theirs, _ = jax.jit(partial(sac.gradient_step, plain))(agent, batch)
    for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_array_max_ulp(
            np.asarray(a), np.asarray(b), 4
        )  # compiled apart, so rounding may differ
    assert float(zero) == 0.0
    (other, kept, _), _ = step(agent, *multiplier_of(settings, 0.7), batch, shown)
    assert float(kept) == np.float32(0.7)
    assert not both.same_bits(other.actor, mine.actor) and both.same_bits(other.critics, mine.critics)


# Lambda ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "start, alpha, grows",
    [(1.0, 0.05, True), (1.0, 5.0, False), (0.0, 0.05, True), (0.0, 5.0, False), (0.01, 5.0, False)],
)
def test_lambda_takes_adams_step_towards_the_constraint_and_stays_at_or_above_zero(
    start: float, alpha: float, grows: bool
) -> None:
    """Little entropy weight leaves C above epsilon, much of it brings C below."""
    agent = both.random_agent(TINY, obs=2, actions=3, seed=6, alpha=alpha)
    batch, shown = both.batch_of(both.random_rows(7, 16, obs=2, actions=3)), pairs(7)
    (after, multiplier, _), _ = STEP(agent, *multiplier_of(TINY, start), batch, shown)
    weight = float(np.exp(after.log_alpha))
    actor = both.layers(after.actor.network)  # the updated one
    excess = imitation_of(TINY, shown, start).constraint(actor, weight) - TINY.epsilon
    assert (excess > 0) == grows and abs(excess) > 0.05
    expected = max(0.0, start + 0.05 * excess / (abs(excess) + 1e-4))
    np.testing.assert_allclose(float(multiplier), expected, atol=1e-6)
    if not grows and start <= 0.01:
        assert float(multiplier) == 0.0


# Saddle point ------------------------------------------------------------------------------------------


@partial(jax.jit, static_argnums=(0, 4))
def train(settings: Scopil, agents: sac.Agent, batches: Transition, shown: Pairs, steps: int) -> Any:
    """``steps`` gradient steps on whole batches, for several problems side by side."""

    def one(agent: sac.Agent, batch: Transition, shown: Pairs) -> Any:
        def step(_: Array, carry: Any) -> Any:
            return settings.gradient_step(*carry, batch, shown)[0]

        multiplier, optimiser = multiplier_of(settings, settings.lambda_init)
        agent, multiplier, _ = jax.lax.fori_loop(0, steps, step, (agent, multiplier, optimiser))
        return agent.actor.log_probabilities(jnp.ones(1)), multiplier

    return jax.vmap(one)(agents, batches, shown)


def bandit(reward: np.ndarray) -> Transition:
    """Every action once, in one state whose episodes end at once: Q is the reward."""
    n = len(reward)
    ones = jnp.ones((n, 1))
    actions, rewards = jnp.asarray(np.arange(n)), jnp.asarray(reward, jnp.float32)
    return Transition(ones, actions, rewards, jnp.zeros((n, 0)), ones, jnp.ones(n))


def shown_as(shares: np.ndarray, n: int = 20) -> Pairs:
    counts = np.round(shares * n).astype(int)
    assert counts.sum() == n
    return Pairs(jnp.ones((n, 1)), jnp.asarray(np.repeat(np.arange(len(shares)), counts)))


SADDLE: dict[str, Any] = {
    "hidden": (16,),
    "discount": 0.0,
    "learning_rate": 1e-2,
    "critic_learning_rate": 1e-2,
    "alpha_learning_rate": 0.0,
    "lambda_learning_rate": 3e-3,  # slower than the actor, or the two would circle around the saddle point
}
REWARD = np.array([0.2, 1.0, -0.4, 0.5])


@pytest.mark.parametrize(
    "options, problems",
    [
        (
            {"beta": 0.5},
            [
                saddle.Problem(
                    REWARD, np.array([0.5, 0.0, 0.5, 0.0]), alpha=1.2
                ),  # two modes, both unrewarding
                saddle.Problem(REWARD, np.array([0.9, 0.05, 0.05, 0.0]), alpha=0.8),
                saddle.Problem(REWARD, np.array([0.25, 0.25, 0.25, 0.25]), alpha=1.5),  # slack: lambda = 0
            ],
        ),
        (
            {"beta": 0.3, "epsilon": 0.05},
            [saddle.Problem(REWARD, np.array([0.6, 0.0, 0.4, 0.0]), alpha=0.7, beta=0.3, epsilon=0.05)],
        ),
        (
            {"entropy_in_constraint": False, "epsilon": 0.9},
            [
                saddle.Problem(
                    REWARD,
                    np.array([0.5, 0.0, 0.5, 0.0]),
                    alpha=0.3,
                    epsilon=0.9,
                    entropy_in_constraint=False,
                )
            ],
        ),
    ],
    ids=["paper", "beta and epsilon", "S-EiC"],
)
def test_converges_to_the_saddle_point(options: dict[str, Any], problems: list[saddle.Problem]) -> None:
    """Policy and lambda to 0.002."""
    settings = Scopil(**SADDLE, **options)
    agents = [both.random_agent(settings, 1, 4, seed, p.alpha) for seed, p in enumerate(problems)]
    log_policies, multipliers = train(
        settings,
        both.stack(agents),
        both.stack([bandit(p.reward) for p in problems]),
        both.stack([shown_as(p.shown) for p in problems]),
        3000,
    )
    for problem, log_policy, multiplier in zip(problems, log_policies, multipliers, strict=True):
        policy, expected = saddle.solve(problem)
        np.testing.assert_allclose(np.exp(log_policy), policy, atol=0.002)
        np.testing.assert_allclose(float(multiplier), expected, atol=0.002)


# In a world --------------------------------------------------------------------------------------------


SMALL = Scopil(
    hidden=(8,), batch_size=16, replay_capacity=128, steps_per_iteration=32, warm_up=0, lambda_init=0.5
)


def test_same_key_same_bits() -> None:
    world = JaxWorld.create(both.Bandit(), 4, jax.random.key(0))
    demonstrations = both.demonstrations(np.eye(2, dtype=np.float32)[[0, 1, 0]], np.array([0, 1, 1]))
    first = SMALL.init(world.task, jax.random.key(1), demonstrations=demonstrations)
    iterate = eqx.filter_jit(SMALL.iteration)
    (after, _, metrics), (again, _, _), (other, _, _) = (
        iterate(first, world, jax.random.key(key)) for key in (5, 5, 6)
    )
    assert both.same_bits(after, again) and not both.same_bits(after.agent, other.agent)
    assert both.same_bits(after.demonstrations, first.demonstrations)
    assert int(after.replay.size) == int(after.steps) == 32
    assert not both.same_bits(after.agent, first.agent) and float(after.multiplier) != 0.5
    assert {"lambda", "constraint", "demo_nll", "alpha", "entropy", "q_mean", "return"} <= set(metrics)


def test_seeds_side_by_side_equal_single_ones() -> None:
    agents = [both.random_agent(TINY, 2, 3, seed) for seed in range(3)]
    batches = [both.batch_of(both.random_rows(seed, 16, obs=2, actions=3)) for seed in range(3)]
    carried = [(agent, *multiplier_of(TINY, 0.5 * i)) for i, agent in enumerate(agents)]
    shown = [pairs(seed) for seed in range(3)]
    single = both.stack([STEP(*c, b, p) for c, b, p in zip(carried, batches, shown, strict=True)])

    def step(arguments: Any) -> Any:
        carry, batch, shown = arguments
        return TINY.gradient_step(*carry, batch, shown)

    whole = (both.stack(carried), both.stack(batches), both.stack(shown))
    for many in (jax.jit(jax.vmap(step)), jax.jit(partial(jax.lax.map, step))):
        for a, b in zip(jax.tree.leaves(many(whole)), jax.tree.leaves(single), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_pairs_are_drawn_uniformly_and_stay_together() -> None:
    numbers = np.arange(10)
    pool = Pairs(jnp.asarray(numbers[:, None], jnp.float32), jnp.asarray(numbers))
    drawn = pool.sample(jax.random.key(0), 5000)
    np.testing.assert_array_equal(drawn.observation[:, 0], drawn.action)
    assert stats.chisquare(np.bincount(np.asarray(drawn.action), minlength=10)).pvalue > 1e-3


# Settings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{"beta": -0.1}, {"beta": 1.1}, {"lambda_init": -1.0}, {"epsilon": -0.1}, {"discount": 1.0}]
)
def test_settings_out_of_range_are_named(options: dict[str, float]) -> None:
    with pytest.raises(SurefootError, match=f"^{next(iter(options))} ="):
        Scopil(**options)  # type: ignore[arg-type]


def test_needs_demonstrations() -> None:
    with pytest.raises(SurefootError, match="demonstrations"):
        Scopil().init(both.task(2, 3), jax.random.key(0))
