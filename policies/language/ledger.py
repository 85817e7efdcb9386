"""What language models were asked for and what that costs, by role.

Two things are kept apart. The *plan* is what a policy's design asks for: calls, tokens read, tokens read from a KV
cache, tokens written, operations, serial depth of its jobs. It does not depend on this machine, on a prompt cache or on
how an executor shares work, and goes into results. *Executed* is what this process really ran, and its seconds. Knows
no model: operations follow from a shape.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from simulator.batches import Ints
from simulator.serving.transformer import ModelShape, causal_flops


@dataclass
class RoleCount:
    """The plan's calls of one role; tokens and operations are sums over them."""

    calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    flops: int = 0


@dataclass
class JobCount:
    """Jobs of one kind; depth is what lies on their critical paths, summed over jobs."""

    jobs: int = 0
    depth_calls: int = 0
    depth_tokens: int = 0


@dataclass
class Executed:
    """What this process did for a role: calls it computed, calls it found answered, wall seconds."""

    computed_calls: int = 0
    cache_hits: int = 0
    seconds: float = 0.0


class Ledger:
    """The book of a policy's model calls.

    Args:
        shape: of the model whose operations are counted.

    Attributes:
        truncated: prompts that were longer than the model's window and lost their oldest tokens.
    """

    def __init__(self, shape: ModelShape) -> None:
        self.shape = shape
        self.truncated = 0
        self._roles: dict[str, RoleCount] = {}
        self._jobs: dict[str, JobCount] = {}
        self._executed: dict[str, Executed] = {}

    def count(self, role: str, prompt: npt.ArrayLike, cached: npt.ArrayLike, generated: npt.ArrayLike) -> Ints:
        """Enter planned calls.

        A call reads its prompt but for the cached part, and then each token that it wrote, to know that the next one
        ends the answer; it evaluates the head once more than it writes.

        Args:
            role: who is asked.
            prompt: tokens of each prompt, the cached ones among them; an integer is one call, an array [calls].
            cached: those of them whose keys and values the plan has in a cache.
            generated: tokens written, without the one that ends the answer.

        Returns:
            Operations of each call, int64 [calls].

        Raises:
            ValueError: a count is negative, or more is cached than there is prompt.
        """
        read, kept, written = np.broadcast_arrays(
            *(np.atleast_1d(np.asarray(part, np.int64)) for part in (prompt, cached, generated))
        )
        if (kept < 0).any() or (written < 0).any() or (kept > read).any():
            raise ValueError(f"ledger.{role}: counts must not be negative, nor more be cached than is read")
        flops = causal_flops(self.shape, read - kept + written, kept, written + 1)
        entry = self._roles.setdefault(role, RoleCount())
        entry.calls += len(read)
        entry.prompt_tokens += int(read.sum())
        entry.cached_tokens += int(kept.sum())
        entry.generated_tokens += int(written.sum())
        entry.flops += sum(flops.tolist())
        return flops

    def job(self, kind: str, depth_calls: int, depth_tokens: int) -> None:
        """Enter one job: the calls, and the tokens written, that follow one another on its critical path."""
        entry = self._jobs.setdefault(kind, JobCount())
        entry.jobs += 1
        entry.depth_calls += depth_calls
        entry.depth_tokens += depth_tokens

    def execute(self, role: str, computed: int, hits: int, seconds: float) -> None:
        """Enter what this process did: calls computed, calls found answered, wall seconds."""
        entry = self._executed.setdefault(role, Executed())
        entry.computed_calls += computed
        entry.cache_hits += hits
        entry.seconds += seconds

    def add(self, other: "Ledger") -> None:
        """Take another book's entries in, as of another shard."""
        self.truncated += other.truncated
        _add(self._roles, other._roles, RoleCount)
        _add(self._jobs, other._jobs, JobCount)
        _add(self._executed, other._executed, Executed)

    def as_dict(self) -> dict[str, Any]:
        """The plan, roles and kinds in alphabetical order: the same for every machine and cache."""
        return {
            "roles": {role: dict(vars(entry)) for role, entry in sorted(self._roles.items())},
            "jobs": {kind: dict(vars(entry)) for kind, entry in sorted(self._jobs.items())},
            "truncated": self.truncated,
        }

    def snapshot(self) -> dict[str, Any]:
        """The whole book as plain values: the plan, and what was executed."""
        return self.as_dict() | {"executed": self.executed()}

    def restore(self, kept: Mapping[str, Any]) -> None:
        """Write what ``snapshot`` gave into an empty book."""
        self.truncated = kept["truncated"]
        self._roles = {role: RoleCount(**entry) for role, entry in kept["roles"].items()}
        self._jobs = {kind: JobCount(**entry) for kind, entry in kept["jobs"].items()}
        self._executed = {role: Executed(**entry) for role, entry in kept["executed"].items()}

    def executed(self) -> dict[str, dict[str, int | float]]:
        """What this process ran, by role: ``computed_calls``, ``cache_hits``, ``seconds``."""
        return {role: dict(vars(entry)) for role, entry in sorted(self._executed.items())}


def _add(mine: dict[str, Any], theirs: Mapping[str, Any], kind: type[Any]) -> None:
    for name, entry in theirs.items():
        total = mine.setdefault(name, kind())
        for field in fields(kind):
            setattr(total, field.name, getattr(total, field.name) + getattr(entry, field.name))
