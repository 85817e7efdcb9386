import io
from typing import Any

import pytest
from rich.console import Console

from experiments.terminal import print_evaluation, print_verdict


def results(srm: bool = True) -> dict[str, Any]:
    """Results of two treatments: a winner whose title looks like markup, and one without an estimate."""
    empty = dict.fromkeys(("effect", "ci", "lift", "lift_ci", "p_value", "p_adjusted", "variance_reduction", "truth"))
    common = {"metric": "gmv", "control": "base", "control_value": 16.4}
    return {
        "name": "a run",
        "currency": "USD",
        "horizon": {"experiment_start": "2015-10-19", "experiment_end": "2015-11-16"},
        "world": {"kind": "generated", "users": 50000, "items": 20000},
        "analysis": {"control": "base", "primary": "gmv", "metrics": ["gmv"], "alpha": 0.05},
        "metrics": {"gmv": {"title": "[red]Gross value[/red]", "unit": "currency a user", "higher_is_better": True}},
        "arms": {
            "base": {"policy": "popularity", "params": {}, "users": 24000},
            "new": {"policy": "contextual", "params": {"weight": 0.3}, "users": 24100},
            "odd": {"policy": "uniform", "params": {}, "users": 23900},
        },
        "srm": {"p_value": 0.4 if srm else 1e-9, "ok": srm},
        "comparisons": [
            {
                **common,
                "treatment": "new",
                "users": {"base": 24000, "new": 24100},
                "treatment_value": 17.07,
                "effect": 0.67,
                "ci": [0.36, 0.98],
                "lift": 0.041,
                "lift_ci": [0.022, 0.06],
                "p_value": 0.0001,
                "p_adjusted": 0.0002,
                "method": "Welch t",
                "variance_reduction": None,
                "truth": {"effect": 0.6, "lift": 0.037, "covered": True},
            },
            {
                **common,
                **empty,
                "treatment": "odd",
                "users": {"base": 24000, "odd": 0},
                "treatment_value": None,
                "method": "not tested: no users",
            },
        ],
    }


EVALUATION = {
    "name": "open loop",
    "requests": 900,
    "users": 300,
    "metrics": {
        "hit_rate@30": {"group": "accuracy", "unit": "", "better": "higher", "definition": "hits among 30"},
    },
    "strata": {},
    "control": "popularity",
    "alpha": 0.05,
    "family": {"correction": "holm", "comparisons": 2, "replicates": 1000, "smallest_p_adjusted": 4 / 1001},
    "held_out": 1200,
    "policies": {
        "popularity": {"hit_rate@30": {"value": 0.2, "ci": [0.18, 0.22], "visits": 900}},
        "[bold]uniform": {"hit_rate@30": {"value": 0.1, "ci": [0.08, 0.12], "visits": 900}},
    },
    "comparisons": [
        {
            "metric": "hit_rate@30",
            "a": "popularity",
            "b": "[bold]uniform",
            "effect": -0.1,
            "ci": [-0.2, -0.01],
            "p_value": 0.01,
            "p_adjusted": 0.02,
            "visits": 900,
        }
    ],
}


def shown(width: int, value: dict[str, Any], encoding: str = "utf-8") -> str:
    """What a terminal of this width without colour shows."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    console = Console(width=width, file=file, no_color=True, legacy_windows=False)
    (print_evaluation if "policies" in value else print_verdict)(console, value)
    file.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("width", [80, 120])
def test_the_verdict_fits_the_terminal(width: int) -> None:
    """No line is longer than the terminal, and table and words say what was found."""
    text = shown(width, results())
    assert max(map(len, text.splitlines())) <= width
    for part in (
        "contextual (weight 0.3)",
        "24,100 users",
        "19 Oct 2015 to 15 Nov 2015",
        "[+2.20% to +6.00%]",
        "+3.70% ✓",
        "<0.001",
        "better",
        "new beats base on [red]Gross value[/red]",
    ):
        assert part in text
    assert "not tested" in text


def test_the_decision_comes_with_its_reason() -> None:
    """What to do about each treatment is said after its verdict; results without a decision say nothing."""
    decided = results() | {"decisions": [{"treatment": "new", "decision": "ship", "reason": "It won [bold]."}]}
    assert "Decision: ship. It won [bold]." in shown(120, decided)
    assert "Decision" not in shown(120, results())


def test_claims_beside_the_means_are_told() -> None:
    """Parts whose effects differ, who left, and effects that grow or fade are said in the report's own words."""
    claims = {
        "trends": [
            {"metric": "gmv", "treatment": "new", "slope": 0.01, "ci": [0.005, 0.015], "p_adjusted": 0.001},
        ],
        "segments": [
            {"dimension": "rain", "level": level, "treatment": "new", "metric": "ctr", "lift": lift}
            for level, lift in (("rain", 0.3), ("no rain", 0.02))
        ],
        "interactions": [{"dimension": "rain", "treatment": "new", "metric": "ctr", "p_adjusted": 0.002}],
        "retention": {
            "churn_days": 7,
            "curves": [{"arm": arm, "gone": 3, "users": 50, "points": [{"day": 7}]} for arm in ("base", "new")],
            "tests": [{"treatment": "new", "chi_square": 1.5, "p_value": 0.22}],
        },
    }
    text = " ".join(shown(300, results() | claims).split())
    for words in (
        "[red]Gross value[/red] (new): the difference changes by +0.0100",
        "Rain: the effect of new differs (+30.0% for rain and +2.00% for no rain; adjusted p = 0.002).",
        "Gone for 7 days or more: base 3 of 50 and new 3 of 50.",
        "log-rank chi-square 1.500, p = 0.220, not corrected.",
    ):
        assert words in text
    assert "log-rank" not in shown(300, results())


def test_a_table_has_units_and_no_world() -> None:
    """What was analysed is called what it is, with dates where there are any."""
    world = {"kind": "table", "users": 4000, "items": None}
    dated = results() | {"world": world}
    assert "19 Oct 2015 to 15 Nov 2015, 4,000 units of a table" in shown(120, dated)
    undated = dated | {"horizon": {"experiment_start": None, "experiment_end": None}}
    assert "\n4,000 units of a table" in shown(120, undated)


def test_a_handful_of_units_is_warned_of() -> None:
    """Few units are told before the table, and enough of them are not."""
    few = results()
    few["comparisons"][0]["users"] = {"base": 11, "new": 40}
    assert "Few users: 11 in base." in shown(80, few).partition("new against base")[0]
    assert "Few" not in shown(80, results())


def test_broken_assignment_is_told() -> None:
    """With a sample ratio mismatch the terminal says not to trust the numbers, and calls nothing better."""
    text = " ".join(shown(120, results(srm=False)).split())
    assert "do not trust the effects" in text
    assert "Do not trust new against base" in text
    assert "void" in text
    assert " better " not in text


def test_plain_terminals_get_plain_letters() -> None:
    """A terminal that knows only ASCII is not sent anything else."""
    assert shown(80, results(), "ascii").isascii()
    assert "-0.2000 to -0.0100" in shown(80, EVALUATION, "ascii")


@pytest.mark.parametrize("width", [80, 120])
def test_an_evaluation_is_shown(width: int) -> None:
    """The control has its value and interval, and every other policy its value and that of its difference."""
    text = shown(width, EVALUATION)
    assert max(map(len, text.splitlines())) <= width
    for part in ("0.2000", "0.1800 to 0.2200", "[bold]uniform", "0.1000", "−0.2000 to −0.0100", "vs popularity"):
        assert part in text
    assert "900 visits of 300 users, drawn from 1,200 held out" in text


def test_what_is_marked_holds_after_correction() -> None:
    """A difference has its mark by the adjusted p-value alone, and the family that it is corrected in is named."""
    (row,) = EVALUATION["comparisons"]
    unsure = EVALUATION | {"comparisons": [row | {"p_adjusted": 0.06}]}
    assert "* 0.1000" in shown(80, EVALUATION)
    assert "* 0.1000" not in shown(80, unsure)
    assert "0.1000" in shown(80, unsure)
    for text in (shown(200, EVALUATION), shown(200, unsure)):
        assert "corrected (holm) as one of 2 comparisons:" in " ".join(text.split())


@pytest.mark.parametrize("width", [60, 80, 120])
def test_many_policies_and_metrics_stay_readable(width: int) -> None:
    """Ten policies and a dozen metrics become small tables of whole columns that fit the terminal."""
    policies = [f"policy_number_{number}" for number in range(10)]
    metrics = [f"metric_{number}" for number in range(12)]
    entry = {"value": 0.25, "ci": [0.2, 0.3], "visits": 900}
    many = EVALUATION | {
        "control": policies[0],
        "policies": {policy: dict.fromkeys(metrics, entry) for policy in policies},
        "metrics": {
            metric: {"group": ("accuracy", "cost")[number % 2], "unit": "", "better": "", "definition": ""}
            for number, metric in enumerate(metrics)
        },
        "comparisons": [],
    }
    text = shown(width, many)
    assert max(map(len, text.splitlines())) <= width
    assert text.count("0.2000 to 0.3000") == len(policies) * len(metrics)
    for metric in metrics:
        assert text.split().count(metric) == 1
    for policy in policies:
        assert text.split().count(policy) >= 2 * 6 // ((width - 18) // 19)
