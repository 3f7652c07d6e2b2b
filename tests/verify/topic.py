"""A topic in memory: partitions of stamped records, and the audit of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from kiel_logging.proof.chain import Chain
from kiel_logging.records import Record
from kiel_logging.verify import pages
from kiel_logging.verify.audit import Audit
from kiel_logging.verify.judge import judge
from kiel_logging.verify.names import TopicVerdict
from kiel_logging.verify.window import WHOLE, Window
from tests.support.stamper import Stamped, Stamper


class Message(NamedTuple):
    """A record as confluent-kafka hands it over."""

    number: int
    at: int
    time: int
    of_key: bytes | None
    content: bytes | None
    marks: Any

    def error(self) -> None:
        """No error."""

    def partition(self) -> int:
        """Where it is,"""
        return self.number

    def offset(self) -> int:
        """and there."""
        return self.at

    def timestamp(self) -> tuple[int, int]:
        """The kind of timestamp, and the milliseconds."""
        return 1, self.time

    def key(self) -> bytes | None:
        """The key."""
        return self.of_key

    def value(self) -> bytes | None:
        """The value."""
        return self.content

    def headers(self) -> Any:
        """The headers as a list, None for none; UnicodeDecodeError if a name is no UTF-8."""
        if isinstance(self.marks, Exception):
            raise self.marks
        return None if self.marks is None else list(self.marks)


Partitions = list[list[Stamped]]
Found = dict[str, int]


def shipped(count: int, *, partitions: int = 1, stamper: Stamper | None = None) -> Partitions:
    """A stream from its start to its end, dealt out to partitions in turn."""
    stamper = stamper or Stamper()
    words = [stamper.start()]
    words += [stamper.stamp(b"value %d" % number, b"key") for number in range(count)]
    words.append(stamper.end())
    return [words[first::partitions] for first in range(partitions)]


def audited(
    partitions: Partitions,
    *,
    order: Iterable[int] | None = None,
    secret: bytes | Sequence[bytes] | None = None,
    window: Window = WHOLE,
    base: int = 0,
    began: int = 1_000,
    topic: str = "t",
    memory: int = pages.DEFAULT,
) -> TopicVerdict:
    """The verdict, with the partitions read in ``order``: a partition for each record.

    Timestamps are the places in their partition, from ``began`` on.
    """
    if order is None:
        order = [number for number, records in enumerate(partitions) for _ in records]
    secrets = (secret,) if isinstance(secret, bytes) else secret or ()
    chains = tuple(map(Chain.of, secrets))
    audit, read = Audit(topic, chains, memory=memory), [0] * len(partitions)
    for partition in order:
        offset = read[partition]
        key, value, headers = partitions[partition][offset]
        audit.add(partition, base + offset, Record(key, value, tuple(headers), began + offset))
        read[partition] += 1
    assert read == [len(records) for records in partitions]
    return judge(audit, topic, window)


def found(partitions: Partitions, **more: object) -> Found:
    """Each finding and its count, but for the absence of a key."""
    return harm(audited(partitions, **more))  # type: ignore[arg-type]


def harm(verdict: TopicVerdict) -> Found:
    """The findings of a verdict, but for the absence of a key where none was given."""
    counts = dict(verdict.counts())
    if not verdict.keyed:
        counts.pop("unsigned", None)
    return counts
