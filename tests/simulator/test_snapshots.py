import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.snapshots import as_array, as_value, overwrite, prefixed, under

LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5))
KEYS = st.one_of(st.text(max_size=3), st.sampled_from(["tuple", "pairs"]), st.integers(), st.tuples(st.integers()))
VALUES = st.recursive(
    LEAVES,
    lambda part: st.one_of(
        st.lists(part, max_size=3), st.lists(part, max_size=3).map(tuple), st.dictionaries(KEYS, part, max_size=3)
    ),
    max_leaves=12,
)


def kinds(value: Any) -> Any:
    """The types of a value and of all its parts, and the order of its keys."""
    if isinstance(value, dict):
        return dict, [(kinds(key), kinds(part)) for key, part in value.items()]
    return (type(value), [kinds(part) for part in value]) if isinstance(value, list | tuple) else type(value)


@given(VALUES)
def test_plain_values_come_back_as_they_were(value: Any) -> None:
    """Any nesting of plain values survives being bytes: equal, of the same types, keys in their order."""
    array = as_array(value)
    assert array.dtype == np.uint8
    found = as_value(array)
    assert found == value
    assert kinds(found) == kinds(value)


@pytest.mark.parametrize("value", [object(), {1, 2}, np.int64(3), [np.zeros(2)], {"a": b"x"}])
def test_what_is_not_plain_is_refused(value: Any) -> None:
    """Sets, bytes, arrays and objects are refused by their type's name."""
    with pytest.raises(TypeError, match="not a plain value"):
        as_array(value)


@given(st.dictionaries(st.text("ab/", min_size=1, max_size=4), st.integers(0, 9).map(np.array), max_size=5))
def test_prefixes_can_be_taken_off_again(arrays: dict[str, Any]) -> None:
    """Names under one prefix come back without it, and those under another do not come along."""
    both = prefixed("x", arrays) | prefixed("xy", {"other": np.array(1)})
    assert under("x", both) == arrays


def test_overwriting_keeps_views_and_refuses_other_shapes() -> None:
    """What looked at the array sees the new values; another shape or type is refused and nothing is written."""
    target = np.zeros(3)
    view = target[:2]
    overwrite(target, np.arange(3.0))
    assert view.tolist() == [0.0, 1.0]
    for wrong in (np.zeros(2), np.zeros(3, np.int64)):
        with pytest.raises(ValueError, match="snapshot: "):
            overwrite(target, wrong)
    assert target.tolist() == [0.0, 1.0, 2.0]


def test_bytes_are_json() -> None:
    """The bytes of a plain value are JSON, which a person can read."""
    assert json.loads(as_array({"a": [1, 2.5, "x"]}).tobytes()) == {"a": [1, 2.5, "x"]}
