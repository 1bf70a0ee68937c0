"""Environment steps per second of LOOP on the HalfCheetah, end to end: planning, fits, updates, simulator.

At the thesis' settings, and as `loop-benchmark` has it at its laptop scale; TD3 beside it, with networks of
the same size. Everything runs in one thread of one core, and the unit is processor time, which hardly feels
what else is running. A figure is the difference between a long and a short training by `surefoot.fit`, so
that compiling, opening the run and its last files are not counted. Fits of the model are, but of one with a
few hundred transitions: they cost more as the buffer grows, as docs/loop.md says.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from common import cores, finish, machine, one_thread, parser, pin, spread

WARM_UP, SHORT = 250, 260
"""Steps with random actions, after which the model is fitted first; steps of the short training."""


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=3, help="pairs of trainings a case")
    options.add_argument("--core", type=int, default=cores()[0], help="on which everything runs")
    given = options.parse_args()
    about = machine()
    pin([given.core])
    one_thread()
    result = {}
    for name, case in cases().items():
        result[name] = measured(*case, given.rounds)
        print(name, result[name], flush=True)
    finish(
        {
            "benchmark": "loop_training",
            "unit": "environment steps a second of one core",
            "machine": about,
            "speed": result,
        },
        given.out,
    )


def cases() -> dict[str, tuple[str, dict[str, Any], int]]:
    """Name -> algorithm, its settings, and by how many steps the long training is longer."""
    from surefoot.experiments.loop_benchmark import SCALES

    laptop = SCALES["laptop"].options
    return {
        "LOOP": ("loop", {}, 150),
        "TD3": ("td3", {}, 1_500),
        "LOOP, as in loop-benchmark --scale laptop": ("loop", dict(laptop["loop"]), 1_500),
        "TD3, as in loop-benchmark --scale laptop": ("td3", dict(laptop["td3"]), 3_000),
    }


def measured(algorithm: str, settings: dict[str, Any], more: int, rounds: int) -> dict[str, float]:
    """Steps a second, from ``rounds`` pairs of trainings; one before fills the cache of compiled code."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        train(algorithm, settings, SHORT, run)
        pairs = [
            [train(algorithm, settings, steps, run) for steps in (SHORT, SHORT + more)] for _ in range(rounds)
        ]
    return {"steps": more, **spread([more / (long - short) for short, long in pairs])}


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
