"""An event loop that can be held still from another thread: a fork must not cut it in the middle.

The thread that runs it has the gate, but for the time that it waits. A thread that passes the gate
knows that the loop does nothing: it imports no module, holds no lock, has written whole frames. It
passes as soon as the loop would wait, however busy that is.
"""

import asyncio
import contextlib
import functools
import logging
import math
import os
import selectors
from asyncio import selector_events
from asyncio.log import logger
from collections.abc import Callable, Coroutine, Sequence
from types import FunctionType, SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from tornado.ioloop import IOLoop

from kiel_logging import native, native_sockets
from kiel_logging.config.options import Address
from kiel_logging.diagnostics import log_to
from kiel_logging.handler.recursion import mark_this_thread_as_shipping
from kiel_logging.native import monotonic
from kiel_logging.native_sockets import identity
from kiel_logging.network.resolver import SocketAddress, look_up, parse_numeric

if TYPE_CHECKING:
    from kiel_logging.handler.loop_thread import Gate

MOST_SKIPPED: Final = 8
"""Times in a row that a loop with something to do gets no new events."""


class _GatedSelector(native_sockets.DefaultSelector):  # type: ignore[misc] # is Any
    """Opens the gate while it waits.

    A loop with something to do asks without waiting, which releases the GIL all the same; beside
    threads that log it gets that back after 5 ms at the soonest. So mostly the answer is that
    nothing is ready, and the steps of a delivery follow each other.
    """

    def __init__(self, gate: "Gate") -> None:
        super().__init__()
        self._gate = gate
        self._skipped = 0
        self.given_up = False

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0 and self._skipped < MOST_SKIPPED:
            self._skipped += 1
            return []
        self._skipped = 0
        self._gate.release()
        try:
            ready: list[tuple[selectors.SelectorKey, int]] = super().select(timeout)
        finally:
            self._gate.acquire()
        if self.given_up:
            # Its descriptors may be those of the loop that took its place.
            raise OSError("another loop has taken the place of this one")
        return ready


class _Silent:
    """The logger of a loop that is being made. A real one may wait for logging's module lock when
    it is asked whether a level is enabled, and a thread that holds that lock may wait for this."""

    def debug(self, *_what: object) -> None:
        """Log nothing."""


def _with_globals(own: Any, **others: object) -> Any:
    """Return the function ``own`` with other globals."""
    changed = {**own.__globals__, **others}
    return FunctionType(own.__code__, changed, None, own.__defaults__, own.__closure__)


class _OfItsOwn(selector_events.BaseSelectorEventLoop):
    """asyncio's loop, made without a line in the log, and with the interpreter's own sockets."""

    __init__ = _with_globals(selector_events.BaseSelectorEventLoop.__init__, logger=_Silent())

    def _make_self_pipe(self) -> None:
        base: Any = selector_events.BaseSelectorEventLoop
        sockets = SimpleNamespace(socketpair=native_sockets.sockets().socketpair)
        _with_globals(base._make_self_pipe, socket=sockets)(self)


class PausingLoop(asyncio.SelectorEventLoop, _OfItsOwn):
    """A loop that has ``gate`` while it works; a thread that runs it acquires it before."""

    def __init__(self, gate: "Gate") -> None:
        self._background: set[asyncio.Task[Any]] = set()
        self._gated_selector = _GatedSelector(gate)
        try:
            super().__init__(self._gated_selector)
        except OSError:  # no more files
            self._gated_selector.close()
            self._closed = True  # there is nothing to close, as its __del__ would
            raise
        self.set_exception_handler(_report)
        # In Python's development mode it would report slow callbacks on the host's stderr.
        self.slow_callback_duration = math.inf
        self._files = [(number, identity(number)) for number in self._own_files()]

    def time(self) -> float:
        """Return the seconds of a clock that a program can't stop."""
        return monotonic()

    def _own_files(self) -> list[int]:
        """Return the descriptors that the loop can't do without."""
        wakers = [getattr(self, name, None) for name in ("_ssock", "_csock")]
        found = (getattr(one, "fileno", None) for one in (self._gated_selector, *wakers))
        return [fileno() for fileno in found if fileno is not None]  # select() has no descriptor

    @property
    def is_whole(self) -> bool:
        """Whether its descriptors are still its own: a program may close all that it finds.

        asyncio ignores a wake-up that can't be written, and a loop that waits on a closed selector
        waits for ever.
        """
        return not self.is_closed() and all(
            file is None or identity(number) == file for number, file in self._files
        )

    def run(self) -> None:
        """Run as a Tornado IOLoop until ``stop()``, cancel all tasks, and close.

        Raises:
            Exception: the loop can't work any more; it is not closed, because its descriptors may
                be the program's by now.
        """
        io_loop = IOLoop(make_current=False, asyncio_loop=self)
        asyncio.set_event_loop(self)
        try:
            io_loop.start()
            self.end_tasks()
        finally:
            asyncio.set_event_loop(None)
        io_loop.close()

    def begin(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Start ``work``, on the loop's thread; return its task."""
        task = self.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    def end_tasks(self) -> None:
        """Cancel all tasks, such as one that waits for a name server."""
        tasks = asyncio.all_tasks(self)
        for task in tasks:
            task.cancel()
        if tasks:  # gather() of nothing belongs to this thread's loop, whichever that is
            self.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))

    def give_up(self) -> None:
        """Have the loop end when it wakes up, before it calls anything back."""
        self._gated_selector.given_up = True

    def abandon(self) -> None:
        """Close its files in a forked child, where it is never run again.

        They are the parent's too: nothing may be unregistered, for the parent waits on the same
        epoll object. They must not be closed twice either: keep a reference to the loop.
        """
        files = [key.fd for key in (self._gated_selector.get_map() or {}).values()]
        files.append(self._gated_selector.fileno())
        if (waker := getattr(self, "_csock", None)) is not None:
            files.append(waker.fileno())
        for number in files:
            os.close(number)


def _report(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what asyncio found, as it would, but without logging's module lock."""
    error = context.get("exception")
    log_to(logger, logging.ERROR, "%s (%r)", context["message"], error)


async def resolve_on_a_daemon(address: Address) -> Sequence[SocketAddress]:
    """Look ``address`` up without blocking the loop, where a thread can still be started.

    Raises:
        BrokerUnreachable: the name does not resolve.
    """
    found: Sequence[SocketAddress] = parse_numeric(address) or await run_on_a_daemon(
        functools.partial(look_up, address)
    )
    return found


async def run_on_a_daemon(function: Callable[[], Any]) -> Any:
    """Return what ``function`` returns, or raise what it raises."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Any] = loop.create_future()

    def settle(result: Any, error: Exception | None) -> None:
        if ended.done():
            return
        if error is None:
            ended.set_result(result)
        else:
            ended.set_exception(error)

    def work() -> None:
        mark_this_thread_as_shipping()
        result, error = None, None
        try:
            result = function()
        except Exception as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed: no task waits
            loop.call_soon_threadsafe(settle, result, error)

    try:
        native.Thread(work, "kiel_logging-aside").start()
    except RuntimeError:  # the interpreter exits: there are no more threads
        return function()
    return await ended
