"""Learning a rule that nobody wrote down, in an environment that is not ours.

Gymnasium's FrozenLake with a map of our own: a lake to be crossed from west to east. The ice in the
middle is thin, except at the northern shore. No one tells the learner; it sees forty crossings of a
person who knows the lake. The cost below only measures: it is no part of the reward, and neither
learner is shown it.

    python examples/own_environment.py
"""

import gymnasium
import jax.numpy as jnp

import surefoot as sf

MAP = [
    "FFFFFFF",
    "FFFFFFF",
    "SFFFFFG",
    "FFFFFFF",
    "FFFFFFF",
]
WIDTH, START_COLUMN, GOAL_COLUMN = 7, 0, 6
LEFT, DOWN, RIGHT, UP = range(4)


def lake() -> gymnasium.Env:
    """Gymnasium's environment; its reward of 1 at the goal becomes 10, and each step costs 0.1."""
    env = gymnasium.make("FrozenLake-v1", desc=MAP, is_slippery=False, max_episode_steps=100)
    return gymnasium.wrappers.TransformReward(env, lambda reward: 10 * reward - 0.1)


def thin_ice(cell, action, next_cell, info) -> float:
    """1 on the three columns in the middle, south of the northern shore."""
    row, column = divmod(int(next_cell), WIDTH)
    return float(2 <= column <= 4 and row > 0)


def crossed(cell, action, next_cell, info) -> bool:
    return int(next_cell) == 2 * WIDTH + GOAL_COLUMN


class KnowsTheLake:
    """North, along the shore, and south again. A function of the cell alone, as a demonstrator should be."""

    def act(self, observation, key):
        row, column = jnp.divmod(jnp.argmax(observation), WIDTH)  # the cell 0 .. 34 is seen one-hot
        north_or_east = jnp.where((column == START_COLUMN) & (row > 0), UP, RIGHT)
        return jnp.where(column == GOAL_COLUMN, DOWN, north_or_east).astype(jnp.int32)


def main() -> None:
    world = sf.make(lake, envs=8, cost=thin_ice, constraints=("thin_ice",), success=crossed)
    print(sf.worlds.check(world), "\n")

    demos = sf.worlds.demonstrate(world, KnowsTheLake(), episodes=40, name="knows-the-lake")
    print(f"{demos.episodes} demonstrations, mean return {demos.returns.mean():.1f}\n")

    # A lower target entropy than the default leaves less to chance once the way is found.
    settings = {"replay_capacity": 20_000, "target_entropy_ratio": 0.1}
    rows = []
    for name, learner, given in [
        ("discrete SAC", sf.DiscreteSac(**settings), None),
        ("SCOPIL", sf.Scopil(**settings), demos),
    ]:
        folder = f"runs/own_environment/{learner.__class__.__name__.lower()}"
        run = sf.fit(learner, world, demonstrations=given, steps=12_000, run=folder, overwrite=True)
        rows.append((name, sf.evaluate(run, episodes=100, world=world).metrics))

    columns = ["return", "success", "violating_episodes", "violating_steps_per_episode"]
    print("\n" + f"{'':14}" + "".join(f"{column:>30}" for column in columns))
    for name, found in rows:
        cells = [found[column] for column in columns]
        texts = [f"{cell.estimate:.2f} ({cell.lower:.2f} to {cell.upper:.2f})" for cell in cells]
        print(f"{name:14}" + "".join(f"{text:>30}" for text in texts))


if __name__ == "__main__":
    main()
