"""Draws docs/images/safety_tasks.png: the twelve safety tasks from above, and each robot from behind.

python docs/images/safety_tasks.py
"""

from pathlib import Path

import numpy as np
from PIL import Image

from surefoot.envs.safety import SafetyEnv

SIDE = 200


def shot(name: str, camera: str) -> np.ndarray:
    """A picture after five steps at random."""
    env = SafetyEnv(name, render_mode="rgb_array", camera=camera)
    env.reset(seed=3)
    env.action_space.seed(0)
    for _ in range(5):
        env.step(env.action_space.sample())
    picture = np.asarray(env.render())
    env.close()
    return np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.LANCZOS))


rows = []
for robot in ("Point", "Car", "Doggo"):
    shots = [shot(robot + level, "top") for level in ("Goal1", "Goal2", "Push1", "Push2")]
    rows.append(np.concatenate([*shots, shot(f"{robot}Push2", "follow")], axis=1))
picture = Image.fromarray(np.concatenate(rows)).quantize(128)
picture.save(Path(__file__).with_suffix(".png"), optimize=True)
