"""Densities as text: how they reach a learner's settings, the command line and the record of a run.

A text is a name, ``"point-mass/gaussian"``; JSON in the words of :mod:`surefoot.numerics.density`,
``{"gaussian": {"mean": [2, 2], "std": 0.5}}``; or ``"python:MODULE.FUNCTION"``, a function that takes points
``[n, d]`` and returns the logarithm of the density up to a constant, written with ``jax.numpy``.
"""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any, cast

import jax.numpy as jnp
import numpy as np

from surefoot.errors import SurefootError, unknown
from surefoot.numerics.density import (
    Density,
    Function,
    Gaussian,
    InsideDisc,
    Kde,
    Mixture,
    OutsideBox,
    OutsideDisc,
    Product,
    Scaled,
    Sum,
    UniformBox,
    imported,
)

_R = 0.21  # what the arm of ReacherTrace-v0 can reach, m


def _within_reach(density: Any) -> Any:
    """As it is where the fingertip can be, and not made larger there: draws are of the truncated density,
    values those of the plain one. The edge of the disc belongs to it in spite of rounding."""
    return Scaled(Product((density, InsideDisc((0.0, 0.0), _R + 1e-4))), 0.0)


NAMED: dict[str, Any] = {
    "reacher/gaussian": _within_reach(Gaussian((-_R, 0.0), 0.05)),
    "reacher/mixture": _within_reach(
        Mixture(
            (
                Gaussian((-_R / math.sqrt(2), -_R / math.sqrt(2)), 0.05),
                Gaussian((-_R / math.sqrt(2), _R / math.sqrt(2)), 0.05),
            )
        )
    ),
    "point-mass/gaussian": Gaussian((2.0, 2.0), 0.5),
    "point-mass/mixture": Mixture((Gaussian((1.0, 3.0), 0.3), Gaussian((3.0, 1.0), 0.3))),
    "point-mass/uniform": UniformBox((0.0, 0.0), (6.0, 6.0)),
}
"""The densities of the experiments in Ni et al. 2020; the last one is for the room of 6 x 6, the others of
the point mass for 4 x 4."""

_KINDS = {
    "gaussian": Gaussian,
    "uniform-box": UniformBox,
    "outside-disc": OutsideDisc,
    "outside-box": OutsideBox,
    "inside-disc": InsideDisc,
    "mixture": Mixture,
    "sum": Sum,
    "product": Product,
    "scaled": Scaled,
    "function": Function,
    "kde": Kde,
}
"""How each class is called in a text."""
_MOST_POINTS = 5_000


def density_of(text: Any) -> Any:
    """The density that a text means: a name of :data:`NAMED`, ``"python:MODULE.FUNCTION"`` or JSON.

    ``python:MODULE.FUNCTION`` is a function that returns the logarithm, up to a constant. JSON looks like
    ``{"gaussian": {"mean": [2, 2], "std": 0.5}}``; the words are those of the classes. A density is returned
    as it is.
    """
    if isinstance(text, Density):
        return text
    if callable(text):
        return Function(cast("Any", text))
    if not isinstance(text, str):
        return _from_json(text)
    if text in NAMED:
        return NAMED[text]
    if text.startswith("python:"):
        return Function(text)
    if not text.lstrip().startswith("{"):
        raise unknown("density", text, NAMED, 'Or write python:MODULE.FUNCTION, or {"gaussian": {...}}.')
    try:
        parsed = json.loads(text)
    except ValueError as error:
        raise SurefootError(f"The density {text} is not JSON: {error}.") from error
    return _from_json(parsed)


def text_of(given: Any) -> str:
    """The text that :func:`density_of` makes this density of again; a text is checked and returned as it is.

    Raises :class:`SurefootError` for a function that cannot be imported, and a KDE of more than 5,000 points.
    """
    if isinstance(given, str) or given is None:
        if given:
            density_of(given)
        return given or ""
    found = density_of(given)
    name = next((name for name, known in NAMED.items() if _same(found, known)), None)
    if name is not None:
        return name
    if isinstance(found, Function) and (found.gives, found.normalised, found.size) == ("log", False, None):
        return _path_of(found.path)
    return json.dumps(_as_json(found))


def _same(one: Any, other: Any) -> bool:
    return (
        type(one) is type(other) and not isinstance(one, Function | Kde) and _as_json(one) == _as_json(other)
    )


def _as_json(density: Any) -> dict[str, Any]:
    kind = next((kind for kind, cls in _KINDS.items() if type(density) is cls), None)
    if kind is None:
        raise SurefootError(
            f"A {type(density).__name__} cannot be written down; give a function that can be imported, "
            'such as Function("python:mine.log_density").'
        )
    given = {f.name: getattr(density, f.name) for f in dataclasses.fields(density)}
    return {kind: {name: _field(value) for name, value in given.items() if value is not None}}


def _field(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_field(entry) for entry in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if hasattr(value, "shape"):
        if len(value) > _MOST_POINTS:
            raise SurefootError(
                f"A KDE of {len(value)} points is too long to write down; "
                f"take at most {_MOST_POINTS} of them, or python:MODULE.FUNCTION."
            )
        return np.asarray(value).tolist()
    return _as_json(value) if isinstance(value, Density) else _path_of(value)


def _from_json(value: Any) -> Any:
    if not isinstance(value, dict) or len(value) != 1:
        raise SurefootError(
            f'{value!r} is not a density; write {{"gaussian": {{"mean": [2, 2], "std": 0.5}}}}.'
        )
    [(kind, options)] = value.items()
    if kind not in _KINDS:
        raise unknown("kind of density", kind, _KINDS)
    cls = _KINDS[kind]
    if not isinstance(options, dict):
        raise SurefootError(f"The options of {kind} are a table in braces, not {options!r}.")
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for name in options:
        if name not in fields:
            raise unknown(f"option of {kind}", name, fields)
    missing = [n for n, f in fields.items() if n not in options and f.default is dataclasses.MISSING]
    if missing:
        raise SurefootError(f"A density {kind} needs {', '.join(missing)}.")
    try:
        return cls(**_read(options))
    except SurefootError:
        raise
    except (TypeError, ValueError) as error:
        raise SurefootError(f"No {kind} can be made of {options!r}: {error}.") from error


def _read(options: dict[str, Any]) -> dict[str, Any]:
    """The options of a density, with the densities and points in them made."""
    made = dict(options)
    if "parts" in made:
        made["parts"] = tuple(density_of(part) for part in made["parts"])
    if "part" in made:
        made["part"] = density_of(made["part"])
    if "points" in made:
        made["points"] = jnp.asarray(made["points"], jnp.float32)
    return made


def _path_of(function: Any) -> str:
    """``python:MODULE.NAME`` of a function that can be imported."""
    if isinstance(function, str):
        return function
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if module and name and module != "__main__" and "<" not in name:
        path = f"python:{module}.{name}"
        if imported(path) is function:
            return path
    raise SurefootError(
        f"The density {function!r} cannot be imported, so a run could not be resumed; put the function into "
        "a module, and give it or python:MODULE.FUNCTION."
    )
