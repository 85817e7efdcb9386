"""Passes of a model on a device: reading, writing one token after another, and writing by a recorded step.

Tokens chosen are the likeliest and never leave the device, so that nothing waits for the host. Knows no plan, no table
and no peak; seconds are the device's.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from policies.language.gpu.attention import without_masks
from policies.language.gpu.cards import Card
from policies.language.gpu.storage import Storage
from simulator.serving.transformer import ModelShape, shape_of

PREFILL: Final = "prefill"
DECODE: Final = "decode"
COPY: Final = "copy"


@dataclass(frozen=True)
class Sample:
    """What one run took.

    Attributes:
        seconds: of the device by phase, between the phase's marks.
        held: seconds by the host's clock from the first phase's begin until the device was done.
        peak_bytes: most memory by phase.
    """

    seconds: dict[str, float]
    held: float
    peak_bytes: dict[str, int]

    @property
    def busy(self) -> float:
        """Seconds of all phases."""
        return sum(self.seconds.values())


@dataclass
class Phases:
    """Marks around the phases of one run; they are read, and the device waited for, once at its end.

    Args:
        card: the device.
        clock: seconds of the host.
    """

    card: Card
    clock: Callable[[], float]
    _spans: list[tuple[str, Any, Any, int]] = field(default_factory=list)
    _begun: float | None = None

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """What happens inside belongs to a phase; a phase may come again."""
        if self._begun is None:
            self._begun = self.clock()
        self.card.begin_peak()
        begin = self.card.mark()
        yield
        self._spans.append((name, begin, self.card.mark(), self.card.peak_bytes()))

    def read(self) -> Sample:
        """Wait for the device, and add up."""
        self.card.synchronise()
        held = self.clock() - self._begun if self._begun is not None else 0.0
        seconds: dict[str, float] = {}
        peaks: dict[str, int] = {}
        for name, begin, end, peak in self._spans:
            seconds[name] = seconds.get(name, 0.0) + self.card.seconds(begin, end)
            peaks[name] = max(peaks.get(name, 0), peak)
        return Sample(seconds, held, peaks)


class Engine:
    """A model on a device.

    Args:
        model: a causal language model of transformers, on the device.
        card: the device.
        seed: of random tokens, keys and values.

    Attributes:
        shape: of the model.
    """

    def __init__(self, model: PreTrainedModel, card: Card, seed: int) -> None:
        self.shape: ModelShape = shape_of(model.config)
        self.card = card
        self._model: Any = model
        self._random = torch.Generator(card.device).manual_seed(seed)

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Within, the model attends without masks and keeps nothing for gradients."""
        with without_masks(self._model), torch.inference_mode():
            yield

    @property
    def dtype(self) -> torch.dtype:
        """Of keys and values."""
        found: torch.dtype = self._model.dtype
        return found

    def storage(self, rows: int, places: int) -> Storage:
        """Memory for keys and values."""
        return Storage(self.shape, rows, places, self.card.device, self.dtype)

    def fill(self, storage: Storage, places: int) -> None:
        """Draw the keys and values of the first places anew."""
        if places:
            storage.fill(places, self._random)

    def tokens(self, rows: int, new: int) -> Tensor:
        """Random tokens, int64 [rows, new]."""
        return torch.randint(self.shape.vocabulary, (rows, new), generator=self._random, device=self.card.device)

    def read(self, ids: Tensor, cache: DynamicCache, past: int) -> Tensor:
        """Read tokens behind ``past`` others, and choose the next.

        Args:
            ids: int64 [rows, new].
            cache: holds ``past`` places.
            past: how many.

        Returns:
            int64 [rows, 1].
        """
        places = torch.arange(past, past + ids.shape[1], device=ids.device)[None]
        output = self._model(
            input_ids=ids,
            position_ids=places,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        chosen: Tensor = output.logits[:, -1].argmax(-1, keepdim=True)
        return chosen

    def write(self, first: Tensor, cache: DynamicCache, past: int, times: int) -> Tensor:
        """Write so many tokens, one after the other, each pass launched by the host.

        Args:
            first: the token that is read first, int64 [rows, 1].
            cache: holds ``past`` places.
            past: how many.
            times: passes.

        Returns:
            The last token chosen, int64 [rows, 1].
        """
        token = first
        for place in range(past, past + times):
            token = self.read(token, cache, place)
        return token

    def recorded(self, storage: Storage, past: int, rows: slice = slice(None)) -> Callable[[Tensor, int], Tensor]:
        """The step that writes one token behind ``past`` places, recorded as a graph where the device can.

        Each pass writes the same place and sees as many tokens, so a recorded step stands for one at this context and
        not for a growing one. The token it chooses is the one that the next pass reads.

        Args:
            storage: its first ``past`` places are held, and there is room for one more.
            past: how many.
            rows: which rows of the storage write.

        Returns:
            Given the token that is read first, int64 [rows, 1], and how many passes to make, the last token chosen.
        """
        cache = storage.cache(past, rows, steady=True)
        count = len(range(*rows.indices(storage.rows)))
        token = self.tokens(count, 1)

        def step() -> None:
            token.copy_(self.read(token, cache, past))

        replay = self.card.record(step)

        def write(first: Tensor, times: int) -> Tensor:
            token.copy_(first)
            for _ in range(times):
                replay()
            return token

        return write
