"""Probes: environments of one or two steps in which the right value or action is known.

If a method fails one of them, the probe says which part is broken:

| probe | what must work | known answer |
| --- | --- | --- |
| Constant | the value network fits a number | V = 1 |
| ByObservation | it sees the observation | V(s) = s |
| Delayed | discounting and bootstrapping | V(0) = gamma, V(1) = 1 |
| Cut | it bootstraps where time alone ends an episode | V = 1 / (1 - gamma) |
| ByAction | the policy improves | always action 1, or a = 0.5 |
| ByBoth | it does so given the observation | action 1 where s = 1, else action 0 |

``cost`` switches on the constrained twin: the same number is a cost (Constant, ByObservation, Delayed, Cut),
or the action that pays also costs 1 (ByAction), or does so where s = 1 (ByBoth).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from surefoot.envs.env import StepResult
from surefoot.task import Box, Discrete, Task


class State(eqx.Module):
    seen: Any
    """The one entry of the observation."""
    time: Any


@dataclass(frozen=True)
class Probe:
    """What the probes share: one observed number, one cost signal if ``cost``."""

    cost: bool = False
    limit: float = 0.0
    continuous: bool = False

    @property
    def task(self) -> Task:
        names = ("harm",) if self.cost else ()
        action = Box((1,), (-1.0,), (1.0,)) if self.continuous else Discrete(2)
        return Task(
            type(self).__name__, Box((1,), (-1.0,), (1.0,)), action, names, (self.limit,) * len(names), 2
        )

    def reset(self, key):
        return State(jnp.zeros(()), jnp.zeros((), jnp.int32))

    def observe(self, state):
        return state.seen[None]

    def result(self, reward, cost, terminated=True):
        costs = jnp.asarray([cost] if self.cost else [], jnp.float32)
        no = jnp.zeros((), bool)
        return StepResult(jnp.asarray(reward, jnp.float32), costs, jnp.asarray(terminated), no, no)


class Constant(Probe):
    def step(self, state, action):
        return state, self.result(1.0, 1.0)


class ByObservation(Probe):
    def reset(self, key):
        return State(jax.random.rademacher(key, (), jnp.float32), jnp.zeros((), jnp.int32))

    def step(self, state, action):
        return state, self.result(state.seen, state.seen)


class Delayed(Probe):
    def step(self, state, action):
        last = state.time == 1
        return State(jnp.ones(()), state.time + 1), self.result(1.0 * last, 1.0 * last, last)


class Cut(Probe):
    def step(self, state, action):
        result = self.result(1.0, 1.0, terminated=False)
        return state, eqx.tree_at(lambda r: r.truncated, result, jnp.ones((), bool))


class ByAction(Probe):
    def step(self, state, action):
        if self.continuous:
            return state, self.result(-((action[0] - 0.5) ** 2), jnp.maximum(action[0], 0.0))
        return state, self.result(2.0 * action - 1.0, 1.0 * action)


class ByBoth(ByObservation):
    def step(self, state, action):
        wanted = state.seen > 0
        taken = action[0] > 0 if self.continuous else action == 1
        return state, self.result(jnp.where(taken == wanted, 1.0, -1.0), 1.0 * (taken & wanted))
