"""SAC for continuous actions: one step against NumPy, its fixed point against soft policy iteration."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, PRNGKeyArray

import side_by_side as both
from oracles import soft_control as oracle
from probe.worlds import ByBoth
from surefoot import worlds
from surefoot.algorithms.rl import sac
from surefoot.algorithms.rl.sac import Sac
from surefoot.data.replay import Replay, Transition
from surefoot.errors import SurefootError
from surefoot.networks.critics import TwinContinuousQ
from surefoot.task import Box, Task
from surefoot.worlds.jax_world import JaxWorld


def task(obs: int, act: int) -> Task:
    return Task(
        "Small-v0", Box((obs,), (-1.0,) * obs, (1.0,) * obs), Box((act,), (-1.0,) * act, (1.0,) * act)
    )


# One step ----------------------------------------------------------------------------------------------


TINY = Sac(hidden=(4,), learning_rate=1e-2, polyak=0.3, discount=0.9, alpha=0.7, alpha_learning_rate=3e-2)


def random_agent(settings: Sac, obs: int, act: int, seed: int) -> sac.Agent:
    """With targets that differ from the critics, all made with NumPy."""
    agent, rng = sac.init_agent(settings, task(obs, act), jax.random.key(0)), np.random.default_rng(seed)
    sizes = (obs + act, *settings.hidden, 1)
    actor = both.random_mlp((obs, *settings.hidden, 2 * act), rng)
    critics, targets = (
        TwinContinuousQ(both.stack([both.random_mlp(sizes, rng) for _ in range(2)])) for _ in range(2)
    )
    return eqx.tree_at(lambda a: (a.actor.network, a.critics, a.targets), agent, (actor, critics, targets))


def learner_of(settings: Sac, agent: sac.Agent) -> oracle.Learner:
    act = len(agent.actor.low)
    return oracle.Learner(
        actor=both.layers(agent.actor.network),
        critics=both.twin(agent.critics),  # type: ignore[arg-type]
        targets=both.twin(agent.targets),  # type: ignore[arg-type]
        log_alpha=float(agent.log_alpha),
        discount=settings.discount,
        polyak=settings.polyak,
        rate=settings.learning_rate,
        alpha_rate=settings.alpha_learning_rate if settings.automatic_alpha else None,
        target_entropy=-float(act) if settings.target_entropy is None else settings.target_entropy,
    )


def random_rows(seed: int, n: int, obs: int, act: int, key: PRNGKeyArray) -> oracle.Rows:
    """Transitions of which a third are terminal, and the noise that ``gradient_step`` draws from ``key``."""
    rng = np.random.default_rng(seed)
    noise = [np.asarray(jax.random.normal(k, (n, act)), np.float64) for k in jax.random.split(key)]
    return oracle.Rows(
        rng.normal(size=(n, obs)),
        rng.uniform(-1, 1, (n, act)),
        rng.normal(size=n),
        rng.normal(size=(n, obs)),
        rng.random(n) < 1 / 3,
        *noise,
    )


def batch_of(rows: Any) -> Transition:
    return Transition(
        jnp.asarray(rows.observation, jnp.float32),
        jnp.asarray(rows.action, jnp.float32),
        jnp.asarray(rows.reward, jnp.float32),
        jnp.zeros((len(rows.action), 0)),
        jnp.asarray(rows.next_observation, jnp.float32),
        jnp.asarray(rows.terminated, jnp.float32),
    )


@pytest.mark.parametrize("automatic", [False, True])
def test_gradient_steps_equal_the_papers_losses_differentiated_numerically(automatic: bool) -> None:
    settings = replace(TINY, automatic_alpha=automatic)
    agent = random_agent(settings, obs=2, act=2, seed=1)
    learner = learner_of(settings, agent)
    step = jax.jit(partial(sac.gradient_step, settings))
    before = both.layers(agent.actor.network)
    for seed in (1, 2):  # the second step also tests what the optimisers and targets carry over
        key = jax.random.key(seed)
        rows = random_rows(seed, 16, 2, 2, key)
        agent, metrics = step(agent, batch_of(rows), key)
        losses = learner.step(rows)
        both.assert_same(agent, learner, atol=5e-5)  # type: ignore[arg-type]
        for name, value in losses.items():
            np.testing.assert_allclose(float(metrics[name]), value, rtol=1e-3, atol=1e-4)
    moved = max(np.abs(a - b).max() for a, b in zip(before, both.layers(agent.actor.network), strict=True))
    assert moved > 5e-3  # or the comparison would say little
    np.testing.assert_allclose(float(metrics["alpha"]), math.exp(learner.log_alpha), rtol=1e-4)
    assert (abs(learner.log_alpha - math.log(0.7)) > 0.01) == automatic


def test_the_target_entropy_is_minus_the_number_of_entries_unless_given() -> None:
    """One Adam step moves log alpha by the rate, down where the entropy is above its target."""
    settings = replace(TINY, automatic_alpha=True)
    for target, entropies in ((None, (-1.9, -2.1)), (0.5, (0.6, 0.4))):
        given = replace(settings, target_entropy=target)
        for entropy, sign in zip(entropies, (-1, 1), strict=True):
            agent = random_agent(given, obs=2, act=2, seed=0)
            after = sac.update_temperature(given, agent, jnp.asarray(entropy))
            np.testing.assert_allclose(after.log_alpha - agent.log_alpha, sign * 3e-2, rtol=1e-3)


# Fixed points ------------------------------------------------------------------------------------------


def filled(rows: dict[str, np.ndarray], states: int) -> Replay:
    """A replay buffer with these transitions, states one-hot."""
    n = len(rows["state"])
    data = Transition(
        jnp.asarray(both.one_hot(rows["state"], states)),
        jnp.asarray(rows["action"][:, None], jnp.float32),
        jnp.asarray(rows["reward"], jnp.float32),
        jnp.zeros((n, 0)),
        jnp.asarray(both.one_hot(rows["next_state"], states)),
        jnp.asarray(rows.get("terminated", np.zeros(n)), jnp.float32),
    )
    return Replay(data, jnp.asarray(0), jnp.asarray(n))


def trained(settings: Sac, replay: Replay, obs: int, steps: int) -> sac.Agent:
    """A fresh agent after ``steps`` gradient steps."""
    agent = sac.init_agent(settings, task(obs, 1), jax.random.key(0))
    return TRAIN(settings, agent, replay, jax.random.key(1), steps)[0]


TRAIN = eqx.filter_jit(sac.train)


def test_learns_the_soft_optimal_policy_of_a_problem_of_two_states() -> None:
    """To what batches of random transitions leave: 0.05 in V and in mean and spread of u."""
    problem, discount, alpha = oracle.TwoStates(), 0.8, 0.3
    value, mean, std = oracle.soft_policy_iteration(problem, discount, alpha)
    bound = oracle.soft_value_iteration(problem, discount, alpha)
    # Squashed Gaussians lose little here against all policies: 0.06 at most.
    assert np.all(value <= bound) and np.all(bound - value < 0.06)
    assert value[1] - value[0] > 0.5 and mean[0] - mean[1] > 0.3  # the problem is not trivial

    settings = Sac(hidden=(32, 32), discount=discount, alpha=alpha, polyak=0.02, batch_size=256)
    agent = trained(settings, filled(problem.transitions(20_000, 0), 2), 2, 4000)
    learned_mean, learned_log_std = agent.actor.gaussian(jnp.eye(2))
    np.testing.assert_allclose(learned_mean[:, 0], mean, atol=0.05)
    np.testing.assert_allclose(np.exp(learned_log_std[:, 0]), std, atol=0.05)
    actions = np.linspace(-0.95, 0.95, 39)
    for state in range(2):
        exact = problem.q(state, actions, value, discount)
        seen = jnp.tile(jnp.eye(2)[state], (len(actions), 1))
        for q in agent.critics(seen, jnp.asarray(actions[:, None], jnp.float32)):
            np.testing.assert_allclose(q, exact, atol=0.08)
            assert np.abs(np.asarray(q) - exact).mean() < 0.04


def test_temperature_converges_to_where_the_entropy_is_the_target() -> None:
    """The reward k log p(a), with p a squashed Gaussian, makes p itself optimal at temperature k."""
    k, mean, std = 0.5, 0.4, 0.7
    rng = np.random.default_rng(0)
    action = rng.uniform(-0.995, 0.995, 8_000)
    rows = {"state": np.zeros(8000, int), "next_state": np.zeros(8000, int), "terminated": np.ones(8000)}
    rows |= {"action": action, "reward": k * oracle.squashed_logpdf(action, mean, std)}
    settings = Sac(
        hidden=(32, 32), alpha=2.0, automatic_alpha=True, alpha_learning_rate=3e-3, batch_size=256,
        target_entropy=oracle.squashed_entropy(mean, std),
    )  # fmt: skip
    agent = trained(settings, filled(rows, 1), 1, 4000)
    np.testing.assert_allclose(np.exp(agent.log_alpha), k, rtol=0.1)
    learned_mean, learned_log_std = agent.actor.gaussian(jnp.ones(1))
    np.testing.assert_allclose(learned_mean, mean, atol=0.05)
    np.testing.assert_allclose(np.exp(learned_log_std), std, atol=0.05)


# Rewards in place of the stored ones -------------------------------------------------------------------


@dataclass(frozen=True)
class Named:
    """Settings of a method that has SAC inside: it need not be a :class:`Sac`."""

    hidden: tuple[int, ...] = (4,)
    discount: float = 0.9
    polyak: float = 0.1
    learning_rate: float = 1e-2
    alpha: float = 1.0
    automatic_alpha: bool = False
    alpha_learning_rate: float = 0.0
    target_entropy: float | None = None
    batch_size: int = 8


def test_relabelling_is_training_on_a_buffer_with_the_other_rewards() -> None:
    problem = oracle.TwoStates()
    replay = filled(problem.transitions(64, 0), 2)
    agent = sac.init_agent(Named(), task(2, 1), jax.random.key(1))
    weight = jnp.asarray([2.0, -3.0])
    other = eqx.tree_at(lambda r: r.data.reward, replay, replay.data.observation @ weight)
    run, yes = partial(TRAIN, Named(), agent), jnp.asarray(True)
    expected, metrics = run(other, jax.random.key(2), 5, enabled=yes)
    after, again = run(replay, jax.random.key(2), 5, relabel=Linear(weight))
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(again["batch_reward"], metrics["batch_reward"], rtol=1e-5)
    stored, _ = run(replay, jax.random.key(2), 5, enabled=yes)
    assert np.abs(stored.critics.networks.biases[-1] - after.critics.networks.biases[-1]).max() > 1e-3
    same, nothing = run(replay, jax.random.key(2), 5, enabled=~yes)
    assert both.same_bits(same, agent) and np.isnan(float(nothing["critic_loss"]))


class Linear(eqx.Module):
    """A reward of the current state, as methods that learn one have it."""

    weight: Array

    def __call__(self, batch: Transition) -> Array:
        return batch.observation @ self.weight


# In a world --------------------------------------------------------------------------------------------


SMALL = Sac(
    hidden=(16,),
    discount=0.5,
    learning_rate=1e-2,
    alpha=0.05,
    polyak=0.1,
    batch_size=64,
    replay_capacity=4096,
    steps_per_iteration=32,
    warm_up=128,
)


ITERATE = eqx.filter_jit(SMALL.iteration)


def fresh() -> tuple[sac.State, JaxWorld]:
    """Reward 1 for an action of the sign of the observation, -1 for another; the episode ends there."""
    world = JaxWorld.create(ByBoth(continuous=True), 4, jax.random.key(0))
    return SMALL.init(world.task, jax.random.key(1)), world


def test_learns_in_a_world_after_a_warm_up_of_uniform_actions() -> None:
    first, world = fresh()
    state = first
    for i in range(4):  # 128 steps
        assert bool(SMALL.policy(state).uniform)
        state, world, metrics = ITERATE(state, world, jax.random.key(i))
        assert np.isnan(float(metrics["critic_loss"]))
    assert both.same_bits(state.agent, first.agent) and int(state.replay.size) == 128
    actions = np.asarray(state.replay.data.action[:128])
    assert actions.std() == pytest.approx(3**-0.5, abs=0.06) and abs(actions.mean()) < 0.2
    assert not bool(SMALL.policy(state).uniform)
    for i in range(4, 40):
        state, world, metrics = ITERATE(state, world, jax.random.key(i))
        assert np.isfinite(float(metrics["critic_loss"]))
    assert float(metrics["return"]) > 0.7 and float(metrics["episodes"]) == 32
    for sign in (-1.0, 1.0):
        seen, good = jnp.full((1, 1), sign), jnp.full((1, 1), 0.5 * sign)
        assert sign * float(state.agent.actor.mode(seen)[0, 0]) > 0.2
        # The value is the reward alone.
        assert float(state.agent.critics.minimum(seen, good)[0]) == pytest.approx(1.0, abs=0.2)
        assert float(state.agent.critics.minimum(seen, -good)[0]) == pytest.approx(-1.0, abs=0.3)


class Slide(gymnasium.Env):
    """Position plus twice the action; the bounds are not symmetric."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gymnasium.spaces.Box(np.array([-0.5, 0.0], np.float32), np.array([1.5, 0.1], np.float32))

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> Any:
        super().reset(seed=seed)
        self.position, self.time = self.np_random.normal(size=2).astype(np.float32), 0
        return self.position, {}

    def step(self, action: Any) -> Any:
        self.position, self.time = self.position + 2 * action, self.time + 1
        return self.position, -float(abs(self.position[0])), False, self.time >= 8, {}


def test_on_the_host_it_acts_within_bounds_and_repeats_itself() -> None:
    def once() -> tuple[sac.State, list[dict[str, float]]]:
        world: Any = worlds.make(Slide, envs=4)
        state, rows = SMALL.init(world.task, jax.random.key(1)), []
        for i in range(6):
            given = state.replay.data.observation
            state, world, metrics = SMALL.iteration(state, world, jax.random.key(i))
            assert given.is_deleted()  # it was written in place
            rows.append({name: float(value) for name, value in metrics.items()})
        return state, rows

    state, rows = once()
    again, _ = once()
    assert both.same_bits(state.agent, again.agent)
    actions = np.asarray(state.replay.data.action[: int(state.replay.size)])
    assert len(actions) == 6 * 32
    assert np.all(actions >= [-0.5, 0.0]) and np.all(actions <= np.array([1.5, 0.1], np.float32))
    assert actions[:, 0].min() < -0.3 and actions[:, 0].max() > 1.3  # it uses their whole width
    assert rows[-1]["length"] == 8 and np.isfinite(rows[-1]["actor_loss"])


def test_trains_in_mujoco() -> None:
    pytest.importorskip("mujoco")
    world: Any = worlds.make("gymnasium:Hopper-v5", envs=4)
    settings = replace(SMALL, warm_up=32)
    state = settings.init(world.task, jax.random.key(0))
    for i in range(3):
        state, world, metrics = settings.iteration(state, world, jax.random.key(i))
    assert state.replay.data.observation.shape == (4096, 11) and int(state.steps) == 96
    assert all(np.isfinite(float(metrics[name])) for name in ("critic_loss", "actor_loss", "entropy"))


# What is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"hidden": ()},
        {"hidden": (0,)},
        {"discount": 1.0},
        {"polyak": 0.0},
        {"learning_rate": 0.0},
        {"alpha": 0.0},
        {"alpha": float("nan")},
        {"alpha_learning_rate": -1.0},
        {"target_entropy": float("nan")},
        {"batch_size": 0},
        {"steps_per_iteration": 0},
        {"warm_up": -1},
        {"replay_capacity": 10},
        {"updates_per_step": 0.001},
    ],
)
def test_settings_out_of_range_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(SurefootError, match=f"^{next(iter(options))} ="):
        Sac(**options)


def test_only_bounded_real_actions() -> None:
    with pytest.raises(SurefootError, match=r"'Small-v0' has discrete actions, .* continuous"):
        Sac().init(both.task(2, 3), jax.random.key(0))
    endless = Task("Car-v0", Box((1,), (0.0,), (1.0,)), Box((1,), (-math.inf,), (1.0,)))
    with pytest.raises(SurefootError, match="'Car-v0' has actions without bounds"):
        Sac().init(endless, jax.random.key(0))
