"""What a language model's attention holds and sees: layers of keys and values with room to grow, and masks.

Masks follow from the position of what is held at each place, so that padding may stand anywhere. Knows no tokens.
"""

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer

from policies.language.model import Language

ROOM: Final = 64
"""Places by which a full layer grows."""


@dataclass(frozen=True)
class Masks:
    """Attention masks in the form that a model's layers want.

    Attributes:
        dtype: of the model.
        window: positions a sliding layer looks back, None where there is no such layer.
        by_type: whether layers of both types want masks of their own.
    """

    dtype: torch.dtype
    window: int | None
    by_type: bool

    @classmethod
    def of(cls, language: Language) -> "Masks":
        """What the layers of a model want."""
        config: Any = language.model.config.get_text_config()
        types = getattr(config, "layer_types", None)
        window: Any = getattr(config, "sliding_window", None)
        sliding = "sliding_attention" in types if types else window is not None
        return cls(language.dtype, int(window) if sliding else None, bool(types) and sliding)

    def reading(self, held: Tensor, new: int) -> Any:
        """Additive masks for the last ``new`` places: what is real and not later is seen, and padding sees itself.

        Args:
            held: position of what is held at each place, below 0 for padding, int64 [rows, places].
            new: places that look.

        Returns:
            [rows, 1, new, places], one or one for each type of layer.
        """
        looking = held[:, -new:, None]
        at = held[:, None, :]
        seen = (at >= 0) & (at <= looking)
        if new > 1:
            seen[:, :, -new:] |= torch.eye(new, dtype=torch.bool, device=held.device)
        if self.window is None:
            return self._additive(seen)
        near = self._additive(seen & (at > looking - self.window))
        return {"full_attention": self._additive(seen), "sliding_attention": near} if self.by_type else near

    def writing(self, held: Tensor) -> Tensor | None:
        """One mask for all single places to come, cut to what is held by then, where no layer looks back less far."""
        return self._additive((held >= 0)[:, None]) if self.window is None else None

    def _additive(self, seen: Tensor) -> Tensor:
        mask = torch.zeros(seen.shape, dtype=self.dtype, device=seen.device)
        return mask.masked_fill_(~seen, torch.finfo(self.dtype).min)[:, None]


class RoomyLayer(DynamicLayer):
    """A layer of keys and values with room to grow, so that a step copies only what is new."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self._room = room
        self._stored: list[Tensor] = []
        self._length = 0

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Put new keys and values behind those held, and return all."""
        start, end = self._length, self._length + key_states.shape[-2]
        if not self._stored or end > self._stored[0].shape[-2]:
            self._grow((key_states, value_states), max(self._room, end))
        for stored, states in zip(self._stored, (key_states, value_states), strict=True):
            stored[:, :, start:end] = states
        return self._view(end)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep some rows."""
        self._stored = [stored[indices] for stored in self._stored]
        self._view(self._length)

    def _grow(self, states: tuple[Tensor, Tensor], room: int) -> None:
        grown = []
        for place, one in enumerate(states):
            stored = one.new_zeros((*one.shape[:2], room, one.shape[-1]))
            if self._stored:
                stored[:, :, : self._length] = self._stored[place][:, :, : self._length]
            grown.append(stored)
        self._stored = grown
        self._room = room + ROOM
        self.dtype, self.device = states[0].dtype, states[0].device
        self.is_initialized = True

    def _view(self, length: int) -> tuple[Tensor, Tensor]:
        self._length = length
        keys, values = (stored[:, :, :length] for stored in self._stored)
        self.keys, self.values = keys, values
        return keys, values
