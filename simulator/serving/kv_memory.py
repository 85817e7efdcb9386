"""The keys and values that one instance holds: calls' own ones, and prefixes that calls share.

Counted in tokens, since all of a model's tokens take the same bytes. A prefix is held once for all calls that begin
with it. When its last call leaves it stays until its place is needed; then the one that was left longest ago goes. A
call's prompt is reserved whole when the call is admitted, so only writing makes a batch grow. Knows no time.
"""

from collections import OrderedDict
from dataclasses import dataclass

from simulator.serving.workload import NO_PREFIX


@dataclass
class Prefix:
    """One prefix that is held.

    Attributes:
        tokens: its length.
        unread: those that no call has read yet.
        users: calls here that begin with it.
    """

    tokens: int
    unread: int
    users: int = 0


class KvMemory:
    """Places for tokens.

    Args:
        capacity: how many tokens fit.

    Attributes:
        used: places taken, those of prefixes that nobody uses at the moment among them.
        peak: the most that was ever taken.
        reads, hits: admissions that found their prefix absent, and present.
        cached: tokens that were not read again because of that.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.used = 0
        self.peak = 0
        self.reads = 0
        self.hits = 0
        self.cached = 0
        self._prefixes: dict[int, Prefix] = {}
        self._idle: OrderedDict[int, Prefix] = OrderedDict()
        self._idle_tokens = 0

    @property
    def free(self) -> int:
        """Places that hold nothing."""
        return self.capacity - self.used

    def prefix(self, prefix: int) -> Prefix | None:
        """The prefix, if it is held."""
        return self._prefixes.get(prefix)

    def has_room(self, prefix: int, prefix_tokens: int, own: int, promised: int) -> bool:
        """Whether a call would fit, if need be in place of idle prefixes, beside places promised to others."""
        available = self.capacity - self.used - promised + self._idle_tokens
        if prefix == NO_PREFIX:
            return own <= available
        if prefix not in self._prefixes:
            return own + prefix_tokens <= available
        return own <= available - (prefix_tokens if prefix in self._idle else 0)

    def admit(self, prefix: int, prefix_tokens: int, own: int, promised: int) -> None:
        """Reserve a call's places; there must be room."""
        if prefix != NO_PREFIX:
            entry = self._prefixes.get(prefix)
            if entry is None:
                self.reads += 1
                self._clear(prefix_tokens + own + promised)
                entry = self._prefixes[prefix] = Prefix(prefix_tokens, prefix_tokens)
                self._take(prefix_tokens)
            else:
                self.hits += 1
                self.cached += prefix_tokens
                if self._idle.pop(prefix, None) is not None:
                    self._idle_tokens -= prefix_tokens
            entry.users += 1
        self._clear(own + promised)
        self._take(own)

    def make_room(self, tokens: int) -> bool:
        """Let idle prefixes go until so many places are free; whether they are."""
        self._clear(tokens)
        return self.free >= tokens

    def grow(self, tokens: int) -> None:
        """Take places for tokens that are written; they must be free."""
        self._take(tokens)

    def release(self, prefix: int, own: int) -> None:
        """Give back a call's own places; its prefix stays, unless it was the last to use it and it is not all read."""
        self.used -= own
        if prefix == NO_PREFIX:
            return
        entry = self._prefixes[prefix]
        entry.users -= 1
        if entry.users:
            return
        if entry.unread:
            del self._prefixes[prefix]
            self.used -= entry.tokens
        else:
            self._idle[prefix] = entry
            self._idle_tokens += entry.tokens

    def _take(self, tokens: int) -> None:
        self.used += tokens
        self.peak = max(self.peak, self.used)

    def _clear(self, tokens: int) -> None:
        while self.free < tokens and self._idle:
            prefix, entry = self._idle.popitem(last=False)
            del self._prefixes[prefix]
            self._idle_tokens -= entry.tokens
            self.used -= entry.tokens
