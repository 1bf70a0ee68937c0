"""MaxEnt control with continuous actions, by quadrature and central differences in NumPy and SciPy, float64.

No code is shared with the library. Actions are tanh(u), u normal, as the papers write them; densities use
the textbook change of variables, not the library's stable form.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import stats
from scipy.optimize import minimize

from oracles.actor_critic import Adam, Layers, forward, slope

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(80)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
"""Quadrature: E f(z), z standard normal, is ``WEIGHTS @ f(NODES)``."""


def squashed_logpdf(action: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """log of the density of tanh(u) at ``action``, u ~ N(mean, std^2), one entry each."""
    return stats.norm.logpdf(np.arctanh(action), mean, std) - np.log(1 - action**2)


def squashed_entropy(mean: float, std: float) -> float:
    """- E log pi, in nats."""
    action = np.tanh(mean + std * NODES)
    return -float(WEIGHTS @ (stats.norm.logpdf(NODES) - np.log(std) - np.log(1 - action**2)))


# A problem of two states ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class TwoStates:
    """Reward -weight (a - wish(s))^2, action in [-1, 1]; the next state is 1 with probability (1 + a) / 2."""

    wish: tuple[float, float] = (0.8, -0.1)
    weight: float = 1.0
    bonus: float = 1.0
    """Extra reward in state 1."""

    def reward(self, state: np.ndarray, action: np.ndarray) -> np.ndarray:
        return self.bonus * state - self.weight * (action - np.array(self.wish)[state]) ** 2

    def transitions(self, n: int, seed: int) -> dict[str, np.ndarray]:
        """Random ones: uniform states and actions."""
        rng = np.random.default_rng(seed)
        state, action = rng.integers(2, size=n), rng.uniform(-1, 1, n)
        return {
            "state": state,
            "action": action,
            "reward": self.reward(state, action),
            "next_state": (rng.random(n) < (1 + action) / 2).astype(int),
        }

    def q(self, state: int, action: np.ndarray, value: np.ndarray, discount: float) -> np.ndarray:
        up = (1 + action) / 2
        return self.reward(np.full(action.shape, state), action) + discount * (
            up * value[1] + (1 - up) * value[0]
        )


def soft_value_iteration(problem: TwoStates, discount: float, alpha: float) -> np.ndarray:
    """V(s) = alpha log int exp(Q(s, a) / alpha) da over all policies, on a grid of 4000 actions."""
    edges = np.linspace(-1, 1, 4001)
    action, width = (edges[1:] + edges[:-1]) / 2, edges[1] - edges[0]
    value = np.zeros(2)
    for _ in range(2000):
        q = np.stack([problem.q(s, action, value, discount) for s in range(2)])
        new = alpha * np.log(np.exp(q / alpha).sum(axis=1) * width)
        if np.abs(new - value).max() < 1e-10:
            return new
        value = new
    raise AssertionError("soft value iteration did not converge")


def soft_policy_iteration(
    problem: TwoStates, discount: float, alpha: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The fixed point of soft policy iteration among squashed Gaussians: V, means and stds of u, each [2]."""
    value, mean, std = np.zeros(2), np.zeros(2), np.ones(2)
    for _ in range(100):
        new = value.copy()
        for s in range(2):

            def gain(x: np.ndarray, s: int = s, value: np.ndarray = value) -> float:
                m, d = x[0], np.exp(x[1])
                action = np.tanh(m + d * NODES)
                q = float(WEIGHTS @ problem.q(s, action, value, discount))
                return -(q + alpha * squashed_entropy(m, d))

            best = minimize(gain, [mean[s], np.log(std[s])], method="Nelder-Mead", options={"xatol": 1e-5})
            mean[s], std[s], new[s] = best.x[0], np.exp(best.x[1]), -best.fun
        if np.abs(new - value).max() < 1e-5:
            return new, mean, std
        value = new
    raise AssertionError("soft policy iteration did not converge")


# One gradient step ---------------------------------------------------------------------------------------


@dataclass
class Rows:
    """Transitions, and the normal noise of the actions that the step samples, all ``[batch, ...]``."""

    observation: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    next_observation: np.ndarray
    terminated: np.ndarray
    noise_next: np.ndarray
    noise_now: np.ndarray


@dataclass
class Learner:
    """SAC with actions in [-1, 1]."""

    actor: Layers
    critics: tuple[Layers, Layers]
    targets: tuple[Layers, Layers]
    log_alpha: float
    discount: float
    polyak: float
    rate: float
    alpha_rate: float | None
    """``None`` keeps the temperature."""
    target_entropy: float
    adams: dict[str, Adam] = field(default_factory=dict)

    def sample(self, actor: Layers, observation: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, ...]:
        """Actions and log-densities."""
        out = forward(actor, observation)
        act = out.shape[1] // 2
        mean, std = out[:, :act], np.exp(np.clip(out[:, act:], -20, 2))
        u = mean + std * noise
        log_pi = stats.norm.logpdf(u, mean, std) - np.log(1 - np.tanh(u) ** 2)
        return np.tanh(u), log_pi.sum(axis=1)

    def step(self, rows: Rows) -> dict[str, float]:
        """One update of everything; returns losses and entropy before it."""
        alpha = np.exp(self.log_alpha)
        action, log_pi = self.sample(self.actor, rows.next_observation, rows.noise_next)
        value = lower(self.targets, rows.next_observation, action) - alpha * log_pi
        goal = rows.reward + self.discount * np.where(rows.terminated, 0.0, value)

        def critic_loss(critic: Layers) -> float:
            return float(((q(critic, rows.observation, rows.action) - goal) ** 2).mean())

        losses = {"critic_loss": sum(critic_loss(critic) for critic in self.critics)}
        gradients = [slope(critic_loss, critic) for critic in self.critics]
        self.critics = tuple(
            self._adam(f"critic{i}", self.rate).step(self.critics[i], gradients[i]) for i in range(2)
        )  # type: ignore[assignment]

        def actor_loss(actor: Layers) -> float:
            action, log_pi = self.sample(actor, rows.observation, rows.noise_now)
            return float((alpha * log_pi - lower(self.critics, rows.observation, action)).mean())

        losses["actor_loss"] = actor_loss(self.actor)
        entropy = -self.sample(self.actor, rows.observation, rows.noise_now)[1].mean()
        losses["entropy"] = float(entropy)
        self.actor = self._adam("actor", self.rate).step(self.actor, slope(actor_loss, self.actor))
        if self.alpha_rate is not None:
            step = self._adam("alpha", self.alpha_rate).step(
                [np.array(self.log_alpha)], [np.array(entropy - self.target_entropy)]
            )
            self.log_alpha = float(step[0])
        self.targets = tuple(
            [self.polyak * new + (1 - self.polyak) * old for new, old in zip(critic, target, strict=True)]
            for critic, target in zip(self.critics, self.targets, strict=True)
        )  # type: ignore[assignment]
        return losses

    def _adam(self, name: str, rate: float) -> Adam:
        return self.adams.setdefault(name, Adam(rate, epsilon=1e-8))


def q(critic: Layers, observation: np.ndarray, action: np.ndarray) -> np.ndarray:
    return forward(critic, np.concatenate([observation, action], axis=1))[:, 0]


def lower(critics: tuple[Layers, Layers], observation: np.ndarray, action: np.ndarray) -> np.ndarray:
    """The smaller of the two."""
    return np.minimum(*(q(critic, observation, action) for critic in critics))
