"""The thread that ships: a Tornado IOLoop with a Shipper on it, started when it is first needed.

It is a daemon: a thread that Python waits for would keep the program from ending (logging flushes
in ``atexit``, which comes after that wait). Where no thread can be started any more, because Python
is on its way out, the loop runs on the thread that flushes.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from enum import Enum
from typing import Any, Final

from tornado.ioloop import IOLoop

from kiel_logging import native
from kiel_logging.handler.internal_log import write_to_stderr
from kiel_logging.handler.pipeline.pausing_loop import PausingLoop
from kiel_logging.handler.pipeline.shipper import Shipper
from kiel_logging.handler.process.forking import is_forking
from kiel_logging.handler.shipping import as_shipping, mark_this_thread_as_shipping, shipping
from kiel_logging.native import monotonic

GRACE: Final = 0.5
"""Seconds in which a loop that is not held up says so."""


LONG: Final = 1.0
"""Seconds of a wait after which it is reported, if it is to be."""

_A_MOMENT: Final = 0.01
"""Seconds in which a thread that was started begins to run."""


_dead: list[Any] = []
"""The loops of threads that failed. They are never finalised."""


class State(Enum):
    """NEW ──start──▶ RUNNING ──stop──▶ STOPPED; NEW ──stop──▶ STOPPED."""

    NEW = "new"
    RUNNING = "running"
    STOPPED = "stopped"


class LoopThread:
    """Owns the thread and its IOLoop; all methods are for other threads.

    Args:
        shipper: what runs there.
        on_start: called before the thread starts, once unless something is raised in it.
        on_death: called on the thread when it ends although nobody stopped it.
        grace: seconds that another thread waits beyond a timeout for the loop to say that it is
            over.

    Attributes:
        waits_long: called on a thread that waits, each second, with how many more it may wait.
    """

    def __init__(
        self,
        shipper: Shipper,
        on_start: Callable[[], None],
        on_death: Callable[[], None] = lambda: None,
        grace: float = GRACE,
    ) -> None:
        self._grace = grace
        self._shipper = shipper
        self._on_start = on_start
        self._on_death = on_death
        self._lock = native.RLock()
        self.waits_long: Callable[[float], None] | None = None
        self._prepared = self._starting = False
        self._calls: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._state = State.NEW
        self._loop: PausingLoop | None = None
        # Not Thread.is_alive(): a hook that logs may start the thread in a forked child before
        # the module threading has run its own, which takes all threads for dead.
        self._runs = False
        self._thread = native.Thread(self._run, "kiel_logging")

    def __repr__(self) -> str:
        return f"<LoopThread {self._state.value}>"

    @property
    def state(self) -> State:
        """Where it is in its life."""
        return self._state

    @property
    def runs(self) -> bool:
        """Whether the thread works, perhaps though it was stopped."""
        return self._runs

    @property
    def works_for_others(self) -> bool:
        """Whether it runs, and is not the running thread itself."""
        return self._state is State.RUNNING and not self._thread.is_current

    @property
    def is_broken(self) -> bool:
        """Whether it should run and can't: its thread ended, or its descriptors were closed."""
        if self._state is not State.RUNNING or self._loop is None:
            return False
        return not self._runs or not self._loop.is_whole

    def give_up(self) -> None:
        """Take the broken loop for ended: whatever its thread may wait for, it does not come."""
        self._state = State.STOPPED
        _dead.append(self._loop)

    def wake(self, full: bool) -> None:
        """Have the shipper look for records: soon, or now when a batch is ``full``."""
        self.call(self._shipper.woken, full)

    def call(self, callback: Callable[..., None], *arguments: Any) -> None:
        """Run ``callback`` on the thread, soon; nobody waits for it."""
        if self._state is State.NEW:
            self._calls.append((callback, arguments))
            self._start_once()
            if self.state is State.RUNNING:  # another thread may have started it meanwhile
                self._make_calls()
        elif self._state is State.RUNNING:
            self._call(callback, *arguments)

    def _call(self, callback: Callable[..., None], *arguments: Any) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody ships any more
                self._loop.call_soon_threadsafe(callback, *arguments)

    def _make_calls(self) -> None:
        with contextlib.suppress(IndexError):
            while True:
                callback, arguments = self._calls.popleft()
                self._call(callback, *arguments)

    def _start_once(self) -> None:
        """Start the thread, unless another one does so just now: it makes all calls that wait.

        The calling thread may hold any lock of the program's, or logging's: it does not wait here
        for a thread that may want that one.
        """
        if not self._prepared:
            as_shipping(self._on_start)
            self._prepared = True
        if not self._lock.acquire(blocking=False):
            return
        try:
            if self._state is State.NEW and not self._starting:
                self._start_now()
        finally:
            self._lock.release()

    def _start_now(self) -> None:
        self._starting = True  # a signal handler on top of this has its calls made by it
        try:
            as_shipping(self._start)
        finally:
            self._starting = False

    def _start(self) -> None:
        try:
            if self._loop is None:
                self._loop = PausingLoop()
            if not self._runs:  # else something was raised in between the last time
                self._runs = True
                self._thread.start()
        except (RuntimeError, OSError):
            # Python is on its way out, or has threads or files enough: flush() may do, or the next
            self._runs = False
            return
        except BaseException:  # a signal handler's, while the thread begins: let it
            time.sleep(_A_MOMENT)
            self._runs = self._thread.ident is not None
            raise
        self._call(self._shipper.start)
        self._state = State.RUNNING
        self._make_calls()

    def _run(self) -> None:
        mark_this_thread_as_shipping()
        loop = self._loop
        assert loop is not None
        with loop.working():
            io_loop = IOLoop(make_current=False, asyncio_loop=loop)
            asyncio.set_event_loop(loop)
            try:
                io_loop.start()
                _end_tasks(loop)
            except Exception as error:  # the program closed its descriptors, for one
                asyncio.set_event_loop(None)
                self._die(error)
                return
            self._runs = False
            asyncio.set_event_loop(None)
            io_loop.close()

    def _die(self, error: Exception) -> None:
        """Report that the thread ends; the loop is kept, for its descriptors may be the program's
        by now, and closing it would close them."""
        self._runs = False
        _dead.append(self._loop)
        write_to_stderr(f"kiel_logging: the thread that ships log records failed ({error!r})")
        self._on_death()

    def flush(self, timeout: float) -> bool:
        """Wait until what is in the hand-off now is delivered or given up, at most ``timeout``
        seconds; return whether it is."""
        return self._run_and_wait(self._shipper.flush(timeout), timeout) is True

    def finish(self, timeout: float, *, last: bool) -> bool:
        """As ``flush()``, and then end the streams if this is the ``last`` call, or pause them."""
        return self._run_and_wait(self._shipper.finish(timeout, last=last), timeout) is True

    def start_flushing(self, timeout: float) -> None:
        """As ``flush()``, but nobody waits."""
        if self._state is State.RUNNING:
            self.call(_in_background, self._shipper.flush, timeout)

    def stop(self, timeout: float) -> None:
        """Deliver what is there within ``timeout`` seconds, give up the rest, end the thread."""
        deadline = monotonic() + timeout
        self._run_and_wait(self._shipper.close(timeout), timeout)
        with self._held():
            running, self._state = self._state is State.RUNNING, State.STOPPED
        loop = self._loop
        if running and loop is not None:
            with contextlib.suppress(RuntimeError):  # it ended by itself
                loop.call_soon_threadsafe(loop.stop)
            if not self._thread.is_current:
                self._thread.join(max(0.0, deadline - monotonic()) + self._grace)
        elif loop is not None and not loop.is_closed():
            with loop.working():
                _end_tasks(loop)
            loop.close()

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """Hold the lock, or continue without it if it can't be had for long."""
        held = self._lock.acquire(timeout=self._grace)
        try:
            yield
        finally:
            if held:
                self._lock.release()

    def _run_and_wait(self, work: Coroutine[Any, Any, Any], timeout: float) -> Any:
        """Return what ``work`` returned; None when there was no result in time."""
        with self._held():  # another thread may be starting it
            here = self._state is State.NEW and not self._runs
        if here:
            return self._run_here(work, timeout)
        if self._thread.is_current or not self._runs or is_forking():
            work.close()  # the loop can't wait for itself, nor anybody for a loop that is gone
            return None
        return self._run_there(work, timeout)

    def _run_there(self, work: Coroutine[Any, Any, Any], timeout: float) -> Any:
        assert self._loop is not None
        done = native.Lock()
        done.acquire()
        results: list[Any] = []

        async def run() -> None:
            try:
                results.append(await work)
            finally:
                done.release()

        try:
            self._loop.call_soon_threadsafe(asyncio.ensure_future, run())
        except RuntimeError:
            work.close()
            return None
        while self.waits_long is not None and timeout > LONG:
            if native.acquire(done, LONG):
                return results[0] if results else None
            timeout -= LONG
            self.waits_long(timeout)
        native.acquire(done, timeout + self._grace)
        return results[0] if results else None

    def _run_here(self, work: Coroutine[Any, Any, Any], timeout: float) -> Any:
        if self._loop is None or asyncio._get_running_loop() is not None:
            work.close()  # nothing was ever to be sent, or this thread has a loop to run
            return None
        with shipping, self._loop.working():
            self._loop.call_soon(self._shipper.start)
            waiting = asyncio.ensure_future(self._watch(timeout), loop=self._loop)
            try:
                return self._loop.run_until_complete(work)
            finally:
                waiting.cancel()

    async def _watch(self, left: float) -> None:
        while self.waits_long is not None and left > LONG:
            await asyncio.sleep(LONG)
            left -= LONG
            self.waits_long(left)

    # At a fork.

    def pause(self, timeout: float) -> bool:
        """Hold the loop still; return whether ``go_on()`` has to be called."""
        if self._loop is None or self._thread.is_current:
            return False
        return self._loop.pause(timeout)

    def go_on(self) -> None:
        """Let the loop work again."""
        assert self._loop is not None
        self._loop.go_on()

    def abandon(self) -> None:
        """Let go of the parent's files, in a forked child."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.abandon()


def _in_background(make: Callable[[float], Coroutine[Any, Any, Any]], timeout: float) -> None:
    _BACKGROUND.add(task := asyncio.ensure_future(make(timeout)))
    task.add_done_callback(_BACKGROUND.discard)


_BACKGROUND: Final[set["asyncio.Task[Any]"]] = set()


def _end_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Whoever still waits, for a name server for one, waits in vain."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:  # gather() of nothing belongs to this thread's loop, whichever that is
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
