"""Recovery steps: how much of what safe methods reach is their rule for unsafe policies?

Thesis: Sikchi 2022, Sec. 4.5.2, Figure 4.7: the number of epochs so far in which a method only lowered the
cost, over the first 400 updates, of CPO, SDDPG and BACKTRACK, which has no other means. We add LBPO. The
figure has no printed numbers.

Two parts:
  the safety tasks  the very cells of ``lbpo-benchmark``, which are taken over where they are finished; at
                    ``laptop`` they have 100 updates (the Doggo's 33 are left out)
  the noisy walk    400 updates, at a few minutes a cell, with 30 episodes an epoch (see ``lbpo_robustness``)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from surefoot.experiments import Cell, Experiment, lbpo_benchmark, lbpo_robustness
from surefoot.experiments.lbpo_robustness import EXPLORATION

UPDATES = 400
"""Of the thesis' figure."""
WALK = "noisy-walk"
"""Setting of the part on the noisy walk."""
METHODS = ("CPO", "SDDPG", "BACKTRACK", "LBPO")

ON_THE_WALK: dict[str, tuple[str, dict[str, Any]]] = {
    **lbpo_robustness.METHODS,
    "BACKTRACK": ("backtrack", {"exploration": EXPLORATION}),
}
"""Label -> algorithm and its own settings on the noisy walk."""


@dataclass(frozen=True)
class Scale:
    """What differs between the scales."""

    count: int
    """Episodes an epoch of the noisy walk."""
    updates: int
    """Of the noisy walk."""


SCALES = {"smoke": Scale(2, 4), "laptop": Scale(30, UPDATES), "paper": Scale(50, UPDATES)}


def cells(scale: str) -> tuple[Cell, ...]:
    """The noisy walk first, then the safety tasks."""
    at, walk, tasks = SCALES[scale], lbpo_robustness.SCALES[scale], lbpo_benchmark.SCALES[scale]
    begin = lbpo_robustness.start(walk.hidden, walk.fresh, walk.cloning)
    made = [begin]
    for method in METHODS:
        algorithm, own = ON_THE_WALK[method]
        made.append(
            lbpo_robustness.walk(
                begin,
                method,
                setting=WALK,
                algorithm=algorithm,
                options=own,
                count=at.count,
                hidden=walk.hidden,
                epochs=at.updates,
                seeds=walk.seeds,
                fresh=walk.fresh,
                watched=False,
            )
        )
    for seed in range(tasks.seeds):
        for task in (task for task in tasks.tasks if scale == "paper" or not task.startswith("Doggo")):
            made.append(lbpo_benchmark.start(scale, task, seed))
            made += [lbpo_benchmark.cell(scale, task, seed, method) for method in METHODS]
    return tuple(made)


EXPERIMENT = Experiment(
    "lbpo-backtracks",
    "recovery steps of CPO, SDDPG, BACKTRACK and LBPO over the first 400 updates",
    cells,
    claims="lbpo_backtracks_page:claims",
    page="lbpo_backtracks_page:write",
)
