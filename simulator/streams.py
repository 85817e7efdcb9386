"""Counter-based randomness: a draw is a pure function of (seed, stream name, ids).

There is no generator object and no state, so a draw does not depend on what was drawn before it, on which
process draws it, or on the size of the batch. That is what makes arms comparable on common random numbers and
runs identical for any number of shards (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").

The mixing function is the finaliser of SplitMix64 (Steele, Lea and Flood 2014, with Stafford's variant 13
constants), applied once for every id.
"""

import hashlib
from typing import Final

import numpy as np
import numpy.typing as npt
from numba import vectorize
from scipy.special import ndtri

from simulator.compiled import inlined

Floats = npt.NDArray[np.float64]

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_1: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2: Final = np.uint64(0x94D049BB133111EB)
_S30: Final = np.uint64(30)
_S27: Final = np.uint64(27)
_S31: Final = np.uint64(31)
_S12: Final = np.uint64(12)
_TO_UNIT: Final = 1.0 / (1 << 52)


def stream_key(seed: int, name: str) -> np.uint64:
    """The 64-bit key of the stream ``name`` under ``seed`` (BLAKE2b of both, so that names never collide)."""
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))


@inlined
def mix(state: np.uint64, identifier: int) -> np.uint64:
    """Absorb one id into a 64-bit state; usable inside other compiled kernels."""
    z = state + np.uint64(identifier) * _GOLDEN + _GOLDEN
    z = (z ^ (z >> _S30)) * _MIX_1
    z = (z ^ (z >> _S27)) * _MIX_2
    return z ^ (z >> _S31)


@inlined
def to_unit(state: np.uint64) -> float:
    """A mixed state as a float in the open interval (0, 1): 52 bits, since 53 could round to 1."""
    return (float(state >> _S12) + 0.5) * _TO_UNIT


@vectorize(["uint64(uint64, int64)"], cache=True)
def _mix_arrays(state: np.uint64, identifier: int) -> np.uint64:
    return mix(state, identifier)


@vectorize(["float64(uint64)"], cache=True)
def _to_unit_array(state: np.uint64) -> float:
    return to_unit(state)


class Stream:
    """A named source of draws.

    Args:
        seed: the run's seed.
        name: what the draws are for; two names give unrelated draws.

    Ids are integers or integer arrays that broadcast together; the result has their broadcast shape.
    """

    def __init__(self, seed: int, name: str) -> None:
        self.key = stream_key(seed, name)

    def uniform(self, *ids: npt.ArrayLike) -> Floats:
        """Uniform draws in (0, 1), one for each combination of ids."""
        state: npt.NDArray[np.uint64] = np.asarray(self.key)
        for identifier in ids:
            state = _mix_arrays(state, np.asarray(identifier, dtype=np.int64))
        return np.asarray(_to_unit_array(state), dtype=np.float64)

    def normal(self, *ids: npt.ArrayLike) -> Floats:
        """Standard normal draws by inversion."""
        return np.asarray(ndtri(self.uniform(*ids)), dtype=np.float64)

    def exponential(self, *ids: npt.ArrayLike) -> Floats:
        """Exponential draws with mean 1 by inversion."""
        return -np.log(self.uniform(*ids))

    def integers(self, high: int, *ids: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Integers uniform on 0..high-1."""
        return (self.uniform(*ids) * high).astype(np.int64)
