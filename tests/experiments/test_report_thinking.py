import copy
import io
import json
import re
from html import unescape
from typing import Any

import plotly.graph_objects as go
import pytest
from rich.console import Console

from experiments.report import render_report, thinking, words
from experiments.terminal import print_verdict

EVIL = "<img src=x onerror=alert(1)>"
MANIFEST: dict[str, Any] = {
    "schema": 1,
    "created": "2026-01-05T10:00:00+00:00",
    "code_version": "0.1.0",
    "config_hash": "abc",
    "python": "3.11",
    "packages": {},
    "machine": {"cpus": 2, "platform": "Linux"},
    "seeds": {},
    "timings": {},
    "data": None,
    "thinking_seconds": {"old": {"route": 31.25}},
}


def role(calls: int, prompt: int, cached: int, generated: int, flops: int) -> dict[str, int]:
    """What ten refreshes of a user count, from the counts of one."""
    names = ("calls", "prompt_tokens", "cached_tokens", "generated_tokens", "flops")
    return {name: 10 * count for name, count in zip(names, (calls, prompt, cached, generated, flops), strict=True)}


def account(roles: dict[str, Any], depth: int, sample: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Ten refreshes of five users on two days, and one thought about."""
    days = [
        {"date": "2015-10-06", "due_age": 5, "due_change": 0, "granted": 5, "waiting": 0, "executed": 4}
        | {"mean_age_days": 0.0, "p90_age_days": 0.0},
        {"date": "2015-10-07", "due_age": 3, "due_change": 6, "granted": 4, "waiting": 5, "executed": 6}
        | {"mean_age_days": 2.5, "p90_age_days": 6.0},
    ]
    jobs = {"refresh": {"jobs": 10, "depth_calls": 10 * depth, "depth_tokens": 10 * 31 * depth}}
    return {
        "users": 5,
        "ledger": {"roles": roles, "jobs": jobs, "truncated": 0},
        "refreshes": days,
        "samples": [sample],
        "fidelity": None,
    } | more


def sample(user: int, parts: list[dict[str, Any]], chosen: list[str], dropped: list[str]) -> dict[str, Any]:
    """Thoughts about a user."""
    return {
        "user": user,
        "date": "2015-10-07",
        "profile": "woman, 35-44, Seattle",
        "context": "Cool, light rain",
        "parts": parts,
        "chosen": chosen,
        "dropped": dropped,
        "style": "warm, playful",
        "explanations": [{"item": "Rain Boots, Navy", "text": "Puddle season is here."}],
    }


ROUTES = [{"name": "the weather", "tags": ["rain boots", "umbrella"]}, {"name": "the trends", "tags": ["umbrella"]}]
EXPERTS = [{"name": "Pets; everyday", "tags": ["dog food", "cat litter", "dog bed"]}]


def results() -> dict[str, Any]:
    """Results of two arms that think and one that does not."""
    arms = ("old", "new", "blind")
    return {
        "schema": 2,
        "name": "a run",
        "currency": "USD",
        "horizon": {"experiment_start": "2015-10-06", "experiment_end": "2015-10-08"},
        "world": {"kind": "generated", "users": 5, "items": 90, "cities": ["Seattle"]},
        "analysis": {"control": "old", "primary": "ctr", "metrics": ["ctr"], "alpha": 0.05, "correction": "holm"},
        "metrics": {"ctr": {"title": "Click-through rate", "unit": "share", "formula": "clicks / impressions"}},
        "arms": {
            arm: {
                "policy": "p",
                "params": {"refresh.on": ["weather", "trend"], "cache": False, "budget": None},
                "share": 1 / 3,
                "users": 5,
                "assigned": 5,
                "totals": {},
            }
            for arm in arms
        },
        "srm": {"p_value": 0.4, "ok": True},
        "comparisons": [],
        "daily": [],
        "context": {},
        "allocation": None,
        "frontier": None,
        "thinking": {
            "old": account({"route": role(4, 2000, 0, 90, 6 * 10**9)}, 1, sample(7, ROUTES, ["rain boots"], [])),
            "new": account(
                {
                    "arbiter": role(1, 160, 60, 50, 10**9),
                    "expert": role(3, 140, 0, 90, 10**9),
                    "planner": role(1, 100, 0, 40, 10**9),
                },
                3,
                sample(7, EXPERTS, ["dog food"], ["cat litter"]),
                fidelity={"top_n": 0.712},
            ),
        },
        "diagnostics": {"visits": {}, "exposed": {}, "churned": {}, "warmup_balance": [], "warmup_thinking": None},
    }


def page(given: dict[str, Any]) -> str:
    """The report without scripts and styles."""
    return re.sub(r"<(script|style).*?</\1>", "", render_report(given, MANIFEST), flags=re.DOTALL)


def shown(width: int, given: dict[str, Any]) -> str:
    """What the terminal prints."""
    file = io.StringIO()
    print_verdict(Console(width=width, file=file, no_color=True, legacy_windows=False), given)
    return file.getvalue()


def test_costs_are_of_a_refresh() -> None:
    """Every count is divided by the refreshes executed, roles stand in the order in which they work."""
    old, new = thinking.spent(results())
    assert (old.refreshes, old.users) == (10, 5)
    assert old.roles == (thinking.Cost("route", 4, 2000, 0, 90, 6.0),)
    assert [each.role for each in new.roles] == ["planner", "expert", "arbiter"]
    assert new.whole == thinking.Cost("all roles", 5, 400, 60, 180, 3.0)


def test_arms_stand_beside_each_other() -> None:
    """Each quantity has a value for each arm that thinks, and the treatment's ratio to the control."""
    rows = {row.what: row[1:] for row in thinking.beside(results())}
    assert rows["Prompt tokens"] == (("2,000", "400"), ("0.2",))
    assert rows["Prompt tokens not read from a cache"] == (("2,000", "340"), ("0.17",))
    assert rows["Generated tokens"] == (("90", "180"), ("2",))
    assert rows["Serial calls of a job (refresh)"] == (("1", "3"), ("3",))
    assert rows["Refreshes of a user over the run"] == (("2", "2"), ("1",))
    assert rows["GFLOP of a user over the run"] == (("12", "6"), ("0.5",))


def test_a_control_that_does_not_think_is_no_divisor() -> None:
    """Where the control has no account no ratio is shown, neither on the page nor in the terminal."""
    given = results()
    given["analysis"]["control"] = "blind"
    assert all(row.ratios == () for row in thinking.beside(given))
    assert not any(" over " in sentence for sentence in thinking.sentences(given))
    assert "over blind" not in page(given)


def test_nothing_executed_is_nothing_known() -> None:
    """An arm that was never asked costs no zero tokens a refresh: its cost is unknown, and the page says so."""
    given = results()
    empty = {"roles": {}, "jobs": {}, "truncated": 0}
    days = [day | {"executed": 0} for day in given["thinking"]["new"]["refreshes"]]
    given["thinking"]["new"] |= {"ledger": empty, "refreshes": days, "samples": [], "users": 0}
    assert thinking.spent(given)[1].whole.prompt_tokens is None
    assert thinking.beside(given)[1].by_arm[1] == words.NOTHING
    assert not re.search(r"\b(None|nan|null)\b", page(given))
    assert not re.search(r"\b(None|nan)\b", shown(100, given))


def test_the_section_is_there_where_an_arm_thinks() -> None:
    """With accounts the page has the section and its figures, without them neither section nor sentence."""
    given = results()
    text = page(given)
    assert 'id="thinking"' in text
    assert "they are not GPU seconds" in text
    assert "Language model, old" in text
    assert set(thinking.charts(given)) == {"thinking-jobs", "thinking-age"}
    given["thinking"] = None
    assert 'id="thinking"' not in page(given)
    assert thinking.charts(given) == {}
    assert thinking.sentences(given) == []
    assert "Tokens" not in shown(80, given)


def test_cards_show_what_became_of_each_tag() -> None:
    """Chosen, dropped and cut-off proposals are told apart, and a tag named twice is marked the second time."""
    [person] = thinking.people(results())
    assert (person.user, person.profile) == (7, "woman, 35-44, Seattle")
    old, new = person.cards
    assert [card.arm for card in person.cards] == ["old", "new"]
    assert [tag.repeated for part in old.parts for tag in part.tags] == [False, False, True]
    assert [tag.state for tag in new.parts[0].tags] == ["chosen", "dropped", "proposed"]
    text = page(results())
    assert "<s>cat litter</s>" in text
    assert re.search(r'class="proposed repeated">umbrella<span class="unseen">, named before', text)
    for part in ("Pets; everyday", "warm, playful", "Rain Boots, Navy", "Puddle season is here.", "Cool, light rain"):
        assert part in text
    assert text.count("<summary><strong>User 7</strong>") == 1


def test_users_of_either_arm_have_a_card() -> None:
    """Where arms thought about different users each has a card of its own, in the order of numbers."""
    given = results()
    given["thinking"]["new"]["samples"][0]["user"] = 3
    assert [(person.user, [card.arm for card in person.cards]) for person in thinking.people(given)] == [
        (3, ["new"]),
        (7, ["old"]),
    ]
    assert page(given).count('<details class="person" open>') == 1


def test_thoughts_stay_text() -> None:
    """No title, tag, persona, profile or explanation can become an element, on the page or in a figure."""
    text = json.dumps(results())
    for word in ("umbrella", "cat litter", "Rain Boots, Navy", "Puddle season is here.", "Pets; everyday"):
        text = text.replace(word, f"{word} {EVIL}</script>%{{x}}")
    for word in ("woman, 35-44, Seattle", "Cool, light rain", "warm, playful", '"new', "top_n", "planner"):
        text = text.replace(word, f"{word} {EVIL}</script>")
    given = json.loads(text)
    html = render_report(given, MANIFEST)
    shown_page = re.sub(r"<(script|style).*?</\1>", "", html, flags=re.DOTALL)
    assert "<img" not in shown_page
    assert "</script" not in shown_page
    assert unescape(shown_page).count(EVIL) >= 11
    charts = re.search(r'<script type="application/json" id="charts">(.*?)</script>', html, re.DOTALL)
    assert charts
    for string in re.findall(r'"((?:[^"\\]|\\.)*)"', charts[1]):
        assert set(re.findall(r"<[^>]*>", json.loads(f'"{string}"'))) <= {"<br>"}


def test_the_terminal_tells_tokens_ratio_and_age() -> None:
    """After the verdict: tokens of a refresh by arm, treatment over control, how old tags were."""
    for width in (80, 120):
        text = shown(width, results())
        assert max(map(len, text.splitlines())) <= width
        flat = " ".join(text.split())
        for part in (
            "old reads 2,000 (0 cached) and writes 90; new reads 400 (60 cached) and writes 180",
            "new over old: prompt tokens 0.2, generated tokens 2, operations 0.5",
            "not GPU seconds",
            "old 1.2 on average, a tenth of users above 6.0 on the worst day",
        ):
            assert part in flat
    given = results()
    given["thinking"]["[red]"] = given["thinking"].pop("new")
    given["arms"]["[red]"] = given["arms"].pop("new")
    assert "[red] reads 400" in " ".join(shown(80, given).split())


def test_the_warm_up_and_long_prompts_are_told() -> None:
    """What the warm-up cost, and how many prompts were cut, is said where there is any."""
    given = results()
    assert thinking.warmup_sentence(given) == ""
    assert "window" not in page(given)
    given["diagnostics"]["warmup_thinking"] = {
        key: given["thinking"]["old"][key] for key in ("users", "ledger", "refreshes")
    }
    given["thinking"]["new"]["ledger"]["truncated"] = 12
    text = page(given)
    assert "10 refreshes and 20,900 tokens" in text
    assert "12 prompts were longer than the model" in text


def test_what_fitting_asked_of_the_model_is_told_apart() -> None:
    """Calls made before the experiment are summed over roles and told for each arm that made some, and for no other."""
    given = results()
    assert thinking.fitting_sentences(given) == []
    assert "moments of the log were thought about" not in page(given)
    role = {"calls": 700, "prompt_tokens": 9000, "cached_tokens": 0, "generated_tokens": 1000, "flops": 3 * 10**9}
    given["thinking"]["new"]["fitting"] = {"roles": {"planner": role, "arbiter": role}, "jobs": {}, "truncated": 0}
    assert thinking.fitting_sentences(given) == ["new: 1,400 calls, 20,000 tokens, 6 GFLOP."]
    assert "new: 1,400 calls, 20,000 tokens, 6 GFLOP." in page(given)


def test_fidelity_is_shown_of_a_distilled_reasoner() -> None:
    """Every measure of a student has its name and value; without a student there is no such heading."""
    given = results()
    given["thinking"]["old"]["fidelity"] = {"clicks": {"model": 0.5, "student": 0.25}, "held_out": 150.0}
    assert thinking.fidelity(given) == [
        ("old", [("clicks, model", "0.5000"), ("clicks, student", "0.2500"), ("requests held out", "150")]),
        ("new", [("top n", "0.7120")]),
    ]
    assert "How faithful the distilled reasoner is" in page(given)
    for each in given["thinking"].values():
        each["fidelity"] = None
    assert "How faithful the distilled reasoner is" not in page(given)


def test_changes_of_context_are_told_by_cause() -> None:
    """Where the schedule counts causes, those that made somebody due are named beside their sum."""
    given = results()
    day = given["thinking"]["old"]["refreshes"][1]
    assert thinking.causes(day) == ""
    day |= {"due_weather": 4, "due_holiday": 0, "due_trend": 1200}
    assert thinking.causes(day) == "weather 4, trend 1,200"
    assert "<small>weather 4, trend 1,200</small>" in page(given)


def test_parameters_read_like_a_config() -> None:
    """Lists, switches and what is left out are told in words."""
    assert words.params(results()["arms"]["old"]["params"]) == "refresh.on weather + trend, cache off, budget none"
    assert "refresh.on weather + trend, cache off, budget none" in page(results())


def test_figures_of_thinking_are_valid_for_plotly() -> None:
    """Plotly's own checks accept the figures, also with ages that are unknown; the input is left as it was."""
    given = results()
    given["thinking"]["old"]["refreshes"][0]["mean_age_days"] = None
    before = copy.deepcopy(given)
    for figure in thinking.charts(given).values():
        go.Figure(json.loads(re.sub(r'"@[a-z0-9-]+"', '"#123456"', json.dumps(figure))))
        assert [trace["line"]["dash"] for trace in figure["data"]] == ["solid", "dot"] * 2
    assert given == before


@pytest.mark.parametrize("control", ["old", "blind"])
def test_the_same_results_give_the_same_page(control: str) -> None:
    """Rendering is a pure function of results and manifest."""
    given = results()
    given["analysis"]["control"] = control
    assert render_report(given, MANIFEST) == render_report(copy.deepcopy(given), MANIFEST)
