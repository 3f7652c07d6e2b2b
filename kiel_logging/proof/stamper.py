"""Numbers the records of an instance, and seals them where they are a chain. Pure.

The law: each record of a topic gets the number behind that of the last, and with a chain continues
its digest. A number is given once. A record that was stamped and does not arrive leaves a hole,
which the instance has to report.

A record is stamped once, right before it is sent for the first time, so that the numbers are in the
order of sending. ``Stamper.stamp()`` is for one thread.
"""

import struct
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from kiel_logging.proof.chain import DIGEST_SIZE, FIRST, LINK_SIZE, Chain, Digest
from kiel_logging.proof.headers import CHAIN, INSTANCE, SEQUENCE
from kiel_logging.proof.tree import Leaves, leaf_maker
from kiel_logging.records import Header, Record
from kiel_logging.wire.record_body import encode_body
from kiel_logging.wire.sizes import header_size

INSTANCE_SIZE: Final = 32
MOST_DIGITS: Final = 18
"""Of a number, at most: verifiers believe no longer one."""

_STATE: Final = struct.Struct(f">Q{DIGEST_SIZE}s")


class Stampable(Protocol):
    """A record on its way: a named tuple of topic, key, record, size, and more."""

    @property
    def topic(self) -> str:
        """Where it goes."""

    @property
    def record(self) -> Record:
        """The record itself."""

    @property
    def size(self) -> int:
        """The most bytes that it takes in a batch."""


T = TypeVar("T", bound=Stampable)

_new: Final[Any] = tuple.__new__
"""Makes a named tuple of a tuple, in a third of the time."""

_topic_of: Final = attrgetter("topic")
_LINK_IN_BATCH: Final = header_size((CHAIN, bytes(LINK_SIZE)))


class State(NamedTuple):
    """Where a stream stands: the last number that was given, and the digest of that record."""

    sequence: int
    digest: bytes

    @classmethod
    def of(cls, data: bytes | None) -> "State":
        """Return what ``to_bytes()`` made, or the state of a stream without records."""
        return cls(0, FIRST) if data is None else cls(*_STATE.unpack(data))

    def to_bytes(self) -> bytes:
        """Return it as it is kept on disk."""
        return _STATE.pack(*self)


def stamp_size(*, chain: bool) -> int:
    """Return the most bytes that a stamp takes in a batch."""
    numbered = header_size((INSTANCE, bytes(INSTANCE_SIZE)))
    numbered += header_size((SEQUENCE, bytes(MOST_DIGITS)))
    return numbered + _LINK_IN_BATCH if chain else numbered


def sequence_of(record: Record) -> int | None:
    """Return the number of a record that may have been stamped."""
    # The stamp is behind all other headers.
    for name, value in reversed(record.headers):
        if name == SEQUENCE:
            return int(value or 0)
        if name != CHAIN:
            break
    return None


class Stamper:
    """Stamps what one instance sends.

    Args:
        instance: its id, 32 hex digits.
        chain: makes the digests; None for no chain.
        keeps_leaves: whether checkpoints will be made, which need the leaves of their trees.

    Attributes:
        key_id: which key the digests are made with; None without a chain.
    """

    def __init__(
        self, instance: str, chain: Chain | None = None, *, keeps_leaves: bool = False
    ) -> None:
        self.instance = instance
        self.chained = chain is not None
        self.key_id = None if chain is None else chain.key_id
        self._header: Header = (INSTANCE, instance.encode("ascii"))
        self._chain = chain
        self._digest_of: dict[str, Digest] = {}
        self._sequences: dict[str, int] = {}
        self._digests: dict[str, bytes] = {}
        self._leaves: dict[str, Leaves] | None = None
        if keeps_leaves:
            self._leaves, self._leaf = {}, leaf_maker()
        self._fresh: list[bytes] = []

    def __repr__(self) -> str:
        chain = " with a chain" if self.chained else ""
        return f"<Stamper of {len(self._sequences)} topics{chain}>"

    @property
    def topics(self) -> list[str]:
        """The topics that were given numbers."""
        return list(self._sequences)

    def __contains__(self, topic: str) -> bool:
        """Whether ``topic`` was given any number."""
        return topic in self._sequences

    def sequence(self, topic: str) -> int:
        """Return the last number that ``topic`` was given; 0 for none."""
        return self._sequences.get(topic, 0)

    def stamp(self, items: list[T]) -> list[T]:
        """Return copies of ``items`` with their headers, which come next in their streams."""
        numbered = stamp(items, self._header, SEQUENCE, self._sequences)
        chain = self._chain
        if chain is None:
            return numbered
        self._fresh = []
        sealed = [self._sealed(item, chain) for item in numbered]
        if self._leaves is not None:
            self._keep_leaves(sealed)
        return sealed

    def _sealed(self, item: T, chain: Chain) -> T:
        topic, (key, value, headers, _) = item.topic, item.record
        digest_of = self._digest_of.get(topic)
        if digest_of is None:
            digest_of = self._digest_of[topic] = chain.digest(topic, self.instance)
        prev, body = self._digests.get(topic, FIRST), encode_body(key, value, headers)
        digest = self._digests[topic] = digest_of(prev, body)
        if self._leaves is not None:
            self._fresh.append(self._leaf(digest, body) if chain.key_id else digest)
        sealed: T = _with_headers(item, ((CHAIN, prev + digest),), _LINK_IN_BATCH)
        return sealed

    def _keep_leaves(self, sealed: list[T]) -> None:
        """Note the leaves of records, which are mostly of one topic, in a row."""
        at = 0
        for topic, run in groupby(sealed, _topic_of):
            first, *others = run
            end = at + 1 + len(others)
            self.leaves(topic).extend(sequence_of(first.record) or 0, self._fresh[at:end])
            at = end

    def digest(self, topic: str) -> bytes:
        """Return the digest of the last record of ``topic``."""
        return self._digests.get(topic, FIRST)

    def leaves(self, topic: str) -> Leaves:
        """Return the leaves of the records of ``topic`` since its last checkpoint."""
        if self._leaves is None:
            raise ValueError("this stamper keeps no leaves")
        found = self._leaves.get(topic)
        if found is None:
            found = self._leaves[topic] = Leaves()
        return found

    # For a stream whose state is kept elsewhere too.

    def state(self, topic: str) -> bytes | None:
        """Return where ``topic`` stands, as State's bytes; None when nothing was stamped for it."""
        if topic not in self._sequences:
            return None
        return State(self._sequences[topic], self._digests.get(topic, FIRST)).to_bytes()

    def restore(self, topic: str, state: bytes | None) -> None:
        """Continue behind ``state``; None is the beginning of a stream."""
        if state is None:
            self._sequences.pop(topic, None)
            self._digests.pop(topic, None)
        else:
            self._sequences[topic], self._digests[topic] = State.of(state)

    def skip(self, topic: str) -> None:
        """Give the next number of ``topic`` to no record: the one that it belongs to is lost."""
        self._sequences[topic] = self.sequence(topic) + 1


def stamp_in_python(
    items: list[T], instance: Header, name: str, sequences: dict[str, int]
) -> list[T]:
    """Return copies of ``items`` with two more headers: ``instance``, and the item's number under
    ``name``. ``sequences`` has the last number of each topic."""
    copy = partial(_numbered, instance, name)
    stamped = []
    for item in items:
        number = sequences[item.topic] = sequences.get(item.topic, 0) + 1
        stamped.append(copy(item, number))
    return stamped


def _numbered(instance: Header, name: str, item: Any, number: int) -> Any:
    header = (name, b"%d" % number)
    return _with_headers(item, (instance, header), header_size(instance) + header_size(header))


def _with_headers(item: Any, more: tuple[Header, ...], more_size: int) -> Any:
    (topic, routing, (key, value, headers, timestamp), size, *rest), kind = item, type(item)
    record = _new(Record, (key, value, headers + more, timestamp))
    made = _new(kind, (topic, routing, record, size + more_size, *rest))
    if own := getattr(item, "__dict__", None):  # of a subclass
        made.__dict__.update(own)
    return made


try:
    from kiel_logging._accelerator import stamp as _stamp_in_c
except ImportError:  # there was no C compiler
    stamp = stamp_in_python
else:

    def stamp(items: list[T], instance: Header, name: str, sequences: dict[str, int]) -> list[T]:
        """Do as ``stamp_in_python()``; QuickItems are stamped where they are."""
        return _stamp_in_c(items, instance, name, sequences, partial(_numbered, instance, name))
