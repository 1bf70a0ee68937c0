"""Ring road: the short way to the goal leads through a forbidden cell, the long way does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from surefoot.data.demonstrations import Demonstrations
from surefoot.envs.env import StepResult
from surefoot.task import Box, Discrete, Task

CELLS, START, FORBIDDEN, GOAL, HORIZON = 10, 0, 2, 4, 20
UP, DOWN = 0, 1
LONG_WAY = (0, 9, 8, 7, 6, 5)
"""Cells from which the expert steps down."""


class State(eqx.Module):
    cell: Any
    time: Any


@dataclass(frozen=True)
class RingRoad:
    """Observation one-hot; -1 a step, +10 at the goal; the cost counts steps into the forbidden cell."""

    @property
    def task(self) -> Task:
        box = Box((CELLS,), (0.0,) * CELLS, (1.0,) * CELLS)
        return Task("RingRoad", box, Discrete(2), ("forbidden",), (0.0,), HORIZON, True)

    def reset(self, key):
        return State(jnp.full((), START, jnp.int32), jnp.zeros((), jnp.int32))

    def observe(self, state):
        return jax.nn.one_hot(state.cell, CELLS)

    def step(self, state, action):
        cell = (state.cell + 1 - 2 * action) % CELLS
        time = state.time + 1
        reached = cell == GOAL
        cost = (cell == FORBIDDEN)[None].astype(jnp.float32)
        result = StepResult(10.0 * reached - 1.0, cost, reached, (time >= HORIZON) & ~reached, reached)
        return State(cell, time), result


def demonstrations() -> Demonstrations:
    """One episode the long way: return 4."""
    steps = len(LONG_WAY)
    last = np.arange(steps) == steps - 1
    return Demonstrations(
        observations=np.eye(CELLS)[list(LONG_WAY)],
        actions=np.full(steps, DOWN, np.int32),
        rewards=10.0 * last - 1.0,
        costs=np.zeros((steps, 1)),
        terminations=last,
        truncations=np.zeros(steps, bool),
        lengths=np.array([steps]),
        final_observations=np.eye(CELLS)[[GOAL]],
        constraints=("forbidden",),
    )
