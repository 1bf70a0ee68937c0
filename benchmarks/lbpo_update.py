"""Seconds for the update of one epoch of LBPO, CPO and PPO-Lagrangian, beside the same in eager PyTorch.

An epoch has 30 episodes of 1000 steps, 60 observations and 2 actions (PointGoal1). The policies of LBPO and
CPO have two hidden layers of 256; their critics, and all networks of PPO-Lagrangian, have two of --width.
Critics are fitted by 80 steps of Adam on the whole batch; PPO-Lagrangian makes 10 passes in minibatches of
256 and is not stopped early. Ours is the compiled `update` that an iteration of the learner calls; both sides
have random numbers of the same kind. All processes take turns on one core. Ratios are of medians.
`gflop` counts the matrix products that an update cannot do without, `share` is theirs of the core's float32
peak (the best product of 1024 x 1024 in the same process), and `ratio_at_peak` the ratio to PyTorch if they
ran at it and all else took no time.

Also: the memory that the compiler sets aside for LBPO's update at several sizes of the batch; with --train,
whole epochs of LBPO on SafetyPointGoal1-v0, with two ways to fit the critics, beside what the simulator alone
takes for as many steps.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import HERE, Worker, cores, finish, machine, one_thread, parser, spread
from planning import layers, matmul, timed
from updates import CLOCKS, in_turns

PEER = HERE / ".venv-peer-sac" / "bin" / "python"
OBS, ACT, LIMIT = 60, 2, 25.0
ROWS, POLICY = 30_000, (256, 256)
SOLVES = {"lbpo": 1, "cpo": 2}
"""Conjugate gradients of 10 products: for the slope of the loss, of CPO for the cost's as well."""
METHODS = ("lbpo", "cpo", "ppo-lagrangian")
STEPS = (15_000, 30_000, 60_000)
"""Of the batch, for the memory."""


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--width", type=int, nargs="+", default=[64, 256], help="units of the critics")
    options.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    options.add_argument("--fit", type=int, default=80, help="steps of Adam on the critics")
    options.add_argument("--passes", type=int, default=10, help="of PPO-Lagrangian")
    options.add_argument("--core", type=int, default=cores()[0], help="on which everything runs")
    options.add_argument("--peer", type=Path, default=PEER, help="Python with PyTorch")
    options.add_argument("--no-peer", action="store_true", help="time ours alone")
    options.add_argument("--train", type=int, default=0, help="epochs of LBPO on PointGoal1 to time as well")
    options.add_argument("--worker", help="used by this program itself")
    given = options.parse_args()
    if given.worker:
        serve(given)
        return
    if not given.no_peer and not given.peer.exists():
        sys.exit(
            f"error: {given.peer} is missing; make it with benchmarks/peer_sac_env.sh, or give --no-peer."
        )
    about = machine()
    result: dict[str, Any] = {
        "benchmark": "lbpo_update",
        "unit": "seconds per update of an epoch",
        "sizes": {"steps": ROWS, "obs": OBS, "act": ACT, "fit": given.fit, "passes": given.passes},
        "machine": about,
        "widths": {},
    }
    for width in given.width:
        result["widths"][str(width)] = beside(given, width, about)
        finish(result, given.out)
    shared = ["--core", str(given.core), "--fit", str(given.fit), "--width", *map(str, given.width)]
    tasks = ["memory"] + (["train"] if given.train else [])
    for task in tasks:
        worker = Worker(
            [sys.executable, __file__, "--worker", task, "--train", str(given.train), *shared],
            core=given.core,
        )
        result[task] = worker.round()
        worker.close()
        finish(result, given.out)


def beside(given: Any, width: int, about: dict[str, Any]) -> dict[str, Any]:
    """All methods at one width, ours and the peer's in turns."""
    sizes = [f"--fit={given.fit}", f"--passes={given.passes}"]
    own = [sys.executable, __file__, "--worker", "update", "--width", str(width), *sizes, "--methods"]
    workers = {"surefoot": Worker([*own, *given.methods], core=given.core)}
    if not given.no_peer:
        command = [str(given.peer), str(HERE / "peer_lbpo.py"), *given.methods, f"--width={width}", *sizes]
        workers["torch"] = Worker(command, core=given.core)
    found = in_turns(workers, given.rounds)
    for worker in workers.values():
        about |= worker.about
    peak = max(row["gflops"] for row in found.pop("surefoot/peak"))
    result: dict[str, Any] = {"kl": {name: rows[-1]["kl"] for name, rows in found.items()}}
    for clock in CLOCKS:
        table = {name: spread([row[clock] for row in rows]) for name, rows in found.items()}
        result[clock] = table
        result[f"{clock}_ratios"] = {
            name: round(table[f"torch/{name}"]["median"] / table[f"surefoot/{name}"]["median"], 2)
            for name in given.methods
            if f"torch/{name}" in table
        }
    arithmetic: dict[str, Any] = {"peak_gflops": round(peak, 1)}
    for name in given.methods:
        work = products(name, width, given.fit, given.passes) / 1e9
        busy = {library: result["processor"].get(f"{library}/{name}") for library in workers}
        arithmetic[name] = {"gflop": round(work, 1)} | {
            f"share_{library}": round(work / peak / times["median"], 2) for library, times in busy.items()
        }
        if "torch" in busy:
            arithmetic[name]["ratio_at_peak"] = round(busy["torch"]["median"] * peak / work, 2)
    return result | {"arithmetic": arithmetic}


def products(name: str, width: int, fit: int, passes: int) -> float:
    """Floating-point operations of the matrix products of regressions, slopes and Fisher products.

    Forwards and, for a slope, backwards to the weights and, but for the first layer, to the inputs. A Fisher
    product goes forwards and backwards along the linearised network. Line searches are left out.
    """

    def row(*sizes: int) -> tuple[float, float]:
        """Of one row: forwards, and its first layer's part."""
        each = [2.0 * a * b for a, b in layers(*sizes)]
        return sum(each), each[0]

    def slope(*sizes: int) -> float:
        whole, first = row(*sizes)
        return 3 * whole - first

    if name == "ppo-lagrangian":
        networks = [(OBS, width, width, outputs) for outputs in (ACT, 1, 1)]
        return passes * ROWS * sum(slope(*sizes) for sizes in networks)
    inputs = OBS + ACT if name == "lbpo" else OBS
    whole, first = row(OBS, *POLICY, ACT)
    fisher = 10 * (4 * whole - 2 * first)
    regression = 2 * fit * slope(inputs, width, width, 1)
    return ROWS * (regression + SOLVES[name] * (slope(OBS, *POLICY, ACT) + fisher))


def serve(given: Any) -> None:
    """Sets up what is asked for, then does it once at each line on standard input."""
    one_thread()  # of the core that this process was pinned to
    import jax

    does: dict[str, Callable[[], Any]] = {
        "memory": lambda: {str(width): memory(width, given.fit) for width in given.width},
        "train": lambda: train(given.train),
    }
    if given.worker == "update":
        plays = {name: prepare(name, given) for name in given.methods}
        most = peak()
        does["update"] = lambda: {"peak": most()} | {name: play() for name, play in plays.items()}
    print("@" + json.dumps({"jax_devices": str(jax.devices())}), flush=True)
    for _ in sys.stdin:
        print("@" + json.dumps(does[given.worker]()), flush=True)


def task() -> Any:
    from surefoot.task import Box, Task

    def box(size: int, bound: float) -> Box:
        return Box((size,), (-bound,) * size, (bound,) * size)

    return Task("Random-v0", box(OBS, float("inf")), box(ACT, 1.0), ("cost",), (LIMIT,), 1000)


def settings(name: str, width: int, fit: int, passes: int = 10, steps: int = 30_000) -> Any:
    import surefoot as sf

    sizes = (width, width)
    if name == "lbpo":
        return sf.Lbpo(batch_steps=steps, critic_hidden=sizes, critic_steps=fit)
    if name == "cpo":
        return sf.Cpo(batch_steps=steps, value_hidden=sizes, value_steps=fit)
    return sf.PpoLagrangian(batch_steps=steps, hidden=sizes, passes=passes, target_kl=1e9)


def random_batch(steps: int, horizon: int = 1000) -> Any:
    """Whole episodes of random numbers, cut by a time limit; they cost about 20."""
    import jax
    import jax.numpy as jnp

    from surefoot.data.trajectories import Totals, Trajectories

    shape = (horizon, steps // horizon)
    keys = jax.random.split(jax.random.key(1), 5)
    seen = jax.random.normal(keys[0], (horizon + 1, shape[1], OBS))
    no = jnp.zeros(shape, bool)
    cost = (jax.random.uniform(keys[3], (*shape, 1)) < 0.02).astype(jnp.float32)
    counts = jnp.zeros(shape, jnp.int32)
    return Trajectories(
        observation=seen[:-1],
        action=jax.random.uniform(keys[1], (*shape, ACT), minval=-1.0),
        reward=jax.random.normal(keys[2], shape),
        cost=cost,
        next_observation=seen[1:],
        terminated=no,
        truncated=no.at[-1].set(True),
        success=no,
        valid=~no,
        totals=Totals(jnp.zeros(shape), counts, jnp.cumsum(cost, axis=0), counts[..., None], counts),
    )


def update_of(name: str, learner: Any, batch: Any) -> tuple[Callable[..., Any], Any, tuple[Any, ...]]:
    """The learner's update as ``call(state, *rest)``, the first state, and the rest."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    from surefoot.algorithms.safe import cpo, lbpo, ppo_lagrangian

    state = learner.init(task(), jax.random.key(0))
    if name == "ppo-lagrangian":
        excess = jnp.mean(jnp.sum(batch.cost, axis=0), axis=0) - LIMIT
        return ppo_lagrangian.update, state, (batch, batch.cost, excess, jax.random.key(2))
    if name == "lbpo":  # past the first epoch, in which the critics are fitted twice
        state = eqx.tree_at(lambda s: s.epoch, state, state.epoch + 1)
    module = lbpo if name == "lbpo" else cpo
    return module.update, state, (batch, jnp.array([LIMIT]), ("cost",))


def prepare(name: str, given: Any) -> Callable[[], dict[str, float]]:
    """Compiles; the value makes one update and says how long it took."""
    import jax

    learner = settings(name, given.width[0], given.fit, given.passes)
    update, state, rest = update_of(name, learner, random_batch(ROWS))
    compiled = update.lower(learner, state, *rest).compile()

    def play() -> dict[str, float]:
        nonlocal state
        start, busy = time.perf_counter(), time.process_time()
        state, metrics = compiled(learner, state, *rest)
        jax.block_until_ready(metrics)
        clocks = {"wall": time.perf_counter() - start, "processor": time.process_time() - busy}
        return clocks | {"kl": float(metrics["kl"])}

    return play


def peak(times: int = 20) -> Callable[[], dict[str, float]]:
    """Compiles a product of two square matrices; the value says at what rate it runs at best."""
    work, product = matmul()
    timed(product, 0)
    return lambda: {"gflops": max(work / timed(product, i) / 1e9 for i in range(times))}


def memory(width: int, fit: int) -> dict[str, float]:
    """MiB of temporary memory of LBPO's update, by steps in the batch."""
    found = {}
    for steps in STEPS:
        learner = settings("lbpo", width, fit, steps=steps)
        update, state, rest = update_of("lbpo", learner, random_batch(steps))
        account = update.lower(learner, state, *rest).compile().compiled.memory_analysis()
        found[f"{steps:,}"] = account.temp_size_in_bytes / 2**20
    return found


def train(epochs: int) -> dict[str, Any]:
    """Epochs of LBPO with networks of 64 units in 30 worlds of PointGoal1, and the simulator alone."""
    from surefoot.experiments.lbpo_benchmark import QUICK

    # LBPO's own defaults, 80 steps of Adam on all 30,000 steps, and the settings of lbpo-benchmark.
    fits: dict[str, dict[str, Any]] = {"whole batches": {}, "minibatches": QUICK}
    alone = simulator()
    found: dict[str, Any] = {"unit": "seconds for 30,000 steps of SafetyPointGoal1-v0", "simulator": alone}
    for name, options in fits.items():
        rows = whole_epochs(epochs, options)
        table = {clock: spread([row[clock] for row in rows]) for clock in CLOCKS}
        found[name] = table | {
            "share": {clock: round(alone[clock] / table[clock]["median"], 2) for clock in CLOCKS}
        }
    return found


def simulator() -> dict[str, float]:
    """Seconds that 30,000 steps take with random actions and no learner."""
    import numpy as np

    from surefoot import envs

    vector = envs.vector("SafetyPointGoal1-v0")(num_envs=30, threads=1)
    vector.reset(seed=list(range(30)))
    actions = np.random.default_rng(0).uniform(-1, 1, (1000, *vector.action_space.shape)).astype(np.float32)
    start, busy = time.perf_counter(), time.process_time()
    for action in actions:
        vector.step(action)
    alone = {"wall": time.perf_counter() - start, "processor": time.process_time() - busy}
    vector.close()
    return alone


def whole_epochs(epochs: int, options: dict[str, Any]) -> list[dict[str, float]]:
    """Seconds of each epoch, of collecting and learning together; compiling is left out."""
    import jax

    import surefoot as sf

    world = sf.make("SafetyPointGoal1-v0", envs=30, limits=(LIMIT,), threads=1)
    learner = sf.Lbpo(hidden=(64, 64), critic_hidden=(64, 64), **options)
    state = learner.init(world.task, jax.random.key(0))
    rows = []
    for epoch in range(epochs + 1):
        start, busy = time.perf_counter(), time.process_time()
        state, world, metrics = learner.iteration(state, world, jax.random.key(epoch))
        jax.block_until_ready(metrics)
        rows.append({"wall": time.perf_counter() - start, "processor": time.process_time() - busy})
    return rows[1:]


if __name__ == "__main__":
    main()
