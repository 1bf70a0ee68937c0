"""Planning without learning a policy: the cross-entropy method on a model of your own, and on a learned one.

A sledge on ice is to get from left to right; a disc of thin ice lies in between. It is planned for anew at
every step. First with the equations of the sledge, once without and once with a limit on how far it may be on
thin ice; then with an ensemble of networks that has seen 1,000 random steps of it.

    python examples/plan_with_your_own_model.py
"""

import jax
import jax.numpy as jnp

from surefoot.algorithms.planning.objective import ModelObjective, plan
from surefoot.networks.dynamics import Ensemble
from surefoot.networks.dynamics_fit import Experience, Fit, fit, init_optimiser
from surefoot.numerics.cem import Cem, Proposal, Scores, cem, middle, shifted

DT, HORIZON, STEPS = 0.25, 12, 45
START, GOAL = jnp.array([-2.0, 0.0, 0.0, 0.0]), jnp.array([2.0, 0.0])
CENTRE, RADIUS = jnp.array([0.0, 0.2]), 0.8
BOUNDS = -jnp.ones(2), jnp.ones(2)  # of the push in x and y
SEARCH = Cem(population=100, elites=10, iterations=4)


def step(state, action):
    """Position and velocity [..., 4] after a push [..., 2]."""
    velocity = state[..., 2:] + DT * action
    return jnp.concatenate([state[..., :2] + DT * velocity, velocity], axis=-1)


def reward(state, action, after):
    return -jnp.linalg.norm(after[..., :2] - GOAL, axis=-1)


def thin_ice(state, action, after):
    """How far inside the disc the sledge is; one cost, so the last axis has one entry."""
    return jnp.maximum(RADIUS - jnp.linalg.norm(after[..., :2] - CENTRE, axis=-1, keepdims=True), 0.0)


def with_equations(limits):
    """A planner that rolls candidates [n, HORIZON, 2] out by the equations above."""

    def planner(state, previous, key):
        def objective(actions, key):
            def onward(state, action):
                after = step(state, action)
                return after, (reward(state, action, after), thin_ice(state, action, after))

            states = jnp.broadcast_to(state, (len(actions), 4))
            _, (rewards, costs) = jax.lax.scan(onward, states, jnp.swapaxes(actions, 0, 1))
            return Scores(jnp.sum(rewards, axis=0), jnp.sum(costs, axis=0))

        return cem(objective, Proposal(shifted(previous), *BOUNDS), key, SEARCH, limits=limits)

    return planner


def with_networks(limits):
    """A planner on an ensemble that is fitted to 1,000 random steps."""
    keys = jax.random.split(jax.random.key(0), 5)
    states = jax.random.uniform(keys[0], (1_000, 4), minval=-2.5, maxval=2.5)
    actions = jax.random.uniform(keys[1], (1_000, 2), minval=-1.0, maxval=1.0)
    data, settings = Experience(states, actions, step(states, actions)), Fit(epochs=150)
    model = Ensemble.create(4, 2, key=keys[2], members=3, hidden=(32, 32), rewards=False)
    model, _, _ = fit(model, init_optimiser(model, settings), data, len(states), keys[3], settings)
    objective = ModelObjective(model, reward=reward, cost=thin_ice, discount=1.0, particles=1)

    def planner(state, previous, key):
        return plan(objective, state, previous, BOUNDS, key, SEARCH, limits=limits)

    return planner


def drive(planner):
    """Positions [STEPS, 2] of a whole episode, in one compiled call."""

    def one(carry, key):
        state, previous = carry
        found = planner(state, previous, key)
        after = step(state, found.action)
        return (after, found.actions), after[:2]

    start = START, middle(*BOUNDS, HORIZON)
    return jax.jit(lambda keys: jax.lax.scan(one, start, keys)[1])(jax.random.split(jax.random.key(1), STEPS))


def main():
    cases = {
        "equations, no limit": with_equations(None),
        "equations, no thin ice": with_equations((0.0,)),
        "networks, no thin ice": with_networks((0.0,)),
    }
    print(f"{'':26}steps on thin ice   distance at the end")
    for name, planner in cases.items():
        path = drive(planner)
        inside = int(jnp.sum(jnp.linalg.norm(path - CENTRE, axis=1) < RADIUS))
        print(f"{name:26}{inside:17d}{float(jnp.linalg.norm(path[-1] - GOAL)):22.2f}")


if __name__ == "__main__":
    main()
