"""The table of algorithms: plain text, imported when used, so that listing them needs no JAX."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from surefoot.errors import unknown

ALGORITHMS = {
    "sac": "rl.sac:Sac",
    "discrete-sac": "rl.discrete_sac:DiscreteSac",
    "td3": "rl.td3:Td3",
    "ppo": "rl.ppo:Ppo",
    "ppo-lagrangian": "safe.ppo_lagrangian:PpoLagrangian",
    "cpo": "safe.cpo:Cpo",
    "lbpo": "safe.lbpo:Lbpo",
    "backtrack": "safe.backtrack:Backtrack",
    "sddpg": "safe.sddpg:Sddpg",
    "safe-start": "safe.safe_start:SafeStart",
    "loop": "planning.loop:Loop",
    "mbpo": "planning.mbpo:Mbpo",
    "bc": "imitation.bc:Bc",
    "firl": "imitation.firl:Firl",
    "maxent-irl": "imitation.maxent_irl:MaxEntIrl",
    "airl": "imitation.airl:Airl",
    "gail": "imitation.gail:Gail",
    "fmax": "imitation.fmax:Fmax",
    "smm": "imitation.smm:Smm",
    "icrl": "imitation.icrl:Icrl",
    "scopil": "imitation.scopil:Scopil",
}
"""Name on the command line -> module and class, relative to this package."""

ABOUT = {
    "sac": "soft actor-critic for continuous actions: reward and entropy, knows nothing of costs",
    "discrete-sac": "soft actor-critic for discrete actions: reward and entropy, knows nothing of costs",
    "td3": "twin delayed deterministic policy gradient: reward alone, continuous actions",
    "ppo": "proximal policy optimisation, discrete and continuous actions",
    "ppo-lagrangian": "PPO with a Lagrange multiplier a cost limit",
    "cpo": "constrained policy optimisation: trust-region steps that keep cost limits",
    "lbpo": "Lyapunov barrier policy optimisation: keeps away from its cost limits by a barrier",
    "backtrack": "reward while safe, cost while not: the control experiment beside lbpo",
    "sddpg": "safe DDPG: actions projected onto what a Lyapunov function proves safe",
    "safe-start": "a policy of low cost, and critics, for the safe methods to start from",
    "loop": "LOOP: plans online on a learned model with a learned terminal value, TD3 or SAC underneath",
    "mbpo": "model-based policy optimisation: SAC on short rollouts of a learned model",
    "bc": "behavioural cloning: maximum likelihood of the demonstrated actions",
    "firl": "f-IRL: recovers a reward from a state density or from demonstrated states",
    "maxent-irl": "maximum entropy IRL: a reward under which the demonstrations are likeliest",
    "airl": "adversarial IRL: a discriminator that a reward can be read from",
    "gail": "generative adversarial imitation, on states",
    "fmax": "f-MAX: a discriminator's density ratio as reward, reverse KL or forward KL (FAIRL)",
    "smm": "state marginal matching: visits states as often as a density says",
    "icrl": "inverse constrained RL: learns a constraint from demonstrations, with PPO-Lagrangian inside",
    "scopil": "safe, constrained policies by imitation: discrete SAC kept close to demonstrations",
}
"""One line each, for lists and help."""


def algorithm(name: str) -> type[Any]:
    """The class of that name; raises :class:`SurefootError` with the nearest name if there is none."""
    if name not in ALGORITHMS:
        raise unknown("algorithm", name, ALGORITHMS, "See `surefoot list algorithms`.")
    module, _, cls = ALGORITHMS[name].partition(":")
    return getattr(import_module(f"surefoot.algorithms.{module}"), cls)


def plans(name: Any) -> bool:
    """Whether the algorithm of that name acts by planning, so that its exported policy is its actor alone."""
    return name in ALGORITHMS and getattr(algorithm(name), "plans", False)


def name_of(learner: Any) -> str:
    """The name in the table of a learner or its class."""
    cls = learner if isinstance(learner, type) else type(learner)
    for name, path in ALGORITHMS.items():
        module, _, attribute = path.partition(":")
        if cls.__module__ == f"surefoot.algorithms.{module}" and cls.__name__ == attribute:
            return name
    return f"{cls.__module__}:{cls.__qualname__}"
