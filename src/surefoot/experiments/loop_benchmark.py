"""LOOP's benchmark: does planning with a learned model and value learn faster than TD3 alone?

Thesis: Sikchi 2022, chapter 2, Figure 2.2, on four MuJoCo tasks: LOOP with TD3 inside, TD3, CEM without a
value at the end, LOOP with the value of a random policy, LOOP without CEM-AG; the dashed line is TD3 after a
million steps. The figure has no printed numbers. A cell ``HalfCheetah-seed0/LOOP`` is one seed.

The return is that of evaluations while training, by the planner, or by TD3's actor without noise; all methods
meet the same starts. Where the thesis is silent, or we differ:
  the tasks    version 5 of Gymnasium (the thesis: version 2); reward learned, ends of episodes known
  limit        on a fit of the model: 2,000 minibatches, which is less than the thesis' 5 epochs from 102,400
               transitions on; otherwise fitting takes eight times as long as planning at a million steps
  random       steps at the start: 1,000 of every variant of LOOP; 25,000 of TD3, as its authors' program of
               2020 has, but 1,000 on InvertedPendulum
All else is as in ``algorithms/planning/loop.py``.

What is cut at ``laptop``, for all methods alike, so that a cell takes about ten minutes of one core; the page
lists it with the thesis' numbers:
  length       30,000 steps on every task, not a million (InvertedPendulum has all its own); one seed, not 5
  networks     model 2 x 128, not 4 x 200; actor and critics 128-128, not 256-256, in batches of 128, not 256
  planning     1 particle in each network, not 4; 3 iterations of CEM, not 5
  fits         until nothing improves on a fifth that is held out, at most 60 epochs and 200 minibatches; five
               epochs are too few while the buffer is small, and 200 minibatches are less than two epochs at
               the end
  random       1,000 steps of TD3 as of LOOP: with 25,000 most of its run would be random
  evaluation   one episode every 3,000 steps (2,500 on InvertedPendulum)

``TASK-reference/TD3-1M`` is the dashed line, TD3 with its own 25,000 random steps. It is dear, and nothing
else needs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from surefoot.experiments import Cell, Experiment

REFERENCE = "TD3-1M"
"""Label of the dashed line; also its group."""
PLANNER, ACTOR, GREEDY = "eval_return", "eval_actor_return", "eval_greedy_return"
"""Metrics of training: return of the planner, of LOOP's actor alone, and of TD3's (or MBPO's) actor, both
without noise."""
DIVERGENCE, USAGE = "actor_divergence", "plan_usage"


@dataclass(frozen=True)
class Task:
    """One of the four tasks, at the thesis' settings (Table 2.1)."""

    plan_horizon: int = 5
    steps: int = 1_000_000
    random_steps: int = 25_000
    """Of TD3 at its start."""

    @property
    def short(self) -> bool:
        """Whether a run is short enough to be shown in finer steps."""
        return self.steps < 100_000


TASKS = {
    "InvertedPendulum": Task(steps=30_000, random_steps=1_000),
    "HalfCheetah": Task(),
    "Hopper": Task(),
    "Walker2d": Task(plan_horizon=3),
}

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "LOOP": ("loop", {}),
    "TD3": ("td3", {}),
    "only CEM": ("loop", {"terminal": "none"}),
    "random Q": ("loop", {"terminal": "random"}),
    "without CEM-AG": ("loop", {"actor_sequences": 0}),
}
"""Label -> algorithm and its own settings, in the order of the thesis' legend."""


@dataclass(frozen=True)
class Scale:
    """What differs between the scales."""

    tasks: tuple[str, ...]
    seeds: int
    steps: int
    """Environment steps, of InvertedPendulum at most its own."""
    every: int
    """Steps between two evaluations."""
    short_every: int
    """The same on InvertedPendulum."""
    evaluate_episodes: int
    """Of each evaluation."""
    episodes: int
    """By which the last policy is judged."""
    reference_steps: int
    """Of the dashed line; none where a run of TD3 is as long anyway."""
    rows: int = 5
    """Rows of metrics between two evaluations."""
    warm_up: int | None = None
    """Random steps of TD3, where they are not the task's."""
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Algorithm -> settings that differ."""


_SMOKE: dict[str, Any] = {"hidden": [8], "batch_size": 8, "warm_up": 20}
_SMOKE_LOOP: dict[str, Any] = {
    **_SMOKE, "population": 8, "elites": 4, "cem_iterations": 2, "particles": 1,
    "members": 2, "model_hidden": [8], "model_every": 20, "model_batch_size": 8,
}  # fmt: skip

LAPTOP: dict[str, Any] = {"hidden": [128, 128], "batch_size": 128}
"""Smaller networks of every learner."""
LAPTOP_MODEL: dict[str, Any] = {"model_hidden": [128, 128], "model_max_minibatches": 200}
"""A smaller model of every learner that has one."""
_LAPTOP_LOOP: dict[str, Any] = {
    "particles": 1, "cem_iterations": 3, "model_epochs": 60, "model_holdout": 0.2, "model_patience": 5,
}  # fmt: skip

SCALES = {
    "smoke": Scale(
        ("InvertedPendulum", "Walker2d"),
        seeds=1,
        steps=200,
        every=100,
        short_every=20,
        evaluate_episodes=1,
        episodes=2,
        reference_steps=400,
        rows=1,  # of finer rows the last may see no episode end, and has no return
        options={"loop": _SMOKE_LOOP, "td3": _SMOKE},
    ),
    "laptop": Scale(
        tuple(TASKS),
        seeds=1,
        steps=30_000,
        every=3_000,
        short_every=2_500,
        evaluate_episodes=1,
        episodes=5,
        reference_steps=1_000_000,
        warm_up=1_000,
        options={"loop": LAPTOP | LAPTOP_MODEL | _LAPTOP_LOOP, "td3": LAPTOP},
    ),
    "paper": Scale(
        tuple(TASKS),
        seeds=5,
        steps=1_000_000,
        every=5_000,
        short_every=1_000,
        evaluate_episodes=5,
        episodes=20,
        reference_steps=1_000_000,
    ),
}


def cells(scale: str) -> tuple[Cell, ...]:
    """Every cell at that scale: the first seed of every task, then the second; dashed lines last."""
    at = SCALES[scale]
    made = [
        cell(scale, task, seed, method) for seed in range(at.seeds) for task in at.tasks for method in METHODS
    ]
    return (
        *made,
        *(reference(scale, task) for task in at.tasks if steps_of(scale, task) < at.reference_steps),
    )


def setting(task: str, seed: int) -> str:
    """Label of a task and a seed."""
    return f"{task}-seed{seed}"


def steps_of(scale: str, task: str) -> int:
    """Environment steps of a run."""
    return min(SCALES[scale].steps, TASKS[task].steps)


def cell(
    scale: str,
    task: str,
    seed: int,
    method: str,
    *,
    label: str = "",
    options: Mapping[str, Any] | None = None,
    metrics: tuple[str, ...] = (),
    steps: int | None = None,
) -> Cell:
    """One method on one task; other experiments have the same cells as their own.

    With a ``label`` it is a variant of that method, with these ``options`` besides, which logs ``metrics``
    as well.
    """
    at, about = SCALES[scale], TASKS[task]
    algorithm, own = METHODS[method]
    length = steps_of(scale, task) if steps is None else steps
    every = at.short_every if about.short else at.every
    # Written out, so that the size of a checkpoint is that of the run.
    settings: dict[str, Any] = {"steps_per_iteration": 1, "replay_capacity": length}
    if algorithm == "td3":
        settings["warm_up"] = at.warm_up or about.random_steps
    else:
        settings["plan_horizon"] = about.plan_horizon
    return Cell(
        method=label or method,
        algorithm=algorithm,
        setting=setting(task, seed),
        environment=f"gymnasium:{task}-v5",
        options=settings | dict(at.options.get(algorithm, {})) | own | dict(options or {}),
        world={"envs": 1},
        steps=length,
        seeds=(seed,),
        episodes=at.episodes,
        training_metrics=(*logged(method), *metrics),
        log_every=max(1, every // at.rows),
        evaluate_every=every,
        evaluate_episodes=at.evaluate_episodes,
    )


def logged(method: str) -> tuple[str, ...]:
    """Metrics that count as numbers of a method's cells; that of its evaluations is the first."""
    if method == "TD3":
        return (GREEDY, "return")
    if method in ("only CEM", "random Q"):
        return (PLANNER, "return")
    return (PLANNER, ACTOR, "return", DIVERGENCE, *((USAGE,) if method == "LOOP" else ()))


def reference(scale: str, task: str) -> Cell:
    """TD3 for as long as the thesis trained it, one seed, evaluated twenty times."""
    at, about = SCALES[scale], TASKS[task]
    every = at.reference_steps // 20
    return Cell(
        method=REFERENCE,
        algorithm="td3",
        setting=f"{task}-reference",
        group=REFERENCE,
        environment=f"gymnasium:{task}-v5",
        options={
            "steps_per_iteration": 1,
            "replay_capacity": at.reference_steps,
            "warm_up": about.random_steps,
            **at.options.get("td3", {}),
        },
        world={"envs": 1},
        steps=at.reference_steps,
        seeds=(0,),
        episodes=at.episodes,
        training_metrics=logged("TD3"),
        log_every=every,
        evaluate_every=every,
        evaluate_episodes=at.episodes,
    )


EXPERIMENT = Experiment(
    "loop-benchmark",
    "LOOP, TD3, only CEM, random Q and LOOP without CEM-AG on MuJoCo tasks",
    cells,
    claims="loop_benchmark_page:claims",
    page="loop_benchmark_page:write",
)
