import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.delivery import NOTHING, DaysByUser, Deliveries, Freshness
from simulator.batches import DAY_SECONDS, Ints


def ints(*values: int) -> Ints:
    """An array."""
    return np.array(values, np.int64)


def deliveries() -> Deliveries:
    """User 0 has thoughts of day 5, asked again on day 6 at 100 s and done at 700 s; user 2 was never asked."""
    start = 5 * DAY_SECONDS
    return Deliveries(
        DaysByUser.of(ints(1, 0, 0), ints(start, start, start + DAY_SECONDS + 100), ints(5, 5, 6)),
        DaysByUser.of(ints(0, 1, 0), ints(start + DAY_SECONDS + 700, start, start), ints(6, 5, 5)),
    )


@pytest.mark.parametrize(
    ("user", "second", "day", "overdue"),
    [
        (0, -1, NOTHING, False),
        (0, 0, 5, False),
        (0, DAY_SECONDS + 99, 5, False),
        (0, DAY_SECONDS + 100, 5, True),
        (0, DAY_SECONDS + 699, 5, True),
        (0, DAY_SECONDS + 700, 6, False),
        (1, 40 * DAY_SECONDS, 5, False),
        (2, 40 * DAY_SECONDS, NOTHING, False),
    ],
)
def test_thoughts_serve_from_when_they_are_done(user: int, second: int, day: int, overdue: bool) -> None:
    """The last thoughts done must serve, and be overdue from when newer ones were asked for until they are done."""
    at = ints(5 * DAY_SECONDS + second)
    for found in (deliveries(), deliveries().only(ints(user, 7))):
        assert found.day_of(ints(user), at).tolist() == [day]
        assert found.overdue(ints(user), at).tolist() == [overdue]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=20), st.integers(0, 3), st.integers(0, 11))
def test_lookups_agree_with_looking_through_all(done: list[tuple[int, int]], user: int, second: int) -> None:
    """A lookup must find what going through every entry finds."""
    entries = sorted(set(done))
    # Of one user days rise with seconds, as they do where nobody overtakes.
    users, seconds = (ints(*part) for part in zip(*entries, strict=True)) if entries else (ints(), ints())
    found = DaysByUser.of(users, seconds, seconds * 2).at(ints(user), ints(second))
    expected = max((2 * at for who, at in entries if who == user and at <= second), default=NOTHING)
    assert found.tolist() == [expected]


def test_a_shard_is_sent_its_users_alone() -> None:
    """Of some users nothing of the others may be left."""
    part = deliveries().only(ints(1))
    assert set(part.done.user.tolist()) == set(part.asked.user.tolist()) == {1}
    assert part.day_of(ints(0), ints(40 * DAY_SECONDS)).tolist() == [NOTHING]


def test_ages_are_counted_by_day_and_hour() -> None:
    """Visits must be counted on their day with the age of their tags, and those before any tags left out."""
    day = 3 * DAY_SECONDS
    found = Freshness.empty()
    found.count(ints(day + 10, day + 7200, day + 7300), ints(3, 3, 2), np.array([False, False, True]))
    found.count(ints(day + DAY_SECONDS), ints(NOTHING), np.array([False]))
    assert found.as_dict() == {
        "visits": {3: 3},
        "overdue": {3: 1},
        "seconds": {3: 10 + 7200 + 7300 + DAY_SECONDS},
        "hours": {3: {0: 1, 2: 1, 26: 1}},
    }


@given(st.lists(st.tuples(st.integers(0, 5 * DAY_SECONDS), st.integers(0, 3), st.booleans()), max_size=30))
def test_counts_add_up_over_any_cut(visits: list[tuple[int, int, bool]]) -> None:
    """Counting visits at once or one by one must end in the same numbers."""
    visits = [(time + 4 * DAY_SECONDS, day, late) for time, day, late in visits]
    whole, single = Freshness.empty(), Freshness.empty()
    columns = list(zip(*visits, strict=True)) or [(), (), ()]
    whole.count(ints(*columns[0]), ints(*columns[1]), np.array(columns[2], np.bool_))
    for time, day, late in visits:
        single.count(ints(time), ints(day), np.array([late]))
    assert whole.as_dict() == single.as_dict()
