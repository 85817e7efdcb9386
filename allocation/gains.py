"""What the cognitive channel gains over the utility channel, per segment, learned from past days of the experiment.

Within a segment and a day the channel is drawn per visit, so the two groups of visits compare like with like. Visits
count as separate, although what a user met in one with the channel (seen, carted, bought already) goes on into the
user's visits without it. So a gain is that of a visit among mixed visits, and not that of giving a user the channel
always; that bias is in no variance here:

1. **Difference of means**, day by day. Days are joined with weights lambda_t h_t, h_t = n_c n_u / (n_c + n_u)
   (Cochran 1954, "Some methods for strengthening the common chi-squared tests"), so that a share that moves together
   with the level of the day, up on a good weekend, does not pass for a gain. lambda_t halves every ``half_life`` days
   and counts as a number of visits (a power prior, Ibrahim and Chen 2000; the discounting of West and Harrison 1997,
   "Bayesian forecasting and dynamic models"): what is not looked at again slowly becomes unknown again.
2. **Moderated variances.** A segment without a single conversion is not one whose conversion rate is known to be 0:
   the variance within days is shrunk to that of all segments (after Smyth 2004, "Linear models and empirical Bayes
   methods"), more so where fewer events are to be expected.
3. **Shrinkage** of the segments' gains toward their mean: normal-normal empirical Bayes (Efron and Morris 1975,
   "Data analysis using Stein's estimator"), the variance between segments by the method of moments (DerSimonian and
   Laird 1986, "Meta-analysis in clinical trials"). That estimate is often negative, and cut at 0 it would say that
   all segments are alike beyond doubt; instead it is taken for normal with the variance of Biggerstaff and Tweedie
   1997, "Incorporating variability in estimates of heterogeneity", and the mean of what lies above 0 is used. What
   the shared mean leaves uncertain is common to all segments and makes the covariance; what the variance between
   segments leaves uncertain is added to the diagonal to first order (Kass and Steffey 1989, "Approximate Bayesian
   inference in conditionally independent hierarchical models").

The shared mean has the prior N(0, prior_sd^2), and where fewer than two segments were compared, so that nothing is
known of how they differ, the variance between them is prior_sd^2 as well. Before the first day every gain is
therefore 0 with variance 2 prior_sd^2, large for a gain that is a fraction of an event per visit.

It does not know what a segment means, what is decided with the gains (``allocation.split``), or any truth.
"""

import math
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
from scipy.special import log_ndtr

from simulator.snapshots import Arrays, overwrite

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Attitude = Literal["pessimistic", "neutral", "optimistic"]

OUTCOMES: Final = ("clicks", "conversions", "novelty")
"""Of a visit: clicks, orders that are made of its pages at once, novel impressions."""

_ARMS: Final = 2
_SIGN: Final[dict[str, float]] = {"pessimistic": -1.0, "neutral": 0.0, "optimistic": 1.0}
_PRIOR_EVENTS: Final = 5.0
_SUMS: Final = (
    "weight",
    "difference",
    "spread",
    "sampling_spread",
    "visits",
    "totals",
    "freedom",
    "within",
)


@dataclass(frozen=True)
class GainSettings:
    """How the past is weighed; the defaults are choices, not measurements.

    Attributes:
        half_life: days after which a day counts half; infinity never forgets.
        prior_sd: standard deviation of a gain before any data, events a visit.
        attitude: whether clicks are believed at, under or over their posterior mean.
        attitude_sds: by how many posterior standard deviations, 0 or more.

    Raises:
        ValueError: when a setting is outside its range.
    """

    half_life: float = 14.0
    prior_sd: float = 1.0
    attitude: Attitude = "neutral"
    attitude_sds: float = 1.0

    def __post_init__(self) -> None:
        if not self.half_life > 0.0:
            raise ValueError(f"half_life: {self.half_life} (must be above 0, in days)")
        if not 0.0 < self.prior_sd < np.inf:
            raise ValueError(f"prior_sd: {self.prior_sd} (must be finite and above 0)")
        if self.attitude not in _SIGN:
            raise ValueError(f"attitude: {self.attitude} (must be one of {', '.join(get_args(Attitude))})")
        if not 0.0 <= self.attitude_sds < np.inf:
            raise ValueError(f"attitude_sds: {self.attitude_sds} (must be finite, 0 or more)")


@dataclass(frozen=True)
class SegmentDay:
    """Sums of one day over the visits of each segment, with the channel that was drawn for them.

    A visit is the unit of the draw: an outcome of several pages is summed over the visit before it is squared.
    Axis 0 of every array is (utility, cognitive); the outcomes are in the order of ``OUTCOMES``.

    Attributes:
        visits: [2, segments] visits.
        totals: [2, outcomes, segments] sum of the outcome over visits.
        squares: [2, outcomes, segments] sum of its square.
    """

    visits: Floats
    totals: Floats
    squares: Floats

    @classmethod
    def from_visits(
        cls, segments: int, segment: Ints, cognitive: npt.NDArray[np.bool_], outcomes: Floats
    ) -> "SegmentDay":
        """Sums of single visits.

        Args:
            segments: number of segments.
            segment: [visits] segment of each visit, from 0.
            cognitive: [visits] whether the cognitive channel was drawn.
            outcomes: [outcomes, visits] what the visit brought, in the order of ``OUTCOMES``.

        Raises:
            ValueError: when a segment is out of range or the outcomes are not as many as ``OUTCOMES``.
        """
        if segment.size and not 0 <= segment.min() <= segment.max() < segments:
            raise ValueError(f"segment: {segment.min()} to {segment.max()} (must be from 0 to {segments - 1})")
        if outcomes.shape != (len(OUTCOMES), segment.size):
            raise ValueError(f"outcomes: shape {outcomes.shape} (must be {(len(OUTCOMES), segment.size)})")
        cell = cognitive.astype(np.int64) * segments + segment

        def added(weights: Floats | None) -> Floats:
            sums = np.bincount(cell, weights=weights, minlength=_ARMS * segments)
            return sums.reshape(_ARMS, segments).astype(np.float64)

        return cls(
            visits=added(None),
            totals=np.stack([added(y) for y in outcomes], axis=1),
            squares=np.stack([added(y * y) for y in outcomes], axis=1),
        )


@dataclass(frozen=True)
class Gains:
    """The posterior of one outcome's gain, cognitive minus utility, per visit.

    Attributes:
        mean: [segments].
        sd: [segments], the square root of the covariance's diagonal.
        covariance: [segments, segments].
    """

    mean: Floats
    sd: Floats
    covariance: Floats


class Estimate(NamedTuple):
    """What is known after the days observed.

    Attributes:
        clicks: gain in clicks a visit.
        conversions: gain in conversions a visit.
        novelty: gain in novel exposures a visit.
        believed_clicks: [segments] the click gain to act on: its mean, shifted as the attitude says.
        utility: [outcomes, segments] utility's own mean per visit, shrunk no further; where a segment has no
            utility visit it is the mean of all segments, and 0 before any.
    """

    clicks: Gains
    conversions: Gains
    novelty: Gains
    believed_clicks: Floats
    utility: Floats


class GainEstimator:
    """Takes in days, one by one in order, and tells the gains. Keeps sums only: a day costs the same for ever.

    Args:
        segments: how many, 1 or more.
        settings: how the past is weighed.

    Raises:
        ValueError: when there is no segment.
    """

    def __init__(self, segments: int, settings: GainSettings) -> None:
        if segments < 1:
            raise ValueError(f"segments: {segments} (must be 1 or more)")
        self.segments = segments
        self.settings = settings
        by_segment, by_outcome = (segments,), (len(OUTCOMES), segments)
        self._weight = np.zeros(by_segment)
        self._difference = np.zeros(by_outcome)
        self._spread = np.zeros((_ARMS, *by_segment))
        self._sampling_spread = np.zeros((_ARMS, *by_segment))
        self._visits = np.zeros((_ARMS, *by_segment))
        self._totals = np.zeros((_ARMS, *by_outcome))
        self._freedom = np.zeros((_ARMS, *by_segment))
        self._within = np.zeros((_ARMS, *by_outcome))

    def snapshot(self) -> Arrays:
        """The sums over the days observed."""
        return {name: getattr(self, f"_{name}") for name in _SUMS}

    def restore(self, kept: Arrays) -> None:
        """Go on from what ``snapshot`` of an estimator with the same arguments gave."""
        for name in _SUMS:
            overwrite(getattr(self, f"_{name}"), kept[name])

    def observe(self, day: SegmentDay) -> None:
        """Forget a day's worth, then add this one. A day without visits is a day too: it only forgets.

        Raises:
            ValueError: when sums have the wrong shape, are not finite, or cannot be sums of squares of their totals.
        """
        _validate(day, self.segments)
        kept = float(0.5 ** (1.0 / self.settings.half_life))
        visits = np.maximum(day.visits, 1.0)
        means = day.totals / visits[:, None]
        weight = day.visits.prod(axis=0) / np.maximum(day.visits.sum(axis=0), 1.0)
        self._weight = kept * self._weight + weight
        self._difference = kept * self._difference + weight * (means[1] - means[0])
        self._spread = kept * self._spread + weight**2 / visits
        self._sampling_spread = kept**2 * self._sampling_spread + weight**2 / visits
        self._visits = kept * self._visits + day.visits
        self._totals = kept * self._totals + day.totals
        self._freedom = kept * self._freedom + np.maximum(day.visits - 1.0, 0.0)
        self._within = kept * self._within + np.maximum(day.squares - day.totals * means, 0.0)

    def estimate(self) -> Estimate:
        """The gains after the days observed so far; the prior where there were none."""
        difference = self._difference / np.where(self._weight > 0.0, self._weight, 1.0)
        clicks, conversions, novelty = (
            _shrunken(
                difference[k],
                self._precision(k, self._spread),
                self._precision(k, self._sampling_spread),
                self.settings.prior_sd,
            )
            for k in range(len(OUTCOMES))
        )
        shift = _SIGN[self.settings.attitude] * self.settings.attitude_sds
        return Estimate(clicks, conversions, novelty, clicks.mean + shift * clicks.sd, self._utility())

    def _precision(self, outcome: int, spreads: Floats) -> Floats:
        """One over the variance of each segment's difference, [segments]; 0 where nothing was compared."""
        spread = sum(self._variance(arm, outcome) * spreads[arm] for arm in range(_ARMS))
        return np.divide(self._weight**2, spread, out=np.zeros(self.segments), where=spread > 0.0)

    def _variance(self, arm: int, outcome: int) -> Floats:
        """Variance of a visit's outcome within a day, [segments], shrunk to that of all segments.

        The common variance counts as many visits as bring ``_PRIOR_EVENTS`` events: for a rare event of rate p
        these are about 5 / p, since it takes events to see how variable they are.
        """
        within, freedom = self._within[arm, outcome], self._freedom[arm]
        common = float(within.sum() / (freedom.sum() or 1.0))
        level = float(self._totals[arm, outcome].sum() / (self._visits[arm].sum() or 1.0))
        if common == 0.0 or level == 0.0:
            return np.full(self.segments, common)
        prior = _PRIOR_EVENTS * (1.0 + common / level**2)
        return np.asarray((within + prior * common) / (freedom + prior), dtype=np.float64)

    def _utility(self) -> Floats:
        visits, totals = self._visits[0], self._totals[0]
        everywhere = totals.sum(axis=1, keepdims=True) / (visits.sum() or 1.0)
        return np.where(visits > 0.0, totals / np.where(visits > 0.0, visits, 1.0), everywhere)


def _validate(day: SegmentDay, segments: int) -> None:
    by_outcome = (_ARMS, len(OUTCOMES), segments)
    for name, shape in (("visits", (_ARMS, segments)), ("totals", by_outcome), ("squares", by_outcome)):
        value = getattr(day, name)
        if value.shape != shape:
            raise ValueError(f"{name}: shape {value.shape} (must be {shape})")
        if not np.isfinite(value).all():
            raise ValueError(f"{name}: {value[~np.isfinite(value)][0]} (every sum must be finite)")
    if day.visits.min() < 0.0:
        raise ValueError(f"visits: {day.visits.min()} (must be 0 or more)")
    if (day.totals**2 > day.squares * day.visits[:, None] * (1.0 + 1e-9)).any():
        raise ValueError("squares: smaller than totals**2 / visits (must be sums of squares over the same visits)")


def _shrunken(difference: Floats, precision: Floats, sampling_precision: Floats, prior_sd: float) -> Gains:
    """The posterior given each segment's difference, its discounted and its sampling precision, all [segments].

    How far the differences scatter is a matter of how they were sampled: held against discounted precisions, which
    are smaller, they would seem to differ less than they do.
    """
    between, uncertainty = _between(difference, sampling_precision, prior_sd)
    shrinkage = 1.0 / (1.0 + precision * between)
    weights = precision * shrinkage
    shared_variance = 1.0 / (prior_sd**-2 + weights.sum())
    shared = shared_variance * float(weights @ difference)
    mean = shared + (1.0 - shrinkage) * (difference - shared)
    slope = weights * shrinkage * (difference - shared)
    covariance = shared_variance * np.outer(shrinkage, shrinkage)
    covariance[np.diag_indices_from(covariance)] += between * shrinkage + slope**2 * uncertainty
    return Gains(mean, np.sqrt(np.diag(covariance)), covariance)


def _between(difference: Floats, precision: Floats, prior_sd: float) -> tuple[float, float]:
    """The variance between segments and how uncertain it is, as a variance; the prior's and 0 under two segments."""
    compared = precision > 0.0
    count = int(compared.sum())
    if count < 2:
        return prior_sd**2, 0.0
    p, d = precision[compared], difference[compared]
    first, second, third = float(p.sum()), float((p**2).sum()), float((p**3).sum())
    heterogeneity = float(p @ (d - p @ d / first) ** 2)
    scale = float(p @ (first - p)) / first
    moment = (heterogeneity - (count - 1)) / scale
    positive = max(0.0, moment)
    variance = (
        2.0 * (count - 1)
        + 4.0 * scale * positive
        + 2.0 * max(0.0, second - 2.0 * third / first + (second / first) ** 2) * positive**2
    ) / scale**2
    sd = math.sqrt(variance)
    # The normal's upward pull at a truncation point z sds under its mean: phi(z) / Phi(z), by logarithms for large -z.
    z = moment / sd
    pull = math.exp(-0.5 * z * z - 0.5 * math.log(2.0 * math.pi) - float(log_ndtr(z)))
    return moment + sd * pull, variance * max(0.0, 1.0 - pull * (pull + z))
