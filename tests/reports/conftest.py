"""Run folders as training and evaluation leave them, made up in a moment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from surefoot.envs import marble_maze_board as geometry
from surefoot.evaluation.episodes import EpisodeTable, summarise, way_left, ways
from surefoot.evaluation.evaluate import Evaluation, maze_positions, write
from surefoot.training.run import Run, write_json

OPENING = np.array([240.0, 240.0])


def maze_path(rng: np.random.Generator, start: np.ndarray, side: float, steps: int) -> np.ndarray:
    """Observations ``[steps + 1, 8]`` of a smooth way through the opening, past the zones on one side."""
    past = np.array([160.0, 160.0]) + side * np.array([60.0, -60.0])
    corners = np.stack([start, OPENING, past, np.array(geometry.GOAL)])
    share = np.linspace(0, 3, steps + 1)
    points = np.stack([np.interp(share, range(4), corners[:, axis]) for axis in range(2)], axis=1)
    points[1:-1] += rng.normal(0, 3, (steps - 1, 2))
    observations = np.zeros((steps + 1, 8), np.float32)
    observations[:, :2] = points / 240 - 1
    observations[:, 4:6] = 0.2 * np.sin(share[:, None] * np.array([2.0, 3.0]))
    return observations


def maze_table(
    rng: np.random.Generator, starts: str, constraints: tuple[str, ...], seeds: int, episodes: int, bad: float
) -> EpisodeTable:
    """Episodes of which a share ``bad`` violates each constraint."""
    horizon, count = 60, len(constraints)
    shape = (seeds, episodes)
    lengths = rng.integers(35, horizon + 1, shape)
    flags = rng.random((*shape, horizon, count)) < 0.2
    flags &= (rng.random((*shape, 1, count)) < bad) & (
        np.arange(horizon)[None, None, :, None] < lengths[..., None, None]
    )
    success = rng.random(shape) < 0.97
    paths = np.zeros((*shape, horizon + 1, 8), np.float32)
    points = geometry.starts(starts)
    for seed, episode in np.ndindex(shape):
        length = int(lengths[seed, episode])
        start = points[rng.integers(len(points))]
        paths[seed, episode, : length + 1] = maze_path(rng, start, rng.choice([-1.0, 1.0]), length)
        paths[seed, episode, length:] = paths[seed, episode, length]
    steps = flags.sum(axis=2)
    return EpisodeTable(
        returns=10.0 * success - 0.1 * lengths + rng.normal(0, 0.2, shape),
        lengths=lengths,
        success=success,
        violating_steps_any=flags.any(axis=3).sum(axis=2),
        costs=steps.astype(float),
        violating_steps=steps,
        paths=paths,
        path_violations=flags,
    )


def curves(rng: np.random.Generator, seeds: int, steps: int, bad: float, columns: tuple[str, ...]) -> str:
    """Text of a ``metrics.csv``."""
    lines = [",".join(["iteration", "steps", "seed", *columns])]
    for row in range(1, 101):
        share = row / 100
        for seed in range(seeds):
            values = {
                "return": -20 + 27 * (1 - np.exp(-6 * share)) + rng.normal(0, 1),
                "success": min(1.0, 1.3 * share),
                "violating_episodes": float(np.clip(bad + (0.9 - bad) * np.exp(-5 * share), 0, 1)),
                "alpha": 0.3 * np.exp(-4 * share) + 0.01,
                "lambda": 1.05 + 2 * share * (1 - share) + 0.1 * seed,
                "demo_nll": np.exp(-share),
            }
            if row < 4:
                values |= {name: float("nan") for name in ("return", "success", "violating_episodes")}
            numbers = [repr(float(values[name])) for name in columns]
            lines.append(",".join([str(row), str(row * steps // 100), str(seed), *numbers]))
    return "\n".join(lines) + "\n"


def make_run(
    path: Path,
    learner: str = "scopil",
    *,
    options: dict[str, Any] | None = None,
    world: dict[str, Any] | None = None,
    constraints: tuple[str, ...] = ("zone", "speed"),
    board: str = "gap",
    seeds: int = 3,
    episodes: int = 12,
    bad: float = 0.05,
    columns: tuple[str, ...] = ("return", "success", "violating_episodes", "alpha", "lambda"),
    warnings: dict[str, str] | None = None,
    evaluated: bool = True,
    **config: Any,
) -> Run:
    """A finished run on the maze, or elsewhere if ``world`` says so."""
    rng = np.random.default_rng(sum(map(ord, path.name)))
    maze = world is None
    world = world or {
        "id": "MarbleMaze-v0",
        "envs": 16,
        "options": {"board": board, "constraints": list(constraints), "starts": "train", "goal_radius": 24.0},
    }
    write_json(
        path / "config.json",
        {
            "format": 1,
            "learner": {"name": learner, "options": options or {"batch": 256, "discount": 0.99}},
            "world": world,
            "demonstrations": {"source": "marble-maze/zone+speed", "digest": "ab" * 32},
            "seeds": list(range(seeds)),
            "steps": 100_000,
            "iterations": 100,
            "log_every": 1000,
            "command": f"surefoot train {learner} --seeds {seeds}",
            "versions": {"python": "3.11.7", "surefoot": "0.1.0", "jax": "0.10.2"},
            **config,
        },
    )
    (path / "metrics.csv").write_text(curves(rng, seeds, 100_000, bad, columns))
    if warnings:
        write_json(path / "warnings.json", warnings)
    run = Run(path)
    if not evaluated:
        return run
    tables, metrics = {}, {}
    for prefix, starts in {"": "train", "test_": "test"}.items() if maze else {"": "train"}.items():
        table = maze_table(rng, starts, constraints, seeds, episodes, bad)
        metrics |= summarise(table, constraints, True, prefix, (0.0,) * len(constraints))
        if board == "island":
            metrics[f"{prefix}way_left"] = way_left(ways(table, maze_positions, (163.2, 163.2)))
        tables[prefix] = table
    write(
        Evaluation(
            metrics=metrics,
            environment=world["id"],
            constraints=constraints,
            mode="sample",
            episodes=episodes,
            seeds=tuple(range(seeds)),
            seed=12345,
            steps=100_000,
            method=learner,
            notes=() if constraints else ("violations cannot be measured: the environment reports no cost.",),
            tables=tables,
        ),
        run,
    )
    return run


@pytest.fixture(name="make_run")
def make_run_fixture() -> Callable[..., Run]:
    return make_run
