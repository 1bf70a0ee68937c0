"""One gradient step of discrete SAC and SCOPIL in plain NumPy, float64. No code is shared with the library.

Gradients are central differences of the losses as the papers write them, so that neither a derivative
nor a stopped gradient is assumed: what is held constant in a loss is a number here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

Layers = list[np.ndarray]
"""Weight ``[in, out]``, bias ``[out]``, weight, bias, ..."""


def forward(layers: Layers, x: np.ndarray) -> np.ndarray:
    """A network with ReLU between its layers."""
    for i in range(0, len(layers), 2):
        x = x @ layers[i] + layers[i + 1]
        if i + 2 < len(layers):
            x = np.where(x > 0, x, 0.0)
    return x


def probabilities(layers: Layers, x: np.ndarray) -> np.ndarray:
    """Softmax of the network's outputs."""
    logits = forward(layers, x)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def slope(loss: Callable[[Layers], float], layers: Layers, h: float = 1e-6) -> Layers:
    """Central differences of ``loss`` in every entry."""
    gradient = [np.zeros_like(layer) for layer in layers]
    for layer, out in zip(layers, gradient, strict=True):
        for index in np.ndindex(layer.shape):
            kept = layer[index]
            layer[index] = kept + h
            above = loss(layers)
            layer[index] = kept - h
            below = loss(layers)
            layer[index] = kept
            out[index] = (above - below) / (2 * h)
    return gradient


@dataclass
class Adam:
    """Kingma and Ba 2015, Algorithm 1, with an optional bound on the gradient's Euclidean norm."""

    rate: float
    bound: float = np.inf
    epsilon: float = 1e-4
    time: int = 0
    first: Layers = field(default_factory=list)
    second: Layers = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    """Of the gradients of all steps, before clipping."""

    def step(self, values: Layers, gradient: Layers) -> Layers:
        """Values after one descent step."""
        norm = float(np.sqrt(sum((g**2).sum() for g in gradient)))
        self.norms.append(norm)
        gradient = [g * min(1.0, self.bound / max(norm, 1e-300)) for g in gradient]
        if self.time == 0:
            self.first = [np.zeros_like(g) for g in gradient]
            self.second = [np.zeros_like(g) for g in gradient]
        self.time += 1
        new = []
        for i, (value, g) in enumerate(zip(values, gradient, strict=True)):
            self.first[i] = 0.9 * self.first[i] + 0.1 * g
            self.second[i] = 0.999 * self.second[i] + 0.001 * g**2
            m = self.first[i] / (1 - 0.9**self.time)
            v = self.second[i] / (1 - 0.999**self.time)
            new.append(value - self.rate * m / (np.sqrt(v) + self.epsilon))
        return new


@dataclass
class Rows:
    """Transitions, each array ``[rows, ...]``."""

    observation: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    next_observation: np.ndarray
    terminated: np.ndarray


@dataclass
class Imitation:
    """What SCOPIL has beside discrete SAC."""

    observation: np.ndarray
    action: np.ndarray
    multiplier: float
    adam: Adam
    beta: float = 0.5
    epsilon: float = 0.0
    entropy_in_constraint: bool = True

    def constraint(self, actor: Layers, alpha: float) -> float:
        """C(theta), summed pair by pair."""
        total = 0.0
        for row, action in zip(self.observation, self.action, strict=True):
            p = probabilities(actor, row[None])[0]
            total -= np.log(p[action])
            if self.entropy_in_constraint:
                total -= 2 * (1 - self.beta) * alpha * -(p * np.log(p)).sum()
        return total / len(self.action)


@dataclass
class Learner:
    """Networks, optimisers and settings; :meth:`step` changes them in place."""

    actor: Layers
    critics: tuple[Layers, Layers]
    targets: tuple[Layers, Layers]
    log_alpha: float
    discount: float
    polyak: float
    target_entropy: float
    actor_adam: Adam
    critic_adam: Adam
    alpha_adam: Adam

    def step(self, rows: Rows, imitation: Imitation | None = None) -> None:
        """Temperature, critics, actor, multiplier, targets, in this order."""
        p = probabilities(self.actor, rows.observation)
        entropy = -(p * np.log(p)).sum(axis=1).mean()
        gradient = [np.array(entropy - self.target_entropy)]
        self.log_alpha = float(self.alpha_adam.step([np.array(self.log_alpha)], gradient)[0])
        alpha = np.exp(self.log_alpha)

        p = probabilities(self.actor, rows.next_observation)
        q = np.minimum(*(forward(target, rows.next_observation) for target in self.targets))
        share = 1.0 if imitation is None else 2 * imitation.beta  # of the entropy, in the reward's objective
        value = (p * (q - share * alpha * np.log(p))).sum(axis=1)
        goal = rows.reward + self.discount * np.where(rows.terminated, 0.0, value)
        n = len(self.critics[0])

        def critic_loss(both: Layers) -> float:
            total = 0.0
            for critic in (both[:n], both[n:]):
                chosen = forward(critic, rows.observation)[np.arange(len(goal)), rows.action]
                total += 0.5 * ((chosen - goal) ** 2).mean()
            return total

        both = [*self.critics[0], *self.critics[1]]
        both = self.critic_adam.step(both, slope(critic_loss, both))
        self.critics = (both[:n], both[n:])

        q = np.minimum(*(forward(critic, rows.observation) for critic in self.critics))

        def actor_loss(actor: Layers) -> float:
            p = probabilities(actor, rows.observation)
            loss = (p * (share * alpha * np.log(p) - q)).sum(axis=1).mean()
            if imitation is not None:
                loss += imitation.multiplier * imitation.constraint(actor, alpha)
            return float(loss)

        self.actor = self.actor_adam.step(self.actor, slope(actor_loss, self.actor))

        if imitation is not None:
            excess = imitation.constraint(self.actor, alpha) - imitation.epsilon
            gradient = [np.array(-excess)]
            moved = imitation.adam.step([np.array(imitation.multiplier)], gradient)
            imitation.multiplier = max(0.0, float(moved[0]))

        for target, critic in zip(self.targets, self.critics, strict=True):
            for i, layer in enumerate(critic):
                target[i] = (1 - self.polyak) * target[i] + self.polyak * layer
