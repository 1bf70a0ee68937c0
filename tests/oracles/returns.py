"""Advantages by brute force: every sum written out from its definition. NumPy only."""

from __future__ import annotations

import numpy as np


def advantage_by_sums(reward, value, next_value, terminated, truncated, discount, trace):
    """GAE of one environment, ``[time]``: the lambda-weighted mean of n-step advantages.

    A^(n)_t = r_t + gamma r_{t+1} + ... + gamma^(n-1) r_{t+n-1} + gamma^n V(s_{t+n}) - V(s_t), and
    A_t = (1 - lambda) sum_{n < N} lambda^(n-1) A^(n)_t + lambda^(N-1) A^(N)_t, N steps being left in
    the episode or the data. V(s_{t+n}) is 0 after a terminated step.
    """
    steps = len(reward)
    result = np.zeros(steps)
    for t in range(steps):
        left = 1
        while t + left < steps and not (terminated[t + left - 1] or truncated[t + left - 1]):
            left += 1
        for n in range(1, left + 1):
            gains = sum(discount**k * reward[t + k] for k in range(n))
            last = t + n - 1
            if not terminated[last]:
                gains += discount**n * next_value[last]
            weight = trace ** (n - 1) * (1.0 if n == left else 1 - trace)
            result[t] += weight * (gains - value[t])
    return result


def target_by_sums(reward, next_value, terminated, truncated, discount, trace):
    """TD(lambda) target of one environment, ``[time]``: the lambda-weighted mean of n-step returns.

    G^(n)_t = r_t + ... + gamma^(n-1) r_{t+n-1} + gamma^n V(s_{t+n}), V being 0 after a terminated step, and
    G_t = (1 - lambda) sum_{n < N} lambda^(n-1) G^(n)_t + lambda^(N-1) G^(N)_t.
    """
    steps = len(reward)
    result = np.zeros(steps)
    for t in range(steps):
        last = t
        while last < steps - 1 and not (terminated[last] or truncated[last]):
            last += 1
        returns = []
        for end in range(t, last + 1):
            gains = sum(discount ** (k - t) * reward[k] for k in range(t, end + 1))
            returns.append(gains + (0 if terminated[end] else discount ** (end + 1 - t) * next_value[end]))
        weights = [(1 - trace) * trace**n for n in range(len(returns) - 1)] + [trace ** (len(returns) - 1)]
        result[t] = float(np.dot(weights, returns))
    return result
