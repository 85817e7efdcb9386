"""The story of a timing: plans, steps measured here, clusters modelled, and the report's claims beside them.

What is measured and what is modelled never share a name: measured seconds are CPU-seconds of one thread on this
machine, and say nothing of an accelerator; every modelled figure of one begins with ``projected_``.
"""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from experiments.config import resolved_hash
from experiments.loading import UserError
from experiments.progress import Progress
from experiments.provenance import Stopwatch, manifest
from experiments.run_directory import MANIFEST, TIMING, RunDirectory
from experiments.timing_config import LengthsPlan, Measure, TimingConfig
from experiments.timing_plans import RowPlan, make_plans, stated_plan
from experiments.timing_projection import against_paper, check_serving, project
from policies.language.model import Language, LanguageSettings, load_language
from policies.language.steps import PlanStep, StepShape, Timed, fit_steps, grid, plan_steps, told_seconds
from policies.language.timing import CPU, CUTS, Passes, in_turn, one_thread, time_steps
from simulator.serving.errors import ServingError
from simulator.serving.hardware import FP32
from simulator.serving.steptime import Fit

SCHEMA = 1


def run_timing(config: TimingConfig, directory: RunDirectory, progress: Progress) -> dict[str, Any]:
    """Tell what designs cost, and leave everything in ``directory``.

    Args:
        config: the checked config.
        directory: where to write; the manifest is written last.
        progress: is told how far things are.

    Returns:
        The contents of ``timing.json``.

    Raises:
        UserError: CUDA is asked for.
        LanguageError: a language model cannot be loaded, or does not read so many tokens at once.
        ServingError: a model does not fit a card, no cluster keeps the promise, or no fit tells the steps.
    """
    clock = Stopwatch()
    language = _checked(config)
    with clock.stage("plans"):
        plans = make_plans(config, progress)
    if config.serving is not None:
        check_serving(config.serving, plans)
    with clock.stage("measuring"):
        measured = measure(config.measure, language, plans, config.seed, progress) if config.measure else None
    projected: list[dict[str, Any]] = []
    paper = None
    if config.serving is not None:
        with clock.stage("modelling"):
            projected = project(config.serving, plans, config.seed, progress)
            if config.paper is not None:
                rows = plans[config.paper.plan]
                paper = against_paper(config.serving, config.paper, rows, projected, config.seed, progress)
    hashed = resolved_hash(config.resolved)
    where = manifest(hashed, {"run": config.seed}, clock.seconds, 1, None)
    timing = {
        "schema": SCHEMA,
        "name": config.name,
        "seed": config.seed,
        "config_hash": hashed,
        "code_version": where["code_version"],
        "versions": {"python": where["python"], **where["packages"]},
        "machine": {**where["machine"], "processor": processor(), "load_average": list(os.getloadavg())},
        "base": next(iter(config.rows)),
        "plans": {
            name: {"kind": config.plans[name].kind, "rows": {row: each.as_dict() for row, each in rows.items()}}
            for name, rows in plans.items()
        },
        "measured": measured,
        "projected": projected,
        "serving": config.serving.model_dump(mode="json") if config.serving else None,
        "paper": paper,
    }
    directory.write_json(TIMING, timing)
    directory.write_json(MANIFEST, where)
    return timing


def _checked(config: TimingConfig) -> Language | None:
    """Refuse what would fail later, before anything takes time; the model that is to be measured."""
    if config.serving is not None:
        stated = {
            name: {row: stated_plan(plan, choice) for row, choice in config.rows.items()}
            for name, plan in config.plans.items()
            if isinstance(plan, LengthsPlan)
        }
        check_serving(config.serving, stated)
    if config.measure is None:
        return None
    if config.measure.device == "cuda":
        there = torch.cuda.is_available()
        reason = "steps are timed on the CPU only" if there else "no CUDA device is here"
        raise UserError(
            f"measure.device: cuda ({reason}; use cpu, which measures the tiny model in CPU-seconds, or measure: null)"
        )
    language = load_language(LanguageSettings(model=config.measure.model, device="cpu", dtype="float32"))
    longest = max(
        max(config.measure.prompts) + max(config.measure.behind),
        max(config.measure.pasts) + 1,
    )
    if longest > language.window:
        raise UserError(
            f"measure: steps of up to {longest} tokens (the model's window is {language.window}); "
            "use smaller prompts, behind and pasts"
        )
    return language


def measure(
    settings: Measure,
    language: Language | None,
    plans: Mapping[str, Mapping[str, RowPlan]],
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    """Time steps of the language model, fit them, and time each plan whole.

    Args:
        settings: shapes and rounds.
        language: the model, on the CPU in 32-bit numbers.
        plans: by name and row.
        seed: of the random inputs.
        progress: is told how far things are.
    """
    assert language is not None
    shapes = grid(
        settings.prompts, settings.behind, settings.prompt_rows, settings.pasts, settings.rows, CUTS.read_tokens
    )
    rounds = settings.rounds
    with one_thread():
        with progress.stage("timing steps", (rounds + 1) * len(shapes)) as stage:
            steps = time_steps(language, shapes, rounds, seed, advance=stage.advance)
        try:
            fitted = fit_steps({language.shape: steps}, CPU, FP32)
        except ServingError as error:
            raise ServingError(f"measure.{error}") from None
        works = {
            (name, row): plan_steps(each.job, each.shares, settings.refreshes, CUTS)
            for name, rows in plans.items()
            for row, each in rows.items()
            if _longest(each) <= language.window
        }
        passes = Passes(language, seed)
        with progress.stage("timing plans", (rounds + 1) * len(works)) as stage:
            timed = in_turn({key: _ready(passes, each) for key, each in works.items()}, rounds, advance=stage.advance)
    return {
        "device": "cpu",
        "unit": "CPU-seconds of one thread",
        "threads": 1,
        "model": settings.model,
        "dtype": str(language.dtype).removeprefix("torch."),
        "fingerprint": language.fingerprint,
        "shape": asdict(language.shape),
        "steps": _steps(language, steps, fitted),
        "fit": _fit(fitted),
        "window": language.window,
        "refreshes_side_by_side": settings.refreshes,
        "rows": [
            _row(settings, language, fitted, name, row, each, works.get((name, row)), timed.get((name, row)))
            for name, rows in plans.items()
            for row, each in rows.items()
        ],
    }


def _ready(passes: Passes, steps: Sequence[PlanStep]) -> Any:
    return lambda: passes.plan(steps)


def _longest(plan: RowPlan) -> int:
    return max(call.shared + call.own + call.output for call in plan.job.calls)


def _steps(language: Language, steps: Mapping[StepShape, Timed], fitted: Fit) -> list[dict[str, Any]]:
    told = told_seconds(language.shape, fitted.coefficients, list(steps), CPU, FP32)
    return [
        {
            "phase": shape.phase,
            **asdict(shape),
            "held_out": bool(out),
            "cpu_seconds": _spread(timed, 1),
            "modelled_cpu_seconds": seconds,
        }
        for (shape, timed), seconds, out in zip(steps.items(), told, fitted.held_out.tolist(), strict=True)
    ]


def _fit(fitted: Fit) -> dict[str, Any]:
    return {
        "form": fitted.coefficients.form,
        "coefficients": asdict(fitted.coefficients),
        "held_out_median_error": fitted.coefficients.error,
        "errors_by_form": fitted.errors,
        "held_out_shapes": int(fitted.held_out.sum()),
        "shapes": len(fitted.held_out),
        "normaliser": {"flops": CPU.fp32_flops, "bandwidth": CPU.bandwidth, "source": CPU.source},
    }


def _row(
    settings: Measure,
    language: Language,
    fitted: Fit,
    name: str,
    row: str,
    plan: RowPlan,
    steps: Sequence[PlanStep] | None,
    timed: Timed | None,
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "plan": name,
        "row": row,
        "longest_call": _longest(plan),
        "cpu_seconds_per_refresh": None,
        "modelled_cpu_seconds_per_refresh": None,
        "modelled_error": None,
        "why_not": None,
        "gpu_seconds": None,
        "mfu": None,
        "cost": None,
    }
    if steps is None or timed is None:
        found["why_not"] = f"a call of {_longest(plan)} tokens is longer than the model's window of {language.window}"
        return found
    each = [shape for step in steps for shape in step.shapes]
    told = sum(told_seconds(language.shape, fitted.coefficients, each, CPU, FP32)) / settings.refreshes
    spread = _spread(timed, settings.refreshes)
    found["cpu_seconds_per_refresh"] = spread
    found["modelled_cpu_seconds_per_refresh"] = told
    found["modelled_error"] = told / spread["median"] - 1.0
    return found


def _spread(timed: Timed, parts: int) -> dict[str, Any]:
    """Median, quartiles and raw samples of seconds, of one of equal parts."""
    low, high = timed.quartiles
    return {
        "median": timed.median / parts,
        "q25": low / parts,
        "q75": high / parts,
        "raw": [seconds / parts for seconds in timed.seconds],
    }


def processor() -> str:
    """What the system calls its processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
