"""A reward from a single demonstration, and a new policy that is trained on that reward alone.

Somebody walks from one corner of a room to the opposite one, once, and waits there. f-IRL recovers a reward
of the place; SAC, from scratch, gets nothing but this reward. What both are worth is measured by the room's
own reward (1 for each step in the far corner), which neither has seen.

    python examples/recover_a_reward_from_one_trajectory.py
"""

import jax.numpy as jnp

import surefoot as sf

SMALL = {"hidden": (32, 32), "batch_size": 64, "warm_up": 320, "alpha": 0.05}
FIRL = {"steps_per_iteration": 320, "trajectories": 20, "reward_updates": 5, "reward_learning_rate": 1e-3}
RATIO = {"ratio_hidden": 32, "ratio_updates": 100, "ratio_batch_size": 64}


class KnowsTheWay:
    """Half a step a time towards the far corner."""

    def act(self, observation, key):
        return jnp.clip(4.0 - observation, -0.5, 0.5)


def main(steps: int = 12_800) -> None:
    world = sf.make("PointMass-v0", reward="goals")
    demonstration = sf.worlds.demonstrate(world, KnowsTheWay(), episodes=1)

    learner = sf.Firl(divergence="js", **SMALL, **FIRL, **RATIO)
    given = {"steps": steps, "overwrite": True}
    firl = sf.fit(learner, world, demonstrations=demonstration, run="runs/one_trajectory/firl", **given)

    rewarded = sf.relabel(world, sf.load_reward(firl.path))
    sac = sf.fit(sf.Sac(learning_rate=3e-3, **SMALL), rewarded, run="runs/one_trajectory/sac", **given)

    print(f"\n{'return, by the reward that nobody saw':40}")
    print(f"{'the demonstration':40}{demonstration.returns[0]:8.1f}")
    for name, run in (("f-IRL's own policy", firl), ("SAC on the recovered reward", sac)):
        found = sf.evaluate(run, episodes=50).metrics["return"].estimate
        print(f"{name:40}{found:8.1f}")


if __name__ == "__main__":
    main()
