"""Reads records back while the shop still logs: a separate process, with confluent-kafka.

In the shop's process it would compete with the shop's threads for the GIL, and be measured with
them. It writes one line when it is ready, waits for one when all has been logged, and then writes
the records it has read, as a pickle. The tally compares them with those that were logged.
"""

import json
import math
import os
import pickle
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Final, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message
from confluent_kafka import TopicPartition as Assignment

from kiel_logging.confluent import READ_ALL, is_end, watermarks
from kiel_logging.demo.cluster import Cluster, child
from kiel_logging.output import CannotRun
from kiel_logging.records import TopicPartition

_PATIENCE_S: Final = 30.0


class Arrival(NamedTuple):
    """A record that was read.

    ``size`` is that of its value, in bytes, and ``latency`` the seconds from its own time to its
    arrival. Only the first record of a partition has its ``value``; the others would fill memory.
    """

    partition: TopicPartition
    offset: int
    key: bytes | None
    record_id: int
    session: str
    size: int
    latency: float
    value: bytes


class Tally:
    """Compares records.

    Args:
        logged: the topic and the id of each record that was logged.
        arrivals: the records that came back, in the order in which they were read.

    Attributes:
        expected: how many were logged.
        lost: how many of them never came.
        extra: how many came twice, or were not logged to their topic.
        records: partition -> how many came.
        keys: topic -> the different keys in it; ``split_keys`` are in more than one partition.
        skipped: how many the brokers removed before they were read.
        out_of_order: how many came after a later one of the same visit and partition.
    """

    def __init__(self, logged: Iterable[tuple[str, int]], arrivals: Sequence[Arrival]) -> None:
        wanted, self.arrivals = Counter(logged), arrivals
        found = Counter((one.partition.topic, one.record_id) for one in arrivals)
        self.expected = wanted.total()
        self.lost, self.extra = (wanted - found).total(), (found - wanted).total()
        self.records = Counter(one.partition for one in arrivals)
        placed = {(one.partition, one.key) for one in arrivals if one.key is not None}
        times = Counter((partition.topic, key) for partition, key in placed)
        self.keys = Counter(topic for topic, _ in times)
        self.split_keys = sum(number > 1 for number in times.values())
        self.out_of_order = self.skipped = 0
        newest: Counter[object] = Counter()
        for one in arrivals:
            self.skipped += one.offset - newest[one.partition]
            newest[one.partition] = one.offset + 1
            visit = (one.partition, one.session)
            self.out_of_order += one.record_id < newest[visit]
            newest[visit] = one.record_id

    @property
    def is_exactly_once(self) -> bool:
        """Whether each record came, and came once."""
        return not self.lost and not self.extra


def percentile(values: Iterable[float], percent: float) -> float:
    """Return the nearest-rank percentile; NaN if there are no values."""
    ordered = sorted(values)
    if not ordered:
        return math.nan
    return ordered[max(math.ceil(len(ordered) * percent / 100), 1) - 1]


@contextmanager
def reading(
    cluster: Cluster, partitions: list[TopicPartition]
) -> Iterator[Callable[[], list[Arrival]]]:
    """Start to read ``partitions``, which are empty as yet.

    Yield a function to call when all has been logged: it returns the records that came back.

    Raises:
        CannotRun: the reader died.
    """
    with child("reader", json.dumps([cluster.brokers, partitions])) as process:

        def finish() -> list[Arrival]:
            written, _ = process.communicate(b"finish\n")
            if process.returncode:
                raise CannotRun("the reader died, see above")
            return [Arrival(*one) for one in pickle.loads(written)]  # noqa: S301 - our own process

        assert process.stdout is not None
        if not process.stdout.readline():
            raise CannotRun("the reader did not start, see above")
        yield finish


def main() -> None:
    """Read until a line comes in, then up to the high watermarks; write a pickle of all records."""
    finish = threading.Event()
    threading.Thread(target=_listen, args=[finish], daemon=True).start()
    brokers, listed = json.loads(sys.argv[1])
    partitions = [TopicPartition(*each) for each in listed]
    # The mock cluster answers an empty fetch only after fetch.wait.max.ms, even if records have
    # come in meanwhile; the default of 500 ms would be the latency that is measured.
    ours = {"bootstrap.servers": brokers, "group.id": "kiel-demo", "fetch.wait.max.ms": 5}
    consumer = Consumer({**READ_ALL, **ours})
    consumer.assign([Assignment(*each, OFFSET_BEGINNING) for each in partitions])
    for _ in partitions:  # each has an end, and is read from now on
        consumer.poll(_PATIENCE_S)
    sys.stdout.buffer.write(b"ready\n")
    sys.stdout.buffer.flush()
    arrivals: list[Arrival] = []
    while not finish.is_set():
        arrivals += _read(consumer, 0.2)
    ends = {at: watermarks(consumer, at, _PATIENCE_S)[1] for at in partitions}
    begun = dict.fromkeys(partitions, 0)
    while begun | {one.partition: one.offset + 1 for one in arrivals} != ends:
        several = (_read(consumer, 0.2) for _ in range(150))
        if not (more := next(filter(None, several), [])):
            break  # nothing for half a minute: the rest is lost
        arrivals += more
    sys.stdout.buffer.write(pickle.dumps([tuple(one) for one in arrivals]))


def _listen(finish: threading.Event) -> None:
    if not sys.stdin.readline():
        os._exit(0)  # the shop's process is gone
    finish.set()


def _read(consumer: Consumer, seconds: float) -> list[Arrival]:
    """Return the records of the next seconds."""
    arrivals, deadline = [], time.monotonic() + seconds
    while (remaining := deadline - time.monotonic()) > 0:
        message = consumer.poll(remaining)
        if message is not None and not is_end(message):
            arrivals.append(_arrival(message, time.time()))
    return arrivals


def _arrival(message: Message, now: float) -> Arrival:
    value, offset = message.value() or b"", message.offset() or 0
    fields = json.loads(value)
    return Arrival(
        partition=TopicPartition(message.topic() or "", message.partition() or 0),
        offset=offset,
        key=message.key(),
        record_id=fields["record_id"],
        session=fields["session"],
        size=len(value),
        latency=now - datetime.fromisoformat(fields["time"]).timestamp(),
        value=b"" if offset else value,
    )


if __name__ == "__main__":
    main()
