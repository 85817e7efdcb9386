"""From designs to calls: stated lengths, and lengths read off an account."""

from datetime import date

import pytest

from experiments.progress import SilentProgress
from experiments.timing_config import CallLengths, LengthsPlan, Row, WorldPlan
from experiments.timing_plans import counted_plan, stated_plan, world_plans
from experiments.world_config import GeneratedWorld
from policies.language.ledger import Ledger
from simulator.serving.transformer import QWEN3_8B

ROWS = {
    "V1": Row(policy="recgpt_v1", params={"language": {"cache": False}}),
    "V1 shared": Row(policy="recgpt_v1", params={"share_prefix": True, "language": {"cache": False}}),
    "V2 full": Row(policy="recgpt_v2", params={"compression": False, "language": {"cache": False}}),
    "V2": Row(policy="recgpt_v2", params={"language": {"cache": False}}),
}


def _lengths(prompt: int, answer: int) -> CallLengths:
    return CallLengths(prompt=prompt, answer=answer)


STATED = LengthsPlan(
    kind="lengths",
    history=1000,
    compressed=200,
    route=_lengths(10, 5),
    planner=_lengths(11, 6),
    expert=_lengths(12, 7),
    arbiter=_lengths(13, 8),
)


def test_stated_lengths_become_the_designs_calls() -> None:
    """Every V1 route reads the history; of V2 the planner and the arbiter do, over it or its short form, but once."""
    tokens = {name: stated_plan(STATED, row).tokens for name, row in ROWS.items()}
    assert tokens["V1"] == {"prompt": 4040, "read": 4040, "written": 20}
    assert tokens["V1 shared"] == {"prompt": 4040, "read": 1040, "written": 20}
    assert tokens["V2 full"] == {"prompt": 2060, "read": 1060, "written": 35}
    assert tokens["V2"] == {"prompt": 460, "read": 260, "written": 35}


def test_a_style_is_there_where_it_is_stated_and_explained() -> None:
    """A style call stands behind the planner, which has read the context, unless nothing is explained."""
    plan = STATED.model_copy(update={"style": _lengths(3, 2)})
    assert stated_plan(plan, ROWS["V2"]).roles == (("planner",), ("expert",) * 3 + ("style",), ("arbiter",))
    mute = Row(policy="recgpt_v2", params={"explained": 0})
    assert stated_plan(plan, mute).roles == (("planner",), ("expert",) * 3, ("arbiter",))


def test_an_account_gives_back_its_means() -> None:
    """Calls, prompts and answers per job must be those of the account, the end of an answer added."""
    account = {
        "jobs": {"refresh": {"jobs": 2}},
        "roles": {"route": {"calls": 8, "prompt_tokens": 880, "cached_tokens": 600, "generated_tokens": 40}},
    }
    plan = counted_plan(ROWS["V1"], account)
    (stage,) = plan.job.stages
    assert [(call.shared, call.own, call.output) for call in stage] == [(100, 10, 6)] * 4
    assert not plan.shares
    assert plan.tokens["read"] == 440
    assert counted_plan(ROWS["V1 shared"], account).tokens["read"] == 140
    single = Row(policy="recgpt_v1", params={"routes": ["habits"]})
    account["roles"]["route"] |= {"calls": 2, "prompt_tokens": 220, "cached_tokens": 0}
    assert counted_plan(single, account).tokens["prompt"] == 110


def test_policies_of_a_world_are_asked_and_their_account_is_read() -> None:
    """V1's routes differ only in who reads, soft tokens shorten V2's context, and answers end with a token."""
    plan = WorldPlan(
        kind="world",
        world=GeneratedWorld(kind="generated", users=30, items=300, cities=("seattle",), country="US"),
        start=date(2015, 9, 20),
        history_days=12,
        users=3,
    )
    found = world_plans(plan, ROWS, 7, SilentProgress())
    assert found["V1"].job == found["V1 shared"].job
    assert found["V1"].tokens["read"] > found["V1 shared"].tokens["read"]
    assert found["V2"].tokens["read"] < found["V2 full"].tokens["read"]
    for each in found.values():
        assert each.counted is not None
        means = sum(role["calls"] * (role["generated_tokens"] + 1) for role in each.counted.values())
        assert each.tokens["written"] == pytest.approx(means, rel=0.15)
        told = each.as_dict(None)
        assert sum(len(stage) for stage in told["stages"]) == told["calls"]
        assert told["flops"] is None


@pytest.mark.parametrize(("row", "cached"), [("V1", (0, 0, 0, 0)), ("V1 shared", (0, 1000, 1000, 1000))])
def test_operations_are_those_of_the_account(row: str, cached: tuple[int, ...]) -> None:
    """The causal count of a plan must be what the policies' ledger books for the same calls."""
    ledger = Ledger(QWEN3_8B)
    booked = ledger.count("route", [1010] * 4, cached, [4] * 4)
    plan = stated_plan(STATED, ROWS[row])
    assert plan.flops(QWEN3_8B)["causal"] == int(booked.sum())
    assert plan.as_dict(QWEN3_8B)["flops"] == plan.flops(QWEN3_8B)


def test_full_squares_cost_more_the_longer_the_prompt() -> None:
    """Of a prompt of 32,768 tokens whole squares must be about 1.4 times the causal count, of a short one the same."""
    ratios = []
    for history in (100, 32_768):
        found = stated_plan(STATED.model_copy(update={"history": history}), ROWS["V1"]).flops(QWEN3_8B)
        ratios.append(found["square"] / found["causal"])
    assert ratios[0] == pytest.approx(1.0, abs=0.01)
    assert 1.3 < ratios[1] < 1.42
