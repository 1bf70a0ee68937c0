"""``surefoot demo``: SCOPIL learns to respect constraints that nobody wrote down; SAC, beside it, does not.

Both learn to lead a ball through the marble maze. The keep-out zones and the speed limit are in the
demonstrations only: no reward mentions them, and neither method is told the costs.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surefoot.cli._common import parse, table
from surefoot.cli.compare import evaluate_missing
from surefoot.errors import SurefootError, check_range

if TYPE_CHECKING:
    from surefoot.training.run import Run

CONSTRAINTS = ("zone", "speed")
DEMONSTRATIONS = "marble-maze/zone+speed"
STEPS = 60_000
"""Environment steps a seed."""
SEEDS = 2
EPISODES = 100
"""Episodes a seed and set of starts, when the policies are evaluated."""
METHODS: dict[str, dict[str, Any]] = {
    "scopil": {},
    "discrete-sac": {},
}
"""Algorithm -> settings that differ from its defaults. Only the one that needs demonstrations gets them."""

TITLE = "Marble Maze: SCOPIL beside SAC"
INTRO = """\
Both methods learn to lead the ball through the gap to the goal. The hatched zones and the speed limit
are in no reward, and neither method is told of them.

SCOPIL has seen demonstrations that keep out of the zones and under the limit; discrete SAC knows the
reward alone."""

LESSON = """\
Trains SCOPIL (which imitates demonstrations that keep out of the zones and under the speed limit) and
discrete SAC (which knows the reward alone) on the marble maze, evaluates both, and writes a page that shows
them side by side. Takes a few minutes. What is finished is kept: a second call goes on where the first was
stopped, and --fresh begins again. A call with other settings needs another folder (--out), or --fresh."""


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
    """Train again even if the runs are there; they are replaced, whatever their settings."""


def main(argv: list[str]) -> int:
    """Trains both methods, evaluates them, writes the page and prints the summary."""
    options = parse(Options, argv, prog="surefoot demo", description=LESSON)
    check_range("seeds", options.seeds, low=1)
    check_range("episodes", options.episodes, low=1)
    began = time.monotonic()
    last = len(METHODS) + 2
    runs = []
    for number, name in enumerate(METHODS, start=1):
        _say(f"[{number}/{last}] Train {name}: {options.seeds} x {options.steps:,} steps")
        runs.append(_trained(name, options))
    _say(f"[{last - 1}/{last}] Evaluate both: {options.episodes} episodes a seed and set of starts")
    evaluate_missing(runs, options.episodes, exactly=True)
    _say(f"[{last}/{last}] Draw the page")
    from surefoot.reports import page

    report = page.build(runs, options.out / "report.html", TITLE, INTRO)
    _say(f"\n{_summary(runs)}\n\nDone in {time.monotonic() - began:.0f} s. Open {report.resolve().as_uri()}")
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
        _say(f"{folder} is there already; --fresh trains it again.")
        return found
    if not options.fresh and folder.is_dir() and any(folder.iterdir()):
        raise SurefootError(
            f"{folder} holds something else than this demo with these settings; choose another folder "
            "(--out), or replace the run in it (--fresh)."
        )
    return fit(
        learner,
        world,
        demonstrations=demonstrations,
        steps=options.steps,
        seeds=range(options.seeds),
        run=folder,
        overwrite=options.fresh,
        command=command,
    )


def _same(folder: Path, learner: Any, world: Any, command: str) -> Run | None:
    """The run in the folder, if it was made by this demo with these settings."""
    from surefoot import __version__
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


def _summary(runs: Sequence[Run]) -> str:
    """Estimates with intervals: one row a metric and set of starts, one column a method."""
    from surefoot.evaluation.evaluate import read, texts

    found = [read(run.path) for run in runs]
    names = ["return", "success", "violating_episodes", "violating_steps_per_episode"]
    names += [f"violating_episodes/{name}" for name in CONSTRAINTS]
    rows = [["", *(each.method for each in found)]]
    for starts, prefix in (("training starts", ""), ("test starts", "test_")):
        rows.append([starts, *[""] * len(found)])
        rows += [
            [f"  {name}", *(" ".join(texts(name, each.metrics[prefix + name])) for each in found)]
            for name in names
        ]
    seeds, episodes = len(found[0].seeds), found[0].episodes
    note = f"Seeds x episodes: {seeds} x {episodes}; in brackets 95 % intervals."
    return f"{table(rows, indent=0)}\n\n{note}"


def _say(text: str) -> None:
    print(text, flush=True)
