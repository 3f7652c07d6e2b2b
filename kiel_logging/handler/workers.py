"""Workers: the children of multiprocessing and billiard, which run no ``atexit``."""

import os
import sys
import threading
from typing import Any, Final

from kiel_logging.handler import exits, sigterm

_PACKAGES: Final = ("multiprocessing", "billiard")
"""Their children end by ``os._exit()``, after the finalizers of their ``util``."""

_LAST: Final = -100
"""Finalizers with a higher priority run before, and may log."""

_seen_to_in: int | None = None


def flush_at_the_end_of_a_worker() -> None:
    """Have handlers flush at the end of this process, if it is a worker."""
    global _seen_to_in
    if _seen_to_in == os.getpid():
        return
    for package in _PACKAGES:
        util: Any = sys.modules.get(f"{package}.util")
        process: Any = sys.modules.get(f"{package}.process")
        if util is None or process is None:
            continue
        worker = process.current_process()
        if getattr(worker, "_parent_pid", None) is not None:
            util.Finalize(None, _end, exitpriority=_LAST)
            # Again, behind all finalizers: an exception of a signal handler ends these.
            threading._register_atexit(_end)  # type: ignore[attr-defined]
            sigterm.flush_on_sigterm(None)  # billiard's have taken the parent's handler away
            sigterm.watch()
            _flush_on_exit_of(getattr(worker, "_target", None))
    _seen_to_in = os.getpid()


def _flush_on_exit_of(worker: Any) -> None:
    """Have a worker of billiard's Pool, and so of Celery, flush: it runs no finalizers.

    It calls ``on_exit(pid, exitcode)``, if it has one, and then ``os._exit()``, or is killed.
    """
    if not hasattr(worker, "on_exit"):
        return
    previous = worker.on_exit

    def on_exit(pid: int, exitcode: int) -> None:
        try:
            if previous is not None:
                previous(pid, exitcode)
        finally:
            _end()

    worker.on_exit = on_exit


def _end() -> None:
    try:
        exits.flush(exits.lifecycles(), last=True)
    except SystemExit:  # of a signal handler: a pool's SIGTERM finds workers that end already
        exits.flush(exits.lifecycles(), last=True)
        raise
