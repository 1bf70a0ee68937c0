"""TD3 by numerical differentiation, and linear-quadratic control by Riccati's equation. NumPy only.

No code is shared with the library. Gradients are central differences of the losses as the paper writes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from oracles.actor_critic import Adam, Layers, forward, slope
from oracles.soft_control import q


@dataclass
class Rows:
    """Transitions, and the standard normal noise of the target's actions, all ``[batch, ...]``."""

    observation: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    next_observation: np.ndarray
    terminated: np.ndarray
    noise: np.ndarray


@dataclass
class Learner:
    """TD3 with actions between ``low`` and ``high``."""

    actor: Layers
    target_actor: Layers
    critics: list[Layers]
    targets: list[Layers]
    low: np.ndarray
    high: np.ndarray
    discount: float
    polyak: float
    rate: float
    noise: float
    clip: float
    delay: int
    time: int = 0
    adams: dict[str, Adam] = field(default_factory=dict)

    def act(self, actor: Layers, observation: np.ndarray) -> np.ndarray:
        return self.low + (self.high - self.low) * (np.tanh(forward(actor, observation)) + 1) / 2

    def goal(self, rows: Rows) -> np.ndarray:
        """The target, transition by transition."""
        goals = np.zeros(len(rows.reward))
        half = (self.high - self.low) / 2
        for i in range(len(goals)):
            after = rows.next_observation[i : i + 1]
            action = self.act(self.target_actor, after)[0]
            for j in range(len(action)):
                moved = max(
                    -self.clip * half[j], min(self.clip * half[j], self.noise * half[j] * rows.noise[i, j])
                )
                action[j] = max(self.low[j], min(self.high[j], action[j] + moved))
            values = [float(q(critic, after, action[None])[0]) for critic in self.targets]
            goals[i] = rows.reward[i] + (0.0 if rows.terminated[i] else self.discount * min(values))
        return goals

    def step(self, rows: Rows) -> float:
        """One update; returns the critics' loss before it."""
        goal = self.goal(rows)

        def critic_loss(critic: Layers) -> float:
            return float(((q(critic, rows.observation, rows.action) - goal) ** 2).mean())

        total = sum(critic_loss(critic) for critic in self.critics)
        slopes = [slope(critic_loss, critic) for critic in self.critics]
        self.critics = [
            self._adam(f"critic{i}").step(critic, slopes[i]) for i, critic in enumerate(self.critics)
        ]
        self.time += 1
        if self.time % self.delay == 0:

            def actor_loss(actor: Layers) -> float:
                return -float(q(self.critics[0], rows.observation, self.act(actor, rows.observation)).mean())

            self.actor = self._adam("actor").step(self.actor, slope(actor_loss, self.actor))
            self.target_actor = self._average(self.actor, self.target_actor)
            self.targets = [self._average(*pair) for pair in zip(self.critics, self.targets, strict=True)]
        return total

    def _average(self, live: Layers, held: Layers) -> Layers:
        return [self.polyak * new + (1 - self.polyak) * old for new, old in zip(live, held, strict=True)]

    def _adam(self, name: str) -> Adam:
        return self.adams.setdefault(name, Adam(self.rate, epsilon=1e-8))


@dataclass(frozen=True)
class Lqr:
    """x' = a x + b u with reward -(weight x^2 + price u^2) for each step, x and u numbers, no noise."""

    a: float = 0.9
    b: float = 0.5
    weight: float = 1.0
    price: float = 0.4
    discount: float = 0.8

    @property
    def p(self) -> float:
        """V(x) = -p x^2: Riccati's equation by iteration."""
        p = 0.0
        for _ in range(1000):
            p = self.backup(p)
        return p

    def backup(self, p: float) -> float:
        """The value of one step before -p x^2."""
        g = self.discount
        return (
            self.weight
            + g * self.a**2 * p
            - (g * self.a * self.b * p) ** 2 / (self.price + g * self.b**2 * p)
        )

    def gain(self, p: float) -> float:
        """K of u = -K x, the best action if -p x^2 follows."""
        g = self.discount
        return g * self.a * self.b * p / (self.price + g * self.b**2 * p)

    def reward(self, x: np.ndarray, u: np.ndarray) -> np.ndarray:
        return -(self.weight * x**2 + self.price * u**2)

    def q(self, x: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Q of the best policy."""
        return self.reward(x, u) - self.discount * self.p * (self.a * x + self.b * u) ** 2
