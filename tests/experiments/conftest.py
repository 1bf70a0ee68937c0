"""An experiment whose training is faked, so that what is tested is the running of cells."""

import dataclasses
import textwrap

import pytest

from surefoot.experiments import Cell, Experiment

STUB = '''
"""The worker with its training replaced: what it does is in the cell's options."""
import os, signal, sys, time
from surefoot.evaluation.statistics import Estimate
from surefoot.experiments import sources, worker
from surefoot.training.run import atomic_write

def train(cell, place, command, usable):
    options = cell.options
    with open(place.state.with_suffix(".tries"), "a") as file:
        file.write(f"usable={usable}\\n")
    tries = len(place.state.with_suffix(".tries").read_text().splitlines())
    if cell.source:
        sources.finished(cell, place)
    time.sleep(options.get("sleep", 0))
    if options.get("beside"):
        until = time.monotonic() + 60
        while not place.state.with_name(options["beside"] + ".tries").exists():
            if time.monotonic() > until:
                raise worker.SurefootError("nothing runs beside this")
            time.sleep(0.01)
    if options.get("mistake"):
        raise worker.SurefootError("the option does not fit")
    if options.get("crash"):
        raise RuntimeError("boom")
    place.run.mkdir(parents=True, exist_ok=True)
    try:
        (place.run / "checkpoints").mkdir(exist_ok=True)
        (place.run / "checkpoints" / "1.safetensors").write_text("large")
        atomic_write(place.run / "metrics.csv", b"iteration,steps,seed\\n1,50,0\\n")
        if tries <= options.get("deaths", 0):
            os.kill(os.getpid(), signal.SIGKILL)
        if options.get("lost") and tries == 1:
            os.kill(os.getppid(), signal.SIGKILL)  # as if the machine had gone
        while (options.get("slow") or options.get("lost")) and tries == 1:
            time.sleep(0.05)
    except KeyboardInterrupt:
        atomic_write(place.run / "saved", b"yes")
        raise
    value = sum(map(ord, cell.name)) / 100 + cell.episodes
    estimate = Estimate(value, value - 1, value + 1, cell.episodes)
    return worker.Found(cell.steps, {"return": estimate, "success": estimate}, {}, ("a sign of failure",))

worker._train_and_evaluate = train
sys.exit(worker.main(sys.argv[1:]))
'''


@pytest.fixture
def program(tmp_path, monkeypatch):
    """The stub in place of the worker; returns its path."""
    from surefoot.experiments import pools, runner

    path = tmp_path / "stub.py"
    path.write_text(textwrap.dedent(STUB))
    monkeypatch.setattr(pools, "PROGRAM", (str(path),))
    monkeypatch.setattr(runner, "INTERVAL", 0.02)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return path


@pytest.fixture
def make():
    """``make(option=value, ...)`` is an experiment with a cell ``s/NAME`` for each name of options."""

    def build(**cells: dict) -> Experiment:
        made = tuple(
            Cell(name, "discrete-sac", "s", options=options, steps=100, episodes=10)
            for name, options in cells.items()
        )
        return Experiment("stub", "", lambda scale: made, claims="", page="")

    return build


@pytest.fixture
def change():
    """``change(experiment, field=value, ...)`` changes these fields of every cell."""

    def build(experiment: Experiment, **changes) -> Experiment:
        made = tuple(dataclasses.replace(cell, **changes) for cell in experiment.cells("smoke"))
        return dataclasses.replace(experiment, cells=lambda scale: made)

    return build
