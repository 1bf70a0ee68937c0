"""SAC of stable-baselines3 (PyTorch) or sbx-rl (JAX), timed for sac_update.py; see peer_sac_env.sh.

It does not import surefoot. Both are asked for rounds of updates as they do them while training, with their
own replay buffers; of stable-baselines3 the same on a batch that is ready is timed as well.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

warnings.filterwarnings("ignore")

import gymnasium  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from stable_baselines3.common.logger import Logger  # noqa: E402


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("library", choices=("sb3", "sbx"))
    options.add_argument("batches", type=int, nargs="+")
    for name, default in (("obs", 11), ("act", 3), ("hidden", 64), ("replay", 1_000_000), ("updates", 50)):
        options.add_argument(f"--{name}", type=int, default=default)
    given = options.parse_args()
    torch.set_num_threads(1)
    rounds: dict[str, Callable[[], tuple[float, float]]] = {}
    for batch in given.batches:
        rounds |= prepare(given, batch)
    about = {"sb3": version("stable-baselines3"), "torch": torch.__version__}
    if given.library == "sbx":
        about = {f"sbx's {name}": version(name) for name in ("jax", "flax")} | {"sbx": version("sbx-rl")}
    print("@" + json.dumps(about), flush=True)
    for _ in sys.stdin:
        print("@" + json.dumps({name: play() for name, play in rounds.items()}), flush=True)


def prepare(given: argparse.Namespace, batch: int) -> dict[str, Callable[[], tuple[float, float]]]:
    """Name -> what times a round: microseconds an update, by the wall and by the processor."""
    if given.library == "sbx":
        from sbx import SAC
    else:
        from stable_baselines3 import SAC

    class Still(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(-10, 10, (given.obs,), np.float32)
        action_space = gymnasium.spaces.Box(-1, 1, (given.act,), np.float32)

    extra: dict[str, Any] = {} if given.library == "sbx" else {"device": "cpu"}
    model = SAC(
        "MlpPolicy",
        Still(),
        learning_rate=1e-3,
        buffer_size=given.replay,
        batch_size=batch,
        ent_coef=0.2,  # fixed, as ours is
        policy_kwargs={"net_arch": [given.hidden, given.hidden]},
        seed=0,
        **extra,
    )
    model.set_logger(Logger(None, []))
    buffer, rng = model.replay_buffer, np.random.default_rng(0)
    for name in ("observations", "next_observations", "actions", "rewards"):
        rows = getattr(buffer, name)
        rows[...] = rng.uniform(-1, 1, rows.shape).astype(rows.dtype)
    buffer.full = True

    def play() -> tuple[float, float]:
        start, busy = time.perf_counter(), time.process_time()
        model.train(gradient_steps=given.updates, batch_size=batch)
        if given.library == "sbx":
            import jax

            jax.block_until_ready((model.policy.actor_state, model.policy.qf_state))
        n = given.updates
        return (time.perf_counter() - start) / n * 1e6, (time.process_time() - busy) / n * 1e6

    play()
    play()
    if given.library == "sbx":
        return {f"batch {batch}": play}
    drawn, draw = buffer.sample(batch), buffer.sample

    def ready() -> tuple[float, float]:
        buffer.sample = lambda *args, **kwargs: drawn
        try:
            return play()
        finally:
            buffer.sample = draw

    return {f"batch {batch}": play, f"batch {batch}, ready": ready}


if __name__ == "__main__":
    main()
