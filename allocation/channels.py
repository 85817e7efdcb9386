"""The allocators of experiments: which cognitive candidates are exposed beside utility's, page by page, day by day.

Each speaks ``simulator.protocols.Allocator``. What they weigh are the policy's own estimates; the truth is not here.
The program itself is ``exposure``, the daily split of segments is ``split``, and laying out a page is ``slates``.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from allocation.exposure import ExposureRules, GaveWay, Multipliers, solve_batch
from allocation.gains import GainEstimator, GainSettings, SegmentDay
from allocation.segments import Segments
from allocation.settings import Allocation, ExposureAllocation, FixedAllocation, NoAllocation, SplitChoice
from allocation.slates import displaced, fill_slates, is_cognitive, mean_over, realise
from simulator.batches import COGNITIVE, Candidates, Floats, Ints, Requests, Responses, Slates
from simulator.environment.context import ObservedContext
from simulator.snapshots import Arrays, as_array, as_value, overwrite, prefixed, under
from simulator.streams import Stream

_UNIT = 1_000_000
"""Multipliers are added up as whole millionths: sums of integers do not depend on how users were cut into shards."""

_MOST_BOOKED = 1e6

Bools = npt.NDArray[np.bool_]


class UncalibratedError(ValueError):
    """A policy without click and conversion estimates met an allocation that weighs them."""


class UtilityOnly:
    """No cognitive channel: utility's order, from the top. Also the base of the others."""

    kind = "none"

    def __init__(self, seed: int, learners: Bools) -> None:
        self._learners = learners
        self._draws = Stream(seed, "allocation/exposure")
        self._tallies: dict[int, dict[str, int]] = {}

    def refresh(self, day: int, context: ObservedContext) -> None:
        """Nothing to decide."""

    def observe(self, requests: Requests, slates: Slates, responses: Responses) -> None:
        """Book what the arm's own users were shown; of a feed's page that is not all that was laid out."""
        own = self._learners[requests.row]
        thought = responses.shown[own] & (slates.channel[own] == COGNITIVE)
        self.book(requests, pages=own.sum(), cognitive=thought.sum())

    def allocate(self, requests: Requests, candidates: Candidates) -> Slates:
        """See ``simulator.protocols.Allocator``."""
        click, _ = calibrated(candidates)
        open_to = self.opened(requests)
        chosen = self.choose(requests, candidates, open_to) & is_cognitive(candidates) & open_to[:, None]
        return fill_slates(candidates, click, chosen, requests.slots)

    def opened(self, requests: Requests) -> Bools:
        """Which requests get the cognitive channel at all, bool [requests]."""
        return np.zeros(len(requests), np.bool_)

    def choose(self, requests: Requests, candidates: Candidates, open_to: Bools) -> Bools:
        """Which cognitive candidates to show, bool [requests, candidates]."""
        return np.zeros(candidates.items.shape, np.bool_)

    def book(self, requests: Requests, **amounts: int) -> None:
        """Add to the day's tallies."""
        day = self._tallies.setdefault(int(requests.day[0]), {})
        for name, amount in amounts.items():
            day[name] = day.get(name, 0) + int(amount)

    def diary(self) -> dict[str, Any] | None:
        """What the arm's own users were shown each day, as tallies that add up over shards."""
        return {"kind": self.kind, "tallies": self._tallies}

    def snapshot(self) -> dict[str, npt.NDArray[Any]]:
        """See ``simulator.protocols.Allocator``; likewise in the classes below."""
        return {"tallies": as_array(self._tallies)}

    def restore(self, kept: Arrays) -> None:
        """See ``simulator.protocols.Allocator``; likewise in the classes below."""
        self._tallies = as_value(kept["tallies"])


class Splitting(UtilityOnly):
    """The cognitive channel for a share of each segment's visits; for all visits where no split is asked for.

    Args:
        seed: of the draws.
        split: how shares are decided, or None for everybody.
        segments: of requests.
        learners: rows whose responses may be learned from, bool [rows]: those that the experiment assigned here.
        gpu_seconds: that a visit of each segment costs where ``split`` says nothing, float64 [segments]; None: 0.
    """

    def __init__(
        self,
        seed: int,
        split: SplitChoice | None,
        segments: Segments,
        learners: Bools,
        gpu_seconds: Floats | None = None,
    ) -> None:
        super().__init__(seed, learners)
        self._split = split
        self._segments = segments
        self._coin = Stream(seed, "allocation/split")
        self._days: list[dict[str, Any]] = []
        if split is None:
            return
        # CVXPY takes a second or more to import, and most runs split nothing.
        from allocation.split import SplitProgram, SplitSettings

        rows = len(learners)
        self._share: Floats = np.full(segments.count, split.start)
        stated = split.gpu_seconds_a_visit
        self._gpu_seconds: Floats = np.full(segments.count, stated) if stated or gpu_seconds is None else gpu_seconds
        self._program = SplitProgram(
            segments.count,
            SplitSettings(
                risk_aversion=split.caution,
                conversion_tolerance=split.conversion_tolerance,
                novelty_floor=split.novelty_gain,
                gpu_budget=split.gpu_seconds,
                ramp=split.ramp,
                lower=split.least,
                upper=split.most,
            ),
        )
        self._gains = GainEstimator(
            segments.count, GainSettings(half_life=split.half_life_days, attitude=split.attitude)
        )
        self._segment_of: Ints = np.full(rows, -1)
        self._open: Bools = np.zeros(rows, np.bool_)
        self._brought: Floats = np.zeros((3, rows))
        self._closed: list[tuple[Ints, Bools, Floats]] = []
        self._seen = np.zeros(segments.count)

    def opened(self, requests: Requests) -> Bools:
        """By a draw of the visit against its segment's share; the draw is the same under every share."""
        if self._split is None:
            return np.ones(len(requests), np.bool_)
        if requests.page == 0:
            self._close(requests.row)
            segment = self._segments.of(requests)
            self._segment_of[requests.row] = segment
            self._open[requests.row] = self._coin.uniform(requests.user, requests.visit) < self._share[segment]
        return self._open[requests.row]

    def _close(self, row: Ints) -> None:
        """Book what the last visits of these rows brought, where it may be learned from."""
        row = row[(self._segment_of[row] >= 0) & self._learners[row]]
        self._closed.append((self._segment_of[row], self._open[row], self._brought[:, row]))
        self._brought[:, row] = 0.0
        self._segment_of[row] = -1

    def observe(self, requests: Requests, slates: Slates, responses: Responses) -> None:
        """Add a page to what its visit brought: clicks, orders made at once (none from the cart), novel impressions."""
        super().observe(requests, slates, responses)
        if self._split is None:
            return
        outcomes = (responses.clicked, responses.bought, responses.novel)
        self._brought[:, requests.row] += np.stack([outcome.sum(axis=1) for outcome in outcomes])

    def refresh(self, day: int, context: ObservedContext) -> None:
        """Learn from yesterday and decide today's shares."""
        if self._split is None:
            return
        self._close(np.arange(len(self._learners)))
        segment, cognitive, brought = (np.concatenate(part, axis=-1) for part in zip(*self._closed, strict=True))
        self._closed = []
        from allocation.split import DayInputs  # as in the constructor

        if not self._days:
            self._days.append(self._entry(day, "start", 0.0))
            return
        self._gains.observe(SegmentDay.from_visits(self._segments.count, segment, cognitive, brought))
        self._seen = np.bincount(segment, minlength=self._segments.count).astype(np.float64)
        if len(segment) == 0:  # nothing new was learned, and nobody is expected
            self._days.append(self._entry(day, "no visits", 0.0))
            return
        found = self._gains.estimate()
        answer = self._program.solve(
            DayInputs(
                requests=self._seen,
                click_gain=found.believed_clicks,
                click_covariance=found.clicks.covariance,
                conversion_gain=found.conversions.mean,
                conversion_rate=found.utility[1],
                novelty_gain=found.novelty.mean,
                gpu_seconds=self._gpu_seconds,
                yesterday=self._share,
            )
        )
        self._share = answer.share
        prices = answer.prices
        self._days.append(
            self._entry(day, answer.status, answer.objective)
            | {
                "gain": found.clicks.mean.tolist(),
                "gain_sd": found.clicks.sd.tolist(),
                "gave_way": [str(limit.limit) for limit in answer.gave_way],
                "prices": {
                    "gpu_hour": prices.gpu_hour,
                    "conversion": prices.conversion,
                    "novelty_point": prices.novelty_point,
                },
            }
        )

    def _entry(self, day: int, status: str, objective: float) -> dict[str, Any]:
        return {
            "day": day,
            "status": status,
            "objective": objective,
            "share": self._share.tolist(),
            "visits": self._seen.tolist(),
        }

    def diary(self) -> dict[str, Any] | None:
        """What was exposed and decided each day."""
        diary = super().diary() or {}
        if self._split is not None:
            diary["split"] = {"segments": self._segments.names, "days": self._days}
        return diary

    def snapshot(self) -> dict[str, npt.NDArray[Any]]:
        """The shares and what they rest on, with the visits of the day that is over."""
        arrays = super().snapshot()
        if self._split is None:
            return arrays
        for place, part in enumerate(("closed_segment", "closed_open", "closed_brought")):
            if self._closed:
                arrays[part] = np.concatenate([visits[place] for visits in self._closed], axis=-1)
        arrays |= {name: getattr(self, f"_{name}") for name in ("share", "segment_of", "open", "brought", "seen")}
        return arrays | {"days": as_array(self._days)} | prefixed("gains", self._gains.snapshot())

    def restore(self, kept: Arrays) -> None:
        """See ``snapshot``."""
        super().restore(kept)
        if self._split is None:
            return
        self._closed = []
        if "closed_segment" in kept:
            self._closed = [(kept["closed_segment"], kept["closed_open"], kept["closed_brought"])]
        for name in ("share", "segment_of", "open", "brought", "seen"):
            overwrite(getattr(self, f"_{name}"), kept[name])
        self._days = as_value(kept["days"])
        self._gains.restore(under("gains", kept))


class FixedSlots(Splitting):
    """The best m cognitive candidates on every page."""

    kind = "fixed"

    def __init__(
        self, choice: FixedAllocation, seed: int, segments: Segments, learners: Bools, gpu_seconds: Floats | None
    ) -> None:
        super().__init__(seed, choice.split, segments, learners, gpu_seconds)
        self._slots = choice.slots

    def choose(self, requests: Requests, candidates: Candidates, open_to: Bools) -> Bools:
        """The first m, which are the best."""
        cognitive = is_cognitive(candidates)
        return cognitive & (np.cumsum(cognitive, axis=1) <= self._slots)


class ExposureProgram(Splitting):
    """The quadratic program of each page: the click gain over what is displaced, against concentration and orders."""

    kind = "exposure_qp"

    def __init__(
        self, choice: ExposureAllocation, seed: int, segments: Segments, learners: Bools, gpu_seconds: Floats | None
    ) -> None:
        super().__init__(seed, choice.split, segments, learners, gpu_seconds)
        self._choice = choice
        self._rules = ExposureRules(choice.penalty, 0.0, choice.least, choice.most)
        self._pool: dict[int, list[tuple[int, Floats, Floats]]] = {}
        self._prices: dict[int, Multipliers] = {}

    def choose(self, requests: Requests, candidates: Candidates, open_to: Bools) -> Bools:
        """Solve, or apply yesterday's multipliers, and turn fractions into shown or not."""
        cognitive = is_cognitive(candidates)
        click, conversion = calibrated(candidates)
        other = displaced(candidates, requests.slots, self._choice.most)
        lost_click, lost_conversion = mean_over(click, other), mean_over(conversion, other)
        gain = np.where(cognitive, click - lost_click[:, None], np.nan)
        surplus = conversion - self._choice.conversion_floor * lost_conversion[:, None]
        surplus = np.where(cognitive, surplus, np.nan)
        if self._choice.solver == "threshold":
            return self._by_threshold(requests, gain, surplus, open_to)
        rows = np.flatnonzero(open_to)
        x = np.zeros(gain.shape)
        answer = solve_batch(gain[rows], surplus[rows], self._rules, method=self._choice.solver)
        x[rows] = answer.x
        own = self._learners[requests.row[rows]]
        self._book(requests, answer.conversion[own], answer.pressure[own], answer.gave_way[own] != GaveWay.NONE)
        return realise(x, self._draws.uniform(requests.user, requests.visit, requests.page))

    def _by_threshold(self, requests: Requests, gain: Floats, surplus: Floats, open_to: Bools) -> Bools:
        """1[h > lambda] with the multipliers of the same city's last pool; before the first, alpha = r = 0."""
        chosen = np.zeros(gain.shape, np.bool_)
        for city in np.unique(requests.city):
            prices = self._prices.get(int(city), Multipliers(0.0, 0.0))
            rows = np.flatnonzero((requests.city == city) & open_to)
            answer = solve_batch(gain[rows], surplus[rows], self._rules, method="threshold", multipliers=prices)
            chosen[rows] = answer.x > 0
            own = self._learners[requests.row[rows]]
            count = int(own.sum())
            self._book(
                requests,
                np.full(count, prices.conversion),
                np.full(count, prices.pressure),
                answer.gave_way[own] != GaveWay.NONE,
            )
            pooled = rows[own]
            if requests.page == 0 and len(pooled):
                entry = (len(pooled), gain[pooled].ravel(), surplus[pooled].ravel())
                self._pool.setdefault(int(city), []).append(entry)
        # A page has no room for more than P; the rule itself does not know how many others were let in.
        return chosen & (np.cumsum(chosen, axis=1) <= self._choice.most)

    def refresh(self, day: int, context: ObservedContext) -> None:
        """Price yesterday's pools, for the threshold rule; then the split."""
        for city, parts in sorted(self._pool.items()):
            pages, gain, surplus = _joined(parts)
            there = np.isfinite(gain)
            rules = ExposureRules(self._choice.penalty, 0.0, self._choice.least * pages, self._choice.most * pages)
            answer = solve_batch(gain[there][None], surplus[there][None], rules)
            self._prices[city] = Multipliers(float(answer.conversion[0]), float(answer.pressure[0]))
        self._pool = {}
        super().refresh(day, context)

    def _book(self, requests: Requests, conversion: Floats, pressure: Floats, relaxed: Bools) -> None:
        def whole(prices: Floats) -> int:
            return int(np.rint(np.clip(prices, -_MOST_BOOKED, _MOST_BOOKED) * _UNIT).astype(np.int64).sum())

        self.book(
            requests,
            programs=len(conversion),
            alpha=whole(conversion),
            r=whole(pressure),
            gave_way=int(relaxed.sum()),
        )

    def diary(self) -> dict[str, Any] | None:
        """What was exposed, decided and paid for each day."""
        return (super().diary() or {}) | {"solver": self._choice.solver, "lambda": self._choice.penalty}

    def snapshot(self) -> dict[str, npt.NDArray[Any]]:
        """Prices, and the pools of the day that is over."""
        arrays = super().snapshot()
        arrays["prices"] = as_array(
            {city: (prices.conversion, prices.pressure) for city, prices in self._prices.items()}
        )
        for city, parts in self._pool.items():
            pages, gain, surplus = _joined(parts)
            arrays |= prefixed(f"pool/{city}", {"pages": np.array(pages), "gain": gain, "surplus": surplus})
        return arrays

    def restore(self, kept: Arrays) -> None:
        """See ``snapshot``."""
        super().restore(kept)
        self._prices = {city: Multipliers(*prices) for city, prices in as_value(kept["prices"]).items()}
        pools = under("pool", kept)
        self._pool = {}
        for city in dict.fromkeys(name.partition("/")[0] for name in pools):
            pool = under(city, pools)
            self._pool[int(city)] = [(int(pool["pages"]), pool["gain"], pool["surplus"])]


def _joined(parts: Sequence[tuple[int, Floats, Floats]]) -> tuple[int, Floats, Floats]:
    """Pages of a pool, and the gains and surpluses of their candidates in one row each."""
    pages, gain, surplus = zip(*parts, strict=True)
    return sum(pages), np.concatenate(gain), np.concatenate(surplus)


def calibrated(candidates: Candidates) -> tuple[Floats, Floats]:
    """The estimates of clicks and orders that an allocation weighs.

    Raises:
        UncalibratedError: the policy gives none.
    """
    if candidates.click is None or candidates.conversion is None:
        raise UncalibratedError(
            "arms.*.allocation: the policy has two channels and gives no click and conversion estimates; "
            "fill Candidates.click and Candidates.conversion"
        )
    return candidates.click, candidates.conversion


def join_diaries(diaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One diary of an arm that was played in several pieces, with its daily sums turned into means."""
    sums: dict[int, dict[str, int]] = {}
    for diary in diaries:
        for day, tally in diary["tallies"].items():
            so_far = sums.setdefault(day, {})
            for key, value in tally.items():
                so_far[key] = so_far.get(key, 0) + value
    days = []
    for day, tally in sorted(sums.items()):
        entry = {"day": day, "pages": tally["pages"], "cognitive_a_page": tally["cognitive"] / max(tally["pages"], 1)}
        programs = tally.get("programs", 0)
        if programs:
            entry |= {
                "mean_alpha": tally["alpha"] / _UNIT / programs,
                "mean_r": tally["r"] / _UNIT / programs,
                "gave_way": tally["gave_way"] / programs,
            }
        days.append(entry)
    return {key: value for key, value in diaries[0].items() if key != "tallies"} | {"days": days}


def learns_across_users(choice: Allocation) -> bool:
    """Whether what is seen of one user can change another's pages, so that users must not be cut into shards."""
    if isinstance(choice, NoAllocation):
        return False
    return choice.split is not None or (isinstance(choice, ExposureAllocation) and choice.solver == "threshold")


def build_allocator(
    choice: Allocation, seed: int, cities: Sequence[str], learners: Bools, gpu_seconds: Floats | None = None
) -> UtilityOnly:
    """The allocator that a config asks for; ``gpu_seconds`` are those of a visit of each segment, where known."""
    segments = Segments(tuple(cities))
    if isinstance(choice, FixedAllocation):
        return FixedSlots(choice, seed, segments, learners, gpu_seconds)
    if isinstance(choice, ExposureAllocation):
        return ExposureProgram(choice, seed, segments, learners, gpu_seconds)
    return UtilityOnly(seed, learners)
