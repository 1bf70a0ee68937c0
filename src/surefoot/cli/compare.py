"""``surefoot compare RUN RUN ...``: one page with the curves, intervals, paths and rollouts of runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from surefoot.cli._common import find_run, parse
from surefoot.errors import SurefootError


@dataclass(frozen=True)
class Options:
    """What to compare, and where the page goes."""

    runs: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN [RUN ...]")]
    """Folders of runs, or their names below runs/, in the order of the page."""
    out: Path = Path("report.html")
    """The page. summary.json, the same numbers for programs, is written beside it."""
    title: str = "Comparison"
    """Heading of the page."""
    intro: str = ""
    """Text under the heading."""
    videos: bool = True
    """Put an animation of each method's rollouts into the page."""
    episodes: int = 200
    """Episodes for each seed and set of starts, for runs that are not evaluated yet."""


def main(argv: list[str]) -> int:
    """Evaluates what is not evaluated yet, and writes the page."""
    options = parse(
        Options,
        argv,
        prog="surefoot compare",
        description="Put runs side by side in one page that opens from disk: learning curves, return over "
        "violations, constraints, paths on the board, rollouts, all with intervals.",
    )
    if not options.runs:
        raise SurefootError("Name at least one run: surefoot compare RUN RUN. See `surefoot list runs`.")
    from surefoot.reports.page import check_page
    from surefoot.training.run import Run

    runs = [Run(find_run(folder)) for folder in options.runs]
    check_page(options.out)
    evaluate_missing(runs, options.episodes)
    from surefoot.reports import page

    out = page.build(runs, options.out, options.title, options.intro, videos=options.videos)
    print(f"Page: {out}\nNumbers: {out.parent / 'summary.json'}")
    return 0


def evaluate_missing(runs: Sequence[Any], episodes: int, *, exactly: bool = False) -> None:
    """Evaluates the runs that were never evaluated, or that were trained further since.

    With ``exactly`` those that were evaluated with another number of episodes, too.
    """
    from surefoot.evaluation import evaluate

    for run in runs:
        if (run.path / "evaluation.json").exists() and (run.path / "rollouts.npz").exists():
            found = evaluate.read(run.path)  # a damaged file is an error: it may hold numbers that were shown
            if found.steps == evaluate.steps_behind(run) and (not exactly or found.episodes == episodes):
                continue
        print(f"Evaluating {run.path} ...", flush=True)
        evaluate.evaluate(run, episodes=episodes)
