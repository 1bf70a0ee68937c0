"""Environment steps per second of LOOP on the HalfCheetah, end to end: planning, fits, updates, simulator.

At the thesis' settings, with options that cost less, and as `loop-benchmark` has it at its laptop scale; TD3
beside them, with networks of the same size. Everything runs in one thread of one core, and the unit is
processor time, which hardly feels what else is running. A figure is the difference between a long and a
short training by `surefoot.fit`, so that compiling, opening the run and its last files are not counted. Fits
of the model are, but of one with a few hundred transitions: they cost more as the buffer grows, as
docs/loop.md says.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

from common import SINGLE_THREAD, cores, finish, machine, parser, pin, spread

WARM_UP, SHORT, LONG = 250, 300, 550
"""Steps with random actions, after which the model is fitted first; steps of the two trainings."""


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--core", type=int, default=cores()[0], help="on which everything runs")
    given = options.parse_args()
    about = machine()
    pin([given.core])
    os.environ.update(SINGLE_THREAD)
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ["JAX_PLATFORMS"] = "cpu"
    result = {name: measured(*case, given.rounds) for name, case in cases().items()}
    finish(
        {
            "benchmark": "loop_training",
            "unit": "environment steps a second of one core",
            "machine": about,
            "steps": LONG - SHORT,
            "speed": result,
        },
        given.out,
    )


def cases() -> dict[str, tuple[str, dict[str, Any]]]:
    """Name -> algorithm and its settings."""
    from surefoot.experiments.loop_benchmark import SCALES

    laptop = SCALES["laptop"].options
    return {
        "LOOP": ("loop", {}),
        "LOOP, 1 particle": ("loop", {"particles": 1}),
        "LOOP, horizon 3": ("loop", {"plan_horizon": 3}),
        "only CEM": ("loop", {"terminal": "none"}),
        "LOOP, a plan followed for 2 steps": ("loop", {"plan_every": 2}),
        "TD3": ("td3", {}),
        "LOOP, as in loop-benchmark --scale laptop": ("loop", dict(laptop["loop"])),
        "TD3, as in loop-benchmark --scale laptop": ("td3", dict(laptop["td3"])),
    }


def measured(algorithm: str, settings: dict[str, Any], rounds: int) -> dict[str, float]:
    """Steps a second, from ``rounds`` pairs of trainings and one before that compiles."""
    rates = []
    with tempfile.TemporaryDirectory() as folder:
        for i in range(rounds + 1):
            short, long = (train(algorithm, settings, n, Path(folder) / "run") for n in (SHORT, LONG))
            if i > 0:
                rates.append((LONG - SHORT) / (long - short))
    return spread(rates)


def train(algorithm: str, settings: dict[str, Any], steps: int, folder: Path) -> float:
    """Seconds of processor time of one training."""
    import surefoot as sf

    learner = {"loop": sf.Loop, "td3": sf.Td3}[algorithm]
    given = {
        **{name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()},
        "steps_per_iteration": 1,
        "replay_capacity": 10_000,
        "warm_up": WARM_UP,
    }
    start = time.process_time()
    sf.fit(
        learner(**given),
        sf.make("gymnasium:HalfCheetah-v5", envs=1),
        steps=steps,
        seeds=[0],
        run=folder,
        overwrite=True,
        log_every=50,
        progress=False,
    )
    return time.process_time() - start


if __name__ == "__main__":
    main()
