"""The table of our own environments: plain text, imported when used, so that listing them needs no JAX."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from surefoot.errors import unknown

ENVIRONMENTS = {
    "MarbleMaze-v0": "marble_maze:MarbleMaze",
    "MarbleMazeTilt-v0": "marble_maze_tilt:MarbleMazeTilt",
    "PointMass-v0": "point_mass:PointMass",
    "ReacherTrace-v0": "reacher_trace:ReacherTrace",
    "NoisyWalk-v0": "noisy_walk:NoisyWalk",
}
"""Identifier -> module and class of the JAX environment, relative to this package."""

GYMNASIUM = {
    "MarbleMaze-v0": "marble_maze_gym:MarbleMazeGym",
    "MarbleMazeTilt-v0": "jax_gym:MarbleMazeTiltGym",
    "PointMass-v0": "jax_gym:PointMassGym",
    "ReacherTrace-v0": "jax_gym:ReacherTraceGym",
    "NoisyWalk-v0": "jax_gym:NoisyWalkGym",
    "FixedHopper-v0": "fixed_horizon:FixedHopper",
    "FixedWalker2d-v0": "fixed_horizon:FixedWalker2d",
    "FixedHalfCheetah-v0": "fixed_horizon:FixedHalfCheetah",
    "FixedAnt-v0": "fixed_horizon:FixedAnt",
    "CustomAnt-v0": "ant:CustomAnt",
    "DisabledAnt-v0": "ant:DisabledAnt",
    "SafetyPointGoal1-v0": "safety.env:PointGoal1",
    "SafetyPointGoal2-v0": "safety.env:PointGoal2",
    "SafetyPointPush1-v0": "safety.env:PointPush1",
    "SafetyPointPush2-v0": "safety.env:PointPush2",
    "SafetyCarGoal1-v0": "safety.env:CarGoal1",
    "SafetyCarGoal2-v0": "safety.env:CarGoal2",
    "SafetyCarPush1-v0": "safety.env:CarPush1",
    "SafetyCarPush2-v0": "safety.env:CarPush2",
    "SafetyDoggoGoal1-v0": "safety.env:DoggoGoal1",
    "SafetyDoggoGoal2-v0": "safety.env:DoggoGoal2",
    "SafetyDoggoPush1-v0": "safety.env:DoggoPush1",
    "SafetyDoggoPush2-v0": "safety.env:DoggoPush2",
}
"""Identifier -> module and class of the Gymnasium form; Gymnasium knows it as ``surefoot/IDENTIFIER``.

Those without a JAX form need MuJoCo."""

VECTORS = {
    name: path.replace("safety.env:", "safety.vector_env:").replace("fixed_horizon:", "fixed_horizon_vector:")
    for name, path in GYMNASIUM.items()
    if name.startswith(("Safety", "Fixed"))
}
"""Identifier -> module and class of the form that steps many worlds together, where there is one."""

TIME_LIMITS = {
    "FixedHopper-v0": 1000,
    "FixedWalker2d-v0": 1000,
    "FixedHalfCheetah-v0": 1000,
    "FixedAnt-v0": 1000,
    "CustomAnt-v0": 500,
    "DisabledAnt-v0": 500,
}
"""Steps after which Gymnasium truncates an episode; the others do so themselves."""

ABOUT = {
    "MarbleMaze-v0": "a ball on a tilting tray, to be led through a gap; costs: zone, speed, tilt, contact",
    "MarbleMazeTilt-v0": "the same maze with real actions, for planning; the same costs",
    "PointMass-v0": "a dot in a square room, with or without goals in its corners; no costs",
    "ReacherTrace-v0": "a two-link arm whose fingertip draws; no reward, no costs",
    "NoisyWalk-v0": "ten steps under noise, where the reward is the cost: distance",
    "FixedHopper-v0": "Hopper; a fall may be absorbing, so that all episodes last 1000 steps",
    "FixedWalker2d-v0": "Walker2d, likewise",
    "FixedHalfCheetah-v0": "HalfCheetah, likewise",
    "FixedAnt-v0": "Ant without contact forces, likewise",
    "CustomAnt-v0": "an ant with weak motors that never terminates, to learn rewards from",
    "DisabledAnt-v0": "the same ant with two short, powerless legs, to transfer rewards to",
    "SafetyPointGoal1-v0": "a sliding robot goes to goals past hazards; costs: hazards",
    "SafetyPointGoal2-v0": "more hazards, and vases; costs: hazards, vases touched, vases that move",
    "SafetyPointPush1-v0": "a sliding robot pushes a box to goals past hazards; costs: hazards",
    "SafetyPointPush2-v0": "more hazards, and pillars; costs: hazards, pillars touched",
    "SafetyCarGoal1-v0": "a robot on two wheels and a ball, likewise",
    "SafetyCarGoal2-v0": "a robot on two wheels and a ball, likewise",
    "SafetyCarPush1-v0": "a robot on two wheels and a ball, likewise",
    "SafetyCarPush2-v0": "a robot on two wheels and a ball, likewise",
    "SafetyDoggoGoal1-v0": "a robot on four legs with 12 motors, likewise",
    "SafetyDoggoGoal2-v0": "a robot on four legs with 12 motors, likewise",
    "SafetyDoggoPush1-v0": "a robot on four legs with 12 motors, likewise",
    "SafetyDoggoPush2-v0": "a robot on four legs with 12 motors, likewise",
}
"""One line each, for lists and help."""


def environment(name: str) -> type[Any]:
    """The JAX class of that name; raises :class:`SurefootError` with the nearest name if there is none."""
    if name not in ENVIRONMENTS:
        raise unknown("environment", name, GYMNASIUM, "See `surefoot list environments`.")
    module, _, cls = ENVIRONMENTS[name].partition(":")
    return getattr(import_module(f"surefoot.envs.{module}"), cls)


def __getattr__(name: str) -> Any:
    """``surefoot.envs.safety`` without an import of one's own."""
    if name != "safety":
        raise AttributeError(f"module 'surefoot.envs' has no attribute '{name}'")
    return import_module("surefoot.envs.safety")


def is_simulated(name: str) -> bool:
    """Whether this is an environment of ours that has Gymnasium's form alone."""
    return name in GYMNASIUM and name not in ENVIRONMENTS


def vector(name: str) -> Any:
    """The class, or what makes one, that steps many worlds of that environment together."""
    module, _, cls = VECTORS[name].partition(":")
    return getattr(import_module(f"surefoot.envs.{module}"), cls)


def name_of(env: Any) -> str | None:
    """The identifier of an environment or its class, ``None`` if it is not one of ours."""
    cls = env if isinstance(env, type) else type(env)
    for name, path in ENVIRONMENTS.items():
        module, _, attribute = path.partition(":")
        if cls.__module__ == f"surefoot.envs.{module}" and cls.__name__ == attribute:
            return name
    return None


def register_envs() -> None:
    """Makes ``gymnasium.make("surefoot/MarbleMaze-v0")`` known; calling it again changes nothing.

    Importing surefoot does it. Gymnasium's time limit is put around those in ``TIME_LIMITS`` only.
    """
    from gymnasium.envs.registration import register, registry

    for name, path in GYMNASIUM.items():
        if f"surefoot/{name}" not in registry:
            module, _, cls = path.partition(":")
            entry, limit = f"surefoot.envs.{module}:{cls}", TIME_LIMITS.get(name)
            many = f"surefoot.envs.{VECTORS[name]}" if name in VECTORS else None
            register(f"surefoot/{name}", entry_point=entry, vector_entry_point=many, max_episode_steps=limit)
