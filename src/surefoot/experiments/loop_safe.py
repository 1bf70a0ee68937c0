"""Safe planning: does a limit on the predicted cost of plans lower violations, and what does it take?

The thesis (Sikchi 2022, chapter 2) says that planning lends itself to safety; it has no figure of it. LOOP
with and without ``plan_cost_limits``, on two tasks whose short way leads through what must not be entered:
  MarbleMaze   ``MarbleMazeTilt-v0``, the maze with real actions, with the distance to the goal as reward, for
               a plan of a few steps sees no goal; two overlapping zones lie on the straight way, and the ball
               must not be faster than 1.2 px a frame
  PointGoal1   the safety task with positions in place of the lidar, each decision held for 5 actions, 200 in
               an episode (``envs/safety/positions.py``), as in the paper on LOOP (Sikchi et al. 2021)
Both learn reward and cost; neither is known. A cell ``MarbleMaze-seed0/safe`` is one seed.

Counted are violating steps and episodes, of the episodes that were played to learn from after the random
start, and of the last planner. A cost is 0 or 1 a step. The limit is that of a plan, by the most pessimistic
network: 0.1 in the maze, that no step of it is likely to violate, and 1 in PointGoal1. There 0.1 had been
tried first, with one network for states and costs: 3 % of the candidates kept it, and it neither moved
(return 4) nor violated less (25 steps an episode).

The horizon is 8, not the thesis' 5, for what cannot be avoided any more when it comes into view is not
avoided. With the zones alone the limit did not help: a marble that may be as fast as it likes comes to twice
that speed, and then sees a zone, or the wall that it bounces off, too late.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from surefoot.experiments import Cell, Experiment

FREE, SAFE = "LOOP", "safe"
"""Labels of LOOP without limits, and with."""
METHODS = (FREE, SAFE)
STEPS, EPISODES = "violating_steps_per_episode", "violating_episodes"
"""Metrics of training and of the evaluation."""
FEASIBLE = "plan_feasible"


@dataclass(frozen=True)
class Task:
    """A task of the experiment."""

    environment: str
    world: Mapping[str, Any] = field(default_factory=dict)
    limit: float = 0.1
    """Largest predicted cost of a plan."""
    constraints: tuple[str, ...] = ()
    """Those that are counted apart as well."""
    reports_success: bool = False
    random_steps: int = 1_000


TASKS = {
    "MarbleMaze": Task(
        "MarbleMazeTilt-v0",
        {"reward": "distance", "constraints": ["zone", "speed"]},
        constraints=("zone", "speed"),
        reports_success=True,
    ),
    "PointGoal1": Task("python:surefoot.envs.safety.positions.point_goal", limit=1.0),
}


@dataclass(frozen=True)
class Scale:
    """What differs between the scales."""

    seeds: int
    steps: Mapping[str, int]
    rows: int
    """Rows of metrics of a run."""
    episodes: int
    """By which the last planner is judged; in the maze as many again, from the test starts."""
    options: Mapping[str, Any] = field(default_factory=dict)


SCALES = {
    "smoke": Scale(
        1,
        {"MarbleMaze": 500, "PointGoal1": 500},
        rows=2,
        episodes=1,
        options={
            "population": 8,
            "elites": 4,
            "cem_iterations": 1,
            "particles": 1,
            "members": 2,
            "model_hidden": [8],
            "model_batch_size": 8,
            "model_max_minibatches": 4,
            "hidden": [8],
            "batch_size": 8,
            "warm_up": 250,
        },
    ),
    "laptop": Scale(
        2,
        {"MarbleMaze": 8_000, "PointGoal1": 6_000},
        rows=20,
        episodes=20,
        options={
            "population": 50,
            "elites": 10,
            "cem_iterations": 3,
            "particles": 1,
            "model_hidden": [128, 128],
            "model_epochs": 10,
            "model_max_minibatches": 300,
            "hidden": [64, 64],
            "batch_size": 128,
        },
    ),
    "paper": Scale(5, {"MarbleMaze": 50_000, "PointGoal1": 50_000}, rows=50, episodes=50),
}


def cells(scale: str) -> tuple[Cell, ...]:
    """Both methods on both tasks: the first seed of each, then the second."""
    at = SCALES[scale]
    return tuple(
        cell(scale, task, seed, method) for seed in range(at.seeds) for task in TASKS for method in METHODS
    )


def setting(task: str, seed: int) -> str:
    """Label of a task and a seed."""
    return f"{task}-seed{seed}"


def cell(scale: str, task: str, seed: int, method: str) -> Cell:
    """One method on one task."""
    at, about = SCALES[scale], TASKS[task]
    steps = at.steps[task]
    options = {
        "steps_per_iteration": 1,
        "replay_capacity": steps,
        "plan_horizon": 8,
        "warm_up": about.random_steps,
        **at.options,
    }
    if method == SAFE:
        options["plan_cost_limits"] = [about.limit]
    return Cell(
        method=method,
        algorithm="loop",
        setting=setting(task, seed),
        environment=about.environment,
        options=options,
        world={"envs": 1, **about.world},
        steps=steps,
        seeds=(seed,),
        episodes=at.episodes,
        training_metrics=(
            "return",
            STEPS,
            EPISODES,
            *(f"{STEPS}/{name}" for name in about.constraints),
            *(("success",) if about.reports_success else ()),
            FEASIBLE,
        ),
        log_every=steps // at.rows,
    )


EXPERIMENT = Experiment(
    "loop-safe",
    "LOOP with and without a limit on the cost of its plans, on the maze and on PointGoal1",
    cells,
    claims="loop_safe_page:claims",
    page="loop_safe_page:write",
)
