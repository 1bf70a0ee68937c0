"""What methods share whose iteration is several rounds of collecting and learning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from surefoot.algorithms.learner import Metrics
from surefoot.data.trajectories import over_rounds
from surefoot.worlds.world import World


def last_round(metrics: dict[str, Float[Array, " rounds"]]) -> Metrics:
    """The metrics of the last of several rounds."""
    return {name: values[-1] for name, values in metrics.items()}


def in_rounds(
    one: Callable[[Any, Any, PRNGKeyArray], tuple[Any, Any, Metrics]],
    state: Any,
    world: World,
    key: PRNGKeyArray,
    rounds: int,
    *,
    reduce: Callable[[dict[str, Any]], Metrics] = over_rounds,
) -> tuple[Any, World, Metrics]:
    """``one(state, world, key)`` again and again, compiled where the world can be.

    ``reduce`` makes of metrics ``[rounds]`` those of the iteration: by default those of all rounds together.
    """
    keys = jax.random.split(key, rounds)
    if world.compiled:
        # A world may hold what is no array, such as a function that gives its reward; a scan carries arrays.
        arrays, rest = eqx.partition((state, world), eqx.is_array)

        def step(arrays: Any, key: PRNGKeyArray) -> tuple[Any, Metrics]:
            state, world = eqx.combine(arrays, rest)
            state, world, metrics = one(state, world, key)
            return eqx.filter((state, world), eqx.is_array), metrics

        arrays, metrics = jax.lax.scan(step, arrays, keys)
        state, world = eqx.combine(arrays, rest)
    else:
        each = []
        for one_key in keys:
            state, world, found = one(state, world, one_key)
            each.append(found)
        metrics = {name: jnp.stack([jnp.asarray(found[name]) for found in each]) for name in each[0]}
    return state, world, reduce(metrics)
