"""Draws docs/images/modes.png: a density with two hills, and where f-IRL goes by forward and by reverse KL.

python docs/images/modes.py [SEED]
"""

import sys
from pathlib import Path

import surefoot as sf
from surefoot.reports.densities import draw
from surefoot.reports.rewards import write

SEED = int(sys.argv[1]) if len(sys.argv) > 1 else 0
SETTINGS = {
    "alpha": 0.2,
    "hidden": (32, 32),
    "batch_size": 64,
    "steps_per_iteration": 160,
    "trajectories": 200,
    "expert_samples": 3_000,
    "reward_updates": 5,
    "reward_activation": "tanh",
}

visited = {}
for name, title in (("fkl", "forward KL"), ("rkl", "reverse KL")):
    learner = sf.Firl(divergence=name, density="point-mass/mixture", **SETTINGS)
    world = sf.make("PointMass-v0")
    run = sf.fit(learner, world, steps=40_000, seeds=(SEED,), run=f"runs/modes/{name}-{SEED}", overwrite=True)
    states = sf.evaluate(run, episodes=30).table.paths[0, :, 1:]  # [episodes, 29 steps, 2]
    upper = states[..., 1] > states[..., 0]
    print(f"{name}: {upper.mean():.0%} of the states are nearer to the upper hill", flush=True)
    visited[title] = states

picture = draw("point-mass/mixture", (0, 0), (4, 4), states=visited, labels=("x", "y"))
write(picture, Path(__file__).with_suffix(".png"))
