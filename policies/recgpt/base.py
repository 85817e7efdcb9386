"""A policy that thinks in tags: what a subclass makes of a user near line becomes the cognitive channel of a visit.

The utility channel is the established ranking. The cognitive channel is retrieved from the tags that are kept of the
user, by towers trained on the log. Both carry one model's estimates of clicks and orders. How tags and explanations
come about, and with which model, is the subclass's business.
"""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from policies.channels import Channel, VisitChannels, order_rates, score_items
from policies.contextual import weighted_sum
from policies.delivery import Deliveries, Freshness
from policies.examples import draw_examples, halves
from policies.features import Tables, logged_features, rank_requests
from policies.language.embedder import Embedder, make_embedder
from policies.language.ledger import Ledger
from policies.language.model import LanguageSettings, load_language
from policies.recgpt.calibration import (
    NEAR_DAYS,
    Calibration,
    Moments,
    design,
    draw_moments,
    fit_calibration,
    uncalibrated,
)
from policies.recgpt.distilled import DistilledParams, Student
from policies.recgpt.memory import ThoughtMemory
from policies.recgpt.moments import requests_at
from policies.recgpt.nearline import RefreshParams, Schedule
from policies.recgpt.retrieval import Match, RetrievalParams, match, retrieve, shortlists
from policies.recgpt.tags import TagVocabulary
from policies.recgpt.towers import Floats32, TowerParams, Towers, fit_towers
from policies.recgpt.wording import Signals
from policies.registry import RegisteredPolicy
from policies.thoughts import NO_TAG, Thoughts
from policies.utility import UtilityParams, fit_blend, fit_tables
from simulator.batches import (
    COGNITIVE,
    DAY_SECONDS,
    NO_ITEM,
    UTILITY,
    Bools,
    Candidates,
    Floats,
    InteractionLog,
    Ints,
    Ints32,
    ObservedCatalog,
    ObservedUsers,
    Requests,
)
from simulator.environment.context import ObservedContext
from simulator.parameters import Parameters
from simulator.population import profile_words
from simulator.serving.transformer import ModelShape
from simulator.snapshots import Arrays, as_array, as_value, prefixed, under
from simulator.streams import Stream

_ALL = 1 << 62
"""More examples than any log has."""


class TagPolicyParams(Parameters):
    """Parameters of every policy that thinks in tags."""

    utility: UtilityParams = UtilityParams()
    towers: TowerParams = TowerParams()
    retrieval: RetrievalParams = RetrievalParams()
    refresh: RefreshParams = RefreshParams()
    language: LanguageSettings = LanguageSettings()
    distilled: DistilledParams = DistilledParams()
    tags: Annotated[int, Field(ge=1, description="tags kept of a user")] = 30
    modifiers: Annotated[
        int, Field(ge=0, description="words of titles that may stand before a category's name in a tag; 0: names alone")
    ] = 0
    constrained: Annotated[bool, Field(description="the model can write valid tags only")] = True
    cognitive: Annotated[int, Field(ge=1, description="cognitive candidates of a visit")] = 20
    explained: Annotated[int, Field(ge=0, description="best cognitive candidates that get an explanation")] = 6
    calibration_visits: Annotated[
        int, Field(ge=0, description="users thought about at a logged visit, to hold clicks against tags")
    ] = 400
    order_prior: Annotated[float, Field(gt=0, description="clicks that pull a category's order rate to the mean")] = (
        50.0
    )
    reasoner: Annotated[
        Literal["lm", "distilled"],
        Field(description="who thinks while serving: the language model, or a student of its answers"),
    ] = "lm"
    distill_users: Annotated[int, Field(ge=1, description="users whose thoughts the student learns from")] = 600
    sample_users: Annotated[int, Field(ge=0, description="users whose last thoughts are written down in words")] = 6


class TagPolicy(RegisteredPolicy):
    """Utility's ranking, and novel items for tags thought up near line; subclasses think.

    A user is thought about when the schedule has it and the user comes: the job of a scheduled day is executed at the
    first visit on or after it, with the context of that day. The history is then still what it was, since only visits
    write to it. So the tags are those of a job run on its day, and users who never come cost nothing.

    Where ``deliveries`` say when jobs are done, the tags that serve are those of the last job done by the moment of the
    visit, thought up with the context and the history of the morning of the day on which that job was begun.

    Attributes:
        deliveries: when jobs of all users are done; None where they are done the moment they are due.
        vocabulary: the valid tags; set by ``prepare``.
        settings: the language model that serves.
        ledger: the account of the model calls since ``begin``; while fitting, ``fit_ledger``.
        fit_ledger: the account of the calls that calibration and distillation took.
        tag_vectors: embedding of each tag's words, float32 [tags, width].
    """

    Params: ClassVar[type[Parameters]] = TagPolicyParams
    two_channels: ClassVar[bool] = True

    vocabulary: TagVocabulary
    ledger: Ledger
    fit_ledger: Ledger

    def __init__(self, params: Any, seed: int) -> None:
        super().__init__(params, seed)
        self.settings: LanguageSettings = params.language
        self.deliveries: Deliveries | None = None
        self._days: list[int] = []

    @abstractmethod
    def prepare(
        self, log: InteractionLog, catalog: ObservedCatalog, users: ObservedUsers, context: ObservedContext
    ) -> None:
        """Get ready to reason: set ``vocabulary``, and ``settings`` where another model than the config's serves.

        Called first in ``fit``, when there is no ledger yet. The log lacks what users did from the moments on at which
        tags will be held against their clicks.
        """

    @abstractmethod
    def reason(self, requests: Requests) -> Thoughts:
        """Fresh thoughts of each request, from its history, its day (days may differ) and its city.

        A request's thoughts depend on that request alone, to the bit. What it costs is entered in ``ledger``.
        """

    @abstractmethod
    def explain(self, requests: Requests, items: Ints32, tags: Ints32, thoughts: Thoughts) -> Ints32:
        """Ids of texts for items that tags brought, -1 where there is none.

        Args:
            requests: starting visits.
            items: int32 [requests, any], NO_ITEM as padding.
            tags: what brought them, int32 as ``items``, NO_TAG as padding.
            thoughts: kept of the requests' users.

        Returns:
            Places in ``explanations()``, int32 as ``items``.
        """

    def model_shape(self) -> ModelShape:
        """Shape of the model whose operations the ledger counts."""
        return load_language(self.settings).shape

    def open_ledger(self) -> None:
        """A new, empty account."""
        self.ledger = Ledger(self.model_shape())

    def embedder(self) -> Embedder:
        """What turns titles and tags into vectors for the towers."""
        return make_embedder(self.settings.embedder, Path(load_language(self.settings).folder))

    def fit(
        self, log: InteractionLog, catalog: ObservedCatalog, users: ObservedUsers, context: ObservedContext
    ) -> None:
        """Fit the utility channel and the towers, think at logged moments, and weigh the clicks that followed.

        As in the utility channel, what one half of the users left is judged by the other half. The moments are drawn
        from the judging half, and the towers do not see what their users did from then on.
        """
        params: TagPolicyParams = self.params
        n = len(users.user)
        counted, judging = halves(n, self.seed)
        moments = draw_moments(log, judging, params.calibration_visits, self.seed, "tags/calibration")
        held_out = self._from_then_on(log, moments, n)
        known = log.where(~held_out, None if log.impressions is None else np.ones(len(log.impressions.user), np.bool_))
        self.prepare(known, catalog, users, context)
        self.open_ledger()
        self.fit_ledger = self.ledger
        self._catalog = catalog
        self._city = users.city
        draw = Stream(self.seed, "tags/samples").uniform(users.user)
        self._sampled = frozenset(users.user[np.argsort(draw, kind="stable")[: params.sample_users]].tolist())
        self._order_rate: Floats = order_rates(log, catalog, params.order_prior)

        half = fit_tables(log.of_users(counted), catalog, users, params.utility, self.seed)
        examples = draw_examples(log.of_users(judging), n, catalog.items, params.utility.training_examples, self.seed)
        blend = fit_blend(logged_features(examples, users, half), examples)
        self.weight: Floats = blend.weight
        self.tables = fit_tables(log, catalog, users, params.utility, self.seed)

        embedder = self.embedder()
        self.tag_vectors: Floats32 = embedder.embed(list(self.vocabulary.texts))
        self._towers: Towers = fit_towers(known, catalog, users, self.vocabulary, embedder, params.towers, self.seed)
        self._short = shortlists(self._towers, params.retrieval.shortlist, catalog.listed < log.end_day)
        self._student: Student | None = None
        if params.reasoner == "distilled":
            sample = draw_moments(log, np.ones(n, np.bool_), params.distill_users, self.seed, "tags/distillation")
            asked = requests_at(log, users, catalog.items, context, sample.user, sample.time)
            self._student = Student.fit(
                asked, self.reason(asked), self.vocabulary, catalog, params.distilled, self.seed
            )
        self._calibration: Calibration = self._calibrate(log, users, context, half, moments, blend.intercept)

    @staticmethod
    def _from_then_on(log: InteractionLog, moments: Moments, users: int) -> Bools:
        """Interactions of the moments' users on their days or later, bool [interactions]."""
        moment = moments.of_users(users)[log.user]
        return (moment >= 0) & (log.time >= np.append(moments.time, 0)[moment])

    def _calibrate(
        self,
        log: InteractionLog,
        users: ObservedUsers,
        context: ObservedContext,
        tables: Tables,
        moments: Moments,
        intercept: float,
    ) -> Calibration:
        """Think at the moments, and fit what was clicked within ``NEAR_DAYS`` to score, tags and towers."""
        n, items = len(users.user), self._catalog.items
        of_user = moments.of_users(n)
        examples = draw_examples(log.of_users(of_user >= 0), n, items, _ALL, self.seed)
        visit_moment = of_user[examples.visit_user]
        age = examples.visit_time - moments.time[visit_moment]
        near = np.flatnonzero((age >= 0) & (age < NEAR_DAYS * DAY_SECONDS))
        place = np.full(len(age), -1, np.int64)
        place[near] = np.arange(len(near))
        chosen = place[examples.visit] >= 0
        visit = place[examples.visit[chosen]]
        if not chosen.any():
            return uncalibrated(intercept)
        score = weighted_sum(logged_features(examples, users, tables)[chosen], self.weight)
        thoughts = self._reason(requests_at(log, users, items, context, moments.user, moments.time))
        asked = requests_at(log, users, items, context, examples.visit_user[near], examples.visit_time[near])
        interests = self._towers.user_codes(asked)
        found = self._match(examples.item[chosen][:, None], thoughts.tags[visit_moment[near]][visit], interests[visit])
        return fit_calibration(design(score, found), examples.clicked[chosen], examples.position[chosen], intercept)

    def _reason(self, requests: Requests) -> Thoughts:
        """Thoughts by whoever thinks while serving."""
        return self.reason(requests) if self._student is None else self._student.thoughts(requests)

    def _match(self, items: Ints32, tags: Ints32, interests: Floats32) -> Match:
        """How items stand to tags and users; see ``retrieval.match``."""
        return match(items, tags, interests, self._towers, self._catalog.category, self.vocabulary.category)

    def begin(self, rows: int) -> None:
        """Forget thoughts, visits and accounts of earlier serving."""
        self.open_ledger()
        self._rows = rows
        self._visits: VisitChannels | None = None
        self._memory = ThoughtMemory(rows)
        self._schedule = Schedule(self.params.refresh, self._city, self.seed)
        self._days = []
        self._executed: dict[int, int] = {}
        self._samples: dict[int, dict[str, Any]] = {}
        self._freshness = Freshness.empty()

    def deliver(self, deliveries: Deliveries | None) -> None:
        """See ``RegisteredPolicy``."""
        self.deliveries = deliveries

    def grants(self, first: int, last: int, context: ObservedContext) -> Iterator[tuple[int, Ints]]:
        """See ``NearLine``."""
        schedule = Schedule(self.params.refresh, self._city, self.seed)
        for day in range(first, last):
            (schedule.begin if day == first else schedule.step)(day, context.until(day))
            yield day, np.flatnonzero(schedule.last == day)

    def refresh(self, day: int, context: ObservedContext) -> None:
        """Schedule the day's jobs for all users of the platform."""
        if self._days:
            self._schedule.step(day, context)
        else:
            self._schedule.begin(day, context)
        self._days.append(day)

    def snapshot(self) -> dict[str, npt.NDArray[Any]]:
        """Thoughts, schedule, accounts and samples; channels are for one visit, and none is under way."""
        arrays = prefixed("memory", self._memory.snapshot()) | prefixed("schedule", self._schedule.snapshot())
        book: dict[str, Any] = {"days": self._days, "executed": self._executed, "samples": self._samples}
        book |= {"freshness": self._freshness.as_dict(), "ledger": self.ledger.snapshot()}
        return arrays | {"book": as_array(book)}

    def restore(self, kept: Arrays) -> None:
        """See ``snapshot``."""
        self._memory.restore(under("memory", kept))
        self._schedule.restore(under("schedule", kept))
        book = as_value(kept["book"])
        self._days, self._executed, self._samples = book["days"], book["executed"], book["samples"]
        self._freshness = Freshness(**book["freshness"])
        self.ledger.restore(book["ledger"])

    def thoughts(self, requests: Requests) -> Thoughts:
        """What is kept of the requests' users, once the jobs that they are due for have been executed."""
        self._think(requests)
        return self._memory.take(requests.row)

    def thought_on(self, requests: Requests) -> Ints:
        """Day whose job gave what is kept of each request's user, -1 before the first one, int64 [requests]."""
        return self._memory.day[requests.row]

    def _think(self, requests: Requests) -> Bools:
        """Execute the jobs of users whose tags are older than what is there to serve them; whose, bool [requests]."""
        if self.deliveries is None:
            scheduled = self._schedule.last[requests.user]
        else:
            scheduled = self.deliveries.day_of(requests.user, requests.time)
        due = self.thought_on(requests) < scheduled
        if not due.any():
            return due
        day = scheduled[due]
        jobs = replace(
            requests,
            row=requests.row[due],
            user=requests.user[due],
            visit=requests.visit[due],
            page=0,
            time=day * DAY_SECONDS,
            day=day,
            city=requests.city[due],
            already=np.zeros((len(day), 0), np.int32),
        )
        thoughts = self._reason(jobs)
        self._memory.keep(jobs.row, day, thoughts)
        for scheduled_day, count in zip(*np.unique(day, return_counts=True), strict=True):
            self._executed[int(scheduled_day)] = self._executed.get(int(scheduled_day), 0) + int(count)
        for n, user in enumerate(jobs.user.tolist()):
            if user in self._sampled:
                self._samples[user] = self._in_words(jobs, n, thoughts)
        return due

    def candidates(self, requests: Requests) -> Candidates:
        """See ``simulator.protocols.Policy``: utility candidates in its order, then cognitive ones by click."""
        params: TagPolicyParams = self.params
        widths = (requests.slots * requests.max_pages, params.cognitive)
        visits = self._visits
        if visits is None or visits.widths != widths:
            visits = self._visits = VisitChannels(self._rows, widths, explained=params.explained > 0)
        if requests.page == 0:
            self._open(requests, visits)
        return visits.page(requests)

    def _open(self, requests: Requests, visits: VisitChannels) -> None:
        """Fill both channels of starting visits."""
        params: TagPolicyParams = self.params
        fresh = self._think(requests)
        thoughts = self._memory.take(requests.row)
        if self.deliveries is not None:
            overdue = self.deliveries.overdue(requests.user, requests.time)
            self._freshness.count(requests.time, self.thought_on(requests), overdue)
        interests = self._towers.user_codes(requests)
        utility, score, _ = rank_requests(
            requests,
            self.tables,
            self.weight,
            visits.widths[UTILITY],
            extra=np.zeros((len(requests), 0), np.int32),
            bonus_row=np.zeros(len(requests), np.int32),
            bonus=np.zeros((1, self._catalog.categories)),
            keep_features=False,
        )
        visits.keep(requests.row, UTILITY, self._estimated(utility, score, thoughts.tags, interests))
        found = retrieve(
            thoughts.tags,
            interests,
            requests.row,
            requests.history.interacted,
            utility,
            self._towers,
            self._short,
            max(params.retrieval.pool, params.cognitive),
            params.retrieval,
        )
        pool = self._estimated(
            found.item, score_items(requests, self.tables, self.weight, found.item), thoughts.tags, interests
        )
        best = np.argsort(np.where(found.item >= 0, -pool.click, np.inf), axis=1, kind="stable")[:, : params.cognitive]
        cognitive, click, conversion, tags = (
            _filled(np.take_along_axis(array, best, axis=1), params.cognitive, padding)
            for array, padding in (
                (found.item, NO_ITEM),
                (pool.click, 0.0),
                (pool.conversion, 0.0),
                (found.tag, NO_TAG),
            )
        )
        explanation = None
        if params.explained:
            first = slice(min(params.explained, params.cognitive))
            explanation = np.full(cognitive.shape, -1, np.int32)
            explanation[:, first] = self.explain(requests, cognitive[:, first], tags[:, first], thoughts)
            self._add_explanations(requests, fresh, cognitive, explanation)
        visits.keep(requests.row, COGNITIVE, Channel(cognitive, click, conversion, explanation))

    def _estimated(self, items: Ints32, score: Floats, tags: Ints32, interests: Floats32) -> Channel:
        """Items with their estimates, 0 on padding."""
        there = items >= 0
        estimate = self._calibration.click(np.where(there, score, 0.0), self._match(items, tags, interests))
        click = np.where(there, estimate, 0.0)
        return Channel(items, click, click * self._order_rate[self._catalog.category[items]])

    def _in_words(self, jobs: Requests, n: int, thoughts: Thoughts) -> dict[str, Any]:
        """What was thought of one user, in words."""
        texts = self.vocabulary.texts

        def named(tags: Ints32) -> list[str]:
            return [texts[tag] for tag in tags.tolist() if tag != NO_TAG]

        chosen = named(thoughts.tags[n])
        parts = [
            {"name": name, "tags": named(tags)}
            for name, tags in zip(thoughts.parts[n], thoughts.proposed[n], strict=False)
        ]
        proposed = dict.fromkeys(tag for part in parts for tag in part["tags"])
        return {
            "user": int(jobs.user[n]),
            "day": int(jobs.day[n]),
            "profile": profile_words(jobs.users, int(jobs.row[n])),
            "context": Signals.of(jobs.context, int(jobs.city[n]), int(jobs.day[n])).line(),
            "parts": parts,
            "chosen": chosen,
            "dropped": [tag for tag in proposed if tag not in chosen],
            "style": thoughts.style[n],
            "explanations": [],
        }

    def _add_explanations(self, requests: Requests, fresh: Bools, items: Ints32, explanation: Ints32) -> None:
        """Write down what sampled users are told at the visit at which they were thought about."""
        for n in np.flatnonzero(fresh):
            sample = self._samples.get(int(requests.user[n]))
            if sample is not None:
                texts = self.explanations()
                sample["explanations"] = [
                    {"item": self._catalog.titles[item], "text": texts[text]}
                    for item, text in zip(items[n].tolist(), explanation[n].tolist(), strict=True)
                    if text >= 0
                ]

    def diary(self) -> dict[str, Any] | None:
        """The account of the plan, the schedule and the jobs executed of it by day, and sampled users in words.

        ``{"ledger": ..., "refreshes": [{"day": ..., counters}], "executed": {day: jobs}, "samples": [{"user", "day",
        "profile", "context", "parts": [{"name", "tags"}], "chosen", "dropped", "style", "explanations": [{"item",
        "text"}]}], "fidelity": ..., "fitting": ...}``; the fidelity is the student's, None without
        one, ``fitting`` the account of the calls that calibration and distillation took. Jobs count for the day they
        were scheduled for, or begun on where there are ``deliveries``; then there is ``freshness`` too (see
        ``Freshness``). None before the first ``refresh``.
        """
        if not self._days:
            return None
        return {
            "ledger": self.ledger.as_dict(),
            "refreshes": [{"day": day, **self._schedule.counters(day)} for day in self._days],
            "executed": {day: self._executed[day] for day in sorted(self._executed)},
            "samples": [self._samples[user] for user in sorted(self._samples)],
            "fidelity": None if self._student is None else self._student.fidelity,
            "fitting": self.fit_ledger.as_dict(),
            **({} if self.deliveries is None else {"freshness": self._freshness.as_dict()}),
        }

    def seconds(self) -> dict[str, float]:
        """Wall seconds in the model since ``begin``, by role."""
        return {role: float(entry["seconds"]) for role, entry in self.ledger.executed().items()}


def _filled(array: Any, width: int, padding: float) -> Any:
    """Rows padded at the end to ``width``."""
    return np.pad(array, [(0, 0), (0, width - array.shape[1])], constant_values=padding)
