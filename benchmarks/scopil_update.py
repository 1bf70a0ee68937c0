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
from pathlib import Path
from typing import Any

from common import HERE, Worker, cores, finish, machine, parser
from updates import block, in_turns, still_world, tables

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
    times = in_turns(workers, given.rounds)
    result = {
        "benchmark": "scopil_update",
        "unit": "microseconds per gradient update and seed",
        "sizes": {"obs": OBS, "actions": ACTIONS, "hidden": [HIDDEN] * 2, "batch": BATCH, "replay": REPLAY},
        "machine": about | {name: value for w in workers.values() for name, value in w.about.items()},
        **tables(times, lambda peer, mine: True),
    }
    finish(result, given.out)


def work(iterations: int, seeds: int) -> None:
    """Sets up every variant, then times a round at each line on standard input."""
    import jax

    from surefoot.algorithms.imitation.scopil import Scopil
    from surefoot.algorithms.rl.discrete_sac import DiscreteSac
    from surefoot.task import Discrete

    sizes: dict[str, Any] = {
        "hidden": (HIDDEN, HIDDEN),
        "batch_size": BATCH,
        "replay_capacity": REPLAY,
        "steps_per_iteration": STEPS,
        "updates_per_step": 1.0,
        "warm_up": 0,
    }
    few = max(1, iterations // seeds)
    world, shown = still_world(OBS, Discrete(ACTIONS), STEPS), demonstrations()
    variants = {
        "sac, 1 seed": block(DiscreteSac(**sizes), world, shown, 1, iterations),
        "scopil, 1 seed": block(Scopil(**sizes), world, shown, 1, iterations),
        f"scopil, {seeds} seeds": block(Scopil(**sizes), world, shown, seeds, few),
    }
    print("@" + json.dumps({"jax_devices": str(jax.devices())}), flush=True)
    for _ in sys.stdin:
        print("@" + json.dumps({name: play() for name, play in variants.items()}), flush=True)


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
