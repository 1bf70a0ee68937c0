import dataclasses
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from surefoot.errors import SurefootError
from surefoot.experiments import Cell, pages, pools
from surefoot.experiments.pools import Job, Ray, pack, run_remotely, unpack
from surefoot.experiments.results import read_json, read_summary, versions
from surefoot.experiments.runner import Progress, Speed, borrow, clock, look, run, size, steps_done
from surefoot.experiments.worker import Place, locked

SUMMARY = Path("results/stub/smoke/summary.json")
RUNS = Path("runs/reproduce/stub/smoke")


def tries(name: str) -> list[str]:
    return (RUNS / ".cells" / "s" / f"{name}.tries").read_text().split()


def test_cells_run_once_and_are_summarised_in_order(program, make):
    experiment = make(b={}, a={})
    outcome = run(experiment, "smoke", progress=False)
    assert outcome.done == ("s/b", "s/a") and not outcome.failed and not outcome.skipped
    records = read_summary(SUMMARY)
    assert [record["cell"] for record in records] == ["s/b", "s/a"]
    first = records[0]
    assert {"method", "environment", "setting", "steps", "seeds", "metrics", "published", "command",
            "versions"} <= first.keys()  # fmt: skip
    assert first["metrics"]["return"].keys() == {"estimate", "lower", "upper", "n"}
    assert first["command"] == "surefoot reproduce stub --scale smoke"
    assert first["versions"]["surefoot"] == versions()["surefoot"]
    SUMMARY.unlink()  # it is written again from what the cells left
    again = run(experiment, "smoke", progress=False)
    assert again.done == () and again.skipped == ("s/b", "s/a")
    assert tries("a") == ["usable=False"]
    assert read_summary(SUMMARY) == records
    assert not list(Path("results").rglob(".*"))  # no temporary files are left


def test_numbers_do_not_depend_on_jobs(program, make):
    cells = {name: {} for name in "abc"}
    run(make(**cells), "smoke", progress=False, jobs=1, out="one", runs="runs1")
    run(make(**cells), "smoke", progress=False, jobs=3, out="three", runs="runs3")
    assert (Path("one/stub/smoke/summary.json")).read_text() == (
        Path("three/stub/smoke/summary.json")
    ).read_text()


def test_failures_do_not_stop_the_others(program, make):
    outcome = run(make(bad={"mistake": 1}, worse={"crash": 1}, good={}), "smoke", progress=False, jobs=2)
    assert outcome.done == ("s/good",)
    assert outcome.failed["s/bad"] == "the option does not fit"
    assert "RuntimeError: boom" in outcome.failed["s/worse"] and "worse.log" in outcome.failed["s/worse"]
    assert "Traceback" in (RUNS / ".cells/s/worse.log").read_text()
    assert [record["cell"] for record in read_summary(SUMMARY)] == ["s/good"]


def test_a_killed_cell_is_started_again_from_what_it_left(program, make):
    outcome = run(make(a={"deaths": 2}), "smoke", progress=False)
    assert outcome.done == ("s/a",)
    assert tries("a") == ["usable=False", "usable=True", "usable=True"]


def test_a_cell_that_always_dies_is_given_up(program, make):
    outcome = run(make(a={"deaths": 9}, b={}), "smoke", progress=False)
    assert outcome.done == ("s/b",) and "signal 9" in outcome.failed["s/a"]
    assert len(tries("a")) == 3


def test_a_changed_cell_is_run_again(program, make, change):
    experiment = make(a={})
    run(experiment, "smoke", progress=False)
    more = change(experiment, episodes=20)
    assert [state.word for state in look(more.cells("smoke"), RUNS)] == ["begun"]
    assert run(more, "smoke", progress=False).done == ("s/a",)
    assert run(change(more, steps=200), "smoke", progress=False).done == ("s/a",)
    # Another evaluation keeps the training, another training does not.
    assert tries("a") == ["usable=False", "usable=True", "usable=False"]
    assert len(read_summary(SUMMARY)) == 1


@pytest.mark.parametrize(
    ("what", "to"),
    [("versions", {"surefoot": "99"}), ("field_defaults", {"beta": "0.7"}), ("code_digest", "another board")],
)
def test_what_a_cell_depends_on_makes_it_another_cell(program, make, monkeypatch, what, to):
    experiment = make(a={})
    run(experiment, "smoke", progress=False)
    assert look(experiment.cells("smoke"), RUNS)[0].word == "finished"
    monkeypatch.setattr(f"surefoot.experiments.identity.{what}", lambda *arguments: to)
    assert look(experiment.cells("smoke"), RUNS)[0].word == "to do"


def test_records_of_the_same_cells_are_borrowed_from_other_experiments(program, make, change):
    whole = make(a={}, b={}, c={})
    run(whole, "smoke", progress=False, only=("s/a", "s/b"))
    other = dataclasses.replace(whole, name="other")
    run(dataclasses.replace(make(c={}), name="other"), "smoke", progress=False)
    grouped = change(other, group="mine", published={"return": 3.0})
    found = {record["cell"]: record for record in borrow(grouped, "smoke", "results")}
    assert set(found) == {"s/a", "s/b", "s/c"}
    ours = {record["cell"]: record for record in read_summary(SUMMARY)}
    told = {"group": "mine", "published": {"return": 3.0}}
    assert found["s/a"] == ours["s/a"] | told and found["s/c"]["group"] == "main"
    assert [r["cell"] for r in read_summary(Path("results/other/smoke/summary.json"))] == list(found)
    # Its own record of an earlier version gives way to one of the present version.
    path = Path("results/other/smoke/summary.json")
    text = json.loads(path.read_text())
    old = next(r for r in (text["records"] if isinstance(text, dict) else text) if r["cell"] == "s/a")
    old |= {"digest": "of before", "metrics": {}}
    path.write_text(json.dumps(text))
    assert "`s/a`" in pages.make_again(grouped, read_summary(path), "smoke").partition("earlier version")[2]
    again = {record["cell"]: record for record in borrow(grouped, "smoke", "results")}
    assert again == found
    assert "earlier version" not in pages.make_again(grouped, read_summary(path), "smoke")
    # Another cell of that name is not.
    run(dataclasses.replace(make(c={}), name="third"), "smoke", progress=False)
    third = change(dataclasses.replace(whole, name="third"), episodes=20)
    assert [record["cell"] for record in borrow(third, "smoke", "results")] == ["s/c"]
    # One of an earlier version is taken where there is no other, and said to be one.
    earlier = json.loads(SUMMARY.read_text())
    for record in earlier["records"] if isinstance(earlier, dict) else earlier:
        record["digest"] = "of before"
    for folder in ("other", SUMMARY.parts[1]):
        Path("results", folder, "smoke/summary.json").write_text(json.dumps(earlier))
    taken = borrow(dataclasses.replace(whole, name="third"), "smoke", "results")
    assert [record["cell"] for record in taken] == ["s/a", "s/b", "s/c"]
    assert "`s/a`, `s/b`" in pages.make_again(whole, taken, "smoke").partition("earlier version")[2]
    with pytest.raises(SurefootError, match="results"):
        borrow(dataclasses.replace(whole, name="fourth"), "smoke", "results")


def test_each_job_has_cores_of_its_own():
    assert pools.shares([0, 1, 2, 3, 5], 2) == [(0, 2, 5), (1, 3)]
    assert pools.shares([0, 1], 1) == [(0, 1)] and pools.shares([4, 6], 3) == [(4,), (6,), (4,)]


def test_fresh_runs_finished_cells_again(program, make):
    experiment = make(a={})
    run(experiment, "smoke", progress=False)
    assert run(experiment, "smoke", progress=False, fresh=True).done == ("s/a",)
    assert tries("a") == ["usable=False", "usable=False"]


def test_only_keeps_the_records_of_the_others(program, make):
    experiment = make(a={}, b={})
    run(experiment, "smoke", progress=False)
    outcome = run(experiment, "smoke", progress=False, only=["*/b"], fresh=True)
    assert outcome.done == ("s/b",) and len(read_summary(SUMMARY)) == 2


def test_demonstrations_that_are_missing_fail_their_cell_only(program, make):
    experiment = make(a={}, b={})
    lost, other = experiment.cells("smoke")
    lost = Cell.from_dict({**lost.as_dict(), "demonstrations": "nowhere/at-all"})
    outcome = run(
        dataclasses.replace(experiment, cells=lambda scale: (lost, other)),
        "smoke",
        progress=False,
    )
    assert outcome.done == ("s/b",) and "nowhere/at-all" in outcome.failed["s/a"]


def test_mistakes_are_found_before_anything_starts(program, make, change):
    with pytest.raises(SurefootError, match="Did you mean 'smoke'"):
        run(make(a={}), "smok", progress=False)
    with pytest.raises(SurefootError, match="jobs = 0"):
        run(make(a={}), "smoke", progress=False, jobs=0)
    wrong = change(make(a={}), algorithm="scopl")
    with pytest.raises(SurefootError, match=r"cell s/a 'scopl'\. Did you mean 'scopil'"):
        run(wrong, "smoke", progress=False)
    SUMMARY.parent.mkdir(parents=True, exist_ok=True)
    SUMMARY.write_text("{")
    with pytest.raises(SurefootError, match="not a summary"):
        run(make(a={}), "smoke", progress=False)
    assert SUMMARY.read_text() == "{"


DRIVER = """
import signal, sys
if sys.argv[2] == "background":  # as a shell's script starts what stands before an ``&``
    signal.signal(signal.SIGINT, signal.SIG_IGN)
from surefoot.experiments import Cell, Experiment, pools, runner
pools.PROGRAM = (sys.argv[1],)
cells = (Cell("slow", "discrete-sac", "s", options={"slow": 1}, steps=100, episodes=10),)
try:
    runner.run(Experiment("stub", "", lambda scale: cells, "", ""), "smoke")
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize(
    ("how", "where"),
    [
        (signal.SIGINT, "foreground"),
        (signal.SIGTERM, "foreground"),
        (signal.SIGKILL, "foreground"),
        (signal.SIGTERM, "background"),
        (signal.SIGKILL, "background"),
    ],
)
def test_stopping_the_runner_saves_its_cells(program, make, how, where):
    driver = Path("driver.py")
    driver.write_text(DRIVER)
    variables = {**os.environ, **pools.environment(1)}
    command = [sys.executable, str(driver), str(program), where]
    with subprocess.Popen(command, env=variables) as process:
        try:
            wait_for((RUNS / "s/slow/metrics.csv").exists)
            process.send_signal(how)
            assert process.wait(30) == (-9 if how == signal.SIGKILL else 130)
        finally:
            process.kill()
    # The cell's own process notices that its starter is gone, saves, and lets go of its lock.
    wait_for((RUNS / "s/slow/saved").exists)
    with locked(RUNS / ".cells/s/slow.lock", patience=20.0):
        pass
    outcome = run(make(slow={"slow": 1}), "smoke", progress=False)
    assert outcome.done == ("s/slow",) and tries("slow") == ["usable=False", "usable=True"]


def test_an_impatient_user_leaves_no_cell_behind():
    """A second Ctrl-C while cells are saving ends them at once."""

    class Saving(subprocess.Popen):
        def wait(self, timeout=None):
            if timeout:
                raise KeyboardInterrupt
            return super().wait()

    cells = [Saving([sys.executable, "-c", "import time; time.sleep(100)"]) for _ in range(2)]
    with pytest.raises(KeyboardInterrupt):
        pools.end(cells)
    assert [cell.returncode for cell in cells] == [-signal.SIGKILL] * 2


def test_a_cell_is_never_run_twice_at_a_time(tmp_path):
    path = tmp_path / "lock"
    with (
        locked(path),
        pytest.raises(SurefootError, match="Another process"),
        locked(path, patience=0.1),
    ):
        pass


# Progress


def test_steps_done_reads_the_last_whole_line(tmp_path):
    path = tmp_path / "metrics.csv"
    assert steps_done(tmp_path) == 0
    path.write_text("iteration,steps,seed,return\n")
    assert steps_done(tmp_path) == 0
    path.write_text("iteration,steps,seed,return\n1,64,0,1.0\n1,64,1,1.0\n2,12")
    assert steps_done(tmp_path) == 64
    path.write_text("iteration,steps,seed,return\n" + "".join(f"{i},{64 * i},0,1.0\n" for i in range(5000)))
    assert steps_done(tmp_path) == 64 * 4999


def test_time_to_go():
    sac = Cell("a", "discrete-sac", "s", steps=900, seeds=(0, 1), episodes=100)
    bc = Cell("b", "bc", "s", steps=400, seeds=(0,), episodes=100)
    assert (size(sac), size(bc)) == (2000, 500)
    pace = Progress(slots=2)
    assert pace.left([(sac, 0)]) is None
    pace.finish(sac, seconds=100.0, share=0.5)  # 1000 units in 100 s
    assert pace.left([(sac, 0)]) == pytest.approx(100)  # 2000 units, two at a time
    assert pace.left([(sac, 450), (bc, 0)]) == pytest.approx(75)  # bc as fast as the others
    pace.finish(bc, seconds=5.0, share=1.0)
    assert pace.left([(bc, 0)]) == pytest.approx(2.5)


def test_speed_leaves_out_the_block_that_compiles():
    speed = Speed(start=100, began=0.0, now=100)
    speed.update(100, 10.0)
    assert speed.first is None and speed.rate == 0.0
    speed.update(200, 30.0)
    assert speed.rate == 0.0
    speed.update(400, 34.0)
    assert speed.rate == pytest.approx(50.0) and speed.now == 400


def test_clock():
    seconds = (0.4, 59.4, 61.0, 3599.0, 3661.0)
    assert [clock(s) for s in seconds] == ["0 s", "59 s", "1 min 1 s", "59 min 59 s", "1 h 1 min"]


def test_progress_on_stderr(program, make, capfd):
    run(make(a={}, bad={"mistake": 1}), "smoke")
    text = capfd.readouterr().err
    assert "started s/a: discrete-sac, 100 steps, 1 seed" in text
    assert "[1/2] s/a: return" in text and "warning: a sign of failure" in text
    assert "FAILED s/bad: the option does not fit" in text


# Elsewhere


def remote_plan(name="a", options=None) -> dict:
    cell = Cell(name, "discrete-sac", "s", options=options or {}, steps=100, episodes=10)
    return Job(cell, Place(RUNS, cell.name), "the command").plan()


def test_a_machine_without_the_folder_sends_its_files(program, tmp_path):
    answer = run_remotely(remote_plan(), "token", {}, versions()["surefoot"], (str(program),))
    assert answer["code"] == 0
    assert not (RUNS / "s").exists()  # it worked in its cache
    unpack(answer["files"], RUNS)
    record = read_json(RUNS / ".cells/s/a.json")["record"]
    assert record["cell"] == "s/a" and steps_done(RUNS / "s/a") == 50
    assert not (RUNS / "s/a/checkpoints").exists()
    # A retry on that machine goes on there.
    assert (tmp_path / "cache/surefoot/ray/stub/smoke/s/a/checkpoints").exists()


def test_a_machine_with_the_folder_works_in_it(program):
    place = Place(RUNS, "s/a")
    place.state.parent.mkdir(parents=True)
    place.state.with_suffix(".token").write_text("token")
    answer = run_remotely(remote_plan(), "token", {}, versions()["surefoot"], (str(program),))
    assert answer == {"code": 0, "message": "", "files": None}
    assert read_json(place.state)["record"]["cell"] == "s/a"


def test_a_machine_with_another_version_refuses(program):
    answer = run_remotely(remote_plan(), "token", {}, "99", (str(program),))
    assert answer["code"] == 2 and "starter 99" in answer["message"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("../outside", tarfile.REGTYPE), ("/tmp/outside", tarfile.REGTYPE), ("x", tarfile.SYMTYPE)],
)
def test_archive_cannot_write_elsewhere(tmp_path, name, kind):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "/etc/passwd"
        file.addfile(member)
    with pytest.raises(SurefootError, match="no file of a cell"):
        unpack(buffer.getvalue(), tmp_path / "runs")
    assert not list(tmp_path.rglob("*outside"))


def test_pack_leaves_checkpoints_out(program, make):
    run(make(a={}), "smoke", progress=False)
    unpack(pack(Place(RUNS, "s/a")), Path("copy"))
    assert (Path("copy/s/a/metrics.csv")).exists() and not Path("copy/s/a/checkpoints").exists()
    assert json.loads(Path("copy/.cells/s/a.json").read_text())["record"]


def test_pack_takes_the_newest_checkpoint_where_a_cell_starts_from_it(program, make):
    run(make(a={}), "smoke", progress=False)
    old, new = (RUNS / f"s/a/checkpoints/{i}.safetensors" for i in (10, 20))
    for path in (old, new):
        path.write_bytes(b"")
    unpack(pack(Place(RUNS, "s/a"), checkpoint=True), Path("copy"))
    found = [path.name for path in Path("copy/s/a/checkpoints").iterdir()]
    assert len(found) == 1 and int(found[0].partition(".")[0]) >= 20


def test_ray_that_is_not_there():
    pytest.importorskip("ray")
    with pytest.raises(SurefootError, match=r"No Ray cluster at '127.0.0.1:1'.*ray start --head"):
        Ray("127.0.0.1:1", 0)


@pytest.fixture
def cluster():
    """The address of a Ray cluster on this machine, started as a user would."""
    pytest.importorskip("ray")
    port = 20_000 + os.getpid() % 20_000
    command = [
        str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", f"--port={port}",
        "--num-cpus=2", "--include-dashboard=false", "--disable-usage-stats",
    ]  # fmt: skip
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, start_new_session=True, **quiet) as head:
        try:
            if not takes_drivers(f"127.0.0.1:{port}"):
                pytest.skip("this machine is too busy to start a Ray cluster")
            yield f"127.0.0.1:{port}"
        finally:
            head.terminate()


def takes_drivers(address: str) -> bool:
    """Whether Ray itself can connect, within two minutes; a busy machine is slow to start a cluster."""
    import ray

    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", int(address.rpartition(":")[2]))) == 0:
                    ray.init(address=address, log_to_driver=False)
                    return True
        except ConnectionError:
            pass
        finally:
            ray.shutdown()
        time.sleep(0.2)
    return False


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
def test_ray_gives_the_same_numbers(program, make, cluster):
    experiment = make(a={}, dies={"deaths": 1}, lost={"lost": 1}, bad={"mistake": 1})
    outcome = run(experiment, "smoke", progress=False, ray=cluster, out="there", runs="runs-there")
    assert set(outcome.done) == {"s/a", "s/dies", "s/lost"}
    assert outcome.failed["s/bad"] == "the option does not fit"
    # The one whose worker was lost was started again by Ray, and from what it had left.
    tries = Path("runs-there/stub/smoke/.cells/s/lost.tries").read_text().split()
    assert tries == ["usable=False", "usable=True"]
    run(make(a={}, dies={}, lost={}), "smoke", progress=False, jobs=2, out="here", runs="runs-here")
    numbers = [
        [(r["cell"], r["metrics"]) for r in read_summary(Path(out, "stub/smoke/summary.json"))]
        for out in ("here", "there")
    ]
    assert numbers[0] == numbers[1]


def wait_for(condition, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
