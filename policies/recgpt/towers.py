"""Item, tag and user towers: one space in which tags and users find items.

Three towers trained together on logged interactions, as in RecGPT-V1's tag-aware retrieval (report, section on
user-item-tag retrieval): ``L = L_col + a L_tag + (1 - a) L_cate``, each a softmax over the batch. The user tower is
RecGPT-V2's multi-interest one: K learned context codes attend over the history, and an item is held against the
nearest of the K vectors (after Humeau et al. 2020, "Poly-encoders"). Nothing here knows who thinks up the tags.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np
import numpy.typing as npt
import torch
from numba import njit
from pydantic import Field
from torch import nn
from torch.nn import functional

from policies.language.embedder import Embedder
from policies.recgpt.tags import TagVocabulary
from simulator.batches import (
    BUY,
    DAY_SECONDS,
    NO_ITEM,
    Floats,
    InteractionLog,
    Ints,
    Ints32,
    ObservedCatalog,
    ObservedUsers,
    ReadOnlyArrays,
    Requests,
)
from simulator.parameters import Parameters
from simulator.taxonomy import AGE_BANDS, GENDERS, HOUSEHOLDS

Floats32 = npt.NDArray[np.float32]

_KINDS: Final = BUY + 1
"""Codes of interactions, 0 unused."""
_AGE_DAYS: Final = np.array([1.0, 3.0, 7.0, 14.0, 28.0])
"""Bounds of the recency classes, days."""


class TowerParams(Parameters):
    """Parameters of the towers and of their training."""

    width: Annotated[int, Field(ge=2, description="dimensions of the common space")] = 32
    codes: Annotated[int, Field(ge=1, description="context codes, that is interests of a user")] = 4
    history: Annotated[int, Field(ge=1, description="last interactions that the user tower reads")] = 32
    tag_weight: Annotated[
        float, Field(ge=0, le=1, description="a of L_col + a L_tag + (1 - a) L_cate: tags against bare categories")
    ] = 0.5
    temperature: Annotated[float, Field(gt=0, description="of the softmax over cosines")] = 0.15
    examples: Annotated[int, Field(ge=1, description="interactions learned from in an epoch, at most")] = 60_000
    epochs: Annotated[int, Field(ge=0, description="passes over them")] = 4
    batch: Annotated[int, Field(ge=2, description="interactions whose items stand against each other")] = 256
    learning_rate: Annotated[float, Field(gt=0, description="of Adam")] = 0.01
    decay: Annotated[
        float, Field(ge=0, description="of the item ids' own vectors, so that rare items rest on words")
    ] = 3.0


@dataclass(frozen=True)
class Events:
    """Last interactions of some users before some moments, oldest first, padded at the end; [moments, history].

    Attributes:
        item: int32, NO_ITEM as padding.
        kind: int8.
        recency: class of age, int8.
    """

    item: Ints32
    kind: npt.NDArray[np.int8]
    recency: npt.NDArray[np.int8]

    def __len__(self) -> int:
        """Number of moments."""
        return len(self.item)


@dataclass(frozen=True)
class Towers(ReadOnlyArrays):
    """Trained towers; items and tags as unit vectors, users encoded on request.

    Attributes:
        item: float32 [items, width].
        tag: float32 [tags, width].
        codes: context codes, float32 [codes, width].
        kind, recency: what each code adds to the attention on an interaction, float32 [codes, classes].
        gender, age_band, household: vectors whose sum stands in the history as one entry more, float32
            [classes + 1, width]; the last row is "unknown".
        profile: what each code adds to the attention on that entry, float32 [codes].
        output: float32 [width, width].
        history: interactions that are read.
    """

    item: Floats32
    tag: Floats32
    codes: Floats32
    kind: Floats32
    recency: Floats32
    gender: Floats32
    age_band: Floats32
    household: Floats32
    profile: Floats32
    output: Floats32
    history: int

    def user_codes(self, requests: Requests) -> Floats32:
        """The interests of each request's user, unit vectors float32 [requests, codes, width].

        Encoded row by row, so that a user's numbers do not depend on the company. Grows with history x codes x width.
        """
        events = events_of_requests(requests, self.history)
        out = np.empty((len(requests), *self.codes.shape), np.float32)
        users, row = requests.users, requests.row
        _encode(
            events.item,
            events.kind,
            events.recency,
            users.gender[row],
            users.age_band[row],
            users.household[row],
            self.item,
            self.codes,
            self.kind,
            self.recency,
            self.gender,
            self.age_band,
            self.household,
            self.profile,
            self.output,
            out,
        )
        return out


@njit(cache=True)
def _encode(
    event_item: Ints32,
    event_kind: npt.NDArray[np.int8],
    event_recency: npt.NDArray[np.int8],
    gender: Ints32,
    age_band: Ints32,
    household: Ints32,
    item: Floats32,
    codes: Floats32,
    kind: Floats32,
    recency: Floats32,
    gender_vector: Floats32,
    age_vector: Floats32,
    household_vector: Floats32,
    profile: Floats32,
    output: Floats32,
    out: Floats32,
) -> None:
    """Attention of each code over the history and the profile, mapped and scaled to length 1."""
    width = item.shape[1]
    person = np.empty(width)
    mixed = np.empty(width)
    weight = np.empty(event_item.shape[1] + 1)
    for n in range(len(event_item)):
        for d in range(width):
            person[d] = gender_vector[gender[n], d] + age_vector[age_band[n], d] + household_vector[household[n], d]
        size = 0
        while size < event_item.shape[1] and event_item[n, size] >= 0:
            size += 1
        for k in range(len(codes)):
            highest = float(profile[k])
            for d in range(width):
                highest += codes[k, d] * person[d]
            weight[size] = highest
            for j in range(size):
                value = float(kind[k, event_kind[n, j]] + recency[k, event_recency[n, j]])
                for d in range(width):
                    value += codes[k, d] * float(item[event_item[n, j], d])
                weight[j] = value
                highest = max(highest, value)
            total = 0.0
            for j in range(size + 1):
                weight[j] = np.exp(weight[j] - highest)
                total += weight[j]
            for d in range(width):
                mixed[d] = weight[size] / total * person[d]
            for j in range(size):
                share = weight[j] / total
                for d in range(width):
                    mixed[d] += share * item[event_item[n, j], d]
            length = 0.0
            for d in range(width):
                value = 0.0
                for e in range(width):
                    value += output[d, e] * mixed[e]
                out[n, k, d] = value
                length += value * value
            length = max(np.sqrt(length), 1e-12)
            for d in range(width):
                out[n, k, d] /= length


@njit(cache=True)
def _last_events(
    row: Ints,
    time: Ints,
    event_item: Ints32,
    event_kind: npt.NDArray[np.int8],
    event_time: Ints,
    count: Ints,
    bounds: Floats,
    out_item: Ints32,
    out_kind: npt.NDArray[np.int8],
    out_recency: npt.NDArray[np.int8],
) -> None:
    """Unroll ring buffers: the last events of each row, oldest first."""
    length = event_item.shape[1]
    for n in range(len(row)):
        r = row[n]
        for k, m in enumerate(range(max(count[r] - min(length, out_item.shape[1]), 0), count[r])):
            column = m % length
            out_item[n, k] = event_item[r, column]
            out_kind[n, k] = event_kind[r, column]
            age = (time[n] - event_time[r, column]) / DAY_SECONDS
            out_recency[n, k] = np.searchsorted(bounds, age, side="right")


@njit(cache=True)
def _events_before(
    user: Ints,
    time: Ints,
    offset: Ints,
    event_item: Ints32,
    event_kind: npt.NDArray[np.int8],
    event_time: Ints,
    event_known: Ints,
    bounds: Floats,
    out_item: Ints32,
    out_kind: npt.NDArray[np.int8],
    out_recency: npt.NDArray[np.int8],
) -> None:
    """The last events that each moment knows of its user, oldest first, from events by (user, time)."""
    for n in range(len(user)):
        first = offset[user[n]]
        stop = first + np.searchsorted(event_known[first : offset[user[n] + 1]], time[n], side="right")
        for k, m in enumerate(range(max(first, stop - out_item.shape[1]), stop)):
            out_item[n, k] = event_item[m]
            out_kind[n, k] = event_kind[m]
            out_recency[n, k] = np.searchsorted(bounds, (time[n] - event_time[m]) / DAY_SECONDS, side="right")


def _no_events(moments: int, history: int) -> Events:
    shape = (moments, history)
    return Events(np.full(shape, NO_ITEM, np.int32), np.zeros(shape, np.int8), np.zeros(shape, np.int8))


def events_of_requests(requests: Requests, history: int) -> Events:
    """What the user tower reads of each request's history."""
    events = _no_events(len(requests), history)
    ring = requests.history
    _last_events(
        requests.row,
        requests.time,
        ring.item,
        ring.kind,
        ring.time,
        ring.count,
        _AGE_DAYS,
        events.item,
        events.kind,
        events.recency,
    )
    return events


class _LogEvents:
    """The interactions of a log, sorted to be cut at moments."""

    def __init__(self, log: InteractionLog, users: int) -> None:
        order = np.lexsort((log.time, log.user))
        self._offset = np.searchsorted(log.user[order], np.arange(users + 1))
        self._item, self._kind, self._time = log.item[order], log.kind[order], log.time[order]
        self._known = log.known_from[order]

    def before(self, user: Ints, time: Ints, history: int) -> Events:
        """The last events of users before times."""
        events = _no_events(len(user), history)
        _events_before(
            user,
            time,
            self._offset,
            self._item,
            self._kind,
            self._time,
            self._known,
            _AGE_DAYS,
            events.item,
            events.kind,
            events.recency,
        )
        return events


def _profiles(users: ObservedUsers, user: Ints) -> tuple[Ints, Ints, Ints]:
    """Codes of gender, age band and household of some users, the last code for unknown."""

    def codes(declared: Ints32, names: tuple[str, ...]) -> Ints:
        return np.where(declared[user] < 0, len(names), declared[user]).astype(np.int64)

    return codes(users.gender, GENDERS), codes(users.age_band, AGE_BANDS), codes(users.household, HOUSEHOLDS)


def first_meetings(log: InteractionLog) -> Ints:
    """Interactions in which a user met an item for the first time, ascending indices into the log, int64."""
    order = np.lexsort((log.time, log.item, log.user))
    user, item = log.user[order], log.item[order]
    first = np.ones(len(order), np.bool_)
    first[1:] = (user[1:] != user[:-1]) | (item[1:] != item[:-1])
    return np.sort(order[first])


class _Net(nn.Module):
    """The towers while they learn."""

    def __init__(
        self,
        words: Floats32,
        category: Ints32,
        tag_words: Floats32,
        tag_category: Ints32,
        categories: int,
        params: TowerParams,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        width, codes = params.width, params.codes

        def drawn(*shape: int, scale: float) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, generator=generator) * scale)

        projection = torch.randn(words.shape[1], width, generator=generator) * width**-0.5
        self.item_text = nn.Parameter(projection)
        self.tag_text = nn.Parameter(projection.clone())  # the same words begin at the same place
        self.item_id = nn.Parameter(torch.zeros(len(words), width))
        self.category = drawn(categories, width, scale=0.5 * width**-0.5)
        self.codes = drawn(codes, width, scale=1.0)
        self.kind = nn.Parameter(torch.zeros(codes, _KINDS))
        self.recency = nn.Parameter(torch.zeros(codes, len(_AGE_DAYS) + 1))
        self.gender = drawn(len(GENDERS) + 1, width, scale=0.3 * width**-0.5)
        self.age_band = drawn(len(AGE_BANDS) + 1, width, scale=0.3 * width**-0.5)
        self.household = drawn(len(HOUSEHOLDS) + 1, width, scale=0.3 * width**-0.5)
        self.profile = nn.Parameter(torch.zeros(codes))
        self.output = nn.Parameter(torch.eye(width))
        self._words, self._category = torch.from_numpy(words), torch.from_numpy(category.astype(np.int64))
        self._tag_words = torch.from_numpy(tag_words)
        self._tag_category = torch.from_numpy(tag_category.astype(np.int64))

    def items(self) -> torch.Tensor:
        """All item vectors, [items, width]."""
        vector = self._words @ self.item_text + self.item_id + self.category[self._category]
        return functional.normalize(vector, dim=-1)

    def tags(self, tag: torch.Tensor | slice) -> torch.Tensor:
        """Vectors of some tags, [tags, width]."""
        vector = self._tag_words[tag] @ self.tag_text + self.category[self._tag_category[tag]]
        return functional.normalize(vector, dim=-1)

    def users(self, events: Events, profile: tuple[Ints, Ints, Ints], item: torch.Tensor) -> torch.Tensor:
        """Interests of users, [users, codes, width]."""
        index = torch.from_numpy(np.maximum(events.item, 0).astype(np.int64))
        there = torch.from_numpy(events.item != NO_ITEM)
        gender, age_band, household = (torch.from_numpy(codes) for codes in profile)
        person = self.gender[gender] + self.age_band[age_band] + self.household[household]
        value = item[index]
        on_event = value @ self.codes.T
        on_event = on_event + self.kind.T[torch.from_numpy(events.kind.astype(np.int64))]
        on_event = on_event + self.recency.T[torch.from_numpy(events.recency.astype(np.int64))]
        on_event = on_event.masked_fill(~there[:, :, None], -torch.inf)
        on_person = person @ self.codes.T + self.profile
        weight = torch.softmax(torch.cat([on_event, on_person[:, None]], dim=1), dim=1)
        mixed = torch.einsum("nhk,nhd->nkd", weight, torch.cat([value, person[:, None]], dim=1))
        return functional.normalize(mixed @ self.output.T, dim=-1)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums come out the same on any machine only if one thread makes them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fit_towers(
    log: InteractionLog,
    catalog: ObservedCatalog,
    users: ObservedUsers,
    vocabulary: TagVocabulary,
    embedder: Embedder,
    params: TowerParams,
    seed: int,
) -> Towers:
    """Train the towers on first meetings of users and items, each with the history before its day.

    Meetings again are left out, since they would teach the user tower to find what the history holds. Items of a
    batch are each other's negatives, less those that are as right as the target: the same item, or one of the same
    tag or category where tags and categories ask. What a batch holds too often by popularity is taken off the logits
    (the logQ correction of Yi et al. 2019). The cost grows with examples x (batch + history) x width.

    Args:
        log: what was done.
        catalog: titles and categories.
        users: profiles, row = user id.
        vocabulary: the tags.
        embedder: turns titles and tags into vectors.
        params: of the towers.
        seed: of initial weights and of the order of examples.
    """
    generator = torch.Generator().manual_seed(seed % (1 << 63))
    net = _Net(
        embedder.embed(catalog.titles),
        catalog.category,
        embedder.embed(vocabulary.texts),
        vocabulary.category,
        catalog.categories,
        params,
        generator,
    )
    with _one_thread():
        _train(net, log, catalog, users, vocabulary, params, generator)
        return _towers_of(net, params.history)


_KEPT: Final = ("codes", "kind", "recency", "gender", "age_band", "household", "profile", "output")


def _towers_of(net: _Net, history: int) -> Towers:
    """What serving needs of a network."""
    with torch.no_grad():
        item, tag = net.items().numpy(), net.tags(slice(None)).numpy()
    weights = {name: getattr(net, name).detach().numpy().copy() for name in _KEPT}
    return Towers(item=item, tag=tag, history=history, **weights)


def _train(
    net: _Net,
    log: InteractionLog,
    catalog: ObservedCatalog,
    users: ObservedUsers,
    vocabulary: TagVocabulary,
    params: TowerParams,
    generator: torch.Generator,
) -> None:
    """Minimise the joint loss over first meetings."""
    meetings = first_meetings(log)
    if len(meetings) < 2:
        return
    past = _LogEvents(log, len(users.user))
    log_q = np.log(np.maximum(np.bincount(log.item[meetings], minlength=catalog.items), 1) / len(meetings))
    of_item, core = vocabulary.of_item.astype(np.int64), vocabulary.core_tag.astype(np.int64)
    rest = [parameter for name, parameter in net.named_parameters() if name != "item_id"]
    optimizer = torch.optim.AdamW(
        [{"params": rest, "weight_decay": 0.0}, {"params": [net.item_id], "weight_decay": params.decay}],
        lr=params.learning_rate,
    )
    for _ in range(params.epochs):
        shuffled = meetings[torch.randperm(len(meetings), generator=generator).numpy()][: params.examples]
        for begin in range(0, len(shuffled), params.batch):
            chosen = shuffled[begin : begin + params.batch]
            user, item, day = log.user[chosen], log.item[chosen], log.time[chosen] // DAY_SECONDS
            events = past.before(user, day * DAY_SECONDS, params.history)
            vectors = net.items()
            target = vectors[torch.from_numpy(item.astype(np.int64))]
            interests = net.users(events, _profiles(users, user), vectors)
            tag, category = of_item[item], catalog.category[item]
            by_user = (interests.flatten(0, 1) @ target.T).view(len(chosen), -1, len(chosen)).amax(dim=1)
            by_tag = net.tags(torch.from_numpy(tag)) @ target.T
            by_category = net.tags(torch.from_numpy(core[category])) @ target.T
            popular = torch.from_numpy(log_q[item].astype(np.float32))
            a = params.tag_weight
            loss = (
                _softmax_loss(by_user, item, popular, params.temperature)
                + a * _softmax_loss(by_tag, tag, popular, params.temperature)
                + (1 - a) * _softmax_loss(by_category, category, popular, params.temperature)
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def _softmax_loss(
    cosine: torch.Tensor, key: npt.NDArray[np.integer], popular: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Mean cross-entropy of each row's own column against those whose key differs."""
    alike = torch.from_numpy(key[:, None] == key[None, :])
    alike.fill_diagonal_(False)
    logits = (cosine / temperature - popular).masked_fill(alike, -torch.inf)
    return functional.cross_entropy(logits, torch.arange(len(key)))
