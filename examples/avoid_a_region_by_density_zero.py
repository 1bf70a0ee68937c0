"""Safety without a cost: a density that is zero in a region says "never here".

The point mass is wanted around (2.5, 2.5), and a disc lies in the way. The reward is recovered twice with the
reverse KL, from the density as it is and from the density with the disc cut out of it.

    python examples/avoid_a_region_by_density_zero.py
"""

import numpy as np

import surefoot as sf
from surefoot.numerics.density import Gaussian, OutsideDisc, Product
from surefoot.reports.densities import draw

CENTRE, RADIUS = (1.7, 1.7), 0.6
HILL = Gaussian(mean=(2.5, 2.5), std=0.7)
DENSITIES = {
    "without the rule": HILL,
    # Not normalised any more: the reverse KL does not mind.
    "never in the disc": Product((HILL, OutsideDisc(CENTRE, RADIUS))),
}
SETTINGS = {
    "hidden": (32, 32),
    "batch_size": 64,
    "steps_per_iteration": 160,
    "trajectories": 100,
    "expert_samples": 1_000,
    "reward_updates": 5,
}


def main(steps: int = 28_000) -> None:
    visited = {}
    for name, density in DENSITIES.items():
        learner = sf.Firl(divergence="rkl", density=density, **SETTINGS)
        folder = f"runs/avoid_a_region/{name.replace(' ', '_')}"
        run = sf.fit(learner, sf.make("PointMass-v0"), steps=steps, run=folder, overwrite=True)
        visited[name] = sf.evaluate(run, episodes=30).table.paths[0, :, 1:]  # [episodes, 29 steps, 2]

    for name, states in visited.items():
        inside = np.linalg.norm(states - CENTRE, axis=-1) <= RADIUS
        print(f"{name:18} {inside.mean():6.1%} of the states are in the disc")

    picture = "runs/avoid_a_region/visited.png"
    wanted = DENSITIES["never in the disc"]
    draw(wanted, low=(0, 0), high=(4, 4), states=visited).savefig(picture)
    print(f"picture: {picture}")


if __name__ == "__main__":
    main()
