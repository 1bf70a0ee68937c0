"""Parts of the pages."""

from __future__ import annotations

import pytest

from surefoot.experiments import pages

VERSIONS = {"python": "3.11.7", "jax": "0.10.2"}


@pytest.mark.parametrize(
    ("command", "kept"),
    [
        (
            "surefoot reproduce firl-prior --scale laptop --jobs 1",
            "surefoot reproduce firl-prior --scale laptop",
        ),
        (
            "surefoot reproduce x --only 'a/*' b/LOOP --scale smoke --no-progress",
            "surefoot reproduce x --scale smoke",
        ),
        ("surefoot reproduce x --jobs=2 --out 'my runs' --only=a", "surefoot reproduce x --out 'my runs'"),
        ("surefoot reproduce --no-progress x --jobs 2 --only a b", "surefoot reproduce x"),
        ("surefoot reproduce --jobs 2 x --progress --scale smoke", "surefoot reproduce x --scale smoke"),
    ],
)
def test_a_command_without_what_no_number_depends_on(command: str, kept: str) -> None:
    assert pages.whole(command) == kept


def test_one_program_run_in_pieces_is_named_once() -> None:
    records = [
        {"command": f"surefoot reproduce x --scale laptop --only {cell}", "versions": VERSIONS}
        for cell in ("a/LOOP", "b/LOOP")
    ]
    lines = pages.origin(records, "laptop")
    assert lines[0] == "Made with: `surefoot reproduce x --scale laptop`, a few cells at a time (`--only`)."
    assert lines[1] == "Versions: python 3.11.7, jax 0.10.2."


def test_cells_of_several_versions_are_marked() -> None:
    records = [
        {"command": "surefoot reproduce x", "versions": VERSIONS | {"jax": jax}}
        for jax in ("0.10.1", "0.10.2")
    ]
    assert any("not all made with the same versions" in line for line in pages.origin(records, "laptop"))


def test_a_version_that_some_cells_did_not_write_down_is_told_once() -> None:
    records = [
        {"command": "x", "versions": VERSIONS},
        {"command": "x", "versions": VERSIONS | {"mujoco": "4"}},
    ]
    lines = pages.origin(records, "laptop")
    assert lines[1] == "Versions: python 3.11.7, jax 0.10.2, mujoco 4." and len(lines) == 2
