"""A handler on aiokafka, whose event loop runs on a thread: Python, with batches in Cython."""

import asyncio
import logging
import threading
from collections import deque
from typing import Any, Final

from aiokafka import AIOKafkaProducer

from benchmarks.workload import KEY

from .fields import with_orjson
from .peer import LINGER_MS, Destination
from .waiting import Waiting

_BATCH: Final = 256 * 1024
_SLICE: Final = 500
"""Records that the loop sends before it lets others work."""

_Queued = tuple[str, bytes, bytes | None]


class AiokafkaHandler(logging.Handler):
    """Makes bytes on the thread that logs; wakes the loop only when it has nothing to do."""

    def __init__(self, destination: Destination) -> None:
        super().__init__()
        self._topic_of = destination.topic_of
        self.waiting = Waiting(destination.memory)
        self._queue: deque[_Queued] = deque()
        self._awake = False
        self._sending: asyncio.Task[None] | None = None
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="aiokafka", daemon=True).start()
        # Not waited for: dictConfig holds logging's module lock, which aiokafka's own logs need.
        self._starting = asyncio.run_coroutine_threadsafe(self._start(destination), self._loop)

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

    async def _start(self, destination: Destination) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=destination.brokers.split(","),
            acks="all",
            enable_idempotence=True,
            compression_type="snappy",
            linger_ms=LINGER_MS,
            max_batch_size=_BATCH,
        )
        await producer.start()
        return producer

    async def _flush(self) -> None:
        if self._sending is not None:
            await self._sending
        await (await asyncio.wrap_future(self._starting)).flush()

    def _wake(self) -> None:
        self._sending = self._loop.create_task(self._send_all())

    async def _send_all(self) -> None:
        producer = await asyncio.wrap_future(self._starting)
        while True:
            for _ in range(_SLICE):
                if not self._queue:
                    break
                await self._send(producer, *self._queue.popleft())
            await asyncio.sleep(0)
            if not self._queue:
                self._awake = False
                # One that was queued in between has seen the loop awake and not woken it.
                if not self._queue or self._awake:
                    return
                self._awake = True

    async def _send(
        self, producer: AIOKafkaProducer, topic: str, value: bytes, key: bytes | None
    ) -> None:
        size = len(value)

        def done(future: "asyncio.Future[Any]") -> None:
            failed = future.cancelled() or future.exception() is not None
            self.waiting.done(size, acknowledged=not failed)

        try:
            sent = await producer.send(topic, value, key)
        except Exception:
            self.waiting.done(size, acknowledged=False)
            return
        sent.add_done_callback(done)


class AiokafkaThread:
    """The handler, and the futures of its producer."""

    ships = True

    def __init__(self, destination: Destination) -> None:
        self.handler = AiokafkaHandler(destination)

    def drain(self, seconds: float) -> int:
        """Wait for the last future."""
        return self.handler.drain(seconds)
