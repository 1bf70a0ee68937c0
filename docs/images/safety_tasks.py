"""Draws the pictures of the safety tasks.

safety_tasks.png: all twelve from above, and each robot from behind. safety_goal1.png, safety_goal2.png,
safety_push1.png, safety_push2.png: the three robots of a level, each seen from above and,
below that, by the camera that follows; in layouts in which the robot looks at the goal.

python docs/images/safety_tasks.py
"""

from pathlib import Path

import numpy as np
from PIL import Image

from surefoot.envs.safety import SafetyEnv

FOLDER = Path(__file__).parent
ROBOTS = ("Point", "Car", "Doggo")
SIDE, LARGE_SIDE = 200, 300
"""Of a picture in the overview, and on the page of its family."""
SEEDS = {
    "Goal1": (25, 1, 25),
    "Goal2": (11, 15, 11),
    "Push1": (13, 85, 13),
    "Push2": (140, 1984, 140),
}
"""Of the layouts on the pages of the families, for each robot."""


def shot(name: str, camera: str, *, seed: int = 3, side: int = SIDE) -> np.ndarray:
    """A picture after five steps at random."""
    env = SafetyEnv(name, render_mode="rgb_array", camera=camera)
    env.reset(seed=seed)
    env.action_space.seed(0)
    for _ in range(5):
        env.step(env.action_space.sample())
    picture = np.asarray(env.render())
    env.close()
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS))


def save(rows: list[np.ndarray], name: str) -> None:
    """One picture of a few colours."""
    picture = Image.fromarray(np.concatenate(rows)).quantize(128)
    picture.save(FOLDER / f"{name}.png", optimize=True)


rows = []
for robot in ROBOTS:
    shots = [shot(robot + level, "top") for level in SEEDS]
    rows.append(np.concatenate([*shots, shot(f"{robot}Push2", "follow")], axis=1))
save(rows, "safety_tasks")

for level, seeds in SEEDS.items():
    rows = []
    for camera in ("top", "follow"):
        shots = [
            shot(robot + level, camera, seed=seed, side=LARGE_SIDE)
            for robot, seed in zip(ROBOTS, seeds, strict=True)
        ]
        rows.append(np.concatenate(shots, axis=1))
    save(rows, f"safety_{level.lower()}")
