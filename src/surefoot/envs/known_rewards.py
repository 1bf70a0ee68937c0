"""Rewards and ends of well-known MuJoCo tasks as pure functions of (observation, action, next observation).

For planners: an end that is known beats a learned one, and a reward that is known need not be learned.

| Gymnasium | reward | alive while |
| --- | --- | --- |
| HalfCheetah | v - 0.1 a.a | always |
| Hopper | v + 1 - 0.001 a.a | height above 0.7, angle within +-0.2, all else within +-100 |
| Walker2d | v + 1 - 0.001 a.a | height in (0.8, 2), angle within +-1 |
| Ant | v + 1 - 0.5 a.a - 0.0005 f.f | height in [0.2, 1], all finite |
| InvertedPendulum | 1 | angle in [-0.2, 0.2], all finite |

These are Gymnasium's defaults: where an environment was made with options that change them, or shows another
number of observations, they are not taken (:func:`reward_of`, :func:`termination_of`).

In version 5 the 1 is paid only while alive, in version 4 at the last step as well. f are the observed contact
forces; version 4 of the ant has none. Our FixedHopper-v0 and its relatives follow version 5.

**The forward velocity v is not quite known.** Gymnasium pays (x' - x) / dt, the mean velocity over a step,
but leaves x out of the observation, which holds the velocities at the step's ends. Here v is a weighted mean
of these: halves, but 0.4 and 0.6 for the half-cheetah, whose simulator adds up the velocities after each of
five substeps. Under random actions its error has a root mean square of 0.09 m/s (half-cheetah), 0.004
(hopper), 0.012 (walker) and 0.07 (ant), without bias, where v itself varies by 0.5 m/s. That of the next
observation alone would be off by 0.19, 0.04, 0.12 and 0.17.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from surefoot.errors import SurefootError
from surefoot.task import Task

State = Float[Array, "*batch obs"]
Action = Float[Array, "*batch act"]

SHOWN = frozenset(
    ("render_mode", "width", "height", "camera_id", "camera_name", "default_camera_config", "max_geom",
     "visual_options", "reset_noise_scale")
)  # fmt: skip
"""Options of these environments that change neither reward nor ends: of pictures, and of the start."""
PAID = SHOWN | {
    "forward_reward_weight", "ctrl_cost_weight", "contact_cost_weight", "contact_force_range",
    "healthy_reward", "main_body", "frame_skip",
}  # fmt: skip
"""Those that leave the ends as they are, and the observation too."""


@dataclass(frozen=True)
class Known:
    """What is known of a task; both functions take (s, a, s') with any leading axes."""

    size: int
    """Numbers of an observation."""
    reward: Callable[[State, Action, State], Float[Array, "*batch"]]
    termination: Callable[[State, Action, State], Bool[Array, "*batch"]]


def known(name: str) -> Known:
    """Reward and end of an environment, by its identifier or its task's name.

    >>> never = known("gymnasium:HalfCheetah-v5").termination
    >>> bool(never(jnp.zeros(17), jnp.zeros(6), jnp.full(17, 9.0)))
    False

    Raises:
        SurefootError: they are not known.
    """
    if not is_known(name):
        raise SurefootError(
            f"No reward is known for '{name}', only for {', '.join(sorted(KNOWN))}; let the model learn it, "
            "or give a function of (observation, action, next observation)."
        )
    return KNOWN[_short(name)]


def is_known(name: str) -> bool:
    """Whether :func:`known` finds something."""
    return _short(name) in KNOWN


def _short(name: str) -> str:
    return name.removeprefix("gymnasium:").removeprefix("surefoot/")


def reward_of(task: Task) -> Callable[[State, Action, State], Float[Array, "*batch"]]:
    """The reward of a task, if it is known for the way that its environment was made.

    Raises:
        SurefootError: it is not known, options may have changed it, or the observation has another size.
    """
    return _as_made(task, known(task.name), "reward", SHOWN).reward


def termination_of(task: Task) -> Callable[[State, Action, State], Bool[Array, "*batch"]]:
    """The rule by which episodes of a task end, if it is known for the way that its environment was made.

    Raises:
        SurefootError: it is not known, options may have changed it, or the observation has another size.
    """
    found = known(task.name)
    if found.termination is _never:  # whatever is seen
        return _never
    return _as_made(task, found, "rule of termination", PAID).termination


def _as_made(task: Task, found: Known, what: str, harmless: frozenset[str]) -> Known:
    changed = [name for name in task.options if name not in harmless]
    if changed:
        raise SurefootError(
            f"'{task.name}' was made with {', '.join(changed)}, so its known {what} need not hold."
        )
    if task.observation.size != found.size:
        raise SurefootError(
            f"'{task.name}' shows {task.observation.size} numbers in place of {found.size}, so its known "
            f"{what} need not hold."
        )
    return found


# Rewards -----------------------------------------------------------------------------------------------


def _forward(index: int, share: float, before: State, after: State) -> Float[Array, "*batch"]:
    """v, where ``share`` is the weight of the end."""
    return (1 - share) * before[..., index] + share * after[..., index]


def _half_cheetah(before: State, action: Action, after: State) -> Float[Array, "*batch"]:
    return _forward(8, 0.6, before, after) - 0.1 * _square(action)


def _hopper(before: State, action: Action, after: State, *, version: int) -> Float[Array, "*batch"]:
    bonus = _bonus(_hopper_ends(before, action, after), version)
    return _forward(5, 0.5, before, after) + bonus - 1e-3 * _square(action)


def _walker(before: State, action: Action, after: State, *, version: int) -> Float[Array, "*batch"]:
    bonus = _bonus(_walker_ends(before, action, after), version)
    return _forward(8, 0.5, before, after) + bonus - 1e-3 * _square(action)


def _ant(before: State, action: Action, after: State, *, version: int) -> Float[Array, "*batch"]:
    bonus = _bonus(_ant_ends(before, action, after), version)
    cost = 0.5 * _square(action) + 5e-4 * _square(after[..., 27:])
    return _forward(13, 0.5, before, after) + bonus - cost


def _pendulum(before: State, action: Action, after: State, *, version: int) -> Float[Array, "*batch"]:
    return _bonus(_pendulum_ends(before, action, after), version)


def _bonus(over: Bool[Array, "*batch"], version: int) -> Float[Array, "*batch"]:
    return jnp.where(over, 0.0, 1.0) if version >= 5 else jnp.ones(over.shape)


def _square(x: Float[Array, "*batch entries"]) -> Float[Array, "*batch"]:
    return jnp.sum(x**2, axis=-1)


# Ends --------------------------------------------------------------------------------------------------


def _never(before: State, action: Action, after: State) -> Bool[Array, "*batch"]:
    return jnp.zeros(after.shape[:-1], bool)


def _hopper_ends(before: State, action: Action, after: State) -> Bool[Array, "*batch"]:
    """The simulator judges its velocities as they are, the observation has them cut at +-10."""
    height, angle = after[..., 0], after[..., 1]
    alive = (height > 0.7) & (jnp.abs(angle) < 0.2) & jnp.all(jnp.abs(after[..., 1:]) < 100, axis=-1)
    return ~(alive & jnp.isfinite(height))


def _walker_ends(before: State, action: Action, after: State) -> Bool[Array, "*batch"]:
    height, angle = after[..., 0], after[..., 1]
    return ~((height > 0.8) & (height < 2.0) & (jnp.abs(angle) < 1.0))


def _ant_ends(before: State, action: Action, after: State) -> Bool[Array, "*batch"]:
    height = after[..., 0]
    return ~((height >= 0.2) & (height <= 1.0) & _finite(after[..., :27]))


def _pendulum_ends(before: State, action: Action, after: State) -> Bool[Array, "*batch"]:
    return ~((jnp.abs(after[..., 1]) <= 0.2) & _finite(after))


def _finite(x: State) -> Bool[Array, "*batch"]:
    return jnp.all(jnp.isfinite(x), axis=-1)


def _table() -> dict[str, Known]:
    found = {}
    for version in (4, 5):
        found |= {
            f"HalfCheetah-v{version}": Known(17, _half_cheetah, _never),
            f"Hopper-v{version}": Known(11, partial(_hopper, version=version), _hopper_ends),
            f"Walker2d-v{version}": Known(17, partial(_walker, version=version), _walker_ends),
            f"Ant-v{version}": Known(105 if version >= 5 else 27, partial(_ant, version=version), _ant_ends),
            f"InvertedPendulum-v{version}": Known(4, partial(_pendulum, version=version), _pendulum_ends),
        }
    for body in ("HalfCheetah", "Hopper", "Walker2d", "Ant"):
        found[f"Fixed{body}-v0"] = found[f"{body}-v5"]
    found["FixedAnt-v0"] = replace(found["Ant-v5"], size=27)  # it shows no contact forces
    return found


KNOWN = _table()
"""Identifier -> what is known of it."""
