"""Modelled clusters: their size, their figures, and what stands beside the report's claims."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from experiments.progress import SilentProgress
from experiments.timing_config import Against, Serving
from experiments.timing_plans import RowPlan
from experiments.timing_projection import (
    COMPRESSION,
    DISAGGREGATION,
    FP8,
    HIERARCHY,
    PREFIX,
    against_paper,
    check_serving,
    decode_tps,
    keeping_up,
    prefill_qps,
    project,
)
from simulator.serving.cluster import Cluster, serve
from simulator.serving.errors import ServingError
from simulator.serving.hardware import H20
from simulator.serving.planner import BASE, TOGETHER
from simulator.serving.pool import Pool
from simulator.serving.transformer import QWEN3_8B
from simulator.serving.workload import CallShape, JobShape, draw_workload, parallel_job

V1 = RowPlan(parallel_job(4, 4000, 100, 40), (("route",) * 4,), False, None)
V2 = RowPlan(
    JobShape(((CallShape(50, 20, 1000),), (CallShape(60, 30),) * 3, (CallShape(80, 30, 1000),))),
    (("planner",), ("expert",) * 3, ("arbiter",)),
    True,
    None,
)
PLANS = {"stated": {"V1": V1, "V1 shared": replace(V1, shares=True), "V2": V2}}


def _serving(**given: Any) -> Serving:
    settings = {
        "model": "qwen3-8b",
        "hardware": ["h20"],
        "users_a_day": 50_000,
        "slo": {"job": 20},
        "jobs": 40,
        "most": 64,
    }
    return Serving.model_validate(settings | given)


def test_what_a_plan_saves_shows_in_cards_and_seconds() -> None:
    """Sharing the prefix and the hierarchy must each need less than V1, and every figure must say how it is known."""
    found = {each["row"]: each for each in project(_serving(), ["h20"], PLANS, 7, SilentProgress())}
    for column in ("projected_gpus", "projected_gpu_seconds_busy_per_refresh"):
        assert found["V1"][column] > found["V1 shared"][column] >= found["V2"][column]
    for each in found.values():
        assert each["step_time_source"] == "assumed"
        assert each["step_time_error"] is None
        assert each["projected_cost_per_1000_refreshes"] is None
        assert 0 < each["projected_mfu_provisioned"] < each["projected_mfu_busy"] < 0.45
        assert each["projected_gpu_seconds_provisioned_per_refresh"] == each["projected_gpus"] * 86_400 / 50_000


def test_a_queue_that_grows_is_not_a_cluster_that_keeps_up() -> None:
    """A promise so lax that a short run keeps it with too few cards must not hide that they fall behind."""
    serving = _serving(slo={"job": 500})
    (found,) = project(serving, ["h20"], {"stated": {"V1": V1}}, 7, SilentProgress())
    cluster = Cluster(QWEN3_8B, Pool(H20, 1), prefix_cache=False)
    assert found["projected_gpus"] == keeping_up(serving, cluster, V1.job) > found["projected_gpus_for_slo"]
    jobs = 1000
    work = draw_workload(V1.job, serving.rate, jobs, 7)
    few = serve(replace(cluster, pool=Pool(H20, found["projected_gpus"] - 1)), work)
    took = few.job_finished - work.arrival
    assert np.median(took[-100:]) > 2 * np.median(took[100:200])


def test_a_price_gives_a_cost_and_measured_step_times_their_error() -> None:
    """What the user states is used and told; cards held all day are paid all day."""
    price = {"h20": {"per_hour": 3.6, "currency": "USD", "at": "2026-01-01"}}
    step_time = {"h20": {"compute_efficiency": 0.6, "memory_efficiency": 0.8, "error": 0.04}}
    (found,) = project(_serving(price=price, step_time=step_time), ["h20"], {"stated": {"V2": V2}}, 7, SilentProgress())
    held = found["projected_gpu_seconds_provisioned_per_refresh"]
    assert found["projected_cost_per_1000_refreshes"] == pytest.approx(held * 1000 / 3600 * 3.6)
    assert (found["currency"], found["price_at"]) == ("USD", "2026-01-01")
    assert (found["step_time_source"], found["step_time_error"]) == ("given", 0.04)


def test_a_model_that_does_not_fit_says_by_how_much() -> None:
    """The error must come before anything is simulated, with the GiB that are lacking."""
    with pytest.raises(
        ServingError, match=r"^serving\.model: weights of 15\.3 GiB .* h20 .*: 6\.\d GiB are lacking; take"
    ):
        check_serving(_serving(usable_memory=0.1))
    with pytest.raises(ServingError, match=r"^plans\.stated: a call of 4140 tokens in row V1 \(h20 holds \d+ beside"):
        check_serving(_serving(usable_memory=0.174), PLANS)


def test_a_promise_that_no_size_keeps_names_the_row() -> None:
    """The error must say where, and what was reached."""
    with pytest.raises(ServingError, match=r"^serving\.slo: kept for 0\.0% .* \(plan stated, row V1, h20\)$"):
        project(_serving(slo={"job": 0.1}, most=2), ["h20"], PLANS, 7, SilentProgress())


@pytest.mark.parametrize("shares", [False, True])
def test_prompts_a_second_are_those_of_a_card_that_only_reads(shares: bool) -> None:
    """A card with more prompts than it can read must read as many as the formula says."""
    job = parallel_job(4, 4000, 100, 1)
    cluster = Cluster(QWEN3_8B, Pool(H20, 1), prefix_cache=shares)
    work = draw_workload(job, 1000.0, 60, 3)
    served = serve(cluster, work)
    assert work.calls / served.pools[0].busy_seconds == pytest.approx(prefill_qps(cluster, job), rel=0.05)


def test_tokens_a_second_are_those_of_a_card_that_only_writes() -> None:
    """A full batch that writes long answers must write as many tokens a second as the formula says."""
    job = parallel_job(1, 0, 1, 512)
    cluster = Cluster(QWEN3_8B, Pool(H20, 1))
    served = serve(cluster, draw_workload(job, 1e6, 256, 3))
    written = int(np.sum(served.workload.output))
    assert written / served.pools[0].busy_seconds == pytest.approx(decode_tps(cluster, job), rel=0.05)


def test_the_report_stands_beside_the_model() -> None:
    """Ratios carry the claims, the MFU's both, and the waterfall goes from the control to everything at once."""
    serving, plans = _serving(), {"stated": {"V1": V1, "V2": V2}}
    projected = project(serving, serving.hardware, plans, 7, SilentProgress())
    against = Against(plan="stated", control="V1", treatment="V2")
    found = against_paper(serving, against, plans["stated"], projected, 7, SilentProgress())
    ratios = {each["figure"]: each for each in found["by_hardware"]["h20"]["ratios"]}
    assert ratios["MFU, busy"]["claimed_ratio"] == pytest.approx(1.474, abs=5e-4)
    assert "+53%" in ratios["MFU, busy"]["claim"]
    assert ratios["GPUs"]["claimed_ratio"] == 0.4
    assert ratios["GPUs"]["projected_ratio"] < 1
    bars = found["by_hardware"]["h20"]["projected_waterfall"]
    assert [bar["saving"] for bar in bars] == [BASE, HIERARCHY, PREFIX, COMPRESSION, DISAGGREGATION, FP8, TOGETHER]
    for column in ("projected_gpus", "projected_gpu_seconds_busy_per_refresh"):
        assert bars[0][column] == projected[0][column]
    assert bars[-1]["projected_busy_saved"] == max(bar["projected_busy_saved"] for bar in bars)


def test_a_card_without_8_bit_products_has_no_such_saving() -> None:
    """The waterfall of such a card leaves that bar out."""
    serving = _serving(hardware=["a100"])
    plans = {"stated": {"V1": V1, "V2": V2}}
    projected = project(serving, serving.hardware, plans, 7, SilentProgress())
    against = Against(plan="stated", control="V1", treatment="V2")
    found = against_paper(serving, against, plans["stated"], projected, 7, SilentProgress())
    assert FP8 not in [bar["saving"] for bar in found["by_hardware"]["a100"]["projected_waterfall"]]
