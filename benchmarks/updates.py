"""What benchmarks of a gradient update share: a world that costs nothing, timed blocks, turns with a peer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from common import Worker, spread

CLOCKS = ("wall", "processor")
"""Processor time hardly feels what else is running."""
Times = dict[str, list[tuple[float, float]]]
"""``library/variant`` -> microseconds an update by both clocks, a pair a round."""


def in_turns(workers: Mapping[str, Worker], rounds: int) -> dict[str, list[Any]]:
    """``library/variant`` -> what its worker says of it, a value a round, in turns; closes the workers."""
    times: dict[str, list[Any]] = {}
    for _ in range(rounds):
        for library, worker in workers.items():
            for name, pair in worker.round().items():
                times.setdefault(f"{library}/{name}", []).append(pair)
    for worker in workers.values():
        worker.close()
    return times


def tables(times: Times, compared: Callable[[str, str], bool]) -> dict[str, Any]:
    """Spread of each variant by each clock, and ratios of medians of a peer's to ours where ``compared``."""
    result: dict[str, Any] = {}
    ours = [name for name in times if name.startswith("surefoot/")]
    peers = [name for name in times if name not in ours]
    for index, clock in enumerate(CLOCKS):
        table = {name: spread([pair[index] for pair in pairs]) for name, pairs in times.items()}
        result[clock] = table
        result[f"{clock}_ratios"] = {
            f"{peer} / {mine}": round(table[peer]["median"] / table[mine]["median"], 2)
            for peer in peers
            for mine in ours
            if compared(peer, mine)
        }
    return result


def block(
    learner: Any, world: Any, demonstrations: Any, seeds: int, iterations: int
) -> Callable[[], tuple[float, float]]:
    """Plays a block of iterations: microseconds per update and seed, by both clocks. Compiles first."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    from surefoot.training.engine import engine_for

    engine = engine_for(learner, world, demonstrations, list(range(seeds)), iterations)
    tree = engine.start()

    def full(replay: Any) -> Any:
        """With random numbers in every row, so that drawing reads all of the memory."""
        keys = iter(jax.random.split(jax.random.key(0), 8))
        data = jax.tree.map(
            lambda x: x if x.dtype == jnp.int32 else jax.random.uniform(next(keys), x.shape, minval=-1.0),
            replay.data,
        )
        data = eqx.tree_at(lambda d: d.terminated, data, jnp.zeros_like(data.terminated))
        size = jnp.full_like(replay.size, learner.replay_capacity)
        return eqx.tree_at(lambda r: (r.data, r.size), replay, (data, size))

    tree["state"] = eqx.tree_at(lambda s: s.replay, tree["state"], full(tree["state"].replay))
    done = 0

    def play() -> tuple[float, float]:
        nonlocal tree, done
        start, busy = time.perf_counter(), time.process_time()
        tree, _, finite = engine.run(tree, done)
        jax.block_until_ready(tree)
        assert finite.all()
        done += iterations
        updates = iterations * learner.steps_per_iteration * seeds
        return (time.perf_counter() - start) / updates * 1e6, (time.process_time() - busy) / updates * 1e6

    play()  # compiles
    play()
    return play


def still_world(observations: int, action: Any, steps: int) -> Any:
    """A world whose experience is one block of ``steps`` random numbers, so that to collect it costs nothing.

    ``action`` is the task's space of actions, :class:`surefoot.task.Box` or :class:`surefoot.task.Discrete`.
    """
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    from surefoot.data.trajectories import Totals, Trajectories
    from surefoot.task import Discrete, Task

    class Still(eqx.Module):
        batch: Trajectories
        compiled = True

        @property
        def task(self) -> Task:
            return Task("Still-v0", unit_box(observations), action)

        def fresh(self, key: Any) -> Still:
            return self

        def collect(self, policy: Any, amount: Any, key: Any) -> tuple[Still, Trajectories]:
            return self, self.batch

    keys = jax.random.split(jax.random.key(1), 4)
    shape = (2, steps // 2)
    no, zero, whole = jnp.zeros(shape, bool), jnp.zeros(shape), jnp.zeros(shape, jnp.int32)
    none = jnp.zeros((*shape, 0))
    batch = Trajectories(
        observation=jax.random.normal(keys[0], (*shape, observations)),
        action=jax.random.randint(keys[1], shape, 0, action.n)
        if isinstance(action, Discrete)
        else jax.random.uniform(keys[1], (*shape, action.size), minval=-1.0),
        reward=jax.random.normal(keys[2], shape),
        cost=none,
        next_observation=jax.random.normal(keys[3], (*shape, observations)),
        terminated=no,
        truncated=no,
        success=no,
        valid=~no,
        totals=Totals(zero, whole, none, none.astype(jnp.int32), whole),
    )
    return Still(batch)


def unit_box(size: int) -> Any:
    """Real numbers in [-1, 1]."""
    from surefoot.task import Box

    return Box((size,), (-1.0,) * size, (1.0,) * size)
