"""Microseconds per gradient update of SAC for continuous actions, beside stable-baselines3 and sbx-rl.

Sizes of the MuJoCo experiments: two hidden layers of 64, batches of 100 and 256, 11 observations, 3 actions,
1,000,000 transitions (Hopper). Ours is what the driver runs: blocks of iterations of 50 updates through
surefoot.training.engine, with a world that costs nothing, so an update includes drawing its batch and storing
what was collected. A round times every variant once, the peers in between; all processes take turns on one
core. Ratios are of medians.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from common import HERE, Worker, cores, finish, machine, parser, spread

PEER = HERE / ".venv-peer-sac" / "bin" / "python"
OBS, ACT, REPLAY = 11, 3, 1_000_000
BATCHES = (100, 256)
STEPS = 50
"""Environment steps, and so updates, an iteration."""


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--hidden", type=int, default=64, help="width of both hidden layers")
    options.add_argument("--iterations", type=int, default=20, help="of 50 updates, in a round")
    options.add_argument("--core", type=int, default=cores()[0], help="on which everything runs")
    options.add_argument("--peer", type=Path, default=PEER, help="Python with stable-baselines3 and sbx-rl")
    options.add_argument("--no-peer", action="store_true", help="time ours alone")
    options.add_argument("--worker", action="store_true", help="used by this program itself")
    given = options.parse_args()
    if given.worker:
        work(given.hidden, given.iterations)
        return
    if not given.no_peer and not given.peer.exists():
        sys.exit(
            f"error: {given.peer} is missing; make it with benchmarks/peer_sac_env.sh, or give --no-peer."
        )
    about = machine()
    sizes = [f"--hidden={given.hidden}"]
    own = [sys.executable, __file__, "--worker", f"--iterations={given.iterations}", *sizes]
    workers = {"surefoot": Worker(own, core=given.core)}
    if not given.no_peer:
        sizes += [f"--obs={OBS}", f"--act={ACT}", f"--replay={REPLAY}", f"--updates={STEPS}"]
        for library in ("sb3", "sbx"):
            command = [str(given.peer), str(HERE / "peer_sac.py"), library, *sizes]
            workers[library] = Worker([*command, *map(str, BATCHES)], core=given.core)
    times: dict[str, list[list[float]]] = {}
    for _ in range(given.rounds):
        for library, worker in workers.items():
            for name, pair in worker.round().items():
                times.setdefault(f"{library}/{name}", []).append(pair)
    for worker in workers.values():
        worker.close()
    result = {
        "benchmark": "sac_update",
        "unit": "microseconds per gradient update",
        "sizes": {"obs": OBS, "act": ACT, "hidden": [given.hidden] * 2, "replay": REPLAY},
        "machine": about | {name: value for w in workers.values() for name, value in w.about.items()},
    }
    for index, clock in enumerate(("wall", "processor")):  # processor time hardly feels what else is running
        table = {name: spread([pair[index] for pair in pairs]) for name, pairs in times.items()}
        result[clock] = table
        result[f"{clock}_ratios"] = {
            f"{peer} / surefoot/batch {batch}": round(
                table[peer]["median"] / table[f"surefoot/batch {batch}"]["median"], 2
            )
            for batch in BATCHES
            for peer in table
            if not peer.startswith("surefoot") and f"batch {batch}" in peer
        }
    finish(result, given.out)


def work(hidden: int, iterations: int) -> None:
    """Sets up every variant, then times a round at each line on standard input."""
    import jax

    variants = {f"batch {batch}": prepare(hidden, batch, iterations) for batch in BATCHES}
    print("@" + json.dumps({"jax_devices": str(jax.devices())}), flush=True)
    for _ in sys.stdin:
        print("@" + json.dumps({name: play() for name, play in variants.items()}), flush=True)


def prepare(hidden: int, batch: int, iterations: int) -> Any:
    """A function that plays one block: microseconds per update, by the wall and by the processor."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    from surefoot.algorithms.rl.sac import Sac
    from surefoot.training.engine import engine_for

    learner = Sac(
        hidden=(hidden, hidden),
        batch_size=batch,
        replay_capacity=REPLAY,
        steps_per_iteration=STEPS,
        warm_up=0,
    )
    engine = engine_for(learner, still_world(), None, [0], iterations)
    tree = engine.start()

    def full(replay: Any) -> Any:
        """With random numbers in every row, so that drawing reads all of the memory."""
        keys = iter(jax.random.split(jax.random.key(0), 8))
        data = jax.tree.map(lambda x: jax.random.uniform(next(keys), x.shape, minval=-1.0), replay.data)
        data = eqx.tree_at(lambda d: d.terminated, data, jnp.zeros_like(data.terminated))
        return eqx.tree_at(lambda r: (r.data, r.size), replay, (data, jnp.full_like(replay.size, REPLAY)))

    tree["state"] = eqx.tree_at(lambda s: s.replay, tree["state"], full(tree["state"].replay))
    done = 0

    def play() -> tuple[float, float]:
        nonlocal tree, done
        start, busy = time.perf_counter(), time.process_time()
        tree, _, finite = engine.run(tree, done)
        jax.block_until_ready(tree)
        assert finite.all()
        done += iterations
        updates = iterations * STEPS
        return (time.perf_counter() - start) / updates * 1e6, (time.process_time() - busy) / updates * 1e6

    play()  # compiles
    play()
    return play


def still_world() -> Any:
    """A world whose experience is one recorded block of random numbers: collecting it costs nothing."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    from surefoot.data.trajectories import Totals, Trajectories
    from surefoot.task import Box, Task

    def box(n: int) -> Box:
        return Box((n,), (-1.0,) * n, (1.0,) * n)

    class Still(eqx.Module):
        batch: Trajectories
        compiled = True

        @property
        def task(self) -> Task:
            return Task("Still-v0", box(OBS), box(ACT))

        def fresh(self, key: Any) -> Still:
            return self

        def collect(self, policy: Any, amount: Any, key: Any) -> tuple[Still, Trajectories]:
            return self, self.batch

    keys = jax.random.split(jax.random.key(1), 4)
    shape = (5, STEPS // 5)
    no, zero, whole = jnp.zeros(shape, bool), jnp.zeros(shape), jnp.zeros(shape, jnp.int32)
    none = jnp.zeros((*shape, 0))
    batch = Trajectories(
        observation=jax.random.normal(keys[0], (*shape, OBS)),
        action=jax.random.uniform(keys[1], (*shape, ACT), minval=-1.0),
        reward=jax.random.normal(keys[2], shape),
        cost=none,
        next_observation=jax.random.normal(keys[3], (*shape, OBS)),
        terminated=no,
        truncated=no,
        success=no,
        valid=~no,
        totals=Totals(zero, whole, none, none.astype(jnp.int32), whole),
    )
    return Still(batch)


if __name__ == "__main__":
    main()
