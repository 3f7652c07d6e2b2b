"""What works on files for the loop thread: one daemon thread, one job after the other.

The law: jobs run in the order in which they were submitted, also where no thread can be started
any more. Python lets none begin while it ends; then the thread that submits runs them.

A fork takes the gate (``pause()``), for a child must not inherit SQLite's own locks from a thread
that it does not have.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from kiel_logging.handler.gate import Gate
from kiel_logging.handler.shipping import mark_this_thread_as_shipping

Job: TypeAlias = Callable[[], Any]
Then: TypeAlias = Callable[[Any, Exception | None], object]
"""``then(result, error)``: what a job returned or raised."""


class Worker:
    """A queue of jobs and the thread that runs them, which starts with the first.

    Args:
        call: ``call(function, *arguments)`` has the thread that submits run it: its loop's
            ``call_soon_threadsafe``. A RuntimeError means that nobody waits any more.
    """

    def __init__(self, call: Callable[..., object]) -> None:
        self._call = call
        self._jobs: deque[tuple[Job, Then | None]] = deque()
        self._wanted = threading.Semaphore(0)
        self._gate: Final = Gate()
        self._thread: threading.Thread | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<Worker jobs={len(self._jobs)} thread={self._thread is not None}>"

    def submit(self, job: Job, then: Then | None = None) -> None:
        """Run ``job()`` behind all that was submitted before, then ``then(result, error)``.

        Only one thread submits.
        """
        self._jobs.append((job, then))
        if self._thread is None and not self._start():
            self._run_next()
        else:
            self._wanted.release()

    def _start(self) -> bool:
        thread = threading.Thread(target=self._work, name="kiel_logging-spool", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the interpreter is on its way out
            return False
        self._thread = thread
        return True

    def _work(self) -> None:
        mark_this_thread_as_shipping()
        while True:
            self._wanted.acquire()
            with self._gate:
                if not self._jobs:
                    return  # woken for its end
                self._run_next()

    def _run_next(self) -> None:
        job, then = self._jobs.popleft()
        result, error = None, None
        try:
            result = job()
        except Exception as raised:
            error = raised
        if then is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._call(then, result, error)

    def close(self, timeout: float) -> bool:
        """Run what was submitted, within ``timeout`` seconds, and end the thread.

        Returns:
            Whether it is at its end. If not, it goes on to it by itself.
        """
        if self._thread is None:
            return True
        if not self._closed:
            self._closed = True
            self._wanted.release()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def pause(self, timeout: float) -> bool:
        """Wait, at most ``timeout`` seconds, for the job that runs, and let no other begin.

        Returns:
            True: ``go_on()`` has to be called.

        Raises:
            TimeoutError: the job takes longer.
        """
        if not self._gate.acquire(timeout):
            raise TimeoutError(f"the spool's worker did not come to rest within {timeout} s")
        return True

    def go_on(self) -> None:
        """Let it work again."""
        self._gate.release()
