"""How often something happened in many trials, what was promised, and whether the two agree.

Intervals are exact (Clopper and Pearson 1934, "The use of confidence or fiducial limits illustrated in the case of the
binomial", Biometrika 26), from statsmodels. An audit asks many questions at once, so that of intervals at 95% one in
twenty misses a rate that is as promised. What is called a defect is therefore judged at a level divided by the number
of promises (Bonferroni). Knows counts, and nothing of what was counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from statsmodels.stats.proportion import proportion_confint

Promise = Literal["equal", "at most", "at least", "none"]
Interval = tuple[float, float]

CONFIDENCE: Final = 0.95


@dataclass(frozen=True)
class Rate:
    """What was counted, and what a method promises.

    Attributes:
        count: trials in which it happened.
        trials: trials that could tell; those in which nothing could be tested are left out.
        promise: whether the rate should equal ``nominal``, or be at most or at least that; ``none`` where a method
            promises nothing, and the rate stands for comparison.
        nominal: the rate that is promised; ``None`` without a promise.
    """

    count: int
    trials: int
    promise: Promise = "none"
    nominal: float | None = None

    def __post_init__(self) -> None:
        """Refuse impossible counts, and a promise without a number."""
        if not 0 <= self.count <= self.trials:
            raise ValueError(f"count: {self.count} of {self.trials} trials (must be 0 to all of them)")
        if (self.promise == "none") != (self.nominal is None):
            raise ValueError(f"nominal: {self.nominal} (a promise needs one, no promise has none)")

    @property
    def rate(self) -> float | None:
        """Share of the trials; ``None`` where no trial could tell."""
        return self.count / self.trials if self.trials else None

    @property
    def promised(self) -> bool:
        """Whether there is a promise and something to hold it against."""
        return self.promise != "none" and self.trials > 0

    def interval(self, confidence: float = CONFIDENCE) -> Interval | None:
        """Exact interval of the true rate; ``None`` where no trial could tell."""
        if not self.trials:
            return None
        low, high = proportion_confint(self.count, self.trials, alpha=1.0 - confidence, method="beta")
        return float(low), float(high)

    def broken(self, confidence: float = CONFIDENCE) -> bool | None:
        """Whether the interval rules out what was promised; ``None`` without a promise or trials.

        A promise of ``at most`` is broken by an interval that lies above it, and not by one below.
        """
        interval = self.interval(confidence)
        if interval is None or self.nominal is None:
            return None
        low, high = interval
        too_high, too_low = low > self.nominal, high < self.nominal
        return {"equal": too_high or too_low, "at most": too_high, "at least": too_low}[self.promise]

    def to_json(self, confidence: float) -> dict[str, Any]:
        """In JSON's own types, with intervals at 95% and at a corrected confidence."""
        interval, corrected = self.interval(), self.interval(confidence)
        return {
            "count": self.count,
            "trials": self.trials,
            "rate": self.rate,
            "promise": self.promise,
            "nominal": self.nominal,
            "interval": list(interval) if interval else None,
            "interval_corrected": list(corrected) if corrected else None,
            "outside": self.broken(),
            "defect": self.broken(confidence),
        }


def corrected_confidence(rates: Sequence[Rate]) -> float:
    """The confidence of each interval at which all of them hold what was promised with 95%, by Bonferroni."""
    promises = sum(rate.promised for rate in rates)
    return 1.0 - (1.0 - CONFIDENCE) / max(promises, 1)
