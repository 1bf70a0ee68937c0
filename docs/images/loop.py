"""Draws docs/images/loop.svg: how planner, model, and actor with critics feed each other in LOOP.

python docs/images/loop.py
"""

from pathlib import Path

BOXES = {  # name: centre, first line, second line
    "env": (110, 60, "environment", ""),
    "data": (110, 200, "data set D", "all steps so far"),
    "planner": (400, 60, "planner", "CEM-AG, H actions ahead"),
    "model": (400, 200, "model", "ensemble of 5, every K steps"),
    "agent": (690, 200, "actor and critics", "TD3 or SAC, every step"),
}
WIDTH, HEIGHT = 190, 56


def box(x: float, y: float, title: str, below: str) -> str:
    """A rectangle with one or two lines in it."""
    rise = -5 if below else 5
    lines = [
        f'<rect x="{x - WIDTH / 2}" y="{y - HEIGHT / 2}" width="{WIDTH}" height="{HEIGHT}" rx="8"/>',
        f'<text x="{x}" y="{y + rise}" class="title">{title}</text>',
    ]
    return "\n".join([*lines, f'<text x="{x}" y="{y + 15}">{below}</text>'] if below else lines)


def arrow(points: str, text: str, x: float, y: float, anchor: str = "middle") -> str:
    """A line with a head, and what flows along it."""
    label = f'<text x="{x}" y="{y}" class="flow" style="text-anchor: {anchor}">{text}</text>'
    return f'<polyline points="{points}" class="line" marker-end="url(#head)"/>\n{label}'


ARROWS = [
    arrow("305,60 209,60", "first action", 257, 50),
    arrow("110,88 110,168", "(s, a, r, s')", 118, 132, "start"),
    arrow("205,200 301,200", "maximum likelihood", 253, 190),
    arrow("110,228 110,270 690,270 690,232", "batches: G gradient updates a step", 400, 262),
    arrow("400,172 400,92", "rollouts", 392, 136, "end"),
    arrow("660,172 660,45 499,45", "Q at the end of a plan", 570, 36),
    arrow("640,172 640,75 499,75", "the actor's sequences", 570, 92),
    arrow("15,60 4,60 4,14 400,14 400,28", "state", 200, 26),
]

picture = f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 290" role="img">
<title>LOOP: the planner acts; model and critics, which learn from what it did, judge its plans.</title>
<style>
rect {{ fill: #f4f6fa; stroke: #33507a; stroke-width: 1.5; }}
text {{ font: 12px sans-serif; fill: #333; text-anchor: middle; }}
.title {{ font-weight: bold; font-size: 14px; }}
.flow {{ fill: #33507a; font-size: 11px; }}
.line {{ fill: none; stroke: #33507a; stroke-width: 1.5; }}
</style>
<defs><marker id="head" viewBox="0 0 10 10" refX="6" refY="5" markerWidth="8" markerHeight="8" orient="auto">
<path d="M0,0 L10,5 L0,10 z" fill="#33507a"/></marker></defs>
<rect x="0" y="0" width="800" height="290" style="fill: #fff; stroke: none"/>
{chr(10).join(ARROWS)}
{chr(10).join(box(*place) for place in BOXES.values())}
</svg>
"""
Path(__file__).with_suffix(".svg").write_text(picture, encoding="utf-8")
