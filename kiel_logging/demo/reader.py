"""Reads records back while the shop still logs: a separate process, with confluent-kafka.

In the shop's process it would compete with the shop's threads for the GIL, and be measured with
them. It writes one line when it is ready, waits for one when all has been logged, and then writes
the records it has read, as a pickle.
"""

import json
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final

import orjson
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message
from confluent_kafka import TopicPartition as Assignment

from kiel_logging.confluent import READ_ALL, is_end, watermarks
from kiel_logging.demo.cluster import Cluster, DemoError, child
from kiel_logging.demo.tally import Arrival
from kiel_logging.records import TopicPartition

_PATIENCE_S: Final = 30.0


@contextmanager
def reading(
    cluster: Cluster, partitions: list[TopicPartition]
) -> Iterator[Callable[[], list[Arrival]]]:
    """Start to read ``partitions``, which are empty as yet.

    Yield a function to call when all has been logged: it returns the records that came back.

    Raises:
        DemoError: the reader died.
    """
    with child("reader", json.dumps([cluster.brokers, partitions])) as (stdin, stdout):

        def finish() -> list[Arrival]:
            stdin.write(b"finish\n")
            stdin.flush()
            try:
                arrivals: list[Arrival] = pickle.load(stdout)  # noqa: S301 - from our own process
            except EOFError:
                raise DemoError("the reader died, see above") from None
            return arrivals

        if not stdout.readline():
            raise DemoError("the reader did not start, see above")
        yield finish


class Reader:
    """Reads whole partitions, all of them empty when it is made.

    Attributes:
        arrivals: the records that came so far.
    """

    def __init__(self, brokers: str, partitions: list[TopicPartition]) -> None:
        self.arrivals: list[Arrival] = []
        self._next = dict.fromkeys(partitions, 0)
        # The mock cluster answers an empty fetch only after fetch.wait.max.ms, even if records have
        # come in meanwhile; the default of 500 ms would be the latency that is measured.
        more = {"bootstrap.servers": brokers, "group.id": "kiel-demo", "fetch.wait.max.ms": 5}
        self._consumer = Consumer({**READ_ALL, **more})
        self._consumer.assign([Assignment(*each, OFFSET_BEGINNING) for each in partitions])
        for _ in partitions:  # each has an end, and is read from now on
            self._consumer.poll(_PATIENCE_S)

    def read(self, seconds: float) -> bool:
        """Read for some seconds; return whether a record came."""
        before, deadline = len(self.arrivals), time.monotonic() + seconds
        while (remaining := deadline - time.monotonic()) > 0:
            message = self._consumer.poll(remaining)
            if message is not None and not is_end(message):
                arrival = _arrival(message, time.time())
                self._next[arrival.partition] = arrival.offset + 1
                self.arrivals.append(arrival)
        return len(self.arrivals) > before

    def read_rest(self) -> None:
        """Read up to the high watermarks, or until nothing has come for half a minute."""
        partitions = list(self._next)
        ends = {at: watermarks(self._consumer, at, _PATIENCE_S)[1] for at in partitions}
        while any(self._next[at] < end for at, end in ends.items()):
            if not self.read(0.2) and not self.read(_PATIENCE_S):
                break


def _arrival(message: Message, now: float) -> Arrival:
    value, offset = message.value() or b"", message.offset() or 0
    fields = orjson.loads(value)
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


def main() -> None:
    """Read until a line comes in, then the rest, and write a pickle of all records."""
    finish = threading.Event()
    threading.Thread(target=_listen, args=[finish], daemon=True).start()
    brokers, partitions = json.loads(sys.argv[1])
    reader = Reader(brokers, [TopicPartition(*each) for each in partitions])
    sys.stdout.buffer.write(b"ready\n")
    sys.stdout.buffer.flush()
    while not finish.is_set():
        reader.read(0.2)
    reader.read_rest()
    sys.stdout.buffer.write(pickle.dumps(reader.arrivals))


def _listen(finish: threading.Event) -> None:
    if sys.stdin.readline():
        finish.set()
        sys.stdin.readline()
    os._exit(0)  # the shop's process is gone


if __name__ == "__main__":
    main()
