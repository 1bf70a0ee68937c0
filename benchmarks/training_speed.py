"""Environment steps per second of a whole training by surefoot.fit, without compiling.

SCOPIL with its defaults on the Marble Maze: collecting, one gradient update an environment step, metrics,
checkpoints, export of the policy. A first training of the same form compiles everything and is not counted.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from common import finish, machine, parser, spread


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--steps", type=int, default=10_240, help="environment steps a seed")
    options.add_argument("--seeds", type=int, nargs="+", default=[1, 5])
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--demos", default="marble-maze/zone")
    given = options.parse_args()
    about = machine()
    result: dict[str, Any] = {
        "benchmark": "training_speed",
        "unit": "environment steps per second, all seeds together",
        "steps": given.steps,
        "machine": about,
        "speed": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        for seeds in given.seeds:
            train(given.demos, given.steps // 2, seeds, Path(folder) / f"first-{seeds}")
            speeds = [
                train(given.demos, given.steps, seeds, Path(folder) / f"{seeds}-{i}")
                for i in range(given.rounds)
            ]
            result["speed"][f"{seeds} seed{'s' * (seeds > 1)}"] = spread(speeds)
    finish(result, given.out)


def train(demos: str, steps: int, seeds: int, folder: Path) -> float:
    """Environment steps per second of one training."""
    import surefoot as sf

    learner = sf.Scopil(warm_up=0)
    world = sf.make("MarbleMaze-v0", constraints=("zone",))
    shown = sf.demonstrations.load(demos)
    start = time.perf_counter()
    run = sf.fit(
        learner,
        world,
        demonstrations=shown,
        steps=steps,
        seeds=range(seeds),
        run=folder,
        log_every=1024,
        progress=False,
    )
    return run.progress * seeds / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
