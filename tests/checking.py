"""How annotations are checked while testing; named in ``pyproject.toml`` for jaxtyping's import hook."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from beartype import beartype
from beartype.roar import BeartypeDecorHintException

F = TypeVar("F", bound=Callable)


def checked(function: F) -> F:
    """``function`` with its arguments and result checked at every call.

    Left as it is if an annotation cannot be checked at run time: ``Self`` outside a decorated class, or
    a protocol without ``runtime_checkable``.
    """
    try:
        return beartype(function)
    except BeartypeDecorHintException:
        return function
