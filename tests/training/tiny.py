"""A walk on a line and a learner of a few numbers: a whole training in a second.

In a module of their own, so that a process started by a test can import them as ``training.tiny``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from surefoot.data.replay import Replay
from surefoot.data.trajectories import episode_metrics
from surefoot.envs.env import StepResult
from surefoot.errors import check_range
from surefoot.networks.mlp import Mlp
from surefoot.networks.policies import CategoricalPolicy, WarmUp
from surefoot.task import Box, Discrete, Task
from surefoot.worlds.world import Steps


class WalkState(eqx.Module):
    position: Any
    time: Any


@dataclass(frozen=True)
class Walk:
    """Steps to the left or right; the goal is at ``length``, left of 0 it costs."""

    length: int = 3
    horizon: int = 7
    costs: bool = True

    @property
    def task(self) -> Task:
        names = ("left",) if self.costs else ()
        box = Box((2,), (-10.0, 0.0), (10.0, 1.0))
        return Task("Walk", box, Discrete(2), names, (0.0,) * len(names), self.horizon, True)

    def reset(self, key):
        return WalkState(jax.random.randint(key, (), -1, 2), jnp.zeros((), jnp.int32))

    def step(self, state, action):
        state = WalkState(state.position + 2 * action - 1, state.time + 1)
        reached = state.position >= self.length
        cost = (state.position < 0).astype(jnp.float32)[None]
        truncated = (state.time >= self.horizon) & ~reached
        return state, StepResult(
            1.0 * reached - 0.1, cost if self.costs else cost[:0], reached, truncated, reached
        )

    def observe(self, state):
        return jnp.stack([state.position, state.time / self.horizon]).astype(jnp.float32)


class WalkGym(gymnasium.Env):
    """The same for Gymnasium."""

    observation_space = gymnasium.spaces.Box(-10, 10, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position, self.time = int(self.np_random.integers(-1, 2)), 0
        return self._see(), {"cost": 0.0}

    def step(self, action):
        self.position, self.time = self.position + 2 * int(action) - 1, self.time + 1
        info = {"cost": float(self.position < 0)}
        return self._see(), -0.1, self.position >= 3, self.time >= 7, info

    def _see(self):
        return np.array([self.position, self.time / 7], np.float32)


traces = 0
"""How often an iteration was traced (or, on the host, run)."""


class TinyState(eqx.Module):
    policy: CategoricalPolicy
    replay: Replay
    key: Any
    """A random key that is carried along."""
    scale: Any
    """Of a weak type in the beginning."""
    iteration: Any
    mask: Any
    """Not finite, and meant to be so."""
    name: str


class Tiny(eqx.Module):
    """Moves its policy along noise and whatever the walk yields."""

    needs_demonstrations: ClassVar[bool] = False
    interacts: ClassVar[bool] = True

    steps_per_iteration: int = 8
    rate: float = 0.05
    capacity: int = 64
    hidden: tuple[int, ...] = (4,)
    bad_metric_at: int = -1
    """Iteration whose loss is NaN."""
    bad_weight_at: int = -1
    """Iteration after which a weight is infinite."""
    quiet_until: int = 0
    """The loss does not exist before this iteration."""

    def __check_init__(self):
        check_range("rate", self.rate, low=0)

    def init(self, task, key, *, demonstrations=None):
        key_policy, key = jax.random.split(key)
        policy = CategoricalPolicy(Mlp.create((2, *self.hidden, task.discrete_actions), key_policy))
        return TinyState(
            policy,
            Replay.create(task, self.capacity),
            key,
            jnp.asarray(1.0),
            jnp.zeros((), jnp.int32),
            jnp.array([0.0, -jnp.inf]),
            "tiny",
        )

    def policy(self, state):
        return WarmUp(state.policy, state.iteration < 2)

    def iteration(self, state, world, key):
        global traces
        traces += 1
        key_collect, key_noise = jax.random.split(key)
        world, batch = world.collect(self.policy(state), Steps(self.steps_per_iteration), key_collect)
        replay = state.replay.add(batch)
        carried, key_sample = jax.random.split(state.key)
        sample = replay.sample(key_sample, 8)

        def loss(policy):
            log_prob = policy.log_prob(sample.observation, sample.action)
            return -jnp.mean(log_prob * (sample.reward - jnp.sum(sample.cost, axis=-1)))

        value, gradient = jax.value_and_grad(loss)(state.policy)
        noise = self.rate * jax.random.normal(key_noise)
        policy = jax.tree.map(lambda w, g: w - self.rate * g + noise * w, state.policy, gradient)
        spoil = state.iteration == self.bad_weight_at
        bias = policy.network.biases[0]
        policy = eqx.tree_at(lambda p: p.network.biases[0], policy, jnp.where(spoil, jnp.inf, bias))
        value = jnp.where(state.iteration == self.bad_metric_at, jnp.nan, value)
        value = jnp.where(state.iteration < self.quiet_until, jnp.nan, value)
        new = TinyState(
            policy, replay, carried, state.scale * 0.999, state.iteration + 1, state.mask, state.name
        )
        metrics = {"loss": value, "scale": new.scale, **episode_metrics(batch, world.task)}
        return new, world, metrics


class Aiming(Tiny):
    """Is done when its scale, 0.999 to the power of the iterations, is low enough."""

    low_enough: float = 0.9955
    """Reached in the fifth iteration."""

    def target(self, metrics):
        scale = metrics["scale"]
        return scale <= self.low_enough, f"scale {scale:.4f}, target {self.low_enough:g}"
