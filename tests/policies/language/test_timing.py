"""Steps of a model on the CPU: in what order they are timed, and that they are those that a generator makes."""

from collections.abc import Callable, Iterator

import pytest
import torch

from policies.language.model import Language, LanguageSettings, load_language
from policies.language.steps import PlanStep, StepShape, Timed
from policies.language.timing import Passes, in_turn, one_thread, time_steps


@pytest.fixture(scope="module")
def language() -> Language:
    """The shipped model."""
    return load_language(LanguageSettings(device="cpu"))


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
