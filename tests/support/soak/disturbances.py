"""Signal handlers and the garbage collector, which log on top of all that a process does.

Each logs under a name that no other has, as a thread does.
"""

import gc
import random
import signal
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, Final

_ALARMS: Final = 0.02
"""Seconds between two SIGALRM at most."""


_ATTEMPTS: Final = 100
"""To collect garbage. Where a fork came in the middle of a collection, Python never collects any in
the child."""


class Disturbances:
    """SIGALRM, SIGCHLD and garbage that logs, in the process that calls `begin()`.

    Args:
        log: logs one record under a name.
    """

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._random = random.Random(0)
        self._references: dict[int, weakref.ref[Any]] = {}

    def begin(self) -> None:
        """Let signals come and garbage log. A forked child begins anew."""
        self._references.clear()
        signal.signal(signal.SIGCHLD, lambda *_: self._log("child"))
        signal.signal(signal.SIGALRM, self._on_alarm)
        self._set_alarm()

    def _on_alarm(self, _number: int, _frame: object) -> None:
        self._log("alarm")
        self._set_alarm()

    def _set_alarm(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, self._random.uniform(0.001, _ALARMS))

    def litter(self) -> None:
        """Leave garbage behind whose collection logs."""
        kind = self._random.randrange(100)
        if kind < 3:
            _Dying(self._log)
        elif kind < 6:
            weakref.finalize(_Cycle(), self._log, "finalize").atexit = False
        elif kind < 9:
            cycle = _Cycle()
            self._references[id(cycle)] = weakref.ref(cycle, partial(self._on_end, id(cycle)))

    def _on_end(self, number: int, _reference: object) -> None:
        self._references.pop(number, None)
        if gc.isenabled():
            self._log("reference")

    def end(self) -> None:
        """Let nothing more come: the process counts what it logged."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        gc.disable()
        _collect()


def _collect() -> None:
    """Collect all garbage, behind a collection that is under way on another thread."""
    began: list[str] = []

    def note(phase: str, _info: object) -> None:
        began.append(phase)

    gc.callbacks.append(note)
    for _ in range(_ATTEMPTS):
        gc.collect()
        if began:
            break
        time.sleep(0.01)
    gc.callbacks.remove(note)


class _Cycle:
    def __init__(self) -> None:
        self.itself = self


class _Dying(_Cycle):
    def __init__(self, log: Callable[[str], None]) -> None:
        super().__init__()
        self._log = log

    def __del__(self) -> None:
        self._log("del")
