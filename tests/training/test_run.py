"""Run folders: made once, read with clear errors, written atomically; options to JSON and back."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from surefoot.algorithms import ALGORITHMS
from surefoot.errors import SurefootError
from surefoot.training import run as module
from surefoot.training.run import Run, append, atomic_write, learner_from, locked, options_of, sweep
from training.tiny import Tiny

CONFIG = {
    "learner": {"name": "scopil", "options": {}},
    "world": {"id": "gymnasium:CartPole-v1", "envs": 2, "options": {}},
    "seeds": [0, 1],
    "steps": 80,
    "iterations": 10,
}


@dataclass(frozen=True)
class _Callable:
    rate: object = print


@dataclass(frozen=True)
class _Inner:
    width: int = 2


@dataclass(frozen=True)
class _Outer:
    inner: _Inner = field(default_factory=_Inner)
    sizes: tuple = ()


def make(path, **changes):
    return Run.create(path, CONFIG | changes)


# Making ------------------------------------------------------------------------------------------------


def test_a_new_run_knows_its_settings_and_has_done_nothing(tmp_path):
    run = make(tmp_path / "a" / "b")
    assert run.config == {"format": 1, **CONFIG}
    assert (run.seeds, run.steps, run.progress, run.finished) == ((0, 1), 80, 0, False)
    assert run.metrics() == {}
    assert run.warnings() == []
    assert Run(str(run.path)).config == run.config
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["b"]


def test_what_is_there_is_not_touched(tmp_path):
    run = make(tmp_path / "r")
    (run.path / "precious").write_text("x")
    with pytest.raises(SurefootError, match=f"exists.*surefoot resume {run.path}.*--overwrite"):
        make(run.path)
    assert (run.path / "precious").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(SurefootError, match="not a run folder"):
        Run.create(tmp_path / "mine", CONFIG, overwrite=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(SurefootError, match="is a file"):
        make(tmp_path / "file")
    assert (tmp_path / "mine" / "thesis.tex").exists()


def test_overwriting_leaves_nothing_of_the_old_run_once_the_new_one_is_settled(tmp_path):
    make(tmp_path / "r")
    (tmp_path / "r" / "old").write_text("x")
    run = Run.create(tmp_path / "r", CONFIG | {"steps": 160}, overwrite=True)
    assert run.steps == 160
    assert not (run.path / "old").exists()
    assert len(list(tmp_path.iterdir())) == 2
    run.settle()
    assert [path.name for path in tmp_path.iterdir()] == ["r"]
    assert run.steps == 160


@pytest.mark.parametrize("killed", [0, 2], ids=["at once", "after two attempts that were killed"])
def test_a_run_that_comes_to_nothing_gives_back_what_it_replaced(tmp_path, monkeypatch, killed):
    old = make(tmp_path / "r[1]")  # a name with a meaning in patterns
    (old.path / "checkpoints").mkdir()
    (old.path / "checkpoints" / "80.safetensors").write_text("x")
    for other in ("r[1].7.old", ".r[1].v2.7.old", ".r[1].old"):  # another's
        (tmp_path / other).mkdir()
    for process in range(1 + killed):
        monkeypatch.setattr(os, "getpid", lambda process=process: 100 + process)
        new = Run.create(old.path, CONFIG | {"steps": 160}, overwrite=True)
    new.withdraw()
    assert Run(old.path).steps == 80 and (old.path / "checkpoints" / "80.safetensors").exists()
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"r[1]", "r[1].7.old", ".r[1].v2.7.old", ".r[1].old"}


def test_the_same_process_may_overwrite_twice(tmp_path):
    make(tmp_path / "r")
    for steps in (160, 240):
        run = Run.create(tmp_path / "r", CONFIG | {"steps": steps}, overwrite=True)
    assert run.steps == 240 and run.replaces
    run.settle()
    assert [path.name for path in tmp_path.iterdir()] == ["r"] and not run.replaces


def test_a_link_to_a_run_is_overwritten_where_it_leads(tmp_path):
    make(tmp_path / "far" / "r")
    (tmp_path / "link").symlink_to(tmp_path / "far" / "r")
    run = Run.create(tmp_path / "link", CONFIG | {"steps": 160}, overwrite=True)
    run.settle()
    assert Run(tmp_path / "link").steps == 160 and (tmp_path / "link").is_symlink()
    assert [path.name for path in (tmp_path / "far").iterdir()] == ["r"]


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "r").mkdir()
    assert make(tmp_path / "r").steps == 80


def test_names_are_readable_and_never_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {make(None).path for _ in range(3)}
    assert len(names) == 3
    assert all(str(name).startswith("runs/scopil-gymnasium-CartPole-v1-2") for name in names)


def test_a_run_in_training_is_not_overwritten(tmp_path):
    run = make(tmp_path / "r")
    with locked(run.path):
        with pytest.raises(SurefootError, match="being trained by another process"), locked(run.path):
            pass
        with pytest.raises(SurefootError, match="being trained"):
            Run.create(run.path, CONFIG, overwrite=True)
    with locked(run.path):
        pass


# Reading -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is not a run folder: it has no config.json"),
        ("{", "cannot be read"),
        ("[]", "not the description of a run"),
        ('{"format": 99}', "has format 99, but this version of surefoot reads format 1"),
        ('{"format": 1, "seeds": [0]}', "lacks iterations, learner, steps, world"),
        (
            '{"format": 1, "seeds": 0, "learner": null, "world": {}, "steps": 8, "iterations": 1}',
            "is damaged: learner, seeds",
        ),
    ],
)
def test_a_folder_that_is_no_run_says_why(tmp_path, content, message):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(SurefootError, match=message):
        Run(tmp_path)


def test_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(SurefootError, match="no run folder"):
        Run(tmp_path / "none")


def test_progress_metrics_and_end(tmp_path):
    run = make(tmp_path / "r")
    lines = ["iteration,steps,seed,return", "1,8,0,nan", "1,8,1,0.1", "2,16,0,1.0", "2,16,1,2"]
    run.metrics_path.write_text("\n".join(lines))  # the last line is not ended
    assert run.progress == 8
    assert run.metrics()["seed"].tolist() == [0, 1]
    np.testing.assert_array_equal(run.metrics()["return"], [np.nan, 0.1])
    (run.path / "checkpoints").mkdir()
    for name in ("9", "2", ".10.safetensors.77.tmp"):
        (run.path / "checkpoints" / f"{name}.safetensors").touch()
    assert [path.stem for path in run.checkpoints()] == ["9", "2"]
    assert not run.finished
    (run.path / "checkpoints" / "10.safetensors").touch()
    assert run.finished


def test_warnings_are_sentences(tmp_path):
    run = make(tmp_path / "r")
    module.write_json(run.path / "warnings.json", {"oscillation, seed 1": "It swings."})
    assert run.warnings() == ["oscillation, seed 1: It swings."]


def test_reading_needs_no_jax(tmp_path):
    run = make(tmp_path / "r")
    code = f"""
import sys
from surefoot.training.run import Run
assert Run({str(run.path)!r}).progress == 0
assert not {{"jax", "equinox"}} & set(sys.modules)
"""
    source = Path(module.__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(source)}, check=True)


# Writing -----------------------------------------------------------------------------------------------


def test_what_is_in_the_way_of_a_file_is_named(tmp_path):
    (tmp_path / "a").write_text("no folder")
    with pytest.raises(SurefootError, match=r"a/b\.png"):
        atomic_write(tmp_path / "a" / "b.png", b"new")
    (tmp_path / "c").mkdir()
    with pytest.raises(SurefootError, match="c"):
        atomic_write(tmp_path / "c", b"new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "c"]


def test_atomic_write_replaces_all_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "new" / "file"
    atomic_write(path, b"old")
    atomic_write(path, iter([b"n", memoryview(b"ew")]))
    assert path.read_bytes() == b"new"

    def broken():
        yield b"half"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(SurefootError, match=rf"Could not write {path}: No space left on device\. Make room"):
        atomic_write(path, broken())
    assert path.read_bytes() == b"new"
    assert [p.name for p in path.parent.iterdir()] == ["file"]
    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:

            def fail(*_):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            patch.setattr(os, name, fail)
            with pytest.raises(SurefootError, match="No space left"):
                atomic_write(path, b"newer")
        assert path.read_bytes() == b"new"
        assert [p.name for p in path.parent.iterdir()] == ["file"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_one_sentence():
    with pytest.raises(SurefootError, match="Could not write /dev/full: No space left on device"):
        append(Path("/dev/full"), b"x" * 100_000)


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def not_renamed(path, target, rename=Path.rename):
    """The new run cannot take the place of the old one, which was moved aside."""
    if path.name.endswith(".new"):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    return rename(path, target)


@pytest.mark.parametrize(
    ("where", "name", "fails", "said"),
    [
        (os, "fsync", full_disk, "No space left"),
        (Path, "rename", not_renamed, "Input/output error"),
    ],
    ids=["full disk", "rename"],
)
def test_a_failure_while_making_a_run_leaves_the_old_one(tmp_path, monkeypatch, where, name, fails, said):
    run = make(tmp_path / "r")
    with monkeypatch.context() as patch:
        patch.setattr(where, name, fails)
        with pytest.raises(SurefootError, match=said):
            Run.create(run.path, CONFIG | {"steps": 160}, overwrite=True)
    assert Run(run.path).steps == 80
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


def test_a_run_that_another_process_made_meanwhile_is_not_touched(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = make(Path("runs/r"))
    (run.path / "precious").write_text("x")
    names = iter([Path("runs/r"), Path("runs/r-2")])
    monkeypatch.setattr(module, "_check_free", lambda folder, overwrite: None)  # it was free when we looked
    monkeypatch.setattr(module, "_free_name", lambda config: next(names))
    with pytest.raises(SurefootError, match=r"runs/r exists.*--overwrite"):
        make(Path("runs/r"), steps=160)
    assert make(None, steps=160).path == Path("runs/r-2")
    assert Run("runs/r").steps == 80 and (run.path / "precious").exists()
    assert sorted(path.name for path in Path("runs").iterdir()) == ["r", "r-2"]


def test_what_a_kill_left_is_swept_away(tmp_path):
    (tmp_path / "policy").mkdir()
    for name in (".a.1.tmp", "policy/.b.2.tmp", "keep.tmp", ".keep"):
        (tmp_path / name).touch()
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".keep", "keep.tmp", "policy"]
    assert not list((tmp_path / "policy").iterdir())


# Options of learners -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALGORITHMS)
def test_settings_survive_json(name):
    learner = learner_from(name)
    options = json.loads(json.dumps(options_of(learner)))
    assert learner_from(name, options) == learner
    assert learner_from(name, {"hidden": [5, 6]}).hidden == (5, 6)


def test_a_learner_of_ones_own_is_found_by_its_module():
    assert learner_from("training.tiny:Tiny", {"rate": 0.25}) == Tiny(rate=0.25)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("scopl", {}, "Did you mean 'scopil'"),
        ("discrete-sac", {"lerning_rate": 1.0}, "option of discrete-sac 'lerning_rate'.*'learning_rate'"),
        ("discrete-sac", {"discount": 2.0}, "discount = 2.0 is out of range"),
        ("discrete-sac", {"discount": "high"}, "options of discrete-sac are wrong|out of range"),
        ("training.tiny:Small", {}, "cannot be imported here"),
        ("nowhere:Tiny", {}, "cannot be imported here"),
        ("training.tiny:Tiny", {"rate": {"a": 1}}, "takes no options of its own"),
    ],
)
def test_options_that_are_wrong(name, options, message):
    with pytest.raises(SurefootError, match=message):
        learner_from(name, options)


def test_settings_that_cannot_be_recorded_are_refused():
    with pytest.raises(SurefootError, match="Setting 'rate' is a builtin_function"):
        options_of(_Callable())


def test_settings_may_hold_settings():
    outer = _Outer(inner=_Inner(width=3), sizes=((1, 2), (3,)))
    options = json.loads(json.dumps(options_of(outer)))
    assert options == {"inner": {"width": 3}, "sizes": [[1, 2], [3]]}
    assert module._build("outer", _Outer, options) == outer
    with pytest.raises(SurefootError, match=r"option of outer\.inner 'widht'.*'width'"):
        module._build("outer", _Outer, {"inner": {"widht": 3}})


@pytest.mark.parametrize(
    ("name", "ask"), [("end.json", lambda run: run.finished), ("warnings.json", Run.warnings)]
)
def test_other_damaged_files_are_named(tmp_path, name, ask):
    run = make(tmp_path / "r")
    (run.path / "checkpoints").mkdir()
    (run.path / "checkpoints" / "80.safetensors").write_text("x")
    (run.path / name).write_text("[1]")
    with pytest.raises(SurefootError, match=f"{name} is damaged; delete it"):
        ask(run)
