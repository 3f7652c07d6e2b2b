"""A topic in memory: partitions of stamped records, and the audit of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kiel_logging.proof.chain import Chain
from kiel_logging.verify import pages
from kiel_logging.verify.audit import Audit
from kiel_logging.verify.judge import judge
from kiel_logging.verify.verdict import TopicVerdict
from kiel_logging.verify.window import WHOLE, Window
from tests.support.stamper import Stamped, Stamper

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
        audit.add(partition, base + offset, began + offset, key, value, list(headers))
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
