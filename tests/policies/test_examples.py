import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.examples import NEGATIVES, draw_examples, halves
from simulator.batches import InteractionLog

USERS, ITEMS = 300, 400
ALL = 10**9


def test_examples_are_the_impressions_visit_by_visit(log: InteractionLog) -> None:
    """Each impression is an example once, in order of user, visit, page and position, with its answer."""
    shown = log.impressions
    assert shown is not None
    examples = draw_examples(log, USERS, ITEMS, ALL, 1)
    assert examples.impressions
    order = np.lexsort((shown.position, shown.time, shown.visit, shown.user))
    assert np.array_equal(examples.item, shown.item[order])
    assert np.array_equal(examples.clicked, shown.clicked[order])
    assert np.array_equal(examples.position, shown.position[order])
    assert np.array_equal(examples.visit_user[examples.visit], shown.user[order])
    assert set(np.diff(examples.visit)) == {0, 1}
    assert len(examples.visit_time) == len(np.unique(np.stack([shown.user, shown.visit]), axis=1)[0])


def test_visit_begins_with_its_first_page(log: InteractionLog) -> None:
    """A visit's time is that of its first impression, so that nothing of the visit itself lies before it."""
    shown = log.impressions
    assert shown is not None
    examples = draw_examples(log, USERS, ITEMS, ALL, 1)
    first: dict[tuple[int, int], int] = {}
    for user, visit, time in zip(shown.user.tolist(), shown.visit.tolist(), shown.time.tolist(), strict=True):
        first[user, visit] = min(time, first.get((user, visit), time))
    assert sorted(first.values()) == sorted(examples.visit_time.tolist())
    own = examples.event_time[examples.event_offset[7] : examples.event_offset[8]]
    starts = examples.visit_time[examples.visit_user == 7]
    visit_of_event = np.searchsorted(starts, own, side="right") - 1
    assert (starts[visit_of_event] <= own).all()


def test_events_lie_beside_their_users(log: InteractionLog) -> None:
    """Offsets cut the log's interactions by user, in time order, none lost."""
    examples = draw_examples(log, USERS, ITEMS, ALL, 1)
    assert examples.event_offset[0] == 0
    assert examples.event_offset[-1] == len(log.user) == len(examples.event_item)
    for user in (0, 17, USERS - 1):
        mine = slice(examples.event_offset[user], examples.event_offset[user + 1])
        theirs = log.user == user
        assert examples.event_item[mine].tolist() == log.item[theirs].tolist()
        assert examples.event_kind[mine].tolist() == log.kind[theirs].tolist()
        assert (np.diff(examples.event_time[mine]) >= 0).all()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_users_are_drawn_whole(log: InteractionLog, seed: int) -> None:
    """About as many examples as wanted, from some of the users, each with every impression."""
    shown = log.impressions
    assert shown is not None
    wanted = len(shown.user) // 3
    examples = draw_examples(log, USERS, ITEMS, wanted, seed)
    assert 0.6 * wanted < len(examples.item) < 1.4 * wanted
    count = np.bincount(examples.visit_user[examples.visit], minlength=USERS)
    assert np.isin(count, [0]).sum() > 0
    assert (count[count > 0] == np.bincount(shown.user, minlength=USERS)[count > 0]).all()


def test_draw_is_a_function_of_the_seed(log: InteractionLog) -> None:
    """Equal seeds draw equal users, others draw others."""
    one, again, other = (draw_examples(log, USERS, ITEMS, 5000, seed) for seed in (1, 1, 2))
    assert np.array_equal(one.item, again.item)
    assert set(one.visit_user.tolist()) != set(other.visit_user.tolist())


def test_ledger_gets_drawn_negatives(sales_log: InteractionLog) -> None:
    """Without impressions, each interaction is a positive beside so many uniform items of the same moment."""
    examples = draw_examples(sales_log, USERS, ITEMS, ALL, 1)
    assert not examples.impressions
    assert not examples.position.any()
    assert examples.clicked.sum() == len(sales_log.user)
    assert len(examples.item) == (1 + NEGATIVES) * len(sales_log.user)
    per_visit = np.bincount(examples.visit)
    positives = np.bincount(examples.visit, examples.clicked)
    assert (per_visit == (1 + NEGATIVES) * positives).all()
    negative = np.bincount(examples.item[~examples.clicked], minlength=ITEMS)
    assert negative.std() < 1.3 * np.sqrt(negative.mean())
    moments = set(zip(sales_log.user.tolist(), sales_log.time.tolist(), strict=True))
    assert set(zip(examples.visit_user.tolist(), examples.visit_time.tolist(), strict=True)) == moments


def test_empty_log_gives_no_examples(sales_log: InteractionLog) -> None:
    """Nothing to draw from is drawn as nothing."""
    empty = sales_log.where(np.zeros(len(sales_log.user), np.bool_), None)
    examples = draw_examples(empty, USERS, ITEMS, 1000, 1)
    assert len(examples.item) == len(examples.visit_user) == len(examples.event_item) == 0
    assert examples.event_offset.tolist() == [0] * (USERS + 1)


@settings(max_examples=30, deadline=None)
@given(users=st.integers(1, 2000), seed=st.integers(0, 10**6))
def test_halves_are_disjoint_and_cover(users: int, seed: int) -> None:
    """Every user is in one half and one only, as a coin falls."""
    one, other = halves(users, seed)
    assert one.shape == other.shape == (users,)
    assert (one ^ other).all()
    assert abs(one.sum() - users / 2) < 4 * np.sqrt(users / 4) + 1


def test_log_of_keeps_chosen_users_whole(log: InteractionLog) -> None:
    """The logs of both halves together are the log, and neither holds a user of the other."""
    one, other = halves(USERS, 4)
    parts = [log.of_users(one), log.of_users(other)]
    assert log.impressions is not None
    for part, chosen in zip(parts, (one, other), strict=True):
        assert part.impressions is not None
        assert chosen[part.user].all()
        assert chosen[part.impressions.user].all()
        assert (part.start_day, part.end_day) == (log.start_day, log.end_day)
        assert part.impressions.clicked.sum() == part.on_page.sum()
    assert sum(len(part.user) for part in parts) == len(log.user)
    assert sum(len(part.impressions.user) for part in parts if part.impressions) == len(log.impressions.user)


def test_log_of_a_ledger_has_no_impressions(sales_log: InteractionLog) -> None:
    """What was not logged does not appear by cutting."""
    assert sales_log.of_users(np.ones(USERS, np.bool_)).impressions is None
