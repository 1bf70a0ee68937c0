"""The frame: help, version, unknown commands, and what becomes of errors."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

from surefoot import __version__
from surefoot.cli import main as cli
from surefoot.errors import SurefootError

SOURCE = Path(cli.__file__).parents[2]


def command_that(monkeypatch, action):
    """``surefoot list`` now does ``action``."""
    monkeypatch.setattr(cli, "import_module", lambda _: SimpleNamespace(main=lambda argv: action(*argv)))


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",), ("help",)])
def test_help_lists_every_command(surefoot, words):
    done = surefoot(*words)
    assert done.code == 0
    assert done.err == ""
    for name, summary in cli.COMMANDS.items():
        assert f"  {name} " in done.out
        assert summary in done.out


def test_version(surefoot):
    assert surefoot("--version").out == f"surefoot {__version__}\n"


@pytest.mark.parametrize(
    ("word", "guess"),
    [
        ("trian", "Did you mean `surefoot train`?"),
        ("evalute", "Did you mean `surefoot evaluate`?"),
        ("--versoin", "Did you mean `surefoot --version`?"),
        ("xyz", "Known: demo, train,"),
    ],
)
def test_unknown_commands_get_the_nearest(surefoot, word, guess):
    done = surefoot(word)
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("error: Unknown ")
    assert guess in done.err
    assert done.err.count("\n") == 1


def test_errors_of_the_user_are_one_line_and_code_2(surefoot, monkeypatch):
    def fail():
        raise SurefootError("First line,\n  second line.")

    command_that(monkeypatch, fail)
    done = surefoot("list")
    assert (done.code, done.out, done.err) == (2, "", "error: First line, second line.\n")


def test_errors_of_ours_keep_their_traceback(surefoot, monkeypatch):
    def fail():
        raise ZeroDivisionError("ours")

    command_that(monkeypatch, fail)
    with pytest.raises(ZeroDivisionError):
        surefoot("list")


@pytest.mark.parametrize("said", ["", "Stopped. Go on with: surefoot resume x"])
def test_an_interrupt_is_code_130(surefoot, monkeypatch, said):
    def fail():
        raise KeyboardInterrupt(*[said] * bool(said))

    command_that(monkeypatch, fail)
    done = surefoot("list")
    assert done.code == 130
    assert done.err == (said or "interrupted") + "\n"


def test_a_full_disk_is_one_line(surefoot, monkeypatch):
    def fail():
        raise OSError(errno.ENOSPC, "No space left on device", "runs/x/metrics.csv")

    command_that(monkeypatch, fail)
    done = surefoot("list")
    assert done.code == 2
    assert done.err == "error: runs/x/metrics.csv: No space left on device.\n"


def test_other_errors_of_the_system_are_not_hidden(surefoot, monkeypatch):
    def fail():
        raise OSError(errno.EBADF, "Bad file descriptor")

    command_that(monkeypatch, fail)
    with pytest.raises(OSError, match="Bad file descriptor"):
        surefoot("list")


def test_a_reader_that_goes_away_is_no_error():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "surefoot.cli.main", "--help"],
        stdout=write,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def test_every_command_of_the_table_has_a_module():
    for name in cli.COMMANDS:
        assert callable(import_module(f"surefoot.cli.{name}").main)
