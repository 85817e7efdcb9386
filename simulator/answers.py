"""Whether a guest's answer can be shown: what kind of thing it is, and what its pages hold.

Messages begin with the policy's class and say what is wrong and what is wanted. Does not know who asked, or why.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from simulator.batches import NO_ITEM, Candidates, Ints32, Requests
from simulator.compiled import bare_kernel

INTEGERS: Final = "iu"
"""Kinds of NumPy types that hold whole numbers."""

NUMBERS: Final = "iufb"
"""Kinds of NumPy types that hold numbers, yes and no among them."""

_OPTIONAL: Final = ("propensity", "click", "conversion")


class PolicyError(RuntimeError):
    """A policy or allocator answered with something that cannot be shown; the text begins with its class."""


def check_array(policy: object, what: str, array: object, shape: Sequence[int | None], kinds: str) -> None:
    """Refuse what is no array of such a shape and type.

    Args:
        policy: whose it is.
        what: it is called in the message.
        array: what was given.
        shape: wanted; None where any size will do.
        kinds: of the types wanted, ``INTEGERS`` or ``NUMBERS``.

    Raises:
        PolicyError: it is something else.
    """
    name = type(policy).__name__
    if not isinstance(array, np.ndarray):
        raise PolicyError(f"{name}: {what} {_of_type(array)}, wanted a NumPy array")
    if len(array.shape) != len(shape) or any(w is not None and w != s for s, w in zip(array.shape, shape, strict=True)):
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise PolicyError(f"{name}: {what} of shape {array.shape}, wanted ({wanted})")
    if array.dtype.kind not in kinds:
        raise PolicyError(
            f"{name}: {what} of type {array.dtype}, wanted {'int32' if kinds == INTEGERS else 'numbers, as float64'}"
        )


def check_candidates(policy: object, answer: object, requests: Requests) -> None:
    """Refuse an answer that is no ``Candidates``, or whose arrays have other shapes or types than it says.

    What items they are is not looked at: only a few of them are shown (``check_items``).

    Raises:
        PolicyError: what is wrong, and what is wanted.
    """
    if not isinstance(answer, Candidates):
        raise PolicyError(f"{type(policy).__name__}: candidates() gave {_type(answer)}, wanted Candidates")
    check_array(policy, "candidates().items", answer.items, (len(requests), None), INTEGERS)
    shape = answer.items.shape
    check_array(policy, "candidates().scores", answer.scores, shape, NUMBERS)
    check_array(policy, "candidates().channel", answer.channel, shape, INTEGERS)
    for name in _OPTIONAL:
        column = getattr(answer, name)
        if column is not None:
            check_array(policy, f"candidates().{name}", column, shape, NUMBERS)
    if answer.explanation is not None:
        check_array(policy, "candidates().explanation", answer.explanation, shape, INTEGERS)


def check_items(policy: object, items: Ints32, known: int) -> None:
    """Refuse pages with an item that does not exist, one behind an empty place, or one twice.

    Args:
        policy: whose they are.
        items: by page, [pages, places].
        known: items that exist.

    Raises:
        PolicyError: what is wrong, and what is wanted.
    """
    name = type(policy).__name__
    outside, behind, twice = faults(items, known)
    if outside:
        raise PolicyError(f"{name}: an item outside 0..{known - 1}; {NO_ITEM} stands for an empty place at the end")
    if behind:
        raise PolicyError(f"{name}: an item behind an empty place; padding belongs at the end")
    if twice:
        raise PolicyError(f"{name}: an item twice on one page; give each once in a row")


@bare_kernel
def faults(slates: Ints32, items: int) -> tuple[bool, bool, bool]:
    """Whether a page holds an item that does not exist, one behind an empty place, one twice."""
    outside = behind = twice = False
    for n in range(slates.shape[0]):
        for k in range(slates.shape[1]):
            item = slates[n, k]
            outside |= item < NO_ITEM or item >= items
            behind |= k > 0 and item != NO_ITEM and slates[n, k - 1] == NO_ITEM
            same = 0
            for other in range(k):
                same += slates[n, other] == item
            twice |= same > 0 and item != NO_ITEM
    return outside, behind, twice


def _type(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def _of_type(value: object) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"
