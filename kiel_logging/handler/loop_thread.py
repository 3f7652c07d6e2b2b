"""The thread that ships: a Tornado IOLoop with a Shipper on it, started when it is first needed.

Handlers that reach brokers the same way, and don't hold each other up, share it: a Runner is the
thread, a LoopThread is the part in it that one pipeline has.

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
import os
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import kiel_logging.native_sockets  # noqa: F401 # before the program may patch them
from kiel_logging import native
from kiel_logging.handler import forks
from kiel_logging.handler.internal_log import write_to_stderr
from kiel_logging.handler.loading import load_beside_greenlets, modules, wait_for_modules
from kiel_logging.handler.recursion import as_shipping, mark_this_thread_as_shipping
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
    import asyncio

    from kiel_logging.handler.pausing_loop import PausingLoop
    from kiel_logging.handler.shipper import Shipper
    from kiel_logging.network.pool import ConnectionPool

    Work: TypeAlias = Callable[[Shipper], Coroutine[Any, Any, Any]]

GRACE: Final = 0.5
"""Seconds in which a loop that is not held up answers."""


LONG: Final = 1.0
"""Seconds between two reports of a wait."""

_A_MOMENT: Final = 0.01
"""Seconds in which a new thread begins to run."""

_AGAIN: Final = 0.5
"""Seconds until another attempt to make a loop, for which there were no files."""


_dead: "list[Runner]" = []
"""Those that failed, or are a parent's. They are never finalised: their tasks would wake up, and
their files be closed, which may be the program's by now."""


# -- the thread, and those that share it -----------------------------------------------------------


class Runner:
    """A thread, and the loop that it runs for one LoopThread or several: its members.

    Args:
        key: LoopThreads with an equal key may become members; None for one alone.

    Attributes:
        members: those that use it; the last one to leave ends it.
        pool: the connections that they share; None for one alone, and until there is a loop.
        loop: None until the thread has made it.
        started: whether the thread was started.
        runs: whether it works; it may be about to start, or to end.
        waiting: the locks that threads wait for until the loop has done their work.
    """

    def __init__(self, key: object) -> None:
        self.key = key
        self.members: dict[LoopThread, bool] = {}
        self.pool: ConnectionPool | None = None
        self.loop: PausingLoop | None = None
        self.gate = Gate()
        self.lock = native.RLock()
        self.waiting: dict[Any, bool] = {}
        self.started = False
        # Not Thread.is_alive(): a hook that logs may start the thread in a forked child before
        # the module threading has run its own, which takes all threads for dead.
        self.runs = False
        self._ended = self._given_up = self._complained = False
        self._boarding: dict[LoopThread, bool] = {}
        self._closing = 0
        self.thread = native.Thread(self._run, "kiel_logging")
        forks.register(self)

    def __repr__(self) -> str:
        return f"<Runner of {len(self.members)}>"

    @property
    def is_broken(self) -> bool:
        """Whether it should run and can't: its thread ended, or its descriptors were closed."""
        if not self.started or self.loop is None:
            return False
        return self._given_up or not self.runs or not self.loop.is_whole

    # Its members.

    def join(self, member: "LoopThread") -> bool:
        """Make ``member`` one of them; return False if it is too late for that."""
        self.members[member] = True  # first: a signal handler may close the others from now on
        if self._ended or self.is_broken:
            self.members.pop(member, None)
            return False
        return True

    def leave(self, member: "LoopThread") -> bool:
        """Let ``member`` leave; return whether it was the last one, and none can join any more."""
        if self.members.pop(member, None) is None or self.members:
            return False
        self._ended = True
        if self.members:  # a signal handler on top of this made one
            self._ended = False
        return self._ended

    def take_up(self, member: "LoopThread") -> None:
        """Have the thread make the shipper of ``member``; start it if need be, and can be.

        The calling thread may hold any lock of the program's, or logging's: it does not wait here
        for a thread that may want it.
        """
        self._boarding[member] = True  # first: a thread that starts looks there
        if not (self.started or self.runs) and self.lock.acquire(blocking=False):
            try:
                if not (self.started or self.runs):  # by a signal handler on top of this
                    as_shipping(self._start)
            finally:
                self.lock.release()
        if (loop := self.loop) is not None:
            with contextlib.suppress(RuntimeError):  # it is closed: its end was on top of this
                loop.call_soon_threadsafe(self._board_all)

    def _start(self) -> None:
        try:
            forks.warn_before_forks_in_c()
            self.runs = True
            self.thread.start()
            self.started = True
        except (RuntimeError, OSError):
            # Python exits, or there are too many threads: flush() or the next call may do
            self.runs = False
        except BaseException:  # a signal handler's, while the thread begins: give it time
            time.sleep(_A_MOMENT)
            self.started = self.runs = self.thread.ident is not None
            raise

    # On the thread.

    def _run(self) -> None:
        mark_this_thread_as_shipping()
        self.started = self.runs = True
        with self.gate:
            if (loop := self._loop_at_last()) is None:
                self.runs = False
                return
            loop.call_soon(self._board_all)
            if self._ended:  # no thread waits for it any more
                loop.call_soon(self._end)
            try:
                loop.run()
            except Exception as error:  # the program closed its descriptors, for one
                self._die(error)
                return
            finally:
                for done in list(self.waiting):  # it was stopped before it began their work
                    self.release(done)
            self.runs = False

    def _loop_at_last(self) -> "PausingLoop | None":
        """Return the loop; try again while there are no files for it. None if ended before."""
        never = native.Lock()
        never.acquire()
        while True:
            try:
                return self.make_loop()
            except Exception as error:
                self.note_delay(error)
            if self._ended:
                return None
            self.gate.release()
            never.acquire(timeout=_AGAIN)  # a sleep that is no greenlet's
            self.gate.acquire()

    def note_delay(self, error: Exception) -> None:
        """Report, once, that there is no loop; not for a lack of files, which passes."""
        if not isinstance(error, OSError) and not self._complained:
            self._complained = True
            write_to_stderr(f"kiel_logging: log records can't be shipped now ({error!r})")

    def make_loop(self) -> "PausingLoop":
        """Return the loop; make it if it is not there.

        Raises:
            OSError: there are no more files.
        """
        if self.loop is None:
            with modules():
                from kiel_logging.handler.pausing_loop import PausingLoop
                from kiel_logging.network.pool import ConnectionPool

                if self.key is not None:
                    self.pool = ConnectionPool()
                self.loop = PausingLoop(self.gate)
        return self.loop

    def board(self, member: "LoopThread") -> None:
        """Make the shipper of ``member``, and start it with the loop's next turn.

        Raises:
            Exception: whatever prevents it.
        """
        loop = self.make_loop()
        if member.shipper is None:
            with modules():
                shipper = member.make_shipper(self.pool)
            loop.call_soon(shipper.start)
            loop.call_soon(lambda: shipper.look(member.is_full))
            member.shipper = shipper  # behind these: other threads make calls from now on
        self._boarding.pop(member, None)
        member.make_calls()

    def _board_all(self) -> None:
        for member in list(self._boarding):
            try:
                self.board(member)
            except Exception as error:
                self.note_delay(error)
                if not member.stopped and self.loop is not None:
                    self.loop.call_later(_AGAIN, self._board_all)
                    continue
                self._boarding.pop(member, None)
            if member.stopped:  # no thread waits for it any more
                member.close_unless_begun(0.0)

    def close(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run ``work``, which closes a shipper that none waits for, before the loop ends."""
        self._closing += 1
        self.begin(work).add_done_callback(self._closed)

    def begin(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Start ``work``, on the thread."""
        assert self.loop is not None
        return self.loop.begin(work)

    def _closed(self, _work: object) -> None:
        self._closing -= 1
        if self._ended:
            self._end()

    def _end(self) -> None:
        if not self._closing and self.loop is not None:
            self.loop.stop()

    def _die(self, error: Exception) -> None:
        """Report that the thread ends. The loop is not closed: its descriptors may be the program's
        by now."""
        self.runs = False
        _dead.append(self)
        if self._ended or self._given_up:
            return
        write_to_stderr(f"kiel_logging: the thread that ships log records failed ({error!r})")
        for member in list(self.members):
            member.on_death()

    def release(self, done: Any) -> None:
        """Release the thread that waits for ``done``; the loop and its end may both do so."""
        if self.waiting.pop(done, False):
            done.release()

    # Its end; for other threads.

    def give_up(self) -> None:
        """Treat the broken loop as ended: its thread may wait for ever."""
        self._given_up = True
        _dead.append(self)
        if self.loop is not None:
            self.loop.give_up()

    def stop(self, timeout: float) -> None:
        """End the thread, which has no members any more; wait ``timeout`` seconds for that."""
        loop = self.loop
        if loop is None:
            return
        if self.started:
            with contextlib.suppress(RuntimeError):  # it ended by itself
                loop.call_soon_threadsafe(self._end)
            if not self.thread.is_current:
                self.thread.join(timeout)
        elif not loop.is_closed():
            with self.gate:
                loop.end_tasks()
            loop.close()

    def abandon(self) -> None:
        """Leave the loop to the parent, in a forked child, and close its files there; not if the
        program has closed them, for they may be its own by now."""
        _dead.append(self)
        if self.loop is not None and self.loop.is_whole:
            self.loop.abandon()


@contextlib.contextmanager
def _held(lock: Any) -> Iterator[None]:
    """Hold ``lock``, or continue without it if it can't be had for long: a thread may have it that
    waits for this one, in a signal handler."""
    held = lock.acquire(timeout=GRACE)
    try:
        yield
    finally:
        if held:
            lock.release()


class _Shared(NamedTuple):
    """The Runners of a process that others may join. A forked child has others, and another lock:
    that of its parent may be held for ever."""

    lock: Any
    runners: list[Runner]


_shared: dict[int, _Shared] = {}


def _shared_here() -> _Shared:
    pid = os.getpid()
    return _shared.get(pid) or _shared.setdefault(pid, _Shared(native.RLock(), []))


class LoopThread:
    """A shipper's place on a thread and its loop; all methods are for other threads.

    Args:
        make_shipper: makes what runs there, on the thread, from the connections that are shared
            there, if any are; called once.
        on_start: called before the thread starts, once unless something is raised in it.
        on_death: called on the thread when it ends by itself.
        grace: seconds that another thread waits beyond a timeout for the loop to answer.
        key: those with an equal key share a thread; None for a thread that is not shared.
        revive: called when another that had the same thread has found it broken.

    Attributes:
        shipper: what runs there; None until the thread has made it.
        stopped: whether it takes no more work.
        is_full: whether a batch was full before there was a shipper.
        waits_long: called each second while a thread waits, with the seconds that are left.
    """

    def __init__(
        self,
        make_shipper: "Callable[[ConnectionPool | None], Shipper]",
        on_start: Callable[[], None],
        on_death: Callable[[], None],
        grace: float,
        *,
        key: object,
        revive: Callable[[], None],
    ) -> None:
        self._grace = grace
        self.shipper: Shipper | None = None
        self.make_shipper = make_shipper
        self._on_start = on_start
        self.on_death = on_death
        self._revive = revive
        self._key = key
        self.waits_long: Callable[[float], None] | None = None
        self._prepared = self.stopped = False
        self._close_began = self._closed = False
        self._calls: deque[Callable[[Shipper], object]] = deque()
        self.is_full = False
        self._places: dict[str, Runner] = {}

    def __repr__(self) -> str:
        return f"<LoopThread {'stopped' if self.stopped else self.runner}>"

    @property
    def runner(self) -> Runner | None:
        """The thread and its loop; None before the first record."""
        return self._places.get("runner")

    @property
    def runs(self) -> bool:
        """Whether the thread works for it; it may be about to stop."""
        return (runner := self.runner) is not None and runner.runs and not self._closed

    @property
    def works_for_others(self) -> bool:
        """Whether it runs, and is another thread than the caller's."""
        runner = self.runner
        return (
            not self.stopped
            and runner is not None
            and runner.started
            and not runner.thread.is_current
        )

    @property
    def is_broken(self) -> bool:
        """Whether it should run and can't: its thread ended, or its descriptors were closed."""
        return not self.stopped and (runner := self.runner) is not None and runner.is_broken

    def give_up(self) -> None:
        """Treat the broken loop as ended; all others that had the same thread are revived."""
        self.stopped = True
        if (runner := self.runner) is not None:
            runner.give_up()
            self._leave(runner)
            for other in list(runner.members):
                other._revive()

    def wake(self, full: bool) -> None:
        """Have the shipper look for records: soon, or now when a batch is ``full``."""
        self.is_full |= full  # first: a loop that is made from now on looks at it
        if self.shipper is not None:
            self.call(lambda shipper: shipper.look(full))
        elif not self.stopped:
            self._start_once()

    def call(self, callback: "Callable[[Shipper], object]") -> None:
        """Call ``callback`` soon on the thread, with the shipper, and don't wait for it."""
        if self.stopped:
            return
        self._calls.append(callback)
        if self.shipper is None or (runner := self.runner) is None or not runner.started:
            self._start_once()
        self.make_calls()

    def make_calls(self) -> None:
        """Pass pending calls to the loop, if there is one; several threads may do so."""
        runner, shipper = self.runner, self.shipper
        if runner is None or shipper is None or (loop := runner.loop) is None:
            return  # its thread does so as soon as there is one
        with contextlib.suppress(IndexError, RuntimeError):
            while True:
                loop.call_soon_threadsafe(self._calls.popleft(), shipper)

    def _start_once(self) -> None:
        """Start the thread, or join one that others have: it makes all calls that wait."""
        if not self._prepared:
            as_shipping(self._on_start)
            load_beside_greenlets()
            self._prepared = True
        self._join().take_up(self)

    def _join(self) -> Runner:
        if (runner := self.runner) is not None:
            return runner
        shared = _shared_here()
        with shared.lock:
            found = self._find(shared)
            # A signal handler on top of this may have logged, and found another.
            runner = self._places.setdefault("runner", found)
            if runner is not found:
                self._leave(found)
        return runner

    def _find(self, shared: _Shared) -> Runner:
        if self._key is not None:
            for runner in list(shared.runners):
                if runner.key == self._key and runner.join(self):
                    return runner
        runner = Runner(self._key)
        runner.join(self)
        if self._key is not None:
            shared.runners.append(runner)
        return runner

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
        if (runner := self.runner) is not None and runner.started:
            self.call(lambda shipper: runner.begin(shipper.flush(timeout)))

    def stop(self, timeout: float) -> None:
        """Deliver what is there within ``timeout`` seconds, and give up all else; end the thread,
        unless others have it too."""
        deadline = monotonic() + timeout
        self._run_and_wait(lambda shipper: self._close(shipper, timeout), timeout)
        if (runner := self.runner) is None:
            self.stopped = True
            return
        with _held(runner.lock):
            self.stopped = True
        if self._leave(runner):
            runner.stop(max(0.0, deadline - monotonic()) + self._grace)
        elif not self._close_began and (loop := runner.loop) is not None:
            with contextlib.suppress(RuntimeError):
                left = max(0.0, deadline - monotonic())
                loop.call_soon_threadsafe(self.close_unless_begun, left)

    def _leave(self, runner: Runner) -> bool:
        shared = _shared_here()
        with _held(shared.lock):
            is_last = runner.leave(self)
            if is_last and runner in shared.runners:
                shared.runners.remove(runner)
        return is_last

    async def _close(self, shipper: "Shipper", timeout: float) -> None:
        self._close_began = True
        await shipper.close(timeout)
        self._closed = True

    def close_unless_begun(self, timeout: float) -> None:
        """Close the shipper, on the thread, if no thread could wait for that."""
        if self.shipper is not None and (runner := self.runner) and not self._close_began:
            runner.close(self._close(self.shipper, timeout))

    def _run_and_wait(self, work: "Work", timeout: float) -> Any:
        """Return the result of ``work``; None when there was none in time."""
        runner = self.runner
        if runner is None or self.stopped:
            return None
        with _held(runner.lock):  # another thread may be starting it
            here = not runner.started and not runner.runs
        if here:
            return as_shipping(self._run_here, runner, work, timeout)
        if runner.thread.is_current or not runner.runs or forks.is_forking():
            return None  # the loop can't wait for itself, and a dead one never ends the wait
        return self._run_there(runner, work, timeout)

    def _run_there(self, runner: Runner, work: "Work", timeout: float) -> Any:
        deadline = monotonic() + timeout
        # The grace is for loading as well: only a loop can write the spool. There is no
        # threading.Event here: a signal handler that flushes may run on top of its methods.
        begun_by = deadline + self._grace
        while self.shipper is None and runner.runs and (left := begun_by - monotonic()) > 0:
            wait_for_modules(left)
            time.sleep(_A_MOMENT)
        loop, shipper = runner.loop, self.shipper
        if loop is None or shipper is None:
            return None
        timeout = max(0.0, deadline - monotonic())
        done = native.Lock()
        done.acquire()
        runner.waiting[done] = True
        results: list[Any] = []

        async def run() -> None:
            try:
                results.append(await self._watched(work(shipper), timeout))
            finally:
                runner.release(done)

        try:
            loop.call_soon_threadsafe(lambda: loop.begin(run()))
        except RuntimeError:  # it is closed
            return None
        native.acquire(done, timeout + self._grace)
        return results[0] if results else None

    def _run_here(self, runner: Runner, work: "Work", timeout: float) -> Any:
        if running_loop() is not None:
            return None  # this thread runs another loop
        with runner.gate:
            try:
                loop = runner.make_loop()
                runner.board(self)
            except Exception as error:
                runner.note_delay(error)
                return None
            assert self.shipper is not None
            return loop.run_until_complete(self._watched(work(self.shipper), timeout))

    async def _watched(self, work: Coroutine[Any, Any, Any], timeout: float) -> Any:
        """Return the result of ``work``; call ``waits_long`` each second meanwhile."""
        import asyncio  # it is there: this runs on a loop

        async def watch() -> None:
            left = timeout
            while self.waits_long is not None and left > LONG:
                await asyncio.sleep(LONG)
                left -= LONG
                self.waits_long(left)

        watching = asyncio.ensure_future(watch())
        try:
            return await work
        finally:
            watching.cancel()
