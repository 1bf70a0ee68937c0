"""The code on the page about environments runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "environments.md"


def test_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"(<!-- not run -->\n)?```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    names: dict[str, Any] = {"__name__": "page"}
    ran = 0
    for skipped, code in blocks:
        compiled = compile(code, str(PAGE), "exec")  # those that are not run must at least be Python
        if not skipped:
            exec(compiled, names)
            ran += 1
    assert ran >= 6
    printed = capsys.readouterr().out
    assert "('leaning',) 500" in printed
    assert "slow_pole: fit to train on" in printed
    assert "('zone', 'speed') [0. 0.] False" in printed
    assert names["demos"].episodes >= 15
    assert names["picture"].shape == (480, 480, 3)


def test_every_option_is_on_the_page() -> None:
    from surefoot.worlds import WORLD_OPTIONS

    page = PAGE.read_text()
    for option in WORLD_OPTIONS:
        assert f"| `{option}` |" in page, option
