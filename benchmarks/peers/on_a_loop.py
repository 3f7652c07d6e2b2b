"""Handlers on clients for asyncio, whose loop runs on a thread: aiokafka, and confluent-kafka's."""

import asyncio
import logging
import threading
from abc import ABC, abstractmethod
from collections import deque
from typing import Any, Final

from benchmarks.workload import KEY

from .fields import with_orjson
from .peer import LINGER_MS, MOST_RECORDS, Destination
from .waiting import Waiting

_BATCH: Final = 256 * 1024
_SLICE: Final = 500
"""Records that the loop sends before it lets others work."""


class Client(ABC):
    """The client's part: its settings, and its calls."""

    @abstractmethod
    async def start(self, destination: Destination) -> None:
        """Connect it."""

    @abstractmethod
    async def send(self, topic: str, value: bytes, key: bytes | None) -> "asyncio.Future[Any]":
        """Queue a record; return the future of its acknowledgement."""

    @abstractmethod
    async def flush(self) -> None:
        """Send what is queued without lingering."""


class Aiokafka(Client):
    """Python, with batches in Cython."""

    async def start(self, destination: Destination) -> None:
        """Connect it."""
        from aiokafka import AIOKafkaProducer

        self._producer = AIOKafkaProducer(
            bootstrap_servers=destination.brokers.split(","),
            acks="all",
            enable_idempotence=True,
            compression_type="snappy",
            linger_ms=LINGER_MS,
            max_batch_size=_BATCH,
        )
        await self._producer.start()

    async def send(self, topic: str, value: bytes, key: bytes | None) -> "asyncio.Future[Any]":
        """Queue a record; return the future of its acknowledgement."""
        sent: asyncio.Future[Any] = await self._producer.send(topic, value, key)
        return sent

    async def flush(self) -> None:
        """Send what is queued without lingering."""
        await self._producer.flush()


class ConfluentAsyncio(Client):
    """``confluent_kafka.aio``: librdkafka behind a pool of threads, a thousand records a call."""

    async def start(self, destination: Destination) -> None:
        """Connect it."""
        from confluent_kafka.aio import AIOProducer

        self._producer = AIOProducer(
            {
                "bootstrap.servers": destination.brokers,
                "acks": "all",
                "enable.idempotence": True,
                "compression.type": "snappy",
                "linger.ms": LINGER_MS,
                "partitioner": "murmur2_random",
                "queue.buffering.max.messages": MOST_RECORDS,
                "queue.buffering.max.kbytes": destination.memory // 1024,
            },
            buffer_timeout=LINGER_MS / 1000,
        )

    async def send(self, topic: str, value: bytes, key: bytes | None) -> "asyncio.Future[Any]":
        """Queue a record; return the future of its acknowledgement."""
        return await self._producer.produce(topic, value, key)

    async def flush(self) -> None:
        """Send what is queued without lingering."""
        await self._producer.flush()


class _Handler(logging.Handler):
    """Makes bytes on the thread that logs; wakes the loop only when it has nothing to do."""

    def __init__(self, destination: Destination, client: Client) -> None:
        super().__init__()
        self._topic_of = destination.topic_of
        self._client = client
        self.waiting = Waiting(destination.memory)
        self._queue: deque[tuple[str, bytes, bytes | None]] = deque()
        self._awake = False
        self._sending: asyncio.Task[None] | None = None
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="loop", daemon=True).start()
        # Not waited for: dictConfig holds logging's module lock, which a client's own logs need.
        self._starting = asyncio.run_coroutine_threadsafe(client.start(destination), self._loop)

    def createLock(self) -> None:  # noqa: N802 # logging's name
        """Have none: appending to a deque is atomic."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the record; wait where there is no room."""
        value, key = with_orjson(record), getattr(record, KEY, None)
        self.waiting.add(len(value))
        self._queue.append((self._topic_of(record), value, key.encode() if key else None))
        if not self._awake:
            self._awake = True
            self._loop.call_soon_threadsafe(self._wake)

    def drain(self, seconds: float) -> int:
        """Send what is queued without lingering; wait for the last future."""
        asyncio.run_coroutine_threadsafe(self._flush(), self._loop).result(seconds)
        return self.waiting.drain(seconds)

    async def _flush(self) -> None:
        if self._sending is not None:
            await self._sending
        await asyncio.wrap_future(self._starting)
        await self._client.flush()

    def _wake(self) -> None:
        self._sending = self._loop.create_task(self._send_all())

    async def _send_all(self) -> None:
        await asyncio.wrap_future(self._starting)
        while True:
            for _ in range(_SLICE):
                if not self._queue:
                    break
                await self._send(*self._queue.popleft())
            await asyncio.sleep(0)
            if not self._queue:
                self._awake = False
                # One that was queued in between has seen the loop awake and not woken it.
                if not self._queue or self._awake:
                    return
                self._awake = True

    async def _send(self, topic: str, value: bytes, key: bytes | None) -> None:
        size = len(value)

        def done(future: "asyncio.Future[Any]") -> None:
            failed = future.cancelled() or future.exception() is not None
            self.waiting.done(size, acknowledged=not failed)

        try:
            sent = await self._client.send(topic, value, key)
        except Exception:
            self.waiting.done(size, acknowledged=False)
            return
        sent.add_done_callback(done)


class OnALoop:
    """The handler, and the futures of its client."""

    ships = True

    def __init__(self, destination: Destination, client: Client) -> None:
        self.handler = _Handler(destination, client)

    def drain(self, seconds: float) -> int:
        """Wait until the last future is done."""
        return self.handler.drain(seconds)


def aiokafka(destination: Destination) -> OnALoop:
    """Return a handler on aiokafka."""
    return OnALoop(destination, Aiokafka())


def confluent_asyncio(destination: Destination) -> OnALoop:
    """Return a handler on confluent-kafka's producer for asyncio."""
    return OnALoop(destination, ConfluentAsyncio())
