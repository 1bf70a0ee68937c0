"""``surefoot evaluate RUN ...``: plays the policies of runs and prints estimates with intervals."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from surefoot.cli._common import find_run, parse
from surefoot.errors import SurefootError


@dataclass(frozen=True)
class Options:
    """What to evaluate, and how."""

    runs: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN [RUN ...]")]
    """Folders of runs, or their names below runs/."""
    episodes: int = 200
    """Episodes for each seed and set of starts."""
    mode: Literal["auto", "sample", "greedy", "both"] = "auto"
    """Actions drawn from the policy as in training (sample), its most probable ones, without exploration
    noise (greedy), or both; auto takes both where actions are real and there are costs, else sample."""
    seed: int = 12345
    """Decides starts and drawn actions; the same seed gives the same starts to every method."""
    cost_limits: tuple[float, ...] | None = None
    """Limits to hold the expected cost of an episode against, one a constraint or one for all; those of the
    run if not given."""
    tail: float = 0.1
    """Share of the episodes, the worst ones, whose mean cost is shown as cvar."""
    horizon: int | None = None
    """End episodes after so many steps, where the environment has Gymnasium's form; as in the training
    if not given."""
    actor: bool = False
    """Of an algorithm that plans (loop), play the exported actor alone, which is quick."""


def main(argv: list[str]) -> int:
    """Writes evaluation.json, rollouts.npz and summary.json into each folder, and prints a table."""
    options = parse(
        Options,
        argv,
        prog="surefoot evaluate",
        description="Play the policies of a run for whole episodes: return, success, violations and costs, "
        "with 95 percent intervals, from the starts of training and from test starts; and say whether the "
        "expected costs are below their limits.",
    )
    if not options.runs:
        raise SurefootError("Name at least one run: surefoot evaluate RUN. See `surefoot list runs`.")
    from surefoot.evaluation.evaluate import evaluate, table
    from surefoot.training.run import Run

    runs = [Run(find_run(folder)) for folder in options.runs]
    for run in runs:
        found = evaluate(
            run,
            episodes=options.episodes,
            mode=options.mode,
            seed=options.seed,
            cost_limits=options.cost_limits,
            tail=options.tail,
            actor=options.actor,
            horizon=options.horizon,
        )
        print(f"{table(found)}\n\nWritten: {run.path / 'evaluation.json'}\n")
    print(f"Next: surefoot compare {shlex.join(str(run.path) for run in runs)}")
    return 0
