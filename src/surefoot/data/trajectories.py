"""Experience as arrays: time-major, with cost beside reward everywhere."""

from __future__ import annotations

from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from surefoot.task import Task

T = TypeVar("T")


class Totals(eqx.Module):
    """Sums over the current episode up to and including a step.

    Where an episode ends (``Trajectories.done``) they are the totals of that episode.
    """

    reward: Float[Array, "..."]
    """Undiscounted return so far."""
    length: Int[Array, "..."]
    """Steps so far."""
    cost: Float[Array, "... constraints"]
    """Undiscounted cost so far, one entry a constraint."""
    violating_steps: Int[Array, "... constraints"]
    """Steps with cost > 0 so far, one entry a constraint."""
    any_violating_steps: Int[Array, "..."]
    """Steps so far at which at least one constraint was violated."""


class Trajectories(eqx.Module):
    """What ``world.collect`` returns: ``time`` steps of ``envs`` environments side by side."""

    observation: Float[Array, "*time_envs obs"]
    """What the policy saw."""
    action: Shaped[Array, "*time_envs_act"]
    """What it did: integers ``[time, envs]`` (discrete) or floats ``[time, envs, act]``."""
    reward: Float[Array, "*time_envs"]
    cost: Float[Array, "*time_envs constraints"]
    """Cost of the step, one entry a constraint; never part of the reward."""
    next_observation: Float[Array, "*time_envs obs"]
    """The true successor, also where the environment was reset afterwards."""
    terminated: Bool[Array, "*time_envs"]
    """The episode ended by the problem's own rule: the value of the successor is zero."""
    truncated: Bool[Array, "*time_envs"]
    """The episode was cut, by a time limit say: the value of the successor counts."""
    success: Bool[Array, "*time_envs"]
    """The task was solved at this step (false everywhere if the environment does not say)."""
    valid: Bool[Array, "*time_envs"]
    """False on padding, which only ``Episodes`` makes, after an episode's end."""
    totals: Totals
    memory: Any = None
    """What the policy remembered after each step ``[time, envs, ...]``; only of policies that do, and only
    where steps were asked for."""
    report: dict[str, Float[Array, "*time_envs"]] | None = None
    """Numbers that the memory reports of each step by name (``report`` of a planner's), only where episodes
    were asked for: they are few, while a memory of every step of an episode may be large."""

    @property
    def done(self) -> Bool[Array, "*time_envs"]:
        """The last step of an episode."""
        return (self.terminated | self.truncated) & self.valid

    def beside(self, other: Trajectories) -> Trajectories:
        """These environments and then those of ``other``, which are as many steps long."""
        return jax.tree.map(lambda mine, others: jnp.concatenate([mine, others], axis=1), self, other)


EPISODE_METRICS = ("return", "length", "success", "violating_steps_per_episode", "violating_episodes", "cost")
"""What :func:`episode_metrics` gives means of, in all and by constraint."""


@eqx.filter_jit  # one call where it is not part of a program already, as around simulators
def episode_metrics(batch: Trajectories, task: Task) -> dict[str, Float[Array, ""]]:
    """Means over the episodes that ended inside ``batch``, NaN where none did; ``episodes`` is their number.

    Without constraints ``violating_steps_per_episode`` and ``violating_episodes`` are NaN, as ``success`` is
    where the environment does not report it.

    An episode succeeds if any step does, as in evaluations; of one that began before ``batch`` the steps
    inside it are all that is known.

    Names of the means: ``return``, ``length``, ``success``, ``violating_steps_per_episode``,
    ``violating_episodes``, and per constraint ``cost/NAME``, ``violating_steps_per_episode/NAME``,
    ``violating_episodes/NAME``. A step violates if its cost is above zero, an episode if any step does.
    """
    done = batch.done
    count = jnp.sum(done)

    def mean(values: Array) -> Array:
        total = jnp.sum(jnp.where(done, values, 0.0))
        return jnp.where(count > 0, total / jnp.maximum(count, 1), jnp.nan)

    totals, constraints, unknown = batch.totals, task.constraints, jnp.full((), jnp.nan)
    metrics = {
        "episodes": count.astype(jnp.float32),
        "return": mean(totals.reward),
        "length": mean(totals.length),
        # Where success or costs are not reported nobody knows of them.
        "success": mean(_succeeded(batch)) if task.reports_success else unknown,
        "violating_steps_per_episode": mean(totals.any_violating_steps) if constraints else unknown,
        "violating_episodes": mean(totals.any_violating_steps > 0) if constraints else unknown,
    }
    for index, name in enumerate(constraints):
        steps = totals.violating_steps[..., index]
        metrics[f"cost/{name}"] = mean(totals.cost[..., index])
        metrics[f"violating_steps_per_episode/{name}"] = mean(steps)
        metrics[f"violating_episodes/{name}"] = mean(steps > 0)
    return metrics


def flat(data: T) -> T:
    """Every array ``[time, envs, ...]`` as ``[time * envs, ...]``."""
    return jax.tree.map(lambda x: x.reshape((-1,) + x.shape[2:]), data)


def over_rounds(metrics: dict[str, Float[Array, " rounds"]]) -> dict[str, Float[Array, ""]]:
    """The metrics of several rounds of an iteration as those of one: ``episodes`` is their sum.

    What :func:`episode_metrics` gives becomes the mean over all their episodes, everything else the mean over
    the rounds that had it.
    """
    means = {name: jnp.nanmean(values) for name, values in metrics.items()}
    if "episodes" not in metrics:
        return means
    episodes = metrics["episodes"]
    for name, values in metrics.items():
        if name.partition("/")[0] in EPISODE_METRICS:
            weight = jnp.where(jnp.isnan(values), 0.0, episodes)
            total = jnp.sum(jnp.where(weight > 0, weight * values, 0.0))
            means[name] = jnp.where(jnp.any(weight > 0), total / jnp.maximum(jnp.sum(weight), 1.0), jnp.nan)
    return means | {"episodes": jnp.sum(episodes)}


def _succeeded(batch: Trajectories) -> Bool[Array, "time envs"]:
    """Whether a step of the current episode solved the task, up to and including each step of ``batch``."""
    solved = jnp.cumsum(batch.success & batch.valid, axis=0)
    at_ends = jax.lax.cummax(jnp.where(batch.done, solved, 0), axis=0)
    before = jnp.concatenate([jnp.zeros_like(at_ends[:1]), at_ends[:-1]])
    return solved > before
