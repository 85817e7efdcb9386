"""Two channels of a visit side by side: kept from the first page on, and served page by page without repeats.

What policies with a utility and a cognitive channel have in common: how they lay candidates out, how they score any
item by the established blend, and how often a click becomes an order. Who fills the channels is not known here.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from policies.features import NF, Tables, fill, gather, new_scratch, release
from simulator.batches import (
    BUY,
    COGNITIVE,
    NO_ITEM,
    UTILITY,
    Candidates,
    Floats,
    InteractionLog,
    Ints,
    Ints32,
    ObservedCatalog,
    Requests,
)
from simulator.compiled import kernel


@kernel
def lay_out(
    utility: Ints32,
    cognitive: Ints32,
    row: Ints,
    already: Ints32,
    out_items: Ints32,
    out_channel: npt.NDArray[np.int8],
    out_place: Ints32,
) -> None:
    """Write each row's candidates, utility first, without what the visit has shown; a twin counts as utility.

    ``out_place`` tells the candidate's place within its own channel.
    """
    for n in range(len(row)):
        k = 0
        for channel in range(2):
            items = utility[row[n]] if channel == UTILITY else cognitive[row[n]]
            for m in range(len(items)):
                item = items[m]
                if item < 0:
                    break
                fresh = True
                for shown in already[n]:
                    if shown == item:
                        fresh = False
                        break
                if channel == COGNITIVE:
                    for other in range(k):
                        if out_items[n, other] == item:
                            fresh = False
                            break
                if fresh:
                    out_items[n, k] = item
                    out_channel[n, k] = channel
                    out_place[n, k] = m
                    k += 1


@dataclass(frozen=True)
class Channel:
    """One channel of some visits.

    Attributes:
        items: int32 [visits, width], best first, NO_ITEM as padding at the end.
        click: calibrated estimate of P(click | shown at the first place of a page), float64 [visits, width].
        conversion: calibrated estimate of orders for one such exposure, likewise.
        explanation: ids of texts, int32 [visits, width], -1 where an item has none; None where none ever has.
    """

    items: Ints32
    click: Floats
    conversion: Floats
    explanation: Ints32 | None = None


class VisitChannels:
    """Both channels of the visits under way, by row.

    Args:
        rows: users that are served.
        widths: most candidates of the utility and of the cognitive channel.
        explained: whether cognitive candidates may carry explanations.
    """

    def __init__(self, rows: int, widths: tuple[int, int], explained: bool) -> None:
        self.widths = widths
        self._kept = tuple(
            Channel(
                np.full((rows, width), NO_ITEM, np.int32),
                np.zeros((rows, width)),
                np.zeros((rows, width)),
                np.full((rows, width), -1, np.int32) if explained and channel == COGNITIVE else None,
            )
            for channel, width in enumerate(widths)
        )

    def keep(self, row: Ints, channel: int, found: Channel) -> None:
        """Remember one channel of starting visits."""
        kept = self._kept[channel]
        kept.items[row], kept.click[row], kept.conversion[row] = found.items, found.click, found.conversion
        if kept.explanation is not None and found.explanation is not None:
            kept.explanation[row] = found.explanation

    def page(self, requests: Requests) -> Candidates:
        """What is left for a page: utility candidates, then cognitive ones, each in the order they were kept in."""
        shape = (len(requests), sum(self.widths))
        items = np.full(shape, NO_ITEM, np.int32)
        channel = np.full(shape, UTILITY, np.int8)
        place = np.zeros(shape, np.int32)
        utility, cognitive = self._kept
        lay_out(utility.items, cognitive.items, requests.row, requests.already, items, channel, place)
        row = requests.row[:, None]
        there, thought = items >= 0, channel == COGNITIVE
        from_utility, from_cognitive = np.where(thought, 0, place), np.where(thought, place, 0)

        def of_both(field: str) -> Floats:
            first, second = getattr(utility, field)[row, from_utility], getattr(cognitive, field)[row, from_cognitive]
            return np.where(there, np.where(thought, second, first), 0.0)

        click = of_both("click")
        explanation = None
        if cognitive.explanation is not None:
            explanation = np.where(thought, cognitive.explanation[row, from_cognitive], -1).astype(np.int32)
        return Candidates(
            items,
            np.where(there, click, -np.inf),
            channel,
            click=click,
            conversion=of_both("conversion"),
            explanation=explanation,
        )


def order_rates(log: InteractionLog, catalog: ObservedCatalog, prior: float) -> Floats:
    """Orders for a click in each category, those from the cart included, float64 [categories].

    Args:
        log: what was clicked and bought.
        catalog: categories of the items.
        prior: clicks that pull a category's rate to the mean of all.
    """
    category = catalog.category[log.item]
    clicks = np.bincount(category[log.on_page], minlength=catalog.categories)
    orders = np.bincount(category[log.kind == BUY], minlength=catalog.categories)
    mean = (orders.sum() + 1) / (clicks.sum() + 2)
    return (orders + prior * mean) / (clicks + prior)


@kernel
def _score_items(
    row: Ints,
    time: Ints,
    event_item: Ints32,
    event_kind: npt.NDArray[np.int8],
    event_time: Ints,
    shown_item: Ints32,
    gender: Ints32,
    age_band: Ints32,
    household: Ints32,
    items: Ints32,
    weight: Floats,
    t: Tables,
    out: Floats,
) -> None:
    s = new_scratch(len(t.category), len(t.department))
    x = np.empty(NF)
    for n in range(len(row)):
        r = row[n]
        size, total = gather(event_item[r], event_kind[r], event_time[r], shown_item[r], time[n], t, s)
        for m in range(items.shape[1]):
            if items[n, m] >= 0:
                fill(items[n, m], total, gender[r], age_band[r], household[r], t, s, x)
                for f in range(NF):
                    out[n, m] += weight[f] * x[f]
        release(event_item[r], shown_item[r], size, t, s)


def score_items(requests: Requests, tables: Tables, weight: Floats, items: Ints32) -> Floats:
    """The blend's score ``weight . features`` of given items, float64 as ``items``; 0 on padding.

    The same numbers as ``features.rank_requests`` gives items of its own pool.

    Args:
        requests: who asks.
        tables: of the fit.
        weight: of the fit, float64 [NF].
        items: int32 [requests, any], NO_ITEM as padding.
    """
    history, users = requests.history, requests.users
    out = np.zeros(items.shape)
    _score_items(
        requests.row,
        requests.time,
        history.item,
        history.kind,
        history.time,
        history.shown,
        users.gender,
        users.age_band,
        users.household,
        items,
        weight,
        tables,
        out,
    )
    return out
