"""Keys and values in memory that is taken once: layers of a cache that write in place.

The memory stays where it is, as a graph of launches needs it, and parts of it can be handed on as rows. Knows no model,
no tokens and no device.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from simulator.serving.transformer import ModelShape


class StoredLayer(DynamicLayer):
    """A layer whose keys and values lie in given memory.

    Args:
        keys: [rows, key heads, places, head width].
        values: the same shape.
        length: places that are held already.
        steady: whether what is new is written behind ``length`` again and again, so that each pass finds what the one
            before it found.
    """

    def __init__(self, keys: Tensor, values: Tensor, length: int, steady: bool = False) -> None:
        super().__init__()
        self._stored = keys, values
        self._length = length
        self._steady = steady
        self.dtype, self.device = keys.dtype, keys.device
        self.is_initialized = True
        self._view(length)

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Put new keys and values behind those held, and return all.

        Raises:
            ValueError: the memory has no room for them.
        """
        start, end = self._length, self._length + key_states.shape[-2]
        if end > self._stored[0].shape[-2]:
            raise ValueError(f"places: {end} of {self._stored[0].shape[-2]}; take more memory")
        for stored, states in zip(self._stored, (key_states, value_states), strict=True):
            stored[:, :, start:end] = states
        seen = tuple(stored[:, :, :end] for stored in self._stored)
        if not self._steady:
            self._length = end
            self._view(end)
        return seen[0], seen[1]

    def _view(self, length: int) -> None:
        self.keys, self.values = (stored[:, :, :length] for stored in self._stored)


class Storage:
    """Memory for the keys and values of some rows in all layers.

    Args:
        shape: of the model.
        rows: how many.
        places: tokens of each.
        device: where.
        dtype: of keys and values.
    """

    def __init__(self, shape: ModelShape, rows: int, places: int, device: torch.device, dtype: torch.dtype) -> None:
        self.rows, self.places = rows, places
        size = (rows, shape.kv_heads, places, shape.head_dim)
        self._layers = [
            (torch.empty(size, device=device, dtype=dtype), torch.empty(size, device=device, dtype=dtype))
            for _ in range(shape.layers)
        ]

    def fill(self, places: int, random: torch.Generator) -> None:
        """Draw the keys and values of the first places."""
        for layer in self._layers:
            for stored in layer:
                stored[:, :, :places].normal_(generator=random)

    def take(self, other: "Storage", places: int, first: int, times: int) -> None:
        """Copy the first places of another's rows into the rows from ``first`` on, each row so many times."""
        last = first + other.rows * times
        for mine, theirs in zip(self._layers, other._layers, strict=True):
            for stored, given in zip(mine, theirs, strict=True):
                copied = given[:, None, :, :places].expand(-1, times, -1, -1, -1).flatten(0, 1)
                stored[first:last, :, :places] = copied

    def cache(self, length: int, rows: slice = slice(None), steady: bool = False) -> DynamicCache:
        """A cache over some rows, with so many places held; caches over the same rows share memory."""
        cache = DynamicCache()
        cache.layers.extend(StoredLayer(keys[rows], values[rows], length, steady) for keys, values in self._layers)
        return cache
