"""The table of our own environments: plain text, imported when used, so that listing them needs no JAX."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from surefoot.errors import unknown

ENVIRONMENTS = {
    "MarbleMaze-v0": "marble_maze:MarbleMaze",
    "PointMass-v0": "point_mass:PointMass",
    "ReacherTrace-v0": "reacher_trace:ReacherTrace",
}
"""Identifier -> module and class of the JAX environment, relative to this package."""

GYMNASIUM = {
    "MarbleMaze-v0": "marble_maze_gym:MarbleMazeGym",
    "PointMass-v0": "jax_gym:PointMassGym",
    "ReacherTrace-v0": "jax_gym:ReacherTraceGym",
}
"""Identifier -> module and class of the Gymnasium form; Gymnasium knows it as ``surefoot/IDENTIFIER``."""

ABOUT = {
    "MarbleMaze-v0": "a ball on a tilting tray, to be led through a gap; costs: zone, speed, tilt, contact",
    "PointMass-v0": "a dot in a square room, with or without goals in its corners; no costs",
    "ReacherTrace-v0": "a two-link arm whose fingertip draws; no reward, no costs",
}
"""One line each, for lists and help."""


def environment(name: str) -> type[Any]:
    """The class of that name; raises :class:`SurefootError` with the nearest name if there is none."""
    if name not in ENVIRONMENTS:
        raise unknown("environment", name, ENVIRONMENTS, "See `surefoot list environments`.")
    module, _, cls = ENVIRONMENTS[name].partition(":")
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

    Importing surefoot does it. The environments truncate their own episodes, so Gymnasium's time
    limit is not put around them.
    """
    from gymnasium.envs.registration import register, registry

    for name, path in GYMNASIUM.items():
        if f"surefoot/{name}" not in registry:
            module, _, cls = path.partition(":")
            register(f"surefoot/{name}", entry_point=f"surefoot.envs.{module}:{cls}")
