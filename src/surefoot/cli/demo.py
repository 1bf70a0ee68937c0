"""``surefoot demo``: SCOPIL learns to respect constraints that nobody wrote down, next to SAC, which does not.

Both learn to lead a ball through the marble maze. The keep-out zones and the speed limit are in the
demonstrations only: no reward mentions them, and neither method is told the costs.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surefoot.cli._common import parse
from surefoot.errors import check_range

if TYPE_CHECKING:
    from surefoot.training.run import Run

CONSTRAINTS = ("zone", "speed")
DEMONSTRATIONS = "marble-maze/zone+speed"
STEPS = 60_000
"""Environment steps a seed."""
SEEDS = 3
EPISODES = 100
"""Episodes a seed and set of starts, when the policies are evaluated."""
METHODS: dict[str, dict[str, Any]] = {
    "scopil": {},
    "discrete-sac": {},
}
"""Algorithm -> settings that differ from its defaults. Only the one that needs demonstrations gets them."""

LESSON = """\
Trains SCOPIL (which imitates demonstrations that keep out of the zones and under the speed limit) and
discrete SAC (which knows the reward alone) on the marble maze, evaluates both, and writes a page that shows
them side by side. Takes a few minutes. What is finished is kept: a second call goes on where the first was
stopped, and --fresh begins again."""


@dataclass(frozen=True)
class Options:
    """How much, and where."""

    steps: int = STEPS
    """Environment steps a seed."""
    seeds: int = SEEDS
    """Seeds of each method, trained side by side."""
    episodes: int = EPISODES
    """Episodes a seed in the evaluation."""
    out: Path = Path("runs/demo")
    """Folder of the two runs and of report.html."""
    fresh: bool = False
    """Train again even if the runs are there."""


def main(argv: list[str]) -> int:
    """Trains both methods, evaluates them, writes the page and prints its table."""
    options = parse(Options, argv, prog="surefoot demo", description=LESSON)
    check_range("seeds", options.seeds, low=1)
    began = time.monotonic()
    runs = []
    for number, name in enumerate(METHODS, start=1):
        _say(f"{number}/{len(METHODS) + 2}  train {name}")
        runs.append(_trained(name, options))
    _say(f"{len(METHODS) + 1}/{len(METHODS) + 2}  evaluate both: {options.episodes} episodes a seed")
    for run in runs:
        _evaluate(run, options)
    _say(f"{len(METHODS) + 2}/{len(METHODS) + 2}  draw the page")
    from surefoot.reports import page

    report = page.build([run.path for run in runs], options.out / "report.html", title="Marble Maze: SCOPIL beside SAC")
    print(f"Done in {time.monotonic() - began:.0f} s. Open {report.resolve().as_uri()}")
    return 0


def _trained(name: str, options: Options) -> Run:
    """The finished run of one method: found, resumed, or trained from the start."""
    from surefoot import worlds
    from surefoot.algorithms import algorithm
    from surefoot.training.fit import fit, resume

    learner = algorithm(name)(**METHODS[name])
    demonstrations = DEMONSTRATIONS if learner.needs_demonstrations else None
    world = worlds.make("MarbleMaze-v0", constraints=CONSTRAINTS)
    folder = options.out / name
    command = f"surefoot demo --steps {options.steps} --seeds {options.seeds}"
    if not options.fresh and (found := _same(folder, learner, world, command)) is not None:
        if not found.finished:
            return resume(found)
        _say(f"      {folder} is finished already")
        return found
    return fit(
        learner,
        world,
        demonstrations=demonstrations,
        steps=options.steps,
        seeds=range(options.seeds),
        run=folder,
        overwrite=True,
        command=command,
    )


def _same(folder: Path, learner: Any, world: Any, command: str) -> Run | None:
    """The run in the folder, if it was made by this demo with these settings."""
    from surefoot import __version__
    from surefoot.errors import SurefootError
    from surefoot.training.run import Run, options_of
    from surefoot.worlds import describe

    try:
        run = Run(folder)
    except SurefootError:
        return None
    wanted = (command, options_of(learner), describe(world), __version__)
    there = (
        run.config.get("command"),
        run.config["learner"]["options"],
        run.config["world"],
        run.config["versions"]["surefoot"],
    )
    return run if there == wanted else None


def _evaluate(run: Run, options: Options) -> None:
    """Prints the run's evaluation; plays the episodes only if they were not played before."""
    from surefoot.errors import SurefootError
    from surefoot.evaluation import evaluate as evaluation

    try:
        found = evaluation.read(run.path)
        if found.episodes != options.episodes or found.steps != run.progress:
            found = None
    except SurefootError:
        found = None
    print(evaluation.table(found or evaluation.evaluate(run, episodes=options.episodes)))


def _say(text: str) -> None:
    print(text, flush=True)
