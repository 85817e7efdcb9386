"""What a policy that thinks in tags made of each request, as arrays.

Knows no model and no prompt: only what routes or experts proposed, what was chosen, and in which words.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simulator.batches import Ints, Ints32

NO_TAG = -1


@dataclass(frozen=True)
class Thoughts:
    """Tags of each request, from proposal to choice.

    Attributes:
        tags: chosen tags, best first, ids of the policy's ``TagVocabulary``, distinct, int32 [requests, chosen],
            ``NO_TAG`` as padding.
        proposed: tags of each route or expert before they were joined, int32 [requests, parts, proposed], padded.
        generated: tags written by the model for each request, valid or not, int64 [requests].
        invalid: those of them that map to no category, int64 [requests].
        parts: what each route or expert worked on, in words (a signal or a persona), one tuple a request; at most as
            many as ``proposed`` has parts.
        style: style of the explanations, in words, one a request; empty where the policy has none.
        prompt_tokens: read for each request, over all calls of the plan, int64 [requests].
        cached_tokens: those of them that the plan reads from a KV cache, int64 [requests].
        generated_tokens: int64 [requests].
        flops: of the plan, int64 [requests].
    """

    tags: Ints32
    proposed: Ints32
    generated: Ints
    invalid: Ints
    parts: tuple[tuple[str, ...], ...]
    style: tuple[str, ...]
    prompt_tokens: Ints
    cached_tokens: Ints
    generated_tokens: Ints
    flops: Ints

    def __len__(self) -> int:
        """Number of requests."""
        return len(self.tags)

    def take(self, rows: Ints) -> "Thoughts":
        """The thoughts of some requests, in the order given."""
        return Thoughts(
            tags=self.tags[rows],
            proposed=self.proposed[rows],
            generated=self.generated[rows],
            invalid=self.invalid[rows],
            parts=tuple(self.parts[row] for row in rows),
            style=tuple(self.style[row] for row in rows),
            prompt_tokens=self.prompt_tokens[rows],
            cached_tokens=self.cached_tokens[rows],
            generated_tokens=self.generated_tokens[rows],
            flops=self.flops[rows],
        )


def padded(lists: list[list[int]], width: int) -> Ints32:
    """Lists of tags as rows, cut or padded to ``width``: int32 [lists, width]."""
    out = np.full((len(lists), width), NO_TAG, np.int32)
    for row, tags in enumerate(lists):
        out[row, : min(len(tags), width)] = tags[:width]
    return out


def duplicate_share(proposed: Ints32, category: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    """Share of a request's proposed tags whose category another route or expert proposed before: [requests].

    A part that names a category twice repeats itself, which is not counted here; NaN where nothing was proposed.
    """
    share = np.full(len(proposed), np.nan)
    for row, parts in enumerate(proposed):
        seen: set[int] = set()
        total = repeats = 0
        for part in parts:
            own = set(category[part[part != NO_TAG]].tolist())
            total += len(own)
            repeats += len(own & seen)
            seen |= own
        if total:
            share[row] = repeats / total
    return share
