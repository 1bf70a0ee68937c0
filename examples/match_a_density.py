"""Matching a density: nobody demonstrates anything, one only says where the agent should be, and how often.

The point mass is to be around (2.5, 1.5). f-IRL finds a reward under which it goes there, and the policy.

    python examples/match_a_density.py
"""

import numpy as np

import surefoot as sf
from surefoot.numerics.density import Gaussian
from surefoot.reports.densities import draw

WANTED = Gaussian(mean=(2.5, 1.5), std=0.5)
# Smaller than the defaults, which are those of the published experiments, to be done in a minute.
SETTINGS = {
    "hidden": (32, 32),
    "batch_size": 64,
    "steps_per_iteration": 160,
    "trajectories": 100,
    "expert_samples": 1_000,
    "reward_updates": 5,
    "reward_activation": "tanh",
}


def main(steps: int = 28_800) -> None:
    world = sf.make("PointMass-v0")
    learner = sf.Firl(divergence="fkl", density=WANTED, **SETTINGS)
    run = sf.fit(learner, world, steps=steps, run="runs/match_a_density", overwrite=True)

    forward = run.metrics()["forward_kl"]
    print(f"KL(wanted || visited): {forward[0]:.2f} nats at first, {forward[-5:].mean():.2f} at last")

    # The reward is a thing of its own: a function of states, in runs/match_a_density/reward.
    reward = sf.load_reward(run.path)
    for place in ((0.0, 0.0), (2.5, 1.5), (4.0, 4.0)):
        print(f"reward at {place}: {reward(np.array(place)):.2f}")

    visited = sf.evaluate(run, episodes=30).table.paths[0, :, 1:]  # [episodes, 29 steps, 2]
    picture = run.path / "visited.png"
    draw(WANTED, low=(0, 0), high=(4, 4), states=visited, title="wanted, and visited").savefig(picture)
    print(f"picture: {picture}")


if __name__ == "__main__":
    main()
