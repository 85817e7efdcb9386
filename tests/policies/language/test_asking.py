from typing import Any

import pytest

from policies.language.asking import Beginning, Decoding, Prompt


@pytest.mark.parametrize("bad", [{"max_tokens": 0}, {"temperature": -1.0}, {"temperature": 1.0}, {"no_repeat": 1}])
def test_impossible_settings_are_refused(bad: dict[str, Any]) -> None:
    """Numbers out of range, and draws without a stream, must be refused in one line."""
    with pytest.raises(ValueError, match=r"^decoding\.[^\n]*$"):
        Decoding(**({"max_tokens": 3, "stop": ()} | bad))


def test_a_beginning_goes_on_to_prompts() -> None:
    """Prompts that share a beginning have its tokens, and keep as many of them."""
    assert Beginning((1, 2, 3), 2).asked((4,)) == Prompt((1, 2, 3), (4,), keep=2)
