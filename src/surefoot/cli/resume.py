"""``surefoot resume RUN``: goes on where a run was stopped, whether it was asked to stop or killed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from surefoot.cli._common import find_run, parse, say_next


@dataclass(frozen=True)
class Options:
    """What to go on with."""

    run: Positional[Path]
    """Folder of the run, or its name below runs/."""
    steps: int | None = None
    """Steps a seed in all, to make a run longer, a finished one too; as planned if not given."""
    progress: bool = True
    """Show progress."""


def main(argv: list[str]) -> int:
    """Trains the steps that are left; a finished run is left as it is."""
    options = parse(
        Options,
        argv,
        prog="surefoot resume",
        description="Go on with a run that was stopped, from its last checkpoint to its last step. "
        "The settings are those in the run's folder; with --steps the run becomes longer.",
    )
    from surefoot.training.run import Run

    run = Run(find_run(options.run))
    if run.finished and options.steps in (None, run.config["steps"]):
        from surefoot.training.policy_io import readable

        if run.checkpoints() and not readable(run.path, run.seeds):
            from surefoot.training.fit import export_again

            export_again(run)
        early = run.steps != run.config["steps"]
        print(
            f"{run.path} is finished already; "
            + (f"it reached its target after {run.steps:,} steps." if early else "--steps makes it longer.")
        )
    else:
        from surefoot.training.fit import resume

        run = resume(run, steps=options.steps, progress=options.progress)
    say_next(run.path)
    return 0
