"""Latency of one decision of an exported policy, as in a robot's control loop.

A policy of the paper's size (8 observations, two hidden layers of 32, 9 actions) is exported by another
process and loaded here with NumPy alone; this process never imports JAX. Each call is timed by itself, the
observation changing from call to call.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from common import SINGLE_THREAD, cores, finish, machine, parser, pin

os.environ.update(SINGLE_THREAD)  # before NumPy is imported

MAKE = """
import sys, jax
from surefoot.envs.marble_maze import MarbleMaze
from surefoot.networks.mlp import Mlp
from surefoot.networks.policies import CategoricalPolicy
from surefoot.training.policy_io import save_policy
policy = CategoricalPolicy(Mlp.create((8, 32, 32, 9), jax.random.key(0)))
save_policy(sys.argv[1], [policy], MarbleMaze().task, [0])
"""


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--calls", type=int, default=100_000)
    options.add_argument("--core", type=int, default=cores()[-1])
    given = options.parse_args()
    about = machine()
    pin([given.core])

    import numpy as np

    from surefoot.training.policy_io import load_policy

    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", MAKE, folder], check=True)
        begin = time.perf_counter()
        policy = load_policy(folder)
        loading = time.perf_counter() - begin
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(1000, 8)).astype(np.float32)

    def latencies(decide: Callable[[np.ndarray], object]) -> dict[str, float]:
        """Microseconds."""
        times = np.empty(given.calls)
        for i in range(given.calls):
            observation = seen[i % len(seen)]
            begin = time.perf_counter_ns()
            decide(observation)
            times[i] = time.perf_counter_ns() - begin
        shares = {"median": 50, "99 %": 99, "99.9 %": 99.9}
        values = {name: float(np.percentile(times, share)) / 1e3 for name, share in shares.items()}
        return values | {"max": float(times.max()) / 1e3, "n": given.calls}

    result = {
        "benchmark": "act_latency",
        "unit": "microseconds a decision",
        "machine": about,
        "loading_ms": loading * 1e3,
        "mode": latencies(policy.mode),
        "act": latencies(lambda observation: policy.act(observation, rng)),
        "act, fresh randomness of the system": latencies(policy.act),
        "imports_jax": "jax" in sys.modules,
    }
    assert not result["imports_jax"]
    finish(result, given.out)


if __name__ == "__main__":
    main()
