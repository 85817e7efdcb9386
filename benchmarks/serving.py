"""How many requests the serving model plays a CPU-second, what it says of them, and the cards that designs ask for.

A request is one model call, from its release to its last token. Its cost includes what lies between: queueing, routing,
every iteration of every instance, memory, the prefix cache, transfers, the figures at the end. Times are CPU-seconds of
one thread, the middle of several runs after one that warms up. A run of ``STEPS_AHEAD = 1`` shows what planning many
iterations at once saves; both end in the same bytes. The model is Qwen3-8B on H20s, with step times that are assumed,
not measured: the figures of the cluster say what the model makes of these jobs, and nothing about a real one.

The designs are those of ``experiments/configs/cost_v1_v2.yaml``, with histories as long as the RecGPT-V2 report states
them, sized to keep that config's promise at the busiest hour: of an ordinary day, and of a festival. How busy these are
comes from the simulator's own calendar and profile of visits. Run from the repository's root:

    python benchmarks/serving.py --json benchmarks/results/serving.json
"""

import os
import sys
from pathlib import Path

# Read once, when the libraries load.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1", NUMBA_NUM_THREADS="1")
# This folder is first on the path of a script, and its simulator.py would hide the package of that name.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from statistics import median
from typing import Final

from benchmarks._bench import Case, arguments, cpu_seconds, finish, machine
from experiments.loading import load_config
from experiments.progress import SilentProgress
from experiments.timing_config import LengthsPlan, TimingConfig
from experiments.timing_plans import stated_plan
from experiments.timing_projection import against_paper, project
from simulator.arrivals import load_profiles
from simulator.environment.calendar import busiest_day
from simulator.serving import instance
from simulator.serving.autoscale import Autoscale
from simulator.serving.cluster import Cluster, serve
from simulator.serving.figures import figures
from simulator.serving.hardware import H20
from simulator.serving.link import Link
from simulator.serving.pool import Pool
from simulator.serving.transformer import QWEN3_8B
from simulator.serving.workload import CallShape, JobShape, Workload, draw_workload, parallel_job, planned_job

SEED: Final = 20_250
JOBS: Final = 1_500
RUNS: Final = 3
VARIATION: Final = 0.3
TARGET: Final = 2_000.0
"""Requests a CPU-second; public simulators of serving state 211 to 320."""

ROUTES: Final = parallel_job(calls=4, shared=4000, own=96, output=64)
AGENTS: Final = planned_job(CallShape(68, 32, 700), CallShape(90, 64), 3, CallShape(256, 32, 700))
LINK: Final = Link(50e9, 1e-4)

CONFIG: Final = Path(__file__).resolve().parent.parent / "experiments" / "configs" / "cost_v1_v2.yaml"
COUNTRY: Final = "CN"
ORDINARY: Final = "ordinary day"
FESTIVAL: Final = "festival"


def scenarios() -> dict[str, tuple[Cluster, Workload]]:
    """Clusters and workloads by name, each loaded well but not beyond what it can serve."""

    def drawn(rate: float, shape: JobShape = ROUTES) -> Workload:
        return draw_workload(shape, rate, JOBS, SEED, VARIATION)

    one, eight = Pool(H20, 1), Pool(H20, 8)
    scaled = Pool(H20, 1, autoscale=Autoscale(8, 12.0, startup_seconds=30.0))
    return {
        "4 parallel routes, 8 cards": (Cluster(QWEN3_8B, eight), drawn(5.0)),
        "4 parallel routes, 8 cards, no prefix cache": (Cluster(QWEN3_8B, eight, prefix_cache=False), drawn(1.5)),
        "4 parallel routes, 6 + 2 cards": (Cluster(QWEN3_8B, Pool(H20, 6), Pool(H20, 2), LINK), drawn(3.5)),
        "4 parallel routes, 1 to 8 cards": (Cluster(QWEN3_8B, scaled), drawn(3.0)),
        "planner, 3 experts, arbiter, 8 cards": (Cluster(QWEN3_8B, eight), drawn(20.0, AGENTS)),
        "planner, 3 experts, arbiter, 1 card": (Cluster(QWEN3_8B, one), drawn(2.0, AGENTS)),
    }


def measure(name: str, cluster: Cluster, workload: Workload) -> list[Case]:
    """One scenario."""

    def play() -> None:
        figures(serve(cluster, workload), warm_up=0.1)

    play()
    rate = workload.calls / median(cpu_seconds(play) for _ in range(RUNS))
    ahead, instance.STEPS_AHEAD = instance.STEPS_AHEAD, 1
    try:
        stepwise = workload.calls / cpu_seconds(play)
    finally:
        instance.STEPS_AHEAD = ahead
    served = serve(cluster, workload)
    found = figures(served, warm_up=0.1)
    return [
        Case(name, "requests a CPU-second", rate, "1/s", TARGET),
        Case(name, "requests a CPU-second, one iteration at a time", stepwise, "1/s"),
        Case(name, "iterations a request", sum(pool.steps for pool in served.pools) / workload.calls, ""),
        Case(name, "cards busy", 100 * found.gpu_seconds_busy / found.gpu_seconds_provisioned, "%"),
        Case(name, "card seconds a job, busy", found.gpu_seconds_busy_per_job, "s"),
        Case(name, "job, middle", found.job.p50, "s"),
        Case(name, "job, 99th percentile", found.job.p99, "s"),
        Case(name, "MFU, busy", 100 * found.mfu_busy, "%"),
    ]


def peaks() -> dict[str, float]:
    """Arrivals of the busiest hour over those of the mean one: on an ordinary day, and on the year's busiest."""
    ordinary = float(load_profiles().hour.max())
    return {ORDINARY: ordinary, FESTIVAL: ordinary * busiest_day(COUNTRY)}


def designs() -> list[Case]:
    """The cards of each design on each card for both peaks, and what each saving is worth."""
    config = load_config(CONFIG)
    assert isinstance(config, TimingConfig)
    assert config.serving is not None
    assert config.paper is not None
    plan = config.plans[config.paper.plan]
    assert isinstance(plan, LengthsPlan)
    rows = {name: stated_plan(plan, row) for name, row in config.rows.items()}
    cases = [
        Case("designs", "refreshes a day", config.serving.users_a_day, ""),
        Case("designs", "seconds of a refresh, promised", config.serving.slo.job or 0.0, "s"),
        Case("designs", "share that keeps it", 100 * config.serving.slo.share, "%"),
    ]
    for peak, times in peaks().items():
        serving = config.serving.model_copy(update={"peak": times})
        found = project(serving, serving.hardware, {config.paper.plan: rows}, config.seed, SilentProgress())
        cases.append(Case("designs", f"peak over mean, {peak}", times, "x"))
        cases += [
            Case(f"{each['row']}, {each['hardware']}", f"{metric}, {peak}", each[key], unit)
            for each in found
            for key, metric, unit in (
                ("projected_gpus", "GPUs", ""),
                ("projected_gpu_seconds_busy_per_refresh", "GPU-seconds busy a refresh", "s"),
            )
        ]
        if peak != FESTIVAL:
            continue
        taken = against_paper(serving, config.paper, rows, found, config.seed, SilentProgress())
        cases += [
            Case(f"waterfall, {card}, {bar['saving']}", metric, bar[key], unit)
            for card, each in taken["by_hardware"].items()
            for bar in each["projected_waterfall"]
            for key, metric, unit in (
                ("projected_gpus", "GPUs", ""),
                ("projected_gpu_seconds_busy_per_refresh", "GPU-seconds busy a refresh", "s"),
            )
        ]
    return cases


def main() -> None:
    """Measure, print, and write if asked to."""
    options = arguments(__doc__).parse_args()
    cases = [case for name, (cluster, workload) in scenarios().items() for case in measure(name, cluster, workload)]
    cases += designs()
    finish("serving", cases, machine(), options.json, "The serving model")


if __name__ == "__main__":
    main()
