"""LOOP beside MBPO: is planning online worth as much as learning from simulated steps?

Thesis: Sikchi 2022, chapter 2, Figure 2.3: LOOP with SAC inside, and MBPO (Janner et al. 2019), which is SAC
on short rollouts of the model, by its authors' program without tuning. The figure has no printed numbers.

LOOP-SAC is LOOP of the benchmark (see ``loop_benchmark``) with SAC inside. MBPO's settings are those of its
program for each task, in ``MBPO``; its actor is evaluated without noise. Its model has 7 networks, 5 of which
are used, and is fitted until it no longer gains.

What is cut at ``laptop``, beside what the benchmark cuts of both: 15,000 steps, 10,000 of InvertedPendulum;
MBPO makes 10 gradient updates a step on every task, not 20 or 40, and begins after 1,000 random steps, as
LOOP does, not after 5,000 (500). Its fits take at most 200 minibatches, as LOOP's do, not 10,000.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from surefoot.experiments import Cell, Experiment, loop_benchmark
from surefoot.experiments.loop_benchmark import GREEDY, setting

PLANNING, RIVAL, MATCHED = "LOOP-SAC", "MBPO", "LOOP-SAC, as many updates"
METHODS = (PLANNING, RIVAL)
"""Of the thesis' figure."""

MBPO: dict[str, dict[str, Any]] = {
    "InvertedPendulum": {
        "updates_per_step": 10.0,
        "target_entropy": -0.05,
        "epoch_steps": 250,
        "warm_up": 500,
    },
    "HalfCheetah": {"updates_per_step": 40.0, "target_entropy": -3.0, "warm_up": 5_000},
    "Hopper": {
        "updates_per_step": 20.0,
        "target_entropy": -1.0,
        "warm_up": 5_000,
        "rollout_schedule": [1.0, 15.0, 20.0, 150.0],
    },
    "Walker2d": {"updates_per_step": 20.0, "target_entropy": -3.0, "warm_up": 5_000},
}
"""Settings of its authors' program, by task."""
STEPS = {"InvertedPendulum": 20_000, "HalfCheetah": 400_000, "Hopper": 125_000, "Walker2d": 300_000}
"""Environment steps in its program, which both methods take at ``paper``."""


@dataclass(frozen=True)
class Scale:
    """What differs between the scales, beside what the benchmark's do."""

    steps: Mapping[str, int]
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of MBPO, on every task."""


SCALES = {
    "smoke": Scale(
        dict.fromkeys(loop_benchmark.SCALES["smoke"].tasks, 100),
        {
            "hidden": [8],
            "batch_size": 8,
            "warm_up": 20,
            "updates_per_step": 2.0,
            "rollouts_per_step": 2,
            "epoch_steps": 40,
            "members": 2,
            "model_elites": 1,
            "model_hidden": [8],
            "model_every": 20,
            "model_epochs": 3,
            "model_batch_size": 8,
        },
    ),
    "laptop": Scale(
        {task: 10_000 if task == "InvertedPendulum" else 15_000 for task in STEPS},
        # Within 15 epochs Hopper's rollouts have one step anyway; a schedule to 15 would only take memory.
        {
            **loop_benchmark.LAPTOP,
            **loop_benchmark.LAPTOP_MODEL,
            "updates_per_step": 10.0,
            "warm_up": 1_000,
            "rollout_schedule": [1.0, 1.0, 20.0, 150.0],
        },
    ),
    "paper": Scale(STEPS),
}


def cells(scale: str) -> tuple[Cell, ...]:
    """Every method on every task: the first seed of each, then the second."""
    at = loop_benchmark.SCALES[scale]
    return tuple(
        make(scale, task, seed)
        for seed in range(at.seeds)
        for task in at.tasks
        for make in (planning_cell, rival_cell, matched_cell)
    )


def planning_cell(scale: str, task: str, seed: int, label: str = PLANNING, **options: Any) -> Cell:
    """LOOP with SAC inside; with a ``label``, a variant with these ``options`` besides."""
    return loop_benchmark.cell(
        scale,
        task,
        seed,
        "LOOP",
        label=label,
        options={"off_policy": "sac", **options},
        steps=SCALES[scale].steps[task],
    )


def matched_cell(scale: str, task: str, seed: int) -> Cell:
    """LOOP with SAC inside and with MBPO's gradient updates a step."""
    updates = rival_cell(scale, task, seed).options["updates_per_step"]
    return planning_cell(scale, task, seed, MATCHED, updates_per_step=updates)


def rival_cell(scale: str, task: str, seed: int) -> Cell:
    """MBPO for as many steps, evaluated as often."""
    like, at = planning_cell(scale, task, seed), SCALES[scale]
    return Cell(
        method=RIVAL,
        algorithm="mbpo",
        setting=setting(task, seed),
        environment=like.environment,
        options={
            "steps_per_iteration": 1,
            "replay_capacity": like.steps,
            **MBPO[task],
            **at.options,
        },
        world=like.world,
        steps=like.steps,
        seeds=like.seeds,
        episodes=like.episodes,
        training_metrics=(GREEDY, "return"),
        log_every=like.log_every,
        evaluate_every=like.evaluate_every,
        evaluate_episodes=like.evaluate_episodes,
    )


EXPERIMENT = Experiment(
    "loop-mbpo",
    "LOOP with SAC inside beside MBPO on MuJoCo tasks",
    cells,
    claims="loop_mbpo_page:claims",
    page="loop_mbpo_page:write",
)
