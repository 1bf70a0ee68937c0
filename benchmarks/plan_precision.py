"""What LOOP's plans lose when the model multiplies in bfloat16 (`--plan-precision bfloat16`).

Takes a run of LOOP, plays on with its planner, and plans anew in each state that it meets: twice in float32,
with two keys, and once in bfloat16 with the first of them. All three plans are then judged in float32 by the
same noise. What another precision changes is to be read beside what another key changes.

This says what the plans are worth, not how long they take: a CPU multiplies in float32 either way. It would
also leave out the rounding to bfloat16 unless told not to, as here.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from common import cores, finish, machine, parser, pin, spread

PARTICLES = 100
"""A member, of the judge."""


def main() -> None:
    options = parser(__doc__)
    options.add_argument("run", type=Path, help="folder of a run of LOOP")
    options.add_argument("--states", type=int, default=100, help="in how many states to plan")
    options.add_argument("--core", type=int, default=cores()[0], help="on which everything runs")
    given = options.parse_args()
    about = machine()
    pin([given.core])
    os.environ["XLA_FLAGS"] = "--xla_allow_excess_precision=false"
    finish({"benchmark": "plan_precision", "machine": about, **measured(given.run, given.states)}, given.out)


def measured(run: Path, states: int) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    from surefoot.training.fit import restore
    from surefoot.worlds.world import Steps

    found = restore(run)
    state = found.state[0] if isinstance(found.state, list) else found.state
    planner = found.learner.planner(state)
    exact = replace(planner.objective, precision="float32")
    judge = replace(exact, particles=PARTICLES, simulated=0).ready()

    @jax.jit
    def compare(observation: Any, previous: Any, key: Any) -> tuple[Any, Any]:
        key_one, key_other, key_judge = jax.random.split(key, 3)

        def search(precision: str, key: Any) -> Any:
            objective = replace(exact, precision=precision, simulated=0)
            return planner._search(objective, previous, observation, key, planner.sequences)

        plans = search("float32", key_one), search("float32", key_other), search("bfloat16", key_one)
        worth = jnp.stack([judge(observation, p.actions[None], key_judge).returns[0] for p in plans])
        return worth, jnp.stack([p.action for p in plans])

    _, batch = found.world.collect(planner, Steps(states), jax.random.key(0))
    worths, actions = [], []
    memory = planner.memory()
    for i in range(states):
        worth, action = compare(batch.observation[i, 0], memory, jax.random.key(i))
        worths.append(worth)
        actions.append(action)
    worth, action = np.asarray(worths), np.asarray(actions)

    def beside_the_first(which: int) -> dict[str, Any]:
        gain = worth[:, which] - worth[:, 0]
        return {
            "gain": {"mean": float(gain.mean()), "standard_error": float(gain.std() / np.sqrt(states))},
            "distance": spread(np.linalg.norm(action[:, which] - action[:, 0], axis=-1).tolist()),
        }

    return {
        "run": {"task": found.world.task.name, "steps": int(state.steps)},
        "states": states,
        "return": spread(worth[:, 0].tolist()),
        "another key": beside_the_first(1),
        "bfloat16": beside_the_first(2),
    }


if __name__ == "__main__":
    main()
