"""A check of a user's own environment: does it keep what a learner relies on?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from surefoot.data.trajectories import Trajectories
from surefoot.errors import SurefootError, check_seed
from surefoot.task import Box, Task
from surefoot.worlds.world import Steps

_WIDTH = 2.0
"""Width of the range of random actions where the bounds of the action space are infinite."""


@dataclass(frozen=True)
class Finding:
    """One line of a report."""

    level: Literal["ok", "note", "error"]
    """``note``: it trains, but read this; ``error``: it must be mended first."""
    text: str


@dataclass(frozen=True)
class Report:
    """What a check found; ``print(report)`` shows it line by line."""

    name: str
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing must be mended."""
        return all(finding.level != "error" for finding in self.findings)

    def __str__(self) -> str:
        lines = [f"{finding.level:>5}  {finding.text}" for finding in self.findings]
        return "\n".join([f"{self.name}: {'fit to train on' if self.ok else 'must be mended'}", *lines])


class _Random(eqx.Module):
    """Acts uniformly at random."""

    task: Task = eqx.field(static=True)

    def act(self, observation: Array, key: PRNGKeyArray) -> Array:
        space = self.task.action
        if isinstance(space, Box):
            low, high = jnp.array(space.low), jnp.array(space.high)
            low = jnp.where(jnp.isfinite(low), low, jnp.where(jnp.isfinite(high), high - _WIDTH, -_WIDTH / 2))
            high = jnp.where(jnp.isfinite(high), high, low + _WIDTH)
            return jax.random.uniform(key, (space.size,), minval=low, maxval=high)
        return jax.random.randint(key, (), 0, space.n)


def check_world(world: Any, *, steps: int = 200, seed: int = 0) -> Report:
    """Plays ``steps`` random steps in each environment of ``world``, twice from one key.

    Looked at: the spaces; that every number is finite and every observation inside its space; whether
    costs and success are reported; whether episodes end, and how; and that the same key plays the same
    episodes. The world itself is left as it is.
    """
    task = world.task
    findings = [_about_spaces(task)]
    try:
        first, again = (_play(world, steps, seed) for _ in range(2))
    except SurefootError as error:  # a NaN, a cost that comes and goes, a wrong number of values, ...
        return Report(task.name, (*findings, Finding("error", str(error))))
    findings += [
        _about_numbers(task, first),
        _about_costs(task, first),
        _about_success(task),
        _about_ends(task, first),
        _about_chance(first, again),
    ]
    return Report(task.name, tuple(findings))


def _play(world: Any, steps: int, seed: int) -> Trajectories:
    check_seed(seed)
    play = eqx.filter_jit(_collect) if world.compiled else _collect
    return jax.tree.map(np.asarray, play(world, steps, jax.random.key(seed)))


def _collect(world: Any, steps: int, key: PRNGKeyArray) -> Trajectories:
    start = world.fresh(jax.random.fold_in(key, 0))
    return start.collect(_Random(world.task), Steps(steps * world.envs), jax.random.fold_in(key, 1))[1]


def _about_spaces(task: Task) -> Finding:
    action = (
        f"{task.action.size} real actions" if isinstance(task.action, Box) else f"{task.action.n} actions"
    )
    return Finding("ok", f"spaces: {task.observation.size} observations, {action}")


def _about_numbers(task: Task, batch: Trajectories) -> Finding:
    seen = np.concatenate([np.asarray(batch.observation), np.asarray(batch.next_observation)])
    for what, values in {"observation": seen, "reward": batch.reward, "cost": batch.cost}.items():
        if not np.isfinite(values).all():
            return Finding("error", f"numbers: a {what} is not finite")
    slack = 1e-5 + 1e-5 * np.abs(seen)  # single precision
    outside = (seen < np.array(task.observation.low) - slack) | (
        seen > np.array(task.observation.high) + slack
    )
    if outside.any():
        entry = int(np.argwhere(outside)[0, -1])
        values = seen[..., entry]
        low, high = task.observation.low[entry], task.observation.high[entry]
        text = f"runs from {values.min():g} to {values.max():g}, but its space from {low:g} to {high:g}"
        return Finding("error", f"numbers: observation {entry} {text}; widen the space")
    return Finding("ok", "numbers: all finite, observations inside their space")


def _about_costs(task: Task, batch: Trajectories) -> Finding:
    if not task.constraints:
        advice = "give cost=f(observation, action, next_observation, info), or put it in info['cost']"
        return Finding("note", f"costs: none, so violations cannot be measured; {advice}")
    shares = {name: (batch.cost[..., i] > 0).mean() for i, name in enumerate(task.constraints)}
    text = ", ".join(f"{name} at {share:.1%} of random steps" for name, share in shares.items())
    if (np.asarray(batch.cost) < 0).any():
        return Finding(
            "error", "costs: one is negative; a cost is above zero where a constraint is violated, else 0"
        )
    if all(share == 1 for share in shares.values()):
        return Finding("note", f"costs: {text}; a cost must be 0 where nothing is violated")
    if any(share == 0 for share in shares.values()):
        return Finding("note", f"costs: {text}; random play does not show the constraints at work")
    return Finding("ok", f"costs: {text}")


def _about_success(task: Task) -> Finding:
    if task.reports_success:
        return Finding("ok", "success: reported")
    return Finding(
        "note", "success: not reported; put it in info['success'], or give success=f(...), to see a rate"
    )


def _about_ends(task: Task, batch: Trajectories) -> Finding:
    terminated, truncated = int(batch.terminated.sum()), int(batch.truncated.sum())
    text = f"ends: {terminated} episodes terminated, {truncated} truncated"
    if task.horizon is None:
        return Finding(
            "note", f"{text}; no time limit is known: give horizon=STEPS if episodes can last for ever"
        )
    return Finding("ok", f"{text}, time limit {task.horizon} steps")


def _about_chance(first: Trajectories, again: Trajectories) -> Finding:
    same = jax.tree.map(np.array_equal, first, again)
    if all(jax.tree.leaves(same)):
        return Finding("ok", "chance: the same key plays the same episodes")
    text = (
        "the same key plays different episodes; draw all chance from self.np_random, which reset(seed) sets"
    )
    return Finding("error", f"chance: {text}")
