"""What sleeping objects change: the safety tasks in ``fast`` and in ``parity`` physics, episode by episode.

Both play the same episodes (seeds, layouts, policy, chance) of the six tasks with the most contacts.
``driver`` heads straight for the goal, or pushes the box there, through whatever stands in the way; ``gait``
swings Doggo's legs, which carries it away somewhere. Given are the means in both, and the mean difference
of an episode with a 95 % interval.
"""

from __future__ import annotations

import math
from typing import Any

from common import cores, finish, machine, parser, pin

POLICIES = {
    "PointGoal2": "driver",
    "PointPush2": "driver",
    "CarGoal2": "driver",
    "CarPush2": "driver",
    "DoggoGoal2": "gait",
    "DoggoPush2": "gait",
}


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--episodes", type=int, default=96)
    options.add_argument("--steps", type=int, default=250, help="of an episode")
    options.add_argument("--tasks", nargs="+", default=list(POLICIES))
    options.add_argument("--cores", type=int, default=min(2, len(cores())))
    given = options.parse_args()
    pin(cores()[: given.cores])
    finish(
        {
            "benchmark": "safety_physics",
            "episodes": given.episodes,
            "steps": given.steps,
            "machine": machine(),
            "tasks": {name: compare(name, given) for name in given.tasks},
        },
        given.out,
    )


def compare(name: str, given: Any) -> dict[str, Any]:
    """Returns, costs and goals of the same episodes in both."""
    fast, parity = (play(name, physics, given) for physics in ("fast", "parity"))
    found: dict[str, Any] = {"policy": POLICIES[name]}
    for what, ours in fast.items():
        difference = ours - parity[what]
        error = 1.96 * difference.std(ddof=1) / math.sqrt(len(difference))
        found[what] = {
            "fast": ours.mean(),
            "parity": parity[what].mean(),
            "difference": difference.mean(),
            "interval": [difference.mean() - error, difference.mean() + error],
            "spread_over_episodes": parity[what].std(ddof=1),
        }
    return found


def play(name: str, physics: str, given: Any) -> dict[str, Any]:
    """Sums over episodes, each ``[episodes]``."""
    import numpy as np

    from surefoot.envs.safety import Simulation, known_task

    worlds = given.episodes
    simulation = Simulation(known_task(name), worlds, physics=physics, threads=given.cores)
    simulation.reset(np.arange(worlds), list(range(worlds)))
    rng = np.random.default_rng(0)
    sums = {what: np.zeros(worlds) for what in ("return", "cost", "goals")}
    for step in range(given.steps):
        noise = rng.uniform(-1, 1, (worlds, simulation.model.compiled.nu))
        actions = driver(simulation, noise) if POLICIES[name] == "driver" else gait(step, noise)
        outcome = simulation.step(actions)
        sums["return"] += outcome.reward
        sums["cost"] += (outcome.raw_costs > 0).any(axis=1)
        sums["goals"] += outcome.goal_met
    simulation.close()
    return sums


def driver(simulation: Any, noise: Any) -> Any:
    """Actions ``[worlds, 2]`` of Point or Car that turn to a place and go there, a little unsteadily."""
    import numpy as np

    robot, target = simulation.robot[:, :2], simulation.goal
    if simulation.box is not None:
        box = simulation.box[:, :2]
        way = (simulation.goal - box) / np.linalg.norm(simulation.goal - box, axis=1, keepdims=True)
        behind = ((box - robot) * way).sum(axis=1) > 0.8 * np.linalg.norm(box - robot, axis=1)
        target = np.where(behind[:, None], box, box - 0.6 * way)
    to = target - robot
    car = simulation.task.robot == "car"
    error = np.arctan2(to[:, 1], to[:, 0]) - simulation.yaw + (np.pi / 2 if car else 0.0)
    error = (error + np.pi) % (2 * np.pi) - np.pi
    ahead, turn = np.maximum(np.cos(error), 0.0), np.clip(error, -1.0, 1.0)
    if car:
        return 0.02 * (np.stack([ahead + turn, ahead - turn], axis=1) + 0.2 * noise)
    return np.stack([0.05 * ahead, turn], axis=1) + [0.01, 0.1] * noise


def gait(step: int, noise: Any) -> Any:
    """Actions ``[worlds, 12]`` of Doggo: opposite legs swing together, a little unsteadily.

    Found by chance among 384 gaits; it makes good about a metre in 80 steps.
    """
    import numpy as np

    legs = np.array([0, np.pi, 0, np.pi])
    phases = 2 * np.pi * step / 8 + np.array([[1.87], [3.09], [0.01]]) + legs  # hips z, hips y, ankles
    return (
        np.array([[-0.01], [-0.09], [0.31]]) + np.array([[0.86], [0.86], [0.8]]) * np.sin(phases)
    ).ravel() + 0.2 * noise


if __name__ == "__main__":
    main()
