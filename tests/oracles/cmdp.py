"""Constrained Markov decision processes solved exactly, by linear programming over occupancy measures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog


@dataclass(frozen=True)
class Solution:
    """An optimal stationary policy and what it earns and costs in an episode."""

    policy: np.ndarray
    """``[states, actions]``."""
    reward: float
    cost: float
    multiplier: float
    """d reward / d limit."""


def solve(transition, reward, cost, start, discount, limit) -> Solution:
    """max sum x r subject to sum x c <= limit and the flow equations (Altman 1999, chapter 3).

    ``transition`` ``[states, actions, states]``, ``reward`` and ``cost`` ``[states, actions]``, ``start``
    ``[states]``; x(s, a) = E sum_t gamma^t 1[s_t = s, a_t = a]. ``discount`` may stand for the chance of
    going on after a step, sums then are those of undiscounted episodes.
    """
    states, actions = reward.shape
    arrives = np.repeat(np.eye(states), actions, axis=0).T
    leaves = discount * transition.reshape(states * actions, states).T
    answer = linprog(
        -reward.reshape(-1),
        A_ub=cost.reshape(1, -1),
        b_ub=[limit],
        A_eq=arrives - leaves,
        b_eq=start,
        method="highs",
    )
    assert answer.status == 0, answer.message
    occupancy = answer.x.reshape(states, actions)
    visits = occupancy.sum(axis=1, keepdims=True)
    policy = np.where(visits > 0, occupancy / np.maximum(visits, 1e-12), 1 / actions)
    return Solution(
        policy,
        float((occupancy * reward).sum()),
        float((occupancy * cost).sum()),
        -answer.ineqlin.marginals[0],
    )


def expected_sums(transition, quantity, start, discount, policy) -> float:
    """E sum_t gamma^t q(s_t, a_t) under ``policy``, by a dense solve."""
    chain = np.einsum("sa,sat->st", policy, transition)
    mean = (policy * quantity).sum(axis=1)
    return float(start @ np.linalg.solve(np.eye(len(start)) - discount * chain, mean))
