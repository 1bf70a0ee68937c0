"""A forked road: three states in which the fast way pays and harms, small enough for linear programming."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from surefoot.envs.env import StepResult
from surefoot.task import Box, Discrete, Task

# In each state, action 0 is slow and harmless, action 1 pays and harms.
TRANSITION = np.array(
    [
        [[0.0, 1.0, 0.0], [0.0, 0.2, 0.8]],
        [[0.5, 0.0, 0.5], [0.0, 0.5, 0.5]],
        [[1.0, 0.0, 0.0], [0.3, 0.0, 0.7]],
    ]
)
REWARD = np.array([[0.1, 1.0], [0.2, 0.6], [0.0, 1.5]])
COST = np.array([[0.0, 1.0], [0.0, 0.2], [0.0, 0.5]])
START = np.array([0.6, 0.2, 0.2])
GOES_ON = 0.8
TABLES = (TRANSITION, REWARD, COST, START, GOES_ON)


def drawn(seed):
    """Random tables of the same kind: action 1 pays more and harms, in one state more than in another."""
    chance = np.random.default_rng(seed)
    transition = chance.dirichlet(np.ones(3), (3, 2))
    harmless, harm = chance.uniform(0.0, 0.3, 3), chance.uniform(0.1, 1.0, 3)
    reward = np.stack([harmless, harmless + chance.uniform(0.3, 1.5, 3)], axis=1)
    cost = np.stack([np.zeros(3), harm], axis=1)
    return transition, reward, cost, chance.dirichlet(np.ones(3)), GOES_ON


class State(eqx.Module):
    place: Any
    time: Any
    key: Any


@dataclass(frozen=True)
class Road:
    """The tables above; an episode goes on with chance 0.8, so undiscounted sums are the oracle's.

    With ``mixed`` the action is a number in [0, 1], the chance of action 1, and reward and cost are those
    expected: a deterministic policy is then a stochastic one of the tables. ``horizon`` cuts an episode.
    With a ``draw`` the tables are :func:`drawn` ones.
    """

    limit: float
    mixed: bool = False
    horizon: int | None = None
    draw: int | None = None

    @property
    def tables(self):
        return TABLES if self.draw is None else drawn(self.draw)

    @property
    def task(self):
        action = Box((1,), (0.0,), (1.0,)) if self.mixed else Discrete(2)
        box = Box((3,), (0.0,) * 3, (1.0,) * 3)
        return Task("Road", box, action, ("harm",), (self.limit,), self.horizon)

    def reset(self, key):
        key, key_place = jax.random.split(key)
        place = jax.random.choice(key_place, 3, p=jnp.array(self.tables[3]))
        return State(place, jnp.zeros((), jnp.int32), key)

    def observe(self, state):
        return jax.nn.one_hot(state.place, 3)

    def step(self, state, action):
        key, key_place, key_end = jax.random.split(state.key, 3)
        fast = jnp.clip(action[0], 0.0, 1.0) if self.mixed else 1.0 * action
        shares = jnp.stack([1 - fast, fast])
        transition, *values, _, goes_on = self.tables
        place = jax.random.choice(key_place, 3, p=shares @ jnp.array(transition)[state.place])
        ends = jax.random.uniform(key_end) > goes_on
        reward, cost = (shares @ jnp.array(table, jnp.float32)[state.place] for table in values)
        time = state.time + 1
        cut = ~ends & (time >= self.horizon) if self.horizon else jnp.zeros((), bool)
        no = jnp.zeros((), bool)
        return State(place, time, key), StepResult(reward, cost[None], ends, cut, no)
