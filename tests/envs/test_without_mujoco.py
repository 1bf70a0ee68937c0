"""Without MuJoCo: the environments that need it say what to install."""

from __future__ import annotations

import sys

import gymnasium
import pytest

import surefoot as sf
from surefoot.errors import SurefootError


@pytest.mark.parametrize("name", ["FixedHopper-v0", "CustomAnt-v0", "SafetyPointGoal1-v0"])
def test_it_is_said_what_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mujoco", None)  # an import of it fails
    with pytest.raises(gymnasium.error.DependencyNotInstalled, match=r'pip install "surefoot\[mujoco\]"'):
        gymnasium.make(f"surefoot/{name}")
    with pytest.raises(SurefootError) as caught:
        sf.make(name)
    assert str(caught.value).count("pip install") == 1
