"""The Decision Arbiter of RecGPT-V2: of all that the experts proposed, jointly choose what is kept."""

from collections.abc import Sequence

from policies.language.asking import Beginning, Prompt
from policies.recgpt.agent import interleaved
from policies.recgpt.planner import Words
from policies.recgpt.wording import Signals, arbiter_task


def union_of(proposed: Sequence[Sequence[int]], category: Sequence[int]) -> list[int]:
    """Distinct proposals, one tag a category, in turns: every expert's first, then every expert's second."""
    everything = interleaved(proposed, sum(map(len, proposed)))
    kept: dict[int, int] = {}
    for tag in everything:
        kept.setdefault(int(category[tag]), tag)
    return list(kept.values())


def arbiter_prompts(
    prefixes: Sequence[Beginning],
    signals: Sequence[Signals],
    unions: Sequence[Sequence[int]],
    texts: Sequence[str],
    wanted: int,
    encoder: Words,
) -> list[Prompt]:
    """What the arbiter is asked: the context again, the proposals, and how many to keep."""
    return [
        prefix.asked(encoder.words(arbiter_task(signal, [texts[tag] for tag in union], min(wanted, len(union)))))
        for prefix, signal, union in zip(prefixes, signals, unions, strict=True)
    ]
