"""Step times fitted to steps that a card was measured at, told with their error on steps held out.

Reading is fitted as it was launched; writing as recorded steps where there are any, since a server records its steps,
and as launched one by one otherwise. Only products in 16 bits are fitted. Knows no device.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from policies.language.gpu.campaign import Row
from policies.language.gpu.rows import PlanRow, StepRow
from policies.language.steps import StepShape, Timed, fit_steps, told_seconds
from simulator.serving.errors import ServingError
from simulator.serving.hardware import BF16, Accelerator
from simulator.serving.steptime import Fit
from simulator.serving.transformer import ModelShape


def fitted_steps(rows: Sequence[Row]) -> dict[ModelShape, dict[StepShape, Timed]]:
    """Which steps a fit is made of, by model."""
    steps = [row for row in rows if isinstance(row, StepRow) and row.dtype == "bf16" and row.outcome.samples]
    recorded = any(row.writing == "graph" for row in steps)
    found: dict[ModelShape, dict[StepShape, Timed]] = {}
    for row in steps:
        if row.writing != ("eager" if recorded else "graph"):
            found.setdefault(row.shape, {})[row.step] = row.timed
    return found


def fit_card(rows: Sequence[Row], sheet: Accelerator | None) -> Fit | str:
    """The fit of a campaign's steps, or why there is none."""
    if sheet is None:
        return "the card's peaks are not known"
    try:
        return fit_steps(fitted_steps(rows), sheet, BF16)
    except (ServingError, ValueError) as error:
        return str(error)


def fit_as_dict(rows: Sequence[Row], sheet: Accelerator | None) -> dict[str, Any]:
    """A fit as results hold it: coefficients, errors, and each step as it tells it beside what was measured."""
    fit = fit_card(rows, sheet)
    if isinstance(fit, str) or sheet is None:
        return {"why_not": fit, "coefficients": None, "held_out_median_error": None, "steps": [], "plans": []}
    steps = fitted_steps(rows)
    held_out = iter(fit.held_out.tolist())
    return {
        "why_not": None,
        "card": sheet.name,
        "precision": BF16.name,
        "coefficients": asdict(fit.coefficients),
        "held_out_median_error": fit.coefficients.error,
        "errors_by_form": fit.errors,
        "held_out_steps": int(fit.held_out.sum()),
        "steps": [
            {
                **asdict(step),
                "layers": shape.layers,
                "held_out": next(held_out),
                "measured_seconds": timed.median,
                "modelled_seconds": told,
            }
            for shape, each in steps.items()
            for (step, timed), told in zip(
                each.items(), told_seconds(shape, fit.coefficients, list(each), sheet, BF16), strict=True
            )
        ],
        "plans": [_plan(row, fit, sheet) for row in rows if isinstance(row, PlanRow) and _told(row)],
    }


def _told(row: PlanRow) -> bool:
    return row.dtype == "bf16" and bool(row.outcome.samples)


def _plan(row: PlanRow, fit: Fit, sheet: Accelerator) -> Mapping[str, Any]:
    """A whole plan as the fit tells it: no step of it was fitted."""
    told = sum(told_seconds(row.shape, fit.coefficients, list(row.passes), sheet, BF16)) / row.refreshes
    return {
        "model": row.model,
        "plan": row.plan,
        "row": row.row,
        "refreshes_side_by_side": row.refreshes,
        "writing": row.writing,
        "modelled_seconds": told,
        "modelled_error": told / row.busy.median - 1.0,
    }
