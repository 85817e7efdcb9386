"""Measuring on the processor: steps of a language model, a fit of them, and plans whole, in CPU-seconds of one thread.

Nothing that is found here says what an accelerator takes: GPU-seconds, MFU and cost of its rows are None.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from experiments.errors import UserError
from experiments.progress import Progress
from experiments.timing_config import Measure
from experiments.timing_plans import RowPlan
from policies.language.model import Language, LanguageSettings, load_language
from policies.language.steps import PlanStep, StepShape, Timed, fit_steps, grid, plan_steps, told_seconds
from policies.language.timing import CPU, CUTS, Passes, in_turn, one_thread, time_steps
from simulator.serving.errors import ServingError
from simulator.serving.hardware import FP32
from simulator.serving.steptime import Fit


def load_for_processor(settings: Measure) -> Language:
    """The model that is to be measured, in 32-bit numbers.

    Raises:
        LanguageError: it cannot be loaded.
        UserError: steps are longer than its window.
    """
    language = load_language(LanguageSettings(model=settings.model, device="cpu", dtype="float32"))
    longest = max(max(settings.prompts) + max(settings.behind), max(settings.pasts) + 1)
    if longest > language.window:
        raise UserError(
            f"measure: steps of up to {longest} tokens (the model's window is {language.window}); "
            "use smaller prompts, behind and pasts"
        )
    return language


def measure_on_processor(
    settings: Measure,
    language: Language,
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

    Raises:
        ServingError: no fit tells the steps.
    """
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
            if longest_call(each) <= language.window
        }
        passes = Passes(language, seed)
        with progress.stage("timing plans", (rounds + 1) * len(works)) as stage:
            timed = in_turn({key: _ready(passes, each) for key, each in works.items()}, rounds, advance=stage.advance)
    return {
        "device": "cpu",
        "why": "No CUDA device is here" if settings.device == "auto" else "The config asks for the CPU",
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


def longest_call(plan: RowPlan) -> int:
    """Tokens of a plan's longest call, those that it writes among them."""
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
        "longest_call": longest_call(plan),
        "cpu_seconds_per_refresh": None,
        "modelled_cpu_seconds_per_refresh": None,
        "modelled_error": None,
        "why_not": None,
        "gpu_seconds": None,
        "mfu": None,
        "cost": None,
    }
    if steps is None or timed is None:
        found["why_not"] = (
            f"a call of {longest_call(plan)} tokens is longer than the model's window of {language.window}"
        )
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
