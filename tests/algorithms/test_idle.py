"""Settings that change nothing because of others: the table says so, and trainings agree to the bit."""

import dataclasses

import equinox as eqx
import pytest

from probe.training import train
from probe.worlds import Delayed
from surefoot.algorithms import ALGORITHMS, algorithm
from surefoot.algorithms.idle import RULES, idle_settings
from surefoot.algorithms.imitation.firl import Firl
from surefoot.algorithms.imitation.fmax import Fmax
from surefoot.algorithms.rl.sac import Sac
from surefoot.algorithms.safe.lbpo import Lbpo
from surefoot.algorithms.safe.ppo_lagrangian import PpoLagrangian

LBPO = Lbpo(batch_steps=64, hidden=(4,), critic_hidden=(4,), critic_steps=10, cost_limits=(1.0,))
PPO_LAGRANGIAN = PpoLagrangian(batch_steps=64, minibatch=32, passes=1, hidden=(4,), cost_limits=(0.1,))
SAC = Sac(hidden=(4,), batch_size=8, warm_up=0, steps_per_iteration=8, replay_capacity=64)
CASES = [
    (LBPO, {"trace": 0.0}, {"targets": "td-lambda"}),
    (PPO_LAGRANGIAN, {"pid_gains": (1.0, 1.0, 1.0)}, {"multiplier_update": "pid"}),
    (SAC, {"target_entropy": 3.0}, {"automatic_alpha": True}),
]


@pytest.mark.parametrize(("learner", "changed", "switch"), CASES)
def test_what_is_called_idle_changes_nothing_and_counts_where_the_sentence_says(learner, changed, switch):
    (name,) = changed
    idle, counting = (dataclasses.replace(learner, **more) for more in (changed, changed | switch))
    assert list(idle_settings(idle)) == [name] and next(iter(switch)) in idle_settings(idle)[name]
    assert not idle_settings(counting) and not idle_settings(learner)

    def after(settings):
        state, _ = train(settings, Delayed(cost=True, continuous=True), 2)
        return eqx.filter(state, eqx.is_inexact_array)

    assert eqx.tree_equal(after(learner), after(idle))
    assert not eqx.tree_equal(after(dataclasses.replace(learner, **switch)), after(counting))


def test_a_penalty_counts_with_each_divergence_of_f_max_and_with_one_of_f_irl():
    assert not idle_settings(Fmax(divergence="rkl", penalty=4.0))
    assert list(idle_settings(Firl(divergence="rkl", penalty=4.0))) == ["penalty"]
    assert not idle_settings(Firl(divergence="ipm", penalty=4.0))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_defaults_are_never_idle(name):
    assert not idle_settings(algorithm(name)())


def test_every_rule_is_about_settings_that_some_learner_has():
    known = [{field.name for field in dataclasses.fields(algorithm(name))} for name in ALGORITHMS]
    for rule in RULES:
        for setting in rule.settings:
            assert any({setting, rule.switch} <= names for names in known), (setting, rule.switch)
