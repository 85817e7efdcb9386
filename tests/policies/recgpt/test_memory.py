import numpy as np

from policies.recgpt.memory import NEVER, ThoughtMemory
from policies.thoughts import NO_TAG, Thoughts


def thoughts(requests: int, parts: int, proposed: int, tags: int, start: int) -> Thoughts:
    """Thoughts of some requests, all numbers distinct."""
    count = np.arange(requests, dtype=np.int64) + start
    return Thoughts(
        tags=(np.arange(requests * tags, dtype=np.int32) + start).reshape(requests, tags),
        proposed=(np.arange(requests * parts * proposed, dtype=np.int32) + start).reshape(requests, parts, proposed),
        generated=count,
        invalid=count + 1,
        parts=tuple(tuple(f"part {n} {k}" for k in range(parts)) for n in range(requests)),
        style=tuple(f"style {start + n}" for n in range(requests)),
        prompt_tokens=count + 2,
        cached_tokens=count + 3,
        generated_tokens=count + 4,
        flops=count + 5,
    )


def test_what_is_kept_is_what_is_taken() -> None:
    """Thoughts come back as they were kept, padded where others are wider, and the latest of a user counts."""
    memory = ThoughtMemory(6)
    small, wide = thoughts(2, 1, 3, 4, 100), thoughts(3, 2, 2, 6, 500)
    memory.keep(np.array([4, 1]), np.array([10, 10]), small)
    memory.keep(np.array([0, 1, 5]), np.array([11, 12, 11]), wide)
    assert memory.day.tolist() == [11, 12, NEVER, NEVER, 10, 11]
    found = memory.take(np.array([1, 4]))
    assert found.tags.tolist() == [wide.tags[1].tolist(), [*small.tags[0].tolist(), NO_TAG, NO_TAG]]
    assert found.proposed[0, :, :2].tolist() == wide.proposed[1].tolist()
    assert found.proposed[1, 0].tolist() == small.proposed[0, 0].tolist()
    assert (found.proposed[1, 1] == NO_TAG).all()
    assert found.parts == (wide.parts[1], small.parts[0])
    assert found.style == (wide.style[1], small.style[0])
    for field in ("generated", "invalid", "prompt_tokens", "cached_tokens", "generated_tokens", "flops"):
        assert getattr(found, field).tolist() == [getattr(wide, field)[1], getattr(small, field)[0]]


def test_users_who_were_never_thought_about_have_empty_thoughts() -> None:
    """Before anything is kept there are no tags, parts or words; another user's thoughts do not change that."""
    memory = ThoughtMemory(3)
    assert len(memory.take(np.array([0, 2]))) == 2
    memory.keep(np.array([1]), np.array([3]), thoughts(1, 2, 3, 4, 7))
    found = memory.take(np.array([2]))
    assert (found.tags == NO_TAG).all()
    assert (found.proposed == NO_TAG).all()
    assert found.parts == ((),)
    assert found.style == ("",)
