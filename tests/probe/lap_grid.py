"""LapGridWorld (Malik et al. 2021): a ring of 40 cells; walking backwards pays, but is not allowed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from surefoot.data.demonstrations import Demonstrations
from surefoot.envs.env import StepResult
from surefoot.task import Box, Discrete, Task

CELLS, HORIZON, COINS = 40, 200, (5, 15, 25, 35)
FORWARD, BACKWARD = 0, 1


class State(eqx.Module):
    cell: Any
    time: Any


@dataclass(frozen=True)
class LapGrid:
    """Start in cell 0; 3 for entering a cell with a coin. ``true``: stepping back pays -1 and ends."""

    true: bool = False

    @property
    def task(self) -> Task:
        return Task("LapGrid", Box((1,), (-1.0,), (1.0,)), Discrete(2), ("backward",), (0.0,), HORIZON)

    def reset(self, key):
        return State(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    def observe(self, state):
        return (state.cell / (CELLS / 2) - 1.0)[None].astype(jnp.float32)

    def step(self, state, action):
        back = action == BACKWARD
        cell = (state.cell + 1 - 2 * action) % CELLS
        reward = 3.0 * jnp.isin(cell, jnp.array(COINS))
        if self.true:
            cell, reward = jnp.where(back, state.cell, cell), jnp.where(back, -1.0, reward)
        ends = back & self.true
        time = state.time + 1
        cut = (time >= HORIZON) & ~ends
        cost = back[None].astype(jnp.float32)
        return State(cell, time), StepResult(reward, cost, ends, cut, jnp.zeros((), bool))


def demonstrations() -> Demonstrations:
    """One episode of five laps forward: return 60."""
    cells = np.arange(HORIZON) % CELLS
    entered = (cells + 1) % CELLS
    last = np.arange(HORIZON) == HORIZON - 1
    return Demonstrations(
        observations=(cells / (CELLS / 2) - 1)[:, None],
        actions=np.zeros(HORIZON, np.int32),
        rewards=3.0 * np.isin(entered, COINS),
        costs=np.zeros((HORIZON, 1)),
        terminations=np.zeros(HORIZON, bool),
        truncations=last,
        lengths=np.array([HORIZON]),
        final_observations=np.array([[entered[-1] / (CELLS / 2) - 1]]),
        constraints=("backward",),
    )
