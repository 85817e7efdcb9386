"""Rounds: in turn, after a warm-up, around what does not fit."""

import itertools
from typing import Any

import pytest
import torch

from policies.language.errors import LanguageError
from policies.language.gpu.engine import Phases
from policies.language.gpu.rounds import in_rounds
from policies.language.gpu.works import Work


class Piece:
    """A work that writes its name into a log, and fails when told to."""

    def __init__(self, name: str, log: list[str], fails: dict[str, Exception]) -> None:
        self.parts = 4
        self._name, self._log, self._fails = name, log, fails
        if f"make {name}" in fails:
            raise fails[f"make {name}"]

    def prepare(self) -> None:
        """Say so."""
        self._log.append(self._name.lower())

    def run(self, phases: Phases) -> None:
        """Say so, or fail."""
        self._log.append(self._name)
        if self._name in self._fails and self._log.count(self._name) == 2:
            raise self._fails[self._name]
        with phases.phase("phase"):
            pass


def _rounds(card: Any, names: str, fails: dict[str, Exception] | None = None, **given: Any) -> tuple[str, Any]:
    log: list[str] = []

    def maker(name: str) -> Any:
        def make() -> Work:
            return Piece(name, log, fails or {})

        return make

    clock = itertools.count().__next__
    found = in_rounds(card, {name: maker(name) for name in names}, 3, lambda: float(clock()), **given)
    return "".join(log), found


def test_works_are_run_in_turn_after_a_warm_up(card: Any) -> None:
    """A B A B, each prepared before each run, with one sample for each round but the first."""
    log, found = _rounds(card, "AB", window=0.0)
    assert log == "aAbB" * 4
    assert {name: len(outcome.samples) for name, outcome in found.items()} == {"A": 3, "B": 3}
    assert all(outcome.parts == 4 and outcome.why_not is None for outcome in found.values())
    assert [len(outcome.clocks) for outcome in found.values()] == [3, 3]


def test_energy_is_counted_over_a_window(card: Any) -> None:
    """A prepared work is run until the window is over, and energy is told for that many of its parts."""
    card.meter.joules = iter([10.0, 40.0]).__next__
    log, found = _rounds(card, "A", window=5.0)
    energy = found["A"].energy
    runs = log.count("A") - 4
    assert runs >= 2
    assert (energy.joules, energy.parts) == (30.0, runs * 4)
    assert energy.seconds >= 5.0


def test_without_a_meter_there_is_no_energy(card: Any) -> None:
    """A card whose driver does not answer has seconds all the same."""
    card.meter = None
    log, found = _rounds(card, "A")
    assert log.count("A") == 4
    assert found["A"].energy is None
    assert found["A"].clocks == [{}, {}, {}]


@pytest.mark.parametrize("where", ["A", "make A"])
def test_what_does_not_fit_is_left_out_and_the_others_go_on(card: Any, where: str) -> None:
    """Running out of memory must be said, leave no half of the samples, free the memory, and stop nobody else."""
    log, found = _rounds(card, "AB", {where: torch.cuda.OutOfMemoryError("CUDA out of memory")}, window=0.0)
    assert found["A"].samples == []
    assert found["A"].clocks == []
    assert found["A"].memory
    assert "does not fit in the card's memory" in found["A"].why_not
    assert len(found["B"].samples) == 3
    assert log.count("A") == (2 if where == "A" else 0)
    assert "free" in card.log


@pytest.mark.parametrize("error", [RuntimeError("no kernel\nimage"), LanguageError("model: odd"), ValueError("x")])
def test_what_fails_otherwise_is_said_in_one_line(card: Any, error: Exception) -> None:
    """An error of the library must not end the table, nor pass for a lack of memory."""
    _, found = _rounds(card, "AB", {"A": error}, window=0.0)
    assert not found["A"].memory
    assert found["A"].why_not == f"{type(error).__name__}: {str(error).splitlines()[0]}"
    assert len(found["B"].samples) == 3


def test_a_long_error_is_cut(card: Any) -> None:
    """An error that goes on for pages must not fill the table."""
    _, found = _rounds(card, "A", {"A": RuntimeError("x" * 5000)}, window=0.0)
    assert found["A"].why_not == "RuntimeError: " + "x" * 160


def test_a_mistake_in_the_code_is_not_hidden(card: Any) -> None:
    """Errors that no device and no model makes are raised."""
    with pytest.raises(KeyError):
        _rounds(card, "A", {"A": KeyError("name")})


def test_samples_stand_when_the_window_fails(card: Any) -> None:
    """Energy comes last, so what was timed before it is kept."""
    fails = RuntimeError("gone")
    calls = itertools.count()

    def joules() -> float:
        if next(calls):
            raise fails
        return 0.0

    card.meter.joules = joules
    _, found = _rounds(card, "A", window=1.0)
    assert len(found["A"].samples) == 3
    assert found["A"].energy is None
    assert found["A"].why_not is None
