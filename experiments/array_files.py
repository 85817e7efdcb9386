"""Arrays by name in one file: written without copying them, read back only if every byte is as it was written.

The file is a ZIP archive of .npy members, without compression, as ``numpy.savez`` writes it. Each member carries a
CRC-32, which is checked before its bytes are looked at. The first one lists the others, since damage to the archive's
directory can hide members. No member can hold an object, so reading runs no code.
"""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from simulator.snapshots import Arrays, as_array, as_value

_SUFFIX = ".npy"
_CONTENTS = "contents"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same arrays are the same bytes


class DamagedError(ValueError):
    """A file of arrays is not what was written."""


def write_arrays(path: Path, arrays: Arrays) -> None:
    """Write arrays to a new file. Takes about a second a gigabyte, and little memory beside the arrays.

    Raises:
        OSError: the file cannot be written.
        ValueError: an array holds objects, or is called "contents".
    """
    if _CONTENTS in arrays:
        raise ValueError(f"{_CONTENTS}: the name of the list of arrays (choose another)")
    contents = as_array(list(arrays))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, array in [(_CONTENTS, contents), *arrays.items()]:
            with archive.open(zipfile.ZipInfo(f"{name}{_SUFFIX}", _EPOCH), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def read_arrays(path: Path, names: tuple[str, ...] | None = None) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a file, writable, in the order in which they were written.

    Args:
        path: what ``write_arrays`` has written.
        names: read only these; all if None.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedError: it is cut off, changed, or no file of arrays.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            chosen = names if names is not None else as_value(_member(archive, f"{_CONTENTS}{_SUFFIX}"))
            return {name: _member(archive, f"{name}{_SUFFIX}") for name in chosen}
    except FileNotFoundError:
        raise
    except (zipfile.BadZipFile, OSError, ValueError, KeyError, EOFError, NotImplementedError, RuntimeError) as error:
        raise DamagedError(f"{path}: damaged ({' '.join(str(error).split())})") from error


def _member(archive: zipfile.ZipFile, name: str) -> npt.NDArray[Any]:
    data = archive.read(name)  # whole, so that its checksum is looked at before its header is believed
    stream = io.BytesIO(data)
    array = np.lib.format.read_array(stream, allow_pickle=False)
    if stream.tell() != len(data):
        raise ValueError(f"{name} has bytes left over")
    return array
