from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulator.datasets import taobao
from simulator.datasets.interactions import DatasetError
from simulator.datasets.taobao import BEHAVIOURS, DAYS, taobao_visits

MIDNIGHT = 1_511_539_200
Visits = list[tuple[int, int]]
ACTIONS = st.lists(
    st.tuples(st.integers(1, 9), st.integers(0, 6 * 3600), st.sampled_from(BEHAVIOURS)), min_size=1, max_size=80
)


def lines_of(actions: list[tuple[int, int, str]]) -> list[str]:
    """Rows as the file has them; users are numbered by hundreds, as the file's numbers have gaps."""
    return [f"{100 * user},{7},{8},{behaviour},{MIDNIGHT + seconds}" for user, seconds, behaviour in actions]


@pytest.fixture
def convert(tmp_path: Path) -> Callable[[list[str]], tuple[Visits, dict[str, int]]]:
    """``convert(lines)``: the visits of a file of these lines, sorted, and what became of its rows."""

    def converted(lines: list[str], ending: str = "\n") -> tuple[Visits, dict[str, int]]:
        path = tmp_path / "UserBehavior.csv"
        path.write_bytes(ending.join([*lines, ""]).encode("latin-1"))
        portions, counts = taobao_visits(path, tmp_path)
        found = [pair for user, time in portions for pair in zip(user.tolist(), time.tolist(), strict=True)]
        assert [file.name for file in tmp_path.iterdir()] == ["UserBehavior.csv"]
        return sorted(found), counts

    return converted


def by_hand(actions: list[tuple[int, int, str]]) -> Visits:
    """The visits, action by action."""
    number = {user: n for n, user in enumerate(sorted({user for user, _, _ in actions}))}
    found, last = [], dict[int, int]()
    for user, seconds, _ in sorted(actions):
        if user not in last or seconds - last[user] >= 1800:
            found.append((number[user], seconds))
        last[user] = seconds
    return sorted(found)


@given(ACTIONS, st.integers(1, 5), st.integers(1, 4))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_visits_are_those_counted_by_hand(
    convert: Callable[..., tuple[Visits, dict[str, int]]],
    actions: list[tuple[int, int, str]],
    buckets: int,
    at_once: int,
) -> None:
    """However the file is cut into pieces and buckets, and in whatever order its rows are, the visits are the same."""
    lines = lines_of(actions)
    size = sum(len(line) + 1 for line in lines)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(taobao, "_BYTES_A_BUCKET", -(-size // buckets))
        patch.setattr(taobao, "_ROWS_AT_ONCE", at_once)
        found, counts = convert(lines)
    assert found == by_hand(actions)
    assert counts == {"unreadable_rows": 0, "unknown_behaviour": 0, "outside_span": 0, "kept": len(actions)}


def test_broken_rows_are_counted_and_cost_nothing_else(
    convert: Callable[..., tuple[Visits, dict[str, int]]],
) -> None:
    """Each broken row has one fate, and the rows around it stay."""
    good = lines_of([(1, 100, "pv"), (2, 50, "buy"), (2, 5000, "fav")])
    unreadable = ["1,2,3,pv", "1,2,3,pv,4,5", "x,2,3,pv,1511540000", "1,2,3,pv,", "-1,2,3,pv,1511540000", '"1,2,3,pv,7',
                  "1,2,3,pv,1511540000.5", "\xff\xfe,2,3,pv,1511540000"]  # fmt: skip
    unknown = ["1,2,3,click,1511540000", "1,2,3,,1511540000"]
    outside = [f"1,2,3,pv,{MIDNIGHT - 1}", f"1,2,3,pv,{MIDNIGHT + DAYS * 86400}", "1,2,3,pv,0", "1,2,3,pv,-7"]
    lines = [*unreadable, good[0], *unknown, good[1], *outside, good[2]]
    for ending in ("\n", "\r\n"):
        found, counts = convert(lines, ending)
        assert found == [(0, 100), (1, 50), (1, 5000)]
        assert counts == {
            "unreadable_rows": len(unreadable),
            "unknown_behaviour": len(unknown),
            "outside_span": len(outside),
            "kept": 3,
        }


@pytest.mark.parametrize("lines", [[], ["user,item,category,behaviour,time"], ["1,2,3,pv,0"]])
def test_a_file_without_a_good_row_is_refused(
    convert: Callable[..., tuple[Visits, dict[str, int]]], lines: list[str], tmp_path: Path
) -> None:
    """A file of which nothing can be used is an error of one line, and no temporary file stays."""
    with pytest.raises(DatasetError, match=r"UserBehavior\.csv: .*is it UserBehavior\.csv\?") as caught:
        convert(lines)
    assert "\n" not in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["UserBehavior.csv"]


def test_times_outside_the_nine_days_are_said_to_be(
    convert: Callable[..., tuple[Visits, dict[str, int]]],
) -> None:
    """A log in milliseconds is refused with what became of its rows, the unit of times and the days wanted."""
    with pytest.raises(
        DatasetError, match=r"of 2 \(2 outside span; times are Unix seconds within 2017-11-25 to 2017-12-03"
    ):
        convert([f"1,2,3,pv,{MIDNIGHT}000", f"2,2,3,pv,{MIDNIGHT}500"])


def test_a_missing_file_says_where_it_is_had(tmp_path: Path) -> None:
    """The file cannot be fetched by a command; the error says where it is."""
    with pytest.raises(DatasetError, match="No such file or directory; ask for the file on Tianchi"):
        taobao_visits(tmp_path / "UserBehavior.csv", tmp_path)


def test_days_are_chinas() -> None:
    """The first second of the data set's first day there is second 0, by the calendar."""
    assert np.datetime64(MIDNIGHT + 8 * 3600, "s") == np.datetime64(taobao.FIRST_DAY)
    assert taobao._MIDNIGHT == MIDNIGHT
