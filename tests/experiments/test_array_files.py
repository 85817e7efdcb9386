from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from experiments.array_files import DamagedError, read_arrays, write_arrays

TYPES = st.sampled_from(["<i8", "<u8", "<i4", "<f8", "<f4", "|i1", "|b1", "<U3"])
ARRAYS = st.dictionaries(
    st.text("abc/0", min_size=1, max_size=6),
    TYPES.flatmap(lambda kind: hnp.arrays(np.dtype(kind), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0))),
    max_size=4,
)
SAMPLE: dict[str, Any] = {
    "head": np.array([0, 5]),
    "state/visit": np.arange(40),
    "state/style": np.linspace(0, 1, 12).reshape(4, 3),
    "words": np.array(["tea", "mug"]),
}


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether both hold the same names, types, shapes and bytes."""
    return list(one) == list(other) and all(
        (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
        for a, b in zip(one.values(), other.values(), strict=True)
    )


@given(ARRAYS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_arrays_come_back_to_the_byte(tmp_path: Path, arrays: dict[str, Any]) -> None:
    """Any arrays are read as they were written, can be written to, and equal arrays are equal files."""
    one, two = tmp_path / "one.npz", tmp_path / "two.npz"
    write_arrays(one, arrays)
    write_arrays(two, arrays)
    assert one.read_bytes() == two.read_bytes()
    found = read_arrays(one)
    assert same(found, arrays)
    assert all(array.flags.writeable for array in found.values())
    for name in arrays:
        assert same(read_arrays(one, (name,)), {name: arrays[name]})


@given(st.data())
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_is_noticed_or_harmless(tmp_path: Path, data: st.DataObject) -> None:
    """A file in which any byte was changed, or which was cut off, is refused or read as what was written."""
    path = tmp_path / "file.npz"
    write_arrays(path, SAMPLE)
    written = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(written) - 1))
    if data.draw(st.booleans()):
        written[place] ^= data.draw(st.integers(1, 255))
    else:
        del written[place:]
    path.write_bytes(written)
    found, said = SAMPLE, f"{path}: damaged"
    try:
        found = read_arrays(path)
    except DamagedError as error:
        said = str(error)
    assert same(found, SAMPLE)
    assert said.startswith(f"{path}: damaged")
    assert "\n" not in said


def test_objects_are_neither_written_nor_read(tmp_path: Path) -> None:
    """No file of arrays can bring code along."""
    with pytest.raises(ValueError, match="contents: the name of the list"):
        write_arrays(tmp_path / "one.npz", {"contents": np.zeros(1)})
    with pytest.raises(ValueError, match="allow_pickle"):
        write_arrays(tmp_path / "one.npz", {"a": np.array([object()])})
    np.savez(tmp_path / "two.npz", a=np.array([{"b": 1}], object))
    with pytest.raises(DamagedError, match=r"two\.npz: damaged \(Object arrays cannot be loaded"):
        read_arrays(tmp_path / "two.npz", ("a",))


def test_missing_files_are_told_from_damaged_ones(tmp_path: Path) -> None:
    """A file that is not there is no damage; a name that is not in it is."""
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "none.npz")
    write_arrays(tmp_path / "file.npz", SAMPLE)
    with pytest.raises(DamagedError, match="other"):
        read_arrays(tmp_path / "file.npz", ("other",))
