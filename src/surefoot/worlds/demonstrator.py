"""Demonstrations from a controller of one's own, played in any world."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from surefoot.data.demonstrations import Demonstrations, spaces_of
from surefoot.data.trajectories import Trajectories
from surefoot.errors import SurefootError, check_range, check_seed
from surefoot.task import Box, Task
from surefoot.worlds.world import Acts, Episodes


def play_demonstrations(
    world: Any,
    controller: Acts,
    *,
    episodes: int = 100,
    seed: int = 0,
    name: str = "",
    keep_all: bool = False,
) -> Demonstrations:
    """See :func:`surefoot.worlds.demonstrate`."""
    check_range("episodes", episodes, low=1)
    check_seed(seed)
    if not hasattr(controller, "act"):
        raise SurefootError(f"The controller {controller!r} has no act(observation, key); give it one.")
    batch = _as_applied(_play(world, controller, episodes, seed), world.task)
    done = np.asarray(batch.done)
    columns = np.arange(episodes)
    ends = np.where(done.any(axis=0), done.argmax(axis=0), len(done) - 1)
    success = np.asarray(batch.success & batch.valid).any(axis=0)
    if not world.task.reports_success and not success.any():  # some tell of it at the end of an episode only
        success = np.ones_like(success)
    violating = np.asarray(batch.totals.any_violating_steps)[ends, columns] > 0
    kept = columns if keep_all else columns[success & ~violating]
    played = {
        "keep": "all" if keep_all else "clean and successful",
        "episodes": episodes,
        "dropped": episodes - len(kept),
        "dropped_share": round(1 - len(kept) / episodes, 4),
        "unsuccessful": int((~success).sum()),
        "violating": int(violating.sum()),
    }
    if not len(kept):
        raise SurefootError(
            f"Of {episodes} episodes of the controller in '{world.task.name}' none can be kept: "
            f"{played['unsuccessful']} did not succeed, {played['violating']} violated a constraint."
        )
    metadata = {
        "environment": {"id": world.task.name},
        "spaces": spaces_of(world.task),
        "algorithm": f"controller {type(controller).__name__}",
        "seed": seed,
        "played": played,
    }
    return _cut(batch, kept, ends[kept] + 1, world.task.constraints, metadata, name)


def _play(world: Any, controller: Acts, episodes: int, seed: int) -> Trajectories:
    def play(world: Any, key: Any) -> Trajectories:
        return world.collect(controller, Episodes(episodes), key)[1]

    return (eqx.filter_jit(play) if world.compiled else play)(world, jax.random.key(seed))


def _as_applied(batch: Trajectories, task: Task) -> Trajectories:
    """With real actions clipped to their bounds, as the world did; raises for integers that are no action."""
    if isinstance(task.action, Box):
        action = jnp.clip(batch.action, jnp.asarray(task.action.low), jnp.asarray(task.action.high))
        return eqx.tree_at(lambda b: b.action, batch, action)
    wrong = np.asarray(batch.valid & ((batch.action < 0) | (batch.action >= task.action.n)))
    if wrong.any():
        given = int(np.asarray(batch.action)[wrong][0])
        raise SurefootError(
            f"The controller gave the action {given}, but '{task.name}' has 0 to {task.action.n - 1} here, "
            "counted from 0 whatever the environment calls the first."
        )
    return batch


def _cut(
    batch: Trajectories,
    columns: np.ndarray,
    lengths: np.ndarray,
    constraints: tuple[str, ...],
    metadata: dict[str, Any],
    name: str,
) -> Demonstrations:
    """Columns of ``batch``, each up to its length, one after the other."""
    time = np.concatenate([np.arange(n) for n in lengths])
    column = np.repeat(columns, lengths)
    rows = {
        "observations": batch.observation,
        "actions": batch.action,
        "rewards": batch.reward,
        "costs": batch.cost,
        "terminations": batch.terminated,
        "truncations": batch.truncated,
    }
    return Demonstrations(
        **{key: np.asarray(values)[time, column] for key, values in rows.items()},
        lengths=lengths,
        final_observations=np.asarray(batch.next_observation)[lengths - 1, columns],
        constraints=constraints,
        metadata=metadata,
        name=name,
    )
