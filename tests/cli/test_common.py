"""Options from dataclasses, and errors in one line."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

import pytest

from surefoot.cli._common import find_run, parse, parse_pairs, parse_seeds, table
from surefoot.errors import SurefootError, check_range


@dataclass(frozen=True)
class Inner:
    """Inside."""

    rate: float = 0.5
    """A number in [0, 1]."""
    fast: bool = True
    """A switch."""
    kind: Literal["left", "right"] = "left"
    """A choice."""

    def __post_init__(self) -> None:
        check_range("rate", self.rate, low=0, high=1)


@dataclass(frozen=True)
class Outer:
    """Outside."""

    inner: Inner
    sizes: tuple[int, ...] = (32, 32)
    """Numbers."""
    name: str | None = None
    """A word."""
    limits: tuple[float, ...] | None = None
    """Numbers, or none."""
    steps: int = 1
    """A whole number."""


def read(*words: str) -> Outer:
    return parse(Outer, words, prog="surefoot test")


def test_defaults_and_values():
    assert read() == Outer(Inner())
    words = ("--rate", "0.25", "--no-fast", "--kind", "right", "--sizes", "3", "4", "5", "--name", "x")
    assert read(*words) == Outer(Inner(0.25, False, "right"), (3, 4, 5), "x")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--rat", "1"), "Unknown option '--rat'. Did you mean '--rate'?"),
        (("--no-fest",), "Unknown option '--no-fest'. Did you mean '--no-fast'?"),
        (("--qqqqqq=3",), "Unknown option '--qqqqqq'. See"),
        (("word",), "'word' is one argument too many."),
        (("--rate", "x"), "--rate: 'x' is not a number. See"),
        (("--sizes", "3,4"), "--sizes 3,4: write several values with spaces between them, --sizes 3 4. See"),
        (("--sizes", "3", "4e1"), "--sizes: '3', '4e1' cannot be read. See"),
        (("--limits", "2,5"), "--limits 2,5: write several values with spaces between them, --limits 2 5."),
        (("--limits", "x"), "--limits: 'x' cannot be read. See"),
        (("--steps", "3e5"), "--steps: '3e5' is not a whole number; write 300000. See"),
        (("--steps", "1.5"), "--steps: '1.5' is not a whole number. See"),
        (("--steps", "inf"), "--steps: 'inf' is not a whole number. See"),
        (("--rate", "2"), "rate = 2.0 is out of range; it must lie in [0, 1]."),
        (("--kind", "up"), "Expected one of ('left', 'right')"),
        (("--rate",), "Missing value for argument '--rate'"),
        (("--sizes", "3", "a"), "a"),
    ],
)
@pytest.mark.parametrize("boxes", [True, False])
def test_what_cannot_be_read_is_one_line(words, said, boxes, monkeypatch):
    monkeypatch.setattr("tyro._fmtlib._should_use_utf8_drawing_chars", lambda: boxes)
    monkeypatch.setenv("COLUMNS", "40")
    with pytest.raises(SurefootError) as caught:
        read(*words)
    text = str(caught.value)
    assert said in text
    assert text.endswith("See `surefoot test --help`.")
    assert "\n" not in text
    assert not set(text) & set("│─╭\x1b")
    assert "--- " not in text
    assert os.environ["COLUMNS"] == "40"


def test_help_is_printed_and_leaves_with_0(capsys):
    with pytest.raises(SystemExit) as leaving:
        read("--help")
    assert not leaving.value.code
    text = capsys.readouterr().out
    for said in ("--rate", "A number in [0, 1].", "(default: 0.5)", "--no-fast", "Inside."):
        assert said in text


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("1", (0,)), ("5", (0, 1, 2, 3, 4)), ("0,3,7", (0, 3, 7)), ("7,", (7,)), ("2, 1", (2, 1))],
)
def test_seeds(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "0", "-3", "a", "1,a", "1,1", ",", "-1,2", "1.5"])
def test_seeds_that_make_no_sense(text):
    with pytest.raises(SurefootError, match="--seeds"):
        parse_seeds(text)


def test_pairs():
    assert parse_pairs(["a=1", "b=false", "c=left", "d=[1, 2]", "e=x=y"], "--option") == {
        **{"a": 1, "b": False, "c": "left"},
        **{"d": [1, 2], "e": "x=y"},
    }
    assert parse_pairs(["a=True", "b=False", "c=None"], "--option") == {"a": True, "b": False, "c": None}
    for word in ("a", "=1", "1a=2", "a b=3"):
        with pytest.raises(SurefootError, match="NAME=VALUE"):
            parse_pairs([word], "--option")


def test_a_run_is_also_found_by_its_bare_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "a").mkdir(parents=True)
    assert str(find_run("a")) == "runs/a"
    assert str(find_run("runs/a")) == "runs/a"
    assert str(find_run("b")) == "b"
    (tmp_path / "a").mkdir()
    assert str(find_run("a")) == "a"


def test_table_lines_up():
    assert table([("a", "bb", "c"), ("aaa", "b", "")]) == "  a    bb  c\n  aaa  b"
    assert table({"x": "y"}, indent=0) == "x  y"
    assert table([]) == ""
