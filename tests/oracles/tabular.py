"""Soft value iteration and small random problems in plain NumPy. No code is shared with the library."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Mdp:
    """A small Markov decision process; each (state, action) has ``branches`` equally likely outcomes."""

    reward: np.ndarray
    """``[states, actions]``."""
    successor: np.ndarray
    """``[states, actions, branches]`` integers."""
    ends: np.ndarray
    """``[states, actions, branches]`` bool: the episode terminates with this outcome."""

    @property
    def states(self) -> int:
        return self.reward.shape[0]

    @property
    def actions(self) -> int:
        return self.reward.shape[1]

    def transitions(self) -> dict[str, np.ndarray]:
        """Every (state, action, outcome) once: a batch whose mean is the exact expectation."""
        s, a, b = (index.ravel() for index in np.indices(self.successor.shape))
        return {
            "state": s,
            "action": a,
            "reward": self.reward[s, a],
            "next_state": self.successor[s, a, b],
            "terminated": self.ends[s, a, b],
        }


def random_mdp(seed: int, states: int = 5, actions: int = 3, branches: int = 3) -> Mdp:
    """Rewards standard normal, successors uniform, one outcome in ten terminates."""
    rng = np.random.default_rng(seed)
    shape = (states, actions, branches)
    return Mdp(rng.normal(size=shape[:2]), rng.integers(states, size=shape), rng.random(shape) < 0.1)


def soft_value_iteration(mdp: Mdp, discount: float, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Soft-optimal action values and policy, both ``[states, actions]``, to 1e-12.

    Q(s, a) = r + gamma E[(1 - d) V(s')],   V(s) = alpha log sum_a exp(Q(s, a) / alpha),
    pi(a|s) = exp((Q(s, a) - V(s)) / alpha)
    """
    value = np.zeros(mdp.states)
    while True:
        q = mdp.reward + discount * np.mean(~mdp.ends * value[mdp.successor], axis=2)
        top = q.max(axis=1)
        new = top + alpha * np.log(np.exp((q - top[:, None]) / alpha).sum(axis=1))
        if np.abs(new - value).max() < 1e-12:
            return q, np.exp((q - new[:, None]) / alpha)
        value = new
