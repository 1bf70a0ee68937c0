"""What LOOP's parts do: the actor's distance and use, horizon, augmentation, CEM-AG's returns, fits.

Thesis: Sikchi 2022, chapter 2, Figures 2.4 and 2.6 to 2.9, without printed numbers, on the benchmark's four
tasks:
  2.4  actor divergence: || a - pi(s) || of the executed action, of LOOP and LOOP without CEM-AG
  2.6  LOOP with plans of 3, 5 and 7 actions
  2.7  actor usage: share of the actor's sequences that are elites, mean over the iterations of CEM
  2.8  return of the actor alone, with and without replay augmentation (section 2.5.4)
  2.9  predicted return of CEM-AG's plan minus that of plain CEM's from the same state, and minus the mean of
       the actor's own sequences
The cells ``LOOP`` and ``without-CEM-AG`` are the very cells of ``loop-benchmark``, which are taken over where
they are finished. Divergence and usage are means over all steps of a row of metrics, episode limits ignored.

The thesis says neither how many simulated transitions a step adds (here 48: 12,000 in the 250 steps between
two fits of the model) nor under which noise plans are compared (here the same for all, with 20 particles in
each network).

What is cut at ``laptop`` is what the benchmark cuts; augmentation is for HalfCheetah, Hopper and Walker2d
alone, and the comparison of plans, which costs a second search at each step, has 15,000 steps.
"""

from __future__ import annotations

from surefoot.experiments import Cell, Experiment, loop_benchmark
from surefoot.experiments.loop_benchmark import SCALES, TASKS, steps_of

HORIZONS = (3, 5, 7)
"""Of Figure 2.6."""
AUGMENTED = "augmented"
"""Label of LOOP with replay augmentation."""
COMPARED = "compared"
"""Label of LOOP that searches by plain CEM as well."""
WHOLE = "whole fits"
"""Label of LOOP without a limit on the minibatches of a fit."""
MINIBATCHES = "model_minibatches"
GAINS = ("gain_over_cem", "gain_over_actor")
COMPARED_STEPS = {"smoke": 100, "laptop": 15_000, "paper": 1_000_000}


def horizon(steps: int) -> str:
    """Label of LOOP with plans of so many actions."""
    return f"H={steps}"


def usual(task: str, steps: int) -> bool:
    """Whether the benchmark's LOOP plans so far on that task."""
    return TASKS[task].plan_horizon == steps


def cells(scale: str) -> tuple[Cell, ...]:
    """Every cell at that scale, one seed after the other; of each the benchmark's cells first."""
    at = SCALES[scale]
    made = []
    for seed in range(at.seeds):
        for task in at.tasks:
            made += [loop_benchmark.cell(scale, task, seed, name) for name in ("LOOP", "without CEM-AG")]
        for task in at.tasks:
            made += [_longer(scale, task, seed, h) for h in HORIZONS if not usual(task, h)]
            if scale != "laptop" or not TASKS[task].short:
                made.append(_augmented(scale, task, seed))
            made += [_compared(scale, task, seed), _whole(scale, task, seed)]
    return tuple(made)


def _longer(scale: str, task: str, seed: int, steps: int) -> Cell:
    """LOOP with another horizon."""
    return loop_benchmark.cell(
        scale, task, seed, "LOOP", label=horizon(steps), options={"plan_horizon": steps}
    )


def _augmented(scale: str, task: str, seed: int) -> Cell:
    """LOOP that learns from what its planner simulates as well."""
    return loop_benchmark.cell(
        scale,
        task,
        seed,
        "LOOP",
        label=AUGMENTED,
        options={
            "replay_augmentation": True,
            "simulated_share": 0.3,
            "simulated_capacity": 12_000,
            "simulated_per_step": 48,
        },
    )


def _compared(scale: str, task: str, seed: int) -> Cell:
    """LOOP with a second search at each step."""
    return loop_benchmark.cell(
        scale,
        task,
        seed,
        "LOOP",
        label=COMPARED,
        options={"compare_planners": True},
        metrics=GAINS,
        steps=min(COMPARED_STEPS[scale], steps_of(scale, task)),
    )


def _whole(scale: str, task: str, seed: int) -> Cell:
    """LOOP whose fits take longer and longer as the memory fills."""
    options = {"model_max_minibatches": -1}
    return loop_benchmark.cell(
        scale, task, seed, "LOOP", label=WHOLE, options=options, metrics=(MINIBATCHES,)
    )


EXPERIMENT = Experiment(
    "loop-ablations",
    "LOOP's actor divergence and usage, horizons, augmentation, CEM-AG against CEM, fits",
    cells,
    claims="loop_ablations_page:claims",
    page="loop_ablations_page:write",
)
