"""The check of a user's environment finds what is wrong, and only that."""

from __future__ import annotations

import re
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import surefoot as sf
from surefoot import worlds
from surefoot.worlds.checker import Report
from training import tiny


class Walk(gymnasium.Env):
    """A random walk between -1 and 1 with one fault at will."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self.observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> Any:
        super().reset(seed=seed)
        chance = np.random.default_rng() if self.fault == "chance" else self.np_random
        self.place, self.time = chance.uniform(-0.5, 0.5), 0
        return self._seen(), {}

    def step(self, action: np.ndarray) -> Any:
        self.time += 1
        self.place = float(np.clip(self.place + 0.3 * action[0], -1, 1))
        cost = {"negative": -1.0, "always": 1.0, "never": 0.0}.get(self.fault, float(self.place > 0.4))
        info = {} if self.fault == "none" else {"cost": cost, "success": self.place > 0.9}
        if self.fault == "late" and self.time > 20:
            info = {}
        return self._seen(), self.place, self.place > 0.95, self.time >= 50, info

    def _seen(self) -> np.ndarray:
        scale = 3.0 if self.fault == "outside" else 1.0
        seen = np.array([scale * self.place], np.float32)
        return seen * np.nan if self.fault == "nan" and self.time > 5 else seen


def report(fault: str) -> Report:
    return worlds.check(sf.make(lambda: Walk(fault), envs=2, horizon=None if fault == "endless" else 50))


def test_a_sound_environment() -> None:
    found = report("")
    assert found.ok
    assert [finding.level for finding in found.findings] == ["ok"] * 6
    assert "fit to train on" in str(found)


@pytest.mark.parametrize(
    ("fault", "level", "text"),
    [
        ("nan", "error", "is nan"),
        ("outside", "error", "widen the space"),
        ("chance", "error", "np_random"),
        ("negative", "error", "negative"),
        ("late", "error", "no cost was reported|report the same names|promised"),
        ("none", "note", "violations cannot be measured"),
        ("always", "note", "must be 0 where nothing is violated"),
        ("never", "note", "does not show the constraints"),
        ("none", "note", "success: not reported"),
        ("endless", "note", "no time limit is known"),
    ],
)
def test_a_fault_is_named(fault: str, level: str, text: str) -> None:
    found = report(fault)
    hits = [finding for finding in found.findings if re.search(text, finding.text)]
    assert hits, str(found)
    assert hits[0].level == level
    assert found.ok == (level != "error")


def test_the_world_is_left_as_it_is() -> None:
    world: Any = sf.make(tiny.Walk(), envs=2)
    before = np.asarray(world.states.position)
    assert worlds.check(world, steps=20).ok
    np.testing.assert_array_equal(before, world.states.position)
