"""Rollouts against a plain recomputation from the recorded paths, in a world whose rules fit in a line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from surefoot.data.trajectories import Trajectories
from surefoot.envs.env import StepResult
from surefoot.errors import SurefootError
from surefoot.evaluation import rollouts
from surefoot.evaluation.rollouts import stack
from surefoot.networks.mlp import Mlp
from surefoot.networks.policies import CategoricalPolicy, WarmUp
from surefoot.task import Box, Discrete, Task
from surefoot.worlds.jax_world import JaxWorld

HORIZON, GOAL = 9, 5


def rollout(*given, **named):
    """The table alone; these policies report nothing."""
    table, report = rollouts.rollout(*given, **named)
    assert not report
    return table


@dataclass(frozen=True)
class Stairs:
    """Climb by 0 or 1 from a height of 0, 1 or 2. Reward: height. Costs: standing still; being at 3 or 4."""

    @property
    def task(self) -> Task:
        box = Box((2,), (0.0, 0.0), (10.0, 10.0))
        return Task("Stairs", box, Discrete(2), ("still", "high"), (1.0, 5.0), HORIZON, True)

    def reset(self, key: Any) -> Any:
        return jnp.array([jax.random.randint(key, (), 0, 3), 0])

    def observe(self, state: Any) -> Any:
        return state.astype(jnp.float32)

    def step(self, state: Any, action: Any) -> Any:
        state = state + jnp.array([0, 1]) + jnp.array([1, 0]) * action
        height, time = state
        cost = jnp.array([action == 0, (height == 3) | (height == 4)], jnp.float32)
        done = height >= GOAL
        return state, StepResult(height * 1.0, cost, done, (time >= HORIZON) & ~done, done)


def policy(climb: float) -> CategoricalPolicy:
    """Climbs with probability sigmoid(climb), whatever it sees."""
    network = Mlp((jnp.zeros((2, 2)),), (jnp.array([0.0, climb]),), "relu")
    return CategoricalPolicy(network)


@pytest.fixture(scope="module")
def world():
    return JaxWorld.create(Stairs(), 1, jax.random.key(0))


class Host:
    """The same world as if stepped on the host, padded to its own longest episode."""

    compiled = False

    def __init__(self, world: JaxWorld) -> None:
        self.world, self.task = world, world.task

    def fresh(self, key: Any) -> Host:
        return self

    def collect(self, policy: Any, amount: Any, key: Any) -> tuple[Host, Trajectories]:
        _, batch = self.world.collect(policy, amount, key)
        longest = int(jnp.sum(batch.valid, axis=0).max())
        return self, jax.tree.map(lambda x: np.asarray(x[:longest]), batch)


def recomputed(found, seed: int, episode: int) -> dict[str, Any]:
    """The sums of an episode, from its path and the rules of :class:`Stairs` only."""
    path, flags = found.path(seed, episode)
    heights = path[:, 0]
    still = heights[1:] == heights[:-1]
    high = (heights[1:] == 3) | (heights[1:] == 4)
    assert np.array_equal(flags, np.stack([still, high], axis=1))
    return {
        "returns": heights[1:].sum(),
        "lengths": len(heights) - 1,
        "success": heights[-1] >= GOAL,
        "violating_steps_any": (still | high).sum(),
        "costs": [still.sum(), high.sum()],
        "violating_steps": [still.sum(), high.sum()],
    }


@pytest.mark.parametrize("host", [False, True])
def test_sums_equal_those_of_the_paths(world, host):
    policies = stack([policy(1.0), policy(-1.0), policy(20.0)])
    found = rollout(Host(world) if host else world, policies, 40, jax.random.key(1))
    assert (found.seeds, found.episodes) == (3, 40)
    for seed in range(3):
        for episode in range(40):
            for name, value in recomputed(found, seed, episode).items():
                assert np.array_equal(getattr(found, name)[seed, episode], value), name
    assert found.success[2].all() and not found.success[1].all()
    # A policy that always climbs from 0, 1 or 2 needs 5, 4 or 3 steps.
    starts = found.paths[2, :, 0, 0]
    assert np.array_equal(found.lengths[2], GOAL - starts)
    assert set(starts) == {0, 1, 2}
    # Padding repeats the last observation.
    last = found.paths[2, 0, int(found.lengths[2, 0]) :]
    assert np.all(last == last[0])


def test_greedy_takes_the_mode(world):
    found = rollout(world, stack([policy(0.3), policy(-0.3)]), 30, jax.random.key(2), "greedy")
    assert found.success[0].all() and not found.success[1].any()
    assert np.all(found.violating_steps[0, :, 0] == 0)
    assert np.all(found.violating_steps[1, :, 0] == HORIZON)


def test_each_seed_meets_the_same_starts_whatever_the_method(world):
    first = rollout(world, stack([policy(2.0), policy(2.0)]), 25, jax.random.key(3))
    second = rollout(world, stack([policy(-2.0), policy(0.0)]), 25, jax.random.key(3))
    assert np.array_equal(first.paths[:, :, 0], second.paths[:, :, 0])
    assert not np.array_equal(first.paths[0, :, 0], first.paths[1, :, 0])


def test_the_same_key_gives_the_same_numbers(world):
    policies = stack([policy(0.0)])
    a, b = (rollout(world, policies, 10, jax.random.key(4)).arrays() for _ in range(2))
    assert all(np.array_equal(a[name], b[name]) for name in a)


def test_a_warming_up_policy_is_judged_without_its_warm_up(world):
    warm = eqx.filter_vmap(lambda p: WarmUp(p, jnp.array(True)))(stack([policy(20.0)]))
    assert rollout(world, warm, 10, jax.random.key(5)).success.all()


def test_only_some_paths_are_kept(world):
    found = rollout(world, stack([policy(0.0)]), 10, jax.random.key(6), keep=3)
    whole = rollout(world, stack([policy(0.0)]), 10, jax.random.key(6))
    assert found.paths.shape == (1, 3, HORIZON + 1, 2)
    assert found.path_violations.shape == (1, 3, HORIZON, 2)
    assert np.array_equal(found.paths, whole.paths[:, :3])
    assert np.array_equal(found.returns, whole.returns)


def test_bad_arguments_are_named(world):
    policies = stack([policy(0.0)])
    with pytest.raises(SurefootError, match="episodes"):
        rollout(world, policies, 0, jax.random.key(0))
    with pytest.raises(SurefootError, match="greedy"):
        rollout(world, policies, 1, jax.random.key(0), "greeedy")
    with pytest.raises(SurefootError, match="policy"):
        stack([])
