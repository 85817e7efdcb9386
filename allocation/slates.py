"""From two channels of candidates and a choice among the cognitive ones to a slate: pure arrays, no decisions."""

import numpy as np
import numpy.typing as npt
from numba import njit

from simulator.batches import COGNITIVE, NO_EXPLANATION, NO_ITEM, UTILITY, Candidates, Floats, Ints32, Slates

Bools = npt.NDArray[np.bool_]


@njit(cache=True)
def _fill(
    items: Ints32,
    channel: npt.NDArray[np.int8],
    click: Floats,
    chosen: Bools,
    out_items: Ints32,
    out_channel: npt.NDArray[np.int8],
    out_place: Ints32,
) -> None:
    slots = out_items.shape[1]
    score = np.empty(slots)
    for n in range(len(items)):
        wanted = 0
        for m in range(items.shape[1]):
            if chosen[n, m] and items[n, m] >= 0:
                wanted += 1
        wanted = min(wanted, slots)
        room = slots - wanted
        k = 0
        for m in range(items.shape[1]):
            if items[n, m] < 0:
                continue
            if chosen[n, m]:
                if wanted == 0:
                    continue
                wanted -= 1
            elif channel[n, m] == UTILITY and room > 0:
                room -= 1
            else:
                continue
            place = k
            while place > 0 and score[place - 1] < click[n, m]:
                score[place] = score[place - 1]
                out_items[n, place] = out_items[n, place - 1]
                out_channel[n, place] = out_channel[n, place - 1]
                out_place[n, place] = out_place[n, place - 1]
                place -= 1
            score[place] = click[n, m]
            out_items[n, place] = items[n, m]
            out_channel[n, place] = channel[n, m]
            out_place[n, place] = m
            k += 1


def fill_slates(candidates: Candidates, click: Floats, chosen: Bools, slots: int) -> Slates:
    """Show the chosen cognitive candidates, fill up from utility's top, and order the page by the click estimate.

    Items keep their channels and explanations.

    Args:
        candidates: of both channels.
        click: their click estimates, float64 [requests, candidates].
        chosen: cognitive candidates to show, bool [requests, candidates]; of more than ``slots`` the first are taken.
        slots: positions on a page.
    """
    shape = (len(candidates.items), slots)
    items, channel = np.full(shape, NO_ITEM, np.int32), np.full(shape, UTILITY, np.int8)
    place = np.zeros(shape, np.int32)
    _fill(candidates.items, candidates.channel, click, chosen, items, channel, place)
    explanation = candidates.explanation
    if explanation is not None:
        explanation = np.where(items >= 0, np.take_along_axis(explanation, place, axis=1), np.int32(NO_EXPLANATION))
    return Slates(items, channel, explanation=explanation)


def is_cognitive(candidates: Candidates) -> Bools:
    """Which places hold a cognitive candidate, bool [requests, candidates]."""
    return (candidates.channel == COGNITIVE) & (candidates.items >= 0)


def realise(x: Floats, uniform: Floats) -> Bools:
    """Turn fractional exposures into shown or not, each shown with probability x, the number shown within 1 of sum x.

    Systematic sampling (Madow 1949): one uniform a request, so that the budget between Q and P holds after rounding
    wherever Q and P are whole numbers.

    Args:
        x: float64 [requests, candidates] in 0..1.
        uniform: one draw a request, float64 [requests].
    """
    ends = np.cumsum(x, axis=1)
    # Sums such as 0.1 + 0.9 must count as whole, or a budget met exactly would be missed by one.
    nearest = np.round(ends)
    ends = np.where(np.abs(ends - nearest) < 1e-9, nearest, ends) + uniform[:, None]
    return np.diff(np.floor(ends), axis=1, prepend=0.0) > 0.5


def displaced(candidates: Candidates, slots: int, most: int) -> Bools:
    """The last ``most`` of utility's first ``slots`` candidates: what cognitive ones would displace."""
    utility = (candidates.channel == UTILITY) & (candidates.items >= 0)
    rank = np.cumsum(utility, axis=1) - 1
    return utility & (rank < slots) & (rank >= slots - most)


def mean_over(values: Floats, chosen: Bools) -> Floats:
    """Mean of the chosen values of each row, float64 [requests]; 0 where none is chosen."""
    return np.where(chosen, values, 0.0).sum(axis=1) / np.maximum(chosen.sum(axis=1), 1)
