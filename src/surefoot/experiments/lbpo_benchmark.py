"""LBPO's benchmark: return, and how often the limit is broken while training, on the twelve safety tasks.

Thesis: Sikchi 2022, chapter 4, Tables 4.1 to 4.4. Six methods, each run one seed a cell. What is counted is
the share of the epochs whose behaviour policy, exploration noise included, has a mean cost above 25; the
return is the mean over the last tenth of the epochs, and its share of our own PPO's.

A cell ``TASK-seed0/METHOD`` starts from ``TASK-seed0/safe-start``: a policy that was trained on the cost
alone until an episode costs 5 (Point, Car) or 1 (Doggo), which matches the published starts, or its steps
are up (on PointGoal2), and its critics. PPO knows no cost and starts from scratch.

Settings are those of the thesis' program (``lbpo.py`` and its relatives have them as defaults). Where we
differ, or the thesis is silent:
  networks    64 x 64 at ``laptop``, for critics what the text has; 256 x 256 of the program at ``paper``,
              where the text has three layers of 256 for policies
  PPO         and PPO-Lagrangian: 20 passes in minibatches of 500, stopped at a divergence of 0.015; the
              starter agents that the thesis uses descend 80 times on the whole batch
  spread      of PPO, PPO-Lagrangian and CPO: 0.61 half widths at the start, learned from there, which is that
              of the starter agents; the thesis does not say what it was
  the return  of the last tenth of the epochs; the thesis has "the converged policy"
  the tasks   on today's MuJoCo, see docs/safety_tasks.md

What is cut at ``laptop``: seven of the twelve tasks; two seeds of three; 3 million steps for Point and Car, 1
million for the Doggo, of 20 million. So there are 100 epochs of 667, and LBPO, BACKTRACK, SDDPG and the safe
start are set to learn more from each (``QUICK`` below):
  noise       delta = 0.3 in place of 0.05. The trust region moves an action by 0.155 delta an epoch, so a
              hundred epochs move it by 0.8 at most with 0.05, by 4.7 with 0.3; 667 epochs by 5.2 with 0.05
  critics     TD(lambda) targets, fitted before the step, as the thesis' text has it (its program: Monte Carlo
              returns, after the step); 600 steps of Adam in minibatches of 500 in place of 80 on all 30,000,
              which is an eighth of the arithmetic; the value networks of CPO are fitted so, too
  beta        0.02 on every task, the largest of those that the thesis searched, chosen on PointGoal1 with
              seed 0 (``lbpo-beta``); the thesis' Table 4.4 has 0.005 to 0.01
What each of these does on PointGoal1 is in docs/lbpo.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from surefoot.experiments import Cell, Experiment

LIMIT = 25.0
START = "safe-start"
METHODS = ("PPO", "PPO-Lagrangian", "CPO", "SDDPG", "BACKTRACK", "LBPO")
"""In the order of the thesis' tables."""


@dataclass(frozen=True)
class Task:
    """One of the twelve tasks: LBPO's beta there (Table 4.4), and the published rows."""

    beta: float
    unsafe: tuple[float, ...]
    """Table 4.1, in the order of ``METHODS``: share of unsafe behaviour policies."""
    returns: tuple[float, ...]
    """Table 4.3."""
    shares: tuple[float, ...]
    """Table 4.2: returns over PPO's, 0 if negative."""

    def published(self, method: str) -> dict[str, float]:
        """The row of one method, by metric."""
        column = METHODS.index(method)
        names = ("unsafe_epochs", "return", "relative_return")
        values = (self.unsafe, self.returns, self.shares)
        return {name: row[column] for name, row in zip(names, values, strict=True)}


TASKS = {
    "PointGoal1": Task(
        0.005,
        (1.00, 0.48, 0.79, 0.78, 0.85, 0.04),
        (22.99, 19.00, 10.26, 10.45, 15.54, 11.06),
        (1.00, 0.826, 0.450, 0.451, 0.670, 0.480),
    ),
    "PointGoal2": Task(
        0.01,
        (0.98, 0.60, 0.75, 0.98, 0.94, 0.34),
        (23.04, 4.60, -0.37, -0.08, 1.04, 0.61),
        (1.00, 0.200, 0.000, 0.000, 0.045, 0.026),
    ),
    "PointPush1": Task(
        0.005,
        (1.00, 0.51, 0.14, 0.12, 0.19, 0.00),
        (4.61, 3.04, 1.73, 2.71, 2.43, 3.15),
        (1.00, 0.659, 0.375, 0.587, 0.527, 0.683),
    ),
    "PointPush2": Task(
        0.005,
        (1.00, 0.51, 0.66, 0.36, 0.77, 0.00),
        (2.15, 1.04, 0.46, 0.48, 0.89, 0.77),
        (1.00, 0.483, 0.213, 0.221, 0.413, 0.358),
    ),
    "CarGoal1": Task(
        0.005,
        (1.00, 0.56, 0.89, 0.54, 0.79, 0.03),
        (34.62, 15.55, 2.76, 3.38, 17.22, 13.03),
        (1.00, 0.449, 0.079, 0.097, 0.497, 0.376),
    ),
    "CarGoal2": Task(
        0.008,
        (1.00, 0.61, 0.57, 0.68, 0.84, 0.00),
        (26.70, 1.78, 4.60, 5.74, 4.35, 5.62),
        (1.00, 0.066, 0.172, 0.215, 0.162, 0.210),
    ),
    "CarPush1": Task(
        0.005,
        (0.99, 0.39, 0.10, 0.26, 0.23, 0.01),
        (3.89, 2.72, -3.13, 1.69, 3.38, 1.89),
        (1.00, 0.697, 0.000, 0.434, 0.868, 0.485),
    ),
    "CarPush2": Task(
        0.005,
        (1.00, 0.58, 0.49, 0.23, 0.79, 0.03),
        (2.03, 0.72, 0.82, 0.75, 0.81, 0.94),
        (1.00, 0.353, 0.403, 0.369, 0.399, 0.430),
    ),
    "DoggoGoal1": Task(
        0.005,
        (1.00, 0.90, 0.00, 0.00, 0.07, 0.00),
        (38.76, -0.65, 0.14, 0.10, 0.15, 0.28),
        (1.00, 0.000, 0.003, 0.002, 0.003, 0.007),
    ),
    "DoggoGoal2": Task(
        0.008,
        (1.00, 0.45, 0.00, 0.00, 0.00, 0.00),
        (18.38, 0.31, 0.04, 0.06, 0.06, 0.06),
        (1.00, 0.016, 0.002, 0.003, 0.003, 0.003),
    ),
    "DoggoPush1": Task(
        0.005,
        (0.98, 0.56, 0.00, 0.00, 0.00, 0.00),
        (0.82, 0.07, 0.01, 0.00, 0.06, 0.01),
        (1.00, 0.080, 0.014, 0.001, 0.079, 0.012),
    ),
    "DoggoPush2": Task(
        0.005,
        (1.00, 0.34, 0.00, 0.00, 0.09, 0.00),
        (1.10, 0.08, 0.00, 0.00, 0.07, -0.01),
        (1.00, 0.071, 0.000, 0.000, 0.063, 0.000),
    ),
}

PPO: dict[str, Any] = {
    "passes": 20,
    "minibatch": 500,
    "trace": 0.97,
    "initial_std": 0.6065,
    "target_kl": 0.01,
}
"""Settings of PPO; PPO-Lagrangian has them, too."""


QUICK: dict[str, Any] = {
    "exploration": 0.3,
    "targets": "td-lambda",
    "critic_fit": "before",
    "critic_steps": 600,
    "critic_minibatch": 500,
}
"""Settings with which methods that descend a critic learn in a hundred epochs."""


@dataclass(frozen=True)
class Scale:
    """What differs between the scales."""

    tasks: tuple[str, ...]
    seeds: int
    steps: Mapping[str, int]
    """Robot -> environment steps of a method."""
    start_steps: Mapping[str, int]
    """Robot -> those of a safe start, critics included."""
    episodes: int
    """By which the last policy is judged, beside the training."""
    hidden: int = 64
    """Width of the two hidden layers of every network."""
    envs: int = 30
    """Environments side by side; also episodes an epoch."""
    horizon: int = 1_000
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Algorithm -> settings that differ."""
    beta: float | None = None
    """LBPO's on every task; those of the thesis' Table 4.4 if ``None``."""

    def beta_of(self, task: str) -> float:
        """LBPO's on that task."""
        return TASKS[task].beta if self.beta is None else self.beta

    @property
    def batch(self) -> int:
        """Steps an epoch."""
        return self.envs * self.horizon


SCALES = {
    "smoke": Scale(
        ("PointGoal1", "CarPush1"),
        seeds=1,
        steps={"Point": 600, "Car": 600},
        start_steps={"Point": 400, "Car": 400},
        episodes=2,
        hidden=8,
        envs=4,
        horizon=50,
        options={name: {"minibatch": 50, "passes": 2} for name in ("ppo", "ppo-lagrangian")},
    ),
    "laptop": Scale(
        ("PointGoal1", "PointGoal2", "PointPush1", "PointPush2", "CarGoal1", "CarPush1", "DoggoGoal1"),
        seeds=2,
        steps={"Point": 3_000_000, "Car": 3_000_000, "Doggo": 990_000},
        start_steps={"Point": 1_500_000, "Car": 1_500_000, "Doggo": 300_000},
        episodes=30,
        options={
            **dict.fromkeys(("safe-start", "sddpg", "backtrack", "lbpo"), QUICK),
            "cpo": {"value_steps": 600, "value_minibatch": 500},
        },
        beta=0.02,
    ),
    "paper": Scale(
        tuple(TASKS),
        seeds=3,
        steps={"Point": 20_010_000, "Car": 20_010_000, "Doggo": 20_010_000},
        start_steps={"Point": 3_000_000, "Car": 3_000_000, "Doggo": 3_000_000},
        episodes=100,
        hidden=256,
    ),
}


def cells(scale: str) -> tuple[Cell, ...]:
    """Every cell at that scale: the first seed of every task, then the second."""
    at = SCALES[scale]
    made = []
    for seed in range(at.seeds):
        for task in at.tasks:
            made.append(start(scale, task, seed))
            made += [cell(scale, task, seed, method) for method in METHODS]
    return tuple(made)


def setting(task: str, seed: int) -> str:
    """Label of a task and a seed."""
    return f"{task}-seed{seed}"


def robot(task: str) -> str:
    """``Point``, ``Car`` or ``Doggo``."""
    return next(name for name in ("Point", "Car", "Doggo") if task.startswith(name))


def start(scale: str, task: str, seed: int) -> Cell:
    """The policy from which all methods but PPO start."""
    at = SCALES[scale]
    target = 1.0 if robot(task) == "Doggo" else 5.0
    return Cell(
        method=START,
        algorithm="safe-start",
        setting=setting(task, seed),
        group=START,
        environment=f"Safety{task}-v0",
        options={
            "cost_limits": [LIMIT],
            "target_cost": target,
            "batch_steps": at.batch,
            **networks("safe-start", at.hidden),
            **at.options.get("safe-start", {}),
        },
        world=_world(at),
        steps=at.start_steps[robot(task)],
        seeds=(seed,),
        episodes=at.episodes,
        training_metrics=("return", "cost/cost", "unsafe_epochs"),
        log_every=at.batch,
    )


def cell(
    scale: str, task: str, seed: int, method: str, *, label: str = "", beta: float | None = None
) -> Cell:
    """One method on one task; other experiments have the same cells as their own.

    ``beta`` takes the place of the task's; such a cell needs a ``label``.
    """
    at = SCALES[scale]
    algorithm = method.lower()
    options: dict[str, Any] = {"batch_steps": at.batch, **networks(algorithm, at.hidden)}
    if method.startswith("PPO"):
        options |= PPO
    if method == "PPO-Lagrangian":
        options["cost_trace"] = PPO["trace"]
    if method != "PPO":
        options["cost_limits"] = [LIMIT]
    if method == "LBPO":
        options["beta"] = at.beta_of(task) if beta is None else beta
    return Cell(
        method=label or method,
        algorithm=algorithm,
        setting=setting(task, seed),
        environment=f"Safety{task}-v0",
        options=options | dict(at.options.get(algorithm, {})),
        world=_world(at),
        steps=at.steps[robot(task)],
        seeds=(seed,),
        episodes=at.episodes,
        published=TASKS[task].published(method) if label in ("", method) else {},
        training_metrics=("return", "cost/cost", "unsafe_epochs"),
        source=None if method == "PPO" else start(scale, task, seed),
        takes={} if method == "PPO" else {"start": {"critics": True}},
        log_every=at.batch,
    )


def networks(algorithm: str, hidden: int) -> dict[str, Any]:
    """The settings that make every network of an algorithm two layers of ``hidden``."""
    both = [hidden, hidden]
    if algorithm.startswith("ppo"):
        return {"hidden": both}
    return {"hidden": both, "value_hidden" if algorithm == "cpo" else "critic_hidden": both}


def _world(at: Scale) -> dict[str, Any]:
    shorter = {} if at.horizon == 1_000 else {"steps": at.horizon}
    return {"envs": at.envs, "limits": [LIMIT], **shorter}


EXPERIMENT = Experiment(
    "lbpo-benchmark",
    "PPO, PPO-Lagrangian, CPO, SDDPG, BACKTRACK and LBPO on the safety tasks",
    cells,
    claims="lbpo_benchmark_page:claims",
    page="lbpo_benchmark_page:write",
)
