"""Which tokens may come next where an answer must be a list of known entries.

The grammar is ``entry (separator entry)* stop``. Entries are token sequences, with whatever spaces lead them, kept in a
trie. An entry that was given is not given again, nor is one of its group where groups are told. The states of many rows
advance together in flat arrays, so that a decoding step costs a few array operations for any number of rows. Knows
neither words nor models.
"""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from simulator.batches import Ints

_END: Final = -1
"""The edge by which an entry ends: it leads to a leaf, and no token is read on it."""
_KEY: Final = np.int64(1) << 32


class Trie:
    """Token sequences by their common beginnings.

    Args:
        sequences: the entries. One that is listed twice counts once, under its first place.

    Raises:
        ValueError: one is empty, or a token is negative.

    Attributes:
        sequences: the entries as given.
        edge_first: edges of node n are ``edge_first[n]`` to ``edge_first[n + 1]``, int64 [nodes + 1]; the root is 0.
        edge_token: token of each edge, within a node ascending, int64 [edges]; -1 ends an entry.
        edge_child: node that it leads to, int64 [edges].
        size: entries at or below each node, int64 [nodes].
        entry: the entry that ends at a leaf, elsewhere -1, int64 [nodes].
    """

    def __init__(self, sequences: Sequence[Sequence[int]]) -> None:
        self.sequences = tuple(tuple(sequence) for sequence in sequences)
        children: list[dict[int, int]] = [{}]
        parent = [0]
        entry = [-1]
        for index, sequence in enumerate(self.sequences):
            if not sequence or min(sequence) < 0:
                raise ValueError(f"trie: {sequence} (an entry is one token or more, none negative)")
            node = 0
            for token in (*sequence, _END):
                child = children[node].get(token)
                if child is None:
                    child = children[node][token] = len(children)
                    children.append({})
                    parent.append(node)
                    entry.append(-1)
                node = child
            if entry[node] < 0:
                entry[node] = index
        self.parent = np.array(parent, np.int64)
        self.entry = np.array(entry, np.int64)
        self.edge_first = np.cumsum([0, *(len(below) for below in children)], dtype=np.int64)
        edges = [edge for below in children for edge in sorted(below.items())]
        self.edge_token, self.edge_child = np.array(edges, np.int64).reshape(-1, 2).T.copy()
        self.size = self._sizes()

    def __len__(self) -> int:
        """Number of nodes."""
        return len(self.entry)

    def _sizes(self) -> Ints:
        size = [int(index >= 0) for index in self.entry]
        parent = self.parent.tolist()
        for node in range(len(size) - 1, 0, -1):
            size[parent[node]] += size[node]
        return np.array(size, np.int64)

    @cached_property
    def paths(self) -> tuple[Ints, Ints]:
        """Nodes from the root to the leaf of each entry: first index of each, int64 [entries + 1], and the nodes.

        An entry that repeats an earlier one has no path.
        """
        leaves: list[list[int]] = [[] for _ in self.sequences]
        parent = self.parent.tolist()
        for leaf in np.flatnonzero(self.entry >= 0).tolist():
            nodes = leaves[int(self.entry[leaf])]
            node = leaf
            while node:
                nodes.append(node)
                node = parent[node]
            nodes.append(0)
        first = np.cumsum([0, *(len(nodes) for nodes in leaves)], dtype=np.int64)
        return first, np.array([node for nodes in leaves for node in nodes], np.int64)

    def walk(self, tokens: Sequence[int]) -> int:
        """The node that some tokens lead to, -1 where they leave the trie."""
        node = 0
        for token in tokens:
            node = self.child(node, token)
            if node < 0:
                return -1
        return node

    def child(self, node: int, token: int) -> int:
        """The node below ``node`` by ``token`` (-1: the leaf of the entry that ends there), -1 where there is none."""
        first, last = int(self.edge_first[node]), int(self.edge_first[node + 1])
        place = first + int(np.searchsorted(self.edge_token[first:last], token))
        return int(self.edge_child[place]) if place < last and self.edge_token[place] == token else -1


class ListConstraint:
    """The grammar of a list of distinct entries.

    Only at a complete entry may the separator or the stop come. Once ``most`` entries are given, or none is left, only
    the stop may; before ``least`` are given it may not, as long as there is another. Where there is none to begin with,
    or none is needed, the stop may come at once.

    Args:
        entries: what can be listed.
        separator: token between entries; None where one entry is all that is wanted.
        stop: token that ends the list.
        most: most entries; None for any number.
        distinct: whether an entry is given at most once.
        distinct_by: group of each entry, integers [entries]; of a group at most one entry is given.
        least: fewest entries.

    Raises:
        ValueError: a number or length is out of range, or an entry holds the separator or the stop.
    """

    def __init__(
        self,
        entries: Trie,
        separator: int | None,
        stop: int,
        most: int | None = None,
        distinct: bool = True,
        distinct_by: npt.ArrayLike | None = None,
        least: int = 1,
    ) -> None:
        self.entries = entries
        self.separator = -2 if separator is None else int(separator)
        self.stop = int(stop)
        self.most = 1 if separator is None else int(np.iinfo(np.int64).max) if most is None else int(most)
        self.least = int(least)
        count = len(entries.sequences)
        if not 0 <= self.least <= max(self.most, 1) or self.most < 0:
            raise ValueError(f"constraint: least {least}, most {most} (0 <= least <= most is needed)")
        if self.separator == self.stop:
            raise ValueError(f"constraint: token {stop} (separator and stop must differ)")
        if np.isin(entries.edge_token, (self.separator, self.stop)).any():
            raise ValueError("constraint: an entry holds the separator or the stop (give entries without them)")
        self.removes = distinct or distinct_by is not None
        group = np.arange(count) if distinct_by is None else np.asarray(distinct_by, np.int64)
        if group.shape != (count,):
            raise ValueError(f"constraint: distinct_by has shape {group.shape} (one group for each of {count} entries)")
        self.group = np.unique(group, return_inverse=True)[1].astype(np.int64)
        self.groups = int(self.group.max(initial=-1)) + 1

    @cached_property
    def longest(self) -> int:
        """Most tokens that a list can have, the stop included."""
        count = min(self.most, len(self.group)) if self.removes else self.most
        lengths = sorted(map(len, self.entries.sequences), reverse=True)
        if self.removes:
            return sum(lengths[:count]) + max(count, 1)
        return count * (max(lengths, default=0) + 1) + 1

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the grammar, hexadecimal."""
        flat = np.array([token for sequence in self.entries.sequences for token in (*sequence, _END)], np.int64)
        digest = hashlib.sha256(flat.tobytes())
        numbers = [self.separator, self.stop, self.most, self.least, int(self.removes), *self.group.tolist()]
        digest.update(np.array(numbers, np.int64).tobytes())
        return digest.hexdigest()

    @cached_property
    def removed(self) -> tuple[Ints, Ints]:
        """Nodes on the paths of each group's entries: first index of each, int64 [groups + 1], and the nodes.

        Giving an entry takes one off the count of each of these nodes, as often as it is listed.
        """
        first, nodes = self.entries.paths
        order = np.argsort(self.group, kind="stable")
        length = np.diff(first)
        total = np.bincount(self.group, weights=length, minlength=self.groups).astype(np.int64)
        return np.concatenate([[0], np.cumsum(total)]), nodes[_ranges(first[order], length[order])[1]]

    @cached_property
    def group_size(self) -> Ints:
        """Entries of each group, int64 [groups]; nothing where entries may come again."""
        if not self.removes:
            return np.zeros(self.groups, np.int64)
        real = self.entries.entry[self.entries.entry >= 0]
        return np.bincount(self.group[real], minlength=self.groups).astype(np.int64)

    def start(self) -> "ListStates":
        """The state before the first token."""
        return ListStates([self])

    def allowed(self, state: "ListStates") -> Ints:
        """The tokens that may come next, ascending, int64 [tokens]; none once the list has ended."""
        return np.sort(state.allowed()[1])

    def advance(self, state: "ListStates", token: int) -> "ListStates":
        """The state after a token, which must be allowed; the old state stays as it is."""
        following = state.copy()
        following.advance(np.array([token], np.int64))
        return following

    def read(self, tokens: Sequence[int]) -> list[int]:
        """The entries that an answer lists, without what follows its last complete one."""
        found: list[int] = []
        for part in self._parts(tokens):
            node = self.entries.walk(part)
            leaf = self.entries.child(node, _END) if node >= 0 else -1
            if leaf < 0:
                break
            found.append(int(self.entries.entry[leaf]))
        return found

    def complete(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """An answer without the entry that was begun and not ended, as when the tokens to write ran out."""
        parts = self._parts(tokens)
        node = self.entries.walk(parts[-1])
        leaf = self.entries.child(node, _END) if node > 0 else -1
        if leaf >= 0:
            last = self.group[self.entries.entry[leaf]]
            if not self.removes or last not in self.group[self.read(tokens[: len(tokens) - len(parts[-1])])]:
                return tuple(tokens)
        return tuple(tokens[: max(len(tokens) - len(parts[-1]) - 1, 0)])

    def _parts(self, tokens: Sequence[int]) -> list[list[int]]:
        parts: list[list[int]] = [[]]
        for token in tokens:
            if token == self.separator:
                parts.append([])
            else:
                parts[-1].append(token)
        return parts


class ListStates:
    """How far each of many rows has come in its own grammar.

    Args:
        constraints: the grammar of each row; rows that share one object share its arrays.
    """

    def __init__(self, constraints: Sequence[ListConstraint]) -> None:
        kinds = list({id(constraint): constraint for constraint in constraints}.values())
        place = {id(constraint): index for index, constraint in enumerate(kinds)}
        kind = np.array([place[id(constraint)] for constraint in constraints], np.int64)
        tries = [constraint.entries for constraint in kinds]
        nodes = np.cumsum([0, *(len(trie) for trie in tries)])
        edges = np.cumsum([0, *(len(trie.edge_token) for trie in tries)])
        # One forest for all: the tries' nodes and edges one behind the other.
        self._first = np.concatenate([t.edge_first[:-1] + e for t, e in zip(tries, edges, strict=False)])
        self._count = np.concatenate([np.diff(t.edge_first) for t in tries])
        self._token = np.concatenate([t.edge_token for t in tries])
        self._child = np.concatenate([t.edge_child for t in tries])
        self._key = np.repeat(np.arange(nodes[-1]), self._count) * _KEY + self._token + 1
        self._leaf_group = np.concatenate([np.append(k.group, -1)[t.entry] for t, k in zip(tries, kinds, strict=True)])
        self._group_base = np.cumsum([0, *(constraint.groups for constraint in kinds)])[kind]
        self._group_size = np.concatenate([constraint.group_size for constraint in kinds])
        lengths = [np.diff(constraint.removed[0]) for constraint in kinds]
        self._removed_count = np.concatenate(lengths)
        self._removed_first = np.cumsum(self._removed_count) - self._removed_count
        self._removed = np.concatenate([constraint.removed[1] for constraint in kinds])
        self._removes = np.array([constraint.removes for constraint in kinds])[kind]
        self._separator = np.array([constraint.separator for constraint in kinds], np.int64)[kind]
        self._stop = np.array([constraint.stop for constraint in kinds], np.int64)[kind]
        self._most = np.array([constraint.most for constraint in kinds], np.int64)[kind]
        self._least = np.array([constraint.least for constraint in kinds], np.int64)[kind]
        self._root = nodes[kind]
        size = np.array([len(trie) for trie in tries])[kind]
        self._left_base = np.cumsum(size) - size
        self._left = np.concatenate([tries[index].size for index in kind]).astype(np.int32)
        self._node = self._root.copy()
        self._given = np.zeros(len(kind), np.int64)
        self._open = np.ones(len(kind), np.bool_)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._node)

    def copy(self) -> "ListStates":
        """States that advance on their own."""
        other = object.__new__(ListStates)
        vars(other).update(vars(self))
        for name in ("_left", "_node", "_given", "_open"):
            setattr(other, name, getattr(self, name).copy())
        return other

    def select(self, rows: Ints) -> None:
        """Keep some rows, in the order given."""
        for name in ("_group_base", "_removes", "_separator", "_stop", "_most", "_least"):
            setattr(self, name, getattr(self, name)[rows])
        for name in ("_root", "_left_base", "_node", "_given", "_open"):
            setattr(self, name, getattr(self, name)[rows])

    def allowed(self) -> tuple[Ints, Ints]:
        """What may come next: row and token of each possibility, int64 [possibilities] twice."""
        count = np.where(self._open & (self._given < self._most), self._count[self._node], 0)
        rows, edge = _ranges(self._first[self._node], count)
        token, child = self._token[edge], self._child[edge]
        there = self._left[self._left_base[rows] + child] > 0
        inner = there & (token != _END)
        ending = there & (token == _END)
        at = rows[ending]
        group = self._leaf_group[self._root[at] + child[ending]] + self._group_base[at]
        more = (self._given[at] + 1 < self._most[at]) & (self._separator[at] >= 0)
        more &= self._left[self._left_base[at]] > self._group_size[group]
        stop = at[~more | (self._given[at] + 1 >= self._least[at])]
        at_once = (self._left[self._left_base] == 0) | (self._least == 0) | (self._most == 0)
        at_once &= self._open & (self._given == 0) & (self._node == self._root)
        ends = np.concatenate([stop, np.flatnonzero(at_once)])
        return (
            np.concatenate([rows[inner], at[more], ends]),
            np.concatenate([token[inner], self._separator[at[more]], self._stop[ends]]),
        )

    def advance(self, tokens: Ints) -> None:
        """Read one token in each row; rows whose list has ended pay no heed.

        Args:
            tokens: int64 [rows].

        Raises:
            ValueError: a token leaves the grammar's entries, or comes where no entry ends.
        """
        ending = self._open & ((tokens == self._stop) | (tokens == self._separator))
        inner = np.flatnonzero(self._open & ~ending)
        if len(inner):
            self._node[inner] = self._root[inner] + self._child[self._edges(self._node[inner], tokens[inner])]
        # A list of nothing ends at its root; every other end is the end of an entry.
        entries = np.flatnonzero(ending & (self._node != self._root))
        if len(entries):
            leaf = self._child[self._edges(self._node[entries], np.full(len(entries), _END))]
            group = self._leaf_group[self._root[entries] + leaf] + self._group_base[entries]
            self._given[entries] += 1
            removing = self._removes[entries]
            entries, group = entries[removing], group[removing]
            row, place = _ranges(self._removed_first[group], self._removed_count[group])
            np.subtract.at(self._left, self._left_base[entries][row] + self._removed[place], 1)
        self._node[ending] = self._root[ending]
        self._open &= tokens != self._stop

    def _edges(self, nodes: Ints, tokens: Ints) -> Ints:
        key = nodes * _KEY + tokens + 1
        place = np.minimum(np.searchsorted(self._key, key), len(self._key) - 1)
        wrong = np.flatnonzero(self._key[place] != key)
        if len(wrong):
            raise ValueError(f"constraint: token {tokens[wrong[0]]} (not one that may come next)")
        return place


def _ranges(first: Ints, count: Ints) -> tuple[Ints, Ints]:
    """For each i the integers ``first[i]`` to ``first[i] + count[i]``: the i of each, and the integers."""
    rows = np.repeat(np.arange(len(count)), count)
    start = np.cumsum(count) - count
    return rows, np.arange(len(rows)) + (first - start)[rows]
