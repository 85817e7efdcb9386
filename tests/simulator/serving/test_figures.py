from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest

from simulator.serving.cluster import Cluster, Served, serve
from simulator.serving.errors import ServingError
from simulator.serving.figures import Price, Slo, figures, kept_promise, spread, tpot
from simulator.serving.hardware import BF16, H20
from simulator.serving.pool import Pool
from simulator.serving.steptime import StepTime
from simulator.serving.transformer import QWEN3_8B, causal_flops, step_cost
from simulator.serving.workload import Workload, draw_workload, parallel_job


@pytest.fixture(scope="module")
def served(cluster: Callable[..., Cluster], calls: Callable[..., Workload]) -> Served:
    """Three calls one after the other on one instance: 10, 20 and 1 tokens of a millisecond each."""
    return serve(cluster(max_calls=1), calls([0.0, 0.0, 0.020], [4, 4, 4], [10, 20, 1]))


def test_latencies_by_hand(served: Served) -> None:
    """Waits, first tokens, gaps and ends must be those of three calls in a row."""
    found = figures(served)
    assert found.queue_wait.mean == pytest.approx((0 + 10 + 10) / 3e3, abs=1e-6)
    assert found.ttft.mean == pytest.approx((1 + 11 + 11) / 3e3, abs=1e-6)
    assert found.call.p50 == pytest.approx(11e-3, abs=1e-5) or found.call.p50 == pytest.approx(0.011, abs=1e-4)
    assert found.job.p99 == pytest.approx(np.quantile([0.010, 0.030, 0.011], 0.99), abs=1e-6)
    assert (found.tpot.mean, found.tpot.count) == (pytest.approx(1e-3, abs=1e-7), 2)
    assert np.isnan(tpot(served)[2])
    assert found.jobs_per_second == pytest.approx(3 / 0.031, rel=1e-4)


def test_card_time_is_not_latency(served: Served) -> None:
    """Busy seconds must be those of the iterations, and provisioned ones last from the start to the last end."""
    found = figures(served)
    assert found.gpu_seconds_busy == pytest.approx(0.031, abs=1e-6)
    assert found.gpu_seconds_provisioned == pytest.approx(0.031, abs=1e-6)
    assert found.gpu_hours == pytest.approx(0.031 / 3600, rel=1e-4)
    assert found.gpu_seconds_busy_per_job == pytest.approx(0.031 / 3, abs=1e-6)
    assert (found.kept, found.goodput, found.model_error) == (None, None, None)


@pytest.mark.parametrize(
    ("slo", "kept"),
    [
        (Slo(ttft=0.005), [True, False, False]),
        (Slo(ttft=0.012), [True, True, True]),
        (Slo(job=0.012), [True, False, True]),
        (Slo(tpot=0.0005), [False, False, True]),
        (Slo(ttft=0.005, tpot=0.0005), [False, False, False]),
    ],
)
def test_promises_by_hand(served: Served, slo: Slo, kept: list[bool]) -> None:
    """A job must keep all that is promised; one token has no gap to keep."""
    assert kept_promise(served, slo).tolist() == kept
    found = figures(served, slo)
    assert found.kept == pytest.approx(np.mean(kept))
    assert found.goodput == pytest.approx(sum(kept) / 0.031, rel=1e-4)


def test_one_slow_call_breaks_the_promise_of_its_job(cluster: Callable[..., Cluster]) -> None:
    """A job of several calls must keep the promise with all of them."""
    work = draw_workload(parallel_job(2, 0, 4, 10), 1.0, 1, 0)
    served = serve(cluster(max_calls=1), work)
    assert kept_promise(served, Slo(ttft=0.005)).tolist() == [False]
    assert kept_promise(served, Slo(ttft=0.012)).tolist() == [True]


def test_warm_up_leaves_first_jobs_out(served: Served) -> None:
    """Latencies and promise must be those of the later jobs, and card time that of all."""
    found = figures(served, Slo(job=0.012), warm_up=0.34)
    assert (found.job.count, found.kept) == (2, 0.5)
    assert found.gpu_seconds_busy == pytest.approx(0.031, abs=1e-6)
    with pytest.raises(ServingError, match=r"warm_up: 1; it must be at least 0 and leave one of 3 jobs"):
        figures(served, warm_up=1.0)
    with pytest.raises(ServingError, match=r"warm_up: -0\.5"):
        figures(served, warm_up=-0.5)


def test_utilisation_by_hand() -> None:
    """MFU must be the causal count over peak and seconds, MBU bytes over bandwidth and seconds."""
    work = draw_workload(parallel_job(1, 0, 4000, 2), 1.0, 1, 0)
    served = serve(Cluster(QWEN3_8B, Pool(H20, 1, StepTime(0.5, 0.8), max_tokens=4000, max_calls=1)), work)
    found = figures(served)
    flops = causal_flops(QWEN3_8B, 4001, 0, 2)
    busy = served.finished[0] - served.admitted[0]
    assert found.gpu_seconds_busy == pytest.approx(busy, abs=1e-8)
    assert found.mfu_busy == pytest.approx(flops / 148e12 / busy, rel=1e-6)
    assert found.mfu_busy < 0.5
    assert found.mfu_provisioned == pytest.approx(flops / 148e12 / served.finished[0], rel=1e-6)
    cost = step_cost(QWEN3_8B, BF16)
    assert found.mbu_busy == pytest.approx((cost.bytes(4000, 1, 4000) + cost.bytes(1, 1, 4001)) / 4e12 / busy, rel=1e-6)


def test_repeated_work_is_not_useful(cluster: Callable[..., Cluster], calls: Callable[..., Workload]) -> None:
    """What was read again after a call was put back must not count for MFU."""
    work = calls([0.0, 0.0], [40, 40], [30, 30])
    tight, roomy = serve(cluster(kv_tokens=120), work), serve(cluster(), work)
    assert tight.pools[0].flops_again > 0
    useful = figures(tight).mfu_busy * tight.pools[0].busy_seconds
    assert useful == pytest.approx(figures(roomy).mfu_busy * roomy.pools[0].busy_seconds, rel=1e-9)


def test_a_price_of_nothing_is_refused() -> None:
    """What an hour of a card costs must be above 0."""
    with pytest.raises(ServingError, match=r"price\.per_hour: 0; it must be finite and above 0"):
        Price(0.0, "EUR", date(2025, 1, 1))


def test_spread_of_nothing() -> None:
    """Quantiles must leave NaN out, and be NaN where nothing is left."""
    assert spread([1.0, float("nan"), 3.0]).mean == 2.0
    assert spread([1.0, float("nan"), 3.0]).count == 2
    nothing = spread([])
    assert (nothing.count, np.isnan(nothing.p99)) == (0, True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"job": None}, "slo: nothing is promised; give ttft, tpot or job"),
        ({"ttft": 0.0}, r"slo\.ttft: 0; it must be finite and above 0"),
        ({"tpot": -1.0}, r"slo\.tpot: -1"),
        ({"job": float("inf")}, r"slo\.job: inf"),
        ({"share": 1.1}, r"slo\.share: 1\.1; it must be above 0 and at most 1"),
    ],
)
def test_bounds_of_promises(changes: dict[str, Any], message: str) -> None:
    """A promise that says nothing, or nothing that can be kept, must be refused."""
    with pytest.raises(ServingError, match=message):
        replace(Slo(job=1.0), **changes)
