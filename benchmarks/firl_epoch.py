"""One epoch of f-IRL in the Reacher's density setting: how long, which part of it, and how much memory.

An epoch is ten episodes of SAC (300 steps, as many updates), 1000 trajectories of the policy (30,000 states),
a kernel density fitted to them and evaluated at them, and two steps of the reward. The driver can also
estimate both divergences from the expert's 10,000 draws (kl_every), which is timed apart.

Parts are compiled and timed one by one; `whole` is the epoch as the driver runs it. `memory` is what the
compiler sets aside for line 3 of the box with so many trajectories: if anything held a matrix of states by
states it would grow with the square.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from common import cores, finish, machine, parser, pin, spread

SIZES = (250, 500, 1_000, 2_000)
"""Trajectories of 30 states."""


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--seeds", type=int, nargs="+", default=[1, 3], help="in one process, for `whole`")
    options.add_argument("--core", type=int, default=cores()[0], help="on which everything runs")
    given = options.parse_args()
    pin([given.core])
    about = machine()
    finish(
        {
            "benchmark": "firl_epoch",
            "unit": "seconds",
            "machine": about,
            "parts": parts(given.rounds),
            "whole": {f"{n} seed{'s' * (n > 1)}, an epoch and seed": whole(n) for n in given.seeds},
            "memory": {"unit": "MiB of temporary memory", "by states": memory()},
        },
        given.out,
    )


def settings(**changes: Any) -> Any:
    import surefoot as sf

    return sf.Firl(
        **{
            "density": "reacher/gaussian",
            "state_indices": (0, 1),
            "bandwidth": 0.02,
            "steps_per_iteration": 300,
            "steps_per_round": 50,
            **changes,
        }
    )


def parts(rounds: int) -> dict[str, Any]:
    import equinox as eqx
    import jax

    import surefoot as sf
    from surefoot.algorithms.imitation import firl, matching
    from surefoot.worlds.world import Episodes

    learner = settings()
    world = sf.make("ReacherTrace-v0", envs=10).fresh(jax.random.key(0))
    state = learner.init(world.task, jax.random.key(1))
    collect = eqx.filter_jit(lambda w, s, k: w.collect(s.agent.actor, Episodes(1_000), k)[1])
    batch = collect(world, state, jax.random.key(2))
    states = matching.visited(batch)
    x = states[..., :2]
    expert = state.expert.samples

    rl = eqx.filter_jit(lambda s, w, k: firl.maxent_rl(learner, s, w, k)[0].agent)
    ratio = eqx.filter_jit(lambda x: matching.density_log_ratio(learner, x))
    kl = eqx.filter_jit(lambda expert, x: matching.kl_metrics(expert, x.reshape(-1, 2)))
    h = -jax.numpy.exp(ratio(x)[0] - ratio(x)[1])

    def reward_steps(state: Any, h: Any, states: Any) -> Any:
        reward, optimiser = state.reward, state.reward_optimiser
        for _ in range(learner.reward_updates):
            _, gradient = firl.analytic_gradient(h, reward, states)
            reward, optimiser = firl.descend(learner, reward, optimiser, gradient)
        return reward

    # Past the warm-up, so that every step has its update.
    trained = eqx.tree_at(lambda s: s.steps, state, state.steps + 1_000)
    trained = eqx.tree_at(lambda s: s.replay, trained, trained.replay.add(batch))
    calls: dict[str, Callable[[int], Any]] = {
        "SAC, 300 steps and updates": lambda i: rl(trained, world, jax.random.key(i)),
        "1000 trajectories": lambda i: collect(world, trained, jax.random.key(i)),
        "kernel density at 30,000 points": lambda i: ratio(x + 1e-6 * i),
        "2 reward steps": (lambda f: lambda i: f(trained, h, states))(eqx.filter_jit(reward_steps)),
        "both divergences (apart)": lambda i: kl(expert, x + 1e-6 * i),
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(rounds + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(eqx.filter(call(i), eqx.is_array))
            times[name].append(time.perf_counter() - start)
    return {name: spread(values[1:]) for name, values in times.items()}  # the first one compiles


def whole(seeds: int) -> dict[str, float]:
    """Seconds an epoch and seed of a training by the driver, from its second row of metrics on."""
    import tempfile
    from pathlib import Path

    import surefoot as sf

    stamps: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for epochs in (10, 10, 30):  # the first compiles
            start = time.perf_counter()
            sf.fit(
                settings(kl_every=1_000),
                sf.make("ReacherTrace-v0", envs=10),
                steps=300 * epochs,
                seeds=range(seeds),
                run=Path(folder) / "run",
                overwrite=True,
                log_every=300 * 10,
                progress=False,
            )
            stamps[epochs] = time.perf_counter() - start
    return {"seconds": (stamps[30] - stamps[10]) / 20 / seeds, "epochs": 20, "seeds": seeds}


def memory() -> dict[str, float]:
    import jax

    from surefoot.algorithms.imitation import matching

    learner = settings()
    found = {}
    for trajectories in SIZES:
        x = jax.ShapeDtypeStruct((trajectories, 30, 2), "float32")
        account = (
            jax.jit(lambda x: matching.density_log_ratio(learner, x)).lower(x).compile().memory_analysis()
        )
        found[f"{trajectories * 30:,}"] = account.temp_size_in_bytes / 2**20
    return found


if __name__ == "__main__":
    main()
