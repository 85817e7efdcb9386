import copy
import json
import math
import re
import shutil
import subprocess
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
from plotly.offline import get_plotlyjs

from experiments.report import figures, render_evaluation, render_report, surroundings, traffic, words, write_report

EVIL = "<img src=x onerror=alert(1)>"
BROWSER = next((found for name in ("chromium", "google-chrome") if (found := shutil.which(name))), None)
METRICS = {
    "gmv": ("Gross merchandise value", "currency a user"),
    "ctr": ("Click-through rate", "share"),
    "ner": ("Novelty exposure rate", "share"),
}
MANIFEST = {
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
EVALUATION = {
    "schema": 2,
    "name": "open loop",
    "seed": 7,
    "metrics": {
        "hit_rate@30": {"group": "accuracy", "unit": "", "better": "higher", "definition": "hits among 30"},
    },
    "strata": {},
    "control": "popularity",
    "alpha": 0.05,
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
            "visits": 900,
        }
    ],
    "requests": 900,
    "users": 300,
}


def comparison(metric: str, treatment: str, lift: float, p: float, truth: float | None) -> dict[str, Any]:
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


def results(
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
        comparison(metric, arm, each, each_p, truth if metric == "gmv" else None)
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
            "context_strength": 1.0,
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


def allocated(*treatments: str) -> dict[str, Any]:
    """Results whose last arm splits traffic by segment and is played along lambda."""
    given = results(*treatments)
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


def hostile() -> dict[str, Any]:
    """Results in which every name that a config or a log can choose is an attack."""
    text = json.dumps(allocated(EVIL))
    for name in (
        "a run",
        "Gross merchandise value",
        "Seattle",
        "Halloween",
        "capybara",
        "uniform",
        "USD",
        "light users",
    ):
        text = text.replace(f'"{name}"', json.dumps(f"{name} {EVIL}</script>%{{x}}"))
    return dict(json.loads(text))


def page_of(html: str) -> str:
    """The page without the library's own text."""
    return html.replace(get_plotlyjs(), "")


def charts_of(html: str) -> dict[str, Any]:
    """The figures that the page carries."""
    found = re.search(r'<script type="application/json" id="charts">(.*?)</script>', html, re.DOTALL)
    assert found
    return dict(json.loads(found[1]))


def strings_in(value: Any) -> list[str]:
    """Every string in a figure, at any depth."""
    if isinstance(value, dict):
        return [each for inner in value.values() for each in strings_in(inner)]
    if isinstance(value, list):
        return [each for inner in value for each in strings_in(inner)]
    return [value] if isinstance(value, str) else []


def verdict(**options: Any) -> words.Verdict:
    """The verdict on the only treatment."""
    return words.verdicts(results(**options))[0]


def test_the_library_is_there_once_and_nothing_is_fetched() -> None:
    """The page holds the plotting library exactly once and refers to no other address."""
    html = render_report(results(), MANIFEST)
    page = page_of(html)
    assert html.count("* plotly.js v") == 1
    assert not re.search(r"(src|href|action)\s*=|@import|url\(|https?://", page)
    assert "default-src 'none'" in page


@pytest.mark.parametrize("treatments", [("new",), ("new", "newer"), ("new", "newer", "newest")])
def test_every_metric_and_arm_appears(treatments: tuple[str, ...]) -> None:
    """Titles, formulas and arms are in the page and in the forest plot, for one treatment or several."""
    html = render_report(results(*treatments), MANIFEST)
    labels = strings_in(charts_of(html)["forest"])
    for name, (title, _) in METRICS.items():
        assert page_of(html).count(title) >= len(treatments)
        assert f"the formula of {name}" in html
        assert title in labels
    assert [trace["name"] for trace in charts_of(html)["forest"]["data"]] == [*treatments, "truth"]
    for chart in ("daily-0", "daily-1", "daily-2", "context"):
        assert f'"{chart}"' in html


def test_text_from_outside_stays_text() -> None:
    """No name can become a tag: not in the page, not in a script element, not in a label of a figure."""
    html = render_report(hostile(), MANIFEST)
    page = page_of(html)
    assert "<img" not in page
    assert page.count("</script>") == 3
    for text in strings_in(charts_of(html)):
        assert set(re.findall(r"<[^>]*>", text)) <= {"<br>"}
        assert "%{" not in text
    assert EVIL in unescape(page)
    assert "<img" not in page_of(render_evaluation(EVALUATION, MANIFEST))


def test_same_input_same_bytes() -> None:
    """Rendering is a pure function: no random identifiers, no clock, and the input is left as it was."""
    given = results("new", "newer")
    before = copy.deepcopy(given)
    assert render_report(given, MANIFEST) == render_report(before, MANIFEST)
    assert given == before
    assert render_evaluation(EVALUATION, MANIFEST) == render_evaluation(EVALUATION, MANIFEST)


def test_unknown_numbers_are_shown_as_unknown() -> None:
    """A comparison without estimates says why, and neither None nor NaN reaches the page."""
    given = results()
    for row in given["comparisons"][:2] + given["daily"][:1]:
        row |= dict.fromkeys(("effect", "ci", "lift", "lift_ci", "p_value", "p_adjusted", "truth"))
        row["treatment_value"] = float("nan")
        row["method"] = "not tested: too few users"
    given["context"] = {"dates": [], "cities": {}, "occasions": None, "trends": None}
    html = render_report(given, {**MANIFEST, "data": None})
    assert "The primary metric has no estimate (not tested: too few users)." in html
    assert not re.search(r"\b(None|nan|NaN|null)\b", re.sub(r"<script.*?</script>", "", page_of(html), flags=re.S))
    assert "context" not in charts_of(html)


def test_a_run_without_days_has_no_daily_chart() -> None:
    """Where no metric has a daily value the section is left out."""
    assert not any(name.startswith("daily") for name in charts_of(render_report({**results(), "daily": []}, MANIFEST)))


def test_figures_are_valid_for_plotly() -> None:
    """Plotly's own checks accept every figure once the colours have their values."""

    def paint(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: paint(inner, name) for name, inner in value.items()}
        if isinstance(value, list):
            return [paint(inner) for inner in value]
        if isinstance(value, str) and value.startswith("@"):
            return [[0, "#fff"], [1, "#000"]] if key == "colorscale" else "#123456"
        return value

    given = results("new", "newer")
    context = surroundings.context(given)
    assert context is not None
    for figure in (
        figures.forest(given),
        figures.daily(given, "gmv"),
        context,
        figures.dots(EVALUATION, "hit_rate@30"),
        *traffic.charts(allocated("new", "newer")).values(),
    ):
        go.Figure(paint(figure))


def test_every_colour_has_a_value_in_both_schemes() -> None:
    """Each colour that a figure names is defined by the page's script for light and for dark."""
    script = (Path(figures.__file__).parent / "figures.js").read_text(encoding="utf-8")
    text = json.dumps(charts_of(render_report(allocated("new", "newer"), MANIFEST)))
    names = {name for name in re.findall(r'"@([a-z0-9-]+)"', text) if not re.fullmatch(r"(series|band)\d", name)}
    assert {"ink", "paper", "heat-trend"} <= names
    for name in names:
        assert len(re.findall(rf'(?<![\w-])"?{name}"?: ', script)) == 2


@pytest.mark.parametrize(
    ("options", "headline", "sentences"),
    [
        (
            {},
            "new beats base on Gross merchandise value",
            [
                "The lift is +5.00% (95% interval +3.00% to +7.00%, adjusted p < 0.001).",
                "The true lift on this population is +4.00%, inside the interval.",
                "No metric got significantly worse.",
            ],
        ),
        (
            {"side_p": 0.01},
            "new beats base on Gross merchandise value",
            ["Significantly worse: Novelty exposure rate (−3.00%)."],
        ),
        (
            {"lift": -0.05, "truth": 0.01},
            "new loses to base on Gross merchandise value",
            ["+1.00%, outside the interval: the test got the direction wrong.", "No other metric got"],
        ),
        (
            {"p": 0.3, "lift": 0.01, "truth": 0.015},
            "No evidence that new differs from base on Gross merchandise value",
            [
                "adjusted p = 0.300",
                "+1.50%, inside the interval: a difference that this test did not notice.",
            ],
        ),
        (
            {"p": 0.3, "lift": 0.01, "truth": 0.0},
            "No evidence that new differs from base on Gross merchandise value",
            ["In truth the two do not differ, inside the interval: there was nothing to find."],
        ),
        (
            {"truth": 0.0},
            "new beats base on Gross merchandise value",
            ["outside the interval: this is a false alarm."],
        ),
        (
            {"truth": None},
            "new beats base on Gross merchandise value",
            ["The true effect of this run is not known."],
        ),
        (
            {"srm": False},
            "Do not trust new against base",
            ["do not trust the effects", "p < 0.001", "For the record, as measured: The lift is +5.00%"],
        ),
    ],
)
def test_the_verdict_in_words(options: dict[str, Any], headline: str, sentences: list[str]) -> None:
    """Win, loss, no evidence, harm, known truth and broken assignment each get their own words."""
    found = verdict(**options)
    assert found.headline == headline
    page = unescape(page_of(render_report(results(**options), MANIFEST)))
    assert headline in page
    for sentence in sentences:
        assert sentence in found.paragraph
        assert sentence in page


@pytest.mark.parametrize(
    ("effect", "p", "p_adjusted", "higher", "word"),
    [
        (1.0, 0.01, 0.04, True, "better"),
        (1.0, 0.01, 0.04, False, "worse"),
        (-1.0, 0.01, None, True, "worse"),
        (1.0, 0.01, 0.06, True, "no evidence"),
        (None, None, None, True, "not estimable"),
        (1.0, float("nan"), None, True, "not estimable"),
    ],
)
def test_the_decision(effect: float | None, p: float | None, p_adjusted: float | None, higher: bool, word: str) -> None:
    """The adjusted p-value decides where there is one, and the metric says which direction is good."""
    row = {"effect": effect, "p_value": p, "p_adjusted": p_adjusted}
    assert words.decision(row, {"higher_is_better": higher}, 0.05) == word


def test_broken_assignment_voids_every_decision() -> None:
    """With a sample ratio mismatch no row of the table claims that anything is better or worse."""
    html = page_of(render_report(results(srm=False), MANIFEST))
    assert "▲" not in html
    assert "▼" not in html


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (words.percent(0.0321), "+3.21%"),
        (words.percent(-0.124), "−12.4%"),
        (words.percent(0.5, sign=False), "50.0%"),
        (words.number(0.02534, "share"), "2.53%"),
        (words.number(12345.678), "12,346"),
        (words.number(16.4), "16.40"),
        (words.number(0.063), "0.0630"),
        (words.number(7.0), "7"),
        (words.signed(0.0012, "share"), "+0.12 pp"),
        (words.interval([0.011, 0.053]), "+1.10% to +5.30%"),
        (words.interval([-0.5, 2.0], "USD a user"), "−0.500 to +2.000"),
        (words.interval([0.1, None]), "–"),
        (words.p_value(0.00099), "<0.001"),
        (words.p_value(0.012), "0.012"),
        (words.p_value(None), "–"),
        (words.day("2015-10-05"), "5 Oct 2015"),
        (words.last_day("2015-11-01"), "31 Oct 2015"),
        (words.level(0.05), "95%"),
        (
            words.flat({"rows": 1200, "refused": {"no_user": 3}}),
            [("rows", "1,200"), ("refused, no user", "3")],
        ),
    ],
)
def test_formats(shown: Any, expected: Any) -> None:
    """Numbers are written as people read them."""
    assert shown == expected


def test_only_the_strongest_rows_are_drawn() -> None:
    """Rows that never rise are left out, and of many rows those with the most mass stay, in order."""
    entries = [{"topic": f"t{i}", "level": [0.0, float(i)]} for i in range(surroundings.STRONGEST + 3)]
    names = [name for name, _ in surroundings.heat_rows(entries, "topic")]
    assert names == [f"t{i}" for i in range(3, surroundings.STRONGEST + 3)]
    assert surroundings.heat_rows(None, "topic") == []


def test_traffic_is_shown_only_where_it_was_allocated() -> None:
    """Without allocation there is no section, and keys that hold nothing change no byte."""
    plain = render_report(results(), MANIFEST)
    assert plain == render_report({**results(), "allocation": None, "frontier": None}, MANIFEST)
    assert "Traffic allocation" not in plain
    html = render_report(allocated(), MANIFEST)
    assert "Traffic allocation" in html
    assert {"frontier-ner", "frontier-tv", "cognitive", "split-0"} <= set(charts_of(html))
    for missing, left in (("frontier", {"cognitive", "split-0"}), ("allocation", {"frontier-ner", "frontier-tv"})):
        assert set(traffic.charts({**allocated(), missing: None})) == left
        assert "Traffic allocation" in render_report({**allocated(), missing: None}, MANIFEST)


def test_the_frontier_marks_what_ran() -> None:
    """The line follows lambda, the mark of the arm's own lambda is its own, and every point and arm has a label."""
    given = allocated("new", "newer")
    for metric in ("ner", "tv"):
        figure = traffic.frontier(given, metric)
        line, *others = figure["data"]
        assert line["x"] == [point[metric] for point in given["frontier"]["points"]]
        assert line["marker"]["symbol"] == ["circle", "diamond", "circle"]
        assert len(others) == 2
        labels = {label["text"] for label in figure["layout"]["annotations"]}
        assert labels == {"λ 0.01", "newer, λ 0.05", "λ 0.2", "base", "new"}


def test_labels_of_one_spot_keep_apart() -> None:
    """Where all points coincide, as with a channel that does nothing, the labels still lie beside each other."""
    given = allocated()
    for each in given["frontier"]["points"] + given["frontier"]["others"]:
        each |= {"ctr": 0.1, "ner": 0.5, "tv": 100.0}
    offsets = [(label["ax"], label["ay"]) for label in traffic.frontier(given, "ner")["layout"]["annotations"]]
    for number, one in enumerate(offsets):
        for other in offsets[:number]:
            assert math.dist(one, other) > 14


def test_what_the_allocation_paid() -> None:
    """Means weigh days by pages, days are counted by status, and a price that rounds to nothing is 0."""
    [paid] = traffic.paid(allocated())
    assert paid.alpha == (pytest.approx(0.2), (0.1, 0.5))
    assert paid.r == (pytest.approx(-0.1), (-0.2, 0.2))
    assert paid.gave_way == (pytest.approx(0.1), (0.0, 0.4))
    [prices] = traffic.prices(allocated())
    assert dict(zip(traffic.STATUSES, prices.statuses, strict=True)) == {
        "start": 1,
        "optimal": 0,
        "relaxed": 1,
        "fallback": 0,
    }
    assert prices.gave_way == (("novelty", 1),)
    assert prices.prices == ("12.50", "0", "0")


def test_a_fallback_sets_no_price() -> None:
    """Prices are those of the last day that was solved; without one they are unknown."""
    given = allocated()
    given["allocation"]["new"]["split"]["days"][-1]["status"] = "fallback"
    [prices] = traffic.prices(given)
    assert prices.date is None
    assert prices.prices == (words.NOTHING,) * 3
    assert "Prices on the last day solved" in render_report(given, MANIFEST)


@dataclass(frozen=True)
class Directory:
    """What ``write_report`` needs of a run directory."""

    path: Path

    def write_text(self, name: str, text: str) -> None:
        """Write a file of the run."""
        (self.path / name).write_text(text, encoding="utf-8")


def test_the_kind_of_report_follows_the_files(tmp_path: Path) -> None:
    """Results make an experiment's report, an evaluation its own, and neither is an error with a remedy."""
    directory: Any = Directory(tmp_path)
    with pytest.raises(ValueError, match=r"manifest\.json: not found"):
        write_report(directory)
    directory.write_text("manifest.json", json.dumps(MANIFEST))
    with pytest.raises(ValueError, match=r"holds neither results\.json nor evaluation\.json"):
        write_report(directory)
    directory.write_text("evaluation.json", json.dumps(EVALUATION))
    assert "Open-loop evaluation" in write_report(directory).read_text(encoding="utf-8")
    directory.write_text("results.json", json.dumps(results()))
    assert "new beats base" in write_report(directory).read_text(encoding="utf-8")
    directory.write_text("results.json", json.dumps({**results(), "schema": 99}))
    with pytest.raises(ValueError, match="schema 99"):
        write_report(directory)


@pytest.mark.skipif(BROWSER is None, reason="chromium is not installed")
@pytest.mark.parametrize("kind", ["experiment", "evaluation"])
def test_a_browser_draws_the_figures(kind: str, tmp_path: Path) -> None:
    """Opened from a file, the figures have marks, the console stays silent and no attack is an element."""
    assert BROWSER is not None
    page = tmp_path / "report.html"
    html = render_report(hostile(), MANIFEST) if kind == "experiment" else render_evaluation(EVALUATION, MANIFEST)
    page.write_text(html, encoding="utf-8")
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --enable-logging=stderr --virtual-time-budget=10000 "
        "--dump-dom"
    )
    command = [BROWSER, *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)  # noqa: S603 - fixed
    assert "CONSOLE" not in done.stderr
    drawn = re.sub(r"<script.*?</script>", "", done.stdout, flags=re.DOTALL)
    assert drawn.count('class="js-plotly-plot"') + drawn.count('class="js-plotly-plot ') == (
        7 if kind == "experiment" else 1
    )
    assert drawn.count('<path class="point"') == (18 if kind == "experiment" else 1)
    assert "<img" not in drawn
    if kind == "experiment":
        assert "&lt;img src=x" in drawn
        assert drawn.count('class="hm"') == 3
