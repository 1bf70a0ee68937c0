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


@dataclass(frozen=True)
class Tables:
    """A small CMDP with a cost of states and actions, as arrays of :func:`solve`."""

    transition: np.ndarray
    reward: np.ndarray
    cost: np.ndarray
    start: np.ndarray
    discount: float


def random_tables(seed: int, states: int = 4, actions: int = 3, discount: float = 0.8) -> Tables:
    """Sparse transitions, rewards standard normal, costs from 0 to 1, one start."""
    rng = np.random.default_rng(seed)
    transition = rng.dirichlet(np.full(states, 0.3), size=(states, actions))
    start = np.eye(states)[0]
    return Tables(
        transition, rng.normal(size=(states, actions)), rng.random((states, actions)), start, discount
    )


def values(tables: Tables, quantity: np.ndarray, policy: np.ndarray) -> np.ndarray:
    """E sum_t gamma^t q from each state, by a dense solve."""
    chain = np.einsum("sa,sat->st", policy, tables.transition)
    mean = (policy * quantity).sum(axis=1)
    return np.linalg.solve(np.eye(len(mean)) - tables.discount * chain, mean)


def lyapunov(tables: Tables, baseline: np.ndarray, eps: float) -> np.ndarray:
    """L(s) = E sum_t gamma^t (c + eps) under ``baseline`` (Eq. 4.5 of the thesis of Sikchi 2022)."""
    return values(tables, tables.cost + eps, baseline)


def backup(tables: Tables, policy: np.ndarray, value: np.ndarray) -> np.ndarray:
    """B_{pi,c}[L](s) = sum_a pi(a|s) (c(s, a) + gamma sum_s' P(s'|s, a) L(s'))."""
    ahead = tables.cost + tables.discount * tables.transition @ value
    return (policy * ahead).sum(axis=1)


def deterministic_policies(states: int, actions: int):
    """All of them, each ``[states, actions]`` of zeros and ones."""
    for choice in np.ndindex(*(actions,) * states):
        yield np.eye(actions)[list(choice)]
