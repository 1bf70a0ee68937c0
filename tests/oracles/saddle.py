"""SCOPIL's problem on one state, solved by a general-purpose optimiser. No code is shared with the library.

    minimise over pi   sum_a pi(a) (2 beta alpha log pi(a) - r(a))
    subject to         C(pi) = - sum_a p(a) log pi(a) - 2 (1 - beta) alpha H(pi)  <=  epsilon

where p are the shares of the demonstrated actions. Both are convex in pi, so there is one solution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize


@dataclass(frozen=True)
class Problem:
    reward: np.ndarray
    """``[actions]``."""
    shown: np.ndarray
    """``[actions]``: share of each action in the demonstrations, p."""
    alpha: float
    beta: float = 0.5
    epsilon: float = 0.0
    entropy_in_constraint: bool = True

    def objective(self, pi: np.ndarray) -> float:
        return float(np.sum(pi * (2 * self.beta * self.alpha * np.log(pi) - self.reward)))

    def constraint(self, pi: np.ndarray) -> float:
        """C(pi)."""
        likelihood = -np.sum(self.shown * np.log(pi))
        if not self.entropy_in_constraint:
            return float(likelihood)
        return float(likelihood + 2 * (1 - self.beta) * self.alpha * np.sum(pi * np.log(pi)))


def solve(problem: Problem) -> tuple[np.ndarray, float]:
    """The best policy and the multiplier lambda of the constraint (0 if it is slack)."""
    n = len(problem.reward)
    found = minimize(
        problem.objective,
        np.full(n, 1 / n),
        method="SLSQP",
        bounds=[(1e-9, 1.0)] * n,
        constraints=[
            {"type": "eq", "fun": lambda pi: pi.sum() - 1},
            {"type": "ineq", "fun": lambda pi: problem.epsilon - problem.constraint(pi)},
        ],
        options={"ftol": 1e-13, "maxiter": 1000},
    )
    assert found.success, found.message
    pi = found.x
    assert problem.constraint(pi) < problem.epsilon + 1e-7
    if problem.constraint(pi) < problem.epsilon - 1e-5:
        return pi, 0.0
    # Karush-Kuhn-Tucker: along the simplex, grad objective + lambda grad C = 0.
    f, c = _along(problem.objective, pi), _along(problem.constraint, pi)
    multiplier = -float(f @ c / (c @ c))
    assert multiplier >= -1e-6
    assert np.abs(f + multiplier * c).max() < 1e-3
    return pi, multiplier


def _along(function: object, pi: np.ndarray, h: float = 1e-6) -> np.ndarray:
    """Central differences, without their part that leaves the simplex."""
    steps = h * np.eye(len(pi))
    slope = np.array([(function(pi + e) - function(pi - e)) / (2 * h) for e in steps])  # type: ignore[operator]
    return slope - slope.mean()
