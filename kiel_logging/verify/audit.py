"""The audit of one topic: takes record by record, and notes each with the stream it is of.

Pure: it knows of partitions and offsets, and nothing of Kafka. Records come in the order of their
offsets within a partition; partitions may interleave in any way.
"""

import struct
from typing import Final

from kiel_logging.proof import headers as names
from kiel_logging.proof.chain import DIGEST_SIZE, LINK_SIZE, digester
from kiel_logging.records import Header
from kiel_logging.verify import events
from kiel_logging.verify.pages import PLACE_BITS
from kiel_logging.verify.stream import Stream, note
from kiel_logging.wire.record_body import encode_body

_MOST_DIGITS: Final = 18
_FIRST_BITS: Final = struct.Struct(">Q24xQ24x")
"""The first 64 bits of both digests of a link."""
_HASH_MASK: Final = (1 << 64) - 1


class Audit:
    """What was read of one topic.

    Attributes:
        records: how many.
        keyed: whether digests are checked with a key.
        unmarked: those of nobody, without a header of ours.
        unreadable: those whose headers are ours and make no sense; ``unreadable_at`` has places.
        chained: the streams with a chain, by instance.
        plain: those without.
    """

    def __init__(self, key: bytes | None = None) -> None:
        self.keyed = key is not None
        self._digest = digester(key)
        self.records = self.unmarked = self.unreadable = 0
        self.unmarked_at: dict[int, list[int]] = {}
        self.unreadable_at: dict[int, list[int]] = {}
        self.chained: dict[bytes, Stream] = {}
        self.plain: dict[bytes, Stream] = {}

    def add(
        self,
        partition: int,
        offset: int,
        timestamp: int,
        key: bytes | None,
        value: bytes | None,
        headers: list[Header] | None,
    ) -> None:
        """Note one record."""
        self.records += 1
        place = partition << PLACE_BITS | offset
        marks = dict(headers) if headers else {}
        link = marks.get(names.CHAIN)
        streams = self.plain if link is None else self.chained
        instance, number = marks.get(names.INSTANCE), marks.get(names.SEQUENCE)
        if not headers or instance is None or number is None or not _is_number(number):
            self._add_stranger(place, marks)
            return
        stream = streams.get(instance) or self._open(streams, instance)
        sequence = int(number)
        if stream is None:
            self._add_unreadable(place)
            return
        if link is None:
            prev, own = 0, hash((key, value, tuple(headers))) & _HASH_MASK
        elif self._is_intact(key, value, headers, link):
            prev, own = _FIRST_BITS.unpack(link)
        else:
            stream.add_altered(sequence, place)
            return
        stream.add(sequence, prev, own, place, timestamp)
        if names.EVENT in marks and not events.take(
            stream, sequence, marks[names.EVENT], marks.get(names.DETAILS)
        ):
            self._add_unreadable(place)

    def add_unreadable(self, partition: int, offset: int) -> None:
        """Note a record whose headers can't even be read."""
        self.records += 1
        self._add_unreadable(partition << PLACE_BITS | offset)

    def _is_intact(
        self, key: bytes | None, value: bytes | None, headers: list[Header], link: bytes
    ) -> bool:
        # The link has to be the last header: a copy of it in front is covered by the digest.
        if len(link) != LINK_SIZE or headers[-1][0] != names.CHAIN:
            return False
        body = encode_body(key, value, headers[:-1])
        return self._digest(link[:DIGEST_SIZE], body) == link[DIGEST_SIZE:]

    def _open(self, streams: dict[bytes, Stream], instance: bytes) -> Stream | None:
        name = instance.decode("ascii", "replace")
        if not events.INSTANCE.fullmatch(name):
            return None
        stream = Stream(name, chained=streams is self.chained)
        streams[instance] = stream
        return stream

    def _add_stranger(self, place: int, marks: dict[str, bytes | None]) -> None:
        if any(name in marks for name in names.NAMES):
            self._add_unreadable(place)
            return
        self.unmarked += 1
        note(self.unmarked_at, place)

    def _add_unreadable(self, place: int) -> None:
        self.unreadable += 1
        note(self.unreadable_at, place)


def _is_number(text: bytes) -> bool:
    """Whether this is how a number is written: one way for each."""
    return text.isdigit() and text[:1] != b"0" and len(text) <= _MOST_DIGITS
