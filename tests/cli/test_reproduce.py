import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from surefoot import experiments
from surefoot.experiments import Cell, Experiment, pools, runner

STUB = """
import sys
from surefoot.evaluation.statistics import Estimate
from surefoot.experiments import worker

def train(cell, place, command, usable):
    if cell.options.get("crash"):
        raise RuntimeError("boom")
    estimate = Estimate(0.5, 0.4, 0.6, 10)
    metrics = {"return": estimate, "success": estimate, "violating_episodes": estimate}
    return worker.Found(cell.steps, metrics, {})

worker._train_and_evaluate = train
sys.exit(worker.main(sys.argv[1:]))
"""


@pytest.fixture
def stub(tmp_path, monkeypatch):
    """An experiment named scopil whose cells train nothing; ``stub(crash=True)`` makes one fail."""
    program = tmp_path / "stub.py"
    program.write_text(STUB)
    monkeypatch.setattr(pools, "PROGRAM", (str(program),))
    monkeypatch.setattr(runner, "INTERVAL", 0.02)
    real = experiments.experiment("scopil")

    def install(crash: bool = False) -> None:
        options = {"crash": 1} if crash else {}
        cells = (
            Cell("SCOPIL", "scopil", "zone", steps=10, episodes=2),
            Cell("SAC", "discrete-sac", "zone", steps=10, episodes=2, options=options),
        )
        made = dataclasses.replace(real, cells=lambda scale: cells)

        def find(name: str) -> Experiment:
            return made if name == "scopil" else real

        monkeypatch.setattr(experiments, "experiment", find)

    return install


def test_without_a_word_it_lists_experiments(surefoot):
    for words in ((), ("--list",)):
        found = surefoot("reproduce", *words)
        assert found.code == 0 and "scopil" in found.out and "laptop" in found.out


def test_help_teaches(surefoot):
    found = surefoot("reproduce", "scopil", "--help")
    assert found.code == 0
    for word in ("--scale", "--jobs", "--ray", "--only", "--dry-run", "smoke", "zone+speed/*", "exit code"):
        assert word in found.out


def test_list_prints_cells(surefoot):
    found = surefoot("reproduce", "scopil", "--scale", "laptop", "--list", "--only", "zone/*")
    assert found.code == 0
    names = [line.split()[0] for line in found.out.splitlines() if line.startswith("  ")]
    assert names == [
        f"zone/{m}" for m in ("Expert", "SAC", "BC", "ICRL", "SCOPIL", "S-EiC", "S-DGD", "S-DGD-EiC")
    ]
    assert "entropy_in_constraint=False" in found.out and found.out.rstrip().endswith("8 cells")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["scopl"], "Did you mean 'scopil'"),
        (["scopil", "--scale", "labtop"], "Did you mean 'laptop'"),
        (["scopil", "--only", "zone/SCOPLI"], "Did you mean 'zone/SCOPIL'"),
        (["scopil", "--only", "zona/*"], "matches 'zona/*'"),
        (["scopil", "--job", "2"], "Did you mean '--jobs'"),
        (["scopil", "--jobs", "0"], "jobs = 0"),
        (["--scale", "smoke"], "The experiment comes first"),
        (["scopil", "--page", "--scale", "paper"], "does not exist; run the experiment first"),
    ],
)
def test_mistakes_are_one_line(surefoot, words, message):
    found = surefoot("reproduce", *words)
    assert found.code == 2 and message in found.err
    assert found.err.startswith("error: ") and found.err.count("\n") == 1
    assert not Path("results").exists()


def test_run_dry_run_and_page(surefoot, stub):
    stub()
    assert "2 of 2 cells to run, 20 steps" in surefoot("reproduce", "scopil", "--dry-run").out
    found = surefoot("reproduce", "scopil", "--jobs", "2")
    assert found.code == 0, found.err
    assert "2 cells run, 0 finished before, 0 failed" in found.out
    assert "met in 0 of 1     SCOPIL: success of at least 95 %" in found.out
    records = json.loads(Path("results/scopil/smoke/summary.json").read_text())
    assert [record["command"] for record in records] == ["surefoot reproduce scopil --jobs 2"] * 2
    assert "0 of 2 cells to run" in surefoot("reproduce", "scopil", "--dry-run").out
    assert "2 of 2 cells to run, 20 steps" in surefoot("reproduce", "scopil", "--dry-run", "--fresh").out
    found = surefoot("reproduce", "scopil", "--page")
    assert found.code == 0 and found.out == "Page: docs/results/scopil.md\n"
    assert "| SAC |" in Path("docs/results/scopil.md").read_text()


def test_a_failed_cell_gives_exit_code_1(surefoot, stub):
    stub(crash=True)
    found = surefoot("reproduce", "scopil", "--no-progress")
    assert found.code == 1 and "FAILED zone/SAC: RuntimeError: boom" in found.out
    assert found.err == ""
    assert len(json.loads(Path("results/scopil/smoke/summary.json").read_text())) == 1


def test_listing_and_pages_need_no_jax(tmp_path):
    code = (
        "import sys\n"
        "from surefoot.cli.main import main\n"
        "assert main(['reproduce', 'scopil', '--list']) == 0\n"
        "assert main(['reproduce', 'scopil', '--dry-run']) == 0\n"
        "import surefoot.experiments.scopil_page\n"
        "assert 'jax' not in sys.modules, 'jax was imported'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, **pools.environment(1)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
