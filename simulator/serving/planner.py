"""The least cluster that keeps a promise, and what each way of saving is worth.

Sizes are found by simulating the workload, on the assumption that more instances never serve worse. The promise is held
against the jobs after a warm-up.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from simulator.serving.checks import at_least
from simulator.serving.cluster import Cluster, Served, serve
from simulator.serving.errors import ServingError
from simulator.serving.figures import Figures, Slo, figures, tpot
from simulator.serving.hardware import FP8
from simulator.serving.link import Link
from simulator.serving.pool import Pool
from simulator.serving.workload import Workload

WARM_UP: Final = 0.1
TOGETHER: Final = "all together"
BASE: Final = "as it is"


@dataclass(frozen=True)
class Scenario:
    """A workload and the cluster that serves it."""

    cluster: Cluster
    workload: Workload


Saving = Callable[[Scenario], Scenario]


@dataclass(frozen=True)
class Plan:
    """The least cluster.

    Attributes:
        cluster: with as many instances as it takes.
        figures: of the workload on it.
        runs: simulated to find it.
    """

    cluster: Cluster
    figures: Figures
    runs: int

    @property
    def gpus(self) -> int:
        """Cards of all pools."""
        return self.cluster.gpus


def least_gpus(cluster: Cluster, workload: Workload, slo: Slo, most: int = 64, warm_up: float = WARM_UP) -> Plan:
    """The fewest instances with which the promise is kept.

    One pool: doubling, then bisection. Two pools: for each size of the first, beginning with the least that can do, the
    least size of the second, along the line between what keeps the promise and what does not; of equal sums the one
    with the smaller first pool. Sizes in ``cluster`` are not looked at; autoscaling is switched off.

    Args:
        cluster: whose pools are to be sized.
        workload: at the rate that is to be served.
        slo: the promise.
        most: instances of each pool at most.
        warm_up: share of the jobs left out of the promise.

    Raises:
        ServingError: even ``most`` instances do not keep the promise; says the best that was reached.
    """
    at_least("most", most, 1)
    search = _Search(cluster, workload, slo, warm_up)
    if cluster.decode is None:
        best: tuple[int, ...] = (_least(lambda size: search.keeps(size), most, lambda: search.lacking(most)),)
    else:
        first = _least(lambda size: search.keeps(size, most), most, lambda: search.lacking(most, most))
        second = _least(lambda size: search.keeps(first, size), most, lambda: search.lacking(first, most))
        best = (first, second)
        while second > 1 and first + 2 < sum(best) and first < most:
            first += 1
            while second > 1 and search.keeps(first, second - 1):
                second -= 1
            if first + second < sum(best):
                best = (first, second)
    return Plan(search.sized(*best), search.figures(*best), search.runs)


class _Search:
    """Runs by size, each once."""

    def __init__(self, cluster: Cluster, workload: Workload, slo: Slo, warm_up: float) -> None:
        self._cluster = cluster
        self._workload = workload
        self._slo = slo
        self._warm_up = warm_up
        self._served: dict[tuple[int, ...], Served] = {}

    @property
    def runs(self) -> int:
        return len(self._served)

    def sized(self, *sizes: int) -> Cluster:
        pools = [replace(pool, instances=n, autoscale=None) for pool, n in zip(self._cluster.pools, sizes, strict=True)]
        return replace(self._cluster, pool=pools[0], decode=pools[1] if len(pools) > 1 else None)

    def figures(self, *sizes: int) -> Figures:
        if sizes not in self._served:
            self._served[sizes] = serve(self.sized(*sizes), self._workload)
        return figures(self._served[sizes], self._slo, self._warm_up)

    def keeps(self, *sizes: int) -> bool:
        kept = self.figures(*sizes).kept
        return kept is not None and kept >= self._slo.share

    def lacking(self, *sizes: int) -> str:
        """What the largest cluster reached, against what was promised."""
        found, served, slo = self.figures(*sizes), self._served[sizes], self._slo
        skipped = int(np.floor(self._warm_up * served.workload.jobs))
        late = served.workload.job >= skipped
        took = served.job_finished - served.workload.arrival
        reached = [
            f"{name} {np.nanquantile(values, slo.share):.3g} s of {bound:g} s promised"
            for name, values, bound in (
                ("ttft", (served.first - served.released)[late], slo.ttft),
                ("tpot", tpot(served)[late], slo.tpot),
                ("job", took[skipped:], slo.job),
            )
            if bound is not None
        ]
        return (
            f"slo: kept for {100 * (found.kept or 0.0):.1f}% of jobs instead of {100 * slo.share:g}% by"
            f" {' + '.join(map(str, sizes))} instances, which reach {', '.join(reached)}; promise less, or less load"
        )


def _least(keeps: Callable[[int], bool], most: int, lacking: Callable[[], str]) -> int:
    """The least size that keeps the promise, by doubling and bisection."""
    low, high = 0, 1
    while not keeps(high):
        if high == most:
            raise ServingError(lacking())
        low, high = high, min(most, 2 * high)
    while high - low > 1:
        middle = (low + high) // 2
        if keeps(middle):
            high = middle
        else:
            low = middle
    return high


def share_prefixes(scenario: Scenario) -> Scenario:
    """Keep what prompts begin with for those that begin alike."""
    return replace(scenario, cluster=replace(scenario.cluster, prefix_cache=True))


def use_fp8(scenario: Scenario) -> Scenario:
    """Weights, keys, values and products in 8 bits."""
    return replace(scenario, cluster=replace(scenario.cluster, precision=FP8))


def compress(ratio: float) -> Saving:
    """Shorten what calls share, as when each entity of a history becomes one token."""
    return lambda scenario: replace(scenario, workload=scenario.workload.compressed(ratio))


def disaggregate(decode: Pool, link: Link) -> Saving:
    """Write answers on a pool of their own."""
    return lambda scenario: replace(scenario, cluster=replace(scenario.cluster, decode=decode, link=link))


@dataclass(frozen=True)
class Bar:
    """One row of a waterfall.

    Attributes:
        name: of the saving; ``BASE`` for none, ``TOGETHER`` for all.
        gpus: cards of the cluster, as planned or as given.
        gpu_seconds_busy, gpu_seconds_provisioned: a job.
        saved_busy, saved_provisioned: share of the base's, below 0 where it costs more.
        model_error: of the step times.
    """

    name: str
    gpus: int
    gpu_seconds_busy: float
    gpu_seconds_provisioned: float
    saved_busy: float
    saved_provisioned: float
    model_error: float | None


def waterfall(
    base: Scenario, savings: Mapping[str, Saving], slo: Slo | None = None, most: int = 64, warm_up: float = WARM_UP
) -> tuple[Bar, ...]:
    """Card seconds a job as it is, with each saving alone, and with all together.

    Savings do not add up: what one takes away another cannot save again. With a promise every row is sized anew to
    keep it, so provisioned seconds compare clusters that serve equally well; without one the sizes stay as given, and
    only busy seconds tell anything.

    Args:
        base: without any of the savings.
        savings: by name; all together they are applied in this order.
        slo: the promise.
        most: instances of each pool at most.
        warm_up: share of the jobs left out of the promise.

    Raises:
        ServingError: a scenario cannot be served, or not within the promise.
    """

    def measured(scenario: Scenario) -> tuple[int, Figures]:
        if slo is None:
            return scenario.cluster.gpus, figures(serve(scenario.cluster, scenario.workload), None, warm_up)
        plan = least_gpus(scenario.cluster, scenario.workload, slo, most, warm_up)
        return plan.gpus, plan.figures

    together = base
    for saving in savings.values():
        together = saving(together)
    scenarios = {BASE: base, **{name: saving(base) for name, saving in savings.items()}, TOGETHER: together}
    bars: list[Bar] = []
    for name, scenario in scenarios.items():
        gpus, found = measured(scenario)
        busy, provisioned = found.gpu_seconds_busy_per_job, found.gpu_seconds_provisioned_per_job
        first = bars[0] if bars else None
        bars.append(
            Bar(
                name=name,
                gpus=gpus,
                gpu_seconds_busy=busy,
                gpu_seconds_provisioned=provisioned,
                saved_busy=1.0 - busy / first.gpu_seconds_busy if first else 0.0,
                saved_provisioned=1.0 - provisioned / first.gpu_seconds_provisioned if first else 0.0,
                model_error=found.model_error,
            )
        )
    return tuple(bars)
