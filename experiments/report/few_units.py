"""Whether so few units were tested that what is said of them is rough, in a sentence.

Returns plain text. Reads a results dictionary and never computes a statistic.
"""

from collections.abc import Mapping
from typing import Any, Final

from experiments.report import designs, words

FEWEST: Final = 30
"""Values from which a mean is by custom taken for normal; skewed ones need more (Cochran 1977, "Sampling Techniques",
section 2.15)."""


def sentence(results: Mapping[str, Any]) -> str | None:
    """What to know before reading intervals, where a tested arm has fewer than ``FEWEST`` units; None elsewhere."""
    tested = [row for row in results["comparisons"] if words.known(row["p_value"])]
    rough = [row for row in tested if min(row["users"].values()) < FEWEST]
    if not rough:
        return None
    least: dict[str, int] = {}
    for row in rough:
        for arm, units in row["users"].items():
            if units < FEWEST:
                least[arm] = min(units, least.get(arm, units))
    each = words.listing([f"{words.count(units)} in {arm}" for arm, units in least.items()])
    names = dict.fromkeys(words.title(results, row["metric"]) for row in rough)
    of = "" if len(rough) == len(tested) else f" with {words.listing(list(names))}"
    word = designs.randomised(results)
    return (
        f"Few {word}{of}: {each}. Intervals and p-values take means for normal, which those of fewer than {FEWEST} "
        "values an arm need not be: read them as rough."
    )
