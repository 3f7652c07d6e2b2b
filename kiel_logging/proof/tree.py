"""The tree of the records between two checkpoints, for the proof of a single record. Pure.

A leaf is 32 bytes: the record's digest, or in a chain with a key SHA-256 of the digest and the
record's body, because people without the key can't compute the digest. A number that no record has
is 32 zero bytes. A node is SHA-256 of the byte 1 and up to 32 nodes or leaves below it; levels of
nodes are made until there is one. So a proof has a few neighbours of each level, about 2 KB for a
thousand records, and making the tree takes one SHA-256 for 32 records.
"""

from collections.abc import Sequence
from typing import Final

from kiel_logging.proof.chain import DIGEST_SIZE, FIRST, Digest, begin_with

WIDTH: Final = 32
"""How many nodes of a tree have one above them."""

_NODE: Final = b"\x01"


class Leaves:
    """The leaves of the records of a stream since its last checkpoint."""

    __slots__ = ("_leaves", "first")

    def __init__(self, first: int = 1) -> None:
        self.first = first
        self._leaves: list[bytes] = []

    def extend(self, number: int, leaves: Sequence[bytes]) -> None:
        """Note the leaves of records from ``number`` on. They may come again, when a read is
        repeated."""
        known = self.first + len(self._leaves)
        self._leaves += [FIRST] * (number - known)
        self._leaves += leaves[max(0, known - number) :]

    def take(self) -> tuple[int, int, bytes]:
        """Return the first and last numbers and the root of the tree; forget the leaves."""
        if not self._leaves:
            return self.first, self.first - 1, FIRST
        first, leaves = self.first, self._leaves
        self.first, self._leaves = first + len(leaves), []
        return first, self.first - 1, root(leaves)


def leaf_maker() -> Digest:
    """Return what makes leaves of the digest and the body of records in a chain with a key."""
    return begin_with(None)(b"")


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the root of the tree of these leaves, of which there is at least one."""
    nodes = list(leaves)
    while True:
        nodes = [_node(nodes[at : at + WIDTH]) for at in range(0, len(nodes), WIDTH)]
        if len(nodes) == 1:
            return nodes[0]


def path(leaves: Sequence[bytes], index: int) -> list[list[bytes]]:
    """Return the neighbours of a leaf, from the lowest level upwards: each group without the one
    on the way."""
    nodes, found = list(leaves), []
    while True:
        group = nodes[index - index % WIDTH :][:WIDTH]
        del group[index % WIDTH]
        found.append(group)
        nodes = [_node(nodes[at : at + WIDTH]) for at in range(0, len(nodes), WIDTH)]
        index //= WIDTH
        if len(nodes) == 1:
            return found


def root_of_path(one: bytes, index: int, count: int, levels: Sequence[Sequence[bytes]]) -> bytes:
    """Return the root of a tree with ``count`` leaves, of which ``one`` is at ``index``.

    Raises:
        ValueError: the levels are not those of such a tree.
    """
    if not 0 <= index < count:
        raise ValueError("the record is not in the tree")
    for group in levels:
        at, size = index % WIDTH, min(WIDTH, count - (index - index % WIDTH))
        if len(group) != size - 1 or any(len(node) != DIGEST_SIZE for node in group):
            raise ValueError("the path is not one of a tree of this size")
        one = _node([*group[:at], one, *group[at:]])
        index, count = index // WIDTH, -(-count // WIDTH)
        if count == 1:
            if group is not levels[-1]:
                raise ValueError("the path is too long")
            return one
    raise ValueError("the path is too short")


def _node(below: Sequence[bytes]) -> bytes:
    from hashlib import sha256

    return sha256(_NODE + b"".join(below)).digest()
