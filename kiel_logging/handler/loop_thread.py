"""The thread that ships: a Tornado IOLoop with a Producer on it, fed from the hand-off.

Everything here runs on that thread, but for the methods of LoopThread that say otherwise. It is a
daemon: a thread that Python waits for would keep the program from ending (logging flushes in
``atexit``, which comes after that wait).
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Coroutine, Sequence
from typing import Any, Final

from tornado.ioloop import IOLoop

from kiel_logging.clients import Producer
from kiel_logging.delivery.batch import Batch
from kiel_logging.handler.handoff import Handoff, Item
from kiel_logging.handler.shipping import mark_this_thread_as_shipping
from kiel_logging.network.resolver import SocketAddress, look_up, parse_numeric
from kiel_logging.options import Address

SLICE: Final = 256
"""Records fed before the GIL is let go, so that no logging thread waits for long."""

_GRACE: Final = 0.5
"""Seconds that another thread waits beyond a timeout for the loop to say that it is over."""


class Feed(Producer):
    """A Producer that takes records as bytes, and answers to a hand-off instead of to futures."""

    def __init__(self, handoff: Handoff, options: dict[str, Any]) -> None:
        super().__init__(**options)
        self._wire_up(_Ledger(handoff), resolve_on_a_daemon)
        self._handoff = handoff

    @property
    def in_flight(self) -> int:
        """Records that were sent and not acknowledged."""
        return self._accumulator.in_flight

    @property
    def linger(self) -> float:
        """Seconds that records wait for others."""
        return self._options.linger

    def start(self) -> None:
        """Connect in the background, and go on trying."""
        self._connected = True
        self._sender.poke()

    def take(self, item: Item) -> None:
        """Buffer one item; what can't be sent counts as failed."""
        try:
            self._check_size(item.topic, item.record)
            self._buffer(item.topic, item.key, item.record, item.memory)
        except Exception as error:
            self._sender.settlement.refuse(item.memory, error, item.topic)

    def send_now(self) -> None:
        """Don't wait for more."""
        self._accumulator.seal()
        self._sender.poke()


class _Ledger:
    """Deliveries whose tokens are the memory that each record took."""

    def __init__(self, handoff: Handoff) -> None:
        self._handoff = handoff

    def delivered(self, batch: Batch, base_offset: int, log_append_time: int | None) -> None:
        del base_offset, log_append_time
        self._handoff.delivered(len(batch), sum(batch.tokens))

    def failed(self, tokens: Sequence[int], error: Exception) -> None:
        del error
        self._handoff.failed(len(tokens), sum(tokens))


class LoopThread:
    """Owns the thread, its IOLoop and the Feed on it."""

    def __init__(self, feed: Feed, handoff: Handoff) -> None:
        self._feed = feed
        self._handoff = handoff
        self._io_loop = IOLoop(make_current=False)
        self._lingering: object | None = None
        self._feeding = asyncio.Lock()
        self._thread = threading.Thread(target=self._run, name="kiel_logging", daemon=True)

    # From any thread.

    def start(self) -> None:
        """Start the thread; returns at once."""
        self._io_loop.add_callback(self._feed.start)
        self._thread.start()

    def wake(self, full: bool) -> None:
        """The hand-off has something: look soon, or now when a batch is ``full``."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody ships any more
            self._io_loop.asyncio_loop.call_soon_threadsafe(self._woken, full)

    def flush(self, timeout: float) -> None:
        """Wait until what is in the hand-off now is delivered or given up, at most ``timeout``
        seconds."""
        self._wait_for(self._flush(timeout), timeout)

    def stop(self, timeout: float) -> None:
        """Deliver what is there within ``timeout`` seconds, give up the rest, end the thread."""
        deadline = time.monotonic() + timeout
        self._wait_for(self._close(timeout), timeout)
        self._io_loop.asyncio_loop.call_soon_threadsafe(self._io_loop.stop)
        self._thread.join(max(0.0, deadline - time.monotonic()) + _GRACE)

    def _wait_for(self, work: Coroutine[Any, Any, None], timeout: float) -> None:
        if threading.current_thread() is self._thread or not self._thread.is_alive():
            work.close()  # the loop can't wait for itself, nor anybody for a loop that is gone
            return
        done = threading.Event()

        async def run() -> None:
            try:
                await work
            finally:
                done.set()

        self._io_loop.asyncio_loop.call_soon_threadsafe(asyncio.ensure_future, run())
        done.wait(timeout + _GRACE)

    # On the loop's thread.

    def _run(self) -> None:
        mark_this_thread_as_shipping()
        asyncio.set_event_loop(self._io_loop.asyncio_loop)
        try:
            self._io_loop.start()
            self._end_tasks()
        finally:
            self._io_loop.close()

    def _end_tasks(self) -> None:
        """Whoever still waits, for a name server for one, waits in vain."""
        loop = self._io_loop.asyncio_loop
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))

    def _woken(self, full: bool) -> None:
        if self._lingering is not None:
            self._io_loop.remove_timeout(self._lingering)
            self._lingering = None
        if full:
            self._io_loop.add_callback(self._feed_all)
        else:
            self._lingering = self._io_loop.call_later(self._feed.linger, self._linger_over)

    def _linger_over(self) -> None:
        self._lingering = None
        self._io_loop.add_callback(self._feed_all)

    async def _feed_all(self) -> None:
        async with self._feeding:
            while items := self._handoff.take(SLICE):
                for item in items:
                    self._feed.take(item)
                await asyncio.sleep(0)
            self._feed.send_now()

    async def _flush(self, timeout: float) -> None:
        await self._feed_all()
        await self._feed.flush(timeout)

    async def _close(self, timeout: float) -> None:
        await self._feed_all()
        await self._feed.close(timeout)


async def resolve_on_a_daemon(address: Address) -> Sequence[SocketAddress]:
    """Look ``address`` up on a daemon thread of its own.

    Not on the loop's executor: Python waits for an executor's threads before it ends, and lets
    none begin while it ends.
    """
    if numeric := parse_numeric(address):
        return numeric
    loop = asyncio.get_running_loop()
    found: asyncio.Future[Sequence[SocketAddress]] = loop.create_future()

    def settle(result: Sequence[SocketAddress] | Exception) -> None:
        if found.done():
            return
        if isinstance(result, Exception):
            found.set_exception(result)
        else:
            found.set_result(result)

    def work() -> None:
        result: Sequence[SocketAddress] | Exception
        try:
            result = look_up(address)
        except Exception as error:
            result = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(settle, result)

    try:
        threading.Thread(target=work, name="kiel_logging-resolver", daemon=True).start()
    except RuntimeError:  # the interpreter is on its way out: no more threads
        return look_up(address)
    return await found
