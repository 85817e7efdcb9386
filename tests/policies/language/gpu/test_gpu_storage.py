"""Keys and values in given memory: what is held, what is written, what is copied."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from policies.language.gpu.storage import Storage, StoredLayer
from simulator.serving.transformer import ModelShape

SHAPE = ModelShape(layers=2, width=8, heads=2, kv_heads=2, head_dim=4, ffn=8, vocabulary=10)
CPU = torch.device("cpu")


def _filled(rows: int, places: int, seed: int = 0) -> Storage:
    made = Storage(SHAPE, rows, places, CPU, torch.float32)
    made.fill(places, torch.Generator().manual_seed(seed))
    return made


@given(st.integers(0, 4), st.integers(1, 4))
def test_new_places_come_behind_those_held(held: int, new: int) -> None:
    """An update returns what was held and what is new, in order, and the length grows by it."""
    keys, values = torch.randn((2, 1, 2, 8, 4))
    before = keys[:, :, :held].clone()
    layer = StoredLayer(keys, values, held)
    fresh = torch.randn((2, 1, 2, new, 4))
    seen, _ = layer.update(fresh[0], fresh[1])
    assert torch.equal(seen, torch.cat([before, fresh[0]], -2))
    assert layer.get_seq_length() == held + new
    assert seen.data_ptr() == keys.data_ptr()


def test_a_steady_layer_writes_the_same_place_again() -> None:
    """Each pass finds as much as the one before, with what is new last."""
    keys, values = torch.randn((2, 1, 2, 5, 4))
    layer = StoredLayer(keys, values, 4, steady=True)
    for _ in range(3):
        fresh = torch.randn((2, 1, 2, 1, 4))
        seen, _ = layer.update(fresh[0], fresh[1])
        assert seen.shape[-2] == 5
        assert torch.equal(seen[:, :, 4:], fresh[0])
        assert layer.get_seq_length() == 4


def test_more_than_there_is_room_for_is_refused() -> None:
    """Memory is taken once, so it must not grow in silence."""
    keys, values = torch.randn((2, 1, 2, 5, 4))
    with pytest.raises(ValueError, match="6 of 5"):
        StoredLayer(keys, values, 4).update(keys[:, :, :2], values[:, :, :2])


def test_a_prefix_is_copied_to_each_call_of_its_own_refresh() -> None:
    """Calls of refresh r must find the prefix of refresh r, whatever else their memory holds."""
    prefix, calls = _filled(3, 5), _filled(6, 9, seed=1)
    behind = [layer.keys[:, :, 5:].clone() for layer in calls.cache(9).layers]
    calls.take(prefix, 5, 0, 2)
    for mine, theirs, rest in zip(calls.cache(9).layers, prefix.cache(5).layers, behind, strict=True):
        for row in range(6):
            assert torch.equal(mine.keys[row, :, :5], theirs.keys[row // 2])
            assert torch.equal(mine.values[row, :, :5], theirs.values[row // 2])
        assert torch.equal(mine.keys[:, :, 5:], rest)


def test_caches_over_rows_share_the_memory() -> None:
    """What a pass over some rows writes must be found by a cache over all."""
    storage = _filled(4, 6)
    part = storage.cache(3, slice(1, 3))
    fresh = torch.ones((2, 2, 1, 4))
    part.layers[0].update(fresh, fresh)
    keys = storage.cache(4).layers[0].keys
    assert torch.equal(keys[1:3, :, 3:], fresh)
    assert not torch.equal(keys[:1, :, 3:], fresh[:1])
