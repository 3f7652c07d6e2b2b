"""A topic in memory: partitions of stamped records, and the audit of them."""

from __future__ import annotations

from collections.abc import Iterable

from kiel_logging.verify.audit import Audit
from kiel_logging.verify.judge import WHOLE, Window, judge
from kiel_logging.verify.verdict import TopicVerdict
from tests.support.stamper import Stamped, Stamper

Partitions = list[list[Stamped]]
Found = dict[str, int]


def shipped(count: int, *, partitions: int = 1, stamper: Stamper | None = None) -> Partitions:
    """A stream from its first word to its last, dealt out to partitions in turn."""
    stamper = stamper or Stamper()
    words = [stamper.start()]
    words += [stamper.stamp(b"value %d" % number, b"key") for number in range(count)]
    words.append(stamper.end())
    return [words[first::partitions] for first in range(partitions)]


def audited(
    partitions: Partitions,
    *,
    order: Iterable[int] | None = None,
    secret: bytes | None = None,
    window: Window = WHOLE,
    base: int = 0,
) -> TopicVerdict:
    """The verdict, with the partitions read in ``order``: a partition for each record."""
    if order is None:
        order = [number for number, records in enumerate(partitions) for _ in records]
    audit, read = Audit(secret), [0] * len(partitions)
    for partition in order:
        offset = read[partition]
        key, value, headers = partitions[partition][offset]
        audit.add(partition, base + offset, 1_000 + offset, key, value, list(headers))
        read[partition] += 1
    assert read == [len(records) for records in partitions]
    return judge(audit, "t", window)


def found(partitions: Partitions, **more: object) -> Found:
    """What is found, and how often."""
    return dict(audited(partitions, **more).counts())  # type: ignore[arg-type]
