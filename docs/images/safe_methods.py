"""Draws docs/images/safe_methods.png: return and unsafe epochs of the safe methods on the noisy walk.

python docs/images/safe_methods.py [RUNS]

All methods start from the same policy, the walk back a = -clip(p), brought into a network by regression. The
runs are kept in the folder RUNS (runs/safe_methods), and made only where they are missing; the numbers are
in docs/images/safe_methods.json.
"""

import json
import sys
from pathlib import Path

from matplotlib.figure import Figure

import surefoot as sf
from surefoot.envs.noisy_walk import WalkBack
from surefoot.evaluation.statistics import Estimate
from surefoot.reports.plots import look
from surefoot.reports.rewards import write
from surefoot.training.run import versions

RUNS = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/safe_methods")
EPOCHS, BATCH, SEEDS, EPISODES = 60, 1_000, range(5), 500
LIMIT = 2.0
EPOCH = {"batch_steps": BATCH, "hidden": (16, 16)}
CRITICS = {**EPOCH, "critic_hidden": (32, 32), "exploration": 0.05}
NOISE = {**CRITICS, "critic_action": "noise"}
PPO = {"batch_steps": BATCH, "minibatch": 250, "hidden": (32, 32), "initial_std": 0.25, "trace": 0.97}
METHODS = {
    "LBPO": sf.Lbpo(**CRITICS),
    "LBPO, critics of the noise": sf.Lbpo(**NOISE),
    "BACKTRACK": sf.Backtrack(**CRITICS),
    "SDDPG": sf.Sddpg(**CRITICS),
    "CPO": sf.Cpo(**EPOCH, value_hidden=(32, 32), initial_std=0.25),  # half widths of 0.2: as much as 0.05
    "PPO-Lagrangian": sf.PpoLagrangian(**PPO),
    "PPO-Lagrangian, PID": sf.PpoLagrangian(**PPO, multiplier_update="pid", pid_gains=(1.0, 0.1, 0.1)),
    "PPO": sf.Ppo(**PPO),
}


def trained(name: str, learner: object, world: object, **given: object) -> sf.Run:
    """The run of that name, made if it is not there."""
    folder = RUNS / name.lower().replace(", ", "-").replace(" ", "-")
    if (folder / "config.json").exists():
        return sf.resume(folder)
    return sf.fit(learner, world, run=folder, log_every=BATCH, progress=False, **given)


def estimate(run: sf.Run, name: str) -> dict[str, dict]:
    """The numbers of one method."""
    found = sf.evaluate(run, episodes=EPISODES, cost_limits=(LIMIT,))
    keys = (
        "expected_cost/distance",
        "greedy_expected_cost/distance",
        "cvar/distance",
        "training_unsafe_epochs",
    )
    keys += ("training_excess/distance",)
    statement = found.evidence[0].sentence
    print(f"{name}: {statement} Unsafe epochs: {found.metrics['training_unsafe_epochs']}", flush=True)
    return {key: found.metrics[key].as_dict() for key in keys} | {"statement": statement}


world = sf.make("NoisyWalk-v0", envs=100)
numbers = Path(__file__).with_suffix(".json")
shown = sf.worlds.demonstrate(world, WalkBack(), episodes=300, keep_all=True)
# Its one epoch only brings the controller into a network.
start, of_noise = (
    trained(
        name,
        sf.SafeStart(**form, target_cost=LIMIT, calm_epochs=1),
        world,
        steps=BATCH,
        demonstrations=shown,
    )
    for name, form in (("start", CRITICS), ("start of the noise", NOISE))
)
about = {"command": "python docs/images/safe_methods.py", "versions": versions()}
results = {"walk back (the start)": estimate(start, "start")}
for name, learner in METHODS.items():
    begin = of_noise if getattr(learner, "critic_action", "raw") == "noise" else start
    run = trained(name, learner, world, steps=EPOCHS * BATCH, seeds=SEEDS, start=begin.path)
    results[name] = estimate(run, name)
    numbers.write_text(json.dumps({"about": about, **results}, indent=1) + "\n")

figure = Figure(figsize=(6.2, 3.6), layout="constrained")
axes = figure.subplots()
for index, (name, found) in enumerate(results.items()):
    x, y = (Estimate.from_dict(found[key]) for key in ("training_unsafe_epochs", "expected_cost/distance"))
    style = look(index - 1)
    marker, colour = (style.marker, style.colour) if index else ("*", "black")  # the start is no method
    axes.plot(100 * x.estimate, y.estimate, marker, color=colour, markersize=9, label=name)
axes.axhline(LIMIT, color="#D1201F", linewidth=1.2, dashes=(2, 1.5))
axes.set(
    xlabel="unsafe epochs while training (percent)", ylabel="return = cost of the last policy", xlim=(-4, 104)
)
axes.grid(alpha=0.3)
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9)
write(figure, Path(__file__).with_suffix(".png"))
