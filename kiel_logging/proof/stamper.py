"""Numbers the records of an instance, and seals them where they are a chain. Pure.

The law: each record of a topic gets the number behind that of the last, and with a chain continues
its digest. A number is given once. A record that was stamped and does not arrive leaves a hole,
which the instance has to report.

With a chain the record that starts a stream says which key seals it, and a rotation record says
which key seals the records behind it. So the key of each record follows from the order of the
records, as its number does.

A record is stamped once, right before it is sent for the first time, so that the numbers are in the
order of sending. ``Stamper.stamp()`` is for one thread.
"""

import json
import struct
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from kiel_logging.proof.chain import (
    DIGEST_SIZE,
    FIRST,
    LINK_SIZE,
    NO_KEY,
    ROTATION_SIZE,
    Chain,
    Digest,
    Keyring,
)
from kiel_logging.proof.headers import CHAIN, EVENT, INSTANCE, ROTATION, SEQUENCE, START
from kiel_logging.proof.tree import Leaves, leaf_maker
from kiel_logging.records import Header, Record
from kiel_logging.wire.record_body import encode_body
from kiel_logging.wire.sizes import header_size

INSTANCE_SIZE: Final = 32
MOST_DIGITS: Final = 18
"""Of a number, at most: verifiers believe no longer one."""

_STATE: Final = struct.Struct(f">Q{DIGEST_SIZE}s8s")
_NO_KEY: Final = bytes(8)
_BEHIND_AN_EVENT: Final = 3
"""Headers behind kiel-event when a record is sealed: its details, the instance, the number."""


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
_ROTATION_IN_BATCH: Final = header_size((CHAIN, bytes(ROTATION_SIZE)))


class State(NamedTuple):
    """Where a stream stands: the last number that was given, the digest of that record, and the id
    of the key that seals the next one; an empty text without a key, or where it is not known."""

    sequence: int
    digest: bytes
    key_id: str = NO_KEY

    @classmethod
    def of(cls, data: bytes | None) -> "State":
        """Return what ``to_bytes()`` made, or the state of a stream without records."""
        if data is None:
            return cls(0, FIRST)
        sequence, digest, key = _STATE.unpack(data)
        return cls(sequence, digest, key_text(key))

    def to_bytes(self) -> bytes:
        """Return it as it is kept on disk."""
        return _STATE.pack(self.sequence, self.digest, key_bytes(self.key_id))


def _event(headers: tuple[Header, ...]) -> str:
    """Return the name of an event that has a number and no digest yet; an empty text for other
    records."""
    if len(headers) > _BEHIND_AN_EVENT:
        name, value = headers[-_BEHIND_AN_EVENT - 1]
        if name == EVENT:
            return (value or b"").decode()
    return ""


def key_bytes(key_id: str) -> bytes:
    """Return a key id as 8 bytes; zeros for an empty one."""
    return bytes.fromhex(key_id) or _NO_KEY


def key_text(key: bytes) -> str:
    """Undo ``key_bytes()``."""
    return NO_KEY if key == _NO_KEY else key.hex()


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
        chain: makes the digests of streams without a start record; None for no chain.
        keyring: has the chains that start and rotation records name; by default ``chain`` alone.
        keeps_leaves: whether checkpoints will be made, which need the leaves of their trees.
    """

    def __init__(
        self,
        instance: str,
        chain: Chain | None = None,
        *,
        keyring: Keyring | None = None,
        keeps_leaves: bool = False,
    ) -> None:
        self.instance = instance
        self.chained = chain is not None
        self._header: Header = (INSTANCE, instance.encode("ascii"))
        self._chain = chain
        self._keyring = Keyring(chain) if chain is not None and keyring is None else keyring
        self._chains: dict[str, Chain] = {}
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
    def key_id(self) -> str | None:
        """Which key seals streams that begin now; None without a chain."""
        return None if self._keyring is None else self._keyring.current.key_id

    def key_id_of(self, topic: str) -> str:
        """Return which key seals the next record of ``topic``; an empty text without one."""
        chain = self._chains.get(topic, self._chain)
        return NO_KEY if chain is None else chain.key_id

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
        event = _event(headers)
        digest_of = self._digest_of.get(topic)
        if digest_of is None:
            named = self._named(headers, "key") if event == START else None
            digest_of = self._seal_with(named or chain, topic)
        prev, body = self._digests.get(topic, FIRST), encode_body(key, value, headers)
        link, size = prev + digest_of(prev, body), _LINK_IN_BATCH
        if event == ROTATION and (named := self._named(headers, "to")) is not None:
            link += self._seal_with(named, topic)(prev, body)
            size = _ROTATION_IN_BATCH
        digest = self._digests[topic] = link[-DIGEST_SIZE:]
        if self._leaves is not None:
            self._fresh.append(self._leaf(digest, body) if chain.key_id else digest)
        sealed: T = _with_headers(item, ((CHAIN, link),), size)
        return sealed

    def _seal_with(self, chain: Chain, topic: str) -> Digest:
        """Have ``chain`` seal the records of ``topic`` from now on; return what makes digests."""
        self._chains[topic] = chain
        digest_of = self._digest_of[topic] = chain.digest(topic, self.instance)
        return digest_of

    def _named(self, headers: tuple[Header, ...], name: str) -> Chain | None:
        """Return the chain whose key the details of an event name; None for none that is known."""
        key_id = json.loads(headers[-_BEHIND_AN_EVENT][1] or b"").get(name)
        known = self._keyring is not None and key_id in self._keyring
        return self._keyring[key_id] if self._keyring is not None and known else None

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
        digest, key_id = self._digests.get(topic, FIRST), self.key_id_of(topic)
        return State(self._sequences[topic], digest, key_id).to_bytes()

    def restore(self, topic: str, state: bytes | None) -> None:
        """Continue behind ``state``; None is the beginning of a stream."""
        if state is None:
            for known in (self._sequences, self._digests, self._chains, self._digest_of):
                known.pop(topic, None)
            return
        self._sequences[topic], self._digests[topic], key_id = State.of(state)
        if self._keyring is not None and key_id in self._keyring:
            self._seal_with(self._keyring[key_id], topic)

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
