"""Partitions and streams as they were read: rates, lag, numbers and digests. Pure.

Digests are compared with each other, and computed where a stream has no key. Losses in front of
the first record that was read are not known; ``kiel-logging verify`` checks all of a topic.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from kiel_logging.proof.chain import DIGEST_SIZE, LINK_SIZE, ROTATION_SIZE, Chain, Digest
from kiel_logging.proof.headers import CHAIN, END, PAUSE, START
from kiel_logging.records import TopicPartition
from kiel_logging.tail.entries import Arrival, Mark
from kiel_logging.tail.gaps import Gap
from kiel_logging.wire.record_body import encode_body

WINDOW_S: Final = 10.0
"""Seconds over which rates are taken."""

_MOST_STREAMS: Final = 500
_MOST_NUMBERS: Final = 2_000
_MOST_SHOWN: Final = 20
_MOST_GAPS: Final = 1_000
_UNKEYED: Final = Chain.of(None)


class Stream:
    """One instance in one topic."""

    def __init__(self, topic: str, instance: str) -> None:
        self.topic = topic
        self.instance = instance
        self.records = self.repeats = self.missing = 0
        self._gaps: deque[Gap] = deque(maxlen=_MOST_GAPS)
        self.first = self.last = 0
        self.event = ""
        self.breaks: list[str] = []
        self._is_chained = self._is_unkeyed = False
        self._digest: Digest = _UNKEYED.digest(topic, instance)
        self._links: dict[int, tuple[bytes, bytes]] = {}

    @property
    def chain(self) -> str:
        """The state of its chain, in a word."""
        if not self._is_chained:
            return "none"
        if self.breaks:
            return "broken"
        return "intact" if self._is_unkeyed else "linked"

    def take(self, arrival: Arrival, mark: Mark, *, is_repeat: bool) -> None:
        """Note a record."""
        self.repeats += is_repeat
        self.records += not is_repeat
        self._find(mark.number)
        self.first = min(self.first or mark.number, mark.number)
        if mark.number >= self.last:
            self.last = mark.number
            self.event = mark.event if mark.event in (START, PAUSE, END) else ""
        link = dict(arrival.headers).get(CHAIN)
        if link is None:
            if self._is_chained:
                self._break(f"number {mark.number} has no digest")
        elif len(link) in (LINK_SIZE, ROTATION_SIZE):
            self._is_chained = True
            self._check(arrival, mark.number, link)

    def miss(self, gap: Gap) -> None:
        """Note a gap."""
        self._gaps.append(gap)
        self.missing += gap.last - gap.first + 1

    def _find(self, number: int) -> None:
        """Note that the number is not missing any more: its broker was down, and is back."""
        for gap in self._gaps:
            if gap.first <= number <= gap.last:
                self.missing -= 1
                self._gaps.remove(gap)
                rest = gap._replace(last=number - 1), gap._replace(first=number + 1)
                self._gaps.extend(one for one in rest if one.first <= one.last)
                return

    def _check(self, arrival: Arrival, number: int, link: bytes) -> None:
        before, digest = link[:DIGEST_SIZE], link[-DIGEST_SIZE:]
        headers = tuple(one for one in arrival.headers if one[0] != CHAIN)
        body = encode_body(arrival.key, arrival.value, headers)
        if self._digest(before, body) == link[DIGEST_SIZE:LINK_SIZE]:
            self._is_unkeyed = True
        elif self._is_unkeyed:
            self._break(f"number {number} is not what was sent: its digest does not match")
        known = self._links.get(number)
        if known is not None and known != (before, digest):
            self._break(f"number {number} is there twice, with different digests")
        if (previous := self._links.get(number - 1)) and previous[1] != before:
            self._break(f"number {number} does not continue the record before it")
        if (following := self._links.get(number + 1)) and following[0] != digest:
            self._break(f"number {number + 1} does not continue the record before it")
        self._links[number] = before, digest
        if len(self._links) > _MOST_NUMBERS:
            del self._links[next(iter(self._links))]

    def _break(self, text: str) -> None:
        if text not in self.breaks and len(self.breaks) < _MOST_SHOWN:
            self.breaks.append(text)

    def document(self) -> dict[str, Any]:
        """Return all of it as a JSON document."""
        names = ("topic", "instance", "records", "repeats", "missing", "first", "last", "event")
        own = {name: getattr(self, name) for name in names}
        return {**own, "chain": self.chain, "breaks": self.breaks}


class Streams:
    """All partitions and streams of the topics."""

    def __init__(self) -> None:
        self._streams: dict[tuple[str, str], Stream] = {}
        self._taken: dict[TopicPartition, deque[tuple[float, int]]] = {}
        self._progress: dict[TopicPartition, tuple[int, int]] = {}

    def take(self, arrival: Arrival, now: float, *, is_repeat: bool) -> None:
        """Note a record; ``now`` is in seconds."""
        taken = self._taken.setdefault(arrival.at, deque())
        if taken and taken[-1][0] == now:
            taken[-1] = now, taken[-1][1] + 1
        else:
            taken.append((now, 1))
        _forget(taken, now)
        if (mark := arrival.mark) is not None:
            self._stream(arrival.at.topic, mark.instance).take(arrival, mark, is_repeat=is_repeat)

    def miss(self, gap: Gap) -> None:
        """Note a gap."""
        self._stream(gap.topic, gap.instance).miss(gap)

    def note(self, progress: Mapping[TopicPartition, tuple[int, int]]) -> None:
        """Note the next offset of each partition, and where the partition ends."""
        self._progress = dict(progress)

    def document(self, now: float) -> dict[str, Any]:
        """Return all of it as a JSON document."""
        partitions = []
        for at, (offset, end) in sorted(self._progress.items()):
            taken = self._taken.get(at, deque())
            _forget(taken, now)
            rate = sum(count for _, count in taken) / WINDOW_S
            place = {"topic": at.topic, "partition": at.partition, "offset": offset}
            partitions.append({**place, "end": end, "lag": max(0, end - offset), "rate": rate})
        return {
            "partitions": partitions,
            "streams": [stream.document() for stream in self._streams.values()],
        }

    def _stream(self, topic: str, instance: str) -> Stream:
        stream = self._streams.pop((topic, instance), None) or Stream(topic, instance)
        if len(self._streams) >= _MOST_STREAMS:
            del self._streams[next(iter(self._streams))]
        self._streams[topic, instance] = stream
        return stream


def _forget(taken: deque[tuple[float, int]], now: float) -> None:
    while taken and taken[0][0] <= now - WINDOW_S:
        taken.popleft()
