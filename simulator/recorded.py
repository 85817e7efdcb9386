"""A world made from a purchase log: its items, customers, histories and arrival times are the log's.

What a log cannot tell is how customers would answer pages it never showed. That part is simulated: a visit takes place
when the log has a basket, is for the categories of that basket, and is answered by the response model with interests,
taste and price levels estimated from the customer's purchases (those to come included: this is the truth, not what
policies see). Arrivals do not react to what was shown, so metrics of return cannot differ between arms here.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix, diags
from scipy.sparse.linalg import LinearOperator, svds

from simulator.batches import (
    BUY,
    DAY_SECONDS,
    Floats,
    InteractionLog,
    Ints,
    Ints32,
    ObservedCatalog,
    ObservedUsers,
    read_only,
)
from simulator.catalog import Catalog
from simulator.datasets.interactions import DatasetError, PurchaseLog
from simulator.engine import opening_state
from simulator.environment.context import build_environment
from simulator.parameters import BehaviourParameters, ContextParameters
from simulator.population import Population, draw_traits
from simulator.state import State, write_events
from simulator.streams import Stream
from simulator.taxonomy import load_taxonomy
from simulator.world import Baskets, RecordedVisits, World, no_needs


@dataclass(frozen=True)
class RecordedWorld:
    """A world and the log it was made from.

    Attributes:
        world: the truth.
        log: the purchases, with times counted from the horizon's start.
        counts: what became of the file's rows.
    """

    world: World
    log: InteractionLog
    counts: dict[str, int]

    def state(self, day: int) -> State:
        """All users as the log leaves them on the morning of ``day``, their next visits set."""
        state = opening_state(self.world, day)
        past = self.log.before(day)
        write_events(state, past.user, past.item, past.kind, past.time)
        return state


def standardised_within(values: Floats, group: Ints32, groups: int) -> Floats:
    """``values`` in sds from their group's mean, float64 [items]; 0 in groups without spread."""
    count = np.maximum(np.bincount(group, minlength=groups), 1)
    mean = np.bincount(group, values, groups) / count
    spread = np.sqrt(np.bincount(group, (values - mean[group]) ** 2, groups) / count)
    return np.where(spread[group] > 1e-9, (values - mean[group]) / np.maximum(spread[group], 1e-9), 0.0)


def latent_styles(
    user: Ints, item: Ints32, users: int, items: int, dimensions: int, seed: int
) -> tuple[Floats, Floats]:
    """Taste positions of users and items from who bought what, by truncated SVD.

    The purchase matrix is binary with rows and columns divided by the square roots of their sums, so that busy
    customers and best-sellers do not span the space; the first component, which is popularity, is left out.

    Returns:
        float64 [users, dimensions] and [items, dimensions], scaled so that a dot product of two random rows has about
        unit variance; all 0 where a single user or item leaves nothing to compare.
    """
    bought = csr_matrix((np.ones(len(user)), (user, item)), shape=(users, items))
    bought.data[:] = 1.0
    by_user, by_item = np.asarray(bought.sum(axis=1)).ravel(), np.asarray(bought.sum(axis=0)).ravel()
    scaled = diags(np.maximum(by_user, 1.0) ** -0.5) @ bought @ diags(np.maximum(by_item, 1.0) ** -0.5)
    rank = min(dimensions, min(users, items) - 2)
    start = Stream(seed, "recorded/svd").normal(np.arange(min(users, items)))
    if rank < 1:
        return np.zeros((users, dimensions)), np.zeros((items, dimensions))
    # The leading pair is known, and says only who buys much and what sells. It is taken away before the rest is looked
    # for: where nothing is bought in common, a later pair has the same singular value, and the two would be mixed.
    known_left, known_right = np.sqrt(by_user / by_user.sum()), np.sqrt(by_item / by_item.sum())
    rest = LinearOperator(
        scaled.shape,
        matvec=lambda x: scaled @ np.ravel(x) - known_left * (known_right @ np.ravel(x)),
        rmatvec=lambda x: scaled.T @ np.ravel(x) - known_right * (known_left @ np.ravel(x)),
        dtype=np.float64,
    )
    left, value, right = svds(rest, k=rank, v0=start)
    order = np.argsort(-value)
    style_user, style_item = left[:, order], right[order].T
    scale = dimensions**0.25

    def unit(a: Floats) -> Floats:
        spread = a.std(axis=0)
        return a / np.where(spread > 1e-12, spread, 1.0) / scale

    pad = ((0, 0), (0, dimensions - len(order)))
    return np.ascontiguousarray(np.pad(unit(style_user), pad)), np.ascontiguousarray(np.pad(unit(style_item), pad))


def top_shares(user: Ints, category: Ints32, users: int, categories: int, width: int) -> tuple[Ints32, Floats]:
    """Each user's most bought categories and their shares, int32 and float64 [users, width], padded with -1 and 0."""
    counts = csr_matrix((np.ones(len(user)), (user, category)), shape=(users, categories)).toarray()
    top = np.argsort(-counts, axis=1, kind="stable")[:, :width]
    share = np.take_along_axis(counts, top, axis=1)
    return np.where(share > 0, top, -1).astype(np.int32), share / np.maximum(share.sum(axis=1, keepdims=True), 1.0)


def build_recorded_world(
    source: PurchaseLog,
    *,
    start: date | None,
    days: int | None,
    country: str,
    scenario: str,
    slots: int,
    currency: str,
    behaviour: BehaviourParameters,
    seed: int,
) -> RecordedWorld:
    """Make a world from a log.

    Args:
        source: the log.
        start: day 0; the log's first day if None. Earlier purchases are left out and counted.
        days: of the horizon; to the log's last day if None.
        country: ISO code whose holidays count.
        scenario: "item" or "feed".
        slots: positions on a page.
        currency: what prices are in.
        behaviour: the parameters.
        seed: of all draws.

    Raises:
        DatasetError: the log does not reach to the end of the horizon.
    """
    start = start or source.start
    shift = (start - source.start).days
    last = source.days - shift
    if shift < 0 or last <= 0:
        raise DatasetError(
            f"horizon.start: {start} (the log begins on {source.start} and has {source.days} days; start within them)"
        )
    days = last if days is None else days
    if days > last:
        raise DatasetError(
            f"horizon: {days} days from {start} (the log ends after {last}; shorten history_days, warmup_days, days or "
            "follow_up_days)"
        )
    time = source.time - shift * DAY_SECONDS
    inside = (time >= 0) & (time < days * DAY_SECONDS)
    counts = {**source.counts, "rows_outside_horizon": int((~inside).sum())}
    users, items, categories = len(source.user_codes), len(source.item_codes), len(source.category_names)
    dimensions = behaviour.population.style_dimensions
    user_style, item_style = latent_styles(source.user, source.item, users, items, dimensions, seed)
    visits, baskets = _visits(source, time, inside, users)
    world = World(
        seed=seed,
        days=days,
        scenario=scenario,
        slots=slots,
        currency=currency,
        catalog=_catalog(source, start, behaviour, item_style),
        population=_population(source, behaviour, user_style, seed),
        environment=build_environment(
            sorted(set(source.user_country)), country, start, days, seed, load_taxonomy(), with_weather=False
        ),
        needs=no_needs(len(set(source.user_country)), days, categories),
        contexts=ContextParameters(),
        behaviour=behaviour,
        visits=visits,
        baskets=baskets,
    )
    log = InteractionLog(
        start_day=0,
        end_day=days,
        user=source.user[inside],
        item=source.item[inside],
        time=time[inside],
        kind=np.full(int(inside.sum()), BUY, np.int8),
        impressions=None,
    )
    return RecordedWorld(world, log, counts)


def _catalog(source: PurchaseLog, start: date, behaviour: BehaviourParameters, style: Floats) -> Catalog:
    items, categories = len(source.item_codes), len(source.category_names)
    sold = np.log1p(np.bincount(source.item, minlength=items))
    observed = ObservedCatalog(
        titles=source.titles,
        category=read_only(source.category),
        category_names=source.category_names,
        department=read_only(np.arange(categories, dtype=np.int32)),
        department_names=source.category_names,
        price=read_only(source.price),
        listed=read_only(source.first_seen // DAY_SECONDS - (start - source.start).days),
    )
    quality = behaviour.catalog.quality_spread * (sold - sold.mean()) / max(float(sold.std()), 1e-9)
    level = standardised_within(np.log(source.price), source.category, categories)
    return Catalog(observed, quality, style, level, np.zeros(categories))


def _population(source: PurchaseLog, behaviour: BehaviourParameters, style: Floats, seed: int) -> Population:
    users, categories = len(source.user_codes), len(source.category_names)
    countries = sorted(set(source.user_country))
    place = {name: n for n, name in enumerate(countries)}
    ids = np.arange(users, dtype=np.int64)
    unknown = read_only(np.full(users, -1, dtype=np.int32))
    city = np.array([place[name] for name in source.user_country], dtype=np.int32)
    interests = min(behaviour.population.interests, categories)
    category, weight = top_shares(source.user, source.category[source.item], users, categories, interests)
    traits = draw_traits(ids, behaviour.population, behaviour.intent, seed)
    traits["style"] = style
    level = standardised_within(np.log(source.price), source.category, categories)[source.item]
    bought = np.maximum(np.bincount(source.user, minlength=users), 1)
    traits["price_level"] = np.bincount(source.user, level, users) / bought
    return Population(
        observed=ObservedUsers(read_only(ids), read_only(city), unknown, unknown, unknown),
        segment=np.zeros(users, np.int32),
        age_band=np.zeros(users, np.int32),
        interest_category=category,
        interest_weight=weight,
        **traits,
    )


def _visits(
    source: PurchaseLog, time: Ints, inside: npt.NDArray[np.bool_], users: int
) -> tuple[RecordedVisits, Baskets]:
    """Arrival times and basket categories inside the horizon, by user and time."""
    rows = np.flatnonzero(inside)
    rows = rows[np.lexsort((rows, source.visit[rows], source.user[rows]))]
    visit = source.visit[rows]
    first = np.ones(len(rows), np.bool_)
    first[1:] = visit[1:] != visit[:-1]
    offset = np.searchsorted(source.user[rows][first], np.arange(users + 1)).astype(np.int64)
    entry = np.append(np.flatnonzero(first), len(rows)).astype(np.int64)
    baskets = Baskets(offset, entry, source.category[source.item[rows]])
    number = np.arange(offset[-1]) - np.repeat(offset[:-1], np.diff(offset))
    return RecordedVisits(offset, time[rows][first], number, np.zeros_like(number)), baskets
