"""Peak memory of a training, with a small and a large replay buffer: the buffer must never be copied.

The same training, checkpoint included, runs in two fresh processes that differ in the capacity alone. If the
peak grows by the bytes of the buffers and no more, there is no second copy at any time. With several seeds
on a CPU one seed's buffer is copied at a time, so the growth may be that of (seeds + 1) buffers. The
compiled program is asked as well: how much it needs beside its arguments, and how much of its result lies
where an argument lay.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import SINGLE_THREAD, finish, machine, parser

TOLERANCE = 0.5
"""Buffers by which the growth may be off: a quarter is needed outside of the compiled program, and what
compiling takes varies a little. A copy would be 1."""


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--small", type=int, default=200_000, help="transitions")
    options.add_argument("--large", type=int, default=2_000_000, help="transitions")
    options.add_argument("--seeds", type=int, nargs="+", default=[1, 3])
    options.add_argument("--worker", nargs=2, type=int, metavar=("CAPACITY", "SEEDS"), help="used by itself")
    given = options.parse_args()
    if given.worker:
        work(*given.worker)
        return
    about = machine()
    result: dict[str, Any] = {"benchmark": "memory", "unit": "bytes", "machine": about, "seeds": {}}
    for seeds in given.seeds:
        small, large = (measured(capacity, seeds) for capacity in (given.small, given.large))
        buffer = (large["replay"] - small["replay"]) / seeds
        copies = (large["peak"] - small["peak"]) / buffer
        allowed = 1 if seeds == 1 else seeds + 1
        result["seeds"][seeds] = {
            "small": small,
            "large": large,
            "growth_in_buffers": round(copies, 3),
            "buffers_allowed": allowed,
            "no_copy": copies <= allowed + TOLERANCE,
            "temporary_growth_in_buffers": round(
                (large["program"]["temporary"] - small["program"]["temporary"]) / buffer, 3
            ),
        }
    finish(result, given.out)


def measured(capacity: int, seeds: int) -> dict[str, Any]:
    """What a fresh process says."""
    command = [sys.executable, __file__, "--worker", str(capacity), str(seeds)]
    environment = os.environ | SINGLE_THREAD | {"SUREFOOT_CACHE": "off"}  # so that both compile
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def work(capacity: int, seeds: int) -> None:
    """Trains, then prints the peak and what the compiler says."""
    import equinox as eqx
    import jax

    import surefoot as sf
    from surefoot.training import engine

    learner = sf.Scopil(replay_capacity=capacity, warm_up=0)
    world = sf.make("MarbleMaze-v0")
    shown = sf.demonstrations.load("marble-maze/zone")
    with tempfile.TemporaryDirectory() as folder:
        sf.fit(
            learner,
            world,
            demonstrations=shown,
            steps=256,
            seeds=range(seeds),
            run=Path(folder) / "run",
            log_every=128,
            checkpoint_every=0.0,
            progress=False,
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    form = engine.engine_for(learner, world, shown, list(range(seeds)), 2)
    tree = form.start()  # after the peak was read
    index = jax.numpy.asarray(0, jax.numpy.int32)
    program = engine._block.lower((learner, form.keys, index, 2), **tree).compile()  # type: ignore[attr-defined]
    analysis = getattr(program, "compiled", program).memory_analysis()
    data = jax.tree.leaves(eqx.filter(tree["state"].replay, lambda x: hasattr(x, "dtype")))
    print(
        json.dumps(
            {
                "peak": peak,
                "replay": sum(x.size * x.dtype.itemsize for x in data),
                "program": {
                    "arguments": analysis.argument_size_in_bytes,
                    "results": analysis.output_size_in_bytes,
                    "results_in_place": analysis.alias_size_in_bytes,
                    "temporary": analysis.temp_size_in_bytes,
                },
            }
        )
    )


if __name__ == "__main__":
    main()
