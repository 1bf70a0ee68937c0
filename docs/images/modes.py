"""Draws docs/images/modes.png: a density with two hills, and where f-IRL goes by forward and by reverse KL.

python docs/images/modes.py

The numbers of all seeds go to docs/images/modes.json; the picture is that of the first. The runs in
runs/modes are used again if they are there.
"""

import json
from pathlib import Path

import numpy as np

import surefoot as sf
from surefoot.reports.densities import draw
from surefoot.reports.rewards import write
from surefoot.training.run import versions

SEEDS = (0, 1, 2)
SETTINGS = {
    "hidden": (32, 32),
    "batch_size": 64,
    "steps_per_iteration": 160,
    "trajectories": 200,
    "expert_samples": 3_000,
    "reward_updates": 5,
    "reward_activation": "tanh",
}
VARIANTS = {
    "forward KL": ({"divergence": "fkl", "alpha": 0.2}, 40_000),
    "reverse KL": ({"divergence": "rkl", "alpha": 0.2}, 40_000),
    "forward KL, alpha 1": ({"divergence": "fkl", "alpha": 1.0}, 24_000),
}
HILLS = {"upper": (1.0, 3.0), "lower": (3.0, 1.0)}
NEAR = 0.75
"""Distance from the middle of a hill within which a state is on it."""
EPISODES = 30


def trained(name: str) -> sf.Run:
    """The finished run of a variant."""
    options, steps = VARIANTS[name]
    folder = Path("runs/modes") / name.replace(" ", "-").replace(",", "")
    if (folder / "config.json").exists():
        return sf.resume(folder)
    learner = sf.Firl(density="point-mass/mixture", **options, **SETTINGS)
    return sf.fit(learner, sf.make("PointMass-v0"), steps=steps, seeds=SEEDS, run=folder)


def shares(states: np.ndarray) -> dict[str, float]:
    """Of states ``[episodes, steps, 2]``: on each hill, on neither; and of the episodes that see both."""
    on = {name: np.linalg.norm(states - middle, axis=-1) < NEAR for name, middle in HILLS.items()}
    both = np.logical_and(*(seen.any(axis=1) for seen in on.values()))
    found = {name: float(seen.mean()) for name, seen in on.items()}
    return found | {"neither": 1 - sum(found.values()), "episodes that see both": float(both.mean())}


visited, numbers = {}, {}
for name, (options, steps) in VARIANTS.items():
    run = trained(name)
    paths = sf.evaluate(run, episodes=EPISODES).table.paths[:, :, 1:]  # [seeds, episodes, 29 steps, 2]
    visited[name] = paths[0]
    last = {seed: run.metrics()["forward_kl"][run.metrics()["seed"] == seed][-1] for seed in SEEDS}
    numbers[name] = {
        "settings": {**SETTINGS, **options, "steps": steps},
        "seeds": {seed: shares(paths[i]) | {"forward_kl": last[seed]} for i, seed in enumerate(SEEDS)},
    }
    print(name, json.dumps(numbers[name]["seeds"], indent=1), flush=True)

here = Path(__file__)
about = {"command": "python docs/images/modes.py", "versions": versions(), "episodes": EPISODES}
here.with_suffix(".json").write_text(json.dumps(about | numbers, indent=1) + "\n")
shown = {name: states for name, states in visited.items() if "alpha" not in name}
picture = draw("point-mass/mixture", (0, 0), (4, 4), states=shown, labels=("x", "y"))
write(picture, here.with_suffix(".png"))
