"""``surefoot render RUN``: rollouts of a run's policy as an animation, GIF or MP4."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import Positional

from surefoot.cli._common import find_run, parse
from surefoot.errors import SurefootError, check_range

if TYPE_CHECKING:
    import numpy as np

    from surefoot.training.run import Run

LONGEST = 400
"""Pictures an episode."""
PLAYED = 200
"""Pictures of an episode that is played for them; of a longer one every second (third, ...) step is shown."""

LESSON = """\
Draw a run's policy at work. On the Marble Maze the episodes are those of `surefoot evaluate`; in an
environment of Gymnasium new ones are played, if it can draw itself."""


@dataclass(frozen=True)
class Options:
    """What is drawn, and where it goes."""

    run: Positional[Path]
    """Folder of the run, or its name below runs/."""
    out: Path | None = None
    """A .gif, or an .mp4 (needs the extra `video`); RUN/rollouts.gif if not given."""
    episodes: int = 3
    """How many, one after the other."""
    seed: int | None = None
    """Seed of the training whose policy is drawn; the first one if not given."""
    starts: Literal["train", "test"] = "test"
    """Set of starts, on the Marble Maze."""
    size: int = 480
    """Width and height in pixels, on the Marble Maze."""
    from_above: bool = False
    """Look straight down on the maze."""


def main(argv: list[str]) -> int:
    """Writes the animation and prints where it is."""
    options = parse(Options, argv, prog="surefoot render", description=LESSON)
    check_range("episodes", options.episodes, low=1)
    check_range("size", options.size, low=64, high=2048)
    from surefoot.training.run import Run, atomic_write

    run = Run(find_run(options.run))
    out = options.out or run.path / "rollouts.gif"
    if out.suffix not in (".gif", ".mp4"):
        raise SurefootError(f"--out {out}: the name must end in .gif or .mp4.")
    writer = None if out.suffix == ".gif" else _mp4_writer()
    if options.seed is not None and options.seed not in run.seeds:
        raise SurefootError(
            f"--seed {options.seed}: this run has the seeds {', '.join(map(str, run.seeds))}."
        )
    if (run.config["world"] or {}).get("id") == "MarbleMaze-v0":
        episodes = maze_episodes(run, options)
    else:
        episodes = gymnasium_episodes(run, options)
    if writer is None:
        from surefoot.reports import video

        atomic_write(out, video.gif(episodes))
    else:
        _write_mp4(writer, out, episodes)
    pictures = sum(map(len, episodes))
    print(f"{out}: {len(episodes)} episode{'s' * (len(episodes) > 1)}, {pictures} pictures")
    return 0


def maze_episodes(run: Run, options: Options) -> list[list[np.ndarray]]:
    """Pictures of the first episodes that the evaluation kept."""
    import numpy as np

    from surefoot.evaluation.episodes import read_tables
    from surefoot.reports import video

    tables = read_tables(run.path / "rollouts.npz")
    table = tables.get("test_" if options.starts == "test" else "", tables[""])
    row = 0 if options.seed is None else run.seeds.index(options.seed)
    maze = run.config["world"]["options"]
    count = min(options.episodes, table.paths.shape[1])
    episodes = []
    for number in range(count):
        observations, flags = table.path(row, number)
        episodes.append(
            video.maze_frames(
                maze["board"],
                observations,
                np.asarray(flags.any(axis=1)),
                size=options.size,
                most=LONGEST,
                text=f"{number + 1} of {count}",
                perspective=not options.from_above,
                goal_radius=float(maze["goal_radius"]),
            )
        )
    return episodes


def gymnasium_episodes(run: Run, options: Options) -> list[list[np.ndarray]]:
    """Pictures of new episodes in an environment that draws itself (``render_mode="rgb_array"``)."""
    import numpy as np

    from surefoot import worlds
    from surefoot.algorithms import plans
    from surefoot.envs import GYMNASIUM, is_simulated
    from surefoot.training.policy_io import load_policy

    described = run.config["world"]
    if not described["id"]:
        raise SurefootError(
            f"The environment of {run.path} was made by a function that cannot be found again, so it cannot "
            "be drawn; put the function into a module, and train with --env python:MODULE.FUNCTION."
        )
    if described["id"] in GYMNASIUM and not is_simulated(
        described["id"]
    ):  # its form for Gymnasium draws itself
        ours = {"env_options": described["options"]}
        described = {"id": f"gymnasium:surefoot/{described['id']}", "envs": 1, "options": ours}
    elif described["id"].startswith("python:") and worlds.from_description(described, envs=1).compiled:
        raise SurefootError(
            f"The environment of {run.path}, {described['id']}, is written in JAX and cannot be drawn; only "
            "environments of Gymnasium, and those that come along, draw themselves."
        )
    own = {**described["options"].get("env_options", {}), "render_mode": "rgb_array"}
    try:
        adapter: Any = worlds.from_description(described, envs=1, env_options=own).adapter  # type: ignore[union-attr]
    except SurefootError as error:
        if "'render_mode'" not in str(error):
            raise
        raise SurefootError(
            f"The environment of {run.path} takes no render_mode, so it cannot be drawn; let its constructor "
            'take render_mode="rgb_array".'
        ) from None
    policy = load_policy(run.path, options.seed)
    if plans(run.config["learner"]["name"]):
        print(
            "note: drawn is the actor of a planner alone; `surefoot evaluate` plays the planner.",
            file=sys.stderr,
        )
    rng = np.random.default_rng(0)
    env = adapter.factory()
    horizon = adapter.task.horizon
    every, last = (1, LONGEST - 1) if horizon is None else (-(-horizon // PLAYED), horizon)
    episodes = []
    for number in range(options.episodes):
        raw, observation = adapter.reset(env, seed=number)
        frames = [_picture(env, run)]
        for step in range(1, last + 1):
            outcome = adapter.step(env, raw, np.asarray(policy.act(observation, rng) - policy.start), step)
            raw, observation = outcome.raw, outcome.observation
            ended = outcome.terminated or outcome.truncated
            if ended or step % every == 0:
                frames.append(_picture(env, run))
            if ended:
                break
        episodes.append(frames)
    env.close()
    return episodes


def _picture(env: Any, run: Run) -> np.ndarray:
    import gymnasium
    import numpy as np

    try:
        picture = env.render()
    except gymnasium.error.DependencyNotInstalled as error:
        raise SurefootError(
            f'The environment cannot draw itself: {error}. `pip install "surefoot[play]"` brings pygame.'
        ) from None
    if not isinstance(picture, np.ndarray) or picture.ndim != 3:
        raise SurefootError(f"The environment of {run.path} draws no pictures (render_mode='rgb_array').")
    if picture.dtype != np.uint8 or picture.shape[-1] not in (3, 4):
        raise SurefootError(
            f"The environment of {run.path} draws arrays {picture.shape} of type {picture.dtype}; they must "
            "be [height, width, 3] of type uint8."
        )
    return picture[..., :3]


def _mp4_writer() -> Any:
    try:
        import imageio_ffmpeg  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise SurefootError(
            'An .mp4 needs the extra `video`: pip install "surefoot[video]". A .gif needs nothing more.'
        ) from None
    return imageio_ffmpeg


def _write_mp4(imageio_ffmpeg: Any, out: Path, episodes: Sequence[Sequence[np.ndarray]]) -> None:
    """One film of all episodes, with a pause after each; appears whole or not at all."""
    from surefoot.reports.video import MILLISECONDS

    fps = 1000 / MILLISECONDS
    height, width = episodes[0][0].shape[:2]
    width, height = width - width % 2, height - height % 2  # the usual colour format halves both
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(f".{out.name}.{os.getpid()}.tmp.mp4")
    try:
        film = imageio_ffmpeg.write_frames(str(unfinished), (width, height), fps=fps, macro_block_size=2)
        film.send(None)
        for episode in episodes:
            for picture in [*episode, *[episode[-1]] * round(fps)]:
                film.send(picture[:height, :width].tobytes())
        film.close()
        os.replace(unfinished, out)
    finally:
        unfinished.unlink(missing_ok=True)
