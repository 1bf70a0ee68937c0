"""Exact soft-optimal behaviour on small problems, in plain NumPy. No code is shared with the library.

States and actions are few, the dynamics deterministic (or slippery) and the horizon short, so that the policy
comes from backward induction and every trajectory can be listed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog


@dataclass(frozen=True)
class Problem:
    """Dynamics over T steps, deterministic unless they slip; the reward is one of the state after a step."""

    successor: np.ndarray
    """``[states, actions]`` integers."""
    start: np.ndarray
    """``[states]``: distribution of s_0."""
    horizon: int
    """T."""
    alpha: float
    """Temperature."""
    slip: float = 0.0
    """Chance that a step goes as if the action had been drawn evenly from all."""

    @property
    def states(self) -> int:
        return len(self.successor)

    def slipping(self, values: np.ndarray) -> np.ndarray:
        """Of values by the action that is carried out, ``[states, actions]``: their mean by the one chosen.

        The matrix of slipping is symmetric, so this takes a policy to the chances of what is carried out too.
        """
        return (1 - self.slip) * values + self.slip * values.mean(axis=1, keepdims=True)


def random_problem(
    seed: int, states: int = 5, actions: int = 3, horizon: int = 4, *, random_start: bool = False
) -> Problem:
    """The actions of a state lead to different random states; one start, unless it is random; alpha 0.7."""
    rng = np.random.default_rng(seed)
    successor = np.stack([rng.permutation(states)[:actions] for _ in range(states)])
    start = rng.dirichlet(np.ones(states)) if random_start else np.eye(states)[0]
    problem = Problem(successor, start, horizon, 0.7)
    assert marginal(problem, np.zeros(states)).min() > 0.01, "some state cannot be reached; take another seed"
    return problem


def soft_policy(problem: Problem, reward: np.ndarray) -> np.ndarray:
    """Soft-optimal policy at each time, ``[T, states, actions]``, by backward induction.

    V_T = 0,   Q_t(s, a) = E[r(s') + V_{t+1}(s')],   V_t = alpha log sum_a exp(Q_t / alpha)
    """
    value = np.zeros(problem.states)
    policy = []
    for _ in range(problem.horizon):
        q = problem.slipping((reward + value)[problem.successor])
        top = q.max(axis=1)
        value = top + problem.alpha * np.log(np.exp((q - top[:, None]) / problem.alpha).sum(axis=1))
        policy.append(np.exp((q - value[:, None]) / problem.alpha))
    return np.stack(policy[::-1])


def marginal(problem: Problem, reward: np.ndarray) -> np.ndarray:
    """rho(s): the average of the distributions of s_1 ... s_T, pushed forward step by step."""
    now, total = problem.start, np.zeros(problem.states)
    for policy in soft_policy(problem, reward):
        after = np.zeros(problem.states)
        np.add.at(after, problem.successor, now[:, None] * problem.slipping(policy))
        now, total = after, total + after
    return total / problem.horizon


def trajectories(problem: Problem, reward: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every trajectory s_1 ... s_T, ``[n, T]``, and its probability under the soft-optimal policy."""
    paths = [((), s, p) for s, p in enumerate(problem.start) if p > 0]
    for policy in map(problem.slipping, soft_policy(problem, reward)):
        paths = [
            ((*path, after), after, p * policy[s, a])
            for path, s, p in paths
            for a, after in enumerate(problem.successor[s])
        ]
    return np.array([path for path, _, _ in paths]), np.array([p for _, _, p in paths])


def f_divergence(name: str, p: np.ndarray, q: np.ndarray) -> float:
    """Each by its usual formula; ``js`` is twice the Jensen-Shannon divergence."""
    if name == "fkl":
        return float(np.sum(p * np.log(p / q)))
    if name == "rkl":
        return float(np.sum(q * np.log(q / p)))
    middle = (p + q) / 2
    return float(np.sum(p * np.log(p / middle)) + np.sum(q * np.log(q / middle)))


def wasserstein(places: np.ndarray, p: np.ndarray, q: np.ndarray) -> tuple[float, np.ndarray]:
    """Distance of two distributions over ``places [states, d]``, and the best critic ``[states]``.

    max_c sum (p - q) c   subject to   c_i - c_j <= |x_i - x_j|,   by linear programming.
    """
    n = len(places)
    i, j = (index.ravel() for index in np.indices((n, n)))
    rows = np.eye(n)[i] - np.eye(n)[j]
    bounds = np.linalg.norm(places[i] - places[j], axis=1)
    found = linprog(-(p - q), A_ub=rows, b_ub=bounds, bounds=[(0, None)] + [(None, None)] * (n - 1))
    return -found.fun, found.x


def finite_differences(function, x: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Gradient by central differences."""
    moves = step * np.eye(len(x))
    return np.array([(function(x + move) - function(x - move)) / (2 * step) for move in moves])
