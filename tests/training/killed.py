"""Trains, or goes on training, the run that a test kills: ``python killed.py FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

import surefoot as sf
from surefoot.training.fit import fit, resume
from training.tiny import Tiny, Walk


def train(folder: Path) -> sf.Run:
    world = sf.make(Walk(), envs=4)
    return fit(
        Tiny(), world, steps=8 * 120, log_every=8, evaluate_every=64, checkpoint_every=0.0,
        seeds=(3, 5), run=folder, progress=False,
    )  # fmt: skip


if __name__ == "__main__":
    where = Path(sys.argv[1])
    if where.exists():
        resume(where, progress=False)
    else:
        train(where)
