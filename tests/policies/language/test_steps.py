"""Steps by their shape: which there are, how a plan becomes steps, and what a fit makes of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.language.steps import (
    Cuts,
    PlanStep,
    StepShape,
    Timed,
    cut_rows,
    fit_steps,
    grid,
    held_out,
    plan_steps,
    told_seconds,
)
from policies.language.timing import CPU, CUTS
from simulator.serving.hardware import BF16, FP32, H200, Accelerator, Precision
from simulator.serving.steptime import StepTime
from simulator.serving.transformer import QWEN3_0_6B, QWEN3_8B
from simulator.serving.workload import CallShape, JobShape, parallel_job

SHAPES = grid((32, 128, 512), (0, 256), (1, 4, 16, 64), (64, 256, 1024), (16, 32, 64), CUTS.read_tokens)


def test_a_grid_has_each_shape_once_and_none_that_is_never_read_at_once() -> None:
    """Shapes are distinct, and no step reads more tokens than the generator does."""
    assert len(set(SHAPES)) == len(SHAPES)
    assert max(shape.new * shape.batch for shape in SHAPES) <= 4096
    assert {shape.phase for shape in SHAPES} == {"prefill", "decode"}


def test_whole_shapes_of_both_phases_are_held_out() -> None:
    """The fit must be judged on reading and on writing, and see most shapes of each."""
    marked = held_out(SHAPES)
    for phase in ("prefill", "decode"):
        of_phase = [bool(out) for out, shape in zip(marked, SHAPES, strict=True) if shape.phase == phase]
        assert 0 < sum(of_phase) <= len(of_phase) / 3


def test_a_plan_reads_and_writes_what_its_calls_have() -> None:
    """Tokens read and written by the steps must be those of the jobs, with the shared ones once if they are kept."""
    job = JobShape(((CallShape(20, 8, 100),), (CallShape(30, 5),) * 3, (CallShape(40, 6, 100),)))
    for shares, read in ((True, 100 + 20 + 90 + 40), (False, 120 + 90 + 140)):
        steps = [shape for step in plan_steps(job, shares, 16, CUTS) for shape in step.shapes]
        assert sum(shape.new * shape.batch for shape in steps if shape.phase == "prefill") == 16 * read
        written = [shape for shape in steps if shape.phase == "decode"]
        assert sum(shape.batch for shape in written) == 16 * (7 + 3 * 4 + 5)
        assert max(shape.past for shape in written) == 140 + 4


def test_rows_are_cut_as_the_generator_cuts_them() -> None:
    """No step reads over 4,096 tokens or writes over 64 rows, and rows that write come in sixteens."""
    for shape in (each for step in plan_steps(parallel_job(5, 0, 900, 10), False, 17, CUTS) for each in step.shapes):
        if shape.phase == "prefill":
            assert shape.new * shape.batch <= 4096
        else:
            assert shape.batch <= 64
            assert shape.batch % 16 == 0


@pytest.mark.parametrize(("card", "precision"), [(CPU, FP32), (H200, BF16)])
def test_known_coefficients_are_found_again(card: Accelerator, precision: Precision) -> None:
    """From steps of two models that take what a formula says the fit must tell the held-out ones, too."""
    truth = StepTime(0.7, 0.4, per_layer=2e-5, per_request=1e-5, per_step=1e-3, form="sum")
    timed = {}
    for shape in (QWEN3_0_6B, QWEN3_8B):
        seconds = told_seconds(shape, truth, SHAPES, card, precision)
        timed[shape] = {step: Timed((each,)) for step, each in zip(SHAPES, seconds, strict=True)}
    found = fit_steps(timed, card, precision)
    assert found.coefficients.form == "sum"
    assert found.coefficients.error == pytest.approx(0.0, abs=1e-6)
    assert found.coefficients.compute_efficiency == pytest.approx(0.7, rel=1e-4)
    assert found.coefficients.per_layer == pytest.approx(2e-5, rel=1e-3)
    assert len(found.held_out) == 2 * len(SHAPES)
    assert found.held_out[: len(SHAPES)].sum() == found.held_out[len(SHAPES) :].sum()


def test_a_row_longer_than_the_cut_is_read_alone() -> None:
    """A prompt that is longer than what is read at once must still be read, one row at a time."""
    steps = plan_steps(parallel_job(3, 0, 900, 1), False, 1, Cuts(read_tokens=500, write_rows=8))
    assert steps == [PlanStep(StepShape(900, 0, 1), 3)]


@given(st.integers(1, 300), st.integers(1, 40))
def test_cut_rows_are_all_there_and_none_is_too_large(rows: int, most: int) -> None:
    """Parts must add up to the rows, and only the last may be smaller than the rest."""
    parts = cut_rows(rows, most)
    assert sum(parts) == rows
    assert all(part == most for part in parts[:-1])
    assert 0 < parts[-1] <= most
