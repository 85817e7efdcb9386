"""What a simulation, its guests and its recorders hold at the end of a day, as arrays by name.

Everything that a later day depends on goes into one flat mapping of arrays without objects in them, so that it can be
written to a file and read back without running any code. Knows no file and no day.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[Any]]

_TUPLE: Final = "tuple"
_PAIRS: Final = "pairs"


def prefixed(prefix: str, arrays: Arrays) -> dict[str, npt.NDArray[Any]]:
    """The same arrays under ``prefix/name``."""
    return {f"{prefix}/{name}": array for name, array in arrays.items()}


def under(prefix: str, arrays: Arrays) -> dict[str, npt.NDArray[Any]]:
    """The arrays whose names begin with ``prefix/``, without it."""
    start = f"{prefix}/"
    return {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}


def overwrite(target: npt.NDArray[Any], source: npt.NDArray[Any]) -> None:
    """Write ``source`` into ``target``, whose views then see it too.

    Raises:
        ValueError: shape or type differ.
    """
    if target.shape != source.shape or target.dtype != source.dtype:
        raise ValueError(
            f"snapshot: {source.dtype} of shape {source.shape} (must be {target.dtype} of shape {target.shape})"
        )
    target[...] = source


def as_array(value: Any) -> npt.NDArray[np.uint8]:
    """A plain value as bytes: None, booleans, numbers and texts, in lists, tuples and mappings of any depth.

    Tuples come back as tuples, and keys that are numbers as numbers. Floats keep every bit.

    Raises:
        TypeError: something in it is of another type.
    """
    return np.frombuffer(json.dumps(_written(value), separators=(",", ":")).encode(), np.uint8)


def as_value(array: npt.NDArray[np.uint8]) -> Any:
    """The value that ``as_array`` was given."""
    return _read(json.loads(array.tobytes()))


def _written(value: Any) -> Any:
    # Only mappings with text keys that are not marks are JSON objects as they are; all else is marked.
    if value is None or isinstance(value, int | float | str):
        return value
    if isinstance(value, list):
        return [_written(part) for part in value]
    if isinstance(value, tuple):
        return {_TUPLE: [_written(part) for part in value]}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value) and not value.keys() & {_TUPLE, _PAIRS}:
            return {key: _written(part) for key, part in value.items()}
        return {_PAIRS: [[_written(key), _written(part)] for key, part in value.items()]}
    raise TypeError(f"{type(value).__name__}: not a plain value (use numbers, texts, lists and mappings of them)")


def _read(value: Any) -> Any:
    if isinstance(value, list):
        return [_read(part) for part in value]
    if isinstance(value, dict):
        if value.keys() == {_TUPLE}:
            return tuple(_read(part) for part in value[_TUPLE])
        if value.keys() == {_PAIRS}:
            return {_read(key): _read(part) for key, part in value[_PAIRS]}
        return {key: _read(part) for key, part in value.items()}
    return value
