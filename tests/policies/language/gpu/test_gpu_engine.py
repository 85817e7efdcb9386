"""Passes on a device: the tokens are those that the library's own generation writes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from policies.language.gpu.engine import DECODE, PREFILL, Engine, Phases


def _generated(engine: Engine, ids: torch.Tensor, count: int) -> torch.Tensor:
    """What transformers writes behind a prompt, the likeliest token each time."""
    found: torch.Tensor = engine._model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, min_new_tokens=count, do_sample=False
    )
    return found[:, ids.shape[1] :]


@pytest.mark.parametrize("prefix", [0, 5])
def test_reading_and_writing_give_the_librarys_tokens(engine: Engine, prefix: int) -> None:
    """A prompt read at once or in two parts, then written on, must end in the same tokens as generate does."""
    ids = engine.tokens(3, 11)
    wanted = _generated(engine, ids, 6)
    storage = engine.storage(3, 16)
    if prefix:
        engine.read(ids[:, :prefix], storage.cache(0), 0)
    token = engine.read(ids[:, prefix:], storage.cache(prefix), prefix)
    assert torch.equal(token, wanted[:, :1])
    assert torch.equal(engine.write(token, storage.cache(11), 11, 5), wanted[:, -1:])


def test_a_recorded_step_writes_what_a_launched_one_writes(engine: Engine) -> None:
    """At its context a recorded step chooses the same token, and its next pass reads the token it chose."""
    ids = engine.tokens(4, 9)
    storage = engine.storage(4, 10)
    token = engine.read(ids, storage.cache(0), 0)
    for rows in (slice(None), slice(1, 3)):
        write = engine.recorded(storage, 9, rows)
        once = write(token[rows], 1).clone()
        assert torch.equal(once, engine.write(token[rows], storage.cache(9, rows), 9, 1))
        assert torch.equal(write(token[rows], 2), engine.write(once, storage.cache(9, rows), 9, 1))


def test_inputs_change_and_repeat_with_the_seed(engine: Engine, card: Any) -> None:
    """Two draws differ, and another engine with the same seed draws the same ones."""
    again = Engine(engine._model, card, 2)
    first, second = engine.tokens(2, 50), engine.tokens(2, 50)
    assert not torch.equal(first, second)
    assert torch.equal(first, again.tokens(2, 50))
    assert torch.equal(second, again.tokens(2, 50))
    one, other = engine.storage(1, 4), again.storage(1, 4)
    engine.fill(one, 4)
    again.fill(other, 4)
    assert torch.equal(one.cache(4).layers[1].keys, other.cache(4).layers[1].keys)
    assert one.cache(4).layers[0].keys.std() > 0.5


def test_phases_add_up_and_wait_once(card: Any) -> None:
    """A phase that comes again is added, the rest is held too, and the device is waited for once, at the end."""
    marks = iter([0.0, 2.0, 2.5, 3.0, 3.0, 7.0])
    card.mark = lambda: next(marks)
    clock: Callable[[], float] = iter([100.0, 108.0]).__next__
    phases = Phases(card, clock)
    for name in (PREFILL, DECODE, PREFILL):
        with phases.phase(name):
            pass
    assert "synchronise" not in card.log
    sample = phases.read()
    assert card.log.count("synchronise") == 1
    assert sample.seconds == {PREFILL: 6.0, DECODE: 0.5}
    assert (sample.busy, sample.held) == (6.5, 8.0)
    assert sample.peak_bytes == {PREFILL: 1, DECODE: 1}
