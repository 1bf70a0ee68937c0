"""Starting from the policy of another run."""

from __future__ import annotations

from typing import Any

import equinox as eqx

from surefoot.algorithms.safe.critics import Critics
from surefoot.errors import SurefootError
from surefoot.networks.mlp import Mlp
from surefoot.networks.policies import BoundedGaussianPolicy


def started_policy(mine: BoundedGaussianPolicy, given: Any) -> BoundedGaussianPolicy:
    """``mine`` with the network of ``given``: its means, but the spread that the settings ask for.

    Raises :class:`SurefootError` if it is another kind of policy, or of other sizes.
    """
    if not isinstance(given, BoundedGaussianPolicy):
        raise SurefootError(
            f"The start holds a {type(given).__name__}, but this method starts from a policy of lbpo, "
            "backtrack, sddpg, cpo or safe-start."
        )
    check_same("policy", mine.network, given.network, "--hidden")
    return eqx.tree_at(lambda p: p.network, mine, given.network)


def started_critics(mine: Critics, given: Any) -> Critics:
    """``given``, if the start holds such critics, else ``mine``; raises if they are of other sizes."""
    if not isinstance(given, Critics):
        return mine
    if len(given.costs) != len(mine.costs):
        raise SurefootError(
            f"The start's critics know {len(given.costs)} costs, but this task has {len(mine.costs)}; make a "
            "safe start with the same constraints, or take its policy alone (--from RUN/policy)."
        )
    if mine.form != given.form:
        raise SurefootError(
            f"The start's critics take actions as '{given.form}', the settings ask for '{mine.form}'; give "
            f"--critic-action {given.form}."
        )
    for old, new in zip((mine.reward, *mine.costs), (given.reward, *given.costs), strict=True):
        check_same("critic", old, new, "--critic-hidden")
    return given


def check_same(what: str, mine: Mlp, given: Mlp, option: str) -> None:
    """Raises :class:`SurefootError` unless both networks have the same sizes and activation."""
    expected, found = sizes(mine), sizes(given)
    if expected[0] != found[0] or expected[-1] != found[-1]:
        raise SurefootError(
            f"The start's {what} takes {found[0]} numbers and gives {found[-1]}, but this task needs "
            f"{expected[0]} and {expected[-1]}; make a safe start in the same environment."
        )
    if expected != found or mine.activation != given.activation:
        hidden = " ".join(str(size) for size in found[1:-1])
        raise SurefootError(
            f"The start's {what} has hidden layers of {hidden} ({given.activation}), the settings ask for "
            f"{' '.join(str(size) for size in expected[1:-1])} ({mine.activation}); give {option} {hidden}."
        )


def sizes(network: Mlp) -> tuple[int, ...]:
    """Of its layers, from input to output."""
    return (network.weights[0].shape[-2], *(bias.shape[-1] for bias in network.biases))
