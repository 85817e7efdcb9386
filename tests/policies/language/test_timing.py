"""Steps of a model: which there are, in what order they are timed, and what a fit makes of them."""

from collections.abc import Callable, Iterator

import pytest
import torch

from policies.language.model import Language, LanguageSettings, load_language
from policies.language.timing import (
    Passes,
    PlanStep,
    StepShape,
    Timed,
    fit_steps,
    grid,
    held_out,
    in_turn,
    one_thread,
    plan_steps,
    time_steps,
    told_seconds,
)
from simulator.serving.steptime import StepTime
from simulator.serving.workload import CallShape, JobShape, parallel_job

SHAPES = grid((32, 128, 512), (0, 256), (1, 4, 16, 64), (64, 256, 1024), (16, 32, 64))


@pytest.fixture(scope="module")
def language() -> Language:
    """The shipped model."""
    return load_language(LanguageSettings(device="cpu"))


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


def test_pieces_are_timed_there_and_back_after_a_warm_up() -> None:
    """Neighbouring rounds run in opposite order, and the first one leaves no sample."""
    ran: list[str] = []

    def piece(name: str) -> Callable[[], Callable[[], object]]:
        return lambda: lambda: ran.append(name)

    clock = iter(range(100))
    steps = []

    def watch(work: Callable[[], object]) -> float:
        work()
        return float(next(clock))

    found = in_turn({"a": piece("a"), "b": piece("b")}, 3, watch, lambda: steps.append(1))
    assert "".join(ran) == "baabbaab"
    assert len(steps) == len(ran)
    assert found == {"a": Timed((2.0, 5.0, 6.0)), "b": Timed((3.0, 4.0, 7.0))}


def test_a_plan_reads_and_writes_what_its_calls_have() -> None:
    """Tokens read and written by the steps must be those of the jobs, with the shared ones once if they are kept."""
    job = JobShape(((CallShape(20, 8, 100),), (CallShape(30, 5),) * 3, (CallShape(40, 6, 100),)))
    for shares, read in ((True, 100 + 20 + 90 + 40), (False, 120 + 90 + 140)):
        steps = [shape for step in plan_steps(job, shares, 16) for shape in step.shapes]
        assert sum(shape.new * shape.batch for shape in steps if shape.phase == "prefill") == 16 * read
        written = [shape for shape in steps if shape.phase == "decode"]
        assert sum(shape.batch for shape in written) == 16 * (7 + 3 * 4 + 5)
        assert max(shape.past for shape in written) == 140 + 4


def test_rows_are_cut_as_the_generator_cuts_them() -> None:
    """No step reads over 4,096 tokens or writes over 64 rows, and rows that write come in sixteens."""
    for shape in (each for step in plan_steps(parallel_job(5, 0, 900, 10), False, 17) for each in step.shapes):
        if shape.phase == "prefill":
            assert shape.new * shape.batch <= 4096
        else:
            assert shape.batch <= 64
            assert shape.batch % 16 == 0


def test_known_coefficients_are_found_again(language: Language) -> None:
    """From steps that take what a formula says the fit must tell the held-out ones, too."""
    truth = StepTime(0.7, 0.4, per_request=1e-5, per_step=1e-3, form="sum")
    seconds = told_seconds(language.shape, truth, SHAPES)
    found = fit_steps(language.shape, {shape: Timed((each,)) for shape, each in zip(SHAPES, seconds, strict=True)})
    assert found.coefficients.form == "sum"
    assert found.coefficients.error == pytest.approx(0.0, abs=1e-9)
    assert found.coefficients.compute_efficiency == pytest.approx(0.7, rel=1e-6)


def test_steps_run_on_the_model_as_the_generator_runs_them(language: Language, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pass gives logits for its rows, behind as many tokens as it says."""
    seen: list[tuple[int, int, int]] = []
    forward = Passes._forward

    def watched(self: Passes, ids: torch.Tensor, cache: object, mask: object, positions: object) -> torch.Tensor:
        logits = forward(self, ids, cache, mask, positions)  # type: ignore[arg-type]
        assert logits.shape == (len(ids), language.vocabulary)
        assert torch.isfinite(logits).all()
        seen.append((ids.shape[1], cache.get_seq_length() - ids.shape[1], len(ids)))  # type: ignore[attr-defined]
        return logits

    monkeypatch.setattr(Passes, "_forward", watched)
    Passes(language, 0).plan([PlanStep(StepShape(5, 3, 2), 2), PlanStep(StepShape(1, 7, 16), 3)])()
    assert seen == [(5, 3, 2), (5, 3, 2), (1, 7, 16), (1, 8, 16), (1, 9, 16)]


def test_every_shape_is_timed_as_often_as_asked(language: Language) -> None:
    """Raw samples are kept, one for each round."""
    shapes = [StepShape(4, 0, 1), StepShape(1, 4, 16)]
    found = time_steps(language, shapes, 2, 0)
    assert {shape: len(timed.seconds) for shape, timed in found.items()} == dict.fromkeys(shapes, 2)
    for timed in found.values():
        assert 0.0 < timed.quartiles[0] <= timed.median <= timed.quartiles[1]


@pytest.fixture
def threads() -> Iterator[int]:
    """Threads of torch, given back afterwards."""
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


def test_threads_are_given_back(threads: int) -> None:
    """Within there is one thread, afterwards as many as before, whatever happened."""

    def fail() -> None:
        with one_thread():
            assert torch.get_num_threads() == 1
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.get_num_threads() == threads
