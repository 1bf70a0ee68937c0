"""Draws docs/images/plane.png: the point mass on its way to the goal, and the arm drawing a curl.

python docs/images/plane.py
"""

from pathlib import Path

import numpy as np
from PIL import Image

from surefoot.envs.jax_gym import PointMassGym, ReacherTraceGym

room = PointMassGym(render_mode="rgb_array", size=6.0, reward="goals")
room.reset(seed=0)
rng = np.random.default_rng(1)
for _ in range(14):
    room.step(rng.uniform([-0.2, -0.4], [1.0, 1.0]))

arm = ReacherTraceGym(render_mode="rgb_array")
arm.reset(seed=0)
for t in range(30):
    arm.step([0.12, 0.9 * np.cos(t / 3)])

sides = [room.render(), arm.render()]
picture = Image.fromarray(np.concatenate([side for side in sides if side is not None], axis=1))
picture.resize((640, 320), Image.Resampling.LANCZOS).save(Path(__file__).with_suffix(".png"), optimize=True)
