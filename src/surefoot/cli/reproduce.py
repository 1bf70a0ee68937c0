"""``surefoot reproduce EXPERIMENT``: runs a paper's experiment, cell by cell, and makes its page."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from surefoot.cli._common import parse, print_table
from surefoot.errors import SurefootError

if TYPE_CHECKING:
    from surefoot.experiments import Cell, Experiment

LESSON = """\
usage: surefoot reproduce EXPERIMENT [--scale smoke|laptop|paper] [--jobs N | --ray ADDRESS]
                          [--only PATTERN ...] [--list] [--dry-run] [--page] ...

Runs the cells of an experiment. A cell is one method in one setting: trained with several seeds,
then evaluated from the training and the test starts. Results are written to
results/EXPERIMENT/SCALE/summary.json after every cell.

Stop it at any time and give the same command again: finished cells are kept, and one that was
stopped goes on from its last checkpoint. A cell is run again when its settings, its demonstrations
or the version of surefoot changed.

Experiments:
{experiments}

Scales:
{scales}

Options:
  --scale NAME     smoke if not given
  --jobs N         processes at a time on this machine, which share its cores; 1 if not given
  --ray ADDRESS    run the cells on a Ray cluster instead, with the same numbers; `ray start --head`
                   starts one on this machine, and its address is then `auto`
  --only PATTERN   only the cells whose name matches, such as 'zone+speed/*' or '*/SCOPIL'; quote it;
                   several may follow; cells whose runs they use come with them
  --list           print the cells and what each does; runs nothing
  --dry-run        print how far each cell is and what would be run; runs nothing
  --fresh          run finished cells again, from the start
  --page           make the page from the results that there are, those of the same cells in other
                   experiments too; runs nothing
  --pages FOLDER   where --page puts EXPERIMENT.md and its figures; docs/results if not given
  --out FOLDER     results if not given
  --runs FOLDER    run folders of the cells; runs/reproduce if not given
  --no-progress    print nothing but the summary

Examples:
  surefoot reproduce scopil
      the whole experiment in miniature: does everything run here?
  surefoot reproduce scopil --scale laptop --jobs 2
      the committed numbers
  surefoot reproduce scopil --scale laptop --only 'zone+speed/SAC' 'zone+speed/SCOPIL'
      two cells of it; then: surefoot compare runs/reproduce/scopil/laptop/zone+speed/*
  surefoot reproduce scopil --scale laptop --page
      docs/results/scopil.md: our numbers beside the paper's claims

The exit code is 1 if a cell failed; the others are run all the same."""


@dataclass(frozen=True)
class Options:
    """What, how far, where."""

    scale: str = "smoke"
    """smoke, laptop or paper."""
    jobs: int = 1
    """Processes at a time on this machine."""
    ray: str | None = None
    """Address of a Ray cluster to run the cells on."""
    only: tuple[str, ...] = ()
    """Patterns of cell names."""
    list: bool = False
    """Print the cells."""
    dry_run: bool = False
    """Print how far each cell is."""
    fresh: bool = False
    """Run finished cells again."""
    page: bool = False
    """Make the page from the results that there are."""
    pages: Path = Path("docs/results")
    """Folder of the page."""
    out: Path = Path("results")
    """Folder of the results."""
    runs: Path = Path("runs/reproduce")
    """Folder of the run folders."""
    progress: bool = True
    """Show progress."""


def main(argv: list[str]) -> int:
    """Runs an experiment; the exit code is 1 if a cell failed."""
    if any(word in ("-h", "--help") for word in argv):
        print(_lesson())
        return 0
    if not argv or argv == ["--list"]:
        _print_experiments()
        return 0
    name, rest = argv[0], argv[1:]
    if name.startswith("-"):
        raise SurefootError("The experiment comes first, such as `surefoot reproduce scopil --jobs 2`.")

    from surefoot.experiments import experiment

    chosen = experiment(name)
    options = parse(Options, rest, prog="surefoot reproduce")
    cells = chosen.at(options.scale, options.only)
    if options.list:
        _print_cells(cells)
        return 0
    if options.dry_run:
        return _dry_run(cells, options.runs / name / options.scale, fresh=options.fresh)
    if options.page:
        return _page(chosen, options)
    return _run(chosen, options, shlex.join(["surefoot", "reproduce", *argv]))


def _run(chosen: Experiment, options: Options, command: str) -> int:
    from surefoot.experiments import attribute
    from surefoot.experiments.results import read_summary, verdict_lines
    from surefoot.experiments.runner import run

    try:
        outcome = run(
            chosen,
            options.scale,
            jobs=options.jobs,
            ray=options.ray,
            only=options.only,
            fresh=options.fresh,
            out=options.out,
            runs=options.runs,
            progress=options.progress,
            command=command,
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"Stopped. Go on with: {command}") from None
    claims = attribute(chosen.claims)(read_summary(outcome.summary))
    print("\n".join(verdict_lines(claims)))
    print(
        f"{len(outcome.done)} cells run, {len(outcome.skipped)} finished before, "
        f"{len(outcome.failed)} failed.\nResults: {outcome.summary}"
        f"\nPage:    surefoot reproduce {chosen.name} --scale {options.scale} --page"
    )
    for cell, problem in outcome.failed.items():
        print(f"FAILED {cell}: {problem}")
    return 1 if outcome.failed else 0


def _page(chosen: Experiment, options: Options) -> int:
    from surefoot.experiments import attribute
    from surefoot.experiments.runner import borrow

    records = borrow(chosen, options.scale, options.out, options.runs)
    runs = options.runs / chosen.name / options.scale
    print(f"Page: {attribute(chosen.page)(records, options.scale, options.pages, runs)}")
    return 0


def _dry_run(cells: tuple[Cell, ...], folder: Path, *, fresh: bool) -> int:
    from surefoot.experiments.runner import look, with_sources, work_of

    again = {cell.name for cell in cells} if fresh else set()
    states = [
        replace(state, steps=0, record=None) if state.cell.name in again else state
        for state in look(with_sources(cells), folder)
    ]
    rows = []
    for state in states:
        detail = state.problem or work_of(state.cell)
        if state.word == "begun":
            detail += f"; at step {state.steps:,}"
        rows.append((state.cell.name, state.word, detail))
    print_table(rows)
    todo = [state for state in states if state.word in ("to do", "begun")]
    steps = sum((state.cell.steps - state.steps) * len(state.cell.seeds) for state in todo)
    print(f"\n{len(todo)} of {len(states)} cells to run, {steps:,} steps (seeds counted).")
    return 0


def _print_cells(cells: tuple[Cell, ...]) -> None:
    from surefoot.experiments.runner import work_of

    rows = []
    for cell in cells:
        changes = " ".join(f"{key}={value}" for key, value in cell.options.items())
        demos = f"demos {cell.demonstrations}" if cell.demonstrations else ""
        if cell.first:
            demos += f" (the first {cell.first})"
        parts = [work_of(cell), demos, changes]
        rows.append((cell.name, cell.group, "; ".join(part for part in parts if part)))
    print_table(rows)
    print(f"\n{len(cells)} cells")


def _print_experiments() -> None:
    from surefoot.experiments import ABOUT, EXPERIMENTS, SCALES

    print("Experiments:")
    print_table({name: ABOUT[name] for name in EXPERIMENTS})
    print("\nScales:")
    print_table(SCALES)
    print("\n`surefoot reproduce EXPERIMENT --list` prints its cells; `surefoot reproduce --help` says more.")


def _lesson() -> str:
    from surefoot.experiments import ABOUT, EXPERIMENTS, SCALES

    def rows(pairs: dict[str, str]) -> str:
        width = max(map(len, pairs))
        return "\n".join(f"  {name.ljust(width)}  {about}" for name, about in pairs.items())

    return LESSON.format(experiments=rows({name: ABOUT[name] for name in EXPERIMENTS}), scales=rows(SCALES))
