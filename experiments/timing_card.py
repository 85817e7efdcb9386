"""Measuring on a card: which one, what is replayed on it, and step times fitted to it for the serving model.

Seconds here are the card's own and never stand beside a processor's. Knows plans by their lengths; knows no policy.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import torch
from transformers import AutoConfig

from experiments.errors import UserError
from experiments.progress import Progress
from experiments.timing_config import CardPrice, CardStepTime, Measure, MeasureGpu, Serving
from experiments.timing_plans import RowPlan
from experiments.timing_processor import longest_call
from policies.language.gpu.campaign import CUTS, Campaign, Group, PlanPiece, StepPiece
from policies.language.gpu.cards import Card, CudaCard
from policies.language.gpu.engine import Engine
from policies.language.gpu.fitted import fit_as_dict
from policies.language.gpu.presets import POSITIONS, preset_model
from policies.language.gpu.rounds import WINDOW
from policies.language.gpu.rows import PlanRow
from policies.language.model import LanguageError, LanguageSettings, find_folder, load_language
from policies.language.steps import StepShape, grid
from simulator.serving.steptime import LEAST_STEPS
from simulator.serving.transformer import MODEL_SHAPES, ModelShape, shape_of

FITTED: Final = "fitted here"


def open_card(device: str) -> Card | None:
    """The card that is measured; None where the processor is.

    Args:
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        UserError: CUDA is asked for and is not here.
    """
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return None
    try:
        return CudaCard()
    except ValueError:
        raise UserError(
            "measure.device: cuda (no CUDA device is here; use cpu or auto, which measure the small model in "
            "CPU-seconds, or measure: null)"
        ) from None


def check_on_card(settings: MeasureGpu) -> None:
    """Refuse what a card cannot measure, before anything takes time.

    Raises:
        UserError: steps are longer than the model's window.
        LanguageError: there is no such model.
    """
    longest = max(*settings.prompts, max(settings.pasts) + 1)
    window = _window(settings.model)
    if longest > window:
        raise UserError(
            f"measure.gpu: steps of up to {longest} tokens (the model's window is {window}); use smaller prompts and "
            "pasts"
        )


def check_fit(serving: Serving, measure: Measure | None, card: Card | None) -> None:
    """Refuse to fit step times that nothing will be measured for.

    Raises:
        UserError: no card is measured, its data sheet is not known, it is not served, its step times are given, or too
            few shapes are measured.
    """
    if card is None or measure is None:
        raise UserError(
            "serving.fit: true (no card is measured here, and a processor's steps stand for none; measure on a CUDA "
            "device, or give measured coefficients in serving.step_time)"
        )
    if card.sheet is None:
        raise UserError(f"serving.fit: true (the peaks of {card.describe()['name']} are not known; use false)")
    name = card.sheet.name
    if name not in serving.hardware:
        raise UserError(f"serving.fit: true (this card is {name}, none of serving.hardware; add it there)")
    if name in serving.step_time:
        raise UserError(f"serving.step_time.{name}: given, and serving.fit asks to fit it; leave one out")
    shapes = len(_reads(measure.gpu)) + len(_writes(measure.gpu))
    if shapes < LEAST_STEPS:
        raise UserError(
            f"serving.fit: true ({shapes} shapes are measured, and a fit needs {LEAST_STEPS}; name more measure.gpu "
            "prompts, prompt_rows, pasts and rows)"
        )


def measure_on_card(
    settings: Measure,
    card: Card,
    plans: Mapping[str, Mapping[str, RowPlan]],
    prices: Mapping[str, CardPrice],
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    """Replay each plan on the card, measure steps, and fit them.

    Args:
        settings: rounds, and what is measured on a card.
        card: the device.
        plans: by name and row.
        prices: of an hour by card; no cost is told without one.
        seed: of random weights and inputs.
        progress: is told how far things are.
    """
    gpu = settings.gpu
    shape, window = _shape(gpu.model), _window(gpu.model)
    pieces: list[PlanPiece | StepPiece] = []
    too_long: list[dict[str, Any]] = []
    for name, rows in plans.items():
        short = {row: each for row, each in rows.items() if longest_call(each) <= window}
        jobs = tuple((row, each.job, each.shares) for row, each in short.items())
        if jobs:
            pieces.append(PlanPiece(name, jobs, gpu.refreshes, gpu.writing))
        too_long += [_too_long(name, row, longest_call(each), window) for row, each in rows.items() if row not in short]
    pieces += [StepPiece(step, None) for step in _reads(gpu)]
    pieces += [StepPiece(step, "graph") for step in _writes(gpu)]
    with progress.stage("measuring on the card", len(pieces)) as stage:
        campaign = Campaign(
            card,
            gpu.seconds,
            settings.rounds,
            settings.rounds,
            time.monotonic,
            window=WINDOW if gpu.energy else 0.0,
            advance=stage.advance,
        )
        group = Group(gpu.model, shape, "bf16", lambda: _engine(gpu.model, card, seed), tuple(pieces))
        found = campaign.run([group])
    price = prices.get(card.sheet.name) if card.sheet else None
    fit = fit_as_dict(found.rows, card.sheet)
    told = iter(fit["plans"])
    rows_of = []
    for row in found.rows:
        if isinstance(row, PlanRow):
            by_fit = next(told) if row.outcome.samples and fit["coefficients"] else None
            rows_of.append(_with_cost(row.as_dict(card.sheet), by_fit, price))
    return {
        "device": "cuda",
        "unit": "GPU-seconds",
        "card": card.describe(),
        "model": gpu.model,
        "weights": "random" if gpu.model in MODEL_SHAPES else "loaded",
        "dtype": "bf16",
        "shape": asdict(shape),
        "window": window,
        "refreshes_side_by_side": gpu.refreshes,
        "rows": [*rows_of, *too_long],
        "steps": [row.as_dict(card.sheet) for row in found.rows if not isinstance(row, PlanRow)],
        "fit": fit,
        "dropped": found.dropped,
        "failed": found.failed,
        "seconds": found.seconds,
    }


def with_fit(serving: Serving, measured: Mapping[str, Any]) -> Serving:
    """The serving model with the measured card's own step times; as it was where no fit told them.

    What was measured is kept in either case, so a fit that fails after minutes of measuring costs nothing but itself.
    """
    fit = measured["fit"]
    if fit["coefficients"] is None:
        return serving
    return serving.model_copy(
        update={"step_time": {**serving.step_time, fit["card"]: CardStepTime(**fit["coefficients"])}}
    )


def _reads(gpu: MeasureGpu) -> list[StepShape]:
    return grid(gpu.prompts, (0,), gpu.prompt_rows, (), (), max(CUTS.read_tokens, *gpu.prompts))


def _writes(gpu: MeasureGpu) -> list[StepShape]:
    return grid((), (), (), gpu.pasts, gpu.rows, 0)


def _shape(model: str) -> ModelShape:
    return MODEL_SHAPES[model] if model in MODEL_SHAPES else shape_of(_config(model))


def _window(model: str) -> int:
    return POSITIONS if model in MODEL_SHAPES else int(_config(model).get_text_config().max_position_embeddings)


def _config(model: str) -> Any:
    """A model's configuration, without its weights."""
    folder = find_folder(LanguageSettings(model=model))
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        line = (str(error).strip().splitlines() or [""])[0]
        raise LanguageError(f"language.model: {model} (config.json cannot be read: {line})") from None


def _engine(model: str, card: Card, seed: int) -> Engine:
    if model in MODEL_SHAPES:
        return Engine(preset_model(model, card.device, torch.bfloat16, seed), card, seed)
    loaded = load_language(LanguageSettings(model=model, device=str(card.device), dtype="bfloat16"))
    return Engine(loaded.model, card, seed)


def _too_long(plan: str, row: str, longest: int, window: int) -> dict[str, Any]:
    return {
        "kind": "plan",
        "plan": plan,
        "row": row,
        "why_not": f"a call of {longest} tokens is longer than the model's window of {window}",
        "gpu_seconds": None,
    }


def _with_cost(row: dict[str, Any], by_fit: Mapping[str, Any] | None, price: CardPrice | None) -> dict[str, Any]:
    """A measured plan with what the fit tells of it, and its cost where there is a price."""
    held = row.get("gpu_seconds_provisioned")
    return row | {
        "modelled_gpu_seconds": by_fit["modelled_seconds"] if by_fit else None,
        "modelled_error": by_fit["modelled_error"] if by_fit else None,
        "cost_per_1000_refreshes": 1000 * held["median"] / 3600 * price.per_hour if held and price else None,
        "currency": price.currency if price else None,
        "price_at": price.at.isoformat() if price else None,
    }
