"""Draws docs/images/marble_maze.gif from two evaluated runs:

python docs/images/marble_maze.py RUN_OF_SAC RUN_OF_SCOPIL
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from surefoot.evaluation.episodes import read_tables
from surefoot.reports.video import maze_frames

SIZE = 220
EPISODE = 1

columns = []
for run, label in zip(sys.argv[1:3], ("discrete SAC", "SCOPIL"), strict=True):
    table = read_tables(Path(run) / "rollouts.npz")["test_"]
    observations, violated = table.path(0, EPISODE)
    columns.append(maze_frames("gap", observations, violated.any(axis=-1), size=SIZE, text=label))
length = max(map(len, columns))
frames = [
    Image.fromarray(np.concatenate([column[min(i, len(column) - 1)] for column in columns], axis=1))
    for i in range(length)
]
frames = [frame.quantize(96) for frame in frames]
here = Path(__file__).parent
frames[0].save(
    here / "marble_maze.gif",
    save_all=True,
    append_images=frames[1:],
    duration=[90] * (length - 1) + [1800],
    loop=0,
)
