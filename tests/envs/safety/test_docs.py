"""The page of the safety tasks names what there is."""

from __future__ import annotations

import inspect
from pathlib import Path

from surefoot.envs.safety.task import COSTS, LEVELS

PAGE = (Path(__file__).parents[3] / "docs" / "safety_tasks.md").read_text(encoding="utf-8")


def test_all_levels_costs_and_options_are_on_the_page() -> None:
    from surefoot.envs.safety.env import SafetyEnv

    options = [n for n in inspect.signature(SafetyEnv).parameters if n not in ("task", "changes")]
    for name in (*LEVELS, *(f"`{cost}`" for cost in COSTS), *(f"`{option}`" for option in options)):
        assert name in PAGE, name
