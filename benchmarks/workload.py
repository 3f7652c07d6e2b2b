"""The records that every way to log gets: the same messages, arguments, keys and extras."""

import logging
import threading
import time
from array import array
from collections.abc import Callable, Sequence
from typing import Any, Final

from benchmarks.case import Case

KEY: Final = "user_id"
"""The extra that is the key of a record."""

_USERS: Final = 1_000
_MESSAGE: Final = "order %d of user %s was placed"
_LOGGER: Final = "shop.cart"
_SLICE: Final = 0.000_5
_STARTS_WITHIN: Final = 60.0

Share = Callable[[int, int], None]
"""Logs the records of a range."""


class Workload:
    """Logs records through ``handler``, as a case says."""

    def __init__(self, case: Case, handler: logging.Handler) -> None:
        self._loggers = [_logger(name, handler) for name in _logger_names(case)]
        self._extras = [_extras(number, case.extras) for number in range(_USERS)]
        self._message = _MESSAGE.ljust(case.message_size, "~")

    def log(self, first: int, last: int) -> None:
        """Log the records of a range as fast as can be."""
        loggers, extras, message = self._loggers, self._extras, self._message
        topics = len(loggers)
        for number in range(first, last):
            extra = extras[number % _USERS]
            loggers[number % topics].info(message, number, extra[KEY], extra=extra)

    def log_timed(self, first: int, last: int, rate: int = 0) -> Sequence[float]:
        """Log the records of a range; return the seconds that each call took.

        ``rate`` is how many a second, by the clock: one call that is late does not delay others.
        """
        took = array("d", bytes(8 * (last - first)))
        loggers, extras, message = self._loggers, self._extras, self._message
        clock, topics, began_at = time.perf_counter, len(loggers), time.perf_counter()
        for number in range(first, last):
            if rate:
                _sleep_until(began_at + (number - first) / rate)
            extra, logger = extras[number % _USERS], loggers[number % topics]
            began = clock()
            logger.info(message, number, extra[KEY], extra=extra)
            took[number - first] = clock() - began
        return took


def in_threads(threads: int, records: int, log: Share) -> None:
    """Call ``log`` with a share of ``records`` on each of ``threads``, all at once."""
    if threads == 1:
        log(0, records)
        return
    bounds = [records * number // threads for number in range(threads + 1)]
    started = threading.Barrier(threads, timeout=_STARTS_WITHIN)

    def share(first: int, last: int) -> None:
        started.wait()
        log(first, last)

    running = [
        threading.Thread(target=share, args=bounds[number : number + 2])
        for number in range(threads)
    ]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def _logger_names(case: Case) -> Sequence[str]:
    """Return one name, or that of each topic: then the logger's name is the topic."""
    return case.topic_names if case.topics > 1 else (_LOGGER,)


def _logger(name: str, handler: logging.Handler) -> logging.Logger:
    logger = logging.Logger(name, logging.INFO)
    logger.addHandler(handler)
    return logger


def _extras(number: int, more: int) -> dict[str, Any]:
    return {KEY: f"user-{number:04d}", **{f"field_{each}": f"value {each}" for each in range(more)}}


def _sleep_until(moment: float) -> None:
    while (left := moment - time.perf_counter()) > 0:
        time.sleep(max(left, _SLICE) if left > _SLICE else 0)
