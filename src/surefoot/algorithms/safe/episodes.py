"""Whole episodes and what they cost: what the trust-region methods share before they learn anything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from surefoot.data.trajectories import Totals, Trajectories
from surefoot.errors import SurefootError, check_room
from surefoot.task import Task
from surefoot.worlds.world import Acts, Episodes, World


def check_limits(given: tuple[float, ...] | None) -> None:
    """Raises :class:`SurefootError` for a limit that is no finite number from 0, or for no limit at all."""
    if given is not None and not given:
        raise SurefootError("cost_limits is empty; give one limit a constraint, such as --cost-limits 25.")
    for limit in given or ():
        if not 0 <= limit < math.inf:  # NaN too
            raise SurefootError(
                f"cost_limits = {limit:g}: a limit is the cost of an episode, a finite number from 0; give "
                "--cost-limits 25, say."
            )


def limits_of(method: str, task: Task, given: tuple[float, ...] | None) -> tuple[float, ...]:
    """d, one a constraint of ``task``: those ``given`` (one for all will do), else the task's own.

    Raises :class:`SurefootError` if the task has no cost, if the numbers do not fit its constraints, or if
    there are none: a task's own limit of 0 says that it knows of no limit. One of 0 must be asked for.
    """
    names = task.constraints
    if not names:
        raise SurefootError(f"{method} needs a cost signal, but '{task.name}' has none; use ppo.")
    limits = tuple(given or task.limits)
    if len(limits) not in (1, len(names)):
        raise SurefootError(
            f"cost_limits has {len(limits)} numbers for {len(names)} constraints ({', '.join(names)}); "
            "give one each, or one for all."
        )
    if given is None and min(limits) <= 0:
        raise SurefootError(
            f"{method} needs a cost limit, but '{task.name}' gives no limit for the cost "
            f"'{names[limits.index(min(limits))]}'; give one with --cost-limits 25 (cost of an episode), or "
            "--cost-limits 0 if you mean it."
        )
    if given is None and not all(map(math.isfinite, limits)):
        name = names[[math.isfinite(limit) for limit in limits].index(False)]
        raise SurefootError(
            f"{method} needs a cost limit, but that of '{task.name}' for the cost '{name}' is not finite; "
            "give one with --cost-limits 25 (cost of an episode)."
        )
    return tuple(map(float, limits if len(limits) == len(names) else limits * len(names)))


def episodes_of(method: str, task: Task, batch_steps: int) -> int:
    """N, so that N whole episodes make ``batch_steps`` steps; raises :class:`SurefootError` if none does."""
    if task.horizon is None:
        raise SurefootError(
            f"{method} learns from whole episodes, but those of '{task.name}' may never end; "
            "give --horizon STEPS."
        )
    if batch_steps < task.horizon or batch_steps % task.horizon:
        near = max(1, round(batch_steps / task.horizon)) * task.horizon
        raise SurefootError(
            f"batch_steps = {batch_steps} is no whole number of episodes of {task.horizon} steps; "
            f"give --batch-steps {near}."
        )
    return batch_steps // task.horizon


def check_memory(task: Task, batch_steps: int, hidden: Sequence[int]) -> None:
    """Raises :class:`SurefootError` if a batch cannot fit into this machine's memory.

    Counted are the steps and the activations of a network of the widths ``hidden``, forward and backward;
    without widths the steps alone, as for updates on minibatches.
    """
    action = getattr(task.action, "size", 1)
    floats = 2 * task.observation.size + action + 8 + 3 * sum(hidden)
    needed = 4.0 * floats * batch_steps
    networks = f" with networks of {tuple(hidden)}" if hidden else ""
    check_room(f"batch_steps = {batch_steps}{networks}", needed, "take fewer steps")


def collect(policy: Acts, world: World, episodes: int, key: PRNGKeyArray) -> tuple[World, Trajectories]:
    """``episodes`` whole episodes from fresh starts, ``[horizon, episodes]``, with padding not ``valid``."""
    return world.collect(policy, Episodes(episodes), key)


def no_episodes(task: Task, episodes: int) -> Trajectories:
    """Room for so many whole episodes of continuous actions, all of it padding: ``[horizon, episodes]``."""
    shape = (task.horizon or 0, episodes)

    def zeros(*more: int, dtype: Any = jnp.float32) -> Array:
        return jnp.zeros(shape + more, dtype)

    observation, costs = zeros(task.observation.size), len(task.constraints)
    no, none = zeros(dtype=bool), zeros(dtype=jnp.int32)
    return Trajectories(
        observation=observation,
        action=zeros(getattr(task.action, "size", 1)),
        reward=zeros(),
        cost=zeros(costs),
        next_observation=observation,
        terminated=no,
        truncated=no,
        success=no,
        valid=no,
        totals=Totals(zeros(), none, zeros(costs), zeros(costs, dtype=jnp.int32), none),
    )


def weights(batch: Trajectories) -> Float[Array, "time envs"]:
    """1 / steps for each step that was taken, 0 on padding: the sum with them is the mean over states."""
    valid = batch.valid.astype(jnp.float32)
    return valid / jnp.maximum(jnp.sum(valid), 1.0)


class Costs(eqx.Module):
    """Mean cost of an episode."""

    undiscounted: Float[Array, " constraints"]
    """D."""
    discounted: Float[Array, " constraints"]
    length: Float[Array, ""]
    """Mean steps of an episode."""


def mean_costs(batch: Trajectories, discount: float) -> Costs:
    """Means over the episodes of ``batch``, whole ones as :func:`collect` plays them."""
    valid = batch.valid.astype(jnp.float32)
    paid = batch.cost * valid[..., None]
    fading = discount ** jnp.arange(paid.shape[0], dtype=jnp.float32)
    return Costs(
        jnp.mean(jnp.sum(paid, axis=0), axis=0),
        jnp.mean(jnp.sum(fading[:, None, None] * paid, axis=0), axis=0),
        jnp.mean(jnp.sum(valid, axis=0)),
    )


def by_constraint(
    prefix: str, values: Float[Array, " constraints"], names: tuple[str, ...]
) -> dict[str, Array]:
    """``{"PREFIX/NAME": value}``, for metrics."""
    return {f"{prefix}/{name}": values[i] for i, name in enumerate(names)}
