"""Lessons: prompts about users of a log with the answers that what they did next supports.

One lesson is a shopper on a morning: the profile and history that every call begins with, and the tasks that follow
it (routes, planner, experts, arbiter, interest mining, style, explanation; RecGPT-V2 report, section on training the
experts: 15 tags a persona from the next behaviours that match it, topped up). Tags and interests come from logged
behaviour alone: of the user, and of people like the user in the same city on the same days. Explanations do not: which
live signal speaks for an item is read off the taxonomy (``persuasion``), whose weights are those that users of
generated worlds act on and that the world's reader scores texts by.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from policies.recgpt.tags import TagVocabulary
from policies.recgpt.wording import (
    EVERYDAY,
    HISTORY_EVENTS,
    ROUTES,
    STOP,
    Signals,
    Text,
    arbiter_task,
    expert_task,
    explanation_task,
    history_text,
    interests_task,
    listed,
    persona_text,
    personas_answer,
    planner_task,
    prefix_text,
    route_task,
    style_task,
)
from policies.training.evidence import Evidence
from policies.training.persuasion import explanation, style_of
from simulator.batches import DAY_SECONDS, Floats, Ints
from simulator.population import profile_words
from simulator.taxonomy import WEATHER_SIGNALS, Taxonomy

ROUTE_TAGS: Final = 10
EXPERT_TAGS: Final = 15
INTERESTS: Final = 10
SOON_DAYS: Final = 7
LATER_DAYS: Final = 30
LIKE_CLICKS: Final = 80
SHORT_HISTORIES: Final = 0.35
"""Share of lessons whose history is cut to a few events, so that profile words are not ignored."""
_OWN_SOON, _OWN_LATER, _OWN_PAST, _LIKE = 6.0, 2.0, 1.5, 1.0


@dataclass(frozen=True)
class Task:
    """One call: what kind, what follows the lesson's prefix (or stands alone), and the answer."""

    kind: str
    prompt: Text
    answer: str


@dataclass(frozen=True)
class Lesson:
    """Calls about one shopper: those that share the prefix, and those that stand alone."""

    prefix: Text
    tasks: tuple[Task, ...]
    alone: tuple[Task, ...] = ()


@dataclass(frozen=True)
class Themes:
    """What personas are about: groups of categories with names.

    Attributes:
        of: theme of each category, int64 [categories].
        names: of the themes.
    """

    of: Ints
    names: tuple[str, ...]


@dataclass(frozen=True)
class Moment:
    """A user on a morning, with how strongly the log speaks for each category.

    Attributes:
        user, day, city: who, when, where.
        history: items, kinds and times before that morning.
        own: weight of each category in what the user did next and before, float64 [categories].
        like: weight of each category among people alike, float64 [categories].
        explained: share that weather, occasions and trends explain, float64 [3, categories].
        tag: the tag with which each category was met, int64 [categories].
    """

    user: int
    day: int
    city: int
    history: tuple[Ints, Ints, Ints]
    own: Floats
    like: Floats
    explained: Floats
    tag: Ints

    @property
    def score(self) -> Floats:
        """Everything together."""
        return self.own + self.like


def themes_of(evidence: Evidence, most: int = 24) -> Themes:
    """Departments, or groups of categories bought by the same people where departments say nothing.

    The groups are k-means clusters of the categories' latent factors, named by their two most frequent categories.
    """
    catalog = evidence.catalog
    departments = int(catalog.department.max()) + 1
    if departments * 2 <= catalog.categories:
        return Themes(catalog.department.astype(np.int64), tuple(catalog.department_names))
    from scipy.cluster.vq import kmeans2
    from scipy.sparse import csr_matrix
    from scipy.sparse.linalg import svds

    log = evidence.log
    category = catalog.category[log.item]
    met = csr_matrix(
        (np.ones(len(category)), (log.user, category)), shape=(len(evidence.users.user), catalog.categories)
    )
    count = np.asarray(met.sum(axis=0)).ravel()
    met.data[:] = 1.0
    scaled = met.multiply(1.0 / np.sqrt(count + 1.0)).tocsr()
    rank = max(min(16, catalog.categories - 2, len(evidence.users.user) - 1), 1)
    _, _, factors = svds(scaled, k=rank, v0=np.ones(min(scaled.shape)), solver="arpack")
    groups = min(most, catalog.categories)
    _, of = kmeans2(factors.T, groups, seed=0, minit="++")
    names = []
    for group in range(groups):
        inside = np.flatnonzero(of == group)
        best = inside[np.argsort(-count[inside], kind="stable")[:2]]
        names.append(" and ".join(catalog.category_names[c] for c in best) or "nothing")
    return Themes(of.astype(np.int64), tuple(names))


class Teacher:
    """Writes lessons from a log.

    Args:
        evidence: the log.
        vocabulary: the tags of its catalogue.
        seed: of the choice of moments and of what varies between lessons.
        taxonomy: words from which explanations are written; none are where it is left out.
        most_events: of a history.
    """

    def __init__(
        self,
        evidence: Evidence,
        vocabulary: TagVocabulary,
        seed: int,
        taxonomy: Taxonomy | None = None,
        most_events: int = HISTORY_EVENTS,
    ) -> None:
        self.evidence, self.vocabulary, self.seed = evidence, vocabulary, seed
        self.taxonomy, self.most_events = taxonomy, most_events
        self.themes = themes_of(evidence)
        user, time = evidence.visits
        there = time < (evidence.log.end_day - 1) * DAY_SECONDS
        self._user, self._time = user[there], time[there]

    @property
    def moments(self) -> int:
        """How many moments there are to choose from."""
        return len(self._user)

    def lesson(self, number: int, plain: bool = False) -> Lesson:
        """The lesson of that number, the same whatever else is asked; ``plain`` writes tags without modifiers."""
        rng = np.random.default_rng([self.seed, number])
        pick = int(rng.integers(self.moments))
        moment = self.moment(int(self._user[pick]), int(self._time[pick] // DAY_SECONDS), rng)
        if plain:
            moment = replace(moment, tag=self.vocabulary.core_tag.astype(np.int64))
        return self._lesson(moment, rng)

    def drawn_visits(self, count: int) -> tuple[Ints, Ints]:
        """Visits to be judged on: users and times, from the last quarter of the log."""
        late = np.flatnonzero(self._time >= 0.75 * self.evidence.log.end_day * DAY_SECONDS)
        chosen = np.random.default_rng([self.seed, 2**31]).permutation(late)[:count]
        return self._user[chosen], self._time[chosen]

    def moment(self, user: int, day: int, rng: np.random.Generator) -> Moment:
        """What the log says of a user on a morning."""
        evidence, category = self.evidence, self.evidence.category
        city, time = int(evidence.users.city[user]), day * DAY_SECONDS
        most = self.most_events
        if rng.random() < SHORT_HISTORIES:
            most = int(rng.integers(0, 4))
        history = evidence.before(user, time, self.most_events)
        soon = evidence.after(user, time, SOON_DAYS)
        later = evidence.after(user, time, LATER_DAYS)
        likes = evidence.likes(user, day, 2, LIKE_CLICKS, rng)
        categories = evidence.catalog.categories
        tag = self.vocabulary.core_tag.astype(np.int64).copy()
        of_item = self.vocabulary.of_item.astype(np.int64)
        for items in (likes.item[::-1], history[0], later[::-1]):
            tag[category[items]] = of_item[items]
        own = np.zeros(categories)
        fade = 0.9 ** np.arange(len(soon))
        np.add.at(own, category[soon], _OWN_SOON * fade)
        np.add.at(own, category[later], _OWN_LATER)
        np.add.at(own, category[history[0]], _OWN_PAST * 0.97 ** np.arange(len(history[0]))[::-1])
        like = np.zeros(categories)
        np.add.at(like, category[likes.item], _LIKE * likes.weight)
        told = tuple(part[max(len(part) - most, 0) :] if most else part[:0] for part in history)
        return Moment(user, day, city, told, own, like, evidence.explained(city, day), tag)  # type: ignore[arg-type]

    def _lesson(self, moment: Moment, rng: np.random.Generator) -> Lesson:
        evidence = self.evidence
        profile = profile_words(evidence.users, moment.user)
        signals = Signals.of(evidence.context, moment.city, moment.day)
        tasks = [self._route(route, number, moment, signals) for number, route in enumerate(ROUTES)]
        free = rng.random() < 0.3
        personas, planned = self._personas(moment, free, rng)
        asked = None if free else len(personas)
        tasks.append(Task("planner", (planner_task(signals, asked),), personas_answer(personas)))
        experts = [
            self._expert(profile, persona, found, moment) for persona, found in zip(personas, planned, strict=True)
        ]
        tasks.append(self._arbiter(moment, signals, planned, rng))
        tasks.append(Task("interests", (interests_task(),), listed(self._interests(moment))))
        style, said = self._said(moment, signals, rng)
        tasks += style
        keep = [task for task in tasks if task.kind in ("planner", "arbiter", "interests") or rng.random() < 0.75]
        keep = [keep[k] for k in rng.permutation(len(keep))]  # what a row has no room for is dropped from the end
        alone = tuple(task for task in (*experts, *said) if rng.random() < 0.6)
        return Lesson(prefix_text(profile, history_text(*moment.history, moment.day)), tuple(keep), alone)

    def _said(self, moment: Moment, signals: Signals, rng: np.random.Generator) -> tuple[list[Task], list[Task]]:
        """The style in which to speak to the user, and explanations of two items in that style."""
        taxonomy, evidence = self.taxonomy, self.evidence
        if taxonomy is None:
            return [], []
        users, context = evidence.users, evidence.context
        near = np.flatnonzero(context.days_until[moment.day] <= context.lead_days)
        nearest = near[np.argmin(context.days_until[moment.day, near])] if len(near) else -1
        style = style_of(
            int(users.gender[moment.user]),
            int(users.age_band[moment.user]),
            int(users.household[moment.user]),
            signals.season,
            context.occasion_titles[nearest] if nearest >= 0 else "",
            float(rng.uniform(1e-9, 1)),
        )
        said = []
        wanted = np.argsort(-moment.score, kind="stable")[:20]
        for category in rng.choice(wanted, 2, replace=False):
            inside = np.flatnonzero(evidence.category == category)
            if len(inside) == 0:
                continue
            item = int(rng.choice(inside))
            text = explanation(
                evidence.catalog.titles[item],
                int(category),
                style,
                signals.weather,
                signals.occasions,
                signals.trends,
                taxonomy,
                float(rng.uniform(1e-9, 1)),
            )
            said.append(Task("explain", explanation_task(style, signals, item), f" {text}{STOP}"))
        return [Task("style", (style_task(signals),), f" {style}{STOP}")], said

    def _interests(self, moment: Moment) -> list[str]:
        """Categories of the history that is told, the most and latest met first: what mining should find in it."""
        category = self.evidence.category[moment.history[0]]
        weight = np.zeros(self.evidence.catalog.categories)
        np.add.at(weight, category, 0.97 ** np.arange(len(category))[::-1])
        return [self.evidence.catalog.category_names[c] for c in _best(weight, INTERESTS)]

    def _listed(self, ranked: Ints, moment: Moment) -> str:
        return listed([self.vocabulary.texts[moment.tag[c]] for c in ranked])

    def _route(self, route: str, number: int, moment: Moment, signals: Signals) -> Task:
        """Tags of one route: what its own signal explains of behaviour, or habits."""
        if number == 0:
            score = moment.own + 0.25 * moment.like
        else:
            share = moment.explained[number - 1]
            score = (0.1 * moment.own + moment.like) * (share + 0.01)
        ranked = _best(score, ROUTE_TAGS)
        return Task(f"route/{route}", (route_task(route, signals),), self._listed(ranked, moment))

    def _personas(self, moment: Moment, free: bool, rng: np.random.Generator) -> tuple[list[str], list[Ints]]:
        """Personas, most telling first, and the categories that each stands for, best first.

        Where the planner is free there are as many as it takes to cover most of the score, else some number is asked.
        """
        themes, names = self.themes, self.evidence.catalog.category_names
        score = moment.score
        by_theme = np.bincount(themes.of, np.sqrt(score), minlength=len(themes.names))
        order = np.argsort(-by_theme, kind="stable")
        share = np.cumsum(by_theme[order]) / max(by_theme.sum(), 1e-9)
        enough = int(np.searchsorted(share, 0.6)) + 1
        count = int(rng.choice([1, 2, 3, 4, 5], p=[0.1, 0.15, 0.45, 0.2, 0.1]))
        if free:
            count = min(enough, 5)
        texts, found = [], []
        for theme in order[:count]:
            inside = np.flatnonzero((themes.of == theme) & (score > 0))
            if len(inside) == 0:
                break
            reason, signal = self._reason(moment, inside)
            hints = inside[np.argsort(-(moment.own + 0.01 * moment.like)[inside], kind="stable")[:2]]
            texts.append(persona_text(themes.names[theme], reason, [names[c] for c in hints]))
            outside = moment.like * (0.02 if signal < 0 else 0.02 + 0.7 * moment.explained[signal])
            found.append(_best(np.where(themes.of == theme, score, outside), EXPERT_TAGS))
        return texts, found

    def _reason(self, moment: Moment, inside: Ints) -> tuple[str, int]:
        """Why a theme now: the signal that explains most of it, in words, and its number (-1: none)."""
        weight = moment.score[inside]
        share = moment.explained[:, inside] @ weight / max(weight.sum(), 1e-9)
        signal = int(np.argmax(share))
        if share[signal] < 0.12:
            return EVERYDAY, -1
        which = self.evidence.strongest(signal, moment.city, moment.day, inside)
        if which < 0:
            return EVERYDAY, -1
        context = self.evidence.context
        names: Sequence[str] = (WEATHER_SIGNALS, context.occasion_titles, context.topic_names)[signal]
        return names[which], signal

    def _expert(self, profile: str, persona: str, ranked: Ints, moment: Moment) -> Task:
        return Task("expert", (expert_task(profile, persona),), self._listed(ranked, moment))

    def _arbiter(self, moment: Moment, signals: Signals, planned: list[Ints], rng: np.random.Generator) -> Task:
        """Of what experts proposed, and some that nobody asked for, the ones that the user did next come first."""
        proposed = list(dict.fromkeys(int(c) for ranked in planned for c in ranked))
        noise = rng.integers(0, len(moment.own), max(2, len(proposed) // 4))
        proposed = list(dict.fromkeys([*proposed, *noise.tolist()]))
        union = np.array(proposed)
        order = rng.permutation(len(union)) if rng.random() < 0.5 else np.arange(len(union))
        union = union[order]
        wanted = min(int(rng.choice([5, 8, 10, 15, 20, 30])), len(union))
        ranked = union[np.argsort(-moment.score[union], kind="stable")[:wanted]]
        texts = self.vocabulary.texts
        told = [texts[moment.tag[c]] for c in union]
        return Task("arbiter", (arbiter_task(signals, told, wanted),), self._listed(ranked, moment))


def _best(score: Floats, most: int) -> Ints:
    """Categories by descending score, those without any left out."""
    order = np.argsort(-score, kind="stable")[:most]
    return order[score[order] > 0]
