"""Planning with a learned model: milliseconds a call, beside what the machine can do at most.

A call is what LOOP does at every step of an environment, at the thesis' settings and the half-cheetah's sizes
(17 observations, 6 actions): an ensemble of 5 networks of 4 x 200, 100 candidates and 5 of the actor, 4
particles a member, 5 iterations, a critic of 256-256 at the end. Everything runs in one thread. The unit is
processor time, which hardly feels what else is running; `share` is of the rate of float32 matrix products in
the same process, measured before and after each call, the faster of the two; work, too, counts products.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from common import cores, finish, machine, one_thread, parser, pin, spread

OBSERVATION, ACTION, HIDDEN, MEMBERS, POPULATION, SEQUENCES = 17, 6, (200,) * 4, 5, 100, 5
CASES: dict[str, dict[str, Any]] = {
    "horizon 5": {},
    "horizon 3": {"horizon": 3},
    "horizon 5, 1 particle": {"particles": 1},
    "horizon 5, no terminal value": {"value": False},
    "horizon 5, a cost within a limit": {"cost": True},
    "horizon 5, 4 environments in one call": {"environments": 4},
    "horizon 5, 16 environments in one call": {"environments": 16},
}
"""Name -> what differs from the first."""
FIT = "model epoch, 10,000 transitions"


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--core", type=int, default=cores()[0], help="on which everything runs")
    options.add_argument("--cases", nargs="+", default=[*CASES, FIT], choices=[*CASES, FIT])
    given = options.parse_args()
    about = machine()
    pin([given.core])
    one_thread()
    finish(
        {"benchmark": "planning", "unit": "milliseconds of one core", "machine": about, **measured(given)},
        given.out,
    )


def measured(given: Any) -> dict[str, Any]:
    calls: dict[str, tuple[Callable[[int], Any], float, int]] = {}
    for name in given.cases:
        calls[name] = epoch() if name == FIT else planning(**CASES[name])
    peak, product = matmul()
    for call in (product, *(call for call, _, _ in calls.values())):
        timed(call, 0)  # compiles
    times: dict[str, list[float]] = {name: [] for name in calls}
    rates: dict[str, list[float]] = {name: [] for name in calls}
    products: list[float] = []
    for i in range(1, given.rounds + 1):
        for name, (call, _, _) in calls.items():
            before = timed(product, i)
            times[name].append(timed(call, i))
            after = timed(product, i)
            rates[name].append(peak / min(before, after))
            products += [before, after]
    result = {"peak": {"unit": "GFLOP/s of float32, one core", **spread([peak / t / 1e9 for t in products])}}
    for name, (_, work, units) in calls.items():
        shares = [work / t / rate for t, rate in zip(times[name], rates[name], strict=True)]
        result[name] = {
            **spread([1e3 * t / units for t in times[name]]),
            "gflop": work / units / 1e9,
            "share": statistics.median(shares),
        }
    return result


def timed(call: Callable[[int], Any], i: int) -> float:
    """Seconds of processor time."""
    import jax

    start = time.process_time()
    jax.block_until_ready(call(i))
    return time.process_time() - start


def matmul(size: int = 1024) -> tuple[float, Callable[[int], Any]]:
    """Floating-point operations of a product of two square matrices, and the product."""
    import jax

    a = jax.random.normal(jax.random.key(0), (size, size))
    product = jax.jit(lambda a: a @ a)
    return 2.0 * size**3, lambda i: product(a)


def planning(
    *,
    horizon: int = 5,
    particles: int = 4,
    environments: int = 1,
    value: bool = True,
    cost: bool = False,
) -> tuple[Callable[[int], Any], float, int]:
    """A planning call, the floating-point operations in it, and how many environments it plans for."""
    import jax
    import jax.numpy as jnp

    from surefoot.algorithms.planning.objective import ModelObjective, plan
    from surefoot.networks.critics import TwinContinuousQ
    from surefoot.networks.dynamics import Ensemble
    from surefoot.networks.mlp import Mlp
    from surefoot.numerics.cem import Cem

    keys = jax.random.split(jax.random.key(0), 5)
    arrays = {
        "model": Ensemble.create(
            OBSERVATION, ACTION, key=keys[0], members=MEMBERS, hidden=HIDDEN, costs=int(cost)
        ),
        "critic": TwinContinuousQ.create(OBSERVATION, ACTION, (256, 256), keys[1]),
        "actor": Mlp.create((OBSERVATION, 256, 256, ACTION), keys[2]),
    }
    bounds = -jnp.ones(ACTION), jnp.ones(ACTION)
    states = jax.random.normal(keys[3], (environments, OBSERVATION))
    means = jnp.zeros((environments, horizon, ACTION))

    def one(arrays: dict[str, Any], state: Any, mean: Any, key: Any) -> Any:
        objective = ModelObjective(
            arrays["model"], value=arrays["critic"].first if value else None, particles=particles
        )
        actor = (lambda s: jnp.tanh(arrays["actor"](s))) if value else None
        limits = (0.1,) if cost else None
        found = plan(
            objective, state, mean, bounds, key, Cem(), actor=actor, sequences=SEQUENCES, limits=limits
        )
        return found.action, found.actions

    @jax.jit
    def call(arrays: dict[str, Any], states: Any, means: Any, key: Any) -> Any:
        each = jax.random.split(key, environments)
        if environments == 1:  # as a learner would with one environment
            return one(arrays, states[0], means[0], each[0])
        return jax.vmap(one, in_axes=(None, 0, 0, 0))(arrays, states, means, each)

    candidates = POPULATION + (SEQUENCES if value else 0)
    steps = horizon - 1 if value else horizon
    rows = MEMBERS * candidates * (1 + particles * (steps - 1))
    model = 2.0 * sum(a * b for a, b in layers(OBSERVATION + ACTION, *HIDDEN, 2 * (OBSERVATION + 1 + cost)))
    critic = 2.0 * sum(a * b for a, b in layers(OBSERVATION + ACTION, 256, 256, 1)) * value
    work = Cem().iterations * (rows * model + MEMBERS * candidates * particles * critic)
    return lambda i: call(arrays, states, means, jax.random.key(i)), work * environments, environments


def epoch(count: int = 10_000, capacity: int = 100_000) -> tuple[Callable[[int], Any], float, int]:
    """One epoch of maximum likelihood, a fifth held out, and the floating-point operations in it."""
    import equinox as eqx
    import jax

    from surefoot.networks.dynamics import Ensemble
    from surefoot.networks.dynamics_fit import Experience, Fit, fit, init_optimiser

    settings = Fit(epochs=1, holdout=0.2)
    keys = jax.random.split(jax.random.key(0), 5)
    model = Ensemble.create(OBSERVATION, ACTION, key=keys[0], members=MEMBERS, hidden=HIDDEN)
    optimiser = init_optimiser(model, settings)
    observation = jax.random.normal(keys[1], (capacity, OBSERVATION))
    data = Experience(
        observation,
        jax.random.uniform(keys[2], (capacity, ACTION), minval=-1.0),
        observation + 0.1 * jax.random.normal(keys[3], (capacity, OBSERVATION)),
        jax.random.normal(keys[4], (capacity,)),
    )
    row = 2.0 * sum(a * b for a, b in layers(OBSERVATION + ACTION, *HIDDEN, 2 * (OBSERVATION + 1)))
    first = 2.0 * (OBSERVATION + ACTION) * HIDDEN[0]
    minibatches = -(-int(0.8 * count) // settings.batch_size)
    # Forwards, and backwards to the weights and, but for the first layer, to the inputs.
    work = MEMBERS * minibatches * settings.batch_size * (3 * row - first)
    return (
        lambda i: eqx.filter(
            fit(model, optimiser, data, count, jax.random.key(i), settings)[0], eqx.is_array
        ),
        work,
        1,
    )


def layers(*sizes: int) -> list[tuple[int, int]]:
    return list(zip(sizes[:-1], sizes[1:], strict=True))


if __name__ == "__main__":
    main()
