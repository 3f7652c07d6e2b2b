"""The daemon: a handler's pipeline without a handler, which ships for the writers of directories.

It has the loop thread, spool and engine of a KafkaHandler, and one connection to each broker. The
main thread waits for signals.
"""

import contextlib
import logging
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, Final

with contextlib.suppress(ImportError):  # Windows, where there is no journal
    import resource

from kiel_logging.handler.internal_log import InternalLog
from kiel_logging.handler.ledger import Stats, Traffic
from kiel_logging.handler.lifecycle import Plan
from kiel_logging.handler.options import handler_options
from kiel_logging.handler.pipeline import Pipeline
from kiel_logging.handler.receipts import OpenBlocks
from kiel_logging.handler.record_options import HandlerOptions
from kiel_logging.handler.spool.orphans import Backlog
from kiel_logging.proof.stamper import stamp_size
from kiel_logging.record.conversion import Conversion
from kiel_logging.record.item import Item

NAME: Final = "kiel-logging ship"

_TOPIC: Final = "kiel-logging"
"""Stands for the topic of a handler; all records have a topic of their own."""

_AT_THE_END: Final = 1.0
"""Seconds in which records that are out to the brokers may be acknowledged, at the end."""


class Daemon:
    """Ships for the writers below some directories, from ``start()`` to ``close()``.

    Args:
        directories: their ``spool_dir``s, or directories of such.
        options: returns the options of a KafkaHandler without ``topic`` and ``spool_dir``; called
            again for another configuration.

    Attributes:
        failures: how many records were given up, by the kind of error.
    """

    def __init__(
        self,
        directories: tuple[Path, ...],
        options: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._directories = directories
        self._options = options
        self._before: Stats | None = None
        self._traffic_before = Traffic()
        self.failures: Counter[str] = Counter()
        self.pipeline = self._make()

    def _make(self) -> Pipeline:
        # With "always" the daemon's records survive its SIGKILL, and the next one sends
        # them: without them a reader would not know that a killed program's stream is complete.
        own = {"spool_dir": self._directories[0], "spool": "always", "chain": True}
        options = handler_options(topic=_TOPIC, **own, **self._options())
        assert options.spool is not None
        options = replace(options, spool=options.spool._replace(fleet=self._directories))
        return Pipeline(
            Plan(
                options=options,
                name=lambda: NAME,
                blocks=OpenBlocks(),
                convert_own=_own_records(options),
                internal_log=InternalLog(options.internal_logger),
                fallback=None,
                on_error=self._note_error,
            )
        )

    def _note_error(self, error: Exception, records: int) -> None:
        self.failures[type(error).__name__] += records

    def start(self) -> None:
        """Begin to ship, on another thread."""
        _allow_many_files()
        self.pipeline.recover()

    def reload(self) -> None:
        """Begin anew with the configuration of now; the old one stays if the new one is wrong.

        Raises:
            ConfigurationError: it is.
        """
        following = self._make()
        self.close()
        self.pipeline = following
        self.start()

    def send_all(self, timeout: float) -> bool:
        """Send what is there now; return whether all of it was acknowledged within ``timeout``
        seconds, no record was given up, and none stays that this process can't send."""
        return self.pipeline.ship_all(timeout) and not self.failures.total()

    def close(self) -> None:
        """Wait a moment for acknowledgements, write the checkpoints, and release all locks."""
        self.pipeline.close(_AT_THE_END)
        self._before, self._traffic_before = self.stats(), self.traffic()

    @property
    def is_alive(self) -> bool:
        """Whether the thread that ships works."""
        return self.pipeline.is_alive

    def backlogs(self) -> list[Backlog]:
        """Return what waits of each stream."""
        return self.pipeline.backlogs()

    def traffic(self) -> Traffic:
        """Return what was sent so far, and what was not, by topic."""
        return self._traffic_before + self.pipeline.traffic()

    def stats(self) -> Stats:
        """Return what became of the records so far."""
        stats = self.pipeline.stats()
        return stats if self._before is None else self._before + stats


def _own_records(options: HandlerOptions) -> Callable[[logging.LogRecord, str, int], Item]:
    """Return what makes items of the daemon's own records."""
    most = options.max_request_size - stamp_size(chain=True)
    conversion = Conversion(**options.conversion, max_size=most, keep_source=False)
    return lambda record, topic, spare: conversion.convert(record, None, topic, spare)


def _allow_many_files() -> None:
    """Have one descriptor for each writer, which is what a lock takes, and so many writers."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Signals:
    """Signals that are waited for: SIGTERM, SIGINT and SIGHUP while the block lasts."""

    _WANTED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def __init__(self) -> None:
        self._found: deque[int] = deque()
        self._any = threading.Event()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        for number in self._WANTED:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._found.append(number)
        self._any.set()

    def wait(self, timeout: float) -> int | None:
        """Return the next signal; None if there is none within ``timeout`` seconds."""
        if not self._found:
            self._any.wait(timeout)
        self._any.clear()
        return self._found.popleft() if self._found else None
