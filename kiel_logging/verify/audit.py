"""The audit of one topic: takes record by record, and notes each with the stream it is of.

Pure: it knows of partitions and offsets, and nothing of Kafka. Records come in the order of their
offsets within a partition; partitions may interleave in any way.

``Audit.add()`` takes any record. ``Audit.take()`` has C take those that continue a known stream,
which are nearly all; it notes what ``add()`` would.

Digests of several kinds may stand under the name of one instance: with a key, without one, and none
at all. Each kind is a separate stream here, for anybody can write records of the last two;
``judge.py`` decides which of them is the instance's. A stream with a key may have changed it, so
which of the keys that were given sealed which numbers is noted too. Records whose digests match
nothing are only counted, with some examples.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from kiel_logging.proof import headers as names
from kiel_logging.proof.chain import DIGEST_SIZE, LINK_SIZE, ROTATION_SIZE, Chain, Digest
from kiel_logging.proof.instances import INSTANCE
from kiel_logging.records import Record
from kiel_logging.verify import events, pages
from kiel_logging.verify.events import Claim, Report
from kiel_logging.verify.evidence import Account, Registry
from kiel_logging.verify.pages import PLACE_BITS, Room
from kiel_logging.verify.stream import Span, Stream, note
from kiel_logging.wire.record_body import encode_body

_MOST_DIGITS: Final = 18
_FIRST_BITS: Final = struct.Struct(">q24xq24x")
_FIRST_BITS_OF_ROTATION: Final = struct.Struct(">q56xq24x")
"""The first 64 bits of the first and the last digest of a link."""
_MOST_CLAIMS: Final = 10
_A_NUMBER: Final = 100
"""Bytes that a number of a record takes whose digest does not match."""


class Unverified:
    """The records under the name of one instance whose digests match nothing.

    Attributes:
        count: how many.
        numbers: theirs, as far as there is memory; they may be wrong as well.
        places: the first of them, by partition.
        claims: what records among them that start a stream say.
        renamed: whether one of those is as it was sent, but to another topic.
    """

    __slots__ = ("claims", "count", "numbers", "places", "renamed")

    def __init__(self) -> None:
        self.count = 0
        self.numbers: set[int] = set()
        self.places: dict[int, list[int]] = {}
        self.claims: set[Claim] = set()
        self.renamed = False


class _Source(NamedTuple):
    """The stream of the records that an instance sends, what makes their digests, and which numbers
    it has sealed; None for the latter where only one key was given."""

    digest: Digest
    stream: Stream | None
    span: Span | None = None


class Audit:
    """The records of one topic, as far as they were read.

    Args:
        topic: the name of the topic for which the records were sealed.
        chains: of the keys that were given.
        registry: where signed checkpoints are noted.
        memory: most bytes that it may take, about.
        has_checkpoints: whether this is a topic of checkpoints, which are evidence for others.

    Attributes:
        records: how many.
        key_ids: which keys were given.
        unmarked: those without a kiel- header.
        unreadable: those whose headers are ours and make no sense; ``unreadable_at`` has places.
        uncounted: those of streams for which there was no memory.
        unverified: by instance, those whose digests match nothing.
        unlisted: the number of further ones, of instances that ``unverified`` has no memory for.
    """

    def __init__(
        self,
        topic: str,
        chains: Sequence[Chain] = (),
        registry: Registry | None = None,
        *,
        memory: int = pages.DEFAULT,
        has_checkpoints: bool = False,
    ) -> None:
        self.topic = topic
        self.registry = registry or Registry()
        self._has_checkpoints = has_checkpoints
        self.key_ids = {chain.key_id for chain in chains}
        self._chains = (*chains, Chain.of())
        self._room = Room(memory)
        self._for_strangers = Room(pages.FOR_STRANGERS)
        self._sources: dict[bytes, _Source] = {}
        self._plain: dict[bytes, Stream] = {}
        self._keyed: dict[bytes, Stream] = {}
        self._unkeyed: dict[bytes, Stream] = {}
        self.records = self.unmarked = self.unreadable = self.uncounted = self.unlisted = 0
        self.unmarked_at: dict[int, list[int]] = {}
        self.unreadable_at: dict[int, list[int]] = {}
        self.unverified: dict[bytes, Unverified] = {}

    @property
    def keyed(self) -> bool:
        """Whether any key was given."""
        return bool(self.key_ids)

    def add(self, partition: int, offset: int, record: Record) -> None:
        """Note one record."""
        self.records += 1
        place = partition << PLACE_BITS | offset
        marks = dict(record.headers)
        link = marks.get(names.CHAIN)
        instance, number = marks.get(names.INSTANCE), marks.get(names.SEQUENCE)
        if self._has_checkpoints and names.EVENT in marks:
            self._add_evidence(marks.get(names.DETAILS))
        if (
            instance is None
            or number is None
            or not _is_number(number)
            or not (instance in self._sources or instance in self._plain or _is_instance(instance))
        ):
            self._add_stranger(place, marks)
            return
        sequence = int(number)
        if link is None:
            stream = self._plain.get(instance) or self._open(self._plain, instance)
            prev, own = 0, hash(record[:3])
        else:
            source = self._verified(instance, record, link)
            if source is None:
                self._add_unverified(instance, sequence, place, record, link)
                return
            stream = source.stream
            if source.span is not None:
                source.span.note(sequence)
            bits = _FIRST_BITS if len(link) == LINK_SIZE else _FIRST_BITS_OF_ROTATION
            prev, own = bits.unpack(link)
        if stream is None:
            self.uncounted += 1
            return
        stream.add(sequence, prev, own, place, record.timestamp)
        if names.EVENT in marks:
            details, rotates = marks.get(names.DETAILS), len(link or b"") == ROTATION_SIZE
            report = Report(stream, self.topic, sequence, details, rotates=rotates)
            self._take_event(report, marks[names.EVENT], place)

    def _take_event(self, report: Report, event: bytes | None, place: int) -> None:
        if not events.take(report, event, self.registry):
            self._add_unreadable(place)

    def take(
        self, messages: list[Any], at: int, ends: dict[int, int], newest: dict[int, Any], /
    ) -> int:
        """Note the messages of a reader from the index ``at`` on that continue known streams;
        return the index of the first that does not, which is for ``add()``."""
        stopped = take(messages, at, ends, newest, self._sources, self._plain)
        self.records += stopped - at
        return stopped

    def _add_evidence(self, details: bytes | None) -> None:
        found = events.evidence(details)
        if found is not None and found.checkpoint.topic != self.topic:
            self.registry.add(found, outside=True)

    def add_unreadable(self, partition: int, offset: int) -> None:
        """Note a record whose headers can't even be read."""
        self.records += 1
        self._add_unreadable(partition << PLACE_BITS | offset)

    def _verified(self, instance: bytes, record: Record, link: bytes) -> _Source | None:
        """Return which source of the instance made the digest of a record; None for none."""
        # The link has to be the last header: a copy of it in front is covered by the digest.
        if record.headers[-1][0] != names.CHAIN or len(link) not in (LINK_SIZE, ROTATION_SIZE):
            return None
        prev, own = link[:DIGEST_SIZE], link[DIGEST_SIZE:]
        body = encode_body(record.key, record.value, record.headers[:-1])
        if len(link) == ROTATION_SIZE:
            return self._rotated(instance, dict(record.headers), prev, own, body)
        source = self._sources.get(instance)
        if source is not None and source.digest(prev, body) == own:
            return source
        name = instance.decode("ascii")
        for chain in self._chains:
            digest = chain.digest(self.topic, name)
            if digest(prev, body) == own:
                return self._source(chain.key_id, instance, digest)
        return None

    def _rotated(
        self,
        instance: bytes,
        marks: dict[str, bytes | None],
        prev: bytes,
        digests: bytes,
        body: bytes,
    ) -> _Source | None:
        """Return the source of a record that changes the key: both of its digests have to match, as
        far as their keys were given; None if one does not, or neither key was given."""
        if marks.get(names.EVENT) != names.ROTATION.encode():
            return None
        ids = events.rotation(marks.get(names.DETAILS))
        sealed = dict(zip(ids, (digests[:DIGEST_SIZE], digests[DIGEST_SIZE:]), strict=True))
        given = [chain for chain in self._chains if chain.key_id and chain.key_id in sealed]
        name = instance.decode("ascii")
        if not given or any(
            chain.digest(self.topic, name)(prev, body) != sealed[chain.key_id] for chain in given
        ):
            return None
        return _Source(given[0].digest(self.topic, name), self._stream_of(instance, keyed=True))

    def _source(self, key_id: str, instance: bytes, digest: Digest) -> _Source:
        stream = self._stream_of(instance, keyed=bool(key_id))
        if stream is None:
            return _Source(digest, None)
        is_one_of_several = bool(key_id) and len(self.key_ids) > 1
        span = stream.spans.setdefault(key_id, Span()) if is_one_of_several else None
        source = self._sources[instance] = _Source(digest, stream, span)
        return source

    def _stream_of(self, instance: bytes, *, keyed: bool) -> Stream | None:
        streams = self._keyed if keyed else self._unkeyed
        found = streams.get(instance)
        return found or self._open(streams, instance, chained=True, keyed=keyed)

    def _open(
        self,
        streams: dict[bytes, Stream],
        instance: bytes,
        *,
        chained: bool = False,
        keyed: bool = False,
    ) -> Stream | None:
        if not self._room.take(pages.STREAM):
            return None
        name = instance.decode("ascii")
        stream = Stream(name, chained=chained, keyed=keyed, room=self._room)
        streams[instance] = stream
        return stream

    def _add_unverified(
        self, instance: bytes, number: int, place: int, record: Record, link: bytes
    ) -> None:
        found = self.unverified.get(instance)
        if found is None:
            if not self._for_strangers.take(pages.STREAM):
                self.unlisted += 1
                return
            found = self.unverified[instance] = Unverified()
        found.count += 1
        note(found.places, place)
        if self._for_strangers.take(_A_NUMBER):
            found.numbers.add(number)
        marks = dict(record.headers)
        claim = events.claim(marks.get(names.EVENT), marks.get(names.DETAILS))
        if claim is not None and len(found.claims) < _MOST_CLAIMS:
            found.claims.add(claim)
            found.renamed |= self._is_of(claim.topic, instance, record, link)

    def _is_of(self, topic: str, instance: bytes, record: Record, link: bytes) -> bool:
        """Whether a record is as it was sent, to another topic."""
        if topic == self.topic or len(link) != LINK_SIZE or not topic.isascii():
            return False
        body = encode_body(record.key, record.value, record.headers[:-1])
        return any(
            chain.digest(topic, instance.decode("ascii"))(link[:DIGEST_SIZE], body)
            == link[DIGEST_SIZE:]
            for chain in self._chains
        )

    def _add_stranger(self, place: int, marks: dict[str, bytes | None]) -> None:
        if any(name in marks for name in names.NAMES):
            self._add_unreadable(place)
            return
        self.unmarked += 1
        note(self.unmarked_at, place)

    def _add_unreadable(self, place: int) -> None:
        self.unreadable += 1
        note(self.unreadable_at, place)

    # The notes.

    @property
    def instances(self) -> set[bytes]:
        """The instances of which any record is there, or evidence elsewhere."""
        elsewhere = self.registry.instances(self.topic)
        return elsewhere.union(self.unverified, self._plain, self._keyed, self._unkeyed)

    def account(self, stream: Stream) -> Account:
        """Return the checkpoints of a stream."""
        return self.registry.account(self.topic, stream.instance, stream.public)

    def streams_of(self, instance: bytes) -> list[Stream]:
        """Return the streams under the name of an instance, those that prove most in front; an
        empty one if no intact record is there."""
        kinds = (self._keyed, self._unkeyed, self._plain)
        found = [streams[instance] for streams in kinds if instance in streams]
        return found or [Stream(instance.decode("ascii"), chained=True)]

    def by_kind(self) -> Iterator[tuple[str, Stream]]:
        """Yield all streams with the name of their kind."""
        for kind, streams in self._kinds.items():
            yield from ((kind, stream) for stream in streams.values())

    @property
    def _kinds(self) -> dict[str, dict[bytes, Stream]]:
        return {"keyed": self._keyed, "digests": self._unkeyed, "plain": self._plain}

    def restore(self, kind: str, instance: str) -> Stream:
        """Return an empty stream, which an earlier run has found, and of which it has more."""
        chained, keyed = kind != "plain", kind == "keyed"
        made = Stream(instance, chained=chained, keyed=keyed, room=self._room)
        self._kinds[kind][instance.encode()] = made
        return made

    def streams(self) -> Iterator[Stream]:
        """Yield all streams."""
        return (stream for _, stream in self.by_kind())

    def sealed(self) -> Iterator[Stream]:
        """Yield all streams with digests."""
        yield from self._keyed.values()
        yield from self._unkeyed.values()

    def tops(self) -> dict[str, int]:
        """Return the highest number of each instance that is there, or signed."""
        found = {}
        for instance in self.instances:
            stream = self.streams_of(instance)[0]
            found[stream.instance] = max(stream.last, self.account(stream).last)
        return found

    @property
    def lacks_memory(self) -> int:
        """How many records could not be noted."""
        uncounted = self.uncounted + self.registry.uncounted
        return uncounted + sum(stream.uncounted for stream in self.streams())


def take_in_python(
    _messages: list[Any],
    at: int,
    _ends: dict[int, int],
    _newest: dict[int, Any],
    _sources: dict[bytes, _Source],
    _plain: dict[bytes, Stream],
    /,
) -> int:
    """Leave every message to ``Audit.add()``: without a C compiler it takes them all."""
    return at


try:
    from kiel_logging._accelerator import take
except ImportError:  # there was no C compiler
    take = take_in_python


def _is_number(text: bytes) -> bool:
    """Whether this is how a number is written: one way for each."""
    return text.isdigit() and text[:1] != b"0" and len(text) <= _MOST_DIGITS


def _is_instance(text: bytes) -> bool:
    return INSTANCE.fullmatch(text.decode("ascii", "replace")) is not None
