import re
from itertools import product

import pytest

from surefoot.experiments.results import Records
from surefoot.experiments.scopil import SETTINGS, cells
from surefoot.experiments.scopil_page import claims, write


def number(middle: float, half: float, n: int = 1000) -> dict:
    return {"estimate": float(middle), "lower": float(middle - half), "upper": float(middle + half), "n": n}


def share(middle: float, n: int = 1000) -> dict:
    return {
        "estimate": middle,
        "lower": max(0.0, middle - 0.01),
        "upper": min(1.0, middle + 0.01),
        "n": n,
    }


def metrics(method: str, constraints: tuple[str, ...], way_left: float | None) -> dict:
    """Numbers as we should like them: SCOPIL safe, SAC not, S-DGD-EiC worse from test starts."""
    found = {}
    for prefix in ("", "test_"):
        best = {"Expert": 5.0, "SCOPIL": 4.9}.get(method, 4.8)
        violating = {"Expert": 0.0, "SAC": 0.99, "SCOPIL": 0.02, "BC": 0.1, "ICRL": 0.3}.get(method, 0.05)
        if method == "S-DGD-EiC" and prefix:
            violating = 0.2
        found |= {
            f"{prefix}return": number(best, 0.02),
            f"{prefix}success": share(0.98),
            f"{prefix}violating_steps_per_episode": number(5 * violating, 0.02),
            f"{prefix}violating_episodes": share(violating),
        }
        for constraint in constraints:
            found[f"{prefix}violating_steps_per_episode/{constraint}"] = number(3 * violating, 0.01)
            found[f"{prefix}violating_episodes/{constraint}"] = share(violating)
        if way_left is not None:
            found[f"{prefix}violating_episodes"] = number(0, 0)
            found[f"{prefix}way_left"] = share(way_left)
    return found


@pytest.fixture
def records() -> list[dict]:
    made = []
    for cell in cells("laptop"):
        two = cell.group == "two-modes"
        made.append(
            {
                "method": cell.method,
                "environment": cell.environment,
                "setting": cell.setting,
                "steps": cell.steps,
                "seeds": list(cell.seeds),
                "metrics": metrics(cell.method, tuple(cell.world["constraints"]), 0.45 if two else None),
                "published": dict(cell.published),
                "command": "surefoot reproduce scopil --scale laptop",
                "versions": {"surefoot": "0.1.0"},
                "cell": cell.name,
                "group": cell.group,
                "algorithm": cell.algorithm,
                "options": dict(cell.options),
                "warnings": [],
            }
        )
    return made


def change(records, setting, method, **values):
    record = Records(records).get(setting, method)
    assert record is not None
    record["metrics"].update(values)


def found(records, claim, where):
    (one,) = [c for c in claims(records) if claim in c.claim and c.where == where]
    return one


def test_all_claims_are_met_by_numbers_that_meet_them(records):
    overlap = "the same share"  # that intervals touch proves nothing
    assert {str(c.verdict) for c in claims(records) if overlap not in c.claim} == {"met"}
    assert {str(c.verdict) for c in claims(records) if overlap in c.claim} == {
        "met (intervals leave it open)"
    }
    # Each claim on each setting and, where it is about starts, on both sets.
    assert len(claims(records)) == 6 * 4 * 2 + 2 + 2 * 4 + 2 * 2


def test_each_claim_can_fail(records):
    test = "zone, test starts"
    change(records, "zone", "SCOPIL", test_violating_steps_per_episode=number(1.5, 0.1))
    for claim in ("at most a tenth of SAC's violating steps", "fewer violating steps than BC"):
        assert str(found(records, claim, test).verdict) == "not met"
        assert str(found(records, claim, "zone, training starts").verdict) == "met"
    open_ = found(records, "fewer violating steps than ICRL", test).verdict
    assert str(open_) == "not met (intervals leave it open)"
    change(records, "zone", "SCOPIL", test_violating_episodes=share(0.3))
    assert str(found(records, "violating episodes (stricter", test).verdict) == "not met"
    assert str(found(records, "the same share", "zone").verdict) == "not met"
    change(records, "zone", "SCOPIL", test_success=share(0.5), **{"return": number(4.0, 0.1)})
    assert str(found(records, "success of at least 95 %", test).verdict) == "not met"
    train = "zone, training starts"
    assert str(found(records, "90 % of the expert's return", train).verdict) == "not met"
    assert str(found(records, "fewer violating steps than BC at no lower return", train).verdict) == "not met"


def test_the_worst_seed_is_named(records):
    record = Records(records).get("zone", "SCOPIL")
    record["per_seed"] = {"violating_steps_per_episode": [0.0, 0.25, 0.1], "test_success": [1.0, 0.9]}
    train = found(records, "a tenth of SAC's violating steps", "zone, training starts")
    assert train.ours.endswith("; worst seed 0.25")
    assert found(records, "95 %", "zone, test starts").ours.endswith("; worst seed 90.0 %")
    assert "worst" not in found(records, "95 %", "zone, training starts").ours


def test_a_better_ablation_is_reported_as_such(records):
    change(
        records, "speed", "S-DGD-EiC", test_violating_steps_per_episode=number(0, 0), test_success=share(0.99)
    )
    change(records, "speed", "SCOPIL", test_success=share(0.9))
    assert str(found(records, "S-DGD-EiC: worse", "speed").verdict) == "not met"


def test_two_modes_collapse_and_crossing(records):
    change(records, "two-modes", "SCOPIL", way_left=share(0.02), test_violating_episodes=share(0.02))
    assert str(found(records, "each way around", "two-modes, training starts").verdict) == "not met"
    assert str(found(records, "each way around", "two-modes, test starts").verdict) == "met"
    assert str(found(records, "never crossed", "two-modes, training starts").verdict) == "met"
    assert str(found(records, "never crossed", "two-modes, test starts").verdict) == "not met"


def test_nothing_is_claimed_where_sac_does_not_violate(records):
    change(records, "zone", "SAC", violating_steps_per_episode=number(0, 0))
    one = found(records, "a tenth of SAC's violating steps", "zone, training starts")
    assert str(one.verdict) == "not measured" and "no ratio" in one.ours


def test_each_constraint_counts(records):
    most = max(SETTINGS, key=len)
    change(records, most, "SCOPIL", **{"violating_steps_per_episode/tilt": number(2.9, 0.1)})
    assert str(found(records, "several kinds", f"{most}, training starts").verdict) == "not met"
    assert str(found(records, "several kinds", f"{most}, test starts").verdict) == "met"


def test_missing_cells_are_not_measured(records):
    rest = [record for record in records if record["method"] not in ("SAC", "Expert")]
    verdicts = {c.claim: c.verdict.holds for c in claims(rest)}
    assert verdicts["SCOPIL: at most a tenth of SAC's violating steps an episode"] is None
    assert verdicts["SCOPIL: success of at least 95 %"] is True


def test_page(records, tmp_path):
    records[0]["warnings"] = ["runaway lambda, seed 0: grows"]
    path = write(records, "laptop", tmp_path / "a")
    text = path.read_text()
    assert path == tmp_path / "a/scopil.md"
    for setting, method in product(SETTINGS, ("SAC", "SCOPIL", "S-DGD-EiC", "Expert")):
        section = text.partition(f"### {setting}\n")[2].partition("\n#")[0]
        assert f"| {method} |" in section
    assert "| SCOPIL: success of at least 95 % | 8 of 8 |" in text
    assert "runaway lambda" in text
    assert "99.0 % [98.0, 100.0]" in text  # SAC's violating episodes
    assert "1,000 (5 seeds)" in text
    images = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert images == ["scopil/tradeoff.svg", "scopil/constraints.svg", "scopil/sensitivity.svg"]
    for image in images:
        assert (tmp_path / "a" / image).read_text().startswith("<?xml")
    # No table has a row of another width than its head.
    for block in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.strip().splitlines()}) == 1
    # It is a function of the numbers.
    write(records, "laptop", tmp_path / "b")
    files = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*")]
    assert len(files) == 1 + len(images)
    assert all((tmp_path / "a" / one).read_bytes() == (tmp_path / "b" / one).read_bytes() for one in files)


def test_page_of_half_an_experiment(records, tmp_path):
    part = [record for record in records if record["cell"] in ("zone/SCOPIL", "zone/SAC")]
    text = write(part, "laptop", tmp_path).read_text()
    assert "Cells that have not been run" in text and "`two-modes/BC`" in text
    assert "## Sensitivity" not in text
