"""A process that numbers its records, forks, and writes its handler's ledger when it ends."""

import itertools
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from kiel_logging import KafkaHandler

from .disturbances import Disturbances


class LoggingProcess:
    """This process, or after a fork the child: its name, its counts, its children.

    Args:
        who: its name, which every record of it has.
        options: the handler's.
        disturbed: whether signal handlers and garbage log as well.

    Attributes:
        alive: the process ids of its children that did not end yet.
    """

    def __init__(self, who: str, options: Mapping[str, Any], *, disturbed: bool = False) -> None:
        self.alive: list[int] = []
        self._names = who, who
        self._pid = os.getpid()
        self._numbers: dict[tuple[int, str], itertools.count[int]] = {}
        self._children: list[str] = []
        self._handler = KafkaHandler(context=lambda: {"who": self.who}, **options)
        self._log = logging.getLogger("soak")
        self._log.setLevel(logging.INFO)
        self._log.addHandler(self._handler)
        self._disturbances = Disturbances(self._log_next) if disturbed else None
        if self._disturbances is not None:
            self._disturbances.begin()

    @property
    def who(self) -> str:
        """Its name; a child's is its parent's, a dot and a number: from the fork on, whatever logs
        on top of it."""
        own, childs = self._names
        return own if os.getpid() == self._pid else childs

    def logged(self, thread: str) -> int:
        """Return how many records were logged under the name of a thread."""
        numbers = self._numbers.get((os.getpid(), thread))
        # Only repr() shows a count without counting.
        return 0 if numbers is None else int(repr(numbers)[len("count(") : -1])

    def log(self, thread: str, records: int) -> None:
        """Log so many records with the next numbers of `thread`, which is the one that calls."""
        for _ in range(records):
            self._log_next(thread)
            if self._disturbances is not None:
                self._disturbances.litter()

    def _log_next(self, thread: str) -> None:
        number = next(self._numbers.setdefault((os.getpid(), thread), itertools.count()))
        self._log.info("record", extra={"by": thread, "number": number})

    def fork(self, live: Callable[[], object]) -> None:
        """Fork a child that calls `live`, writes its ledger and ends."""
        child = f"{self.who}.{len(self._children)}"
        self._children.append(child)
        self._names = self.who, child
        pid = os.fork()
        if pid == 0:
            self._be(child, live)
        self.alive.append(pid)

    def _be(self, who: str, live: Callable[[], object]) -> None:
        """Be the child, to its end: what the parent was about to do is not its business."""
        status = 1
        try:
            self._names = who, who
            self._pid, self.alive, self._children = os.getpid(), [], []
            if self._disturbances is not None:
                self._disturbances.begin()
            live()
            self.tell()
            status = 0
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(status)

    def wait(self, how: int = 0) -> bool:
        """Return whether a child ended; with os.WNOHANG none may have."""
        pid, status = os.waitpid(-1, how)
        if pid == 0:
            return False
        self.alive.remove(pid)
        if status:
            sys.stderr.write(f"a child of {self.who} ended with {status=}\n")
        return True

    def wait_for_all(self) -> None:
        """Wait until all children ended."""
        while self.alive:
            self.wait()

    def tell(self) -> None:
        """Close the handler, and write the ledger to standard output."""
        if self._disturbances is not None:
            self._disturbances.end()
        self._handler.close()
        stats = self._handler.stats()
        ledger = {
            "who": self.who,
            "logged": {
                thread: self.logged(thread) for pid, thread in self._numbers if pid == self._pid
            },
            "emitted": stats.emitted,
            "delivered": stats.delivered,
            "dropped": {reason: sum(by.values()) for reason, by in stats.dropped.items()},
            "failed": stats.failed,
            "diverted": stats.diverted,
            "waiting": stats.buffered + stats.in_flight + stats.spooled,
            "children": self._children,
        }
        # One write: lines of several processes don't mix.
        os.write(sys.stdout.fileno(), f"{json.dumps(ledger)}\n".encode())
