"""The updates of LBPO, CPO and PPO-Lagrangian in eager PyTorch, timed for lbpo_update.py.

The same mathematics as ours with the same sizes, written as one writes it in PyTorch: Fisher products by
differentiating the divergence twice, Adam of torch.optim, each episode's returns by a loop over time. It
imports no surefoot. Made for this comparison alone; the environment is that of peer_sac_env.sh.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

OBS, ACT, GAMMA, LIMIT = 60, 2, 0.99, 25.0
Play = Callable[[], dict[str, float]]


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("methods", nargs="+")
    for name, default in (("width", 64), ("fit", 80), ("passes", 10), ("horizon", 1000), ("episodes", 30)):
        options.add_argument(f"--{name}", type=int, default=default)
    given = options.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    batch = random_batch(given.horizon, given.episodes)
    plays = {name: PREPARE[name](given, batch) for name in given.methods}
    print("@" + json.dumps({"torch": torch.__version__}), flush=True)
    for _ in sys.stdin:
        print("@" + json.dumps({name: timed(play) for name, play in plays.items()}), flush=True)


def timed(play: Play) -> dict[str, float]:
    """Seconds by the wall and by the processor, and what the update reports."""
    start, busy = time.perf_counter(), time.process_time()
    found = play()
    return {"wall": time.perf_counter() - start, "processor": time.process_time() - busy, **found}


def random_batch(horizon: int, episodes: int) -> dict[str, Tensor]:
    """Whole episodes ``[horizon, episodes, ...]`` of random numbers, cut by a time limit; cost about 20."""
    shape = (horizon, episodes)
    return {
        "observation": torch.randn(*shape, OBS),
        "last": torch.randn(episodes, OBS),
        "action": torch.rand(*shape, ACT) * 2 - 1,
        "reward": torch.randn(shape),
        "cost": (torch.rand(shape) < 0.02).float(),
    }


def mlp(sizes: list[int], activation: type[nn.Module]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers[:-1])


def discounted(signal: Tensor, last: Tensor, flow: float) -> Tensor:
    """``G_t = signal_t + flow G_{t+1}`` down the first axis, with ``last`` after the end."""
    found = torch.empty_like(signal)
    for t in range(len(signal) - 1, -1, -1):
        last = signal[t] + flow * last
        found[t] = last
    return found


def advantage(signal: Tensor, value: Tensor, last: Tensor, trace: float) -> Tensor:
    """Generalised advantage estimate of episodes that a time limit cuts."""
    after = torch.cat([value[1:], last[None]])
    return discounted(signal + GAMMA * after - value, torch.zeros_like(last), GAMMA * trace)


def flat(x: Tensor) -> Tensor:
    return x.reshape(-1, *x.shape[2:])


def gradient(loss: Tensor, parameters: list[Tensor], **options: Any) -> Tensor:
    return torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, parameters, **options)])


def fisher(divergence: Tensor, parameters: list[Tensor], damping: float) -> Callable[[Tensor], Tensor]:
    """v -> (F + damping) v by differentiating the divergence, which is zero here, twice."""
    slope = gradient(divergence, parameters, create_graph=True)
    return lambda v: gradient(slope @ v, parameters, retain_graph=True) + damping * v


def conjugate_gradient(product: Callable[[Tensor], Tensor], right: Tensor, iterations: int = 10) -> Tensor:
    x, residual = torch.zeros_like(right), right.clone()
    direction, length = right.clone(), right @ right
    for _ in range(iterations):
        if length < 1e-10:
            break
        image = product(direction)
        pace = length / (direction @ image)
        x += pace * direction
        residual -= pace * image
        shorter = residual @ residual
        direction = residual + shorter / length * direction
        length = shorter
    return x


def regression(networks: list[nn.Module], steps: int) -> Callable[[Tensor, list[Tensor]], None]:
    """Full-batch Adam on the mean squared errors of networks with one output."""
    adam = torch.optim.Adam([p for n in networks for p in n.parameters()], lr=1e-3)

    def fit(x: Tensor, targets: list[Tensor]) -> None:
        for _ in range(steps):
            pairs = zip(networks, targets, strict=True)
            loss = sum(((n(x)[:, 0] - target) ** 2).mean() for n, target in pairs)
            adam.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[union-attr]
            adam.step()

    return fit


def lbpo(given: argparse.Namespace, batch: dict[str, Tensor]) -> Play:
    """Lines 2 to 5 of our lbpo.py: budget, trust-region step with both line searches, critics afterwards."""
    policy = mlp([OBS, 256, 256, ACT], nn.ReLU)
    reward_q, cost_q = (mlp([OBS + ACT, given.width, given.width, 1], nn.Tanh) for _ in range(2))
    parameters, std, radius, beta = list(policy.parameters()), 0.05, 0.012, 0.005
    fit = regression([reward_q, cost_q], given.fit)
    seen, last = flat(batch["observation"]), batch["last"]

    def mean(x: Tensor) -> Tensor:
        return torch.tanh(policy(x))

    def q(network: nn.Module, x: Tensor, action: Tensor) -> Tensor:
        return network(torch.cat([x, action], dim=-1))[..., 0]

    def play() -> dict[str, float]:
        eps = (1 - GAMMA) * (LIMIT - float(batch["cost"].sum(0).mean()))
        price = beta / eps if eps > 0 and beta / eps > 0.05 else 0.0
        with torch.no_grad():
            here = mean(seen)
            base = q(cost_q, seen, here)

        def loss(action: Tensor) -> Tensor:
            harm = (q(cost_q, seen, action) - base).mean()
            return harm if eps <= 0 else price * harm - q(reward_q, seen, action).mean()

        def apart(action: Tensor) -> Tensor:
            return (((action - here) / std) ** 2).sum(-1).mean() / 2

        action = mean(seen)
        before = loss(action)
        slope = gradient(before, parameters, retain_graph=True)
        product = fisher(apart(action), parameters, 0.1)
        direction = conjugate_gradient(product, slope)
        step = -torch.sqrt(2 * radius / (direction @ product(direction))) * direction
        theta = parameters_to_vector(parameters).detach().clone()
        kl = fraction = 0.0
        with torch.no_grad():
            for share in (0.5**k for k in range(10)):
                vector_to_parameters(theta + share * step, parameters)
                there = mean(seen)
                gain, promised = before - loss(there), -share * (slope @ step)
                if gain > 0 and gain > 0.1 * promised and apart(there) <= radius:
                    fraction = share
                    break
            for share in (fraction * 0.5**k for k in range(10)):
                vector_to_parameters(theta + share * step, parameters)
                there = mean(seen)
                if (q(cost_q, seen, there) - base).mean() <= eps:
                    fraction = share
                    break
            kl = float(apart(mean(seen)))
            after = mean(last)
            targets = [
                flat(discounted(batch[name], q(network, last, after), GAMMA))
                for name, network in (("reward", reward_q), ("cost", cost_q))
            ]
        fit(torch.cat([seen, flat(batch["action"])], dim=-1), targets)
        return {"kl": kl, "step_fraction": fraction}

    return play


def log_prob(mean: Tensor, log_std: Tensor, action: Tensor) -> Tensor:
    z = (action - mean) / log_std.exp()
    return -(0.5 * z**2 + log_std + 0.5 * math.log(2 * math.pi)).sum(-1)


def cpo(given: argparse.Namespace, batch: dict[str, Tensor]) -> Play:
    """Our cpo.py with one constraint: the dual in closed form, by the cases of the paper."""
    policy = mlp([OBS, 256, 256, ACT], nn.ReLU)
    log_std = nn.Parameter(torch.full((ACT,), -0.5))
    value, cost_value = (mlp([OBS, given.width, given.width, 1], nn.Tanh) for _ in range(2))
    parameters, radius = [*policy.parameters(), log_std], 0.01
    fit = regression([value, cost_value], given.fit)
    seen, last, action = flat(batch["observation"]), batch["last"], flat(batch["action"])
    shape = batch["reward"].shape

    def play() -> dict[str, float]:
        c = (float(batch["cost"].sum(0).mean()) - LIMIT) / shape[0]
        with torch.no_grad():
            worth = [
                advantage(batch[name], n(seen)[:, 0].reshape(shape), n(last)[:, 0], 0.97).reshape(-1)
                for name, n in (("reward", value), ("cost", cost_value))
            ]
            gain = (worth[0] - worth[0].mean()) / (worth[0].std(correction=0) + 1e-8)
            charge = worth[1] - worth[1].mean()
            here, here_std = torch.tanh(policy(seen)), log_std.detach().clone()
            old = log_prob(here, here_std, action)

        def surrogates(mean: Tensor) -> tuple[Tensor, Tensor]:
            ratio = (log_prob(mean, log_std, action) - old).exp()
            return -(ratio * gain).mean(), (ratio * charge).mean()

        def apart(mean: Tensor) -> Tensor:
            square = (here_std - log_std).mul(2).exp() + ((mean - here) / log_std.exp()) ** 2
            return (log_std - here_std + 0.5 * (square - 1)).sum(-1).mean()

        mean = torch.tanh(policy(seen))
        worst, cost = surrogates(mean)
        g = gradient(worst, parameters, retain_graph=True)
        b = gradient(cost, parameters, retain_graph=True)
        product = fisher(apart(mean), parameters, 0.1)
        v, w = conjugate_gradient(product, g), conjugate_gradient(product, b)
        step, recovery = dual(g, b, v, w, c, radius)
        theta = parameters_to_vector(parameters).detach().clone()
        fraction, kl = 0.0, 0.0
        with torch.no_grad():
            for share in (0.8**k for k in range(10)):
                vector_to_parameters(theta + share * step, parameters)
                mean = torch.tanh(policy(seen))
                loss, harm = surrogates(mean)
                kept = (recovery or loss <= worst) and harm - cost <= max(-c, 0.0)
                if kept and (kl := float(apart(mean))) <= radius:
                    fraction = share
                    break
            else:
                vector_to_parameters(theta, parameters)
            targets = [
                flat(discounted(batch[name], n(last)[:, 0], GAMMA))
                for name, n in (("reward", value), ("cost", cost_value))
            ]
        fit(seen, targets)
        return {"kl": kl if fraction else 0.0, "step_fraction": fraction}

    return play


def dual(g: Tensor, b: Tensor, v: Tensor, w: Tensor, c: float, radius: float) -> tuple[Tensor, bool]:
    """The step of CPO, and whether the start breaks the limit; Achiam et al. 2017, appendix 10.2."""
    q, r, s = (float(x) for x in (g @ v, g @ w, b @ w))
    left = 2 * radius - c**2 / s
    if c < 0 and left < 0:
        return -math.sqrt(2 * radius / q) * v, False
    if left < 0:
        return -math.sqrt(2 * radius / s) * w, True
    most = q - r**2 / s
    zero_to, from_to = (0.0, max(r / c, 0.0)), (max(r / c, 0.0), math.inf)
    tight, slack = (zero_to, from_to) if c < 0 else (from_to, zero_to)
    a = min(max(math.sqrt(most / left), tight[0]), tight[1])
    f = min(max(math.sqrt(q / (2 * radius)), slack[0]), slack[1])
    of_a = -(most / max(a, 1e-8) + left * a) / 2 - r * c / s
    of_f = -(q / max(f, 1e-8) + 2 * radius * f) / 2
    chosen = a if of_a >= of_f else f
    nu = max(0.0, chosen * c - r) / s
    return -(v + nu * w) / max(chosen, 1e-8), c > 0


def ppo_lagrangian(given: argparse.Namespace, batch: dict[str, Tensor]) -> Play:
    """Our ppo_lagrangian.py: multiplier, advantages, passes in minibatches of 256."""
    policy, value, cost_value = (
        mlp([OBS, given.width, given.width, outputs], nn.Tanh) for outputs in (ACT, 1, 1)
    )
    log_std, raw = nn.Parameter(torch.zeros(ACT)), nn.Parameter(torch.tensor(math.log(math.e - 1)))
    trained = [*policy.parameters(), log_std, *value.parameters(), *cost_value.parameters()]
    adam, ascent = torch.optim.Adam(trained, lr=3e-4, eps=1e-5), torch.optim.Adam([raw], lr=0.05)
    seen, last, action = flat(batch["observation"]), batch["last"], flat(batch["action"])
    shape, size = batch["reward"].shape, 256

    def play() -> dict[str, float]:
        excess = float(batch["cost"].sum(0).mean()) - LIMIT
        ascent.zero_grad()
        (-nn.functional.softplus(raw) * excess).backward()
        ascent.step()
        nu = float(nn.functional.softplus(raw.detach()))
        with torch.no_grad():
            values = [n(seen)[:, 0].reshape(shape) for n in (value, cost_value)]
            worth = [
                advantage(batch[name], now, n(last)[:, 0], 0.95)
                for name, n, now in zip(("reward", "cost"), (value, cost_value), values, strict=True)
            ]
            targets = [(a + now).reshape(-1) for a, now in zip(worth, values, strict=True)]
            gain, charge = (a.reshape(-1) for a in worth)
            old = log_prob(policy(seen), log_std, action)
        kl = 0.0
        for _ in range(given.passes):
            for rows in torch.randperm(len(seen))[: len(seen) // size * size].split(size):
                mean = policy(seen[rows])
                log_ratio = log_prob(mean, log_std, action[rows]) - old[rows]
                ratio, a = log_ratio.exp(), gain[rows]
                a = (a - a.mean()) / (a.std(correction=0) + 1e-8)
                earned = torch.minimum(ratio * a, ratio.clamp(0.8, 1.2) * a).mean()
                paid = nu * (ratio * (charge[rows] - charge[rows].mean())).mean()
                loss = (paid - earned) / (1 + nu)
                loss = loss + 0.5 * ((value(seen[rows])[:, 0] - targets[0][rows]) ** 2).mean()
                loss = loss + 0.5 * ((cost_value(seen[rows])[:, 0] - targets[1][rows]) ** 2).mean()
                adam.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(trained, 0.5)
                adam.step()
                kl = (log_ratio.expm1() - log_ratio).mean().detach()
        return {"kl": float(kl)}

    return play


PREPARE: dict[str, Callable[[argparse.Namespace, dict[str, Tensor]], Play]] = {
    "lbpo": lbpo,
    "cpo": cpo,
    "ppo-lagrangian": ppo_lagrangian,
}


if __name__ == "__main__":
    main()
