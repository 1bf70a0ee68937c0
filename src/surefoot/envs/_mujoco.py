"""What all environments in MuJoCo need: the package, pictures without a screen, and silence.

The rest of the library does without MuJoCo, so nothing imports it at the top level.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gymnasium.error import DependencyNotInstalled


def mujoco() -> Any:
    """The package, made ready to draw without a screen; tells how to install it if it is missing."""
    screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform.startswith("linux") and not screen:
        # Read when MuJoCo is imported and when Gymnasium makes a renderer. Its default wants a screen.
        os.environ.setdefault("MUJOCO_GL", "egl")
    try:
        import mujoco
    except ImportError as error:
        raise DependencyNotInstalled('mujoco; run `pip install "surefoot[mujoco]"`.') from error
    return mujoco


@contextmanager
def quiet(package: Any = None) -> Iterator[None]:
    """Keeps MuJoCo (``package``, if it is at hand) from writing warnings into ``MUJOCO_LOG.TXT`` in the
    working folder.

    It complains of an attribute in Gymnasium's HalfCheetah each time the model is read; who trains on it
    can do nothing about that.
    """
    package = package or mujoco()
    before = package.get_mju_user_warning()
    package.set_mju_user_warning(lambda text: None)
    try:
        yield
    finally:
        package.set_mju_user_warning(before)
