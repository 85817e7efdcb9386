"""What passes between the world and its guests: frozen structs of arrays.

Everything a policy is handed is an ``Observed*`` view: what a platform's own logs and services would hold. Latent
interests, intents, tastes, item quality and response probabilities have no field here, so a policy cannot read them
even by mistake. Nothing here knows which arm a user is in.
"""

from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from simulator.environment.context import ObservedContext

Ints = npt.NDArray[np.int64]
Ints32 = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

DAY_SECONDS: Final = 86_400

NO_ITEM: Final = -1
NO_EXPLANATION: Final = -1

CLICK: Final = 1
FAVOURITE: Final = 2
CART: Final = 3
BUY: Final = 4
"""What a user did with an item, the strongest last."""

UTILITY: Final = 0
COGNITIVE: Final = 1


def read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A view of ``array`` through which it cannot be written."""
    view = array.view()
    view.setflags(write=False)
    return view


def sealed(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The array itself, which nobody else has yet and which cannot be written any more."""
    array.setflags(write=False)
    return array


class ReadOnlyArrays:
    """Base of tables that guests read: their arrays refuse to be written, in other processes too."""

    def __post_init__(self) -> None:
        """Seal the arrays."""
        for value in vars(self).values():
            if isinstance(value, np.ndarray):
                value.setflags(write=False)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Seal them again: pickling forgets the flag."""
        self.__dict__.update(state)
        self.__post_init__()


@dataclass(frozen=True)
class ObservedCatalog(ReadOnlyArrays):
    """The shop's item table.

    Attributes:
        titles: one natural-language title an item.
        category: category index, int32 [items].
        category_names: category names in words.
        department: department index of each category, int32 [categories].
        department_names: departments in words; a category's own name where the shop has no departments.
        price: float64 [items], in the world's currency.
        listed: first day on sale, int64 [items], days since the horizon's start (negative: before it).
    """

    titles: tuple[str, ...]
    category: Ints32
    category_names: tuple[str, ...]
    department: Ints32
    department_names: tuple[str, ...]
    price: Floats
    listed: Ints

    @property
    def items(self) -> int:
        """Number of items."""
        return len(self.titles)

    @property
    def categories(self) -> int:
        """Number of categories."""
        return len(self.category_names)


@dataclass(frozen=True)
class ObservedUsers(ReadOnlyArrays):
    """Declared profiles, by row. Codes index the taxonomy's constants; -1 where the platform does not know.

    Attributes:
        user: user id, int64 [rows].
        city, gender, age_band, household: int32 [rows].
    """

    user: Ints
    city: Ints32
    gender: Ints32
    age_band: Ints32
    household: Ints32


@dataclass(frozen=True)
class ObservedHistory:
    """Each user's recent interactions and impressions as ring buffers, by row; read-only.

    The event written n-th lies in column n modulo the buffer's length; ``count`` tells how many were ever written.

    Attributes:
        item, kind, time: the last interactions, [rows, length]; kind is CLICK, FAVOURITE, CART or BUY (what came of a
            click, or a purchase from the cart), time in seconds since the horizon's start. NO_ITEM where nothing was
            written.
        count: interactions ever written, int64 [rows].
        shown: items lately shown and not clicked, int32 [rows, shown length]; shown_count likewise.
        interacted: bit i % 64 of word i // 64 tells whether the user ever interacted with item i, uint64 [rows, words].
    """

    item: Ints32
    kind: npt.NDArray[np.int8]
    time: Ints
    count: Ints
    shown: Ints32
    shown_count: Ints
    interacted: npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Requests:
    """Pages asked for at once, no user twice.

    Attributes:
        row: row of the user in ``users`` and ``history``, int64 [requests].
        user: user id, int64 [requests].
        visit: opaque id of the visit, unique for a user, int64 [requests].
        page: page of the visit, the same for the whole batch, from 0.
        slots: items wanted for each page.
        max_pages: pages a visit can have.
        time: seconds since the horizon's start, int64 [requests].
        day: whole days of ``time``, int64 [requests].
        city: int32 [requests].
        users, history, context: what is known, shared by all requests.
        already: items shown on earlier pages of the same visits, int32 [requests, page x slots], NO_ITEM where none; on
            a feed what was laid out and found no room is not among them.
    """

    row: Ints
    user: Ints
    visit: Ints
    page: int
    slots: int
    max_pages: int
    time: Ints
    day: Ints
    city: Ints32
    users: ObservedUsers
    history: ObservedHistory
    context: ObservedContext
    already: Ints32

    def __len__(self) -> int:
        """Number of requests."""
        return len(self.row)

    def take(self, chosen: Ints) -> "Requests":
        """Some of the requests, in the order of ``chosen``."""
        return replace(
            self,
            row=read_only(self.row[chosen]),
            user=read_only(self.user[chosen]),
            visit=read_only(self.visit[chosen]),
            time=read_only(self.time[chosen]),
            day=read_only(self.day[chosen]),
            city=read_only(self.city[chosen]),
            already=self.already[chosen],
        )


@dataclass(frozen=True)
class Candidates:
    """A policy's answer: items in descending order of preference.

    Attributes:
        items: int32 [requests, candidates], distinct within a row, NO_ITEM as padding at the end.
        scores: the policy's own estimates, float64 [requests, candidates], comparable within a row.
        channel: UTILITY or COGNITIVE, int8 [requests, candidates].
        propensity: of a randomising policy, the probability that this item of all was to stand in its place, given the
            request, the items at earlier places of the same answer and that the place was filled; float64 [requests,
            candidates], 0 at the padding. None where the policy gives none.
        click: the policy's calibrated estimate of P(click | shown at the first place of a page), whatever place the
            item gets, float64 [requests, candidates], or None where the policy gives none.
        conversion: its calibrated estimate of orders for one such exposure, likewise.
        explanation: ids of the texts in ``Policy.explanations`` to show with the items, int32 [requests, candidates],
            -1 where an item has none; None where none has.
    """

    items: Ints32
    scores: Floats
    channel: npt.NDArray[np.int8]
    propensity: Floats | None = None
    click: Floats | None = None
    conversion: Floats | None = None
    explanation: Ints32 | None = None


@dataclass(frozen=True)
class Slates:
    """The pages to show, as the candidates they were chosen from, [requests, slots]; see ``Candidates``."""

    items: Ints32
    channel: npt.NDArray[np.int8]
    propensity: Floats | None = None
    explanation: Ints32 | None = None


@dataclass(frozen=True)
class Responses:
    """What users did with their pages. All arrays are [requests, slots] unless said.

    Attributes:
        shown: the item was displayed (on a feed page, fewer items than slots are).
        novel: the user had never interacted with the item before this page.
        clicked: bool; implies shown.
        favourited, carted, bought: what came of the click, bool; at most one of them, and each implies clicked. What is
            carted may be bought on a later visit (``Checkouts``); here it is not.
        views: item-page views, int64.
        value: paid for the item, quantity times price, float64.
        refunded: part of ``value`` returned later, float64.
        leaves: the visit ends after this page, bool [requests].
    """

    shown: Bools
    novel: Bools
    clicked: Bools
    favourited: Bools
    carted: Bools
    bought: Bools
    views: Ints
    value: Floats
    refunded: Floats
    leaves: Bools


@dataclass(frozen=True)
class Checkouts:
    """What was bought from carts as visits began, one entry an item, [lines]; the items were on no page then.

    Attributes:
        row, user, visit: whose, on which visit, int64.
        time: of the visit's arrival, seconds since the horizon's start, int64.
        item: int32.
        value, refunded: as in ``Responses``, float64.
    """

    row: Ints
    user: Ints
    visit: Ints
    time: Ints
    item: Ints32
    value: Floats
    refunded: Floats

    def __len__(self) -> int:
        """Number of lines."""
        return len(self.row)


@dataclass(frozen=True)
class InteractionLog:
    """The logged history that policies learn from.

    Attributes:
        start_day, end_day: days covered, end exclusive.
        user, item, time, kind: interactions in time order, [interactions]: one a user, visit and item that was clicked,
            one an item bought from the cart.
        impressions: what was shown and answered, or None where the log holds no impressions (a sales ledger).
        from_cart: whether an interaction is a purchase from the cart, bool [interactions]; None where none is.
    """

    start_day: int
    end_day: int
    user: Ints
    item: Ints32
    time: Ints
    kind: npt.NDArray[np.int8]
    impressions: "ImpressionLog | None"
    from_cart: Bools | None = None

    @property
    def on_page(self) -> Bools:
        """Whether an interaction is none from the cart, bool [interactions]; of a ledger all are said not to be."""
        return np.ones(len(self.user), np.bool_) if self.from_cart is None else ~self.from_cart

    @property
    def known_from(self) -> Ints:
        """The first second at which a visit may begin that knows of each interaction, int64 [interactions].

        What is bought from the cart is bought before the visit's first page is asked for; anything else comes after it.
        """
        return self.time + self.on_page

    def where(self, interactions: Bools, impressions: Bools | None) -> "InteractionLog":
        """The entries chosen, in the same order, bool [interactions] and bool [impressions]."""
        shown = self.impressions
        if shown is not None:
            shown = ImpressionLog(**{f.name: getattr(shown, f.name)[impressions] for f in fields(ImpressionLog)})
        return replace(
            self,
            user=self.user[interactions],
            item=self.item[interactions],
            time=self.time[interactions],
            kind=self.kind[interactions],
            impressions=shown,
            from_cart=None if self.from_cart is None else self.from_cart[interactions],
        )

    def before(self, day: int) -> "InteractionLog":
        """What happened before ``day``, as it could be learned from on that morning."""
        end, shown = day * DAY_SECONDS, self.impressions
        return replace(self.where(self.time < end, None if shown is None else shown.time < end), end_day=day)

    def of_users(self, chosen: Bools) -> "InteractionLog":
        """What some users left; ``chosen`` is bool [users]."""
        shown = self.impressions
        return self.where(chosen[self.user], None if shown is None else chosen[shown.user])


@dataclass(frozen=True)
class ImpressionLog:
    """One entry an impression, [impressions]: who, on which visit, what, when, where on the page, whether clicked.

    ``propensity`` is that of ``Candidates``: of the item at its place, given the earlier places of its page, with those
    that were not displayed; other pages of the visit do not count. It is not the probability that the item stands
    anywhere on the page. NaN where the policy gave none.
    """

    user: Ints
    visit: Ints
    item: Ints32
    time: Ints
    position: npt.NDArray[np.int16]
    clicked: Bools
    propensity: Floats
