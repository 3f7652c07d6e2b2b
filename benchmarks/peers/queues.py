"""The standard library's QueueHandler, with a QueueListener behind it."""

import logging
import logging.handlers
import queue
import time
from typing import Final

from .peer import MOST_RECORDS, Destination

_POLL: Final = 0.001


class Listened:
    """A QueueHandler whose listener hands everything to one handler."""

    def __init__(self, behind: logging.Handler) -> None:
        records: queue.Queue[logging.LogRecord] = queue.Queue(MOST_RECORDS)
        self.handler = logging.handlers.QueueHandler(records)
        self._records = records
        self._listener = logging.handlers.QueueListener(records, behind)
        self._listener.start()

    def wait(self, seconds: float) -> None:
        """Wait until the listener has handled what is queued."""
        deadline = time.monotonic() + seconds
        while self._records.unfinished_tasks and time.monotonic() < deadline:
            time.sleep(_POLL)


class Queued(Listened):
    """With NullHandler behind it: what handing records to another thread costs by itself."""

    ships = False

    def __init__(self, destination: Destination) -> None:  # noqa: ARG002 # as all peers
        super().__init__(logging.NullHandler())

    def drain(self, seconds: float) -> int:
        """Wait for the listener."""
        self.wait(seconds)
        return 0
