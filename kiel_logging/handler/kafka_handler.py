"""KafkaHandler: the ``logging.Handler``. Runs on the threads that log; waits for nothing there."""

import difflib
import inspect
import logging
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from kiel_logging.clients import Producer
from kiel_logging.diagnostics import report
from kiel_logging.errors import ConfigurationError, InvalidTopic, KeyTypeError
from kiel_logging.handler.handoff import CLOSED, Handoff, Item, Stats, make_item
from kiel_logging.handler.key_choice import key_choice
from kiel_logging.handler.log_json import log_json
from kiel_logging.handler.log_record import to_fields
from kiel_logging.handler.loop_thread import Feed, LoopThread
from kiel_logging.handler.shipping import is_shipping, shipping
from kiel_logging.handler.topic_choice import Topic, topic_choice
from kiel_logging.options import Brokers, KeyMaker, check_whole
from kiel_logging.partitioners import Partitioner
from kiel_logging.records import Record
from kiel_logging.serializers import Serializer, encode_key, encode_value

DEFAULT_BATCH_SIZE: Final = 1_000
DEFAULT_LINGER_MS: Final = 50.0
DEFAULT_ACK_TIMEOUT_MS: Final = 30_000
DEFAULT_BUFFER_RECORDS: Final = 100_000
DEFAULT_BUFFER_MEMORY: Final = 64 * 1024 * 1024
DEFAULT_CLOSE_TIMEOUT_MS: Final = 10_000.0

_PASSED_THROUGH: Final = frozenset(inspect.signature(Producer).parameters)

_DROP_REASONS: Final = ((InvalidTopic, "invalid_topic"), (KeyTypeError, "invalid_key"))
_UNSERIALISABLE: Final = "unserialisable"

_TELL_EVERY: Final = 10.0
"""Seconds between two warnings that records are dropped."""

_ALIASES: Final = {
    "acks": "required_acks",
    "bootstrap_servers": "brokers",
    "compression_type": "compression",
    "enable_idempotence": "idempotence",
}
"""What other clients call options of ours."""


class KafkaHandler(logging.Handler):
    """Ships log records to Kafka from a thread of its own.

    Making it neither blocks nor fails because Kafka is away: it connects in the background and
    goes on trying, while records are buffered within bounds. ``emit()`` makes bytes of the record
    and hands them over; it never waits for the network and never raises.

    Args:
        brokers: bootstrap brokers, as Producer takes them.
        topic: a name, a template over the LogRecord's attributes (``"logs.{levelname}"``), or a
            callable that takes the LogRecord.
        level: the lowest level that is shipped.
        key_field: the field that a record's key is taken from: one of its dict, an extra's, or a
            LogRecord's attribute; a dotted path reaches into nested extras. Records without it
            have no key.
        key_maker: makes the key from the record's dict, in place of ``key_field``.
        partitioner: as Producer takes it; here "murmur2" by default, so that records with the
            same key stay in order.
        serializer: takes the record's dict, returns str or bytes; JSON by default.
        compression: "snappy" by default; see Producer.
        batch_size: how many records are worth sending at once.
        linger_ms: milliseconds after which fewer are sent.
        required_acks: as Producer takes it; -1 (all in-sync replicas) by default.
        ack_timeout: milliseconds that the leader may wait for the other replicas.
        buffer_records: most records that wait to be delivered; more are dropped, and counted.
        buffer_memory: most bytes of memory that they take.
        close_timeout_ms: milliseconds that ``close()``, or a ``flush()`` without a timeout, may
            take to deliver what is buffered.
        producer_options: whatever else Producer takes.

    Raises:
        ConfigurationError: names the option, the value and what is allowed.
    """

    def __init__(
        self,
        brokers: Brokers,
        topic: Topic,
        *,
        level: int | str = logging.NOTSET,
        key_field: str | None = None,
        key_maker: KeyMaker | None = None,
        partitioner: str | Partitioner | None = "murmur2",
        serializer: Serializer | None = None,
        compression: str | None = "snappy",
        batch_size: int = DEFAULT_BATCH_SIZE,
        linger_ms: float = DEFAULT_LINGER_MS,
        required_acks: int = -1,
        ack_timeout: int = DEFAULT_ACK_TIMEOUT_MS,
        buffer_records: int = DEFAULT_BUFFER_RECORDS,
        buffer_memory: int = DEFAULT_BUFFER_MEMORY,
        close_timeout_ms: float = DEFAULT_CLOSE_TIMEOUT_MS,
        **producer_options: Any,
    ) -> None:
        _refuse_unknown(producer_options)
        self._topic = topic_choice(topic)
        self._key = key_choice(key_field, key_maker)
        self._serializer = _callable_or_none("serializer", serializer) or log_json
        self._close_timeout = _positive("close_timeout_ms", close_timeout_ms) / 1000
        self._handoff = Handoff(
            max_records=check_whole("buffer_records", buffer_records, least=1),
            max_bytes=check_whole("buffer_memory", buffer_memory, least=1),
            batch_size=batch_size,
            wake=self._wake,
        )
        self._feed = Feed(
            self._handoff,
            {
                "brokers": brokers,
                "partitioner": "murmur2" if partitioner is None else partitioner,
                "compression": compression,
                "batch_size": batch_size,
                "linger_ms": linger_ms,
                "required_acks": required_acks,
                "ack_timeout": ack_timeout,
                **producer_options,
            },
        )
        super().__init__(level)
        self._closed = False
        self._gave_up_at: int | None = None
        self._tell_at = 0.0
        self._loop_thread = LoopThread(self._feed, self._handoff)
        self._loop_thread.start()

    def __repr__(self) -> str:
        return f"<KafkaHandler {self._feed!r} {self._handoff!r}>"

    def _wake(self, full: bool) -> None:
        self._loop_thread.wake(full)

    # On the threads that log.

    def handle(self, record: logging.LogRecord) -> Any:
        """Filter and emit ``record``, without the handler's lock.

        The hand-off has a lock of its own, held for an instant. The handler's is held by
        ``logging.shutdown()`` for all the time that ``flush()`` takes: whoever logs meanwhile,
        the loop thread included, would wait for it.
        """
        passed: Any = self.filter(record)
        if isinstance(passed, logging.LogRecord):  # Python 3.12: a filter may replace it
            record = passed
        if passed:
            self.emit(record)
        return passed

    def emit(self, record: logging.LogRecord) -> None:
        """Hand ``record`` over to the loop thread; never raises, never waits for the network."""
        if is_shipping():
            self._divert(record)
            return
        if self._closed:
            self._handoff.drop(CLOSED)
            return
        try:
            with shipping():
                item = self._to_item(record)
        except Exception as error:
            self._handoff.drop(_drop_reason(error))
            self.handleError(record)
            return
        if not self._handoff.put(item) and not self._closed:
            self._tell_of_a_full_buffer()

    def _to_item(self, record: logging.LogRecord) -> Item:
        fields = to_fields(record, self.formatter)
        key = self._key(fields, record)
        return make_item(
            self._topic(record),
            key,
            Record(
                encode_key(key),
                encode_value(self._serializer(fields)),
                (),
                int(record.created * 1000),
            ),
        )

    def _tell_of_a_full_buffer(self) -> None:
        """Say so, now and then: each drop is counted, not each is told."""
        now = time.monotonic()
        if now >= self._tell_at:
            self._tell_at = now + _TELL_EVERY
            with shipping():
                report(logging.WARNING, "the buffer is full, log records are dropped: %r", self)

    @staticmethod
    def _divert(record: logging.LogRecord) -> None:
        """Show on stderr what was logged while shipping: in Kafka it would make more of itself."""
        last_resort = logging.lastResort
        if last_resort is not None and record.levelno >= last_resort.level:
            last_resort.handle(record)

    # At leisure.

    def flush(self, timeout: float | None = None) -> int:  # type: ignore[override] # tells more
        """Deliver what is buffered.

        Args:
            timeout: seconds; ``close_timeout_ms`` when left out.

        Returns:
            How many records are still undelivered.
        """
        emitted = self._handoff.stats(0).emitted
        self._loop_thread.flush(self._close_timeout if timeout is None else timeout)
        undelivered = self._handoff.outstanding
        if timeout is None and undelivered:
            self._gave_up_at = emitted
        return undelivered

    def close(self) -> None:
        """Deliver what is buffered within ``close_timeout_ms``, then end the loop thread.

        What could not be delivered is told on stderr.
        """
        if not self._closed:
            self._closed = True
            self._handoff.close()
            self._loop_thread.stop(self._time_to_close())
            self._tell_what_is_lost()
        super().close()

    def _time_to_close(self) -> float:
        # logging.shutdown() flushes and then closes: what flush() gave up on a moment ago, with
        # nothing new since, is not worth the same wait again.
        nothing_new = self._gave_up_at == self._handoff.stats(0).emitted
        return 0.0 if nothing_new else self._close_timeout

    def _tell_what_is_lost(self) -> None:
        stats = self.stats()
        lost = stats.failed + stats.buffered + stats.in_flight + sum(stats.dropped.values())
        if lost:
            sys.stderr.write(f"kiel_logging: {lost} log records did not reach Kafka: {stats}\n")

    def stats(self) -> Stats:
        """Return how many records were emitted, and what became of them."""
        return self._handoff.stats(self._feed.in_flight)


def _drop_reason(error: Exception) -> str:
    return next((name for kind, name in _DROP_REASONS if isinstance(error, kind)), _UNSERIALISABLE)


def _refuse_unknown(options: dict[str, Any]) -> None:
    for name in options:
        if name not in _PASSED_THROUGH:
            known = [*inspect.signature(KafkaHandler).parameters, *_PASSED_THROUGH]
            nearest = [_ALIASES[name]] if name in _ALIASES else _nearest(name, known)
            hint = f": did you mean {nearest[0]!r}?" if nearest else ""
            raise ConfigurationError(f"KafkaHandler has no option {name!r}{hint}")


def _nearest(name: str, known: list[str]) -> list[str]:
    return difflib.get_close_matches(name, known, n=1)


def _callable_or_none(name: str, value: Callable[..., Any] | None) -> Callable[..., Any] | None:
    if value is not None and not callable(value):
        raise ConfigurationError(
            f"{name}={value!r} must be callable, or None for the default; in a dictConfig a "
            "function is written 'ext://module.function'"
        )
    return value


def _positive(name: str, value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
        raise ConfigurationError(f"{name}={value!r} must be a number above 0")
    return value
