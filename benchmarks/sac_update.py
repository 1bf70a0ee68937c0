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
from collections.abc import Callable
from pathlib import Path

from common import HERE, Worker, cores, finish, machine, parser
from updates import block, in_turns, still_world, tables, unit_box

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
    times = in_turns(workers, given.rounds)
    result = {
        "benchmark": "sac_update",
        "unit": "microseconds per gradient update",
        "sizes": {"obs": OBS, "act": ACT, "hidden": [given.hidden] * 2, "replay": REPLAY},
        "machine": about | {name: value for w in workers.values() for name, value in w.about.items()},
        **tables(times, lambda peer, mine: mine.partition("/")[2] in peer),
    }
    finish(result, given.out)


def work(hidden: int, iterations: int) -> None:
    """Sets up every variant, then times a round at each line on standard input."""
    import jax

    variants = {f"batch {batch}": prepare(hidden, batch, iterations) for batch in BATCHES}
    print("@" + json.dumps({"jax_devices": str(jax.devices())}), flush=True)
    for _ in sys.stdin:
        print("@" + json.dumps({name: play() for name, play in variants.items()}), flush=True)


def prepare(hidden: int, batch: int, iterations: int) -> Callable[[], tuple[float, float]]:
    """A function that plays one block."""
    from surefoot.algorithms.rl.sac import Sac

    learner = Sac(
        hidden=(hidden, hidden),
        batch_size=batch,
        replay_capacity=REPLAY,
        steps_per_iteration=STEPS,
        warm_up=0,
    )
    return block(learner, still_world(OBS, unit_box(ACT), STEPS), None, 1, iterations)


if __name__ == "__main__":
    main()
