"""The Producer: messages in, futures of where they were stored out.

Runs on the IOLoop (or asyncio loop) that ``connect()`` is called on; not thread-safe. The seed's
module: ``from kiel_logging import clients``.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self, Unpack

from kiel_logging.config import options as opt
from kiel_logging.config.credentials import hidden
from kiel_logging.config.properties import Properties, complete
from kiel_logging.config.table import refuse_unknown, takes
from kiel_logging.delivery.batch import Batch, memory_of
from kiel_logging.delivery_stats import DeliveryStats
from kiel_logging.network.engine import Engine
from kiel_logging.network.resolver import resolve
from kiel_logging.network.room import Room
from kiel_logging.partitioners import Partitioner
from kiel_logging.records import NO_OFFSET, Headers, Record, RecordMetadata
from kiel_logging.serializers import (
    Serializer,
    check_timestamp,
    check_topic,
    encode_headers,
    encode_key,
    encode_value,
)
from kiel_logging.wire.sizes import record_size


@takes(opt.PRODUCER)
class Producer:
    """Produces messages to any number of Kafka topics.

    ``await``, or ``yield`` inside ``@gen.coroutine``, works for every method that waits; so does
    ``async with Producer(...)``, which connects and closes. Nothing is connected before
    ``connect()``, so a Producer can be made at import time, before there is a loop.

    Args: ...

    Raises:
        ConfigurationError: names the option, the value and what is allowed.

    Source: the seed document ("The Producer Client") up to ``ack_timeout``; Kafka's own names
    from ``linger_ms`` on.
    """

    def __init__(
        self,
        brokers: opt.Brokers,
        key_maker: opt.KeyMaker | None = None,
        partitioner: str | Partitioner | None = None,
        serializer: Serializer | None = None,
        compression: str | None = None,
        batch_size: int = 1,
        required_acks: int = 1,
        ack_timeout: int = 500,
        **options: Unpack[opt.ProducerKeywords],
    ) -> None:
        more = hidden({**options}, opt.PRODUCER)
        del options  # some tools show local variables with a traceback
        refuse_unknown("Producer", more, opt.PRODUCER)
        self._options = opt.producer_options(
            brokers=brokers,
            key_maker=key_maker,
            partitioner=partitioner,
            serializer=serializer,
            compression=compression,
            batch_size=batch_size,
            required_acks=required_acks,
            ack_timeout=ack_timeout,
            **more,
        )
        self._room = Room(self._options.buffer_memory, lambda: self._engine.accumulator.memory)
        self._engine = Engine(
            self._options,
            _Futures(self._room.let_in),
            resolve=resolve,
            run_aside=asyncio.to_thread,
        )

    @classmethod
    def from_properties(
        cls, properties: Properties, **options: Unpack[opt.AllProducerKeywords]
    ) -> Self:
        """Return a Producer configured as a librdkafka or Java client is.

        Args:
            properties: keys such as ``"bootstrap.servers"`` and values, or the path of a Java
                properties file. Keys without a meaning here are named in a warning.
            options: as the Producer's own, in addition; they win.

        Raises:
            ConfigurationError: a property or an option has a value it can't have.
        """
        own = hidden({**options}, opt.PRODUCER)
        del options
        try:
            found = complete(properties, own, opt.PRODUCER)
        finally:
            del properties  # a mapping that has secrets
        return cls(**found)

    def __repr__(self) -> str:
        if not hasattr(self, "_engine"):  # an option was wrong, and a tool shows where
            return f"<{type(self).__name__} being made>"
        return f"<Producer {self._engine}>"

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def connect(self) -> None:
        """Ask the bootstrap brokers for metadata, in order, until one answers.

        ``produce()`` does this by itself when it comes first.

        Raises:
            NoBrokersAvailable: none did; says what each attempt met.
            SecurityError: one is there, but it or we are not accepted.
            ProducerClosed: the producer was closed.
        """
        self._engine.forget_refusal()
        await self._engine.connect()

    async def produce(
        self,
        topic: str,
        message: Any,
        *,
        headers: Headers | None = None,
        timestamp: int | None = None,
    ) -> "asyncio.Future[RecordMetadata]":
        """Buffer ``message`` and return a future of where it was stored.

        When this message fills the batch, return once that batch is acknowledged; so with
        ``batch_size=1`` each awaited ``produce()`` is a delivered message.

        Args:
            topic: its name.
            message: whatever the serializer takes; None is stored as null, a tombstone.
            headers: a mapping, or pairs, of str to bytes, str or None (KIP-82).
            timestamp: milliseconds since the epoch; now when left out.

        Raises:
            Exception: whatever the key maker, the serializer or the partitioner raised.
            MessageError: they returned what can't be sent, or the message is too large.
            NoBrokersAvailable: the producer was not connected yet, and could not be.
            SecurityError: a broker is there, but it or we are not accepted.
            ProducerClosed: ``close()`` was called.
            BufferFull: ``buffer_memory`` was used up for ``max_block_ms``.
            DeliveryError: this message filled the batch, and a message of it was not delivered.
        """
        engine, options = self._engine, self._options
        engine.check_open()
        key = options.key_maker(message)
        record = Record(
            encode_key(key),
            None if message is None else encode_value(options.serializer(message)),
            encode_headers(headers),
            time.time_ns() // 1_000_000 if timestamp is None else check_timestamp(timestamp),
        )
        check_topic(topic)
        engine.check_size(topic, record_size(record))
        await engine.connect()
        await self._room.enter(memory_of(record), options.max_block)
        try:
            engine.check_open()
            delivery: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()
            filled = engine.append(topic, key, record, _Pending(key, delivery))
        finally:
            self._room.let_in()
        if filled:
            await _all_delivered(filled)
        return delivery

    async def flush(self, timeout: float | None = None) -> int:
        """Send everything that is buffered now and wait until it is delivered or has failed.

        Args:
            timeout: seconds; None waits as long as ``delivery_timeout_ms`` lets messages live.

        Returns:
            How many messages are still undelivered; 0 unless the timeout came first.
        """
        return await self._engine.flush(timeout)

    def stats(self) -> DeliveryStats:
        """Return what became of batches so far: latency, sizes, retries, errors.

        A message's latency is from its ``timestamp`` on, where ``produce()`` was given one. Any
        thread may ask.
        """
        return self._engine.stats()

    async def close(self, timeout: float | None = None) -> None:
        """Flush, then fail with ProducerClosed what is still undelivered, and disconnect.

        Args:
            timeout: seconds for the flush; None as in ``flush()``.
        """
        self._room.close()
        await self._engine.close(timeout)


class _Pending(NamedTuple):
    """The token of a message: its key, and the future of where it is stored."""

    key: Any
    future: "asyncio.Future[RecordMetadata]"


class _Futures:
    """Tokens are pending messages; a future that was cancelled is left alone."""

    keeps = defers = False
    backlog = 0

    def __init__(self, let_in: Callable[[], None]) -> None:
        self._let_in = let_in

    def key_of(self, token: _Pending) -> Any:
        return token.key

    def delivered(self, batch: Batch, base_offset: int, log_append_time: int | None) -> None:
        topic, partition = batch.topic_partition
        pairs = zip(batch.tokens, batch.records, strict=True)
        for delta, ((_, future), record) in enumerate(pairs):
            if not future.done():
                offset = NO_OFFSET if base_offset == NO_OFFSET else base_offset + delta
                timestamp = record.timestamp if log_append_time is None else log_append_time
                future.set_result(RecordMetadata(topic, partition, offset, timestamp))
        self._let_in()

    def deferred(self, topic: str, error: Exception) -> None:
        """Never called: the future of a message ends with the first rejection."""

    def present_time(self) -> None:
        """Never called: callers give their own times, and get the error."""

    def troubled(self, error: Exception) -> None:
        """Futures end with their own errors."""

    def resume(self) -> None:
        """``produce()`` waits for memory, however much of it stalled partitions take."""

    def failed(self, tokens: Sequence[Any], error: Exception) -> None:
        for _, future in tokens:
            if not future.done():
                future.set_exception(error)
                # The sender logged it: asyncio need not report it as "never retrieved".
                future.exception()
        self._let_in()


async def _all_delivered(tokens: Sequence[_Pending]) -> None:
    """Wait for all of ``tokens``; raise the first error among them."""
    futures = [token.future for token in tokens]
    await asyncio.wait(futures)
    for future in futures:
        if not future.cancelled() and (error := future.exception()) is not None:
            raise error
