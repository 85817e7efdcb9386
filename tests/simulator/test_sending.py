from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.sending import NOTHING_COMMON, WORTHWHILE, packed, shared_by, unpacked

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Shelf:
    """Something within a task that holds large things."""

    large: Array
    small: Array


@dataclass(frozen=True)
class Task:
    """A task with a part that others have too."""

    shelf: Any
    own: Array
    again: Any = None


def large(value: float) -> Array:
    """Worth sending once."""
    return np.full(WORTHWHILE // 8, value)


def there_and_back(task: Any, common: Any, fetched: list[int]) -> Any:
    """A task, sent and received; notes what was fetched for it."""

    def fetch(number: int) -> bytes:
        fetched.append(number)
        return bytes(common.parcels[number])

    return unpacked(packed(task, common), fetch)


@given(st.integers(1, 6))
def test_what_tasks_share_is_packed_once(tasks: int) -> None:
    """However many tasks hold a large thing, it is one parcel, theirs are small, and each gets it back whole."""
    shelf = Shelf(large(1.0), np.arange(3))
    sent = [Task(shelf, np.array([number])) for number in range(tasks)]
    common = shared_by(sent)
    assert len(common.parcels) == (1 if tasks > 1 else 0)
    for task in sent:
        fetched: list[int] = []
        assert (len(packed(task, common)) < 1000) == (tasks > 1)
        found = there_and_back(task, common, fetched)
        assert len(fetched) == len(common.parcels)
        assert np.array_equal(found.shelf.large, shelf.large)
        assert np.array_equal(found.shelf.small, shelf.small)
        assert np.array_equal(found.own, task.own)


def test_a_part_of_what_differs_is_shared_too() -> None:
    """Where tasks hold different dataclasses, what is within these and the same is packed once."""
    same = large(2.0)
    sent = [Task(Shelf(same, np.array([number])), large(float(number))) for number in range(3)]
    common = shared_by(sent)
    assert len(common.parcels) == 1
    for number, task in enumerate(sent):
        found = there_and_back(task, common, [])
        assert np.array_equal(found.shelf.large, same)
        assert found.shelf.small.tolist() == [number]
        assert found.own[0] == number


def test_small_and_equal_things_stay_where_they_are() -> None:
    """Neither what is too small to pay nor what is equal without being the same is packed apart."""
    small = np.arange(10)
    assert shared_by([Task(small, large(1.0)), Task(small, large(1.0))]).parcels == ()
    assert shared_by([]).parcels == NOTHING_COMMON.parcels == ()


def test_what_a_task_holds_twice_it_gets_as_one_thing() -> None:
    """A thing that stands in two fields of a task is one thing again, and its own: nobody else's changes with it."""
    same = large(3.0)
    sent = [Task(same, np.array([number]), same) for number in range(2)]
    common = shared_by(sent)
    fetched: list[int] = []
    one, other = (there_and_back(task, common, fetched) for task in sent)
    assert one.shelf is one.again
    assert fetched == [0, 0]
    one.shelf[:] = 0.0
    assert same[0] == other.shelf[0] == 3.0


@pytest.mark.parametrize("writable", [True, False])
def test_arrays_arrive_writable(writable: bool) -> None:
    """What is received may be written to, whether or not the sender may."""
    array = large(1.0)
    array.flags.writeable = writable
    sent = [Task(array, array[:1]), Task(array, array[:1])]
    found = there_and_back(sent[0], shared_by(sent), [])
    found.shelf[0], found.own[0] = 5.0, 6.0
    assert array[0] == 1.0
