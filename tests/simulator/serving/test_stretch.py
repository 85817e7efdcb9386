from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from simulator.serving.cluster import Cluster, serve
from simulator.serving.counted import CountedJobs
from simulator.serving.errors import ServingError
from simulator.serving.hardware import H20
from simulator.serving.pool import Pool
from simulator.serving.stretch import CARDS, at_rate, full_rate
from simulator.serving.transformer import QWEN3_8B

JOBS = CountedJobs(
    np.array([0.5, 0.5]),
    np.array([0, 0, 0, 1, 1]),
    np.array([0, 0, 1, 0, 1]),
    np.array([0, 0, 0, 40, 40]),
    np.array([300, 300, 100, 600, 5]),
    np.array([20, 10, 15, 25, 10]),
)
CLUSTER = Cluster(QWEN3_8B, Pool(H20, 2))


def test_the_full_rate_is_what_many_jobs_take() -> None:
    """Many jobs that are all there must be finished at the full rate, within 2%."""
    full = full_rate(CLUSTER, JOBS, 16, seed=1)
    served = serve(CLUSTER, JOBS.workload(JOBS.drawn(3000, 2), np.zeros(3000)), 32)
    assert 3000 / served.job_finished.max() == pytest.approx(2 * full.rate, rel=0.02)
    assert full.busy == pytest.approx(1 / full.rate)


def test_the_full_rate_cannot_beat_the_card() -> None:
    """Useful operations a second must stay under the efficiency that the step times allow."""
    full = full_rate(CLUSTER, JOBS, 64, seed=1)
    assert full.flops * full.rate < 0.45 * H20.bf16_flops


def test_more_jobs_at_once_fill_cards_better() -> None:
    """One job at a time must leave a card doing less than many."""
    assert full_rate(CLUSTER, JOBS, 1, seed=1).rate < full_rate(CLUSTER, JOBS, 16, seed=1).rate


def test_little_holds_at_the_full_rate() -> None:
    """Jobs in the cluster must be their rate times their time in it (Little 1961), within 10%."""
    full = full_rate(CLUSTER, JOBS, 16, seed=1, least=4000)
    assert full.rate * full.job.mean() == pytest.approx(16, rel=0.1)


def test_light_loads_wait_for_nobody() -> None:
    """Far below the full rate jobs must be let in as they come, and take what a job alone takes at the least."""
    full = full_rate(CLUSTER, JOBS, 16, seed=1)
    light = at_rate(CLUSTER, JOBS, 16, 0.05 * full.rate, seed=1)
    alone = serve(CLUSTER, JOBS.workload(np.array([0, 1]), np.array([0.0, 60.0])))
    shortest = (alone.job_finished - alone.job_started).min()
    assert light.wait.max() == pytest.approx(0.0, abs=1e-8)
    assert light.job.min() >= shortest - 1e-8
    assert light.busy * light.rate < 1.0


def test_more_load_takes_longer_and_less_of_a_card_a_job() -> None:
    """Nearer to the full rate jobs must take longer, and fuller batches less of a card each."""
    full = full_rate(CLUSTER, JOBS, 16, seed=1)
    loads = [at_rate(CLUSTER, JOBS, 16, share * full.rate, seed=1) for share in (0.1, 0.5, 0.9)]
    assert loads[0].job.mean() < loads[1].job.mean() < loads[2].job.mean()
    assert loads[0].busy > loads[1].busy > loads[2].busy


def test_a_part_stands_for_a_large_cluster() -> None:
    """However many cards there are, no more than ``CARDS`` must be played, with the same outcome for each."""
    large, part = (replace(CLUSTER, pool=replace(CLUSTER.pool, instances=n)) for n in (500, CARDS))
    one, other = full_rate(large, JOBS, 16, seed=1), full_rate(part, JOBS, 16, seed=1)
    assert one.rate == other.rate
    assert one.job.tobytes() == other.job.tobytes()


def test_a_model_that_does_not_fit_is_refused(cluster: Callable[..., Cluster]) -> None:
    """A call that no instance can hold must be refused as a cluster refuses it."""
    with pytest.raises(ServingError, match="tokens of keys and values"):
        full_rate(cluster(kv_tokens=200), JOBS, 4, seed=1)
    with pytest.raises(ServingError, match="rate"):
        at_rate(CLUSTER, JOBS, 16, 0.0, seed=1)
