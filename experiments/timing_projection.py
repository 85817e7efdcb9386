"""What designs would take on accelerators, modelled: the least cluster, its seconds, its use, its price.

Nothing here is measured. Every figure rests on data sheets, on counted operations and bytes, and on coefficients of
step time that are assumed unless the config gives measured ones; names begin with ``projected_`` and the error of the
step times stands beside them, None where nobody knows it. Knows plans by their lengths; knows no policy and no world.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from math import ceil
from typing import Any, Final

from experiments.cards_config import CardStepTime
from experiments.progress import Progress
from experiments.timing_config import Against, Serving
from experiments.timing_plans import RowPlan
from simulator.serving.cluster import Cluster, kv_capacity, serve
from simulator.serving.errors import ServingError
from simulator.serving.figures import Figures, Slo, figures
from simulator.serving.hardware import Accelerator, accelerator
from simulator.serving.planner import (
    BASE,
    TOGETHER,
    WARM_UP,
    Saving,
    Scenario,
    compress,
    disaggregate,
    least_gpus,
    share_prefixes,
    use_fp8,
    waterfall,
)
from simulator.serving.pool import Pool
from simulator.serving.steptime import ASSUMED, StepTime
from simulator.serving.transformer import ModelShape, model_shape, step_cost
from simulator.serving.workload import JobShape, Workload, draw_workload

DAY: Final = 86_400.0

HIERARCHY: Final = "planner, experts and arbiter"
PREFIX: Final = "shared prefix"
COMPRESSION: Final = "compression"
DISAGGREGATION: Final = "disaggregation"
FP8: Final = "fp8"

PAPER: Final[tuple[dict[str, Any], ...]] = (
    {"figure": "GPUs", "column": "projected_gpus", "claimed": 0.40, "says": "-60%"},
    {
        "figure": "GPU-seconds, busy",
        "column": "projected_gpu_seconds_busy_per_refresh",
        "claimed": None,
        "says": "not stated",
    },
    {
        "figure": "MFU, busy",
        "column": "projected_mfu_busy",
        "claimed": 17.04 / 11.56,
        "says": "11.56% -> 17.04%: +47.4%, though the report says +53%",
    },
    {"figure": "prefill QPS", "column": "projected_prefill_qps_per_gpu", "claimed": 69.30, "says": "x69.30"},
    {"figure": "decode TPS", "column": "projected_decode_tps_per_gpu", "claimed": 7.35, "says": "x7.35"},
)
"""RecGPT-V2 report (arXiv 2512.14503), section on serving: V2 over V1 in production on H20s."""


def check_serving(serving: Serving, plans: Mapping[str, Mapping[str, RowPlan]] | None = None) -> None:
    """Refuse what cannot be served before anything is measured or simulated.

    Raises:
        ServingError: the model does not fit a card, or a call's keys and values do not fit beside it.
    """
    shape = model_shape(serving.model)
    for name in serving.hardware:
        cluster = _cluster(serving, shape, name, shares=True)
        try:
            room = kv_capacity(shape, cluster.precision, cluster.pool.accelerator, serving.usable_memory)
        except ServingError as error:
            raise ServingError(f"serving.{error}; take a smaller model or a larger card") from None
        for plan, rows in (plans or {}).items():
            for row, each in rows.items() if plan in (serving.plans or (plan,)) else ():
                longest = max(call.shared + call.own + call.output for call in each.job.calls)
                if longest > room:
                    raise ServingError(
                        f"plans.{plan}: a call of {longest} tokens in row {row} ({name} holds {room} beside "
                        f"{serving.model}); state less, or take a larger card"
                    )


def check_promise(
    serving: Serving, card: str, plans: Mapping[str, Mapping[str, RowPlan]], seed: int, progress: Progress
) -> None:
    """Refuse a promise that this card could not keep if its steps took no longer than its data sheet's peaks allow.

    It asks nothing of step times, so it can be held against a card whose steps are still to be measured.

    Raises:
        ServingError: no size up to ``serving.most`` keeps the promise even then.
    """
    at_peak = serving.model_copy(
        update={"step_time": serving.step_time | {card: CardStepTime(compute_efficiency=1.0, memory_efficiency=1.0)}}
    )
    try:
        project(at_peak, [card], plans, seed, progress)
    except ServingError as error:
        raise ServingError(f"{error}; these are the fewest seconds that the data sheet of {card} allows") from None


def project(
    serving: Serving,
    hardware: Sequence[str],
    plans: Mapping[str, Mapping[str, RowPlan]],
    seed: int,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Size the least cluster for each plan that is served, each row and card, and say what it comes to.

    Args:
        serving: the cluster.
        hardware: of which of its cards.
        plans: by name and row; those that are not served are passed over.
        seed: of the simulated jobs.
        progress: is told how far things are.

    Raises:
        ServingError: no size up to ``serving.most`` keeps the promise.
    """
    shape = model_shape(serving.model)
    cases = [
        (name, row, each, card)
        for card in hardware
        for name in serving.plans or plans
        for row, each in plans.get(name, {}).items()
    ]
    if not cases:
        return []
    found = []
    with progress.stage("sizing clusters", len(cases)) as stage:
        for name, row, each, card in cases:
            cluster = _cluster(serving, shape, card, each.shares)
            found.append(
                {
                    "plan": name,
                    "row": row,
                    "model": serving.model,
                    "hardware": card,
                    "precision": cluster.precision.name,
                    **_sized(serving, cluster, each.job, seed, f"plan {name}, row {row}, {card}"),
                }
            )
            stage.advance()
    return found


def _sized(serving: Serving, cluster: Cluster, job: JobShape, seed: int, where: str) -> dict[str, Any]:
    workload = _workload(serving, job, seed)
    slo = serving.slo.slo()
    try:
        plan = least_gpus(cluster, workload, slo, serving.most)
    except ServingError as error:
        raise ServingError(f"serving.{error} ({where})") from None
    gpus = max(plan.gpus, keeping_up(serving, cluster, job))
    found = plan.figures if gpus == plan.gpus else _on(gpus, cluster, workload, slo)
    card = cluster.pool.accelerator
    busy = found.gpu_seconds_busy_per_job
    provisioned = gpus * DAY / serving.users_a_day
    price = serving.price.get(card.name)
    coefficients = cluster.pool.coefficients
    return {
        "projected_gpus": gpus,
        "projected_gpus_for_slo": plan.gpus,
        "projected_gpu_seconds_busy_per_refresh": busy,
        "projected_gpu_seconds_provisioned_per_refresh": provisioned,
        "projected_mfu_busy": found.mfu_busy,
        "projected_mfu_provisioned": found.mfu_busy * busy / provisioned,
        "projected_prefill_qps_per_gpu": prefill_qps(cluster, job),
        "projected_decode_tps_per_gpu": decode_tps(cluster, job),
        "projected_refresh_seconds_p50": found.job.p50,
        "projected_refresh_seconds_p95": found.job.p95,
        "projected_slo_kept": found.kept,
        "projected_cost_per_1000_refreshes": 1000 * provisioned / 3600 * price.per_hour if price else None,
        "currency": price.currency if price else None,
        "price_at": price.at.isoformat() if price else None,
        "step_time": asdict(coefficients),
        "step_time_source": "given" if card.name in serving.step_time else "assumed",
        "step_time_error": coefficients.error,
        "simulated_refreshes": workload.jobs,
        "simulated_seconds": float(workload.arrival[-1]),
        "simulated_runs": plan.runs,
    }


def keeping_up(serving: Serving, cluster: Cluster, job: JobShape) -> int:
    """Cards that full chunks of prompts alone, or full batches of answers alone, keep busy all the time at the peak.

    A promise over a simulated peak of some minutes may be kept by fewer, while a queue grows that would break it later.
    It is a lower bound: one pool may hide writing behind reading, and never does so wholly.
    """
    reading = serving.rate * len(job.calls) / prefill_qps(cluster, job)
    writing = serving.rate * sum(call.output for call in job.calls) / decode_tps(cluster, job)
    return ceil(max(reading, writing)) if cluster.decode is None else ceil(reading) + ceil(writing)


def prefill_qps(cluster: Cluster, job: JobShape) -> float:
    """Prompts a second of one card that does nothing but read prompts of such jobs, in full chunks.

    What a job's calls share is read once where the cluster keeps it.
    """
    cost, pool, kept = step_cost(cluster.shape, cluster.precision), cluster.pool, 0
    tokens = pairs = seen = 0
    for call in job.calls:
        past = kept if cluster.prefix_cache and call.shared else 0
        new = call.shared + call.own - past
        if cluster.prefix_cache:
            kept = max(kept, call.shared)
        tokens += new
        pairs += new * past + new * (new + 1) // 2
        chunks = ceil(new / pool.max_tokens)
        seen += chunks * past + sum(min(new, (chunk + 1) * pool.max_tokens) for chunk in range(chunks))
    calls, steps = len(job.calls), tokens / pool.max_tokens
    operations = cost.token_flops * tokens + cost.logit_flops * calls + cost.pair_flops * pairs
    moved = (cost.weight_bytes + cost.head_bytes) * steps + cost.logit_bytes * calls
    moved += (cost.kv_bytes + cost.token_bytes) * tokens + cost.kv_bytes * seen
    card = pool.accelerator
    peak = card.peak(cluster.precision)
    chunk = pool.coefficients.seconds(
        operations / steps / peak, moved / steps / card.bandwidth, cluster.shape.layers, calls / steps
    )
    return calls / (steps * float(chunk))


def decode_tps(cluster: Cluster, job: JobShape) -> float:
    """Tokens a second of one card that does nothing but write answers of such jobs, as many as its memory holds."""
    cost, pool, card = step_cost(cluster.shape, cluster.precision), cluster.pool, cluster.pool.accelerator
    calls = job.calls
    written = sum(call.output for call in calls)
    context = round(sum((call.shared + call.own + call.output / 2) * call.output for call in calls) / written)
    held = sum(call.shared + call.own + call.output for call in calls)
    if cluster.prefix_cache and cluster.decode is None:
        held -= sum(call.shared for call in calls) - max(call.shared for call in calls)
    room = kv_capacity(cluster.shape, cluster.precision, card, cluster.usable_memory)
    batch = max(1, min(pool.max_calls, room * len(calls) // held))
    seen = batch * context
    operations, moved = cost.flops(batch, batch, seen), cost.bytes(batch, batch, seen)
    peak = card.peak(cluster.precision)
    step = pool.coefficients.seconds(operations / peak, moved / card.bandwidth, cluster.shape.layers, batch)
    return batch / float(step)


def against_paper(
    serving: Serving,
    against: Against,
    rows: Mapping[str, RowPlan],
    projected: list[dict[str, Any]],
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    """The treatment over the control beside the report's claims, and what each saving is worth, by card.

    Args:
        serving: the cluster.
        against: which rows.
        rows: plans of the plan that ``against`` names.
        projected: see ``project``.
        seed: of the run.
        progress: is told how far things are.
    """
    found = {}
    with progress.stage("taking savings apart", len(serving.hardware)) as stage:
        for name in serving.hardware:
            by_row = {
                each["row"]: each for each in projected if each["plan"] == against.plan and each["hardware"] == name
            }
            bars = _waterfall(serving, name, rows[against.control], rows[against.treatment], seed)
            found[name] = {
                "ratios": _ratios(by_row[against.control], by_row[against.treatment]),
                "projected_waterfall": bars,
            }
            stage.advance()
    return {
        "plan": against.plan,
        "control": against.control,
        "treatment": against.treatment,
        "by_hardware": found,
        "explains": EXPLAINS,
    }


EXPLAINS: Final = (
    "This model can explain what comes from reading fewer tokens, from reading them once, from what memory holds, from "
    "separate pools and from 8-bit peaks; it cannot explain a better kernel or engine, since every row is given the "
    "same efficiencies and its MFU moves only with the mix of reading and writing and with how full the cards are, nor "
    "what else differed in production, whose traffic, batches and baseline the report does not state: a gap to a claim "
    "refutes neither."
)


def _ratios(control: Mapping[str, Any], treatment: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "figure": claim["figure"],
            "projected_ratio": treatment[claim["column"]] / control[claim["column"]],
            "claimed_ratio": claim["claimed"],
            "claim": claim["says"],
        }
        for claim in PAPER
    ]


def _waterfall(serving: Serving, card: str, control: RowPlan, treatment: RowPlan, seed: int) -> list[dict[str, Any]]:
    """Bars from the control that reads every prompt whole to everything at once."""
    shape = model_shape(serving.model)
    cluster = _cluster(serving, shape, card, shares=False)
    full = _context(control.job)
    hierarchy = _workload(serving, _with_context(treatment.job, full), seed)
    savings: dict[str, Saving] = {
        HIERARCHY: lambda scenario: replace(scenario, workload=hierarchy),
        PREFIX: share_prefixes,
        COMPRESSION: compress(max(1.0, full / _context(treatment.job))),
        DISAGGREGATION: disaggregate(cluster.pool, serving.link.link()),
    }
    if cluster.pool.accelerator.fp8_flops is not None:
        savings[FP8] = use_fp8
    base = Scenario(cluster, _workload(serving, control.job, seed))
    try:
        bars = waterfall(base, savings, serving.slo.slo(), serving.most)
    except ServingError as error:
        raise ServingError(f"serving.{error} (waterfall, {card})") from None
    together = base
    for saving in savings.values():
        together = saving(together)
    clusters = {BASE: base, **{name: saving(base) for name, saving in savings.items()}, TOGETHER: together}
    jobs = {
        HIERARCHY: _with_context(treatment.job, full),
        COMPRESSION: _with_context(control.job, _context(treatment.job)),
        TOGETHER: treatment.job,
    }
    found: list[dict[str, Any]] = []
    for bar in bars:
        scenario = clusters[bar.name]
        gpus = max(bar.gpus, keeping_up(serving, scenario.cluster, jobs.get(bar.name, control.job)))
        busy = bar.gpu_seconds_busy
        if gpus > bar.gpus and scenario.cluster.decode is None:
            busy = _on(gpus, scenario.cluster, scenario.workload, serving.slo.slo()).gpu_seconds_busy_per_job
        first = found[0] if found else None
        found.append(
            {
                "saving": bar.name,
                "projected_gpus": gpus,
                "projected_gpus_saved": 1 - gpus / first["projected_gpus"] if first else 0.0,
                "projected_gpu_seconds_busy_per_refresh": busy,
                "projected_busy_saved": 1 - busy / first["projected_gpu_seconds_busy_per_refresh"] if first else 0.0,
                "step_time_error": bar.model_error,
            }
        )
    return found


def _on(gpus: int, cluster: Cluster, workload: Workload, slo: Slo) -> Figures:
    """Figures of one pool of so many cards."""
    return figures(serve(replace(cluster, pool=replace(cluster.pool, instances=gpus)), workload), slo, WARM_UP)


def _context(job: JobShape) -> int:
    return max(call.shared for call in job.calls)


def _with_context(job: JobShape, context: int) -> JobShape:
    """The same calls over another history."""
    stages = [[replace(call, shared=context if call.shared else 0) for call in stage] for stage in job.stages]
    return JobShape(tuple(tuple(stage) for stage in stages))


def _workload(serving: Serving, job: JobShape, seed: int) -> Workload:
    return draw_workload(job, serving.rate, serving.jobs, seed, serving.variation)


def _cluster(serving: Serving, shape: ModelShape, card: str, shares: bool) -> Cluster:
    found: Accelerator = accelerator(card)
    given = serving.step_time.get(card)
    coefficients: StepTime = given.step_time() if given else ASSUMED
    return Cluster(
        shape,
        Pool(found, coefficients=coefficients),
        prefix_cache=shares,
        usable_memory=serving.usable_memory,
    )
