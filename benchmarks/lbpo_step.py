"""What one step of LBPO changes: return and cost of an episode, by first order, judged on fresh episodes.

Takes the policy and the critics of a run and makes the step of its next epoch four times over: on the reward
alone, on the reward and the priced cost (LBPO's own), on the cost alone (the recovery), and the last again
with critics that are fitted to four times the episodes. Each is made from episodes that judge none of them:

    change of J = E sum_t A(s_t, a_t) (a_t - pi(s_t)) . (pi'(s_t) - pi(s_t)) / delta^2

with A the discounted return from step t on, less a critic's estimate of it. The standard error is over fresh
episodes and over what the steps were made from.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from common import finish, machine, one_thread, parser

MORE = 4
"""Times the episodes of an epoch, for critics that see more."""


def main() -> None:
    options = parser(__doc__)
    options.add_argument("run", type=Path, help="folder of a run of LBPO with one seed")
    options.add_argument("--draws", type=int, default=4, help="batches of episodes that steps are made from")
    options.add_argument("--fresh", type=int, default=240, help="episodes that judge")
    given = options.parse_args()
    one_thread()
    about = machine()
    found = measured(given.run, given.draws, given.fresh)
    finish({"benchmark": "lbpo_step", "machine": about, **found}, given.out)


def measured(run: Path, draws: int, fresh: int) -> dict[str, Any]:
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    from surefoot.algorithms.safe import lbpo
    from surefoot.algorithms.safe.critics import targets
    from surefoot.algorithms.safe.episodes import collect, limits_of, mean_costs, weights
    from surefoot.algorithms.safe.policy_step import trust_region_step
    from surefoot.data.trajectories import flat
    from surefoot.training.fit import restore

    found = restore(run)
    settings, world, state = found.learner, found.world, found.state[0]
    task, policy = world.task, state.policy
    episodes = settings.batch_steps // task.horizon
    limits = jnp.array(limits_of("LBPO", task, settings.cost_limits))

    def play(count: int, key: int) -> Any:
        return collect(policy, world, count, jax.random.key(key))[1]

    @eqx.filter_jit
    def fitted(state: Any, batch: Any) -> Any:
        return lbpo.fit(settings, state, batch, weights(batch).reshape(-1), settings.critic_steps)[0].critics

    @eqx.filter_jit
    def moved(critics: Any, batch: Any, eps: Any, beta: float) -> Any:
        observation, weight = flat(batch.observation), weights(batch).reshape(-1)
        here = policy.mode(observation)
        loss = lbpo.objective(replace(settings, beta=beta), critics, observation, weight, here, eps)
        step = trust_region_step(
            policy, observation, weight, loss, radius=settings.radius, damping=settings.damping
        )
        return step.policy

    @eqx.filter_jit
    def worth(other: Any, critics: Any, batch: Any) -> Any:
        """Changes ``[episodes, signals]``: of return and costs."""
        seen, mean = batch.observation, policy.mode(batch.observation)
        later = targets(critics, policy, batch, discount=settings.discount, trace=1.0)
        better = later - critics.all(seen, mean)
        spread = jnp.exp(policy.log_std)
        push = jnp.sum((batch.action - mean) / spread * (other.mode(seen) - mean) / spread, axis=-1)
        return jnp.sum(jnp.where(batch.valid[..., None], better * push[..., None], 0.0), axis=0)

    @eqx.filter_jit
    def over_the_noise(critics: Any, batch: Any) -> Any:
        """Variance of each critic over the noise on the actions, mean over the states."""
        seen = flat(batch.observation)[::50]
        noise = jax.random.normal(jax.random.key(0), (64, *policy.mode(seen).shape)) * jnp.exp(policy.log_std)
        values = jax.vmap(lambda noise: critics.all(seen, policy.mode(seen) + noise))(noise)
        return jnp.mean(jnp.var(values, axis=0), axis=0)

    judge = play(fresh, 10_000)
    costs, changes, noise, price = [], {}, [], []
    for draw in range(draws):
        batch, larger = play(episodes, draw), play(MORE * episodes, 1_000 + draw)
        cost = mean_costs(batch, settings.discount)
        eps = lbpo.budget(settings.budget, limits, cost, settings.discount, task.horizon)
        costs.append(np.asarray(cost.undiscounted).tolist())
        critics = fitted(state, batch)
        noise.append(over_the_noise(critics, batch))
        price.append(np.asarray(jnp.where(eps > 0, lbpo.prices(settings, eps), jnp.inf)).tolist())
        free, spent = jnp.ones_like(eps), -jnp.ones_like(eps)  # with a spent budget the cost alone counts
        steps = {
            "reward alone": moved(critics, batch, free, 0.0),
            "LBPO's own": moved(critics, batch, eps, settings.beta),
            "cost alone": moved(critics, batch, spent, 0.0),
            "cost alone, critics of four times the episodes": moved(fitted(state, larger), batch, spent, 0.0),
        }
        for name, other in steps.items():
            changes.setdefault(name, []).append(np.asarray(worth(other, critics, judge)))
    names = ("return", *(f"cost/{name}" for name in task.constraints))
    variance = np.mean(noise, axis=0)
    return {
        "run": {"task": task.name, "iteration": found.iteration, "episodes an epoch": episodes},
        "draws": draws,
        "fresh_episodes": fresh,
        "cost_of_each_draw": costs,
        "price_of_each_draw": price,
        "cost_of_the_fresh": np.asarray(mean_costs(judge, 1.0).undiscounted).tolist(),
        "variance_over_the_noise": dict(zip(names, variance.tolist(), strict=True)),
        "changes": {name: _summary(np.array(values), names) for name, values in changes.items()},
    }


def _summary(values: np.ndarray, names: tuple[str, ...]) -> dict[str, Any]:
    """Means of ``[draws, episodes, signals]``; the error has a part of the episodes and one of the draws."""
    by_episode, by_draw = values.mean(axis=0), values.mean(axis=1)
    error = by_episode.var(axis=0, ddof=1) / len(by_episode)
    if len(by_draw) > 1:
        error += by_draw.var(axis=0, ddof=1) / len(by_draw)
    return {
        name: {
            "mean": float(values[..., i].mean()),
            "standard_error": float(np.sqrt(error[i])),
            "each_draw": by_draw[:, i].tolist(),
        }
        for i, name in enumerate(names)
    }


if __name__ == "__main__":
    main()
