"""Discrete SAC of d3rlpy, timed for scopil_update.py; runs in the environment that peer_env.sh makes.

It takes neither surefoot nor JAX. Two things are timed: the update on a batch that is ready as tensors, and
the update with drawing the batch from its own replay buffer, as its users have it.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
import warnings
from collections.abc import Callable

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

import d3rlpy  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from d3rlpy.torch_utility import TorchMiniBatch  # noqa: E402

DRAWN = 20
"""Rounds that draw from the buffer take this many updates; they are far slower."""


def main() -> None:
    options = argparse.ArgumentParser()
    for name, default in (("obs", 8), ("actions", 9), ("hidden", 32), ("batch", 256), ("replay", 200_000)):
        options.add_argument(f"--{name}", type=int, default=default)
    options.add_argument("--updates", type=int, default=100)
    given = options.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    n, length = given.replay, 200
    buffer = d3rlpy.dataset.MDPDataset(
        rng.normal(size=(n, given.obs)).astype(np.float32),
        rng.integers(given.actions, size=(n, 1)),
        rng.normal(size=(n, 1)).astype(np.float32),
        (np.arange(n) % length == length - 1).astype(np.float32),
        action_space=d3rlpy.ActionSpace.DISCRETE,
        action_size=given.actions,
    )
    encoder = d3rlpy.models.VectorEncoderFactory(hidden_units=[given.hidden, given.hidden])
    adam = d3rlpy.optimizers.AdamFactory(eps=1e-4, clip_grad_norm=5.0)
    algorithm = d3rlpy.algos.DiscreteSACConfig(
        batch_size=given.batch,
        actor_encoder_factory=encoder,
        critic_encoder_factory=encoder,
        actor_optim_factory=adam,
        critic_optim_factory=adam,
    ).create(device="cpu:0")
    algorithm.build_with_dataset(buffer)

    def ready() -> TorchMiniBatch:
        return TorchMiniBatch.from_batch(
            buffer.sample_transition_batch(given.batch),
            gamma=0.99,
            compute_returns_to_go=False,
            device="cpu:0",
        )

    batches = [ready() for _ in range(8)]
    count = 0

    def on_ready_batch() -> None:
        nonlocal count
        count += 1
        algorithm.impl.update(batches[count % len(batches)], count)

    def with_its_buffer() -> None:
        algorithm.update(buffer.sample_transition_batch(given.batch))

    def timed(update: Callable[[], None], times: int) -> tuple[float, float]:
        """Microseconds an update, by the wall and by the processor."""
        start, busy = time.perf_counter(), time.process_time()
        for _ in range(times):
            update()
        return (time.perf_counter() - start) / times * 1e6, (time.process_time() - busy) / times * 1e6

    def both() -> dict[str, tuple[float, float]]:
        return {
            "update": timed(on_ready_batch, given.updates),
            "update and draw": timed(with_its_buffer, DRAWN),
        }

    both()
    about = {"d3rlpy": d3rlpy.__version__, "torch": torch.__version__, "threads": torch.get_num_threads()}
    print("@" + json.dumps(about), flush=True)
    for _ in sys.stdin:
        print("@" + json.dumps(both()), flush=True)


if __name__ == "__main__":
    main()
