"""Trains and evaluates one cell, in a process of its own.

``python -m surefoot.experiments.worker FILE`` runs the cell that the JSON file describes. The runner
starts these processes, here or on a Ray cluster; the cell's numbers do not depend on which.

What a cell leaves behind, under the folder of runs:

    SETTING/METHOD/            the run: a folder like that of ``surefoot train``
    .cells/SETTING/METHOD.json digests of what was trained, and the record once it is finished
    .cells/SETTING/METHOD.log  what the process printed

A process that is killed leaves the run's checkpoints; the next one resumes from the last. A process
whose starter is gone saves and stops: it watches its standard input, which then closes.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surefoot.errors import SurefootError
from surefoot.experiments import EXPERT, Cell, sources, training_metrics
from surefoot.experiments.identity import digests
from surefoot.experiments.results import read_json, versions
from surefoot.training.run import write_json

if TYPE_CHECKING:
    from surefoot.evaluation.episodes import EpisodeTable
    from surefoot.evaluation.statistics import Estimate
    from surefoot.experiments.training_metrics import Curve
    from surefoot.training.run import Run

CORES = "SUREFOOT_CORES"
"""Variable with the cores that a cell's process has to itself."""
EVALUATION_SEED = 12345
"""Of starts and sampled actions: the same for every cell, so that all methods meet the same starts."""


@dataclass(frozen=True)
class Place:
    """Where a cell's files are."""

    runs: Path
    """Folder of the experiment's runs at one scale."""
    cell: str
    """Name of the cell, ``SETTING/METHOD``."""

    def of(self, cell: Cell) -> Place:
        """Where another cell of the same experiment is."""
        return Place(self.runs, cell.name)

    @property
    def run(self) -> Path:
        return self.runs / self.cell

    @property
    def state(self) -> Path:
        return self.runs / ".cells" / f"{self.cell}.json"

    @property
    def log(self) -> Path:
        return self.runs / ".cells" / f"{self.cell}.log"

    @property
    def lock(self) -> Path:
        return self.runs / ".cells" / f"{self.cell}.lock"


def finished(place: Place, digest: str) -> dict[str, Any] | None:
    """The record of the cell if exactly this cell has been finished, else ``None``."""
    state = read_json(place.state)
    return state.get("record") if isinstance(state, dict) and state.get("digest") == digest else None


def run_cell(cell: Cell, place: Place, command: str, *, fresh: bool = False) -> dict[str, Any]:
    """Trains (or resumes, or finds trained) and evaluates the cell; returns its record.

    ``fresh`` forgets what an earlier process left. Raises :class:`SurefootError` if another process
    is at work on the same cell.
    """
    with locked(place.lock):
        training, whole = digests(cell)
        state = {} if fresh else read_json(place.state) or {}
        if state.get("digest") == whole and state.get("record"):
            return state["record"]
        usable = state.get("training") == training
        if not usable:
            usable = cell.trains and not fresh and sources.adopt(place, training)
            write_json(place.state, {"training": training})
        if cell.trains:
            found = _train_and_evaluate(cell, place, command, usable)
        elif cell.algorithm == EXPERT:
            found = _evaluate_expert(cell)
        else:
            found = _evaluate_policies(cell, place)
        record = _record(cell, found, command) | {"digest": whole}
        write_json(place.state, {"training": training, "digest": whole, "record": record})
        return record


@dataclass(frozen=True)
class Found:
    """What is known of a cell after its evaluation."""

    steps: int
    """Steps a seed that were taken: the cell's, rounded up to whole iterations."""
    metrics: Mapping[str, Estimate]
    per_seed: Mapping[str, list[float]]
    warnings: tuple[str, ...] = ()
    curves: Mapping[str, Curve] = field(default_factory=dict)
    """Of the metrics of training that the cell asks for."""


def _train_and_evaluate(cell: Cell, place: Place, command: str, usable: bool) -> Found:
    from surefoot.evaluation.evaluate import evaluate

    run = _trained(cell, place, command, usable)
    found = evaluate(run, episodes=cell.episodes, mode="both", seed=EVALUATION_SEED)
    per_seed = {
        prefix + name: values
        for prefix, table in found.tables.items()
        for name, values in each_seed(table).items()
        if prefix + name in found.metrics  # not of a task without costs, or without success
    }
    limits = cell.options.get("cost_limits") or run.config["task"]["limits"]
    trained = training_metrics.of(run.metrics(), cell.training_metrics, limits)
    return Found(
        run.steps,
        {**trained.metrics, **found.metrics},
        {**trained.per_seed, **per_seed},
        (*run.warnings(), *found.warnings),
        trained.curves,
    )


def _trained(cell: Cell, place: Place, command: str, usable: bool) -> Run:
    """The finished run: resumed if its folder holds a part of the same training."""
    import surefoot as sf
    from surefoot.algorithms import algorithm

    if usable and place.run.exists():
        return sf.resume(place.run, progress=False)
    demonstrations = sources.demonstrations(cell, place)
    return sf.fit(
        algorithm(cell.algorithm)(**tuples(cell.options)),
        sources.world(cell, place, sf.make(cell.environment, **tuples(cell.world))),
        demonstrations=demonstrations,
        steps=cell.steps,
        seeds=cell.seeds,
        start=sources.start(cell, place),
        log_every=cell.log_every,
        evaluate_every=cell.evaluate_every,
        evaluate_episodes=cell.evaluate_episodes,
        run=place.run,
        overwrite=True,
        progress=False,
        command=command,
        source=None if cell.first else cell.demonstrations,
    )


def _evaluate_expert(cell: Cell) -> Found:
    import equinox as eqx
    import jax

    import surefoot as sf
    from surefoot.envs.marble_maze_expert import Expert
    from surefoot.evaluation.evaluate import evaluate_policy

    world: Any = sf.make(cell.environment, **tuples(cell.world))
    expert = Expert.create(world.env, **cell.options)
    # One policy, with the leading axis that several would have.
    policies = jax.tree.map(lambda leaf: leaf[None] if eqx.is_array(leaf) else leaf, expert)
    return Found(0, evaluate_policy(policies, world, episodes=cell.episodes, seed=EVALUATION_SEED), {})


def _evaluate_policies(cell: Cell, place: Place) -> Found:
    """Policies that were trained elsewhere, or not at all."""
    import surefoot as sf
    from surefoot.evaluation.evaluate import evaluate_policy

    world = sf.make(cell.environment, **tuples(cell.world))
    policies = sources.policies(cell, place, world.task)
    found = evaluate_policy(policies, world, episodes=cell.episodes, mode="both", seed=EVALUATION_SEED)
    return Found(0, found, {})


def each_seed(table: EpisodeTable) -> dict[str, list[float]]:
    """Means over the episodes of each seed."""
    columns = {
        "return": table.returns,
        "success": table.success,
        "violating_steps_per_episode": table.violating_steps_any,
        "violating_episodes": table.violating_steps_any > 0,
    }
    return {name: [round(float(x), 6) for x in values.mean(axis=1)] for name, values in columns.items()}


def _record(cell: Cell, found: Found, command: str) -> dict[str, Any]:
    """An entry of ``summary.json``."""
    record: dict[str, Any] = {
        "method": cell.method,
        "environment": cell.environment,
        "setting": cell.setting,
        "steps": found.steps,
        "seeds": list(cell.seeds),
        "metrics": {name: estimate.as_dict() for name, estimate in found.metrics.items()},
        "published": dict(cell.published),
        "command": command,
        "versions": versions(),
        "cell": cell.name,
        "group": cell.group,
        "algorithm": cell.algorithm,
        "options": dict(cell.options),
        "world": dict(cell.world),
        "demonstrations": cell.demonstrations,
        "episodes": cell.episodes,
        "per_seed": dict(found.per_seed),
        "warnings": list(found.warnings),
    }
    if cell.first:
        record["first"] = cell.first
    if cell.source is not None:
        record["source"] = cell.source.name
    if cell.takes:
        record["takes"] = dict(cell.takes)
    if cell.log_every:
        record["log_every"] = cell.log_every
    if cell.evaluate_every:
        record |= {"evaluate_every": cell.evaluate_every, "evaluate_episodes": cell.evaluate_episodes}
    if found.curves:
        record["curves"] = {name: curve.as_dict() for name, curve in found.curves.items()}
    return record


def tuples(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with lists, which JSON knows, as tuples, which settings are."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}


# The process ----------------------------------------------------------------------------------------


def main(argv: list[str]) -> int:
    """Runs the cell of a JSON file ``{"cell", "runs", "command", "fresh"}``.

    Exit codes: 0 done, 2 a mistake of the user, 1 any other error (with its traceback), 130 stopped
    after saving. The last line on stderr says what went wrong.
    """
    import traceback

    try:
        _stay_on(os.environ.get(CORES, ""))
        _stop_when_left_alone()
        plan = json.loads(Path(argv[0]).read_text())
        cell = Cell.from_dict(plan["cell"])
        run_cell(cell, Place(Path(plan["runs"]), cell.name), plan["command"], fresh=plan["fresh"])
        return 0
    except KeyboardInterrupt:
        print("stopped; progress is saved", file=sys.stderr)
        return 130
    except SurefootError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Exception as error:
        traceback.print_exc()
        print(f"error: {type(error).__name__}: {error}", file=sys.stderr)
        return 1


def _stay_on(cores: str) -> None:
    """Keeps this process on the cores of a list such as ``0,2``, if any are given and the system can."""
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [int(core) for core in cores.split(",")])


def _stop_when_left_alone() -> None:
    """Interrupts the main thread when standard input closes: asked to stop, or the starter is gone.

    As SIGTERM would, and not Ctrl-C: what a script starts in the background ignores that one.
    """
    import _thread

    def stop(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    def watch() -> None:
        while os.read(0, 1024):
            pass
        _thread.interrupt_main(signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def locked(path: Path, patience: float = 60.0) -> Iterator[None]:
    """Holds the file's lock, which the system releases when the process ends, however it ends.

    Waits ``patience`` seconds: a process that lost its starter may still be saving.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        try:
            import fcntl
        except ImportError:  # no such locks on this system; the runner itself never starts a cell twice
            yield
            return
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise SurefootError(
                        f"Another process is running this cell (it holds {path}); wait for it or stop it."
                    ) from None
                time.sleep(0.2)
        yield


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
