"""What CPO's linear model promises of one step, and what the step brings: cost of an episode, by first order.

Takes the policy and the values of a run and makes the step of its next epoch, line search included, from
episodes of this policy: as many as an epoch has, and four times as many, with several dampings of the Fisher
matrix. Each step is judged twice by

    change of J_C = T E[ A_C(s, a) grad log pi(a | s) ] . (theta' - theta)

over the episodes that it was made from, which is CPO's own promise, and over fresh ones.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from common import finish, machine, one_thread, parser

MORE = 4
"""Times the episodes of an epoch."""
DAMPINGS = (0.1, 1.0, 10.0)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("run", type=Path, help="folder of a run of CPO with one seed")
    options.add_argument("--draws", type=int, default=4, help="batches of episodes that steps are made from")
    options.add_argument("--fresh", type=int, default=240, help="episodes that judge")
    given = options.parse_args()
    one_thread()
    about = machine()
    found = measured(given.run, given.draws, given.fresh)
    finish({"benchmark": "cpo_step", "machine": about, **found}, given.out)


def measured(run: Path, draws: int, fresh: int) -> dict[str, Any]:
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    from jax.flatten_util import ravel_pytree

    from surefoot.algorithms.safe import cpo
    from surefoot.algorithms.safe.episodes import collect, limits_of, mean_costs, weights
    from surefoot.data.trajectories import flat
    from surefoot.training.fit import restore

    found = restore(run)
    settings, world, state = found.learner, found.world, found.state[0]
    task, policy = world.task, state.policy
    episodes = settings.batch_steps // task.horizon
    limits = jnp.array(limits_of("CPO", task, settings.cost_limits))
    theta, rebuild = ravel_pytree(policy)

    def play(count: int, key: int) -> Any:
        return collect(policy, world, count, jax.random.key(key))[1]

    def samples(batch: Any) -> tuple[Any, ...]:
        weight = weights(batch).reshape(-1)
        gain, charge = cpo.advantages(settings, state.values, batch, weight)
        return flat(batch.observation), flat(batch.action), weight, gain, charge

    @eqx.filter_jit
    def moved(batch: Any, damping: float) -> tuple[Any, Any]:
        costs = mean_costs(batch, settings.cost_discount)
        excess = (costs.undiscounted - limits) / costs.length
        changed = replace(settings, damping=damping)
        observation, action, weight, gain, charge = samples(batch)
        other, report = cpo.improve(changed, policy, observation, action, weight, gain, charge, excess)
        return ravel_pytree(other)[0] - theta, report

    @eqx.filter_jit
    def change(step: Any, batch: Any) -> Any:
        """``[constraints]``, of the cost of an episode."""
        observation, action, weight, _, charge = samples(batch)

        def log_prob(theta: Any) -> Any:
            return rebuild(theta).log_prob(observation, action)

        _, rise = jax.jvp(log_prob, (theta,), (step,))
        return mean_costs(batch, 1.0).length * ((weight * rise) @ charge)

    judge = play(fresh, 10_000)
    rows: dict[tuple[int, float], list[dict[str, Any]]] = {}
    for draw in range(draws):
        for count in (episodes, MORE * episodes):
            batch = play(count, 1_000 * (count > episodes) + draw)
            for damping in DAMPINGS:
                step, report = moved(batch, damping)
                rows.setdefault((count, damping), []).append(
                    {
                        "promised": np.asarray(change(step, batch)).tolist(),
                        "fresh": np.asarray(change(step, judge)).tolist(),
                        "case": float(report["case"]),
                        "step_fraction": float(report["step_fraction"]),
                    }
                )
    return {
        "run": {"task": task.name, "iteration": found.iteration, "episodes an epoch": episodes},
        "draws": draws,
        "fresh_episodes": fresh,
        "constraints": list(task.constraints),
        "cost_of_the_fresh": np.asarray(mean_costs(judge, 1.0).undiscounted).tolist(),
        "steps": [
            {
                "episodes": count,
                "damping": damping,
                **{name: _mean([row[name] for row in each]) for name in ("promised", "fresh")},
                "each_draw": each,
            }
            for (count, damping), each in rows.items()
        ],
    }


def _mean(values: list[list[float]]) -> dict[str, list[float]]:
    """Over draws, with its standard error, for each constraint."""
    each = np.array(values)
    error = each.std(axis=0, ddof=1) / np.sqrt(len(each)) if len(each) > 1 else np.full(each.shape[1], np.nan)
    return {"mean": each.mean(axis=0).tolist(), "standard_error": error.tolist()}


if __name__ == "__main__":
    main()
