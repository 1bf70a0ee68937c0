"""What is a recovered reward worth? SAC is trained from scratch on it, and judged by the true reward.

Paper: Ni et al. 2020, arXiv 2011.04709; Table 3.4 of the thesis version. The rewards are those of the cells
of ``firl-benchmark`` with one expert trajectory, of their first seed. These cells belong to this experiment
too; where ``firl-benchmark`` has finished them at the same scale, their runs are taken over.

The reward is that of the last iteration. The published code chose one by hand among those saved whenever the
return by the **true** reward set a record; nothing here looks at the true reward before the end.

SAC has the settings of the experts, and the world of the cell whose reward it has: on AIRL's a fall is
absorbing. What is cut at ``laptop``: one seed, 64 x 64, 400,000 steps, 300,000 of
the Ant (the code has 1 million for the Hopper and 3 million for the others); RKL, JS and AIRL on the Hopper
only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from surefoot.experiments import Cell, Experiment, firl_benchmark
from surefoot.experiments.firl_benchmark import TASKS

RETRAINED = "retrained"
"""Group of the cells that are trained on a learned reward."""
METHODS = ("AIRL", "MaxEnt IRL", "FKL f-IRL", "RKL f-IRL", "JS f-IRL")

PUBLISHED: dict[str, dict[str, float]] = {
    "hopper": {"MaxEnt IRL": 0.93, "f-IRL": 0.93},
    "walker2d": {"MaxEnt IRL": 0.92, "f-IRL": 0.88},
    "half-cheetah": {"AIRL": -0.03, "MaxEnt IRL": 0.96, "f-IRL": 1.02},
    "ant": {"MaxEnt IRL": 0.79, "f-IRL": 0.82},
}
"""Task -> method -> share of the expert's return (Table 3.4); f-IRL is the mean of FKL, RKL and JS."""

SAC: dict[str, Any] = {
    "learning_rate": 1e-3,
    "alpha": 0.2,
    "batch_size": 100,
    "replay_capacity": 1_000_000,
    "warm_up": 10_000,
    "steps_per_iteration": 50,
    "updates_per_step": 1.0,
}
"""Settings of the experts."""


@dataclass(frozen=True)
class Scale:
    """What differs between the scales."""

    steps: Mapping[str, int]
    """Task -> environment steps of SAC a seed."""
    seeds: int
    episodes: int
    cells: Mapping[str, tuple[str, ...]]
    """Task -> methods whose reward is tried."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Settings of SAC that differ."""


_LONG = {"hopper": 1_000_000, "walker2d": 3_000_000, "half-cheetah": 3_000_000, "ant": 3_000_000}
_FEW = ("MaxEnt IRL", "FKL f-IRL")

SCALES = {
    "smoke": Scale(
        steps={"hopper": 400},
        seeds=1,
        episodes=2,
        cells={"hopper": _FEW},
        options={
            "hidden": [16, 16],
            "batch_size": 16,
            "replay_capacity": 2_000,
            "warm_up": 100,
            "steps_per_iteration": 100,
            "updates_per_step": 0.5,
        },
    ),
    "laptop": Scale(
        steps={task: 300_000 if task == "ant" else 400_000 for task in TASKS},
        seeds=1,
        episodes=20,
        cells={task: METHODS if task == "hopper" else _FEW for task in TASKS},
        options={"replay_capacity": 400_000},
    ),
    "paper": Scale(
        steps=_LONG,
        seeds=3,
        episodes=50,
        cells={task: METHODS if task == "half-cheetah" else METHODS[1:] for task in TASKS},
        options={"hidden": [256, 256]},
    ),
}


def cells(scale: str) -> tuple[Cell, ...]:
    """For each task and method, the cell that learns the reward and the one that is trained on it."""
    made = []
    for task, methods in SCALES[scale].cells.items():
        for method in methods:
            source = source_of(scale, task, method)
            made += [source, _retrained(scale, task, method, source)]
    return tuple(made)


def source_of(scale: str, task: str, method: str) -> Cell:
    """The cell of ``firl-benchmark`` whose reward is tried."""
    return firl_benchmark.cell(scale, task, 1, method)


def setting(task: str) -> str:
    """Label of the cells that are trained on a reward."""
    return f"{task},retrained"


def published(task: str, method: str) -> float | None:
    """The share of the expert's return in Table 3.4, of f-IRL that of its three forms together."""
    return PUBLISHED[task].get("f-IRL" if method.endswith("f-IRL") else method)


def _retrained(scale: str, task: str, method: str, source: Cell) -> Cell:
    at, ratio = SCALES[scale], published(task, method)
    return Cell(
        method=method,
        algorithm="sac",
        setting=setting(task),
        group=RETRAINED,
        environment=TASKS[task].environment,
        options=SAC | {"hidden": [64, 64]} | dict(at.options),
        world=source.world,
        steps=at.steps[task],
        seeds=tuple(range(at.seeds)),
        episodes=at.episodes,
        published={} if ratio is None else {"ratio": ratio},
        source=source,
        takes={"reward": {"seed": 0}},
    )


EXPERIMENT = Experiment(
    "firl-reward-recovery",
    "SAC from scratch on the rewards that f-IRL and its relatives learned from one trajectory",
    cells,
    claims="firl_reward_recovery_page:claims",
    page="firl_reward_recovery_page:write",
)
