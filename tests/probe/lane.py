"""An environment with real actions in which some episodes pay more than others."""

from __future__ import annotations

import gymnasium
import numpy as np


class Lane(gymnasium.Env):
    """The reward of a step is the action, times a strength that differs from episode to episode."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, length: int = 5) -> None:
        self.length = length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.strength, self.time = float(self.np_random.uniform(0.5, 2.0)), 0
        return self._observe(), {}

    def step(self, action):
        self.time += 1
        return self._observe(), self.strength * float(action[0]), False, self.time >= self.length, {}

    def _observe(self):
        return np.array([self.strength, self.time], np.float32)
