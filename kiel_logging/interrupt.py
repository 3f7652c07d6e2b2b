"""Ctrl-C for the commands: the process ends within a second, whatever it waits for.

Python runs its signal handler between two instructions of the main thread. A call into C that waits
for brokers, or a ``finally`` that closes a handler, may take half a minute.
"""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final

STATUS: Final = 130
"""The status that a shell reports for a program that Ctrl-C ended."""

_PATIENCE_S: Final = 0.7


class Interrupt:
    """Watches for Ctrl-C between ``start()`` and ``stop()``, both called by the main thread.

    The first one raises KeyboardInterrupt, so that files are closed; more are ignored. If the
    process is still there after 0.7 s, ``last_act`` is called, and it ends with status 130.
    """

    def __init__(self, last_act: Callable[[], None]) -> None:
        self._last_act = last_act
        self._is_over = threading.Event()
        self._is_watching = False

    def start(self) -> None:
        """Begin to watch, unless the program handles or ignores Ctrl-C by itself."""
        is_main = threading.current_thread() is threading.main_thread()
        if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            return
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        self._wakeup_before = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        self._is_watching = True
        self._thread = threading.Thread(target=self._watch, name="Ctrl-C", daemon=True)
        self._thread.start()
        signal.signal(signal.SIGINT, self._handle)

    def stop(self, afterwards: signal.Handlers | None = None) -> None:
        """End the watch; from now on Ctrl-C does ``afterwards``, or what it did before."""
        if not self._is_watching:
            return
        self._is_watching = False
        self._is_over.set()
        signal.set_wakeup_fd(self._wakeup_before)
        signal.signal(signal.SIGINT, afterwards or signal.default_int_handler)
        os.close(self._writing)  # and so the thread ends
        self._thread.join()

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    def _watch(self) -> None:
        while received := os.read(self._reading, 100):
            if signal.SIGINT in received and not self._is_over.wait(_PATIENCE_S):
                self._last_act()
                os._exit(STATUS)
        os.close(self._reading)
