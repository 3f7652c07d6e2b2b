"""The shop's threads: each takes events from a stream of its own and logs them.

Which record went where is noted by :func:`topics_of`, not asked of the handlers.
"""

import logging
import threading
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from kiel_logging.demo.logging_setup import topics_of
from kiel_logging.demo.payments import PaymentError
from kiel_logging.demo.phases import Phase
from kiel_logging.demo.traffic import Event, visits

_REPORT_EVERY_S: Final = 0.1


@dataclass(slots=True)
class Logged:
    """What one thread, or all of them, logged in a phase.

    ``ids`` is topic (without prefix) -> the ids of the records that belong there; ``call_ns`` has
    the duration of every logging call.
    """

    ids: "dict[str, array[int]]" = field(default_factory=dict)
    call_ns: "array[int]" = field(default_factory=lambda: array("q"))
    seconds: float = 0.0

    def note(self, event: Event, record_id: int, call_ns: int) -> None:
        """Count one logging call."""
        for topic in topics_of(event.logger, event.level):
            self.ids.setdefault(topic, array("q")).append(record_id)
        self.call_ns.append(call_ns)

    def add(self, other: "Logged") -> None:
        """Count what another thread, or another phase, logged."""
        for topic, ids in other.ids.items():
            self.ids.setdefault(topic, array("q")).extend(ids)
        self.call_ns.extend(other.call_ns)
        self.seconds += other.seconds


class Shop:
    """Visitors and the threads that serve them.

    Args:
        threads: how many.
        seed: the same seed and number of threads give the same visits.
    """

    def __init__(self, threads: int, seed: int) -> None:
        self._streams = [visits(Random(f"{seed}/{number}")) for number in range(threads)]

    def open(self, phase: Phase, progress: Callable[[int], None]) -> Logged:
        """Log the records of ``phase``; tells ``progress`` now and then how many it has logged."""
        workers = [
            _Worker(stream, phase, number, len(self._streams))
            for number, stream in enumerate(self._streams)
        ]
        start = time.monotonic()
        for worker in workers:
            worker.start()
        try:
            _watch(workers, progress)
        finally:
            for worker in workers:
                worker.end()
        total = Logged(seconds=time.monotonic() - start)
        for worker in workers:
            total.add(worker.log)
        return total


class _Worker(threading.Thread):
    """Logs every ``of``-th record of the phase."""

    def __init__(self, events: Iterator[Event], phase: Phase, number: int, of: int) -> None:
        super().__init__(name=f"shop-{number}")
        self.log = Logged()
        self._events = events
        self._ids = phase.ids[number::of]
        self._interval = of / phase.rate if phase.rate else 0.0
        self._stop_now = threading.Event()
        self._failure: BaseException | None = None

    def run(self) -> None:
        try:
            self._serve()
        except BaseException as failure:
            self._failure = failure

    def end(self) -> None:
        """Stop, and raise what went wrong in the thread, if anything did."""
        self._stop_now.set()
        self.join()
        if self._failure is not None:
            raise self._failure

    def _serve(self) -> None:
        due = time.monotonic()
        for record_id, event in zip(self._ids, self._events, strict=False):
            if self._stop_now.is_set():
                return
            if (early := due - time.monotonic()) > 0:
                self._stop_now.wait(early)
            due += self._interval
            self.log.note(event, record_id, log_event(event, record_id))


def log_event(event: Event, record_id: int) -> int:
    """Log ``event``; returns how long the logging call took, in nanoseconds."""
    extra = {**event.extra, "record_id": record_id}
    if event.fails is None:
        return _timed(event, extra, failed=False)
    try:
        event.fails(event.extra["order_id"], event.extra["amount"])
    except PaymentError:
        return _timed(event, extra, failed=True)
    raise AssertionError(f"{event.fails} did not fail")


def _timed(event: Event, extra: dict[str, Any], *, failed: bool) -> int:
    logger = logging.getLogger(event.logger)
    start = time.perf_counter_ns()
    if failed:
        logger.exception(event.message, *event.args, extra=extra, stacklevel=2)
    else:
        logger.log(event.level, event.message, *event.args, extra=extra, stacklevel=2)
    return time.perf_counter_ns() - start


def _watch(workers: Sequence[_Worker], progress: Callable[[int], None]) -> None:
    for worker in workers:
        while worker.is_alive():
            worker.join(_REPORT_EVERY_S)
            progress(_logged_by(workers))
    progress(_logged_by(workers))  # they may have been too quick to be seen alive


def _logged_by(workers: Sequence[_Worker]) -> int:
    return sum(len(worker.log.call_ns) for worker in workers)
