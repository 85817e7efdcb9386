from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocation.gains import OUTCOMES, Estimate, GainEstimator, Gains, GainSettings, SegmentDay
from simulator.streams import Stream

FOR_EVER = GainSettings(half_life=float("inf"))


def drawn_day(
    stream: Stream, day: int, share: np.ndarray, rates: np.ndarray, gains: np.ndarray, visits: int
) -> SegmentDay:
    """A day of ``visits`` visits a segment, with the channel drawn at ``share`` and outcomes of 0 or 1.

    ``rates`` and ``gains`` are [outcomes, segments].
    """
    segments = share.size
    visit = np.arange(visits * segments)
    segment = visit % segments
    cognitive = stream.uniform(0, day, visit) < share[segment]
    chance = rates[:, segment] + gains[:, segment] * cognitive
    outcomes = stream.uniform(1, day, np.arange(len(OUTCOMES))[:, None], visit) < chance
    return SegmentDay.from_visits(segments, segment, cognitive, outcomes.astype(np.float64))


def planted(
    seed: int, segments: int, visits: int, days: int = 3, given_: GainSettings = FOR_EVER
) -> tuple[Estimate, np.ndarray, np.ndarray]:
    """An experiment with known gains: what was estimated, raw differences and truth, both [outcomes, segments]."""
    stream, g = Stream(seed, "gains"), np.arange(segments)
    rates = np.stack([0.2 + 0.2 * stream.uniform(2, g), 0.01 + 0.01 * stream.uniform(3, g), np.full(segments, 0.3)])
    truth = np.stack(
        [0.03 + 0.02 * stream.normal(4, g), 0.004 * stream.uniform(5, g) - 0.001, 0.1 + 0.05 * stream.normal(6, g)]
    )
    truth = np.clip(truth, -rates, 1.0 - rates)
    estimator, days_seen = GainEstimator(segments, given_), []
    for day in range(days):
        days_seen.append(drawn_day(stream, day, np.full(segments, 0.3), rates, truth, visits))
        estimator.observe(days_seen[-1])
    count = sum(d.visits for d in days_seen)
    means = sum(d.totals for d in days_seen) / count[:, None]
    return estimator.estimate(), means[1] - means[0], truth


def by_outcome(estimate: Estimate) -> tuple[Gains, Gains, Gains]:
    """The three posteriors in the order of ``OUTCOMES``."""
    return estimate.clicks, estimate.conversions, estimate.novelty


@pytest.mark.parametrize(("segments", "visits"), [(5, 150), (30, 150), (30, 600)])
def test_planted_gains_lie_in_their_intervals(segments: int, visits: int) -> None:
    """Over many experiments 95% posterior intervals hold the planted gains about that often, rare outcomes too."""
    held = np.zeros(len(OUTCOMES))
    runs = 24
    for seed in range(runs):
        estimate, _, truth = planted(seed, segments, visits)
        for k, gains in enumerate(by_outcome(estimate)):
            held[k] += np.mean(np.abs(gains.mean - truth[k]) < 1.96 * gains.sd) / runs
    assert (held > 0.91).all()


def test_forgetting_does_not_make_overconfident() -> None:
    """With gains that stay, a short memory still covers them: it only knows less."""
    held = np.zeros(len(OUTCOMES))
    for seed in range(16):
        estimate, _, truth = planted(seed, segments=30, visits=150, days=10, given_=GainSettings(half_life=3.0))
        held += [np.mean(np.abs(g.mean - truth[k]) < 1.96 * g.sd) / 16 for k, g in enumerate(by_outcome(estimate))]
    assert (held > 0.93).all()


def test_shrinkage_beats_raw_differences() -> None:
    """Where segments are noisy, the posterior mean is much nearer to the truth than the difference itself."""
    raw, shrunken = np.zeros(len(OUTCOMES)), np.zeros(len(OUTCOMES))
    for seed in range(12):
        estimate, difference, truth = planted(seed, segments=30, visits=100)
        raw += ((difference - truth) ** 2).sum(axis=1)
        shrunken += [((gains.mean - truth[k]) ** 2).sum() for k, gains in enumerate(by_outcome(estimate))]
    assert (shrunken < 0.8 * raw).all()
    assert shrunken[1] < 0.3 * raw[1]


def exact_day(visits: list[list[float]], means: list[list[float]], variance: float = 0.25) -> SegmentDay:
    """A day with given means [2][segments] of every outcome and the same variance within every group."""
    n, mean = np.array(visits), np.array(means)
    return SegmentDay(n, np.stack([n * mean] * 3, axis=1), np.stack([n * mean**2 + (n - 1) * variance] * 3, axis=1))


def test_without_data_there_is_the_prior() -> None:
    """Before any day gains are 0, their variance large and partly shared, and utility's level is 0."""
    estimate = GainEstimator(3, GainSettings(prior_sd=0.7)).estimate()
    for gains in by_outcome(estimate):
        assert gains.mean.tolist() == [0.0, 0.0, 0.0]
        assert gains.covariance == pytest.approx(0.49 * (np.eye(3) + 1.0))
        assert gains.sd == pytest.approx(np.sqrt(np.diag(gains.covariance)))
    assert not estimate.utility.any()


def test_known_posterior() -> None:
    """With a hundred thousand visits a segment the posterior is the difference, with its textbook variance."""
    estimator = GainEstimator(2, FOR_EVER)
    estimator.observe(exact_day([[1e5, 1e5], [1e5, 1e5]], [[0.2, 0.3], [0.3, 0.1]]))
    gains = estimator.estimate().clicks
    assert gains.mean == pytest.approx([0.1, -0.2], abs=1e-4)
    assert gains.sd == pytest.approx(np.sqrt(2 * 0.25 / 1e5), rel=1e-2)
    assert estimator.estimate().utility[0] == pytest.approx([0.2, 0.3])


def test_unseen_segment_is_like_the_others_but_less_sure() -> None:
    """A segment never compared has the shared mean, and a larger deviation than any that was."""
    estimator = GainEstimator(4, FOR_EVER)
    estimator.observe(exact_day([[500, 500, 500, 0], [500, 500, 500, 40]], [[0.2, 0.2, 0.2, 0], [0.3, 0.25, 0.2, 0.9]]))
    estimate = estimator.estimate()
    assert estimate.clicks.mean[3] == pytest.approx(0.05, abs=1e-3)
    assert estimate.clicks.sd[3] > estimate.clicks.sd[:3].max()
    assert estimate.utility[0, 3] == pytest.approx(0.2)


def test_a_good_day_is_not_a_gain() -> None:
    """Where the share and the level of the day rise together, a gain of nothing stays nothing."""
    estimator = GainEstimator(1, FOR_EVER)
    estimator.observe(exact_day([[9000], [1000]], [[0.1], [0.1]]))
    estimator.observe(exact_day([[1000], [9000]], [[0.6], [0.6]]))
    assert estimator.estimate().clicks.mean == pytest.approx([0.0], abs=1e-12)


def test_no_conversion_is_not_certainty() -> None:
    """A segment in which nobody happened to convert is about as uncertain as its equals."""
    totals, visits = np.array([2.0, 2.0, 0.0, 3.0, 1.0]), np.full((2, 5), 200.0)
    sums = np.broadcast_to(totals, (2, 3, 5))
    estimator = GainEstimator(5, FOR_EVER)
    estimator.observe(SegmentDay(visits, sums, sums))
    sd = estimator.estimate().conversions.sd
    assert sd[2] > 0.5 * sd[1]
    assert sd[2] > 0.002


@pytest.mark.parametrize("outcome", [0.0, 1.0])
def test_outcome_that_never_varied_says_nothing(outcome: float) -> None:
    """As long as all visits brought the same there is no evidence, rather than certainty."""
    visits = np.full((2, 2), 50.0)
    sums = np.full((2, 3, 2), 50.0 * outcome)
    estimator = GainEstimator(2, FOR_EVER)
    estimator.observe(SegmentDay(visits, sums, sums))
    assert estimator.estimate().clicks.sd == pytest.approx(np.sqrt(2.0))


def test_the_past_is_forgotten_by_halves() -> None:
    """After one half-life a day counts half; a gain that turned is followed by who forgets, not by who does not."""
    forgetting, remembering = GainEstimator(1, GainSettings(half_life=1.0)), GainEstimator(1, FOR_EVER)
    for estimator in (forgetting, remembering):
        estimator.observe(exact_day([[1e6], [1e6]], [[0.2], [0.2]]))
        estimator.observe(exact_day([[1e6], [1e6]], [[0.2], [0.5]]))
    assert forgetting.estimate().clicks.mean == pytest.approx([0.2], abs=1e-4)
    assert remembering.estimate().clicks.mean == pytest.approx([0.15], abs=1e-4)
    ratio = forgetting.estimate().clicks.sd[0] / remembering.estimate().clicks.sd[0]
    assert ratio == pytest.approx(np.sqrt(2.0 / 1.5), rel=1e-3)


def test_silence_makes_unsure_again() -> None:
    """Days without visits double the variance every half-life, until the prior is all there is."""
    estimator, silence = GainEstimator(1, GainSettings(half_life=2.0)), exact_day([[0.0], [0.0]], [[0.0], [0.0]])
    estimator.observe(exact_day([[1e5], [1e5]], [[0.2], [0.5]]))
    known = estimator.estimate().clicks
    for _ in range(2):
        estimator.observe(silence)
    assert estimator.estimate().clicks.mean == pytest.approx(known.mean, rel=1e-3)
    assert estimator.estimate().clicks.sd == pytest.approx(np.sqrt(2.0) * known.sd, rel=1e-2)
    for _ in range(100):
        estimator.observe(silence)
    assert estimator.estimate().clicks.mean == pytest.approx([0.0], abs=1e-3)
    assert estimator.estimate().clicks.sd == pytest.approx([np.sqrt(2.0)], rel=1e-3)


@pytest.mark.parametrize(("attitude", "sign"), [("pessimistic", -1), ("neutral", 0), ("optimistic", 1)])
def test_attitude_shifts_belief_and_nothing_else(attitude: str, sign: int) -> None:
    """Clicks are believed at so many deviations from the mean; the posterior itself is the same for all."""
    estimator = GainEstimator(2, GainSettings(attitude=attitude, attitude_sds=1.5))  # type: ignore[arg-type]
    estimator.observe(exact_day([[100, 200], [100, 300]], [[0.2, 0.2], [0.3, 0.5]]))
    estimate = estimator.estimate()
    neutral = GainEstimator(2, GainSettings())
    neutral.observe(exact_day([[100, 200], [100, 300]], [[0.2, 0.2], [0.3, 0.5]]))
    assert estimate.clicks.mean.tolist() == neutral.estimate().clicks.mean.tolist()
    assert estimate.believed_clicks == pytest.approx(estimate.clicks.mean + sign * 1.5 * estimate.clicks.sd)


def test_sums_are_those_of_the_visits() -> None:
    """Sums over visits land in their arm and segment."""
    outcomes = np.array([[1.0, 2.0, 3.0, 0.0], [0.0, 1.0, 0.0, 0.0], [5.0, 0.0, 1.0, 1.0]])
    day = SegmentDay.from_visits(2, np.array([0, 1, 1, 1]), np.array([False, True, True, False]), outcomes)
    assert day.visits.tolist() == [[1.0, 1.0], [0.0, 2.0]]
    assert day.totals[:, 0].tolist() == [[1.0, 0.0], [0.0, 5.0]]
    assert day.squares[:, 0].tolist() == [[1.0, 0.0], [0.0, 13.0]]
    assert day.totals[:, 2].tolist() == [[5.0, 1.0], [0.0, 1.0]]


@settings(max_examples=60, deadline=None)
@given(segments=st.integers(1, 8), seed=st.integers(0, 10_000), days=st.integers(1, 4), share=st.floats(0.0, 1.0))
def test_any_history_gives_a_covariance(segments: int, seed: int, days: int, share: float) -> None:
    """Whatever was seen, the posterior is finite, its covariance positive definite, and segments can be renamed."""
    stream, g = Stream(seed, "any"), np.arange(segments)
    turned = segments - 1 - g
    size = 1 + int(60 * stream.uniform(9))
    rates, gains = 0.5 * stream.uniform(7, np.arange(3)[:, None], g), 0.4 * stream.uniform(8, g) * np.ones((3, 1))
    straight, reversed_ = (GainEstimator(segments, GainSettings()) for _ in range(2))
    for day in range(days):
        seen = drawn_day(stream, day, share * stream.uniform(6, g), rates, gains, size)
        straight.observe(seen)
        reversed_.observe(SegmentDay(seen.visits[:, turned], seen.totals[..., turned], seen.squares[..., turned]))
    for gain, mirrored in zip(by_outcome(straight.estimate()), by_outcome(reversed_.estimate()), strict=True):
        assert np.isfinite(gain.mean).all()
        assert np.linalg.eigvalsh(gain.covariance).min() > 0.0
        assert gain.covariance.tolist() == gain.covariance.T.tolist()
        assert mirrored.mean[turned] == pytest.approx(gain.mean, abs=1e-10)
        assert mirrored.sd[turned] == pytest.approx(gain.sd, rel=1e-8)


def test_one_segment_may_outweigh_all_others() -> None:
    """A segment known beyond comparison does not upset the arithmetic of the others."""
    estimator = GainEstimator(3, FOR_EVER)
    estimator.observe(exact_day([[1e18, 50, 50], [1e18, 50, 50]], [[0.2, 0.2, 0.2], [0.3, 0.4, 0.2]]))
    gains = estimator.estimate().clicks
    assert gains.mean[0] == pytest.approx(0.1)
    assert np.isfinite(gains.covariance).all()
    assert 0.0 < gains.sd[1] < 0.2


@pytest.mark.parametrize(
    ("given_", "named"),
    [
        ({"half_life": 0.0}, "half_life: 0.0"),
        ({"half_life": float("nan")}, "half_life: nan"),
        ({"prior_sd": 0.0}, "prior_sd: 0.0"),
        ({"attitude": "hopeful"}, "attitude: hopeful"),
        ({"attitude_sds": -1.0}, "attitude_sds: -1.0"),
    ],
)
def test_settings_outside_their_range_are_named(given_: dict[str, float], named: str) -> None:
    """A setting that makes no sense is refused by name and value."""
    with pytest.raises(ValueError, match=named):
        GainSettings(**given_)  # type: ignore[arg-type]


def test_sums_that_cannot_be_are_named() -> None:
    """Sums of the wrong shape, not finite, negative or against Cauchy and Schwarz are refused by name."""
    good = exact_day([[10.0], [10.0]], [[0.2], [0.3]])
    estimator = GainEstimator(1, FOR_EVER)
    for changed, named in (
        (replace(good, visits=good.visits[:1]), "visits: shape"),
        (replace(good, totals=good.totals * np.nan), "totals: nan"),
        (replace(good, visits=-good.visits), "visits: -10.0"),
        (replace(good, squares=0.0 * good.squares), "squares: smaller"),
    ):
        with pytest.raises(ValueError, match=named):
            estimator.observe(changed)
    with pytest.raises(ValueError, match="segment: 0 to 3"):
        SegmentDay.from_visits(2, np.array([0, 3]), np.array([True, False]), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="outcomes: shape"):
        SegmentDay.from_visits(2, np.array([0, 1]), np.array([True, False]), np.zeros((2, 2)))
    with pytest.raises(ValueError, match="segments: 0"):
        GainEstimator(0, FOR_EVER)
