"""``surefoot resume``: goes on, or says why it cannot."""

from __future__ import annotations

import pytest

from surefoot import Run

SMALL = "--steps 512 --envs 4 --no-progress --warm-up 64 --hidden 4 --batch-size 8".split()


def test_goes_on_from_a_checkpoint_to_the_same_numbers(surefoot, tmp_path):
    words = ("train", "discrete-sac", *SMALL, "--checkpoint-every", "0", "--run")
    assert surefoot(*words, "whole").code == 0
    assert surefoot(*words, "cut").code == 0
    newest, _before = Run(tmp_path / "cut").checkpoints()
    newest.unlink()
    assert not Run(tmp_path / "cut").finished
    done = surefoot("resume", "cut", "--no-progress")
    assert done.code == 0
    assert done.out == "Run: cut\nNext: surefoot evaluate cut\n"
    assert done.err == ""
    assert Run(tmp_path / "cut").finished
    for name in ("metrics.csv", "policy/seed-0.safetensors"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()

    done = surefoot("resume", "cut")
    assert done.code == 0
    assert "cut is finished already" in done.out


def test_a_run_that_reached_its_target_is_not_said_to_become_longer(surefoot, tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(
        Run, "__init__", lambda self, path: vars(self).update(path=path, config={"steps": 80})
    )
    monkeypatch.setattr(Run, "finished", True)
    for steps, said in {80: "--steps makes it longer.", 48: "it reached its target after 48 steps."}.items():
        monkeypatch.setattr(Run, "steps", steps)
        assert f"run is finished already; {said}\n" in surefoot("resume", "run").out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "See `surefoot resume --help`."),
        (["nowhere"], "There is no run folder nowhere."),
        (["a", "b"], "'b' is one argument too many."),
    ],
)
def test_bad_input_is_one_line(surefoot, words, said):
    done = surefoot("resume", *words)
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1


def test_a_folder_that_is_no_run(surefoot, tmp_path):
    (tmp_path / "empty").mkdir()
    done = surefoot("resume", "empty")
    assert done.code == 2
    assert "is not a run folder" in done.err


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ([], (None, True)),
        (["--no-progress"], (None, False)),
        (["--progress"], (None, True)),
        (["--steps", "900"], (900, True)),
    ],
)
def test_what_is_asked_for_arrives(surefoot, tmp_path, monkeypatch, words, wanted):
    """Progress is the same option as that of `surefoot train`."""
    from surefoot.training import fit

    asked = []
    monkeypatch.setattr(fit, "resume", lambda run, steps, progress: asked.append((steps, progress)) or run)
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(Run, "__init__", lambda self, path: setattr(self, "path", path))
    monkeypatch.setattr(Run, "finished", False)
    assert surefoot("resume", "run", *words).code == 0
    assert asked == [wanted]
