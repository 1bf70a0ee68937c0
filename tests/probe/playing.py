"""Experience for tests, without compiling the same loop again and again."""

from __future__ import annotations

from typing import Any

import equinox as eqx


def collect(world: Any, policy: Any, amount: Any, key: Any) -> Any:
    """``world.collect``, compiled once a form where that is possible.

    Outside of a compiled function JAX compiles the loop of a world anew at every call.
    """
    return _compiled(world, policy, amount, key) if world.compiled else world.collect(policy, amount, key)


@eqx.filter_jit
def _compiled(world: Any, policy: Any, amount: Any, key: Any) -> Any:
    return world.collect(policy, amount, key)
