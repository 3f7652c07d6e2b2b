"""Reading back while the shop still logs: confluent-kafka's Consumer, in a process of its own.

A process of its own, since a consumer thread would fight the shop's threads for the GIL and the
latency measured would be the fight's.

The two sides talk over a pipe. The reader tells how many records it has read, for the first time
when it is ready, and at last sends its :class:`Tally`; the parent sends one message, when all has
been logged. When the parent is gone, so is the pipe, and the reader ends.
"""

import multiprocessing
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message
from confluent_kafka import TopicPartition as Assignment

from kiel_logging.confluent import READ_ALL, is_end, watermarks
from kiel_logging.demo.errors import DemoError
from kiel_logging.demo.phases import Phase
from kiel_logging.demo.tally import Arrival, Tally
from kiel_logging.records import TopicPartition

_PATIENCE_S: Final = 30.0
_REPORT_EVERY_S: Final = 0.05
_FINISH: Final = "finish"

_CONSUMER: Final = {
    **READ_ALL,
    "group.id": "kiel-demo",
    "auto.offset.reset": "earliest",
    # The mock cluster answers an empty fetch only when this time is over, even if records have
    # come in meanwhile; the default of 500 ms would be the latency that is measured.
    "fetch.wait.max.ms": 5,
    "fetch.min.bytes": 1,
}


class Reader:
    """The parent's end of the pipe. Made by :func:`reading`.

    Attributes:
        read: how many records have been read, as far as it is known here.
        tally: the result, once there is one.
    """

    def __init__(self, connection: Connection) -> None:
        self.read = 0
        self.tally: Tally | None = None
        self._connection = connection

    def receive(self, timeout: float = 0.0) -> None:
        """Take in what the reader has sent; waits for something for ``timeout`` seconds.

        Raises:
            DemoError: the reader has died.
        """
        while self.tally is None and self._connection.poll(timeout):
            self._take(self._message())
            timeout = 0.0

    def finish(self) -> None:
        """Tell the reader that all has been logged: it reads up to the high watermarks and ends."""
        self._connection.send(_FINISH)

    def wait_ready(self) -> None:
        """Return when the reader is about to read.

        Raises:
            DemoError: it is not, after half a minute.
        """
        if not self._connection.poll(_PATIENCE_S):
            raise DemoError("the reader did not start")
        self._take(self._message())

    def _message(self) -> int | Tally:
        try:
            message: int | Tally = self._connection.recv()
        except EOFError:
            raise DemoError("the reader died, see above") from None
        return message

    def _take(self, message: int | Tally) -> None:
        if isinstance(message, Tally):
            self.tally = message
            self.read = message.records
        else:
            self.read = message


@contextmanager
def reading(
    config: Mapping[str, Any], partitions: list[TopicPartition], phases: Sequence[Phase]
) -> Iterator[Reader]:
    """Yield a reader of ``partitions`` that has started; ``config`` is the consumer's."""
    # Not forked: the parent has threads.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    arguments = (theirs, {**_CONSUMER, **config}, partitions, phases)
    process = context.Process(target=_read, args=arguments, name="reader", daemon=True)
    process.start()
    theirs.close()
    try:
        with ours:
            reader = Reader(ours)
            reader.wait_ready()
            yield reader
    finally:
        process.join(_PATIENCE_S)
        process.kill()
        process.join()


def _read(
    connection: Connection,
    config: Mapping[str, Any],
    partitions: list[TopicPartition],
    phases: Sequence[Phase],
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    consumer = Consumer(dict(config))
    tally = Tally(phases)
    try:
        consumer.assign([Assignment(*partition, OFFSET_BEGINNING) for partition in partitions])
        _wait_until_fetching(consumer, partitions)
        connection.send(0)
        _follow(consumer, tally, connection)
        _catch_up(consumer, tally, partitions, connection)
        connection.send(tally)
    except (EOFError, ConnectionError):
        pass  # the parent is gone, nobody wants the result
    finally:
        consumer.close()


def _wait_until_fetching(consumer: Consumer, partitions: list[TopicPartition]) -> None:
    """Return when the end of each partition has been reached; they are empty as yet."""
    waiting = set(partitions)
    deadline = time.monotonic() + _PATIENCE_S
    while waiting:
        message = consumer.poll(max(deadline - time.monotonic(), 0.0))
        if message is None:
            raise KafkaException(f"no leader serves {', '.join(map(str, waiting))}")
        if not is_end(message):
            raise KafkaException(f"{message.topic()} is not empty: is somebody else writing to it?")
        waiting.discard(TopicPartition(*_position(message)[:2]))


def _follow(consumer: Consumer, tally: Tally, connection: Connection) -> None:
    """Read until the parent says that all has been logged."""
    while not connection.poll():
        _read_for(consumer, tally, _REPORT_EVERY_S)
        connection.send(tally.records)
    connection.recv()


def _catch_up(
    consumer: Consumer, tally: Tally, partitions: list[TopicPartition], connection: Connection
) -> None:
    """Read to the high watermarks; give up when nothing has come for half a minute."""
    ends = {at: watermarks(consumer, at, _PATIENCE_S)[1] for at in partitions}
    last_progress = time.monotonic()
    while any(tally.next_offset(partition) < end for partition, end in ends.items()):
        before = tally.records
        _read_for(consumer, tally, _REPORT_EVERY_S)
        connection.send(tally.records)
        if tally.records > before:
            last_progress = time.monotonic()
        elif time.monotonic() > last_progress + _PATIENCE_S:
            break


def _read_for(consumer: Consumer, tally: Tally, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        message = consumer.poll(left)
        if message is not None and not is_end(message):
            tally.add(_arrival(message, time.time()))


def _arrival(message: Message, arrived: float) -> Arrival:
    topic, partition, offset = _position(message)
    value = message.value() or b""
    return Arrival(TopicPartition(topic, partition), offset, message.key(), value, arrived)


def _position(message: Message) -> tuple[str, int, int]:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    return topic, partition, offset
