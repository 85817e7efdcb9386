"""Rows: shares of a card's peaks are counted by hand, and a card without a sheet has none."""

from typing import Any

import pytest

from policies.language.gpu.engine import Sample
from policies.language.gpu.rounds import Energy, Outcome
from policies.language.gpu.rows import PRECISIONS as TYPES
from policies.language.gpu.rows import PlanRow, StepRow, work_of
from policies.language.steps import Cuts, StepShape, plan_steps
from simulator.serving.hardware import A100, BF16, H200
from simulator.serving.transformer import QWEN3_8B, causal_flops, square_flops, step_cost
from simulator.serving.workload import parallel_job

READ = StepShape(5158, 0, 4)


def _outcome(seconds: list[dict[str, float]], parts: int = 1, **given: Any) -> Outcome:
    samples = [Sample(each, sum(each.values()) + 0.5, dict.fromkeys(each, 7)) for each in seconds]
    clocks = [{"sm_mhz": 1000 + 10 * place, "watts": None} for place in range(len(samples))]
    return Outcome(parts, samples, clocks, **given)


def test_a_reading_step_is_a_share_of_the_peak() -> None:
    """MFU is causal operations over seconds times the dense peak; the whole square counts for more."""
    row = StepRow("qwen3-8b", QWEN3_8B, "bf16", READ, None, _outcome([{"prefill": s} for s in (0.5, 0.4, 0.7)]))
    found = row.as_dict(H200)
    useful = 4 * causal_flops(QWEN3_8B, 5158, 0, 1)
    assert found["gpu_seconds"] == {
        "median": 0.5,
        "q25": pytest.approx(0.45),
        "q75": pytest.approx(0.6),
        "raw": [0.5, 0.4, 0.7],
    }
    assert found["flops"] == useful
    assert found["mfu"] == pytest.approx(useful / (0.5 * 989.4e12))
    assert found["mfu_full_square"] == pytest.approx(4 * square_flops(QWEN3_8B, 5158, 0, 1) / (0.5 * 989.4e12))
    assert found["mfu_full_square"] > found["mfu"]
    assert found["tokens_per_second"] == 4 * 5158 / 0.5
    assert found["peak_memory_bytes"] == 7
    assert found["clocks"] == {"sm_mhz": [1000, 1020], "watts": [None, None]}


def test_a_writing_step_is_a_share_of_the_bandwidth() -> None:
    """MBU is weights, keys and values over seconds times the bandwidth, for one pass of the sample's parts."""
    step = StepShape(1, 21_349, 8)
    outcome = _outcome([{"decode": 0.32}], parts=32, energy=Energy(joules=640.0, seconds=2.0, parts=64))
    found = StepRow("qwen3-8b", QWEN3_8B, "bf16", step, "graph", outcome).as_dict(H200)
    moved = step_cost(QWEN3_8B, BF16).bytes(8, 8, 8 * 21_350)
    assert found["gpu_seconds"]["median"] == pytest.approx(0.01)
    assert found["mbu"] == pytest.approx(moved / (0.01 * 4.8e12))
    assert (found["joules"], found["watts"], found["energy_window_seconds"]) == (10.0, 320.0, 2.0)


def test_eight_bits_have_their_own_peak_and_bytes() -> None:
    """In fp8 the peak doubles, layers weigh half, and the head keeps its 16 bits."""
    step = StepShape(1, 100, 1)
    row = StepRow("qwen3-8b", QWEN3_8B, "fp8", step, "graph", _outcome([{"decode": 0.01}]))
    head = QWEN3_8B.vocabulary * QWEN3_8B.width
    whole, half = work_of(QWEN3_8B, [step], BF16), work_of(QWEN3_8B, [step], TYPES["fp8"])
    assert whole.bytes - half.bytes == QWEN3_8B.linear_weights
    assert half.bytes > QWEN3_8B.linear_weights + 2 * head
    assert row.as_dict(H200)["mfu"] == pytest.approx(half.flops / (0.01 * 1978.9e12))
    assert row.as_dict(A100)["mfu"] is None
    assert row.as_dict(A100)["gpu_seconds"]["median"] == 0.01


def test_an_unknown_card_has_seconds_and_no_shares() -> None:
    """Without a data sheet no share may be told, and everything else must be."""
    found = StepRow("m", QWEN3_8B, "bf16", READ, None, _outcome([{"prefill": 1.0}])).as_dict(None)
    assert (found["mfu"], found["mfu_full_square"], found["mbu"]) == (None, None, None)
    assert found["gpu_seconds"]["median"] == 1.0
    assert found["joules"] is None


def _plan(outcome: Outcome) -> PlanRow:
    passes = tuple(s for step in plan_steps(parallel_job(4, 100, 20, 8), True, 2, Cuts(4096, 64)) for s in step.shapes)
    return PlanRow("m", QWEN3_8B, "bf16", "paper", "V1", 2, 1, "graph", passes, outcome)


def test_a_plan_tells_busy_and_provisioned_apart() -> None:
    """Busy seconds are those of phases, provisioned ones all until the device was done, each for one refresh."""
    found = _plan(_outcome([{"prefill": 1.0, "copy": 0.2, "decode": 0.8}], parts=2)).as_dict(H200)
    assert found["gpu_seconds"]["median"] == pytest.approx(1.0)
    assert found["gpu_seconds_provisioned"]["median"] == pytest.approx(1.25)
    assert found["seconds_to_last_token"]["median"] == pytest.approx(2.5)
    assert found["mfu_provisioned"] == pytest.approx(found["mfu_busy"] * 1.0 / 1.25)
    assert found["mfu_busy_full_square"] > found["mfu_busy"]
    assert {name: each["gpu_seconds"]["median"] for name, each in found["phases"].items()} == {
        "prefill": 0.5,
        "copy": 0.1,
        "decode": 0.4,
    }
    # One prefix for both refreshes' four routes each, then 20 tokens and 7 passes a route.
    prompt = causal_flops(QWEN3_8B, 100, 0, 1) + 4 * causal_flops(QWEN3_8B, 20, 100, 1)
    assert found["flops"] == prompt + 4 * causal_flops(QWEN3_8B, 7, 120, 7)
    writing = work_of(QWEN3_8B, [StepShape(1, 120 + place, 8) for place in range(7)], BF16)
    assert found["mbu_decode"] == pytest.approx(writing.bytes / (0.8 * 4.8e12))


def test_what_was_not_measured_says_why_and_nothing_else() -> None:
    """A row without samples has its reason, and neither seconds nor shares."""
    nothing = Outcome(1, [], [], why_not="it does not fit in the card's memory", memory=True)
    for row in (StepRow("m", QWEN3_8B, "bf16", READ, None, nothing), _plan(nothing)):
        found = row.as_dict(H200)
        assert found["why_not"] == "it does not fit in the card's memory"
        assert found["gpu_seconds"] is None
        assert not {"mfu", "mfu_busy", "flops", "joules"} & set(found)
