"""Runs the cells of an experiment, here or on a Ray cluster, and keeps their summary up to date.

    from surefoot.experiments import runner
    outcome = runner.run("scopil", "smoke", jobs=2)

Every cell is a process of its own (:mod:`surefoot.experiments.worker`). One that fails or is killed
does not stop the others; a cell that is finished is not run again unless its settings, its
demonstrations or the package's version changed; one that was stopped goes on from its checkpoint.
"""

from __future__ import annotations

import json
import shlex
import signal
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

from surefoot.errors import SurefootError, unknown
from surefoot.experiments import EXPERT, UNTRAINED, Cell, Experiment, experiment
from surefoot.experiments.identity import digests
from surefoot.experiments.pools import Job, Pool, Processes, Ray, Result, takes_critics
from surefoot.experiments.results import Record, merge, read_json, read_summary
from surefoot.experiments.worker import Place, finished, locked
from surefoot.training.run import write_json

RUNS = Path("runs/reproduce")
"""Where the run folders of cells are put."""
RETRIES = 2
"""How often a cell is started again after its process was killed or its machine was lost."""
INTERVAL = 0.5
"""Seconds between two looks at the running cells."""


@dataclass(frozen=True)
class Outcome:
    """What a call of :func:`run` did."""

    done: tuple[str, ...]
    """Cells that were finished now."""
    skipped: tuple[str, ...]
    """Cells that had been finished before."""
    failed: Mapping[str, str]
    """Cell -> what went wrong."""
    summary: Path
    """The summary, with every cell that has been finished so far."""


def run(
    name: str | Experiment,
    scale: str,
    *,
    jobs: int = 1,
    ray: str | None = None,
    only: Sequence[str] = (),
    fresh: bool = False,
    out: str | Path = "results",
    runs: str | Path = RUNS,
    progress: bool = True,
    command: str | None = None,
) -> Outcome:
    """Runs every cell of the experiment that is not finished, and returns what happened.

    Args:
        name: an experiment, or its name in the table.
        scale: ``smoke``, ``laptop`` or ``paper``.
        jobs: processes at a time here; they share the cores.
        ray: address of a Ray cluster (``auto``: the one on this machine) to run the cells on instead.
        only: patterns of cell names, such as ``zone+speed/*``.
        fresh: run the cells again even if they are finished.
        out: folder of results; the summary is ``OUT/NAME/SCALE/summary.json``, rewritten as a whole
            whenever a cell is finished.
        runs: folder of the run folders, ``RUNS/NAME/SCALE/SETTING/METHOD``.
        progress: show it on stderr.
        command: what the user typed, for the record.

    Raises:
        SurefootError: no such experiment, scale or cell; a summary that cannot be read; no cluster.
        KeyboardInterrupt: after the running cells were given time to save.
    """
    experiment_ = experiment(name) if isinstance(name, str) else name
    chosen = experiment_.at(scale, tuple(only))
    cells = with_sources(chosen)
    again = {cell.name for cell in chosen} if fresh else set()
    whole = experiment_.cells(scale)
    everything = [cell.name for cell in whole]
    starts = {cell.source.name for cell in whole if cell.source and takes_critics(cell)}
    check(cells)
    summary = Path(out) / experiment_.name / scale / "summary.json"
    if summary.exists():
        read_summary(summary)  # one that cannot be read must not be found out about after the first cell
    folder = Path(runs) / experiment_.name / scale
    if command is None:
        command = shlex.join(["surefoot", "reproduce", experiment_.name, "--scale", scale])
    states = look(cells, folder)
    failed = {state.cell.name: state.problem for state in states if state.problem}
    old = [state.record for state in states if state.record and state.cell.name not in again]
    todo = [
        Job(state.cell, state.place, command, state.cell.name in again, state.cell.name in starts)
        for state in states
        if not state.problem and (state.cell.name in again or not state.record)
    ]
    pool: Pool = Ray(ray, RETRIES) if ray else Processes(jobs)
    with stopping(pool), display(states, todo, jobs if ray is None else 0, progress) as show:
        write_summary(summary, folder, old, everything)
        show.left_out(failed)
        done = _work(pool, deque(todo), failed, show, summary, folder, everything)
    skipped = tuple(record["cell"] for record in old)
    return Outcome(tuple(done), skipped, failed, summary)


def _work(
    pool: Pool,
    todo: deque[Job],
    failed: dict[str, str],
    show: Display,
    summary: Path,
    folder: Path,
    everything: Sequence[str],
) -> list[str]:
    """Feeds the pool until every job has ended; returns the cells that were finished.

    A job starts when that of its source has ended; if that failed, so does this one.
    """
    done: list[str] = []
    tries: dict[str, int] = {}
    running: set[str] = set()
    while todo or running:
        for job in list(todo):
            source = job.cell.source and job.cell.source.name
            if source in failed:
                todo.remove(job)
                failed[job.cell.name] = f"{source}, whose run it uses, failed"
                show.failed(job.cell.name, failed[job.cell.name])
            elif pool.room > 0 and source not in running and all(source != one.cell.name for one in todo):
                todo.remove(job)
                pool.start(job)
                running.add(job.cell.name)
                show.started(job)
        for job, result in pool.poll():
            cell = job.cell.name
            running.discard(cell)
            record = (read_json(job.place.state) or {}).get("record") if result.code == 0 else None
            if record:
                write_summary(summary, folder, [record], everything)
                done.append(cell)
                show.done(job, record)
            elif result.lost and tries.get(cell, 0) < RETRIES:
                tries[cell] = tries.get(cell, 0) + 1
                # Not fresh: what the lost process saved is from this very call.
                todo.appendleft(replace(job, fresh=False))
                show.lost(job, result)
            else:
                failed[cell] = result.message or "it ended without a record"
                show.failed(cell, failed[cell])
        show.refresh()
        time.sleep(INTERVAL if running else 0)
    return done


@contextmanager
def stopping(pool: Pool) -> Iterator[None]:
    """Ends the pool's cells in order however the block is left; SIGTERM counts as Ctrl-C."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, stop) if main else None
    try:
        yield
    finally:
        try:
            pool.stop()
        finally:
            if main:
                signal.signal(signal.SIGTERM, before)


def with_sources(cells: Iterable[Cell]) -> tuple[Cell, ...]:
    """The cells, each after those whose runs it uses, directly or not."""
    found: dict[str, Cell] = {}

    def add(cell: Cell) -> None:
        if cell.source is not None:
            add(cell.source)
        found.setdefault(cell.name, cell)

    for cell in cells:
        add(cell)
    return tuple(found.values())


def check(cells: Iterable[Cell]) -> None:
    """Raises :class:`SurefootError` for a cell whose algorithm does not exist, before anything starts."""
    from surefoot.algorithms import ALGORITHMS

    for cell in cells:
        if cell.trains and cell.algorithm not in ALGORITHMS:
            raise unknown(f"algorithm in cell {cell.name}", cell.algorithm, ALGORITHMS)


def write_summary(path: Path, folder: Path, records: Iterable[Record], order: Sequence[str]) -> None:
    """Puts records into the summary, which is replaced as a whole.

    Two calls at the same time, on different cells, do not lose each other's records.
    """
    with locked(folder / ".cells" / "summary.lock"):
        old = read_summary(path) if path.exists() else []
        write_json(path, merge(old, records, order))


def borrow(experiment_: Experiment, scale: str, out: str | Path, runs: str | Path = RUNS) -> list[Record]:
    """The summary's records, with those of the same cells that other experiments have at this scale.

    A cell is the same if its digest is. A record of an earlier version of the cell gives way, and is taken
    where there is no other. What was found is written into the summary.

    Raises:
        SurefootError: there is no summary, or one cannot be read.
    """
    summary = Path(out) / experiment_.name / scale / "summary.json"
    mine = read_summary(summary)
    digests_here = {record["cell"]: record.get("digest") for record in mine}
    wanted = {cell.name: cell for cell in with_sources(experiment_.at(scale, ()))}
    others = (
        read_summary(path) for path in sorted(Path(out).glob(f"*/{scale}/summary.json")) if path != summary
    )
    found: dict[str, Record] = {}
    earlier: dict[str, Record] = {}
    known: dict[Any, Any] = {}
    for record in (record for records in others for record in records):
        cell = wanted.get(record["cell"])
        if cell is None or record.get("digest") in (None, digests_here.get(cell.name)):
            continue
        here = record | {"group": cell.group, "published": dict(cell.published)}
        if record["digest"] == digest_of(cell, known):
            found[cell.name] = here
        elif cell.name not in digests_here and _same_settings(record, cell):
            earlier[cell.name] = here
    found = earlier | found
    if found:
        order = [cell.name for cell in experiment_.cells(scale)]
        write_summary(summary, Path(runs) / experiment_.name / scale, found.values(), order)
        mine = read_summary(summary)
    return mine


def _same_settings(record: Record, cell: Cell) -> bool:
    """Whether the record is of a cell like this one, of this version or an earlier one."""
    names = ("algorithm", "environment", "steps", "seeds", "options", "episodes")
    about = (cell.algorithm, cell.environment, cell.steps, cell.seeds, dict(cell.options), cell.episodes)
    return json.loads(json.dumps(about)) == [record.get(name) for name in names]


def digest_of(cell: Cell, known: dict[Any, Any] | None = None) -> str | None:
    """Of the whole cell; ``None`` if what it needs is not here. ``known`` as for :func:`digests`."""
    try:
        return digests(cell, known)[1]
    except SurefootError:
        return None


# Where the cells stand ------------------------------------------------------------------------------


@dataclass(frozen=True)
class State:
    """How far a cell is."""

    cell: Cell
    place: Place
    steps: int = 0
    """Steps in the run folder, of this or an earlier version of the cell."""
    record: Record | None = None
    """Its record if it is finished."""
    problem: str = ""
    """Why it cannot run, such as demonstrations that are missing."""

    @property
    def word(self) -> str:
        """``finished``, ``begun``, ``to do`` or ``cannot run``."""
        if self.problem:
            return "cannot run"
        return "finished" if self.record else "begun" if self.steps else "to do"


def look(cells: Iterable[Cell], folder: Path) -> list[State]:
    """How far each cell is; ``folder`` is that of the experiment's runs at one scale."""
    states = []
    known: dict[Any, Any] = {}  # demonstrations and the like, which many cells share
    for cell in cells:
        place = Place(folder, cell.name)
        try:
            training, whole = digests(cell, known)
        except SurefootError as error:
            states.append(State(cell, place, problem=str(error)))
            continue
        begun = (read_json(place.state) or {}).get("training") == training
        steps = steps_done(place.run) if begun else 0
        states.append(State(cell, place, steps, finished(place, whole)))
    return states


def steps_done(run: Path) -> int:
    """Steps that the run's metrics have reached, from the last whole line; 0 if there are none."""
    try:
        with open(run / "metrics.csv", "rb") as file:
            columns = file.readline().decode().strip().split(",")
            size = file.seek(0, 2)
            file.seek(max(0, size - 8192))
            lines = file.read().decode(errors="replace").split("\n")[:-1]
        return int(float(lines[-1].split(",")[columns.index("steps")]))
    except (OSError, ValueError, IndexError):
        return 0


# Progress -------------------------------------------------------------------------------------------


@dataclass
class Speed:
    """Steps of one running cell over time."""

    start: int
    """Steps that were done before its process began."""
    began: float
    now: int = 0
    rate: float = 0.0
    """Steps a second of each seed, since the first block, which compiles; 0 if unknown."""
    first: tuple[int, float] | None = None

    def update(self, steps: int, time_: float) -> None:
        """``steps`` are done at ``time_`` seconds."""
        if steps == self.now:
            return
        self.now = steps
        if self.first is None:
            self.first = (steps, time_)
        elif time_ > self.first[1]:
            self.rate = (steps - self.first[0]) / (time_ - self.first[1])


@dataclass
class Progress:
    """What is known about the pace: steps of every seed count, each algorithm has its own."""

    slots: int
    """Cells at a time; 0 if unknown (a cluster)."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Algorithm -> seconds that its finished cells took in this call."""
    work: dict[str, float] = field(default_factory=dict)
    """Algorithm -> the steps x seeds of these."""

    def finish(self, cell: Cell, seconds: float, share: float) -> None:
        """A cell was finished; ``share`` of its steps was done in this call."""
        self.seconds[cell.algorithm] = self.seconds.get(cell.algorithm, 0.0) + seconds
        self.work[cell.algorithm] = self.work.get(cell.algorithm, 0.0) + share * size(cell)

    def left(self, jobs: Iterable[tuple[Cell, int]]) -> float | None:
        """Seconds until these cells, with the steps they have done, are finished; ``None`` if unknown.

        An algorithm that has not finished a cell yet is taken to be as fast as the others together.
        """
        total = sum(self.work.values())
        if not total:
            return None
        mean = sum(self.seconds.values()) / total
        seconds = 0.0
        for cell, steps in jobs:
            work = size(cell) * (1 - min(1.0, steps / max(cell.steps, 1)))
            own = self.work.get(cell.algorithm)
            seconds += work * (self.seconds[cell.algorithm] / own if own else mean)
        return seconds / max(self.slots, 1)


def size(cell: Cell) -> float:
    """Work in a cell: steps of all seeds, and those of its evaluation."""
    return float(len(cell.seeds) * (cell.steps + cell.episodes))


class Display:
    """Progress on stderr: a live table on a terminal, a line an event elsewhere."""

    def __init__(self, states: Sequence[State], todo: Sequence[Job], slots: int, show: bool) -> None:
        from rich.console import Console
        from rich.live import Live

        self.console = Console(stderr=True, quiet=not show, soft_wrap=True)
        self.total = len(states)
        self.finished = len(states) - len(todo) - sum(1 for state in states if state.problem)
        self.failures = 0
        self.waiting = {job.cell.name: job.cell for job in todo}
        self.begun = {state.cell.name: state.steps for state in states}
        self.running: dict[str, tuple[Job, Speed]] = {}
        self.pace = Progress(slots)
        self.began = time.monotonic()
        live = show and self.console.is_terminal
        self.live = Live(console=self.console, transient=True, refresh_per_second=2) if live else None
        if self.finished:
            self.console.print(f"{self.finished} of {self.total} cells are finished already")

    def started(self, job: Job) -> None:
        self.waiting.pop(job.cell.name, None)
        steps = self.begun.get(job.cell.name, 0)
        self.running[job.cell.name] = (job, Speed(steps, time.monotonic(), steps))
        if self.live is None:
            again = f", from step {steps:,}" if steps else ""
            self.console.print(f"started {job.cell.name}: {work_of(job.cell)}{again}", markup=False)

    def done(self, job: Job, record: Record) -> None:
        self.finished += 1
        _, speed = self.running.pop(job.cell.name)
        seconds = time.monotonic() - speed.began
        self.pace.finish(job.cell, seconds, 1 - speed.start / max(job.cell.steps, 1))
        self.console.print(
            f"[{self.finished}/{self.total}] {job.cell.name}: {headline(record)} ({clock(seconds)})",
            markup=False,
        )
        for warning in record.get("warnings", ()):
            self.console.print(f"    warning: {warning}", markup=False)

    def lost(self, job: Job, result: Result) -> None:
        self.running.pop(job.cell.name, None)
        self.waiting[job.cell.name] = job.cell
        self.begun[job.cell.name] = steps_done(job.place.run)
        self.console.print(f"{job.cell.name}: {result.message}; starting it again", markup=False)

    def left_out(self, problems: Mapping[str, str]) -> None:
        """Cells that cannot run; those with the same problem share a line."""
        for problem in dict.fromkeys(problems.values()):
            cells = [cell for cell, theirs in problems.items() if theirs == problem]
            more = f" and {len(cells) - 1} more" if len(cells) > 1 else ""
            self.failed(cells[0] + more, problem)
            self.failures += len(cells) - 1

    def failed(self, cell: str, problem: str) -> None:
        self.failures += 1
        self.running.pop(cell, None)
        self.console.print(f"FAILED {cell}: {problem}", markup=False)

    def refresh(self) -> None:
        """Reads how far the running cells are, and draws."""
        now = time.monotonic()
        for job, speed in self.running.values():
            speed.update(steps_done(job.place.run), now)
        if self.live is not None:
            self.live.update(self._table())

    def _table(self) -> Any:
        from rich.console import Group
        from rich.table import Table

        table = Table.grid(padding=(0, 2))
        for name, (job, speed) in self.running.items():
            steps = job.cell.steps
            share = min(1.0, speed.now / steps) if steps else 0.0
            filled = round(20 * share)
            if not steps or speed.now >= steps:
                where = "evaluating"
            elif speed.first is None:
                where = "compiling"
            else:
                where = f"{speed.now:,} of {steps:,} steps"
            rate = f"{speed.rate * len(job.cell.seeds):,.0f} steps/s" if speed.rate else ""
            table.add_row(name, "━" * filled + "╌" * (20 - filled), where, rate)
        open_ = [(job.cell, speed.now) for job, speed in self.running.values()]
        open_ += [(cell, self.begun.get(name, 0)) for name, cell in self.waiting.items()]
        left = self.pace.left(open_)
        words = [f"{self.finished} of {self.total} cells done"]
        words += [f"{self.failures} failed"] * bool(self.failures)
        words += [f"{clock(time.monotonic() - self.began)} gone"]
        words += [f"about {clock(left)} to go"] if left is not None else []
        return Group(table, ", ".join(words))


@contextmanager
def display(states: Sequence[State], todo: Sequence[Job], slots: int, show: bool) -> Iterator[Display]:
    """A display that is live inside the block."""
    made = Display(states, todo, slots, show)
    if made.live is None:
        yield made
    else:
        with made.live:
            yield made


def work_of(cell: Cell) -> str:
    """What a cell does, in a few words."""
    if not cell.trains:
        what = {EXPERT: "the demonstrator", UNTRAINED: "untrained networks"}
        return f"{what.get(cell.algorithm) or used_of(cell)}, {cell.episodes:,} episodes"
    seeds = f"{len(cell.seeds)} seed{'s' * (len(cell.seeds) != 1)}"
    work = f"{cell.algorithm}, {cell.steps:,} steps, {seeds}"
    return work if cell.source is None else f"{work}, {used_of(cell)}"


def used_of(cell: Cell) -> str:
    """What a cell uses of its source, as ``reward of SETTING/METHOD``."""
    return "" if cell.source is None else f"{' and '.join(cell.takes)} of {cell.source.name}"


def headline(record: Record) -> str:
    """The most important numbers of a record in a line."""
    words = []
    for name, label in (("return", "return"), ("success", "success"), ("violating_episodes", "violating")):
        value = record["metrics"].get(name, {}).get("estimate")
        if value is not None:
            words.append(f"{label} {value:.2f}" if name == "return" else f"{label} {100 * value:.1f} %")
    words += [
        f"{name.replace('_', ' ')} {record['metrics'][name]['estimate']:.3g}"
        for name in record.get("curves", {})
        if name not in ("return", "success", "violating_episodes")
    ]
    return ", ".join(words) or "no metrics"


def clock(seconds: float) -> str:
    """``42 s``, ``3 min 5 s``, ``2 h 10 min``."""
    whole = int(seconds + 0.5)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
