"""The thread that ships: a Tornado IOLoop with a Shipper on it, started when it is first needed.

It is a daemon: a thread that Python waits for would keep the program from ending (logging flushes
in ``atexit``, which comes after that wait). Where no thread can be started any more, because Python
is about to exit, the loop runs on the thread that flushes.

Everything that only the loop needs is imported on the thread (``handler/loading.py``). Calls that
come meanwhile wait until there is a loop.
"""

# Tornado needs the first one. It can't be imported when Python is about to exit, and the first
# record may come then.
import concurrent.futures.thread  # noqa: F401
import contextlib
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import kiel_logging.native_sockets  # noqa: F401 # before the program may patch them
from kiel_logging import native
from kiel_logging.handler.internal_log import write_to_stderr
from kiel_logging.handler.loading import (
    load_beside_greenlets,
    modules,
    wait_for_modules,
)
from kiel_logging.handler.process import is_forking, warn_before_forks_in_c
from kiel_logging.handler.recursion import as_shipping, mark_this_thread_as_shipping, shipping
from kiel_logging.native import monotonic
from kiel_logging.record.fields import running_loop


class Gate:
    """A lock that goes to the thread that asked for it first: for forks.

    The loop thread has it while it works. A thread that passes it finds the loop idle. Python's
    locks go to the thread that runs when they are released: a loop that never waits for long would
    take its lock back every time, before another thread had woken up.
    """

    def __init__(self) -> None:
        self._next = native.Lock()
        self._lock = native.Lock()

    def acquire(self, timeout: float | None = None) -> bool:
        """Wait, at most ``timeout`` seconds, for all those that asked before.

        Without a timeout no memory is needed: an error would end the loop thread.
        """
        if timeout is None:
            self._next.acquire()
            try:
                return self._lock.acquire()
            finally:
                self._next.release()
        deadline = monotonic() + timeout
        if not self._next.acquire(timeout=timeout):
            return False
        try:
            return self._lock.acquire(timeout=max(0.0, deadline - monotonic()))
        finally:
            self._next.release()

    def release(self) -> None:
        """Pass it to the next thread; any thread may."""
        self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_error: object) -> None:
        self.release()


if TYPE_CHECKING:
    from kiel_logging.handler.pausing_loop import PausingLoop
    from kiel_logging.handler.shipper import Shipper

    Work: TypeAlias = Callable[[Shipper], Coroutine[Any, Any, Any]]

GRACE: Final = 0.5
"""Seconds in which a loop that is not held up answers."""


LONG: Final = 1.0
"""Seconds between two reports of a wait."""

_A_MOMENT: Final = 0.01
"""Seconds in which a new thread begins to run."""

_AGAIN: Final = 0.5
"""Seconds until another attempt to make a loop, for which there were no files."""


_dead: list[Any] = []
"""Loops of threads that failed, so that they are never finalised."""


class State(Enum):
    """NEW ──start──▶ RUNNING ──stop──▶ STOPPED; NEW ──stop──▶ STOPPED."""

    NEW = "new"
    RUNNING = "running"
    STOPPED = "stopped"


class LoopThread:
    """Owns the thread and its IOLoop; all methods are for other threads.

    Args:
        make_shipper: makes what runs there, on the thread; called once.
        on_start: called before the thread starts, once unless something is raised in it.
        on_death: called on the thread when it ends by itself.
        grace: seconds that another thread waits beyond a timeout for the loop to answer.

    Attributes:
        shipper: what runs there; None until the thread has made it.
        waits_long: called each second on a thread that waits, with the seconds that are left.
    """

    def __init__(
        self,
        make_shipper: "Callable[[], Shipper]",
        on_start: Callable[[], None],
        on_death: Callable[[], None] = lambda: None,
        grace: float = GRACE,
    ) -> None:
        self._grace = grace
        self.shipper: Shipper | None = None
        self._make_shipper = make_shipper
        self._on_start = on_start
        self._on_death = on_death
        self._lock = native.RLock()
        self.waits_long: Callable[[float], None] | None = None
        self._prepared = self._starting = False
        self._calls: deque[Callable[[Shipper], object]] = deque()
        self._state = State.NEW
        self._gate = Gate()
        self._loop: PausingLoop | None = None
        self._is_full = self._complained = False
        self._waiting: dict[Any, bool] = {}
        """The locks that threads wait for until the loop has done their work."""
        # Not Thread.is_alive(): a hook that logs may start the thread in a forked child before
        # the module threading has run its own, which takes all threads for dead.
        self._runs = False
        self._thread = native.Thread(self._run, "kiel_logging")

    def __repr__(self) -> str:
        return f"<LoopThread {self._state.value}>"

    @property
    def state(self) -> State:
        """The state of the thread."""
        return self._state

    @property
    def runs(self) -> bool:
        """Whether the thread works; it may be about to stop."""
        return self._runs

    @property
    def works_for_others(self) -> bool:
        """Whether it runs, and is another thread than the caller's."""
        return self._state is State.RUNNING and not self._thread.is_current

    @property
    def is_broken(self) -> bool:
        """Whether it should run and can't: its thread ended, or its descriptors were closed."""
        if self._state is not State.RUNNING or self._loop is None:
            return False
        return not self._runs or not self._loop.is_whole

    def give_up(self) -> None:
        """Treat the broken loop as ended: its thread may wait for ever."""
        self._state = State.STOPPED
        _dead.append(self._loop)
        if self._loop is not None:
            self._loop.give_up()

    def wake(self, full: bool) -> None:
        """Have the shipper look for records: soon, or now when a batch is ``full``."""
        self._is_full |= full  # first: a loop that is made from now on looks at it
        if self._state is State.NEW:
            self._start_once()
        if self.state is State.RUNNING and (loop := self._loop) is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and ships no more
                loop.call_soon_threadsafe(self._look, full)

    def _look(self, full: bool) -> None:
        assert self.shipper is not None
        self.shipper.look(full)

    def call(self, callback: "Callable[[Shipper], object]") -> None:
        """Call ``callback`` soon on the thread, with the shipper, and don't wait for it."""
        if self._state is State.STOPPED:
            return
        self._calls.append(callback)
        if self._state is State.NEW:
            self._start_once()
        self._make_calls()

    def _make_calls(self) -> None:
        """Pass pending calls to the loop, if there is one; several threads may do so."""
        loop, shipper = self._loop, self.shipper
        if loop is None or shipper is None:
            return  # its thread does so as soon as there is one
        with contextlib.suppress(IndexError, RuntimeError):
            while True:
                loop.call_soon_threadsafe(self._calls.popleft(), shipper)

    def _start_once(self) -> None:
        """Start the thread, unless another one does so just now: it makes all calls that wait.

        The calling thread may hold any lock of the program's, or logging's: it does not wait here
        for a thread that may want it.
        """
        if not self._prepared:
            as_shipping(self._on_start)
            load_beside_greenlets()
            self._prepared = True
        if not self._lock.acquire(blocking=False):
            return
        try:
            if self._state is State.NEW and not self._starting:
                self._start_now()
        finally:
            self._lock.release()

    def _start_now(self) -> None:
        self._starting = True  # a signal handler on top of this must not start it again
        try:
            as_shipping(self._start)
        finally:
            self._starting = False

    def _start(self) -> None:
        try:
            warn_before_forks_in_c()
            if not self._runs:  # else an exception came in between the last time
                self._runs = True
                self._thread.start()
        except (RuntimeError, OSError):
            # Python exits, or there are too many threads: flush() or the next call may do
            self._runs = False
            return
        except BaseException:  # a signal handler's, while the thread begins: give it time
            time.sleep(_A_MOMENT)
            self._runs = self._thread.ident is not None
            raise
        self._state = State.RUNNING

    def _run(self) -> None:
        mark_this_thread_as_shipping()
        with self._gate:
            if (loop := self._begin_at_last()) is None:
                self._runs = False
                return
            self._make_calls()
            if self._state is State.STOPPED:  # no thread waits for it any more
                assert self.shipper is not None
                loop.begin(self.shipper.close(0.0)).add_done_callback(lambda _: loop.stop())
            try:
                loop.run()
            except Exception as error:  # the program closed its descriptors, for one
                self._die(error)
                return
            finally:
                for done in list(self._waiting):  # it was stopped before it began their work
                    self._release(done)
            self._runs = False

    def _begin_at_last(self) -> "PausingLoop | None":
        """Return the loop; try again while there are no files for it. None if stopped before."""
        never = native.Lock()
        never.acquire()
        while True:
            try:
                return self._begin()
            except Exception as error:
                self._note_delay(error)
            if self._state is State.STOPPED:
                return None
            self._gate.release()
            never.acquire(timeout=_AGAIN)  # a sleep that is no greenlet's
            self._gate.acquire()

    def _note_delay(self, error: Exception) -> None:
        """Report, once, that there is no loop; not for a lack of files, which passes."""
        if not isinstance(error, OSError) and not self._complained:
            self._complained = True
            write_to_stderr(f"kiel_logging: log records can't be shipped now ({error!r})")

    def _begin(self) -> "PausingLoop":
        """Return the loop; make it, and the shipper on it, if they are not there.

        Raises:
            OSError: there are no more files.
        """
        if self._loop is None:
            with modules():
                from kiel_logging.handler.pausing_loop import PausingLoop

                loop = PausingLoop(self._gate)
                try:
                    self.shipper = self._make_shipper()
                except BaseException:
                    loop.close()
                    raise
                loop.call_soon(self.shipper.start)
                loop.call_soon(lambda: self._look(self._is_full))
                self._loop = loop
        return self._loop

    def _die(self, error: Exception) -> None:
        """Report that the thread ends. The loop is not closed: its descriptors may be the program's
        by now."""
        self._runs = False
        _dead.append(self._loop)
        if self._state is State.STOPPED:  # after give_up()
            return
        write_to_stderr(f"kiel_logging: the thread that ships log records failed ({error!r})")
        self._on_death()

    def flush(self, timeout: float) -> bool:
        """Wait, at most ``timeout`` seconds, until all that is in the buffer now has ended; return
        whether it has."""
        return self._run_and_wait(lambda shipper: shipper.flush(timeout), timeout) is True

    def finish(self, timeout: float, *, last: bool) -> bool:
        """Flush, and then end the streams if this is the ``last`` call, or pause them."""
        return (
            self._run_and_wait(lambda shipper: shipper.finish(timeout, last=last), timeout) is True
        )

    def start_flushing(self, timeout: float) -> None:
        """Flush within ``timeout`` seconds, without waiting for it."""
        if self._state is State.RUNNING:
            self.call(partial(self._flush_in_background, timeout=timeout))

    def _flush_in_background(self, shipper: "Shipper", timeout: float) -> None:
        assert self._loop is not None
        self._loop.begin(shipper.flush(timeout))

    def stop(self, timeout: float) -> None:
        """Deliver what is there within ``timeout`` seconds, give up all else, end the thread."""
        deadline = monotonic() + timeout
        self._run_and_wait(lambda shipper: shipper.close(timeout), timeout)
        with self._held():
            running, self._state = self._state is State.RUNNING, State.STOPPED
        loop = self._loop
        if running and loop is not None:
            with contextlib.suppress(RuntimeError):  # it ended by itself
                loop.call_soon_threadsafe(loop.stop)
            if not self._thread.is_current:
                self._thread.join(max(0.0, deadline - monotonic()) + self._grace)
        elif loop is not None and not loop.is_closed():
            with self._gate:
                loop.end_tasks()
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

    def _run_and_wait(self, work: "Work", timeout: float) -> Any:
        """Return the result of ``work``; None when there was none in time."""
        with self._held():  # another thread may be starting it
            here = self._state is State.NEW and not self._runs
        if here:
            return self._run_here(work, timeout)
        if self._thread.is_current or not self._runs or is_forking():
            return None  # the loop can't wait for itself, and a dead one never ends the wait
        return self._run_there(work, timeout)

    def _run_there(self, work: "Work", timeout: float) -> Any:
        deadline = monotonic() + timeout
        # The grace is for loading as well: only a loop can write the spool. There is no
        # threading.Event here: a signal handler that flushes may run on top of its methods.
        begun_by = deadline + self._grace
        while self._loop is None and self._runs and (left := begun_by - monotonic()) > 0:
            wait_for_modules(left)
            time.sleep(_A_MOMENT)
        loop, shipper = self._loop, self.shipper
        if loop is None or shipper is None:
            return None
        timeout = max(0.0, deadline - monotonic())
        done = native.Lock()
        done.acquire()
        self._waiting[done] = True
        results: list[Any] = []

        async def run() -> None:
            try:
                results.append(await work(shipper))
            finally:
                self._release(done)

        try:
            loop.call_soon_threadsafe(lambda: loop.begin(run()))
        except RuntimeError:  # it is closed
            return None
        while self.waits_long is not None and timeout > LONG:
            if native.acquire(done, LONG):
                return results[0] if results else None
            timeout -= LONG
            self.waits_long(timeout)
        native.acquire(done, timeout + self._grace)
        return results[0] if results else None

    def _release(self, done: Any) -> None:
        """Release the thread that waits for ``done``; the loop and its end may both do so."""
        if self._waiting.pop(done, False):
            done.release()

    def _run_here(self, work: "Work", timeout: float) -> Any:
        if not self._prepared or running_loop() is not None:
            return None  # nothing was ever sent, or this thread runs another loop
        with shipping, self._gate:
            try:
                loop = self._begin()
            except Exception as error:
                self._note_delay(error)
                return None
            assert self.shipper is not None
            waiting = loop.begin(self._watch(timeout))
            try:
                return loop.run_until_complete(work(self.shipper))
            finally:
                waiting.cancel()

    async def _watch(self, left: float) -> None:
        import asyncio  # it is there: this runs on a loop

        while self.waits_long is not None and left > LONG:
            await asyncio.sleep(LONG)
            left -= LONG
            self.waits_long(left)

    # At a fork.

    def pause(self, timeout: float) -> bool:
        """Wait, at most ``timeout`` seconds, until the loop does nothing, and keep it so.

        Returns:
            Whether ``resume()`` has to be called.

        Raises:
            TimeoutError: it works all the time.
        """
        if not self._prepared or self._thread.is_current:
            return False
        if not self._gate.acquire(timeout):
            raise TimeoutError(f"the loop did not come to rest within {timeout} s")
        return True

    def resume(self) -> None:
        """Let the loop work again."""
        self._gate.release()

    def abandon(self) -> None:
        """Close the parent's files, in a forked child."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.abandon()
