"""P-values corrected for being read together.

Holm (1979) and Hochberg (1988) keep the chance of any false alarm in the family; Benjamini and Hochberg (1995) and,
under any dependence, Benjamini and Yekutieli (2001) keep the share of false ones among the alarms. From statsmodels;
only Holm's is written here, as statsmodels collects all of Python's garbage at each call of it, which takes long in
a large process. Knows p-values only.
"""

from collections.abc import Sequence
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt
from statsmodels.stats.multitest import multipletests

Correction = Literal["holm", "hochberg", "benjamini_hochberg", "benjamini_yekutieli", "none"]

_STATSMODELS: Final = {
    "hochberg": "simes-hochberg",
    "benjamini_hochberg": "fdr_bh",
    "benjamini_yekutieli": "fdr_by",
}


def adjusted(p_values: Sequence[float | None], correction: Correction) -> list[float | None]:
    """The same p-values, corrected as one family; what was not tested stays ``None`` and does not count.

    Raises:
        ValueError: if the correction is unknown.
    """
    if correction not in get_args(Correction):
        raise ValueError(f"correction: {correction!r} (choose from {', '.join(get_args(Correction))})")
    tested = [p for p in p_values if p is not None]
    if not tested or correction == "none":
        return list(p_values)
    corrected = _holm(tested) if correction == "holm" else multipletests(tested, method=_STATSMODELS[correction])[1]
    found = iter(corrected)
    return [None if p is None else float(next(found)) for p in p_values]


def _holm(p_values: Sequence[float]) -> npt.NDArray[np.float64]:
    """Step down: the k-th smallest of m times m - k + 1, and never less than one before it (Holm 1979, section 3)."""
    p = np.asarray(p_values)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    out = np.empty(len(p))
    out[order] = np.minimum(stepped, 1.0)
    return out
