"""How kernels are compiled: the two decorators of all hot ones.

Both let a division by zero give infinity or no number, as numpy does. A division that may raise instead leaves the
function from the middle, and then numba cannot see that the references it counts up and down on every array of a
``NamedTuple`` cancel out: the counting took more time than the arithmetic (docs/decisions/0033-where-the-time-goes.md).
"""

from numba import njit

kernel = njit(error_model="numpy", cache=True)
"""A compiled function that Python calls."""

inlined = njit(forceinline=True, error_model="numpy", cache=True)
"""A compiled function that becomes part of each kernel that calls it.

Inlined by LLVM, not by numba (``inline="always"``), which would copy the arguments and count their references.
"""
