"""A table within a time: what is measured, what is dropped and in which order, and what is said of it."""

import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from policies.language.gpu.campaign import Campaign, Group, Measured, Piece, PlanPiece, StepPiece
from policies.language.gpu.engine import Engine, Sample
from policies.language.gpu.fitted import fit_as_dict, fitted_steps
from policies.language.gpu.presets import random_model
from policies.language.gpu.rounds import Outcome
from policies.language.gpu.rows import PlanRow, StepRow
from policies.language.steps import Cuts, StepShape, plan_steps, told_seconds
from simulator.serving.hardware import BF16, H200
from simulator.serving.steptime import StepTime
from simulator.serving.transformer import QWEN3_0_6B, QWEN3_8B, QWEN3_14B, ModelShape
from simulator.serving.workload import parallel_job

SMALL = ModelShape(layers=2, width=32, heads=4, kv_heads=2, head_dim=16, ffn=48, vocabulary=200, tied=True)
JOB = parallel_job(3, 12, 4, 3)
PLAN = PlanPiece("paper", (("V1", JOB, False), ("V1 shared prefix", JOB, True)), 2, "graph")
PIECES: tuple[Piece, ...] = (
    PLAN,
    StepPiece(StepShape(16, 0, 2), None),
    StepPiece(StepShape(1, 16, 2), "graph"),
    StepPiece(StepShape(1, 16, 2), "eager"),
)


def _campaign(card: Any, seconds: float = 1e6, **given: Any) -> Campaign:
    return Campaign(card, seconds, 2, 2, time.monotonic, **({"window": 0.0, "cuts": Cuts(64, 8)} | given))


def _group(card: Any, pieces: tuple[Piece, ...] = PIECES, load: Callable[[], Engine] | None = None) -> Group:
    made = load or (lambda: Engine(random_model(SMALL, card.device, torch.float32, 1), card, 2))
    return Group("small", SMALL, "bf16", made, pieces)


def test_every_piece_leaves_its_rows_in_order(card: Any) -> None:
    """Measured rows have seconds, in the order of the pieces, and models are told as they are loaded."""
    told: list[str] = []
    after: list[int] = []
    found = _campaign(card, tell=told.append).run([_group(card)], lambda so_far: after.append(len(so_far.rows)))
    rows = found.as_dicts(card.sheet)
    assert [(row["kind"], row.get("row") or row.get("writing")) for row in rows] == [
        ("plan", "V1"),
        ("plan", "V1 shared prefix"),
        ("step", None),
        ("step", "graph"),
        ("step", "eager"),
    ]
    assert all(len(row["gpu_seconds"]["raw"]) == 2 for row in rows)
    assert all(0 < row.get("mfu", row.get("mfu_busy")) < 1 for row in rows)
    assert (found.dropped, found.failed) == ([], [])
    assert told[0] == "small, bf16: loading"
    assert len(told) == 1 + len(PIECES)
    assert after == [5]
    assert found.seconds > 0


def test_what_does_not_fit_in_memory_is_said_and_is_no_failure(card: Any) -> None:
    """A model or a shape that the card cannot hold is left out with its reason, and the rest is measured."""

    def load() -> Engine:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 30.00 GiB")

    found = _campaign(card).run([_group(card, load=load), _group(card)])
    reasons = [row.outcome.why_not for row in found.rows]
    assert reasons == ["the model does not fit in the card's memory"] * 5 + [None] * 5
    assert found.failed == []

    large = Engine.storage

    def storage(self: Engine, rows: int, places: int) -> Any:
        if places > 20:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return large(self, rows, places)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Engine, "storage", storage)
        found = _campaign(card).run([_group(card)])
    memory = "it does not fit in the card's memory"
    assert [row.outcome.why_not for row in found.rows] == [None, None, None, None, memory]
    assert found.failed == []


def test_a_failure_is_said_and_kept_apart(card: Any) -> None:
    """What goes wrong otherwise must be in the list of failures, in one line, with what it was."""

    def load() -> Engine:
        raise RuntimeError("no kernel image is available\nfor this device")

    told: list[str] = []
    found = _campaign(card, tell=told.append).run([_group(card, load=load)])
    (line,) = found.failed
    assert line.startswith("small, bf16: the model cannot be made ready (RuntimeError: no kernel image is available)")
    assert "left out" in told[1]

    def broken(*_: Any) -> Any:
        raise RuntimeError("capture failed")

    card.record = broken
    found = _campaign(card).run([_group(card)])
    assert len(found.failed) == 3
    assert found.failed[-1] == "small, bf16, writing behind 16 tokens, 2 rows, graph: RuntimeError: capture failed"
    assert [row.outcome.why_not is None for row in found.rows] == [False, False, True, False, True]


def _groups() -> list[Group]:
    pieces: tuple[Piece, ...] = tuple(
        StepPiece(StepShape(new, 0, batch), None) for new, batch in ((400, 1), (21_349, 4), (5158, 1), (21_349, 1))
    )
    names = {"first": QWEN3_8B, "second": QWEN3_0_6B, "third": QWEN3_14B}
    return [Group(name, shape, "bf16", lambda: None, pieces) for name, shape in names.items()]  # type: ignore[arg-type,return-value]


def test_the_dearest_pieces_go_first_and_cheaper_ones_behind_them_may_run(card: Any) -> None:
    """A piece that the time does not suffice for is dropped and named, and a cheaper one behind it is measured."""
    dear, cheap = StepPiece(StepShape(500_000, 0, 500), None), StepPiece(StepShape(8, 0, 1), None)
    short = _campaign(card, seconds=3.0)
    assert short.guess(_group(card), cheap) < 3.0 < short.guess(_group(card), dear)
    found = short.run([_group(card, (dear, cheap))])
    assert [row.outcome.why_not for row in found.rows] == ["the time did not suffice", None]
    assert found.dropped == ["small, bf16: reading 500,000 tokens behind 0, 500 rows"]


def test_a_model_is_not_loaded_for_nothing(card: Any) -> None:
    """When no piece of a model fits in the time, the model is not made."""

    def load() -> Engine:
        raise AssertionError

    found = _campaign(card, seconds=0.0).run([_group(card, load=load)])
    assert len(found.dropped) == len(PIECES)
    assert {row.outcome.why_not for row in found.rows} == {"the time did not suffice"}


def test_energy_is_counted_only_where_it_is_wanted(card: Any) -> None:
    """A model without windows has no energy and is guessed cheaper by them."""
    with_energy = _group(card, PIECES[1:2])
    without = replace(with_energy, energy=False)
    campaign = _campaign(card, window=0.05)
    rows = campaign.run([with_energy, without]).rows
    assert [row.outcome.energy is not None for row in rows] == [True, False]
    assert campaign.guess(with_energy, PIECES[1]) > campaign.guess(without, PIECES[1]) + 0.05


def test_a_piece_that_would_overrun_is_dropped_as_things_go(card: Any) -> None:
    """When pieces take longer than guessed, those that the time left does not suffice for are dropped and named."""
    slow = itertools.count(0, 20.0).__next__
    campaign = Campaign(card, 320.0, 2, 2, lambda: float(slow()), window=0.0, cuts=Cuts(64, 8))
    found = campaign.run([_group(card)])
    assert found.rows[0].outcome.why_not is None
    assert found.dropped
    assert {row.outcome.why_not for row in found.rows[2:]} == {"the time did not suffice"}
    assert found.dropped[-1] == "small, bf16: writing behind 16 tokens, 2 rows, eager"


def test_a_dearer_piece_is_guessed_dearer(card: Any) -> None:
    """More tokens, more rows, a larger model and launching one by one take longer; energy takes its window."""
    campaign = _campaign(card)
    groups = {group.model: group for group in _groups()}

    def guess(model: str, piece: Piece) -> float:
        return campaign.guess(groups[model], piece)

    read = StepPiece(StepShape(21_349, 0, 1), None)
    assert guess("third", read) > guess("first", read) > guess("second", read)
    assert guess("first", StepPiece(StepShape(21_349, 0, 4), None)) > guess("first", read)
    eager, graph = (StepPiece(StepShape(1, 5158, 1), writing) for writing in ("eager", "graph"))  # type: ignore[arg-type]
    assert guess("first", eager) / 8 > guess("first", graph) / 32
    assert guess("first", PLAN) > 2 * guess("first", graph)
    windowed = _campaign(card, window=2.0).guess(groups["first"], read)
    assert windowed > guess("first", read) + 2.0


def _measured(truth: StepTime) -> Measured:
    """Rows that take what a formula says."""
    found = Measured()
    for shape in (QWEN3_0_6B, QWEN3_8B):
        about = ("model", shape, "bf16")
        steps = [StepShape(new, 0, batch) for new in (400, 5158, 21_349) for batch in (1, 2, 4)]
        steps += [StepShape(1, past, batch) for past in (400, 5158, 21_349) for batch in (1, 8, 32)]
        for step in steps:
            for writing in ("eager", "graph") if step.new == 1 else (None,):
                seconds = _told(truth, shape, step) * (3.0 if writing == "eager" else 1.0)
                outcome = Outcome(1, [_sample(seconds)], [{}])
                found.rows.append(StepRow(*about, step, writing, outcome))  # type: ignore[arg-type]
    passes = tuple(s for step in plan_steps(JOB, True, 2, Cuts(4096, 64)) for s in step.shapes)
    outcome = Outcome(2, [_sample(sum(_told(truth, QWEN3_8B, each) for each in passes))], [{}])
    found.rows.append(PlanRow("model", QWEN3_8B, "bf16", "paper", "V1", 2, 1, "graph", passes, outcome))
    return found


def _sample(seconds: float) -> Any:
    return Sample({"phase": seconds}, seconds, {"phase": 1})


def _told(truth: StepTime, shape: ModelShape, step: StepShape) -> float:
    return told_seconds(shape, truth, [step], H200, BF16)[0]


def test_step_times_are_fitted_with_their_error() -> None:
    """From rows that follow a formula the fit tells the held-out steps and the whole plan, by the recorded steps."""
    truth = StepTime(0.6, 0.8, per_layer=1e-5, per_step=2e-4, form="sum")
    found = fit_as_dict(_measured(truth).rows, H200)
    assert found["why_not"] is None
    assert found["coefficients"]["compute_efficiency"] == pytest.approx(0.6, rel=1e-3)
    assert found["held_out_median_error"] == pytest.approx(0.0, abs=1e-3)
    assert found["held_out_steps"] == sum(step["held_out"] for step in found["steps"]) > 0
    assert len(found["steps"]) == 36
    (plan,) = found["plans"]
    assert plan["modelled_error"] == pytest.approx(0.0, abs=1e-3)


def test_steps_launched_one_by_one_are_fitted_where_none_is_recorded() -> None:
    """A table without recorded steps is fitted by what there is."""
    rows = [row for row in _measured(StepTime(0.6, 0.8)).rows if isinstance(row, StepRow)]
    assert {step.batch for each in fitted_steps(rows).values() for step in each if step.new == 1} == {1, 8, 32}
    eager = [row for row in rows if row.writing != "graph"]
    recorded, launched = fitted_steps(rows), fitted_steps(eager)
    one = StepShape(1, 400, 1)
    assert launched[QWEN3_8B][one].median == pytest.approx(3 * recorded[QWEN3_8B][one].median)


def test_no_fit_is_explained() -> None:
    """Too few steps, or a card without a sheet, leave no coefficients and a reason."""
    rows = _measured(StepTime(0.6, 0.8)).rows
    assert fit_as_dict(rows, None)["why_not"] == "the card's peaks are not known"
    few = fit_as_dict(rows[:3], H200)
    assert few["coefficients"] is None
    assert "a fit needs at least" in few["why_not"]
    assert fit_as_dict([], H200)["coefficients"] is None
