"""Policies that remember: each environment has a memory of its own, which ends with the episode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from probe.playing import collect
from surefoot.data.trajectories import Trajectories
from surefoot.envs.env import StepResult
from surefoot.evaluation import evaluate
from surefoot.networks.policies import WarmUp
from surefoot.task import Box, Task
from surefoot.worlds.gym_world import GymWorld
from surefoot.worlds.jax_world import JaxWorld
from surefoot.worlds.relabel import relabel
from surefoot.worlds.vector_world import VectorWorld
from surefoot.worlds.world import Episodes, Remembers, Steps, memory_of


class Counting(eqx.Module):
    """Acts by how often it has acted before, times a number; remembers that, and the observation."""

    scale: Any

    def memory(self) -> Any:
        return {"count": jnp.zeros((), jnp.int32), "seen": jnp.full(1, jnp.nan)}

    def act(self, observation, key):
        return self.act_with(self.memory(), observation, key)[0]

    def act_with(self, memory, observation, key):
        action = self.scale * memory["count"][None].astype(jnp.float32)
        return action, {"count": memory["count"] + 1, "seen": observation}

    def uniform(self, observation, key):
        return jax.random.uniform(key, (1,))


class Told(eqx.Module):
    """How many steps the episode has had, in the two forms in which planners are told of."""

    report: dict[str, Any]


class Telling(eqx.Module):
    """Acts by nothing, and reports what it is asked to."""

    dropped: Any
    limits: tuple[float, ...] | None = eqx.field(static=True, default=(1.0,))

    def memory(self) -> Any:
        return Told({"plan_dropped": jnp.zeros(()), "plan_feasible": jnp.asarray(0.25)})

    def act(self, observation, key):
        return self.act_with(self.memory(), observation, key)[0]

    def act_with(self, memory, observation, key):
        before = memory.report
        return jnp.zeros(1), Told(before | {"plan_dropped": before["plan_dropped"] + self.dropped})


class Forgetful(eqx.Module):
    def act(self, observation, key):
        return jnp.zeros(1)


@dataclass(frozen=True)
class Short:
    """Episodes of 1 to 4 steps; the last observation of a step is its number."""

    @property
    def task(self) -> Task:
        return Task("Short-v0", Box((1,), (0.0,), (9.0,)), Box((1,), (-9.0,), (9.0,)), horizon=4)

    def reset(self, key):
        return jnp.stack([jnp.zeros((), jnp.int32), jax.random.randint(key, (), 1, 5)])

    def step(self, state, action):
        state = state + jnp.array([1, 0])
        no = jnp.zeros((), bool)
        return state, StepResult(action[0], jnp.zeros(0), state[0] >= state[1], no, no)

    def observe(self, state):
        return state[:1].astype(jnp.float32)


class ShortGym(gymnasium.Env):
    """The same for Gymnasium."""

    observation_space = gymnasium.spaces.Box(0, 9, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-9, 9, (1,), np.float32)

    def __init__(self, ends: int | None = None) -> None:
        self.ends = ends

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time, self.end = 0, self.ends or int(self.np_random.integers(1, 5))
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.time += 1
        return np.full(1, self.time, np.float32), 0.0, self.time >= self.end, False, {}


def vector(n: int) -> Any:
    return SyncVectorEnv([ShortGym] * n, autoreset_mode=AutoresetMode.DISABLED)


def world_of(kind: str, envs: int) -> Any:
    key = jax.random.key(0)
    if kind == "jax":
        return JaxWorld.create(Short(), envs, key)
    if kind == "gym":
        return GymWorld.create(ShortGym, envs, key, horizon=4)
    return VectorWorld.create(ShortGym, vector, envs, key, horizon=4)


def check(batch: Trajectories, scale: float) -> None:
    """The action counts the steps of the episode, whatever happens to the other environments."""
    expected = scale * (np.asarray(batch.totals.length) - 1)
    valid = np.asarray(batch.valid)
    np.testing.assert_array_equal(np.asarray(batch.action)[..., 0][valid], expected[valid])


@pytest.mark.parametrize(("kind", "envs"), [("jax", 3), ("gym", 1), ("gym", 3), ("vector", 1), ("vector", 3)])
def test_memory_lasts_from_call_to_call_and_ends_with_the_episode(kind: str, envs: int) -> None:
    world, policy = world_of(kind, envs), Counting(jnp.asarray(0.5))
    assert isinstance(policy, Remembers)
    ended = 0
    for i in range(6):
        world, batch = collect(world, policy, Steps(3 * envs), jax.random.key(i))
        check(batch, 0.5)
        np.testing.assert_array_equal(batch.memory["count"], batch.totals.length)
        np.testing.assert_array_equal(batch.memory["seen"], batch.observation)
        ended += int(np.sum(np.asarray(batch.done)))
    assert ended > 4
    if kind != "vector":  # Gymnasium's own vector refuses a step of those that have ended
        _, whole = collect(world, policy, Episodes(5), jax.random.key(9))
        check(whole, 0.5)
        assert whole.memory is None
    # The episodes beside it changed nothing.
    world, batch = collect(world, policy, Steps(3 * envs), jax.random.key(7))
    check(batch, 0.5)


def test_another_form_of_memory_begins_anew() -> None:
    class Other(Counting):
        def memory(self):
            return {"count": jnp.asarray(5, jnp.int32), "seen": jnp.zeros(1), "more": jnp.zeros(())}

        def act_with(self, memory, observation, key):
            action, after = super().act_with(memory, observation, key)
            return action, after | {"more": memory["more"]}

    policy, other = Counting(jnp.ones(())), Other(jnp.ones(()))
    before = memory_of(policy, 2)
    assert memory_of(policy, 2, before) is before
    for fresh in (memory_of(other, 2, before), memory_of(other, 2)):
        np.testing.assert_array_equal(fresh["count"], [5, 5])
    assert memory_of(policy, 3, before)["count"].shape == (3,)
    assert memory_of(Forgetful(), 3) is None
    assert memory_of(WarmUp(Forgetful(), jnp.asarray(True)), 3) is None


def test_a_policy_that_remembers_something_else_begins_anew_in_a_simulator() -> None:
    class More(Counting):
        def memory(self):
            return super().memory() | {"more": jnp.full(2, 7.0)}

        def act_with(self, memory, observation, key):
            action, after = super().act_with(memory, observation, key)
            return action, after | {"more": memory["more"]}

    scale = jnp.asarray(0.5)
    world = GymWorld.create(lambda: ShortGym(ends=9), 2, jax.random.key(0), horizon=9)
    world, _ = world.collect(Counting(scale), Steps(4), jax.random.key(1))
    world, batch = world.collect(Counting(scale + 1), Steps(4), jax.random.key(2))  # other numbers, same form
    np.testing.assert_array_equal(batch.memory["count"], [[3, 3], [4, 4]])
    world, batch = world.collect(More(scale), Steps(2), jax.random.key(3))
    np.testing.assert_array_equal(batch.memory["count"], [[1, 1]])
    np.testing.assert_array_equal(batch.memory["more"], np.full((1, 2, 2), 7.0))
    _, batch = world.collect(Counting(scale), Steps(2), jax.random.key(4))
    np.testing.assert_array_equal(batch.memory["count"], [[1, 1]])


def test_the_world_keeps_one_form_inside_compiled_loops() -> None:
    policy = Counting(jnp.ones(()))
    plain = JaxWorld.create(Short(), 2, jax.random.key(0))
    world: Any = relabel(plain, lambda states: states[..., 0]).remembering(policy)

    @eqx.filter_jit
    def run(world: Any, key: Any) -> Any:
        arrays, rest = eqx.partition(world, eqx.is_array)

        def once(arrays: Any, key: Any) -> Any:
            after, batch = eqx.combine(arrays, rest).collect(policy, Steps(4), key)
            return eqx.filter(after, eqx.is_array), (batch.action[..., 0], batch.totals.length)

        return jax.lax.scan(once, arrays, jax.random.split(key, 5))[1]

    actions, lengths = run(world, jax.random.key(1))
    np.testing.assert_array_equal(actions, lengths - 1)


def test_a_random_phase_leaves_the_memory_as_it_is() -> None:
    policy = Counting(jnp.ones(()))
    world = JaxWorld.create(Short(), 2, jax.random.key(0))
    warm, ready = (WarmUp(policy, jnp.asarray(uniform)) for uniform in (True, False))
    after, batch = collect(world, warm, Steps(8), jax.random.key(1))
    assert np.all(np.asarray(batch.memory["count"]) == 0) and np.ptp(np.asarray(batch.action)) > 0.3
    _, batch = collect(after, ready, Steps(16), jax.random.key(2))
    counted = np.asarray(batch.memory["count"])
    done = np.asarray(batch.done)
    for env in range(2):  # from where it stands it counts up, and from an episode's end anew
        expected = 0
        for t in range(len(counted)):
            expected += 1
            assert counted[t, env] == expected
            expected = 0 if done[t, env] else expected


@pytest.mark.parametrize(("kind", "envs"), [("jax", 3), ("gym", 2), ("vector", 1)])
def test_what_a_memory_reports_of_each_step_is_kept_of_episodes(kind: str, envs: int) -> None:
    """And where an evaluation reads it: candidates of planners that were dropped, and that were feasible."""
    world = world_of(kind, envs)
    _, batch = collect(world, Telling(jnp.asarray(2.0)), Episodes(5), jax.random.key(1))
    assert batch.memory is None and batch.report is not None
    valid, lengths = np.asarray(batch.valid), np.asarray(batch.totals.length)
    assert len(set(valid.sum(axis=0).tolist())) > 1
    np.testing.assert_array_equal(np.asarray(batch.report["plan_dropped"])[valid], 2 * lengths[valid])

    def measured(policies: Any) -> Any:
        return evaluate._measure(world, policies, episodes=5, mode="sample", seed=0, seeds=(3, 4))

    _, tables, warnings, notes = measured(Telling(jnp.array([0.0, 2.0])))
    # The mean over a seed's episodes of 2 (1 + ... + n) / n, for episodes of n steps.
    expected = np.mean(tables[""].lengths[1] + 1)
    (told,) = warnings
    assert told.startswith(f"plans dropped, seed 4: {expected:.3g} candidates a step were dropped")
    assert "plan_feasible: 25.0 % of the plans that were weighed kept the planner's limits." in notes
    *_, warnings, notes = measured(Telling(jnp.zeros(2), limits=None))
    assert warnings == [] and not any("plan_feasible" in note for note in notes)
