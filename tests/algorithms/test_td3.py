"""TD3: its steps against NumPy, its fixed point against Riccati's equation, its policy as NumPy acts it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import side_by_side as both
from oracles import deterministic_control as oracle
from probe.worlds import ByAction, ByBoth
from surefoot import worlds
from surefoot.algorithms.rl import td3
from surefoot.algorithms.rl.td3 import Td3
from surefoot.data.replay import Replay, Transition
from surefoot.errors import SurefootError
from surefoot.networks.critics import TwinContinuousQ
from surefoot.task import Box, Discrete, Task
from surefoot.training.policy_io import load_policy, save_policy
from surefoot.worlds.jax_world import JaxWorld


def task(obs: int, low: tuple[float, ...], high: tuple[float, ...]) -> Task:
    return Task("Small-v0", Box((obs,), (-9.0,) * obs, (9.0,) * obs), Box((len(low),), low, high))


# One step ----------------------------------------------------------------------------------------------


TINY = Td3(hidden=(4,), learning_rate=1e-2, polyak=0.3, discount=0.9, batch_size=16)
LOW, HIGH = (-1.0, 0.5), (1.0, 3.5)


def random_agent(settings: Td3, seed: int) -> td3.Agent:
    """Two observations, two actions; targets that differ from the networks."""
    agent, rng = td3.init_agent(settings, task(2, LOW, HIGH), jax.random.key(0)), np.random.default_rng(seed)
    actor, target_actor = (both.random_mlp((2, *settings.hidden, 2), rng) for _ in range(2))
    critics, targets = (
        TwinContinuousQ(both.stack([both.random_mlp((4, *settings.hidden, 1), rng) for _ in range(2)]))
        for _ in range(2)
    )
    made = (actor, target_actor, critics, targets)
    return eqx.tree_at(lambda a: (a.actor.network, a.target_actor.network, a.critics, a.targets), agent, made)


def learner_of(settings: Td3, agent: td3.Agent) -> oracle.Learner:
    return oracle.Learner(
        actor=both.layers(agent.actor.network),
        target_actor=both.layers(agent.target_actor.network),
        critics=list(both.twin(agent.critics)),  # type: ignore[arg-type]
        targets=list(both.twin(agent.targets)),  # type: ignore[arg-type]
        low=np.array(LOW),
        high=np.array(HIGH),
        discount=settings.discount,
        polyak=settings.polyak,
        rate=settings.learning_rate,
        noise=settings.target_noise,
        clip=settings.target_clip,
        delay=settings.policy_delay,
    )


def random_rows(seed: int, key: Any, n: int = 16) -> oracle.Rows:
    rng = np.random.default_rng(seed)
    return oracle.Rows(
        rng.normal(size=(n, 2)),
        rng.uniform(LOW, HIGH, (n, 2)),
        rng.normal(size=n),
        rng.normal(size=(n, 2)),
        rng.random(n) < 1 / 3,
        np.asarray(jax.random.normal(key, (n, 2)), np.float64),
    )


def batch_of(rows: oracle.Rows) -> Transition:
    return Transition(
        jnp.asarray(rows.observation, jnp.float32),
        jnp.asarray(rows.action, jnp.float32),
        jnp.asarray(rows.reward, jnp.float32),
        jnp.zeros((len(rows.action), 0)),
        jnp.asarray(rows.next_observation, jnp.float32),
        jnp.asarray(rows.terminated, jnp.float32),
    )


def test_the_target_is_the_smaller_twin_at_a_smoothed_and_clipped_action() -> None:
    """By brute force, a transition at a time; with noise so large that both clips are met."""
    for noise, clip in ((0.2, 0.5), (2.0, 0.7)):
        settings = replace(TINY, target_noise=noise, target_clip=clip)
        agent, key = random_agent(settings, 3), jax.random.key(5)
        rows = random_rows(7, key)
        found = td3.target(settings, agent, batch_of(rows), key)
        np.testing.assert_allclose(found, learner_of(settings, agent).goal(rows), rtol=1e-4, atol=1e-5)


def test_gradient_steps_equal_the_papers_losses_differentiated_numerically() -> None:
    agent = random_agent(TINY, seed=1)
    learner = learner_of(TINY, agent)
    step = jax.jit(partial(td3.gradient_step, TINY))
    actors = [both.layers(agent.actor.network)]
    for seed in (1, 2, 3, 4):
        key = jax.random.key(seed)
        rows = random_rows(seed, key)
        agent, metrics = step(agent, batch_of(rows), key)
        loss = learner.step(rows)
        np.testing.assert_allclose(float(metrics["critic_loss"]), loss, rtol=1e-3)
        actors.append(both.layers(agent.actor.network))
        pairs = [
            (actors[-1], learner.actor),
            (both.layers(agent.target_actor.network), learner.target_actor),
            *zip(both.twin(agent.critics), learner.critics, strict=True),  # type: ignore[arg-type]
            *zip(both.twin(agent.targets), learner.targets, strict=True),  # type: ignore[arg-type]
        ]
        for mine, theirs in pairs:
            for a, b in zip(mine, theirs, strict=True):
                np.testing.assert_allclose(a, b, atol=1e-4, rtol=0)
    moved = [
        max(np.abs(a - b).max() for a, b in zip(x, y, strict=True))
        for x, y in zip(actors[:-1], actors[1:], strict=True)
    ]
    assert moved[0] == moved[2] == 0 and moved[1] > 5e-3 and moved[3] > 5e-3  # every second step


# Fixed point -------------------------------------------------------------------------------------------


def test_learns_the_value_and_the_gain_of_a_linear_quadratic_problem() -> None:
    problem = oracle.Lqr()
    gain = problem.gain(problem.p)
    assert gain == pytest.approx(0.79, abs=0.01)  # far from doing nothing, within the bounds for |x| < 1
    rng, n = np.random.default_rng(0), 10_000
    x, u = rng.uniform(-1.5, 1.5, n), rng.uniform(-1, 1, n)
    data = Transition(
        jnp.asarray(x[:, None], jnp.float32),
        jnp.asarray(u[:, None], jnp.float32),
        jnp.asarray(problem.reward(x, u), jnp.float32),
        jnp.zeros((n, 0)),
        jnp.asarray((problem.a * x + problem.b * u)[:, None], jnp.float32),
        jnp.zeros(n),
    )
    replay = Replay(data, jnp.asarray(0), jnp.asarray(n))
    # Little smoothing: noise on the target's actions has a price of its own, (price + g b^2 p) noise^2.
    settings = Td3(
        hidden=(48, 48), discount=problem.discount, learning_rate=1e-3, polyak=0.02, target_noise=0.02
    )
    agent = td3.init_agent(settings, task(1, (-1.0,), (1.0,)), jax.random.key(0))
    agent, metrics = eqx.filter_jit(td3.train)(settings, agent, replay, jax.random.key(1), 3000)
    seen = np.linspace(-0.8, 0.8, 17)
    acted = np.asarray(agent.actor.mode(jnp.asarray(seen[:, None], jnp.float32)))[:, 0]
    np.testing.assert_allclose(acted, -gain * seen, atol=0.12)
    assert np.abs(acted + gain * seen).mean() < 0.06
    grid = np.stack(np.meshgrid(seen, seen), axis=-1).reshape(-1, 2)
    state, action = (jnp.asarray(grid[:, [i]], jnp.float32) for i in range(2))
    exact = problem.q(grid[:, 0], grid[:, 1])
    for learned in agent.critics(state, action):
        assert np.abs(np.asarray(learned) - exact).mean() < 0.08
        np.testing.assert_allclose(learned, exact, atol=0.3)
    assert np.isfinite(float(metrics["critic_loss"]))


# In a world --------------------------------------------------------------------------------------------


SMALL = Td3(
    hidden=(16,),
    discount=0.5,
    learning_rate=1e-2,
    polyak=0.1,
    batch_size=64,
    replay_capacity=4096,
    steps_per_iteration=32,
    warm_up=128,
)
ITERATE = eqx.filter_jit(SMALL.iteration)


def test_learns_in_a_world_after_a_warm_up_of_uniform_actions() -> None:
    """The reward -(a - 0.5)^2 in episodes of one step."""
    world: Any = JaxWorld.create(ByAction(continuous=True), 4, jax.random.key(0))
    first = SMALL.init(world.task, jax.random.key(1))
    state = first
    for i in range(4):
        assert bool(SMALL.policy(state).uniform)
        state, world, metrics = ITERATE(state, world, jax.random.key(i))
        assert np.isnan(float(metrics["critic_loss"]))
    assert both.same_bits(state.agent, first.agent) and int(state.replay.size) == 128
    drawn = np.asarray(state.replay.data.action[:128])
    assert drawn.std() == pytest.approx(3**-0.5, abs=0.06)
    for i in range(4, 30):
        state, world, metrics = ITERATE(state, world, jax.random.key(i))
        assert np.isfinite(float(metrics["critic_loss"]))
    assert float(state.agent.actor.mode(jnp.zeros((1, 1)))[0, 0]) == pytest.approx(0.5, abs=0.2)
    assert float(metrics["return"]) > -0.08  # that of uniform actions is -0.58


def test_it_stores_the_action_that_the_world_took() -> None:
    """Noise takes actions over the bounds, where the world clips them."""
    settings = replace(SMALL, warm_up=0, exploration=3.0)
    world: Any = JaxWorld.create(ByBoth(continuous=True), 4, jax.random.key(0))
    state = settings.init(world.task, jax.random.key(1))
    state, world, _ = settings.iteration(state, world, jax.random.key(2))
    stored = np.asarray(state.replay.data.action[:32])
    assert np.abs(stored).max() == 1.0 and (np.abs(stored) == 1.0).mean() > 0.3


def test_relabelling_is_training_on_a_buffer_with_the_other_rewards() -> None:
    rows = random_rows(0, jax.random.key(0), n=64)
    replay = Replay(batch_of(rows), jnp.asarray(0), jnp.asarray(64))
    other = eqx.tree_at(lambda r: r.data.reward, replay, -replay.data.observation[:, 0])
    agent, train = random_agent(TINY, 1), eqx.filter_jit(td3.train)
    expected, _ = train(TINY, agent, other, jax.random.key(2), 5)
    after, _ = train(TINY, agent, replay, jax.random.key(2), 5, relabel=Negative())
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    stored, _ = train(TINY, agent, replay, jax.random.key(2), 5)
    assert np.abs(stored.critics.networks.biases[-1] - after.critics.networks.biases[-1]).max() > 1e-3


class Negative(eqx.Module):
    def __call__(self, batch: Transition) -> Any:
        return -batch.observation[:, 0]


def test_the_exported_policy_acts_the_same_without_jax(tmp_path: Path) -> None:
    agents = [random_agent(TINY, seed) for seed in (0, 1)]
    save_policy(tmp_path, [agent.actor for agent in agents], task(2, LOW, HIGH), (0, 1))
    seen = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    for seed, agent in enumerate(agents):
        policy = load_policy(tmp_path, seed)
        np.testing.assert_allclose(policy.mode(seen), agent.actor.mode(jnp.asarray(seen)), atol=1e-5)
        spread = policy.act(np.tile(seen[:1], (4000, 1)), np.random.default_rng(1)).std(axis=0)
        np.testing.assert_allclose(spread, 0.1 * (np.array(HIGH) - np.array(LOW)) / 2, rtol=0.1)


def test_trains_in_mujoco() -> None:
    pytest.importorskip("mujoco")
    world: Any = worlds.make("gymnasium:InvertedPendulum-v5", envs=4)
    settings = replace(SMALL, warm_up=32)
    state = settings.init(world.task, jax.random.key(0))
    for i in range(2):
        state, world, metrics = settings.iteration(state, world, jax.random.key(i))
    assert np.isfinite(float(metrics["critic_loss"])) and int(state.steps) == 64


@pytest.mark.parametrize(
    "options",
    [
        {"hidden": ()},
        {"discount": 1.0},
        {"polyak": 0.0},
        {"learning_rate": 0.0},
        {"exploration": 0.0},
        {"target_noise": -0.1},
        {"target_clip": -1.0},
        {"policy_delay": 0},
        {"batch_size": 0},
        {"warm_up": -1},
        {"replay_capacity": 8},
        {"updates_per_step": 0.001},
    ],
    ids=str,
)
def test_settings_out_of_range_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(SurefootError, match=next(iter(options))):
        Td3(**options)


def test_actions_must_be_real_and_bounded() -> None:
    space = Box((1,), (-1.0,), (1.0,))
    for action, said in ((Discrete(2), "discrete"), (Box((1,), (-np.inf,), (1.0,)), "without bounds")):
        with pytest.raises(SurefootError, match=said):
            td3.init_agent(TINY, Task("Small-v0", space, action), jax.random.key(0))
