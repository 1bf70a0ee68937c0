"""``surefoot list [WHAT]``: what there is, at once and without importing JAX."""

from __future__ import annotations

import sys

from surefoot.cli import _common
from surefoot.cli._common import RUNS, table
from surefoot.errors import SurefootError, unknown

USAGE = """\
usage: surefoot list [algorithms | environments | demos | experiments | runs] [FOLDER]

Without a word, lists all of them. `list runs FOLDER` looks in another folder than runs/."""


def main(argv: list[str]) -> int:
    """Prints one list or all; see ``USAGE``."""
    if any(word in ("-h", "--help") for word in argv):
        print(USAGE)
        return 0
    if not argv:
        for name, show in LISTS.items():
            print(f"{name}:")
            show([])
            print()
        return 0
    what, rest = argv[0], argv[1:]
    if what not in LISTS:
        raise unknown("list", what, LISTS)
    if len(rest) > (what == "runs"):
        raise SurefootError(f"'{rest[-1]}' is one argument too many. See `surefoot list --help`.")
    LISTS[what](rest)
    return 0


def algorithms(_: list[str]) -> None:
    """Names as ``surefoot train`` takes them."""
    print(table(_common.algorithms()))


def environments(_: list[str]) -> None:
    """Ours, and how to name any other."""
    print(table(_common.environments()))


def demos(_: list[str]) -> None:
    """The demonstrations that come with the package."""
    from surefoot.data import demonstrations

    print(table([(name,) for name in demonstrations.bundled()]))


def experiments(_: list[str]) -> None:
    """Names as ``surefoot reproduce`` takes them."""
    from surefoot.experiments import ABOUT, EXPERIMENTS

    print(table({name: ABOUT[name] for name in EXPERIMENTS}))


def runs(rest: list[str]) -> None:
    """Every run folder below ``runs/``: algorithm, environment, seeds, and how far it is."""
    from pathlib import Path

    from surefoot.training.run import Run

    top = Path(rest[0]) if rest else RUNS
    if not top.is_dir():
        if rest:
            raise SurefootError(f"There is no folder '{top}'.")
        print(f"  none yet in {top}/; `surefoot train` or `surefoot demo` makes the first")
        return
    rows = []
    for config in sorted(top.rglob("config.json")):
        try:
            run = Run(config.parent)
            settings = run.config
            steps = settings["steps"]
            state = "finished" if run.finished else f"{run.progress:,} of {steps:,} steps"
            rows.append(
                (
                    str(config.parent),
                    settings["learner"]["name"],
                    (settings["world"] or {}).get("id") or "own world",
                    f"{len(run.seeds)} seed{'s' * (len(run.seeds) != 1)}",
                    state,
                )
            )
        except SurefootError as error:
            print(f"warning: {error}", file=sys.stderr)
    print(table(rows) if rows else f"  none in {top}/")


LISTS = {
    "algorithms": algorithms,
    "environments": environments,
    "demos": demos,
    "experiments": experiments,
    "runs": runs,
}
"""Word on the command line -> what prints the list."""
