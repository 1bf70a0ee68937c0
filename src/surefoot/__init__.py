"""Safe reinforcement and imitation learning in JAX.

    import surefoot as sf

    world = sf.make("MarbleMaze-v0", constraints=("zone", "speed"))
    demos = sf.demonstrations.load("marble-maze/zone+speed")
    run = sf.fit(sf.Scopil(), world, demonstrations=demos, steps=200_000, seeds=range(5))
    print(sf.evaluate(run, episodes=200).violation_rate)

The public names are listed below and loaded when first used, so that ``import surefoot`` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from surefoot import _gymnasium

if TYPE_CHECKING:
    from surefoot import envs, worlds
    from surefoot.algorithms.imitation.airl import Airl
    from surefoot.algorithms.imitation.bc import Bc
    from surefoot.algorithms.imitation.firl import Firl
    from surefoot.algorithms.imitation.fmax import Fmax
    from surefoot.algorithms.imitation.gail import Gail
    from surefoot.algorithms.imitation.icrl import Icrl
    from surefoot.algorithms.imitation.maxent_irl import MaxEntIrl
    from surefoot.algorithms.imitation.scopil import Scopil
    from surefoot.algorithms.imitation.smm import Smm
    from surefoot.algorithms.planning.loop import Loop
    from surefoot.algorithms.planning.mbpo import Mbpo
    from surefoot.algorithms.rl.discrete_sac import DiscreteSac
    from surefoot.algorithms.rl.ppo import Ppo
    from surefoot.algorithms.rl.sac import Sac
    from surefoot.algorithms.rl.td3 import Td3
    from surefoot.algorithms.safe.backtrack import Backtrack
    from surefoot.algorithms.safe.cpo import Cpo
    from surefoot.algorithms.safe.lbpo import Lbpo
    from surefoot.algorithms.safe.ppo_lagrangian import PpoLagrangian
    from surefoot.algorithms.safe.safe_start import SafeStart
    from surefoot.algorithms.safe.sddpg import Sddpg
    from surefoot.data import demonstrations
    from surefoot.envs.marble_maze import MarbleMaze
    from surefoot.errors import SurefootError
    from surefoot.evaluation.evaluate import evaluate
    from surefoot.task import Task
    from surefoot.training.fit import fit, resume
    from surefoot.training.policy_io import load_policy
    from surefoot.training.reward_io import load_reward
    from surefoot.training.run import Run
    from surefoot.worlds import make
    from surefoot.worlds.gym_world import GymWorld
    from surefoot.worlds.jax_world import JaxWorld
    from surefoot.worlds.relabel import relabel
    from surefoot.worlds.reward_wrapper import RelabelReward

__version__ = "0.1.0"

__all__ = [
    "Airl",
    "Backtrack",
    "Bc",
    "Cpo",
    "DiscreteSac",
    "Firl",
    "Fmax",
    "Gail",
    "GymWorld",
    "Icrl",
    "JaxWorld",
    "Lbpo",
    "Loop",
    "MarbleMaze",
    "MaxEntIrl",
    "Mbpo",
    "Ppo",
    "PpoLagrangian",
    "RelabelReward",
    "Run",
    "Sac",
    "SafeStart",
    "Scopil",
    "Sddpg",
    "Smm",
    "SurefootError",
    "Task",
    "Td3",
    "__version__",
    "demonstrations",
    "envs",
    "evaluate",
    "fit",
    "load_policy",
    "load_reward",
    "make",
    "relabel",
    "resume",
    "worlds",
]

_WHERE = {
    "Airl": "algorithms.imitation.airl:Airl",
    "Backtrack": "algorithms.safe.backtrack:Backtrack",
    "Bc": "algorithms.imitation.bc:Bc",
    "Cpo": "algorithms.safe.cpo:Cpo",
    "DiscreteSac": "algorithms.rl.discrete_sac:DiscreteSac",
    "Firl": "algorithms.imitation.firl:Firl",
    "Fmax": "algorithms.imitation.fmax:Fmax",
    "Gail": "algorithms.imitation.gail:Gail",
    "GymWorld": "worlds.gym_world:GymWorld",
    "Icrl": "algorithms.imitation.icrl:Icrl",
    "JaxWorld": "worlds.jax_world:JaxWorld",
    "Lbpo": "algorithms.safe.lbpo:Lbpo",
    "Loop": "algorithms.planning.loop:Loop",
    "MarbleMaze": "envs.marble_maze:MarbleMaze",
    "MaxEntIrl": "algorithms.imitation.maxent_irl:MaxEntIrl",
    "Mbpo": "algorithms.planning.mbpo:Mbpo",
    "Ppo": "algorithms.rl.ppo:Ppo",
    "PpoLagrangian": "algorithms.safe.ppo_lagrangian:PpoLagrangian",
    "RelabelReward": "worlds.reward_wrapper:RelabelReward",
    "Run": "training.run:Run",
    "Sac": "algorithms.rl.sac:Sac",
    "SafeStart": "algorithms.safe.safe_start:SafeStart",
    "Scopil": "algorithms.imitation.scopil:Scopil",
    "Sddpg": "algorithms.safe.sddpg:Sddpg",
    "Smm": "algorithms.imitation.smm:Smm",
    "SurefootError": "errors:SurefootError",
    "Task": "task:Task",
    "Td3": "algorithms.rl.td3:Td3",
    "demonstrations": "data.demonstrations:",
    "envs": "envs:",
    "evaluate": "evaluation.evaluate:evaluate",
    "fit": "training.fit:fit",
    "load_policy": "training.policy_io:load_policy",
    "load_reward": "training.reward_io:load_reward",
    "make": "worlds:make",
    "relabel": "worlds.relabel:relabel",
    "resume": "training.fit:resume",
    "worlds": "worlds:",
}
"""Public name -> module and attribute inside this package; no attribute stands for the module itself."""

_gymnasium.register_when_imported()


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'surefoot' has no attribute '{name}'")
    module_name, _, attribute = _WHERE[name].partition(":")
    module = import_module(f"surefoot.{module_name}")
    value = getattr(module, attribute) if attribute else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
