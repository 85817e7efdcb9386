"""What a language model is asked, and how its answer is to be written.

Knows tokens and grammars. Computes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from policies.language.constraint import ListConstraint
from simulator.streams import Stream

PREFIX_BUCKET: Final = 64
SUFFIX_BUCKET: Final = 16
"""Padded lengths are multiples of these."""

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Prompt:
    """What a model is asked: a beginning that other prompts may share, and the rest.

    Attributes:
        prefix: token ids, entities' among them; may be empty.
        suffix: token ids that follow; may be empty where the prefix is not.
        keep: first tokens of the prefix that stay where the window is too short: what follows them goes, oldest first.
    """

    prefix: Tokens
    suffix: Tokens
    keep: int = 0


@dataclass(frozen=True)
class Beginning:
    """A prefix that several prompts share: its tokens, and how many of them stay (see ``Prompt``)."""

    tokens: Tokens
    keep: int

    def asked(self, suffix: Tokens) -> Prompt:
        """The prompt that goes on with ``suffix``."""
        return Prompt(self.tokens, suffix, self.keep)


@dataclass(frozen=True)
class Decoding:
    """How an answer is written.

    Attributes:
        max_tokens: most tokens of an answer.
        stop: tokens that end it.
        constraint: grammar of the answers, one for all prompts or one for each; its stop ends an answer too.
        temperature: 0 takes the likeliest token, above it tokens are drawn.
        stream: where draws come from, needed above 0.
        no_repeat: so many tokens in a row stand in an answer once at most; 0 for no such rule. Small models that take
            the likeliest token say the same again and again without it.

    Raises:
        ValueError: a number is out of range, or tokens are to be drawn and there is no stream.
    """

    max_tokens: int
    stop: Tokens
    constraint: ListConstraint | Sequence[ListConstraint] | None = None
    temperature: float = 0.0
    stream: Stream | None = None
    no_repeat: int = 0

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.max_tokens < 1:
            raise ValueError(f"decoding.max_tokens: {self.max_tokens} (at least 1)")
        if self.no_repeat < 0 or self.no_repeat == 1:
            raise ValueError(f"decoding.no_repeat: {self.no_repeat} (0, or 2 and more)")
        if self.temperature < 0:
            raise ValueError(f"decoding.temperature: {self.temperature} (0 or more)")
        if self.temperature > 0 and self.stream is None:
            raise ValueError(f"decoding.stream: none (temperature {self.temperature} draws tokens and needs one)")


@dataclass(frozen=True)
class Ask:
    """One distinct question: the prompt cut to the window, its grammar and the id of its draws.

    Attributes:
        key: of its cached answer.
        prefix, suffix: token ids.
        constraint: grammar of the answer, or None.
        draw: id of its draws.
    """

    key: bytes
    prefix: Tokens
    suffix: Tokens
    constraint: ListConstraint | None
    draw: int

    @property
    def prefix_room(self) -> int:
        """Padded length of the prefix."""
        return -(-len(self.prefix) // PREFIX_BUCKET) * PREFIX_BUCKET

    @property
    def suffix_room(self) -> int:
        """Padded length of the suffix."""
        return -(-len(self.suffix) // SUFFIX_BUCKET) * SUFFIX_BUCKET
