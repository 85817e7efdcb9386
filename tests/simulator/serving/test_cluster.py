from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.serving import instance
from simulator.serving.autoscale import Autoscale
from simulator.serving.cluster import Cluster, Served, serve
from simulator.serving.errors import ServingError
from simulator.serving.hardware import A100, FP8, H20
from simulator.serving.link import Link
from simulator.serving.pool import Pool
from simulator.serving.steptime import StepTime
from simulator.serving.transformer import QWEN3_8B, QWEN3_14B, causal_flops
from simulator.serving.workload import (
    CallShape,
    Workload,
    draw_workload,
    parallel_job,
    planned_job,
)
from simulator.streams import Stream

STEP = 1e-3
LINK = Link(1e9)
SMALL_JOBS = (
    parallel_job(4, 60, 9, 12),
    planned_job(CallShape(20, 8, 30), CallShape(15, 14), 3, CallShape(25, 6, 30)),
)


def _bytes(served: Served) -> bytes:
    columns = (served.released, served.admitted, served.first, served.handed, served.finished, served.job_finished)
    return b"".join(column.tobytes() for column in columns) + repr((served.pools, served.link_bytes)).encode()


def _check(served: Served) -> None:
    """What must hold for any run."""
    work, cluster = served.workload, served.cluster
    # Everything is finished once, after what must come before it.
    assert np.isfinite(served.finished).all()
    assert (served.job_started >= work.arrival - 1e-9).all()
    assert (served.released >= served.job_started[work.job]).all()
    assert (served.admitted >= served.released).all()
    assert (served.first > served.admitted).all()
    assert (served.finished[work.output > 1] > served.first[work.output > 1]).all()
    assert (served.finished[work.output == 1] == served.first[work.output == 1]).all()
    for call in np.flatnonzero(work.stage > 0):
        before = (work.job == work.job[call]) & (work.stage == work.stage[call] - 1)
        assert served.released[call] == served.finished[before].max()
    assert [served.finished[work.job == job].max() for job in range(work.jobs)] == served.job_finished.tolist()
    # Tokens are conserved.
    assert sum(pool.tokens_written for pool in served.pools) == work.output.sum()
    reader = served.pools[0]
    if reader.preemptions + served.pools[-1].preemptions == 0:
        assert reader.tokens_read + reader.tokens_cached == work.prompt.sum()
        assert (reader.tokens_read_again, reader.flops_again) == (0, 0)
    assert served.preemptions.sum() == sum(pool.preemptions for pool in served.pools)
    # Cards are not busier than they are there, and hold no more than fits.
    for pool, settings_ in zip(served.pools, cluster.pools, strict=True):
        assert 0.0 <= pool.busy_seconds <= pool.provisioned_seconds + 1e-9
        assert pool.kv_peak <= pool.kv_capacity
        if settings_.autoscale is None:
            assert pool.provisioned_seconds == pytest.approx(settings_.instances * served.job_finished.max())


@st.composite
def _scenarios(draw: st.DrawFn) -> tuple[dict[str, Any], Workload, bool]:
    job = draw(st.sampled_from(SMALL_JOBS))
    rate = draw(st.floats(1.0, 200.0))
    work = draw_workload(
        job, rate, draw(st.integers(1, 25)), draw(st.integers(0, 999)), draw(st.sampled_from((0.0, 0.5)))
    )
    longest = int((work.prompt + work.output).max())
    changes: dict[str, Any] = {
        "instances": draw(st.integers(1, 3)),
        "kv_tokens": longest + draw(st.integers(0, 300)),
        "max_calls": draw(st.integers(1, 12)),
        "max_tokens": draw(st.integers(12, 80)),
        "prefix_cache": draw(st.booleans()),
    }
    if draw(st.booleans()):
        changes["autoscale"] = Autoscale(4, 3.0, check_seconds=0.02, startup_seconds=0.03, patience=2)
    return changes, work, draw(st.booleans())


def _built(cluster: Callable[..., Cluster], changes: dict[str, Any], two_pools: bool) -> Cluster:
    built = cluster(**changes)
    if not two_pools:
        return built
    return replace(built, decode=replace(built.pool, instances=1, autoscale=None), link=Link(5e6, 1e-4))


@given(_scenarios())
@settings(max_examples=100, deadline=None)
def test_any_run_conserves_and_keeps_order(
    cluster: Callable[..., Cluster], scenario: tuple[dict[str, Any], Workload, bool]
) -> None:
    """Whatever the settings, everything finishes once and in order, tokens add up, and memory is enough."""
    changes, work, two_pools = scenario
    _check(serve(_built(cluster, changes, two_pools), work))


@given(_scenarios())
@settings(max_examples=60, deadline=None)
def test_looking_ahead_changes_nothing(
    cluster: Callable[..., Cluster], scenario: tuple[dict[str, Any], Workload, bool]
) -> None:
    """Many iterations planned at once must end in the same bytes as one at a time, and so must a second run."""
    changes, work, two_pools = scenario
    built = _built(cluster, changes, two_pools)
    ahead = _bytes(serve(built, work))
    assert _bytes(serve(built, work)) == ahead
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(instance, "STEPS_AHEAD", 1)
        assert _bytes(serve(built, work)) == ahead


@given(_scenarios(), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_only_so_many_jobs_are_in_the_cluster(
    cluster: Callable[..., Cluster], scenario: tuple[dict[str, Any], Workload, bool], places: int
) -> None:
    """With a bound no more jobs must ever be inside, and who waits is let in, in order, as soon as there is room."""
    changes, work, two_pools = scenario
    built = _built(cluster, changes, two_pools)
    served = serve(built, work, places)
    _check(served)
    started, finished = served.job_started, served.job_finished
    assert (np.diff(started) >= 0.0).all()
    for job in range(work.jobs):
        assert int(((started <= started[job]) & (finished > started[job])).sum()) <= places
        waited = started[job] > work.arrival[job] + 2e-9
        assert not waited or started[job] in finished
    assert _bytes(serve(built, work, work.jobs)) == _bytes(serve(built, work))


def test_later_stages_do_not_queue_behind_later_jobs(cluster: Callable[..., Cluster]) -> None:
    """Of jobs that come at once, a bound must finish the first sooner than letting all of them in."""
    work = replace(draw_workload(SMALL_JOBS[1], 1.0, 40, 3), arrival=np.zeros(40))
    free, bounded = serve(cluster(), work), serve(cluster(), work, 4)
    assert bounded.job_finished.min() < 0.5 * free.job_finished.min()


def test_a_bound_lets_somebody_in(cluster: Callable[..., Cluster], calls: Callable[..., Workload]) -> None:
    """A bound of no jobs must be refused."""
    with pytest.raises(ServingError, match="jobs_at_once"):
        serve(cluster(), calls([0.0], [8], [2]), 0)


def test_one_call_by_hand(cluster: Callable[..., Cluster], calls: Callable[..., Workload]) -> None:
    """A prompt of 150 tokens in chunks of 64 must take three steps, and five tokens four more."""
    served = serve(cluster(), calls([0.5], [150], [5]))
    assert served.first[0] == pytest.approx(0.503, abs=1e-6)
    assert served.finished[0] == pytest.approx(0.507, abs=1e-6)
    assert served.pools[0].steps == 7
    assert served.pools[0].kv_peak == 154
    shape = served.cluster.shape
    assert served.pools[0].flops == causal_flops(shape, 154, 0, 5)


def test_step_times_are_those_of_the_formula() -> None:
    """On real figures, a call alone must take the roofline's seconds, step by step."""
    coefficients = StepTime(0.5, 0.8, per_layer=1e-5, per_request=2e-5, per_step=3e-4)
    served = serve(
        Cluster(QWEN3_8B, Pool(H20, 1, coefficients, max_tokens=4000)),
        draw_workload(parallel_job(1, 0, 3000, 3), 1.0, 1, 0),
    )
    fixed = 36 * 1e-5 + 2e-5 + 3e-4
    read = causal_flops(QWEN3_8B, 3000, 0, 1) / (148e12 * 0.5) + fixed
    assert served.first[0] - served.released[0] == pytest.approx(read, abs=2e-9)
    weights = 2 * (QWEN3_8B.linear_weights + 4096 * 151_936)
    write = (served.finished[0] - served.first[0] - 2 * fixed) * 4e12 * 0.8
    assert write == pytest.approx(2 * weights + 147_456 * (3001 + 3002), rel=1e-3)


def test_calls_in_a_batch_share_iterations(cluster: Callable[..., Cluster], calls: Callable[..., Workload]) -> None:
    """Eight calls at once must end when one alone would; with batches of one, one after the other."""
    work = calls([0.0] * 8, [8] * 8, [20] * 8)
    assert serve(cluster(), work).finished == pytest.approx([20 * STEP] * 8, abs=1e-6)
    alone = serve(cluster(max_calls=1, max_tokens=64), work)
    assert alone.finished == pytest.approx(20 * STEP * np.arange(1, 9), abs=1e-5)


def test_a_late_comer_joins_between_iterations(cluster: Callable[..., Cluster], calls: Callable[..., Workload]) -> None:
    """Who comes in the middle of an iteration must be read in the next one, beside who is decoding."""
    served = serve(cluster(), calls([0.0, 0.0105], [8, 8], [100, 5]))
    assert served.admitted[1] == pytest.approx(0.0105, abs=1e-9)
    assert served.first[1] == pytest.approx(0.012, abs=1e-6)
    assert served.finished == pytest.approx([0.1, 0.016], abs=1e-6)
    assert served.pools[0].steps == 100


def test_long_prompts_do_not_stop_who_is_decoding(
    cluster: Callable[..., Cluster], calls: Callable[..., Workload]
) -> None:
    """While a prompt of ten chunks is read, the call that decodes must get its token in every iteration."""
    served = serve(cluster(max_tokens=64), calls([0.0, 0.0], [1, 630], [30, 2]))
    assert served.finished[0] == pytest.approx(0.030, abs=1e-6)
    assert served.first[1] == pytest.approx(0.010, abs=1e-6)


@pytest.mark.parametrize("servers", [1, 3])
def test_waits_are_those_of_a_queue(
    cluster: Callable[..., Cluster], calls: Callable[..., Workload], servers: int
) -> None:
    """With batches of one, every call must wait as in a first-come queue with that many servers, call by call."""
    work = draw_workload(parallel_job(1, 0, 1, 40), 0.8 * servers / (40 * STEP), 800, 5, variation=0.7)
    served = serve(cluster(instances=servers, max_calls=1), work)
    free, waits = [0.0] * servers, []
    for arrival, output in zip(work.arrival, work.output, strict=True):
        first = min(range(servers), key=lambda server: free[server])
        begin = max(arrival, free[first])
        free[first] = begin + output * STEP
        waits.append(begin - arrival)
    assert served.admitted - served.released == pytest.approx(waits, abs=1e-4)


def test_exponential_service_waits_like_mm1(cluster: Callable[..., Cluster], calls: Callable[..., Workload]) -> None:
    """Poisson arrivals and exponential answers must wait rho / (mu - lambda): within 16%, three standard errors."""
    jobs, mean, rho = 10_000, 1000, 0.5
    work = draw_workload(parallel_job(1, 0, 1, mean), rho / (mean * STEP), jobs, 11)
    lengths = np.ceil(mean * Stream(11, "test/answers").exponential(np.arange(jobs))).astype(np.int64)
    work = replace(work, output=lengths)
    served = serve(cluster(max_calls=1), work)
    service = mean * STEP
    # The variance of the mean wait of n customers is rho (2 + 5 rho - 4 rho^2 + rho^3) / (mu^2 (1 - rho)^4 n).
    variance = rho * (2 + 5 * rho - 4 * rho**2 + rho**3) * service**2 / (1 - rho) ** 4 / jobs
    expected = rho * service / (1 - rho)
    assert 3 * np.sqrt(variance) / expected == pytest.approx(0.16, abs=0.005)
    assert (served.admitted - served.released).mean() == pytest.approx(expected, rel=0.16)


def _mdc_wait(servers: int, rho: float) -> float:
    """Mean wait of M/D/c with a service of 1, from Crommelin's chain over one service time (1932)."""
    most = 200
    k = np.arange(most)
    rate = servers * rho
    poisson = np.exp(k * np.log(rate) - rate - np.array([np.log(np.arange(1, n + 1)).sum() for n in k]))
    step = np.zeros((most, most))
    for n in range(most):
        left = max(n - servers, 0)
        step[n, left:] = poisson[: most - left]
    state = np.full(most, 1.0 / most)
    for _ in range(3000):
        state = state @ step
        state /= state.sum()
    return float((np.maximum(k - servers, 0) * state).sum() / rate)


@pytest.mark.parametrize("servers", [1, 4])
def test_constant_service_waits_like_mdc(cluster: Callable[..., Cluster], servers: int) -> None:
    """Poisson arrivals and answers of one length on c servers must wait as M/D/c does, within 12%."""
    rho = 0.7
    expected = _mdc_wait(servers, rho)
    if servers == 1:
        assert expected == pytest.approx(rho / (2 * (1 - rho)), rel=1e-6)
    work = draw_workload(parallel_job(1, 0, 1, 50), rho * servers / (50 * STEP), 8000, 2)
    served = serve(cluster(instances=servers, max_calls=1), work)
    assert (served.admitted - served.released).mean() / (50 * STEP) == pytest.approx(expected, rel=0.12)


def test_a_prefix_is_read_once(cluster: Callable[..., Cluster]) -> None:
    """The calls of a job must read their history once where it is kept, and each for itself where it is not."""
    work = draw_workload(parallel_job(4, 60, 9, 12), 1.0, 10, 0)
    kept, not_kept = serve(cluster(), work).pools[0], serve(cluster(prefix_cache=False), work).pools[0]
    assert (kept.prefix_reads, kept.prefix_hits, kept.tokens_cached) == (10, 30, 1800)
    assert kept.tokens_read == 10 * (60 + 4 * 9)
    assert (not_kept.prefix_reads, not_kept.prefix_hits, not_kept.tokens_cached) == (0, 0, 0)
    assert not_kept.tokens_read == 10 * 4 * 69
    assert kept.flops < not_kept.flops


def test_operations_with_a_prefix_by_hand(cluster: Callable[..., Cluster]) -> None:
    """Calls that share a prefix must cost one reading of it, and the rest behind it."""
    served = serve(cluster(), draw_workload(parallel_job(4, 60, 9, 12), 1.0, 1, 0))
    shape = served.cluster.shape
    assert served.pools[0].flops == causal_flops(shape, 60, 0, 0) + 4 * causal_flops(shape, 9 + 11, 60, 12)


def test_calls_of_one_prefix_meet(cluster: Callable[..., Cluster]) -> None:
    """On several instances a job's calls must go where their history is read, and jobs must spread."""
    served = serve(cluster(instances=4), draw_workload(parallel_job(4, 60, 9, 12), 40.0, 40, 0))
    assert served.pools[0].prefix_reads == 40
    assert served.pools[0].prefix_hits == 120


def test_a_kept_prefix_goes_when_memory_is_needed(
    cluster: Callable[..., Cluster], calls: Callable[..., Workload]
) -> None:
    """A prefix must serve a later call while its place is not needed, and be read again after it was."""
    together = calls([0.0, 1.0, 2.0], [70, 70, 70], [2] * 3, [1, 2, 1], shared=60)
    assert serve(cluster(kv_tokens=140), together).pools[0].prefix_hits == 1
    assert serve(cluster(kv_tokens=130), together).pools[0].prefix_hits == 0


def test_short_memory_makes_calls_wait(cluster: Callable[..., Cluster], calls: Callable[..., Workload]) -> None:
    """A call that does not fit beside another must wait until that one is finished."""
    served = serve(cluster(kv_tokens=100), calls([0.0, 0.0], [60, 60], [10, 10]))
    assert served.admitted == pytest.approx([0.0, 10 * STEP], abs=1e-6)
    assert served.pools[0].preemptions == 0


def test_a_batch_that_outgrows_memory_puts_the_last_back(
    cluster: Callable[..., Cluster], calls: Callable[..., Workload]
) -> None:
    """The call admitted last must be put back, keep its tokens, and be read again with them."""
    work = calls([0.0, 0.0], [40, 40], [30, 30])
    served = serve(cluster(kv_tokens=120, max_tokens=128), work)
    _check(served)
    assert served.preemptions.tolist() == [0, 1]
    assert served.finished[0] == pytest.approx(30 * STEP, abs=1e-6)
    pool = served.pools[0]
    # Both fit until each has 60 tokens: after 20 more steps the second has written 21 and holds 60.
    assert pool.tokens_read_again == 60
    assert pool.tokens_read == 80 + 61
    assert pool.tokens_written == 60
    assert pool.flops - pool.flops_again == 2 * causal_flops(served.cluster.shape, 69, 0, 30)


def test_two_pools_by_hand(cluster: Callable[..., Cluster], calls: Callable[..., Workload]) -> None:
    """The first token must come from the first pool, and the others after the keys and values were sent."""
    built = cluster()
    two = replace(built, decode=built.pool, link=Link(1e6, latency=0.002))
    served = serve(two, calls([0.0, 0.0], [50, 1], [6, 1]))
    sent = 50 * 128 / 1e6
    assert served.first[0] == pytest.approx(STEP, abs=1e-6)
    assert served.handed[0] == pytest.approx(STEP + sent + 0.002, abs=1e-6)
    assert served.finished[0] == pytest.approx(served.handed[0] + 5 * STEP, abs=1e-6)
    assert (served.link_bytes, served.link_busy_seconds) == (50 * 128, pytest.approx(sent, abs=1e-6))
    assert np.isnan(served.handed[1])
    assert [pool.tokens_written for pool in served.pools] == [2, 5]
    assert served.pools[0].flops + served.pools[1].flops == causal_flops(built.shape, 55, 0, 6) + causal_flops(
        built.shape, 1, 0, 1
    )


def test_simultaneous_transfers_share_the_link(cluster: Callable[..., Cluster], calls: Callable[..., Workload]) -> None:
    """Two prompts that are ready together must take twice as long to arrive as one."""
    built = cluster()
    two = replace(built, decode=built.pool, link=Link(1e6))
    one = serve(two, calls([0.0], [32], [2]))
    both = serve(two, calls([0.0, 0.0], [32, 32], [2, 2]))
    alone = one.handed[0] - one.first[0]
    assert both.handed - both.first == pytest.approx([2 * alone] * 2, rel=1e-6)


def test_decoding_that_is_full_holds_the_first_pool_up(
    cluster: Callable[..., Cluster], calls: Callable[..., Workload]
) -> None:
    """Keys and values must stay in the first pool until the second has room, so that no more prompts fit there."""
    built = cluster(kv_tokens=100)
    two = replace(built, decode=replace(built.pool, max_calls=1), link=Link(1e9))
    served = serve(two, calls([0.0] * 3, [45] * 3, [20] * 3))
    _check(served)
    # The first is sent at once, the second waits for it to be finished, and the third for the second's places.
    assert served.handed[1] == pytest.approx(served.finished[0], abs=1e-4)
    assert served.admitted[2] < served.finished[0]
    assert served.finished[2] == pytest.approx(STEP + 3 * 19 * STEP, abs=1e-3)


def test_preempted_decoding_is_read_again_in_the_first_pool(
    cluster: Callable[..., Cluster], calls: Callable[..., Workload]
) -> None:
    """A call that a decode pool puts back must be read again where prompts are read, with what it wrote."""
    built = cluster(kv_tokens=120, max_tokens=128)
    two = replace(built, decode=built.pool, link=Link(1e9))
    served = serve(two, calls([0.0, 0.0], [40, 40], [30, 30]))
    _check(served)
    assert served.preemptions.tolist() == [0, 1]
    assert served.pools[1].preemptions == 1
    assert served.pools[0].tokens_read_again > 40


def test_new_instances_come_after_their_start_up(
    cluster: Callable[..., Cluster], calls: Callable[..., Workload]
) -> None:
    """Calls that wait must be taken by a new instance when it has started, and not before."""
    rule = Autoscale(2, 1.0, check_seconds=0.1, startup_seconds=0.5, patience=3)
    work = calls([0.0, 0.0], [1, 1], [2000, 10])
    served = serve(cluster(max_calls=1, autoscale=rule), work)
    assert served.admitted == pytest.approx([0.0, 0.6], abs=1e-6)
    assert served.finished[1] == pytest.approx(0.61, abs=1e-5)
    pool = served.pools[0]
    assert pool.instances == 2
    # Asked for at 0.1; one call is left at 0.7, 0.8 and 0.9, so it is given back at 0.9 after three checks.
    assert pool.provisioned_seconds == pytest.approx(2.0 + 0.8, abs=1e-3)


def test_scaling_follows_load(cluster: Callable[..., Cluster]) -> None:
    """A pool that may grow must wait less than its least and cost less than its most."""
    work = draw_workload(parallel_job(1, 0, 4, 200), 12.0, 150, 0, variation=0.3)
    small, large = serve(cluster(1, max_calls=2), work), serve(cluster(4, max_calls=2), work)
    rule = Autoscale(4, 1.5, check_seconds=0.2, startup_seconds=0.4, patience=2)
    scaled = serve(cluster(1, max_calls=2, autoscale=rule), work)
    _check(scaled)
    wait = [float((served.admitted - served.released).mean()) for served in (large, scaled, small)]
    assert wait[0] < wait[1] < wait[2]
    assert scaled.pools[0].provisioned_seconds < large.pools[0].provisioned_seconds
    assert 2 <= scaled.pools[0].instances <= 4


def test_stages_make_latency_and_not_work(cluster: Callable[..., Cluster]) -> None:
    """A chain of three short stages must be slower than one wide stage, though its cards are busy for less."""
    wide = serve(cluster(prefix_cache=False), draw_workload(parallel_job(4, 400, 16, 20), 0.1, 5, 0))
    chain = serve(
        cluster(prefix_cache=False),
        draw_workload(planned_job(CallShape(60, 20), CallShape(16, 20), 3, CallShape(60, 20)), 0.1, 5, 0),
    )
    took = [float((each.job_finished - each.workload.arrival).mean()) for each in (wide, chain)]
    assert took[1] > took[0]
    assert chain.pools[0].flops < wide.pools[0].flops


def test_eight_bits_are_faster_and_hold_more() -> None:
    """In 8 bits the same work must keep a card busy for less, with room for more than twice the tokens."""
    work = draw_workload(parallel_job(2, 0, 500, 30), 5.0, 10, 0)
    wide = serve(Cluster(QWEN3_8B, Pool(H20)), work).pools[0]
    narrow = serve(Cluster(QWEN3_8B, Pool(H20), precision=FP8), work).pools[0]
    assert narrow.busy_seconds < 0.7 * wide.busy_seconds
    assert narrow.kv_capacity > 2 * wide.kv_capacity
    assert narrow.peak_flops == 2 * wide.peak_flops


def test_error_of_the_step_times_is_carried_along(
    cluster: Callable[..., Cluster], calls: Callable[..., Workload]
) -> None:
    """A run must carry the larger error of its pools, and none where a pool's step time was assumed."""
    good, poor = StepTime(1.0, 1.0, error=0.02), StepTime(1.0, 1.0, error=0.07)
    work = calls([0.0], [5], [2])
    one = cluster(coefficients=good)
    assert serve(one, work).model_error == 0.02
    two = replace(one, decode=replace(one.pool, coefficients=poor), link=LINK)
    assert serve(two, work).model_error == 0.07
    assumed = replace(two, decode=replace(one.pool, coefficients=StepTime(1.0, 1.0)))
    assert serve(assumed, work).model_error is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda pool: Cluster(QWEN3_8B, pool, usable_memory=1.2), r"cluster\.usable_memory: 1\.2; it must be above 0"),
        (lambda pool: Cluster(QWEN3_8B, pool, decode=pool), r"cluster\.link: a decode pool needs a link"),
        (lambda pool: Cluster(QWEN3_8B, pool, link=LINK), r"cluster\.link: .* give both or neither"),
        (lambda pool: replace(pool, instances=0), r"pool\.instances: 0; it must be finite and at least 1"),
        (lambda pool: replace(pool, max_calls=0), r"pool\.max_calls: 0"),
        (lambda pool: replace(pool, max_tokens=8), r"pool\.max_tokens: 8; it must be at least max_calls \(256\)"),
        (
            lambda pool: replace(pool, instances=9, autoscale=Autoscale(8, 1.0)),
            r"autoscale\.most: 8; .* instances \(9\)",
        ),
        (lambda _: Autoscale(0, 1.0), r"autoscale\.most: 0"),
        (lambda _: Autoscale(1, 0.0), r"autoscale\.calls_per_instance: 0; it must be finite and above 0"),
        (lambda _: Autoscale(1, 1.0, check_seconds=0.0), r"autoscale\.check_seconds: 0"),
        (lambda _: Autoscale(1, 1.0, startup_seconds=-1.0), r"autoscale\.startup_seconds: -1"),
        (lambda _: Autoscale(1, 1.0, patience=0), r"autoscale\.patience: 0"),
    ],
)
def test_bounds_of_settings(make: Callable[[Pool], object], message: str) -> None:
    """A setting outside its bounds must be named."""
    with pytest.raises(ServingError, match=message):
        make(Pool(H20))


def test_what_cannot_be_served_is_refused(cluster: Callable[..., Cluster], calls: Callable[..., Workload]) -> None:
    """A model too large, a precision that the card lacks and a call longer than the memory must be refused at once."""
    work = calls([0.0, 0.0], [5, 90], [2, 20])
    with pytest.raises(ServingError, match=r"27\.5 GiB .* GiB are lacking"):
        serve(Cluster(QWEN3_14B, Pool(A100), usable_memory=0.3), work)
    with pytest.raises(ServingError, match="precision: fp8; the accelerator a100 has no fp8"):
        serve(Cluster(QWEN3_8B, Pool(A100), precision=FP8), work)
    with pytest.raises(
        ServingError, match="workload: call 1 needs 109 tokens of keys and values; an instance holds 108"
    ):
        serve(cluster(kv_tokens=108), work)
    assert np.isfinite(serve(cluster(kv_tokens=109), work).finished).all()
