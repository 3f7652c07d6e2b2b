"""A process that numbers what it logs, forks, and tells its handler's ledger when it ends."""

import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from kiel_logging import KafkaHandler


class LoggingProcess:
    """This process, or after a fork the child: its name, its counts, its children.

    Args:
        who: its name, which every record of it has.
        options: the handler's.

    Attributes:
        who: its name; a child's is its parent's, a dot and a number.
        alive: the process ids of its children that did not end yet.
    """

    def __init__(self, who: str, options: Mapping[str, Any]) -> None:
        self.who = who
        self.alive: list[int] = []
        self._logged: dict[str, int] = {}
        self._children: list[str] = []
        self._handler = KafkaHandler(context=lambda: {"who": self.who}, **options)
        self._log = logging.getLogger("soak")
        self._log.setLevel(logging.INFO)
        self._log.addHandler(self._handler)

    def logged(self, thread: str) -> int:
        """Return how many records were logged under the name of a thread."""
        return self._logged.get(thread, 0)

    def log(self, thread: str, records: int) -> None:
        """Log so many records with the next numbers of `thread`, which is the one that calls."""
        first = self.logged(thread)
        for number in range(first, first + records):
            self._log.info("record", extra={"by": thread, "number": number})
            self._logged[thread] = number + 1

    def fork(self, live: Callable[[], object]) -> None:
        """Fork a child that does what `live` does, tells its ledger and ends."""
        who = f"{self.who}.{len(self._children)}"
        self._children.append(who)
        pid = os.fork()
        if pid == 0:
            self._be(who, live)
        self.alive.append(pid)

    def _be(self, who: str, live: Callable[[], object]) -> None:
        """Be the child, to its end: what the parent was about to do is not its business."""
        status = 1
        try:
            self.who, self.alive, self._logged, self._children = who, [], {}, []
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
        self._handler.close()
        stats = self._handler.stats()
        ledger = {
            "who": self.who,
            "logged": self._logged,
            "emitted": stats.emitted,
            "delivered": stats.delivered,
            "dropped": {reason: sum(by.values()) for reason, by in stats.dropped.items()},
            "failed": stats.failed,
            "waiting": stats.buffered + stats.in_flight,
            "children": self._children,
        }
        # One write: lines of several processes don't mix.
        os.write(sys.stdout.fileno(), f"{json.dumps(ledger)}\n".encode())
