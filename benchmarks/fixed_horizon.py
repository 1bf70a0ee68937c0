"""Steps per second of worlds of the fixed-horizon bodies: many stepped together, beside one after another.

Both are worlds of ``sf.make`` with ten bodies, played by a fresh SAC policy with two layers of 64, so that
acting and recording are counted; both see the same numbers. One core; the two take turns round by round.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from common import SINGLE_THREAD, cores, finish, machine, parser, pin, spread

NAMES = ("FixedHopper-v0", "FixedWalker2d-v0", "FixedHalfCheetah-v0", "FixedAnt-v0")


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--steps", type=int, default=3_000, help="of a round")
    options.add_argument("--rounds", type=int, default=7)
    given = options.parse_args()
    pin(cores()[:1])
    os.environ |= SINGLE_THREAD
    about = machine()
    table = {}
    for name in NAMES:
        plays = {
            "together": play(name, given.steps),
            "one by one": play(f"gymnasium:surefoot/{name}", given.steps),
        }
        rates: dict[str, list[float]] = {kind: [] for kind in plays}
        for _ in range(given.rounds):
            for kind, one in plays.items():
                rates[kind].append(one())
        ratios = [a / b for a, b in zip(rates["together"], rates["one by one"], strict=True)]
        table[name] = {kind: spread(values) for kind, values in rates.items()} | {"ratio": spread(ratios)}
    finish(
        {
            "benchmark": "fixed_horizon",
            "unit": "steps per processor-second",
            "results": table,
            "machine": about,
        },
        given.out,
    )


def play(name: str, steps: int) -> Callable[[], float]:
    """A function that goes on in that world and returns its rate."""
    import jax

    import surefoot as sf
    from surefoot.worlds.world import Steps

    world = sf.make(name, envs=10)
    learner = sf.Sac()
    policy = learner.init(world.task, jax.random.key(0)).agent.actor
    world, _ = world.collect(policy, Steps(1_000), jax.random.key(1))
    keys = iter(jax.random.split(jax.random.key(2), 1_000))

    def one() -> float:
        nonlocal world
        began = time.process_time()
        world, _ = world.collect(policy, Steps(steps), next(keys))
        return steps / (time.process_time() - began)

    return one


if __name__ == "__main__":
    main()
