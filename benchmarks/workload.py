"""The records that every way to log gets: the same messages, arguments, keys and extras."""

import logging
import threading
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from benchmarks.case import Case

KEY: Final = "user_id"
"""The extra that is the key of a record."""

SHAPES: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "plain": ("order %d of user %s was placed", {}),
    "short": ("order %d of user %s was placed", {"cart": "c-4711", "items": 3}),
    "web access": (
        "request %d of user %s was answered",
        {
            "method": "GET",
            "target": "/shop/articles/4711/reviews",
            "query": "page=2&sort=newest",
            "status": 200,
            "duration_ms": 12.75,
            "bytes_sent": 18_231,
            "remote": "203.0.113.77",
            "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
            "referer": "https://shop.example/search?q=lamp",
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            "span_id": "00f067aa0ba902b7",
        },
    ),
    "audit": (
        "change %d by user %s was approved",
        {
            "action": "customer.address.change",
            "actor": {
                "name": "Ada Lovelace",
                "roles": ["support", "approver"],
                "session": {"id": "b1946ac92492d2347c6235b4d2611184", "address": "203.0.113.77"},
            },
            "target": {"type": "customer", "id": 48_151_623, "tenant": "north"},
            "before": {
                "street": "1 Old Road",
                "city": "Kiel",
                "postcode": "24103",
                "country": "DE",
                "verified": True,
                "since": "2021-04-01",
            },
            "after": {
                "street": "23 New Avenue",
                "city": "Kiel",
                "postcode": "24105",
                "country": "DE",
                "verified": False,
                "since": None,
            },
            "reasons": ["moved house", "confirmed by letter", "second pair of eyes"],
            "ticket": "SUP-1234567",
            "policy": {"id": "four-eyes", "version": 7, "limits": [1, 2, 10]},
            "request_id": "9a1b2c3d-4e5f-4a6b-8c7d-0e1f2a3b4c5d",
            "reviewed_by": ["grace", "edsger"],
        },
    ),
}
"""Name -> message, with number and key as arguments, and extras beside the key."""

_LOGGER: Final = "shop.cart"
_SLICE: Final = 0.000_5
_STARTS_WITHIN: Final = 60.0

Share = Callable[[int, int], None]
"""Logs the records of a range."""


def descriptions() -> dict[str, str]:
    """Return how large the records of each shape are, as JSON with the fields of our handler."""
    from benchmarks.peers.fields import with_orjson

    found = {}
    for shape, (_, extras) in SHAPES.items():
        kept: list[bytes] = []
        handler = logging.Handler()
        handler.emit = lambda record, kept=kept: kept.append(with_orjson(record))  # type: ignore[method-assign,misc]
        Workload(Case(measure="", peer="", shape=shape), handler).log(0, 1)
        nested = " some of them nested," if any(map(_is_nested, extras.values())) else ""
        found[shape] = f"{len(extras)} extras beside the key,{nested} {len(kept[0])} bytes"
    return found


def _is_nested(value: Any) -> bool:
    return isinstance(value, dict | list)


class Workload:
    """Logs records through ``handler``, as a case says."""

    def __init__(self, case: Case, handler: logging.Handler) -> None:
        self._loggers = [_logger(name, handler) for name in _logger_names(case)]
        message, extras = SHAPES[case.shape]
        fields = {f"field_{each}": f"value {each}" for each in range(case.extras)}
        self._message = message.ljust(case.message_size, "~")
        self._extra = {**extras, **fields}
        self._extras = [{KEY: f"user-{each:04d}", **self._extra} for each in range(case.keys)]

    def log(self, first: int, last: int) -> None:
        """Log the records of a range as fast as can be."""
        loggers, message = self._loggers, self._message
        topics = len(loggers)
        for number, extra in self._extras_from(first, last):
            loggers[number % topics].info(message, number, extra[KEY], extra=extra)

    def log_timed(self, first: int, last: int, rate: int = 0) -> Sequence[float]:
        """Log the records of a range; return the seconds that each call took.

        ``rate`` is how many a second, by the clock: one call that is late does not delay others.
        """
        took = array("d", bytes(8 * (last - first)))
        loggers, message = self._loggers, self._message
        clock, topics, began_at = time.perf_counter, len(loggers), time.perf_counter()
        for number, extra in self._extras_from(first, last):
            if rate:
                _sleep_until(began_at + (number - first) / rate)
            logger = loggers[number % topics]
            began = clock()
            logger.info(message, number, extra[KEY], extra=extra)
            took[number - first] = clock() - began
        return took

    def _extras_from(self, first: int, last: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield numbers and extras: made before, unless each record has another key."""
        extras, keys = self._extras, len(self._extras)
        if keys:
            for number in range(first, last):
                yield number, extras[number % keys]
        else:
            for number in range(first, last):
                yield number, {KEY: f"user-{number:09d}", **self._extra}


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


def _sleep_until(moment: float) -> None:
    while (left := moment - time.perf_counter()) > 0:
        time.sleep(max(left, _SLICE) if left > _SLICE else 0)
