"""Microseconds per gradient update of SCOPIL and discrete SAC, beside d3rlpy's discrete SAC.

Sizes of the paper: two hidden layers of 32, batches of 256, 8 observations, 9 actions, 200,000 transitions.
Ours is what the driver runs: blocks of iterations through surefoot.training.engine, with a world that costs
nothing, so an update includes drawing its batches and storing what was collected. One update of SCOPIL draws
two batches (replay and demonstrations). A round times every variant once, the peer in between; all
processes take turns on one core. Ratios are of medians.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from common import HERE, Worker, cores, finish, machine, parser, spread

PEER = HERE / ".venv-peer" / "bin" / "python"
OBS, ACTIONS, HIDDEN, BATCH, REPLAY = 8, 9, 32, 256, 200_000
STEPS = 64
"""Environment steps, and so updates, an iteration."""


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--iterations", type=int, default=30, help="of 64 updates, in a round of one seed")
    options.add_argument("--seeds", type=int, default=5, help="for the variant with several seeds")
    options.add_argument("--core", type=int, default=cores()[0], help="on which everything runs")
    options.add_argument("--peer", type=Path, default=PEER, help="Python with d3rlpy")
    options.add_argument("--no-peer", action="store_true", help="time ours alone")
    options.add_argument("--worker", action="store_true", help="used by this program itself")
    given = options.parse_args()
    if given.worker:
        work(given.iterations, given.seeds)
        return
    if not given.no_peer and not given.peer.exists():
        sys.exit(f"error: {given.peer} is missing; make it with benchmarks/peer_env.sh, or give --no-peer.")
    about = machine()
    own = [sys.executable, __file__, "--worker", f"--iterations={given.iterations}", f"--seeds={given.seeds}"]
    workers = {"surefoot": Worker(own, core=given.core)}
    if not given.no_peer:
        workers["d3rlpy"] = Worker([str(given.peer), str(HERE / "peer_d3rlpy.py")], core=given.core)
    times: dict[str, list[list[float]]] = {}
    for _ in range(given.rounds):
        for library, worker in workers.items():
            for name, pair in worker.round().items():
                times.setdefault(f"{library}/{name}", []).append(pair)
    for worker in workers.values():
        worker.close()
    result = {
        "benchmark": "scopil_update",
        "unit": "microseconds per gradient update and seed",
        "sizes": {"obs": OBS, "actions": ACTIONS, "hidden": [HIDDEN] * 2, "batch": BATCH, "replay": REPLAY},
        "machine": about | {name: value for w in workers.values() for name, value in w.about.items()},
    }
    for index, clock in enumerate(("wall", "processor")):  # processor time hardly feels what else is running
        table = {name: spread([pair[index] for pair in pairs]) for name, pairs in times.items()}
        result[clock] = table
        result[f"{clock}_ratios"] = {
            f"{peer} / {mine}": round(table[peer]["median"] / table[mine]["median"], 2)
            for peer in table
            if peer.startswith("d3rlpy")
            for mine in table
            if mine.startswith("surefoot")
        }
    finish(result, given.out)


def work(iterations: int, seeds: int) -> None:
    """Sets up every variant, then times a round at each line on standard input."""
    import jax

    from surefoot.algorithms.imitation.scopil import Scopil
    from surefoot.algorithms.rl.discrete_sac import DiscreteSac

    sizes: dict[str, Any] = {
        "hidden": (HIDDEN, HIDDEN),
        "batch_size": BATCH,
        "replay_capacity": REPLAY,
        "steps_per_iteration": STEPS,
        "updates_per_step": 1.0,
        "warm_up": 0,
    }
    few = max(1, iterations // seeds)
    variants = {
        "sac, 1 seed": prepare(DiscreteSac(**sizes), 1, iterations),
        "scopil, 1 seed": prepare(Scopil(**sizes), 1, iterations),
        f"scopil, {seeds} seeds": prepare(Scopil(**sizes), seeds, few),
    }
    print("@" + json.dumps({"jax_devices": str(jax.devices())}), flush=True)
    for _ in sys.stdin:
        print("@" + json.dumps({name: play() for name, play in variants.items()}), flush=True)


def prepare(learner: Any, seeds: int, iterations: int) -> Any:
    """A function that plays one block: microseconds per update and seed, by the wall and by the processor."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    from surefoot.training.engine import engine_for

    engine = engine_for(learner, still_world(), demonstrations(), list(range(seeds)), iterations)
    tree = engine.start()

    def full(replay: Any) -> Any:
        """With random numbers in every row, so that drawing reads all of the memory."""
        data = jax.tree.map(
            lambda x: x if x.dtype == jnp.int32 else jax.random.normal(jax.random.key(0), x.shape),
            replay.data,
        )
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
        updates = iterations * STEPS * seeds
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
    from surefoot.task import Box, Discrete, Task

    class Still(eqx.Module):
        batch: Trajectories
        compiled = True

        @property
        def task(self) -> Task:
            bound = (1.0,) * OBS
            return Task("Still-v0", Box((OBS,), tuple(-b for b in bound), bound), Discrete(ACTIONS))

        def fresh(self, key: Any) -> Still:
            return self

        def collect(self, policy: Any, amount: Any, key: Any) -> tuple[Still, Trajectories]:
            return self, self.batch

    keys = jax.random.split(jax.random.key(1), 4)
    shape = (4, STEPS // 4)
    no, zero, whole = jnp.zeros(shape, bool), jnp.zeros(shape), jnp.zeros(shape, jnp.int32)
    none = jnp.zeros((*shape, 0))
    batch = Trajectories(
        observation=jax.random.normal(keys[0], (*shape, OBS)),
        action=jax.random.randint(keys[1], shape, 0, ACTIONS),
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


def demonstrations() -> Any:
    """20,000 random pairs, about as many as the bundled sets have."""
    import numpy as np

    from surefoot.data.demonstrations import Demonstrations

    rng, n = np.random.default_rng(0), 20_000
    no = np.zeros(n, bool)
    return Demonstrations(
        observations=rng.normal(size=(n, OBS)),
        actions=rng.integers(ACTIONS, size=n),
        rewards=np.zeros(n),
        costs=np.zeros((n, 0)),
        terminations=no,
        truncations=no,
        lengths=np.array([n]),
        final_observations=np.zeros((1, OBS)),
    )


if __name__ == "__main__":
    main()
