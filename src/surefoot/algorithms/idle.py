"""Settings that change nothing because of others: who sets one is warned."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Rule:
    """When some settings count."""

    settings: tuple[str, ...]
    switch: str
    """The setting that decides; a learner without it is not meant."""
    counts: Callable[[Any], bool]
    """Whether they do, at this value of the switch."""
    where: str
    """The same in words, behind 'it counts'."""
    beside: str = ""
    """A setting that a learner must have as well for the rule to be about it."""


RULES = (
    Rule(("trace",), "targets", lambda targets: targets == "td-lambda", "with targets td-lambda"),
    Rule(("pid_gains",), "multiplier_update", lambda update: update == "pid", "with multiplier_update pid"),
    Rule(
        ("multiplier_learning_rate",),
        "multiplier_update",
        lambda update: update == "adam",
        "with multiplier_update adam",
    ),
    Rule(
        ("target_entropy", "alpha_learning_rate"),
        "automatic_alpha",
        lambda learned: learned,
        "with automatic_alpha",
    ),
    Rule(("lambda_learning_rate",), "learn_lambda", lambda learned: learned, "with learn_lambda"),
    Rule(
        ("target_noise", "target_clip", "policy_delay"),
        "off_policy",
        lambda learner: learner == "td3",
        "with off_policy td3",
    ),
    Rule(
        ("alpha", "automatic_alpha", "target_entropy"),
        "off_policy",
        lambda learner: learner == "sac",
        "with off_policy sac",
    ),
    Rule(
        ("simulated_share", "simulated_capacity", "simulated_per_step"),
        "replay_augmentation",
        lambda augmented: augmented,
        "with replay_augmentation",
    ),
    Rule(("cost_hidden",), "plan_cost_limits", lambda limits: limits is not None, "with plan_cost_limits"),
    Rule(
        ("terminal_critic", "terminal_action"),
        "terminal",
        lambda terminal: terminal != "none",
        "with a value at the end of plans (terminal)",
    ),
    Rule(
        ("expert_trajectories", "expert_share"),
        "density",
        lambda density: not density,
        "where the expert is given as demonstrations",
    ),
    Rule(
        ("penalty",),
        "divergence",
        lambda divergence: divergence == "ipm",
        "with divergence ipm",
        beside="ratio_decay",  # f-IRL; f-MAX has a divergence and a penalty too, but penalises with each
    ),
)


def idle_settings(learner: Any) -> dict[str, str]:
    """A sentence for each setting that was changed from its default and changes nothing, by its name."""
    fields = {field.name: field for field in dataclasses.fields(learner)}
    found: dict[str, str] = {}
    for rule in RULES:
        if not {rule.switch, rule.beside or rule.switch} <= set(fields):
            continue
        if rule.counts(getattr(learner, rule.switch)):
            continue
        for name in rule.settings:
            if name in fields and getattr(learner, name) != fields[name].default:
                found.setdefault(name, f"it changes nothing here; it counts {rule.where}.")
    return found
