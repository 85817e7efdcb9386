import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import Qwen3Config, Qwen3ForCausalLM

from policies.language.asking import Decoding, Prompt
from policies.language.constraint import ListConstraint, Trie
from policies.language.errors import LanguageError
from policies.language.generation import Generator
from policies.language.ledger import Ledger
from policies.language.model import Language, LanguageSettings, load_language
from policies.language.prompt_cache import PromptCache
from policies.language.soft_tokens import SoftVocabulary
from simulator.streams import Stream

WORDS = 300
QUICK = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TOKENS = st.integers(0, WORDS - 1)
PREFIX = st.integers(0, 150).flatmap(lambda n: st.integers(0, 2**31).map(lambda seed: _drawn(seed, n)))
SUFFIX = st.integers(1, 40).flatmap(lambda n: st.integers(0, 2**31).map(lambda seed: _drawn(seed, n)))


def _drawn(seed: int, count: int) -> tuple[int, ...]:
    return tuple(np.random.default_rng(seed).integers(0, WORDS, count).tolist())


def _generator(language: Language, **given: Any) -> Generator:
    return Generator(language, Ledger(language.shape), **given)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _plainly(language: Language, prompt: Prompt, most: int, stop: tuple[int, ...]) -> tuple[int, ...]:
    """The greedy answer without padding, cache or batch: the whole text is read again for every token."""
    ids, answer = [*prompt.prefix, *prompt.suffix], []
    with torch.inference_mode():
        while len(answer) < most:
            token = int(language.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
            if token in stop:
                break
            answer.append(token)
            ids.append(token)
    return tuple(answer)


class _Kept(dict[bytes, tuple[int, ...]]):
    """A cache in memory."""

    def get_many(self, keys: Sequence[bytes]) -> Mapping[bytes, tuple[int, ...]]:
        return {key: self[key] for key in keys if key in self}

    def put_many(self, answers: Mapping[bytes, tuple[int, ...]]) -> None:
        self.update(answers)


class _Model:
    """A model that notes what it is asked and may refuse: its rows, and whether they were prefixes."""

    def __init__(self, model: Any, most_rows: int = 10**9) -> None:
        self._model = model
        self.most_rows = most_rows
        self.read: list[tuple[bool, int, int]] = []
        self.logits: list[torch.Tensor] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, **given: Any) -> Any:
        ids = given.get("input_ids", given.get("inputs_embeds"))
        if len(ids) > self.most_rows:
            raise torch.cuda.OutOfMemoryError("out of memory")
        output = self._model(**given)
        self.read.append((given["attention_mask"] is None, *ids.shape[:2]))
        if given["attention_mask"] is not None:
            self.logits.append(output.logits[:, -1].clone())
        return output


def _watched(language: Language, most_rows: int = 10**9) -> tuple[Language, _Model]:
    model: Any = _Model(language.model, most_rows)
    return replace(language, model=model), model


def _mixed(count: int, seed: int = 0) -> list[Prompt]:
    """Prompts of many lengths, some of them with prefixes in common, some with none."""
    rng = np.random.default_rng(seed)
    prefixes = [_drawn(seed + k, int(rng.integers(0, 200))) for k in range(max(count // 3, 1))]
    prefixes[0] = ()
    return [Prompt(prefixes[k % len(prefixes)], _drawn(900 + k, int(rng.integers(1, 40)))) for k in range(count)]


@given(PREFIX, SUFFIX)
@QUICK
def test_an_answer_is_what_plain_reading_gives(
    tiny_language: Language, prefix: tuple[int, ...], suffix: tuple[int, ...]
) -> None:
    """Padding, the cache and the cut between prefix and suffix must not change a greedy answer."""
    stop = (tiny_language.newline, 7, 8, 9)
    prompt = Prompt(prefix, suffix)
    found = _generator(tiny_language).complete([prompt], Decoding(8, stop), "role")
    assert found == [_plainly(tiny_language, prompt, 8, stop)]


def test_sliding_layers_look_back_as_far_as_they_should(tiny_language: Language) -> None:
    """A model with sliding windows must answer as in plain reading, whatever padding stands between."""
    config = Qwen3Config.from_dict(
        tiny_language.model.config.to_dict()
        | {"use_sliding_window": True, "sliding_window": 20, "layer_types": None, "max_window_layers": 1}
    )
    assert "sliding_attention" in config.layer_types
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = Qwen3ForCausalLM(config).eval().requires_grad_(False)
    language = replace(tiny_language, model=model)
    prompts = _mixed(8)
    found = _generator(language).complete(prompts, Decoding(10, (7,)), "role")
    assert found == [_plainly(language, prompt, 10, (7,)) for prompt in prompts]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_an_answer_does_not_depend_on_what_else_is_asked(tiny_language: Language, temperature: float) -> None:
    """Alone, together, in another order, in other batches and on 1 or 2 threads answers must be the same."""
    prompts = _mixed(24)
    draws = np.arange(24) * 7
    decoding = Decoding(10, tuple(range(0, 400, 23)), temperature=temperature, stream=Stream(1, "words"))
    with _threads(2):
        together = _generator(tiny_language).complete(prompts, decoding, "role", draws)
    assert len({len(answer) for answer in together}) > 3
    order = np.random.default_rng(2).permutation(24)
    with _threads(1):
        shuffled = _generator(tiny_language, batch=11).complete(
            [prompts[k] for k in order], decoding, "role", draws[order]
        )
        alone = [
            _generator(tiny_language).complete([prompt], decoding, "role", [draw])[0]
            for prompt, draw in zip(prompts[:8], draws, strict=False)
        ]
    assert [together[k] for k in order] == shuffled
    assert together[:8] == alone


@pytest.mark.parametrize("rows", [2, 17, 33])
def test_not_a_bit_depends_on_the_other_rows(tiny_language: Language, rows: int) -> None:
    """The logits of a prompt must have the same bits alone and among others, on 1 and 2 threads."""
    prompts = sorted((Prompt(_drawn(k, 70 + k), _drawn(k, 1 + k % 16)) for k in range(rows)), key=lambda p: p.prefix)
    prompts = [prompt for prompt in prompts if len(prompt.prefix) <= 128]
    language, model = _watched(tiny_language)
    with _threads(2):
        _generator(language).complete(prompts, Decoding(6, ()), "role")
    together = model.logits[:6]
    for place in {0, 1, len(prompts) // 2, len(prompts) - 1}:
        model.logits = []
        with _threads(1):
            _generator(language).complete([prompts[place]], Decoding(6, ()), "role")
        for step in range(6):
            assert torch.equal(model.logits[step][0], together[step][place])


def test_a_shared_prefix_is_read_once(tiny_language: Language) -> None:
    """Equal prefixes must be read once, in a call and over calls, and give what reading each gives."""
    prefixes = [_drawn(1, 90), _drawn(2, 100)]
    prompts = [Prompt(prefix, _drawn(k, 5 + 9 * k)) for prefix in prefixes for k in range(4)]
    language, model = _watched(tiny_language)
    generator = _generator(language)
    together = generator.complete(prompts, Decoding(5, ()), "role")
    assert [read for read in model.read if read[0]] == [(True, 2, 128)]
    later = generator.complete([Prompt(prefixes[0], _drawn(99, 3))], Decoding(5, ()), "other role")
    assert sum(read[0] for read in model.read) == 1
    apart = [_generator(tiny_language).complete([prompt], Decoding(5, ()), "role")[0] for prompt in prompts]
    assert together == apart
    generator.forget()
    assert generator.complete([Prompt(prefixes[0], _drawn(99, 3))], Decoding(5, ()), "role") == later
    assert sum(read[0] for read in model.read) == 2


def test_memory_for_prefixes_is_bounded(tiny_language: Language, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys and values that do not fit must be let go, those used longest ago first, without changing answers."""
    language, model = _watched(tiny_language)
    bytes_each = 2 * 3 * 2 * 64 * 16 * 4
    monkeypatch.setattr("policies.language.generation.KEPT_BYTES", 2 * bytes_each)
    generator = _generator(language)
    prompts = [Prompt(_drawn(k, 40), (1, 2)) for k in range(3)]
    answers = [generator.complete([prompt], Decoding(3, ()), "role") for prompt in prompts]
    read = len(model.read)
    again = [generator.complete([prompt], Decoding(3, ()), "role") for prompt in reversed(prompts)]
    assert again == answers[::-1]
    assert sum(prefix for prefix, *_ in model.read[read:]) == 1


def test_rows_that_have_ended_stop_costing(tiny_language: Language) -> None:
    """Once half of a batch has ended the steps that follow must compute fewer rows."""
    trie = Trie([(k,) for k in range(20)])
    short, long = ListConstraint(trie, 50, 51, most=1), ListConstraint(trie, 50, 51, most=12, least=12)
    language, model = _watched(tiny_language)
    prompts = [Prompt((), _drawn(k, 10)) for k in range(48)]
    grammars = [long if k % 6 == 0 else short for k in range(48)]
    answers = _generator(language).complete(prompts, Decoding(40, (), grammars), "role")
    assert [len(answer) for answer in answers] == [23 if k % 6 == 0 else 1 for k in range(48)]
    assert [rows for _, rows, _ in model.read] == [48, 48] + [16] * 22


@given(st.integers(0, 2**31), st.booleans(), st.integers(1, 25))
@QUICK
def test_a_grammar_is_kept(tiny_language: Language, seed: int, grouped: bool, most_tokens: int) -> None:
    """Answers must list entries of the trie, none twice, also where the tokens run out."""
    rng = np.random.default_rng(seed)
    entries = sorted({tuple(rng.integers(0, 30, rng.integers(1, 4)).tolist()) for _ in range(25)})
    groups = rng.integers(0, 5, len(entries))
    constraint = ListConstraint(Trie(entries), 50, 51, most=6, distinct_by=groups if grouped else None)
    decoding = Decoding(most_tokens, (51,), constraint, temperature=2.0, stream=Stream(seed, "words"))
    prompts = _mixed(5, seed % 1000)
    for answer in _generator(tiny_language).complete(prompts, decoding, "role", np.arange(5)):
        listed = " ".join(map(str, answer)).split(" 50 ") if answer else []
        found = [entries.index(tuple(map(int, part.split()))) for part in listed]
        assert found == constraint.read(answer)
        assert len(found) <= 6
        names = [groups[index] if grouped else index for index in found]
        assert len(set(names)) == len(names)


def test_each_prompt_may_have_its_own_grammar(tiny_language: Language) -> None:
    """Grammars given one for each prompt must each hold for theirs, as when asked alone."""
    prompts = _mixed(9)
    grammars = [ListConstraint(Trie([(k,), (k + 1, 3), (k + 2,)]), 50, 51, most=2) for k in range(9)]
    together = _generator(tiny_language).complete(prompts, Decoding(9, (51,), grammars), "role")
    for prompt, grammar, answer in zip(prompts, grammars, together, strict=True):
        assert 1 <= len(grammar.read(answer)) <= 2
        assert _generator(tiny_language).complete([prompt], Decoding(9, (51,), grammar), "role") == [answer]


def test_a_grammar_without_stop_among_the_stops_still_ends(tiny_language: Language) -> None:
    """The grammar's own stop must end an answer and not be part of it."""
    constraint = ListConstraint(Trie([(3, 4)]), 50, 51)
    assert _generator(tiny_language).complete([Prompt((), (1,))], Decoding(9, (), constraint), "role") == [(3, 4)]


def test_a_long_prompt_loses_its_oldest_tokens(tiny_language: Language) -> None:
    """What does not fit must go from the prefix, oldest first and behind what is kept, and be counted."""
    prefix, suffix = _drawn(1, 600), _drawn(2, 30)
    generator = _generator(tiny_language)
    found = generator.complete([Prompt(prefix, suffix), Prompt(prefix[:50], suffix)], Decoding(12, ()), "role")
    assert generator.ledger.truncated == 1
    kept = prefix[600 - (512 - 12 - 30) :]
    assert found[0] == _generator(tiny_language).complete([Prompt(kept, suffix)], Decoding(12, ()), "role")[0]
    headed = prefix[:40] + prefix[600 - (512 - 12 - 30 - 40) :]
    same = _generator(tiny_language).complete([Prompt(headed, suffix)], Decoding(12, ()), "role")
    assert generator.complete([Prompt(prefix, suffix, keep=40)], Decoding(12, ()), "role") == same
    assert generator.ledger.truncated == 2
    grammar = ListConstraint(Trie([(3, 4)]), 50, 51)
    before = generator.ledger.truncated
    generator.complete([Prompt(prefix[:470], suffix)], Decoding(200, (), grammar), "role")
    assert generator.ledger.truncated == before


def test_draws_repeat_and_differ_by_id(tiny_language: Language) -> None:
    """The same ids must give the same answers, other ids others, and the first token be the inverse of its CDF."""
    prompt = Prompt(_drawn(5, 30), _drawn(6, 7))
    decoding = Decoding(6, (), temperature=1.5, stream=Stream(4, "words"))
    first = _generator(tiny_language).complete([prompt] * 30, decoding, "role", np.arange(30))
    assert first == _generator(tiny_language).complete([prompt] * 30, decoding, "role", np.arange(30))
    assert len(set(first)) > 10
    with torch.inference_mode():
        logits = tiny_language.model(input_ids=torch.tensor([[*prompt.prefix, *prompt.suffix]])).logits[0, -1]
    weights = torch.softmax(logits.double() / 1.5, -1).numpy()
    expected = np.searchsorted(np.cumsum(weights), Stream(4, "words").uniform(np.arange(30), 0), side="right")
    assert [answer[0] for answer in first] == expected.tolist()


def test_a_second_run_computes_nothing(tiny_language: Language, tmp_path: Path) -> None:
    """Answers on disk must be found again by the same question, by another process as it were, and only by it."""
    prompts = _mixed(10)
    decoding = Decoding(5, (7,))
    first = _generator(tiny_language, cache=PromptCache(tmp_path / "prompts.sqlite"))
    answers = first.complete(prompts, decoding, "role")
    language, model = _watched(tiny_language)
    second = _generator(language, cache=PromptCache(tmp_path / "prompts.sqlite"))
    assert second.complete(prompts, decoding, "role") == answers
    assert model.read == []
    assert second.ledger.executed()["role"]["computed_calls"] == 0
    assert second.ledger.executed()["role"]["cache_hits"] == 10
    assert first.ledger.executed()["role"]["computed_calls"] == 10


def test_other_settings_are_other_questions(tiny_language: Language) -> None:
    """Whatever an answer depends on must be part of its key."""
    prompt = Prompt((1, 2, 3), (4, 5))
    stream = Stream(1, "words")
    grammar = ListConstraint(Trie([(3,), (4,)]), 50, 51)
    asked: list[tuple[Prompt, Decoding, list[int] | None]] = [
        (prompt, Decoding(5, (7,)), None),
        (prompt, Decoding(6, (7,)), None),
        (prompt, Decoding(5, (8,)), None),
        (prompt, Decoding(5, (7,), grammar), None),
        (prompt, Decoding(5, (7,), ListConstraint(grammar.entries, 50, 51, most=1)), None),
        (prompt, Decoding(5, (7,), temperature=1.0, stream=stream), [1]),
        (prompt, Decoding(5, (7,), temperature=1.0, stream=stream), [2]),
        (prompt, Decoding(5, (7,), temperature=1.1, stream=stream), [1]),
        (prompt, Decoding(5, (7,), temperature=1.0, stream=Stream(2, "words")), [1]),
        (Prompt((1, 2), (3, 4, 5)), Decoding(5, (7,)), None),
    ]
    cache = _Kept()
    for question, decoding, ids in asked:
        _generator(tiny_language, cache=cache).complete([question], decoding, "role", ids)
    assert len(cache) == len(asked)
    soft = SoftVocabulary(torch.zeros(2, 64))
    _generator(tiny_language, cache=cache, soft=soft).complete([prompt], Decoding(5, (7,)), "role")
    assert len(cache) == len(asked)
    for vectors in (torch.zeros(2, 64), torch.ones(2, 64)):
        entity = Prompt((1, 400), (4, 5))
        _generator(tiny_language, cache=cache, soft=SoftVocabulary(vectors)).complete([entity], Decoding(5, ()), "r")
    assert len(cache) == len(asked) + 2


def test_the_same_question_is_computed_once(tiny_language: Language) -> None:
    """A question that a call repeats must be computed once and entered once as computed."""
    generator = _generator(tiny_language)
    answers = generator.complete([Prompt((), (1, 2))] * 5, Decoding(4, ()), "role")
    assert len(set(answers)) == 1
    assert generator.ledger.executed()["role"]["computed_calls"] == 1
    assert generator.ledger.as_dict()["roles"] == {}


def test_entities_are_read_as_their_vectors(tiny_language: Language) -> None:
    """An entity that equals a word must be answered as the word, in prefix and suffix, and no entity be written."""
    table = tiny_language.model.get_input_embeddings().weight
    soft = SoftVocabulary(table[[30, 77]].clone())
    plain = [Prompt((5, 30, 9), (77, 2)), Prompt((), (30, 30))]
    mixed = [Prompt((5, 400, 9), (401, 2)), Prompt((), (400, 400))]
    found = _generator(tiny_language, soft=soft).complete(mixed, Decoding(20, ()), "role")
    assert found == _generator(tiny_language).complete(plain, Decoding(20, ()), "role")
    assert max(max(answer) for answer in found) < tiny_language.vocabulary


def test_a_full_device_halves_the_batch(tiny_language: Language) -> None:
    """Running out of CUDA memory must halve the batch, be said, and change no answer."""
    prompts = [Prompt(_drawn(k, 20), _drawn(k + 500, 9)) for k in range(60)]
    expected = _generator(tiny_language).complete(prompts, Decoding(4, ()), "role")
    language, _ = _watched(tiny_language, most_rows=16)
    generator = _generator(language)
    with pytest.warns(RuntimeWarning, match="out of CUDA memory, going on with") as told:
        found = generator.complete(prompts, Decoding(4, ()), "role")
    assert found == expected
    assert generator.batch == 16
    assert [re.findall(r"\d+", str(each.message)) for each in told] == [["32"], ["16"]]


def test_a_prompt_that_never_fits_is_refused(tiny_language: Language) -> None:
    """When a single prompt runs out of memory an error must say so in one line."""
    language, _ = _watched(tiny_language, most_rows=0)
    with pytest.warns(RuntimeWarning), pytest.raises(LanguageError, match=r"^language\.batch: 1 [^\n]*$"):
        _generator(language, batch=4).complete([Prompt((1,), (2,))], Decoding(4, ()), "role")


def test_another_data_type_answers(tiny_folder: Path) -> None:
    """Reduced precision must answer too, the same alone and together."""
    language = load_language(LanguageSettings(model=str(tiny_folder), device="cpu", dtype="bfloat16"))
    prompts = _mixed(20)
    together = _generator(language).complete(prompts, Decoding(6, ()), "role")
    assert [len(answer) for answer in together] == [6] * 20
    assert together[:4] == [_generator(language).complete([p], Decoding(6, ()), "role")[0] for p in prompts[:4]]


def test_an_answer_longer_than_the_room_goes_on(tiny_language: Language) -> None:
    """Answers longer than the room first made for them must go on as in plain reading."""
    prompt = Prompt(_drawn(8, 20), _drawn(9, 5))
    found = _generator(tiny_language).complete([prompt], Decoding(90, ()), "role")
    assert found == [_plainly(tiny_language, prompt, 90, ())]


def test_no_prompts_no_answers(tiny_language: Language) -> None:
    """Asking nothing must answer nothing."""
    assert _generator(tiny_language).complete([], Decoding(3, ()), "role") == []


def test_impossible_questions_are_refused(tiny_language: Language) -> None:
    """Empty prompts, suffixes longer than the window and ids that stand for nothing must be refused in one line."""
    generator = _generator(tiny_language)
    for prompt in (Prompt((), ()), Prompt((1,), (1,) * 520), Prompt((), (400,)), Prompt((1, -1), (2,))):
        with pytest.raises(LanguageError, match=r"^prompt: [^\n]*$"):
            generator.complete([prompt], Decoding(3, ()), "role")
    stream = Stream(1, "words")
    for given_ids in (None, [1, 2]):
        with pytest.raises(ValueError, match="draw_ids"):
            generator.complete([Prompt((), (1,))], Decoding(3, (), temperature=1.0, stream=stream), "role", given_ids)
    with pytest.raises(ValueError, match=r"decoding\.constraint: 0 grammars"):
        generator.complete([Prompt((), (1,))], Decoding(3, (), []), "role")


def test_an_answer_says_nothing_twice(tiny_language: Language) -> None:
    """Under the rule no run of so many tokens stands in an answer twice, and the rule is part of the cache's key."""
    prompts = [Prompt((), _drawn(40 + k, 12)) for k in range(6)]
    generator = _generator(tiny_language)
    free = generator.complete(prompts, Decoding(60, ()), "role")
    assert any(len({*pairwise(answer)}) < len(answer) - 1 for answer in free)
    for count in (2, 3):
        for answer in generator.complete(prompts, Decoding(60, (), no_repeat=count), "role"):
            runs = [answer[k : k + count] for k in range(len(answer) - count + 1)]
            assert len(set(runs)) == len(runs) == 61 - count
