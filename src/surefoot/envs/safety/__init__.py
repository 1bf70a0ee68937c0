"""The safety tasks: Point, Car and Doggo go to goals or push a box, past hazards, vases and pillars.

    from surefoot.envs.safety import SafetyEnv, SafetyVectorEnv, Task

    env = SafetyEnv(Task(robot="car", hazards=12))
    envs = SafetyVectorEnv("DoggoGoal2", num_envs=64)

The twelve known ones are also ``gymnasium.make("surefoot/SafetyPointGoal1-v0")`` and
``sf.make("SafetyPointGoal1-v0")``. Robots, sizes, rewards and costs are those of the tasks that Safety Gym
(Ray et al. 2019) and Safety-Gymnasium (Ji et al. 2023) define; the models are built here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from surefoot.envs.safety.task import TASKS, Task, known_task

if TYPE_CHECKING:
    from surefoot.envs.safety.env import SafetyEnv
    from surefoot.envs.safety.simulation import Simulation
    from surefoot.envs.safety.vector_env import SafetyVectorEnv

__all__ = ["TASKS", "SafetyEnv", "SafetyVectorEnv", "Simulation", "Task", "known_task"]

_WHERE = {"SafetyEnv": "env", "SafetyVectorEnv": "vector_env", "Simulation": "simulation"}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'surefoot.envs.safety' has no attribute '{name}'")
    return getattr(import_module(f"surefoot.envs.safety.{_WHERE[name]}"), name)
