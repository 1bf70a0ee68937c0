"""Draws docs/images/bodies.png: the environments in MuJoCo, a few steps after their start.

python docs/images/bodies.py
"""

from pathlib import Path

import gymnasium
import numpy as np
from PIL import Image

import surefoot  # noqa: F401  makes the environments known

SIDE = 200
ROWS = (
    ("FixedHopper-v0", "FixedWalker2d-v0", "FixedHalfCheetah-v0"),
    ("FixedAnt-v0", "CustomAnt-v0", "DisabledAnt-v0"),
)


def shot(name: str) -> np.ndarray:
    """A picture after ten steps without torques."""
    env = gymnasium.make(f"surefoot/{name}", render_mode="rgb_array")
    env.reset(seed=1)
    for _ in range(10):
        env.step(np.zeros(env.action_space.shape))  # type: ignore[arg-type]
    picture = np.asarray(env.render())
    env.close()
    return np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.LANCZOS))


whole = np.concatenate([np.concatenate([shot(name) for name in row], axis=1) for row in ROWS])
Image.fromarray(whole).save(Path(__file__).with_suffix(".png"), optimize=True)
