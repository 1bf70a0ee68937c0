"""Policies played for whole episodes: one compiled call for all seeds where the world compiles."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PRNGKeyArray, PyTree

from surefoot.data.trajectories import Trajectories
from surefoot.errors import SurefootError, check_range, unknown
from surefoot.evaluation.episodes import EpisodeTable
from surefoot.networks.policies import Mode, WarmUp
from surefoot.training.policy_io import revive
from surefoot.worlds.world import Acts, Episodes, Remembers, World

__all__ = ["MODES", "EpisodeTable", "revive", "rollout", "stack"]

MODES = {
    "sample": "actions drawn from the policy, as in training",
    "greedy": "the policy's most probable action (or its mean)",
}


def stack(policies: Sequence[PyTree]) -> PyTree:
    """One pytree with a leading seeds axis from one policy a seed."""
    if not policies:
        raise SurefootError("There is no policy to evaluate.")
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *policies)


def rollout(
    world: World,
    policies: PyTree,
    episodes: int,
    key: PRNGKeyArray,
    mode: str = "sample",
    keep: int | None = None,
) -> tuple[EpisodeTable, dict[str, np.ndarray]]:
    """Plays ``episodes`` whole episodes with each policy.

    ``policies`` is a policy with a leading seeds axis on every array (:func:`stack`). Seed i uses
    ``fold_in(key, i)``, so that two methods which are given the same key meet the same starts.
    The paths of the first ``keep`` episodes of each seed are kept (``None``: all).

    Returns also what the policies' memories report, by name: means over the steps of each episode,
    ``[seeds, episodes]``; nothing for policies that report nothing.

    Raises :class:`SurefootError` for fewer than one episode, an unknown mode, and ``greedy`` asked of a
    policy without ``mode()``.
    """
    check_range("episodes", episodes, low=1)
    if mode not in MODES:
        raise unknown("mode", mode, MODES)
    if isinstance(policies, WarmUp):
        policies = policies.policy
    if mode == "greedy" and not isinstance(policies, Remembers):  # a planner has no other mode
        if not hasattr(policies, "mode"):
            raise SurefootError(f"{type(policies).__name__} has no mode(); evaluate it with mode='sample'.")
        policies = Mode(policies)
    leaves = [leaf for leaf in jax.tree.leaves(policies) if eqx.is_array(leaf)]
    seeds = leaves[0].shape[0] if leaves else 1
    kept = episodes if keep is None else min(keep, episodes)
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(seeds))
    if world.compiled:
        tables = jax.tree.map(np.asarray, _play_all(world, policies, episodes, kept, keys))
        rows = [jax.tree.map(lambda x, i=i: x[i], tables) for i in range(seeds)]
    else:
        rows = []
        for index in range(seeds):
            policy = jax.tree.map(lambda x, i=index: x[i] if eqx.is_array(x) else x, policies)
            key_fresh, key_play = jax.random.split(keys[index])
            _, batch = world.fresh(key_fresh).collect(policy, Episodes(episodes), key_play)
            rows.append(_columns(jax.tree.map(np.asarray, batch), kept, np))
    reports = [row.pop("report") for row in rows]
    return _join(rows), {name: np.stack([each[name] for each in reports]) for name in reports[0]}


@eqx.filter_jit
def _play_all(
    world: World, policies: PyTree, episodes: int, keep: int, keys: Key[Array, " seeds"]
) -> dict[str, Any]:
    def play(policy: Acts, key: PRNGKeyArray) -> dict[str, Any]:
        _, batch = world.collect(policy, Episodes(episodes), key)
        return _columns(batch, keep, jnp)

    return eqx.filter_vmap(play, in_axes=(eqx.if_array(0), 0))(policies, keys)


def _columns(batch: Trajectories, keep: int, xp: ModuleType) -> dict[str, Any]:
    """One seed's rows of an :class:`EpisodeTable` from a batch of whole episodes ``[time, episodes]``.

    ``xp`` is ``jax.numpy`` inside a compiled call, ``numpy`` for a world on the host.
    """
    lengths = xp.sum(batch.valid, axis=0)
    last = xp.maximum(lengths - 1, 0)
    column = xp.arange(len(lengths))
    # Observations 0 .. T: the one before each step, then the successor of the last; padding repeats it.
    seen = xp.concatenate([batch.observation[:1, :keep], batch.next_observation[:, :keep]])
    index = xp.minimum(xp.arange(len(seen))[:, None], lengths[None, :keep])
    violations = (batch.cost[:, :keep] > 0) & batch.valid[:, :keep, None]
    return {
        "returns": batch.totals.reward[last, column],
        "lengths": lengths,
        "success": xp.any(batch.success & batch.valid, axis=0),
        "violating_steps_any": batch.totals.any_violating_steps[last, column],
        "costs": batch.totals.cost[last, column],
        "violating_steps": batch.totals.violating_steps[last, column],
        "paths": xp.swapaxes(seen[index, column[None, :keep]], 0, 1),
        "path_violations": xp.swapaxes(violations, 0, 1),
        "report": {name: _mean(x, batch.valid, xp) for name, x in (batch.report or {}).items()},
    }


def _mean(values: Any, valid: Any, xp: ModuleType) -> Any:
    """Of each column, over what is valid and a number; NaN where nothing is."""
    counts = valid & xp.isfinite(values)
    number = xp.sum(counts, axis=0)
    total = xp.sum(xp.where(counts, values, 0.0), axis=0)
    return xp.where(number > 0, total / xp.maximum(number, 1), xp.nan)


def _join(rows: list[dict[str, np.ndarray]]) -> EpisodeTable:
    """One table from one dictionary a seed; a world on the host may pad each seed to its own length."""
    longest = max(row["path_violations"].shape[1] for row in rows)

    def pad(row: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        missing = longest - row["path_violations"].shape[1]
        width = ((0, 0), (0, missing), (0, 0))
        return row | {
            "paths": np.pad(row["paths"], width, mode="edge"),
            "path_violations": np.pad(row["path_violations"], width),
        }

    padded = [pad(row) for row in rows]
    return EpisodeTable(**{name: np.stack([row[name] for row in padded]) for name in padded[0]})
