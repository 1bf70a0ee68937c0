"""Draws docs/images/safety_ppo.svg: PPO on SafetyPointGoal1-v0, beside published returns and costs.

python docs/images/safety_ppo.py

results/safety-ppo/point_goal1.csv holds the means over the 30 episodes of each iteration, taken from the
metrics.csv of the run whose command is in docs/safety_tasks.md.
"""

import csv
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

matplotlib.rcParams["svg.hashsalt"] = "surefoot"
HERE = Path(__file__).resolve()
with (HERE.parents[2] / "results" / "safety-ppo" / "point_goal1.csv").open() as file:
    rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]

figure = Figure(figsize=(8, 3), layout="constrained")
axes = figure.subplots(1, 2)
millions = [row["steps"] / 1e6 for row in rows]
for ax, name, marks in (
    (
        axes[0],
        "return",
        {"thesis, PPO: 22.99": (22.99, "tab:red"), "OmniSafe, PPO: 25.44": (25.44, "tab:green")},
    ),
    (axes[1], "cost", {"OmniSafe, PPO: 55.72": (55.72, "tab:green")}),
):
    ax.plot(millions, [row[name] for row in rows], linewidth=0.9, color="tab:blue")
    for title, (value, colour) in marks.items():
        ax.axhline(value, color=colour, linestyle="--", linewidth=1, label=title)
    ax.set(xlabel="million steps", ylabel=f"{name} of an episode", ylim=(min(0, ax.get_ylim()[0]), None))
    ax.legend(loc="lower right", frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
figure.savefig(HERE.with_suffix(".svg"), metadata={"Date": None})
