"""Decisions of the Marble Maze per second: many mazes side by side, with random actions and restarts.

A decision is 12 frames of physics with contacts, all four constraints, the reward and the observation. On a
CPU the mazes are split over the cores, one device of JAX each; "one core" is the same on the first of them.
"""

from __future__ import annotations

import os
import time
from functools import partial
from typing import Any

from common import cores, finish, machine, parser, pin, spread

TARGET = 500_000
"""Decisions per second on two cores."""


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--envs", type=int, default=4096, help="mazes, a multiple of the cores")
    options.add_argument("--decisions", type=int, default=200, help="of each maze, in a round")
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--cores", type=int, default=min(2, len(cores())))
    given = options.parse_args()
    pin(cores()[: given.cores])
    flags = f"--xla_force_host_platform_device_count={given.cores}"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
    about = machine()
    variants = {"one core": 1, f"{given.cores} cores": given.cores}
    plays = {name: prepare(n, given.envs, given.decisions) for name, n in variants.items()}
    speeds: dict[str, list[tuple[float, float]]] = {name: [] for name in plays}
    for _ in range(given.rounds):
        for name, play in plays.items():
            speeds[name].append(play())
    table = {name: spread([wall for wall, _ in pairs]) for name, pairs in speeds.items()}
    work = {name: spread([busy for _, busy in pairs]) for name, pairs in speeds.items()}
    result = {
        "benchmark": "maze_speed",
        "unit": "decisions per second",
        "envs": given.envs,
        "machine": about,
        "speed": table,
        "decisions_per_processor_second": work,
        "target": TARGET,
        "reached": table[f"{given.cores} cores"]["median"] >= TARGET,
    }
    finish(result, given.out)


def prepare(devices: int, envs: int, decisions: int) -> Any:
    """A function that plays one round and returns decisions per second, by the wall and by the processor."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    from surefoot.envs.marble_maze import MarbleMaze

    env = MarbleMaze(constraints=("zone", "speed", "tilt", "contact"))
    mesh = Mesh(np.array(jax.devices()[:devices]), ("envs",))
    split, everywhere = NamedSharding(mesh, PartitionSpec("envs")), NamedSharding(mesh, PartitionSpec())

    def decide(carry: Any, key: Any) -> tuple[Any, None]:
        states, totals = carry
        key_act, key_reset = jax.random.split(key)
        states, result = jax.vmap(env.step)(states, jax.random.randint(key_act, (envs,), 0, 9))
        seen = jax.vmap(env.observe)(states)
        # Everything that a step yields is used, or the compiler would leave it out.
        totals += result.reward + result.cost.sum(1) + seen.sum(1) + result.success
        done = result.terminated | result.truncated
        fresh = jax.vmap(env.reset)(jax.random.split(key_reset, envs))
        states = jax.tree.map(
            lambda new, old: jnp.where(done.reshape(-1, *[1] * (old.ndim - 1)), new, old), fresh, states
        )
        return (states, totals), None

    @partial(jax.jit, donate_argnums=0, out_shardings=split)
    def play(carry: Any, key: Any) -> Any:
        return jax.lax.scan(decide, carry, jax.random.split(key, decisions))[0]

    carry = (jax.vmap(env.reset)(jax.random.split(jax.random.key(0), envs)), jnp.zeros(envs))
    carry = jax.device_put(carry, split)
    turn = 0

    def timed() -> tuple[float, float]:
        """Decisions per second of the wall's clock, and per second that a processor worked."""
        nonlocal carry, turn
        turn += 1
        key = jax.device_put(jax.random.key(turn), everywhere)
        start, busy = time.perf_counter(), time.process_time()
        carry = play(carry, key)
        jax.block_until_ready(carry)
        n = envs * decisions
        return n / (time.perf_counter() - start), n / (time.process_time() - busy)

    timed()  # compiles
    timed()
    return timed


if __name__ == "__main__":
    main()
