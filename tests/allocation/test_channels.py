from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from allocation.channels import (
    ExposureProgram,
    FixedSlots,
    Splitting,
    UncalibratedError,
    UtilityOnly,
    build_allocator,
    join_diaries,
    learns_across_users,
)
from allocation.exposure import ExposureRules, Multipliers, solve
from allocation.settings import ExposureAllocation, FixedAllocation, NoAllocation, SplitChoice
from simulator.batches import COGNITIVE, NO_EXPLANATION, NO_ITEM, UTILITY, Candidates, Floats, Slates
from simulator.streams import Stream
from simulator.taxonomy import WEATHER_SIGNALS

CITIES = ("seattle", "new_york")
USERS, SLOTS, UTILITIES, COGNITIVES = 400, 6, 12, 9
LUCK = Stream(5, "test/channels")


def context(days: int) -> Any:
    """Days on which nothing is special."""
    levels = np.zeros((days, 1))
    return SimpleNamespace(
        weather_signals=np.zeros((2, days, len(WEATHER_SIGNALS))), occasion_level=levels, trend_level=levels, days=days
    )


class Asked(SimpleNamespace):
    """Requests of which only some fields matter."""

    def __len__(self) -> int:
        """Number of requests."""
        return len(self.row)


def requests(rows: Any = None, day: int = 0, page: int = 0, visit: int = 0) -> Any:
    """Requests of some users, by turns in the two cities and with histories of all lengths."""
    rows = np.arange(USERS) if rows is None else np.asarray(rows)
    return Asked(
        row=rows,
        user=rows,
        visit=np.full(len(rows), 100 * day + visit),
        page=page,
        slots=SLOTS,
        day=np.full(len(rows), day),
        city=rows % 2,
        history=SimpleNamespace(count=np.arange(USERS) % 60),
        context=context(day + 1),
    )


def offered(rows: Any = None, day: int = 0) -> Candidates:
    """Utility candidates, then cognitive ones in varying numbers, each descending by click estimate."""
    rows = np.arange(USERS) if rows is None else np.asarray(rows)
    width = UTILITIES + COGNITIVES
    channel = np.where(np.arange(width) < UTILITIES, UTILITY, COGNITIVE).astype(np.int8)
    draws = LUCK.uniform(rows[:, None], np.arange(width)[None], day)
    click = np.where(channel == UTILITY, 0.05 + 0.25 * draws, 0.02 + 0.3 * draws)
    click[:, :UTILITIES] = -np.sort(-click[:, :UTILITIES], axis=1)
    click[:, UTILITIES:] = -np.sort(-click[:, UTILITIES:], axis=1)
    there = np.arange(width)[None] < UTILITIES + rows[:, None] % (COGNITIVES + 1)
    items = np.where(there, np.arange(width)[None], NO_ITEM).astype(np.int32)
    rate = 0.05 + 0.2 * LUCK.uniform(rows[:, None], np.arange(width)[None], day, 1)
    click = np.where(there, click, 0.0)
    return Candidates(items, click, np.tile(channel, (len(rows), 1)), click=click, conversion=click * rate)


def number(offer: Candidates) -> Any:
    """Cognitive candidates of each request."""
    return ((offer.channel == COGNITIVE) & (offer.items >= 0)).sum(axis=1)


def answered(slates: Slates, rows: Any, better: float = 0.0) -> Any:
    """Responses: clicks by chance, the more on pages with cognitive items."""
    cognitive = slates.channel == COGNITIVE
    luck = LUCK.uniform(np.asarray(rows)[:, None], np.arange(slates.items.shape[1])[None], 7)
    clicked = luck < 0.2 + better * cognitive
    shown = slates.items != NO_ITEM
    return SimpleNamespace(shown=shown, clicked=clicked, bought=clicked & (luck < 0.05), novel=cognitive)


def program(**choice: Any) -> ExposureProgram:
    """An exposure program as a config asks for it."""
    found = build_allocator(
        ExposureAllocation.model_validate({"kind": "exposure_qp"} | choice),
        3,
        CITIES,
        np.ones(USERS, bool),
    )
    assert isinstance(found, ExposureProgram)
    return found


def cognitive(slates: Slates) -> Any:
    """Cognitive items on each page."""
    return (slates.channel == COGNITIVE).sum(axis=1)


def played(allocator: UtilityOnly, days: int, rows: Any = None, better: float = 0.0) -> list[Slates]:
    """The pages of some days, one visit a user and day."""
    rows = np.arange(USERS) if rows is None else rows
    pages = []
    for day in range(days):
        allocator.refresh(day, context(day + 1))
        ask = requests(rows, day=day)
        pages.append(allocator.allocate(ask, offered(rows, day)))
        allocator.observe(ask, pages[-1], answered(pages[-1], rows, better))
    return pages


def test_config_makes_its_allocator() -> None:
    """Each kind has its own allocator, and says so in its diary."""
    everybody = np.ones(USERS, bool)
    for choice, kind in (
        (NoAllocation(), UtilityOnly),
        (FixedAllocation(kind="fixed"), FixedSlots),
        (ExposureAllocation(kind="exposure_qp"), ExposureProgram),
    ):
        found = build_allocator(choice, 1, CITIES, everybody)
        assert type(found) is kind
        assert (found.diary() or {})["kind"] == choice.kind


@pytest.mark.parametrize("kind", ["none", "fixed", "exposure_qp", "threshold"])
def test_every_allocator_carries_explanations(kind: str) -> None:
    """Whatever is exposed comes with the text it was offered with, and what is chosen does not depend on texts."""
    choice = {
        "none": NoAllocation(),
        "fixed": FixedAllocation(kind="fixed"),
        "exposure_qp": ExposureAllocation(kind="exposure_qp"),
        "threshold": ExposureAllocation.model_validate({"kind": "exposure_qp", "solver": "threshold"}),
    }[kind]
    offer = offered()
    explained = (offer.channel == COGNITIVE) & (offer.items >= 0)
    text = np.where(explained, 100 * offer.items + np.arange(USERS)[:, None] % 7, NO_EXPLANATION).astype(np.int32)
    pages = []
    for candidates in (offer, replace(offer, explanation=text)):
        allocator = build_allocator(choice, 3, CITIES, np.ones(USERS, bool))
        allocator.refresh(0, context(1))
        pages.append(allocator.allocate(requests(), candidates))
    plain, slates = pages
    assert plain.explanation is None
    assert np.array_equal(plain.items, slates.items)
    expected = 100 * slates.items + np.arange(USERS)[:, None] % 7
    expected = np.where(slates.channel == COGNITIVE, expected, NO_EXPLANATION)
    assert slates.explanation is not None
    assert np.array_equal(slates.explanation, expected)
    assert (slates.explanation >= 0).any() == (kind != "none")


def test_only_splits_and_pools_learn_across_users() -> None:
    """A split and the threshold rule look at other users; a program by itself looks at its own page."""
    split = SplitChoice()
    assert not learns_across_users(NoAllocation())
    for choice, learns in (
        (FixedAllocation(kind="fixed"), False),
        (FixedAllocation(kind="fixed", split=split), True),
        (ExposureAllocation(kind="exposure_qp"), False),
        (ExposureAllocation(kind="exposure_qp", split=split), True),
        (ExposureAllocation(kind="exposure_qp", solver="threshold"), True),
    ):
        assert learns_across_users(choice) is learns


def test_utility_only_shows_utility() -> None:
    """Without an allocation the page is utility's top."""
    slates = UtilityOnly(1, np.ones(USERS, bool)).allocate(requests(), offered())
    assert (slates.items == np.arange(SLOTS)).all()
    assert not cognitive(slates).any()


@pytest.mark.parametrize("slots", [1, 3, 20])
def test_fixed_shows_its_number_where_there_are_so_many(slots: int) -> None:
    """The first m cognitive candidates are on the page, or all there are, or as many as fit."""
    offer = offered()
    choice = FixedAllocation(kind="fixed", slots=slots)
    slates = build_allocator(choice, 1, CITIES, np.ones(USERS, bool)).allocate(requests(), offer)
    wanted = np.minimum(np.minimum(number(offer), slots), SLOTS)
    assert np.array_equal(cognitive(slates), wanted)
    for n in range(USERS):
        shown = np.sort(slates.items[n][slates.channel[n] == COGNITIVE])
        assert np.array_equal(shown, UTILITIES + np.arange(wanted[n]))


@pytest.mark.parametrize(("least", "most"), [(0, 1), (1, 3), (2, 2), (3, 5)])
@pytest.mark.parametrize("penalty", [0.001, 0.05, 1.0])
def test_budget_is_kept_on_every_page(least: int, most: int, penalty: float) -> None:
    """From min to max cognitive items are on every page; fewer only where there are fewer."""
    offer = offered()
    shown = cognitive(program(**{"lambda": penalty, "min": least, "max": most}).allocate(requests(), offer))
    assert (shown <= most).all()
    assert (shown >= np.minimum(least, number(offer))).all()


@pytest.mark.parametrize("page", [0, 2])
def test_two_lambdas_share_their_luck(page: int) -> None:
    """One draw a page decides under every lambda: equal lambdas show the same, and a larger one shows no more."""
    offer, ask = offered(), requests(page=page)
    shown = {}
    for penalty in (0.02, 0.1, 0.5):
        one, two = (program(**{"lambda": penalty}) for _ in range(2))
        if page:
            one.allocate(requests(), offer)
        first, second = one.allocate(ask, offer), two.allocate(ask, offer)
        assert np.array_equal(first.items, second.items)
        shown[penalty] = cognitive(first)
    small, middle, large = shown.values()
    assert (middle <= small).all()
    assert (large <= middle).all()
    assert large.sum() < small.sum()


def expected(offer: Candidates, penalty: float, floor: float) -> list[Floats]:
    """Each page's exposures, solved one by one."""
    assert offer.click is not None
    assert offer.conversion is not None
    found = []
    for n in range(len(offer.items)):
        mine = (offer.channel[n] == COGNITIVE) & (offer.items[n] >= 0)
        other = slice(SLOTS - 4, SLOTS)
        gain = offer.click[n, mine] - offer.click[n, other].mean()
        surplus = offer.conversion[n, mine] - floor * offer.conversion[n, other].mean()
        found.append(solve(gain, surplus, ExposureRules(penalty, 0.0, 0.0, 4.0)).x)
    return found


def test_exposures_are_those_of_the_program() -> None:
    """Over many visits each candidate is shown as often as the program of its page says."""
    rows = np.arange(40, 60)
    offer, allocator = offered(rows), program()
    visits = 400
    shown = np.zeros(offer.items.shape)
    for visit in range(visits):
        slates = allocator.allocate(requests(rows, visit=visit), offer)
        for n in range(len(rows)):
            shown[n, slates.items[n][slates.items[n] >= 0]] += 1
    for n, x in enumerate(expected(offer, 0.05, 0.8)):
        rate = shown[n, UTILITIES : UTILITIES + len(x)] / visits
        assert (np.abs(rate - x) <= 5 * np.sqrt(x * (1 - x) / visits) + 1e-9).all()


def test_larger_lambda_exposes_no_more() -> None:
    """The sum of exposures of a page falls with lambda where the floor does not bind."""
    offer = offered()
    sums = [np.array([x.sum() for x in expected(offer, penalty, 0.0)]) for penalty in (0.01, 0.05, 0.2, 1.0)]
    for smaller, larger in pairwise(sums):
        assert (larger <= smaller + 1e-9).all()


@pytest.mark.parametrize("floor", [0.5, 0.8, 1.0])
def test_conversion_floor_holds_up_to_rounding(floor: float) -> None:
    """Over all pages, what is shown is expected to bring as many orders as the floor's share of what it displaces."""
    offer = offered()
    assert offer.conversion is not None
    surplus = np.zeros(USERS)
    visits = 30
    allocator = program(conversion_floor=floor)
    for visit in range(visits):
        slates = allocator.allocate(requests(visit=visit), offer)
        items = np.where(slates.channel == COGNITIVE, slates.items, 0)
        gained = np.take_along_axis(offer.conversion, items.astype(np.int64), axis=1)
        lost = offer.conversion[:, SLOTS - 4 : SLOTS].mean(axis=1)
        surplus += np.where(slates.channel == COGNITIVE, gained - floor * lost[:, None], 0.0).sum(axis=1)
    assert surplus.mean() / visits > -5 * surplus.std() / visits / np.sqrt(USERS) - 1e-9
    assert surplus.mean() / visits > -1e-3


def test_first_day_of_the_threshold_rule_has_no_prices() -> None:
    """On the first day a candidate is shown where its click gain alone is above lambda, up to max."""
    offer = offered()
    assert offer.click is not None
    allocator = program(solver="threshold", **{"lambda": 0.05, "max": 3})
    allocator.refresh(0, context(1))
    shown = cognitive(allocator.allocate(requests(), offer))
    gain = offer.click - offer.click[:, SLOTS - 3 : SLOTS].mean(axis=1, keepdims=True)
    above = ((offer.channel == COGNITIVE) & (offer.items >= 0) & (gain > 0.05)).sum(axis=1)
    assert np.array_equal(shown, np.minimum(above, 3))


def test_threshold_rule_pays_yesterdays_prices() -> None:
    """On the second day the multipliers are those of the pool of the first, by city; other days do not matter."""
    rules = {"lambda": 0.02, "min": 0, "max": 2}
    allocator = program(solver="threshold", **rules)
    played(allocator, 1)
    allocator.refresh(1, context(2))
    offer, tomorrow = offered(), offered(day=1)
    assert offer.click is not None
    assert offer.conversion is not None
    assert tomorrow.click is not None
    assert tomorrow.conversion is not None
    shown = cognitive(allocator.allocate(requests(day=1), tomorrow))
    for city in range(2):
        mine = np.arange(USERS) % 2 == city

        def scores(candidates: Any, mine: Any = mine) -> tuple[Any, Any, Any]:
            there = ((candidates.channel == COGNITIVE) & (candidates.items >= 0))[mine]
            last = slice(SLOTS - 2, SLOTS)
            click, conversion = candidates.click[mine], candidates.conversion[mine]
            gain = click - click[:, last].mean(axis=1, keepdims=True)
            return there, gain, conversion - 0.8 * conversion[:, last].mean(axis=1, keepdims=True)

        there, gain, surplus = scores(offer)
        pool = ExposureRules(0.02, 0.0, 0.0, 2.0 * mine.sum())
        prices = solve(gain[there], surplus[there], pool).multipliers
        assert prices != Multipliers(0.0, 0.0)
        there, gain, surplus = scores(tomorrow)
        above = there & (gain + prices.conversion * surplus + prices.pressure > 0.02)
        assert np.array_equal(shown[mine], np.minimum(above.sum(axis=1), 2))


@pytest.mark.parametrize("start", [0.2, 0.5, 0.8])
def test_share_of_a_split_is_respected(start: float) -> None:
    """On the first day so many visits get the cognitive channel; the others get none of it, on any page."""
    choice = FixedAllocation(kind="fixed", slots=1, split=SplitChoice(start=start))
    allocator = build_allocator(choice, 9, CITIES, np.ones(USERS, bool))
    allocator.refresh(0, context(1))
    rows = np.flatnonzero(np.arange(USERS) % (COGNITIVES + 1) > 0)
    opened = []
    for visit in range(10):
        pages = [allocator.allocate(requests(rows, page=page, visit=visit), offered(rows)) for page in range(2)]
        assert np.array_equal(cognitive(pages[0]), cognitive(pages[1]))
        opened.append(cognitive(pages[0]))
    count = len(rows) * 10
    assert abs(np.mean(opened) - start) < 4 * np.sqrt(start * (1 - start) / count)


def test_visits_open_under_a_share_stay_open_under_a_larger() -> None:
    """The coin of a visit is the same under every share."""
    found = []
    for start in (0.3, 0.6):
        choice = FixedAllocation(kind="fixed", slots=1, split=SplitChoice(start=start))
        found.append(cognitive(played(build_allocator(choice, 9, CITIES, np.ones(USERS, bool)), 1)[0]))
    assert (found[0] <= found[1]).all()
    assert found[0].sum() < found[1].sum()


def split_days(allocator: UtilityOnly) -> list[dict[str, Any]]:
    """What a split wrote down."""
    return list((allocator.diary() or {})["split"]["days"])


def test_split_moves_toward_what_pays() -> None:
    """Shares begin at the start, move by the ramp at most, stay within bounds, and rise where the gain is clear."""
    split = SplitChoice(start=0.5, least=0.2, most=0.8, ramp=0.15)
    allocator = build_allocator(FixedAllocation(kind="fixed", split=split), 9, CITIES, np.ones(USERS, bool))
    played(allocator, 6, better=0.5)
    days = split_days(allocator)
    shares = np.array([day["share"] for day in days])
    assert days[0]["status"] == "start"
    assert (shares[0] == 0.5).all()
    assert (np.abs(np.diff(shares, axis=0)) <= 0.15 + 1e-6).all()
    assert ((shares >= 0.2 - 1e-6) & (shares <= 0.8 + 1e-6)).all()
    visited = np.array(days[-1]["visits"]) > 0
    assert (shares[-1][visited] > 0.5).all()
    assert shares[-1][visited].mean() > 0.65
    assert [sum(day["visits"]) for day in days[1:]] == [USERS] * 5


def test_a_day_without_visits_keeps_the_shares() -> None:
    """Where nobody came yesterday nothing is learned, the shares stay, and the diary says so."""
    allocator = build_allocator(FixedAllocation(kind="fixed", split=SplitChoice()), 9, CITIES, np.ones(USERS, bool))
    played(allocator, 3)
    days = split_days(allocator)
    assert days[0]["status"] == "start"
    assert all(day["status"] != "no visits" for day in days)
    allocator.refresh(3, context(4))
    allocator.refresh(4, context(5))
    last = split_days(allocator)[-1]
    assert last["status"] == "no visits"
    assert last["share"] == split_days(allocator)[-2]["share"]
    assert not any(last["visits"])


@pytest.mark.parametrize(
    "choice",
    [
        FixedAllocation(kind="fixed", split=SplitChoice()),
        ExposureAllocation(kind="exposure_qp", solver="threshold", split=SplitChoice()),
    ],
)
def test_others_teach_nothing(choice: FixedAllocation | ExposureAllocation) -> None:
    """Whatever users of other arms do or are offered, and whether they come at all, the learners' pages are theirs."""
    learners = np.arange(USERS) % 3 == 0
    rows = np.flatnonzero(learners)
    found = []
    for present, better in ((np.arange(USERS), 0.0), (np.arange(USERS), 0.7), (rows, None)):
        allocator = build_allocator(choice, 9, CITIES, learners)
        pages = []
        for day in range(4):
            allocator.refresh(day, context(day + 1))
            ask = requests(present, day=day)
            slates = allocator.allocate(ask, offered(present, day))
            responses = answered(slates, present)
            if better is not None:
                responses.clicked = np.where(
                    learners[present][:, None],
                    responses.clicked,
                    LUCK.uniform(present[:, None], np.arange(SLOTS)) < better,
                )
            allocator.observe(ask, slates, responses)
            pages.append(slates.items[learners[present]])
        found.append((np.stack(pages), split_days(allocator)))
    for shown, days in found[1:]:
        assert np.array_equal(shown, found[0][0])
        assert days == found[0][1]


@pytest.mark.parametrize(
    "choice", [NoAllocation(), FixedAllocation(kind="fixed"), ExposureAllocation(kind="exposure_qp")]
)
@pytest.mark.parametrize("pieces", [2, 5])
def test_diaries_join_the_same_however_users_are_cut(choice: Any, pieces: int) -> None:
    """Tallies of pieces add up to those of the whole, to the last digit, and so do the pages."""
    everybody = build_allocator(choice, 9, CITIES, np.ones(USERS, bool))
    whole = played(everybody, 3)
    parts, diaries = [], []
    for rows in np.array_split(np.arange(USERS), pieces):
        allocator = build_allocator(choice, 9, CITIES, np.ones(USERS, bool))
        parts.append(played(allocator, 3, rows))
        diaries.append(allocator.diary() or {})
    for day, slates in enumerate(whole):
        assert np.array_equal(slates.items, np.concatenate([part[day].items for part in parts]))
    joined = join_diaries(diaries)
    assert joined == join_diaries([everybody.diary() or {}])
    assert "tallies" not in joined
    assert [entry["pages"] for entry in joined["days"]] == [USERS] * 3
    for day, entry in enumerate(joined["days"]):
        assert entry["cognitive_a_page"] == cognitive(whole[day]).sum() / USERS


def test_a_diary_counts_what_was_shown() -> None:
    """Of a page that is only in part shown, as on a feed, the rest is not counted as exposed."""
    allocator = build_allocator(FixedAllocation(kind="fixed", slots=3), 9, CITIES, np.ones(USERS, bool))
    slates = allocator.allocate(requests(), offered())
    responses = answered(slates, np.arange(USERS))
    responses.shown = responses.shown & (np.arange(SLOTS) < 4)
    allocator.observe(requests(), slates, responses)
    (entry,) = join_diaries([allocator.diary() or {}])["days"]
    assert entry["pages"] == USERS
    thought = (slates.channel == COGNITIVE) & (slates.items != NO_ITEM)
    assert entry["cognitive_a_page"] == thought[:, :4].sum() / USERS
    assert 0 < thought[:, :4].sum() < thought.sum()


def test_diary_tells_the_prices() -> None:
    """Mean multipliers and the share of programs that gave way are those of the programs solved."""
    allocator = program(**{"lambda": 0.05, "min": 2})
    offer = offered()
    slates = allocator.allocate(requests(), offer)
    allocator.observe(requests(), slates, answered(slates, np.arange(USERS)))
    (entry,) = join_diaries([allocator.diary() or {}])["days"]
    assert entry["gave_way"] >= (number(offer) < 2).mean() > 0
    assert entry["mean_alpha"] >= 0.0
    assert (allocator.diary() or {})["lambda"] == 0.05


def test_policy_without_estimates_is_refused() -> None:
    """An allocation cannot weigh candidates without click and conversion estimates, and says so."""
    offer = offered()
    with pytest.raises(UncalibratedError, match="gives no click and conversion estimates"):
        UtilityOnly(1, np.ones(USERS, bool)).allocate(requests(), Candidates(offer.items, offer.scores, offer.channel))


def test_no_cognitive_candidate_is_utilitys_page() -> None:
    """Where the policy has thought of nothing, every allocator shows utility's page."""
    rows = np.arange(0, USERS, COGNITIVES + 1)
    for choice in (
        FixedAllocation(kind="fixed"),
        ExposureAllocation.model_validate({"kind": "exposure_qp", "min": 2}),
        ExposureAllocation(kind="exposure_qp", solver="threshold"),
    ):
        allocator = build_allocator(choice, 1, CITIES, np.ones(USERS, bool))
        assert isinstance(allocator, Splitting)
        slates = allocator.allocate(requests(rows), offered(rows))
        assert (slates.items == np.arange(SLOTS)).all()
