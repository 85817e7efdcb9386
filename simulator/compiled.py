"""How kernels are compiled: the decorators of all hot ones.

What they save is numba's counting of references. A kernel that takes a ``NamedTuple`` of arrays counts a reference up
and down for each array of it, whenever a function inlined into it is entered and left, with an atomic instruction each;
in the kernel that answers pages this took more time than the arithmetic
(docs/decisions/0033-where-the-time-goes.md). Most of the pairs cancel out when numba can see that nothing leaves the
function in between. So divisions raise nothing (by zero they give infinity or no number, as in numpy), and functions
are inlined by LLVM, not by numba (``inline="always"``), which would copy their arguments first. A kernel that allocates
nothing need not count at all.
"""

from typing import Any, Final

from numba import njit

_DIVIDE: Final[dict[str, Any]] = {"error_model": "numpy", "cache": True}
_BARE: Final[dict[str, Any]] = {**_DIVIDE, "_nrt": False}

kernel = njit(**_DIVIDE)
"""A compiled function that Python calls."""

bare_kernel = njit(**_BARE)
"""The same without numba's runtime: no references are counted, so it refuses to be compiled if it allocates an array.

What it needs to work in is passed to it.
"""

inlined = njit(**_BARE, forceinline=True)
"""A compiled function that becomes part of each kernel that calls it; it allocates nothing either."""

inlined_finite = njit(**_BARE, forceinline=True, fastmath={"nnan", "nsz"})
"""The same of what is never asked about a float that is no number, which lets a minimum be vectorised."""
