"""The story of a timing: plans, steps measured here, clusters modelled, and the report's claims beside them.

What is measured and what is modelled never share a name, nor do two devices. Measured on a card, seconds are the
card's; on a processor they are CPU-seconds of one thread, and say nothing of an accelerator. Every modelled figure of
an accelerator begins with ``projected_``.
"""

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.config import resolved_hash
from experiments.progress import Progress
from experiments.provenance import Stopwatch, manifest
from experiments.run_directory import MANIFEST, TIMING, RunDirectory
from experiments.timing_card import FITTED, check_fit, check_on_card, measure_on_card, open_card, with_fit
from experiments.timing_config import Serving, TimingConfig
from experiments.timing_plans import RowPlan, make_plans, stated_plans
from experiments.timing_processor import load_for_processor, measure_on_processor
from experiments.timing_projection import against_paper, check_promise, check_serving, project
from policies.language.gpu.cards import Card
from policies.language.model import Language
from simulator.serving.transformer import ModelShape, model_shape

SCHEMA = 2


def run_timing(config: TimingConfig, directory: RunDirectory, progress: Progress) -> dict[str, Any]:
    """Tell what designs cost, and leave everything in ``directory``.

    Args:
        config: the checked config.
        directory: where to write; the manifest is written last.
        progress: is told how far things are.

    Returns:
        The contents of ``timing.json``.

    Raises:
        UserError: CUDA is asked for where there is none, steps are longer than a model's window, or step times are to
            be fitted to a card that is not measured.
        LanguageError: a language model cannot be loaded.
        ServingError: a model does not fit a card, no cluster keeps the promise, or no fit tells the steps.
    """
    clock = Stopwatch()
    card = open_card(config.measure.device) if config.measure else None
    language = _refused_early(config, card)
    serving = config.serving
    projected: list[dict[str, Any]] = []
    paper = None
    fitted = card.sheet.name if serving is not None and serving.fit and card is not None and card.sheet else None
    stated = stated_plans(config)
    # What no cluster keeps is refused before a world is played, and before anything is measured.
    with clock.stage("modelling"):
        projected += _modelled(config, fitted, stated, progress)
    with clock.stage("plans"):
        plans = make_plans(config, progress)
    with clock.stage("modelling"):
        projected += _modelled(config, fitted, {name: plans[name] for name in plans if name not in stated}, progress)
        if serving is not None and fitted is None:
            paper = _against_paper(config, serving, plans, projected, progress)
    measured = None
    with clock.stage("measuring"):
        if config.measure is not None and card is not None:
            prices = serving.price if serving is not None else {}
            measured = measure_on_card(config.measure, card, plans, prices, config.seed, progress)
        elif config.measure is not None and language is not None:
            measured = measure_on_processor(config.measure, language, plans, config.seed, progress)
    if serving is not None and fitted is not None and measured is not None:
        with clock.stage("modelling"):
            by_fit = with_fit(serving, measured)
            own = project(by_fit, [fitted], plans, config.seed, progress)
            if by_fit is not serving:
                own = [row | {"step_time_source": FITTED} for row in own]
            projected += own
            paper = _against_paper(config, by_fit, plans, projected, progress)
    hashed = resolved_hash(config.resolved)
    where = manifest(hashed, {"run": config.seed}, clock.seconds, 1, None)
    counted, shape = _counted_model(config, language)
    timing = {
        "schema": SCHEMA,
        "name": config.name,
        "seed": config.seed,
        "config_hash": hashed,
        "code_version": where["code_version"],
        "versions": {"python": where["python"], **where["packages"]},
        "machine": {**where["machine"], "processor": processor(), "load_average": list(os.getloadavg())},
        "base": next(iter(config.rows)),
        "flops_of": counted,
        "plans": {
            name: {"kind": config.plans[name].kind, "rows": {row: each.as_dict(shape) for row, each in rows.items()}}
            for name, rows in plans.items()
        },
        "measured": measured,
        "projected": _in_order(config, projected),
        "serving": config.serving.model_dump(mode="json") if config.serving else None,
        "paper": paper,
    }
    directory.write_json(TIMING, timing)
    directory.write_json(MANIFEST, where)
    return timing


def _modelled(
    config: TimingConfig, fitted: str | None, plans: Mapping[str, Mapping[str, RowPlan]], progress: Progress
) -> list[dict[str, Any]]:
    """Clusters of the cards whose step times need no measuring; the fitted one is held against its peaks alone."""
    serving = config.serving
    if serving is None:
        return []
    check_serving(serving, plans)
    known = [name for name in serving.hardware if name != fitted]
    found = project(serving, known, plans, config.seed, progress)
    if fitted is not None:
        check_promise(serving, fitted, plans, config.seed, progress)
    return found


def _in_order(config: TimingConfig, projected: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By card, plan and row, each in the order of the config."""
    if config.serving is None:
        return projected
    orders = (config.serving.hardware, config.serving.plans or tuple(config.plans), tuple(config.rows))
    keys = ("hardware", "plan", "row")
    return sorted(projected, key=lambda row: [order.index(row[key]) for order, key in zip(orders, keys, strict=True)])


def _against_paper(
    config: TimingConfig,
    serving: Serving,
    plans: Mapping[str, Mapping[str, RowPlan]],
    projected: list[dict[str, Any]],
    progress: Progress,
) -> dict[str, Any] | None:
    """What is modelled beside the report's claims; None where that is not asked for."""
    if config.paper is None:
        return None
    return against_paper(serving, config.paper, plans[config.paper.plan], projected, config.seed, progress)


def _counted_model(config: TimingConfig, language: Language | None) -> tuple[str | None, ModelShape | None]:
    """Whose operations are counted: the model that is served, else the one that is measured, else nobody's."""
    if config.serving is not None:
        return config.serving.model, model_shape(config.serving.model)
    if config.measure is not None and language is not None:
        return config.measure.model, language.shape
    return None, None


def _refused_early(config: TimingConfig, card: Card | None) -> Language | None:
    """Refuse what would fail later, before anything takes time; the model that a processor is to measure."""
    if config.serving is not None:
        check_serving(config.serving, stated_plans(config))
        if config.serving.fit:
            check_fit(config.serving, config.measure, card)
    if config.measure is None:
        return None
    if card is not None:
        check_on_card(config.measure.gpu)
        return None
    return load_for_processor(config.measure)


def processor() -> str:
    """What the system calls its processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
