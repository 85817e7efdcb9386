"""Results as small as they can be, for the tests of what is shown; and what a page carries."""

import copy
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytest
from plotly.offline import get_plotlyjs

from experiments.comparison import Run, compare_runs
from experiments.report import render_report

EVIL = "<img src=x onerror=alert(1)>"
METRICS = {
    "gmv": ("Gross merchandise value", "currency a user"),
    "ctr": ("Click-through rate", "share"),
    "ner": ("Novelty exposure rate", "share"),
}
MANIFEST: dict[str, Any] = {
    "schema": 1,
    "created": "2026-01-05T10:00:00+00:00",
    "code_version": "0.1.0",
    "config_hash": "abc",
    "python": "3.11",
    "packages": {"numpy": "2.4"},
    "machine": {"cpus": 2, "platform": "Linux"},
    "seeds": {"world": 7},
    "timings": {"experiment": 1.25},
    "data": {"rows": 541909, "refused": {"no_user": 135080}},
}
EVALUATION: dict[str, Any] = {
    "schema": 3,
    "name": "open loop",
    "seed": 7,
    "metrics": {
        "hit_rate@30": {"group": "accuracy", "unit": "", "better": "higher", "definition": "hits among 30"},
    },
    "strata": {},
    "control": "popularity",
    "alpha": 0.05,
    "family": {"correction": "holm", "comparisons": 1, "replicates": 1000, "smallest_p_adjusted": 2 / 1001},
    "held_out": 1200,
    "policies": {
        "popularity": {"hit_rate@30": {"value": 0.2, "ci": [0.18, 0.22], "visits": 900}},
        EVIL: {"hit_rate@30": {"value": None, "ci": None, "visits": 900}},
    },
    "comparisons": [
        {
            "metric": "hit_rate@30",
            "a": "popularity",
            "b": EVIL,
            "effect": 0.01,
            "ci": [-0.01, 0.03],
            "p_value": 0.4,
            "p_adjusted": 0.4,
            "visits": 900,
        }
    ],
    "requests": 900,
    "users": 300,
}


def compared(metric: str, treatment: str, lift: float, p: float, truth: float | None) -> dict[str, Any]:
    """A comparison whose interval reaches two percentage points to both sides of the lift."""
    return {
        "metric": metric,
        "control": "base",
        "treatment": treatment,
        "control_value": 0.5,
        "treatment_value": 0.5 * (1 + lift),
        "effect": 0.5 * lift,
        "ci": [0.5 * (lift - 0.02), 0.5 * (lift + 0.02)],
        "lift": lift,
        "lift_ci": [lift - 0.02, lift + 0.02],
        "p_value": p,
        "p_adjusted": p,
        "method": "difference of means, Welch t",
        "variance_reduction": 0.25,
        "users": {"base": 100, treatment: 100},
        "truth": None if truth is None else {"effect": 0.5 * truth, "lift": truth, "covered": abs(truth - lift) < 0.02},
    }


def results_of(
    *treatments: str,
    lift: float = 0.05,
    p: float = 0.0002,
    truth: float | None = 0.04,
    side: float = -0.03,
    side_p: float = 0.5,
    srm: bool = True,
) -> dict[str, Any]:
    """Results of one metric of interest and two others, two days and one city."""
    arms = ("base", *(treatments or ("new",)))
    comparisons = [
        compared(metric, arm, each, each_p, truth if metric == "gmv" else None)
        for arm in arms[1:]
        for metric, each, each_p in (("gmv", lift, p), ("ctr", 0.01, 0.6), ("ner", side, side_p))
    ]
    days = ["2015-10-05", "2015-10-06", "2015-10-07"]
    return {
        "schema": 2,
        "name": "a run",
        "seed": 7,
        "scenario": "item",
        "config_hash": "abc",
        "currency": "USD",
        "horizon": {
            "start": days[0],
            "warmup_start": days[0],
            "experiment_start": days[1],
            "experiment_end": "2015-10-08",
            "follow_up_end": "2015-10-20",
        },
        "world": {
            "kind": "generated",
            "users": 300,
            "items": 90,
            "cities": ["Seattle"],
            "contexts": {"weather": 1.0, "holidays": 1.0, "trends": 1.0, "seasons": 1.0},
        },
        "analysis": {
            "control": "base",
            "primary": "gmv",
            "metrics": list(METRICS),
            "alpha": 0.05,
            "cuped": True,
            "correction": "holm",
        },
        "metrics": {
            name: {
                "title": title,
                "unit": unit,
                "kind": "mean",
                "higher_is_better": True,
                "formula": f"the formula of {name}",
            }
            for name, (title, unit) in METRICS.items()
        },
        "arms": {
            arm: {
                "policy": "uniform",
                "params": {"weight": 0.3},
                "share": 1 / len(arms),
                "users": 100,
                "assigned": 110,
                "totals": {"sessions": 1234, "gmv": 99.5},
            }
            for arm in arms
        },
        "srm": {"p_value": 0.4 if srm else 1e-8, "ok": srm},
        "comparisons": comparisons,
        "daily": [
            {
                **{key: row[key] for key in ("metric", "treatment", "effect", "ci", "lift", "lift_ci", "truth")},
                "day": day,
                "date": days[day],
                "control_value": 0.5,
                "treatment_value": 0.51,
            }
            for row in comparisons
            for day in (1, 2)
        ],
        "context": {
            "dates": days,
            "cities": {
                "Seattle": {
                    "temp_max": [14.0, 15.5, 12.0],
                    "temp_min": [8.0, 9.0, 7.0],
                    "precipitation": [0.0, 3.2, 0.0],
                    "condition": ["sun", "rain", "sun"],
                }
            },
            "occasions": [{"title": "Halloween", "level": [0.0, 0.2, 0.4]}],
            "trends": [{"topic": "capybara", "level": [0.1, 0.0, 0.0]}],
        },
        "diagnostics": {
            "warmup_balance": [
                {"metric": "gmv", "treatment": arm, "difference_sd": 0.01, "p_value": 0.7} for arm in arms[1:]
            ],
            "visits": {arm: {"drawn": 10, "served": 9, "lost": 1} for arm in arms},
            "exposed": dict.fromkeys(arms, 100),
            "churned": dict.fromkeys(arms, 4),
        },
    }


def allocated_of(*treatments: str) -> dict[str, Any]:
    """Results whose last arm splits traffic by segment and is played along lambda."""
    given = results_of(*treatments)
    dates = given["context"]["dates"][1:]
    arm = list(given["arms"])[-1]
    given["allocation"] = {
        each: {
            "kind": "none",
            "days": [{"day": 1 + i, "date": d, "pages": 100, "cognitive_a_page": 0.0} for i, d in enumerate(dates)],
        }
        for each in given["arms"]
    }
    given["allocation"][arm] = {
        "kind": "exposure_qp",
        "solver": "dual",
        "lambda": 0.05,
        "days": [
            {"day": 1, "date": dates[0], "pages": 300, "cognitive_a_page": 2.0}
            | {"mean_alpha": 0.1, "mean_r": -0.2, "gave_way": 0.0},
            {"day": 2, "date": dates[1], "pages": 100, "cognitive_a_page": 1.0}
            | {"mean_alpha": 0.5, "mean_r": 0.2, "gave_way": 0.4},
        ],
        "split": {
            "segments": ["light users", "heavy users"],
            "days": [
                {"day": 1, "date": dates[0], "status": "start", "objective": 0.0}
                | {"share": [0.5, 0.5], "visits": [0.0, 0.0]},
                {"day": 2, "date": dates[1], "status": "relaxed", "objective": 7.0}
                | {"share": [0.3, 0.7], "visits": [8.0, 9.0], "gain": [0.1, 0.2], "gain_sd": [0.3, 0.4]}
                | {"gave_way": ["novelty"], "prices": {"gpu_hour": 12.5, "conversion": 0.0, "novelty_point": 1e-9}},
            ],
        },
    }
    given["frontier"] = {
        "arm": arm,
        "points": [
            {
                "lambda": penalty,
                "chosen": penalty == 0.05,
                "ctr": 0.1 - penalty / 10,
                "ner": penalty,
                "tv": 100 + penalty,
            }
            for penalty in (0.01, 0.05, 0.2)
        ],
        "others": [{"arm": each, "ctr": 0.08, "ner": 0.02, "tv": 99.0} for each in given["arms"] if each != arm],
    }
    return given


def analysed_of(*treatments: str, **options: Any) -> dict[str, Any]:
    """Results of a test that was read three times, with guardrails, tails cut, quantiles, power and a decision."""
    given = results_of(*treatments, **options)
    arms = list(given["arms"])[1:]
    days = ["2015-10-06", "2015-10-07", "2015-10-08"]
    given["sequential"] = [
        {
            "metric": "gmv",
            "treatment": arm,
            "method": "group-sequential",
            "alpha": 0.05,
            "p_value": 0.001,
            "stopped": 1,
            "looks": [
                look_of(number, day, z, bound)
                for number, (day, z, bound) in enumerate(zip(days, (1.5, 3.1, 2.9), (4.7, 2.8, 2.0), strict=True), 1)
            ],
        }
        for arm in arms
    ]
    given["guardrails"] = [
        {"metric": "ner", "treatment": arm, "margin": 0.02, "loss": 0.03, "worst": 0.05, "p_value": 0.4, "state": state}
        | {"truth": {"lift": -0.01}}
        for arm, state in zip(arms, ("open", "passed", "failed"), strict=False)
    ]
    for row in given["comparisons"]:
        row["capped"] = None
        if row["metric"] == "gmv":
            row["capped"] = {key: row[key] for key in ("lift", "lift_ci", "p_value", "truth")} | {
                "quantile": 0.999,
                "height": 812.5,
            }
    given["quantiles"] = [
        {"metric": "gmv", "treatment": arm, "quantile": 0.9, "control_value": 120.0, "treatment_value": 131.0}
        | {"effect": 11.0, "ci": [2.0, 20.0], "p_value": 0.02, "truth": {"effect": 9.0, "lift": 0.075, "covered": True}}
        for arm in arms
    ]
    given["power"] = [
        {"metric": "gmv", "treatment": arm, "target_lift": 0.05, "wanted": 0.8, "power": 0.62}
        | {"smallest_lift": 0.066, "users": 200, "users_needed": 340}
        for arm in arms
    ]
    given["segments"] = [
        {
            "dimension": dimension,
            "level": level,
            "metric": "gmv",
            "treatment": arm,
            "conditioned_on": "what was known",
            "users": 50,
            "control_value": 0.5,
            "treatment_value": 0.51,
            "effect": lift / 2,
            "ci": [lift / 2 - 0.02, lift / 2 + 0.02],
            "lift": lift,
            "lift_ci": [lift - 0.04, lift + 0.04],
            "p_value": 0.1,
            "method": "difference of means",
            "per": None,
            "truth": {"effect": 0.02, "lift": 0.04},
        }
        for arm in arms
        for dimension, level, lift in (
            ("rain", "rain", 0.12),
            ("rain", "no rain", 0.01),
            ("city", "new_york", 0.03),
            ("city", "seattle", 0.06),
        )
    ]
    given["interactions"] = [
        {"dimension": dimension, "metric": "gmv", "treatment": arm, "conditioned_on": "what was known"}
        | {"statistic": 9.0, "degrees": 1, "p_value": p / 2, "p_adjusted": p}
        for arm in arms
        for dimension, p in (("rain", 0.004), ("city", 0.6))
    ]
    given["trends"] = [
        {"metric": "gmv", "treatment": arm, "days": 3, "slope": -0.02, "ci": [-0.03, -0.01], "p_value": 0.001}
        | {"p_adjusted": 0.003, "truth": {"slope": -0.015}}
        for arm in arms
    ]
    given["retention"] = {
        "churn_days": 7,
        "curves": [
            {
                "arm": arm,
                "users": 100,
                "gone": 9,
                "points": [
                    {"day": 7, "at_risk": 100, "share": 0.95, "ci": [0.9, 0.98]},
                    {"day": 9, "at_risk": 60, "share": 0.9, "ci": [0.82, 0.95]},
                ],
                "share": 0.9,
                "truth": {"share": 0.91},
            }
            for arm in given["arms"]
        ],
        "tests": [{"treatment": arm, "chi_square": 1.25, "p_value": 0.26} for arm in arms],
        "returns": [
            {"arm": arm, "points": [{"day": day, "users": 100 - day, "share": 0.4, "ci": [0.3, 0.5]} for day in (1, 2)]}
            for arm in given["arms"]
        ],
    }
    given["decisions"] = [
        {"treatment": arm, "decision": "keep running", "reason": "A loss is not yet ruled out."} for arm in arms
    ]
    return given


def look_of(number: int, day: str, z: float, bound: float) -> dict[str, Any]:
    """A look whose interval is as wide as its bound says."""
    lift = 0.02 * z
    ends = [lift - 0.02 * bound, lift + 0.02 * bound]
    return {
        "look": number,
        "date": day,
        "time": number / 3,
        "information": number / 3,
        "z": z,
        "bound": bound,
        "alpha_spent": 0.01 * number,
        "p_value": 0.01,
        "effect": 0.5 * lift,
        "ci": [0.5 * end for end in ends],
        "lift": lift,
        "lift_ci": ends,
        "crossed": z >= bound,
        "users": 60 * number,
        "truth": {"effect": 0.02, "lift": 0.04, "covered": True},
    }


def thoughts_of(arm: str) -> dict[str, Any]:
    """The account of an arm that thinks."""
    counts = {"calls": 40, "prompt_tokens": 9000, "cached_tokens": 0, "generated_tokens": 700, "flops": 6 * 10**9}
    day = {"due_age": 5, "due_change": 1, "granted": 5, "waiting": 1, "executed": 5}
    return {
        "users": 5,
        "ledger": {
            "roles": {"route": counts},
            "jobs": {"refresh": {"jobs": 10, "depth_calls": 10, "depth_tokens": 300}},
            "truncated": 0,
        },
        "refreshes": [
            day | {"date": "2015-10-06", "mean_age_days": 0.0, "p90_age_days": 0.0},
            day | {"date": "2015-10-07", "mean_age_days": 1.5, "p90_age_days": 2.0},
        ],
        "samples": [
            {
                "user": 7,
                "date": "2015-10-07",
                "profile": f"of {arm}",
                "context": "Cool, light rain",
                "parts": [{"name": "the weather", "tags": ["rain boots", "umbrella"]}],
                "chosen": ["rain boots"],
                "dropped": ["umbrella"],
                "style": "warm",
                "explanations": [{"item": "Rain Boots", "text": "Puddle season"}],
            }
        ],
        "fidelity": None,
    }


PROJECTED = (
    *(f"gpu_seconds_{kind}_per_1000_visits" for kind in ("work", "busy", "provisioned")),
    *(f"gpu_hours_{kind}_a_day" for kind in ("work", "busy", "provisioned")),
    *("cost_per_1000_visits", "gpu_seconds_work_per_job", "load_mean", "load_busiest", "utilisation"),
    *("mfu_busy", "mfu_provisioned", "gpus_for_slo", "slo_kept"),
    *(
        f"{name}_seconds_{key}"
        for name in ("queue_wait", "refresh", "ttft", "tpot")
        for key in ("mean", "p50", "p90", "p99")
    ),
)


def cluster(hours: float, older: float | None, band: bool) -> dict[str, Any]:
    """An arm's cluster; all projected figures are 0.5 but for the hours."""
    projected = {
        f"projected_{name}": {"value": 0.5, "low": 0.4 if band else None, "high": 0.6 if band else None}
        for name in PROJECTED
    }
    projected["projected_gpu_hours_work_a_day"]["value"] = hours
    projected["projected_queue_wait_seconds_mean"]["value"] = 7_500.0
    ages = None if older is None else {"mean": 30.5, "p50": 20, "p90": 60}
    day = {"date": "2015-10-07", "granted": 4, "merged": 1, "projected_jobs": 100.0, "projected_load": 1.25}
    return {
        "cards": 2,
        "measured": {
            "sampled_jobs": 6,
            "calls_a_job": 4.0,
            "prompt_tokens_a_job": 900.0,
            "read_tokens_a_job": 800.0,
            "written_tokens_a_job": 80.0,
            "executed": None,
            "gpu_seconds": None,
            "mfu": None,
            "cost": None,
        },
        "modelled": {
            "jobs_granted": 8,
            "jobs_merged": 2,
            "jobs_unfinished": 1,
            "visits": 10,
            "age_hours": ages,
            "older_than_asked": older,
        },
        "projected": projected,
        "days": [day | {"projected_utilisation": 1.0, "projected_waiting_hours": 6.0}],
    }


def serving_of(band: bool = False) -> dict[str, Any]:
    """A cluster each of ``v1`` and ``v2``, beside an arm ``blind`` that does not think."""
    value = {"value": 20.0, "ci": [15.0, 25.0], "true": 21.0}
    return {
        "settings": {
            "model": "qwen3-8b",
            "hardware": "h20",
            "precision": "bf16",
            "users": 1_000_000,
            "users_each": 200_000.0,
            "jobs_at_once": 64,
            "spread_hours": 24.0,
            "slo": {"job": 600.0, "share": 0.95},
            "price": {"per_hour": 2.5, "currency": "EUR", "at": "2025-06-01"},
            "step_time_source": "given" if band else "assumed",
            "step_time_error": 0.07 if band else None,
            "first_date": "2015-10-07",
            "last_date": "2015-10-08",
        },
        "arms": {
            "v1": {"transaction_value": value, "visits_a_user_and_day": 0.6} | cluster(40.0, 0.25, band),
            "v2": {"transaction_value": value | {"value": 22.0, "true": None}, "visits_a_user_and_day": 0.6}
            | cluster(18.0, None, band),
            "blind": {"transaction_value": value | {"value": 18.0, "ci": None}, "visits_a_user_and_day": 0.6},
        },
        "efficient": ["v2", "blind"],
    }


def pages_of(arms: Iterable[str]) -> list[dict[str, Any]]:
    """A user's first page under each arm."""
    item = {"price": 1234.5, "cognitive": False, "answer": None, "explanation": None}
    told = item | {"title": "Rain Boots", "cognitive": True, "answer": "carted", "explanation": "Puddle season"}
    return [
        {
            "user": 7,
            "profile": "someone",
            "city": "seattle",
            "date": "2015-10-06",
            "hour": "09:05",
            "context": "Cool, light rain",
            "wanted": ["rain boots"],
            "lately": ["umbrella"],
            "arms": {arm: [item | {"title": "Tea"}, told | {"title": f"Boots of {arm}"}] for arm in arms},
        }
    ]


def whole_of(*treatments: str) -> dict[str, Any]:
    """Results that fill every section of the report."""
    given = analysed_of(*treatments)
    split = allocated_of(*treatments)
    given |= {key: split[key] for key in ("allocation", "frontier")}
    given["thinking"] = {arm: thoughts_of(arm) for arm in given["arms"]}
    given["pages"] = pages_of(given["arms"])
    served = serving_of()
    clusters = served["arms"].values()
    named = dict(zip(given["arms"], clusters, strict=False))  # as many as there are arms
    given["serving"] = served | {"arms": named, "efficient": list(named)[1:]}
    return given


SWEEP: dict[str, Any] = {
    "schema": 1,
    "name": "swept",
    "setting": "5 Oct 2015 to 8 Oct 2015, 300 users",
    "config_hash": "abc",
    "currency": "USD",
    "alpha": 0.05,
    "primary": "ctr",
    "axes": [
        {"key": "arms.new.params.experts", "values": [3, 1, 2]},
        {"key": "arms.new.params.refresh.on", "values": [["weather", "trend"], []]},
    ],
    "seeds": [7, 8],
    "metrics": {
        "tv": {"title": "Transaction value", "unit": "currency a user", "higher_is_better": True},
        "ctr": {"title": "Click-through rate", "unit": "share", "higher_is_better": True},
    },
    "code_versions": ["0.1.0+aaa"],
    "points": [
        {
            "values": {"arms.new.params.experts": experts, "arms.new.params.refresh.on": on},
            "seed": seed,
            "run": f"points/{experts}{len(on)}{seed}",
            "config_hash": f"{experts}{len(on)}{seed}" * 4,
            "trusted": True,
            "comparisons": [
                {"metric": metric, "treatment": "new", "lift": 0.01 * experts, "lift_ci": [0.0, 0.02 * experts]}
                | {"p_value": 0.01, "p_adjusted": 0.02, "truth": {"lift": 0.02}, "decision": "better"}
                for metric in ("ctr", "tv")
            ],
        }
        for seed in (7, 8)
        for experts in (3, 1, 2)
        for on in (["weather", "trend"], [])
    ],
    "curves": [
        {
            "metric": metric,
            "treatment": "new",
            "values": {"arms.new.params.experts": experts, "arms.new.params.refresh.on": on},
            "seeds": 2,
            "lift": 0.01 * experts,
            "ci": [0.0, 0.02 * experts],
            "truth": 0.02,
        }
        for metric in ("ctr", "tv")
        for experts in (3, 1, 2)
        for on in (["weather", "trend"], [])
    ],
}


def hostile_of() -> dict[str, Any]:
    """Results in which every name that a config or a log can choose is an attack."""
    text = json.dumps(whole_of(EVIL))
    for name in (
        "a run",
        "Gross merchandise value",
        "Seattle",
        "Halloween",
        "capybara",
        "uniform",
        "USD",
        "light users",
        "Cool, light rain",
        "the weather",
        "rain boots",
        "Tea",
        "someone",
        "umbrella",
        "Rain Boots",
        "Puddle season",
        "group-sequential",
        "rain",
        "seattle",
        "what was known",
        "A loss is not yet ruled out.",
    ):
        text = text.replace(f'"{name}"', json.dumps(f"{name} {EVIL}</script>%{{x}}"))
    return dict(json.loads(text))


def strings_in(value: Any) -> list[str]:
    """Every string in a figure, at any depth."""
    if isinstance(value, dict):
        return [each for inner in value.values() for each in strings_in(inner)]
    if isinstance(value, list):
        return [each for inner in value for each in strings_in(inner)]
    return [value] if isinstance(value, str) else []


@dataclass(frozen=True)
class Shown:
    """A page and what it carries.

    Attributes:
        html: as it is written.
    """

    html: str

    @property
    def page(self) -> str:
        """Without the library's own text."""
        return self.html.replace(get_plotlyjs(), "")

    @property
    def text(self) -> str:
        """Without scripts and styles."""
        return re.sub(r"<(script|style)\b.*?</\1>", "", self.page, flags=re.DOTALL)

    @property
    def charts(self) -> dict[str, Any]:
        """The figures."""
        found = re.search(r'<script type="application/json" id="charts">(.*?)</script>', self.html, re.DOTALL)
        assert found
        return dict(json.loads(found[1]))


@pytest.fixture
def results() -> Callable[..., dict[str, Any]]:
    """``results(*treatments, **options)``: three metrics, two days and one city."""
    return results_of


@pytest.fixture
def analysed() -> Callable[..., dict[str, Any]]:
    """``analysed(*treatments, **options)``: the same, read at several looks, with guardrails and a decision."""
    return analysed_of


@pytest.fixture
def allocated() -> Callable[..., dict[str, Any]]:
    """``allocated(*treatments)``: the last arm splits traffic and is played along lambda."""
    return allocated_of


@pytest.fixture
def whole() -> Callable[..., dict[str, Any]]:
    """``whole(*treatments)``: every section of the report has something to show."""
    return whole_of


@pytest.fixture(scope="session")
def evil() -> str:
    """What a name must not do."""
    return EVIL


@pytest.fixture(scope="session")
def hostile() -> dict[str, Any]:
    """Every section, and every name that a config or a log can choose is an attack; not to be changed."""
    return hostile_of()


@pytest.fixture
def manifest() -> dict[str, Any]:
    """Where a run comes from."""
    return copy.deepcopy(MANIFEST)


@pytest.fixture
def evaluation() -> dict[str, Any]:
    """An open-loop evaluation of two policies, one of them an attack."""
    return copy.deepcopy(EVALUATION)


@pytest.fixture(scope="session")
def shown() -> Callable[[dict[str, Any]], Shown]:
    """``shown(results)``: the report of an experiment."""
    return lambda given: Shown(render_report(given, copy.deepcopy(MANIFEST)))


@pytest.fixture(scope="session")
def strings() -> Callable[[Any], list[str]]:
    """``strings(figure)``: every string in it, at any depth."""
    return strings_in


@pytest.fixture
def served() -> Callable[..., dict[str, Any]]:
    """``served(band=False)``: the block ``serving`` of a run, with the range of the step times' error or without."""
    return serving_of


@pytest.fixture
def run_of() -> Callable[[str, dict[str, Any]], Run]:
    """``run_of(label, results)``: a finished run as a comparison reads it."""

    def made(label: str, given: dict[str, Any]) -> Run:
        arms = {name: {"policy": arm["policy"], "params": arm["params"]} for name, arm in given["arms"].items()}
        return Run(label, {"seed": given["seed"], "world": given["world"], "arms": arms}, given, {})

    return made


@pytest.fixture
def comparison(run_of: Any) -> dict[str, Any]:
    """Two runs of the same users, one of which counted what its arms' thinking took."""
    return compare_runs(
        [run_of("plain", results_of("new", lift=0.02, truth=0.03)), run_of("thinking", whole_of("new"))]
    )


@pytest.fixture
def sweep() -> dict[str, Any]:
    """A sweep over a number and a list, with two seeds."""
    return copy.deepcopy(SWEEP)


def _row(name: str, distance: float, floor: float, shown: dict[str, Any], note: str = "") -> dict[str, Any]:
    """A row of a scorecard."""
    return {
        "name": name,
        "title": f"The {name}",
        "measure": "JS" if shown["kind"] == "shares" else "KS",
        "distance": distance,
        "floor": floor,
        "floor_high": 1.5 * floor,
        "floor_from": "halves of the real users",
        "times": 100,
        "ratio": distance / floor,
        "within_noise": distance <= 1.5 * floor,
        "note": note,
        "shown": shown,
    }


@pytest.fixture
def realism() -> dict[str, Any]:
    """A realism scorecard of a log."""
    shares: dict[str, Any] = {"kind": "shares", "labels": ["a", "b", "c"], "unit": "", "of": 90}
    shares |= {"real": [0.7, 0.2, 0.1], "simulated": [0.5, 0.3, 0.2]}
    values = {
        "kind": "quantiles",
        "labels": ["50%", "90%"],
        "unit": "days",
        "real": [2.0, 9.0],
        "simulated": [2.5, 9.5],
    }
    curve = {"predicted": [0.1, 0.3], "observed": [0.12, 0.25]}
    return {
        "schema": 1,
        "name": "shop",
        "kind": "log",
        "seed": 7,
        "times": 100,
        "fitted": ["2010-12-01", "2011-08-31"],
        "scored": ["2011-09-01", "2011-12-09"],
        "from_day": 274,
        "plays_the_log": True,
        "against": "purchases",
        "rows": [
            _row("gap", 0.04, 0.04, values),
            _row("hour", 0.3, 0.05, shares, "of the shop"),
            _row("day", 0.1, 0.02, shares),
        ],
        "worst": ["hour", "day"],
        "totals": [{"title": "Visits", "real": 6997.0, "simulated": 5265.0, "ratio": 0.7524}],
        "two_sample": {
            "auc": 0.764,
            "ci": [0.751, 0.777],
            "real_halves": 0.516,
            "real_halves_highest": 0.526,
            "days_before": 0.821,
            "features": [{"title": "visits", "weight": 0.7}, {"title": "hour", "weight": 0.3}],
        },
        "calibration": [
            {"arm": "a", "policy": "p", "reading": "shown", "error": None, "why_not": "the policy does not say"},
            {"arm": "b", "policy": "q", "reading": "shown", "error": 0.031, "noise": 0.001, "noise_high": 0.002,
             "impressions": 12000, "why_not": "", **curve},
        ],
        "without_counterpart": [
            {"title": "Pages", "why": "a sales log has none"},
            {"title": "Gap", "why": "no public count", "quantiles": [1, 2, 3, 4, 5, 6, 7], "unit": "days"},
            {"title": "Zipf", "why": "no public count", "value": 0.98765},
        ],
    }  # fmt: skip
