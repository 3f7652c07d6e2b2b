"""The handlers' stats for Prometheus, read when it scrapes.

Needs the extra ``prometheus``. Nothing is counted here, so logging calls cost no more with it.
"""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final
from weakref import WeakKeyDictionary

from kiel_logging.handler.health import Health
from kiel_logging.handler.kafka_handler import KafkaHandler
from kiel_logging.handler.ledger import BUFFER_FULL, Stats
from kiel_logging.handler.process import live_handlers

try:
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ImportError(
        "kiel_logging.prometheus needs prometheus_client: pip install 'kiel_logging[prometheus]'"
    ) from error

_COUNTERS: Final[dict[str, tuple[str, Callable[[Stats], int]]]] = {
    "kiel_logging_records_emitted": (
        "Log records given to the handler: the sum of what became of them, and of what waits.",
        lambda stats: stats.emitted,
    ),
    "kiel_logging_records_delivered": (
        "Log records that the brokers acknowledged.",
        lambda stats: stats.delivered,
    ),
    "kiel_logging_records_failed": (
        "Log records that were sent for and given up, or were left when the handler was closed.",
        lambda stats: stats.failed,
    ),
    "kiel_logging_records_fallback": (
        "Log records, of those dropped or failed, that the fallback handler took.",
        lambda stats: stats.fallback,
    ),
    "kiel_logging_records_recovered": (
        "Log records of processes that died, found in spool_dir and delivered. Not emitted.",
        lambda stats: stats.recovered,
    ),
    "kiel_logging_records_diverted": (
        "Log records that were made while shipping others, and shown elsewhere. Not emitted.",
        lambda stats: stats.diverted,
    ),
}
_GAUGES: Final[dict[str, tuple[str, Callable[[Stats], int]]]] = {
    "kiel_logging_records_buffered": (
        "Log records that wait to be sent.",
        lambda stats: stats.buffered,
    ),
    "kiel_logging_records_in_flight": (
        "Log records that were sent and not yet acknowledged.",
        lambda stats: stats.in_flight,
    ),
    "kiel_logging_records_spooled": (
        "Log records that are on disk and not in memory.",
        lambda stats: stats.spooled,
    ),
    "kiel_logging_memory_bytes": (
        "Memory that the log records take that are buffered or in flight.",
        lambda stats: stats.memory,
    ),
}
_DROPPED: Final = "kiel_logging_records_dropped"
_DROPPED_HELP: Final = (
    "Log records that never reached the producer, by reason (buffer_full: more came than Kafka "
    "took) and level."
)
_LEFT_OUT: Final = "kiel_logging_records_left_out"
_LEFT_OUT_HELP: Final = (
    "Log records that options left out on purpose, by reason (rate_limit, sample, dedupe, "
    "before_send) and level. They are neither dropped nor lost."
)
_HEALTH: Final = "kiel_logging_health"
_HEALTH_HELP: Final = (
    "0: log records get to Kafka in time; 1: they wait for more than some seconds, or the disk "
    "takes none; 2: some are lost, or were in the last minute."
)
_STATUSES: Final = ("ok", "degraded", "failing")
_OLDEST: Final = "kiel_logging_oldest_record_seconds"
_OLDEST_HELP: Final = "How long ago the oldest log record was made that is not delivered; else 0."
_TROUBLES: Final = "kiel_logging_troubles"
_TROUBLES_HELP: Final = (
    "What keeps log records from being delivered, by kind of error: how many topics and brokers "
    "have had it for some seconds. A handler without any has one series, 0, whose kind is empty."
)
_TROUBLE_SECONDS: Final = "kiel_logging_trouble_seconds"
_TROUBLE_SECONDS_HELP: Final = "How long the longest of these lasts, by kind."
_TROUBLE_RECORDS: Final = "kiel_logging_trouble_records"
_TROUBLE_RECORDS_HELP: Final = "How many log records wait because of these, by kind."
_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class KafkaHandlerCollector(Collector):
    """Collects from handlers: ``REGISTRY.register(KafkaHandlerCollector())``.

    The label ``handler`` has a handler's name, which dictConfig gives it, or "#" and a number. A
    handler that starts over, in a forked child, counts from 0 again, as Prometheus expects of
    counters. Where prometheus_client gathers from several processes (PROMETHEUS_MULTIPROC_DIR),
    it asks no collectors: register this one with a registry that each process exposes.

    Args:
        handlers: whose stats these are, closed or not; by default those of all handlers that are
            there and not closed, whenever Prometheus asks.
    """

    def __init__(self, handlers: Iterable[KafkaHandler] | None = None) -> None:
        self._handlers = None if handlers is None else list(handlers)
        self._numbers: WeakKeyDictionary[KafkaHandler, int] = WeakKeyDictionary()
        self._count = itertools.count(1)

    def describe(self) -> Iterator[Metric]:
        """Yield the metrics without values, by which a registry knows what is in it twice."""
        yield from _metrics({})
        yield from _health({})

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of now."""
        handlers: list[Any] = live_handlers() if self._handlers is None else self._handlers
        by_label = self._by_label(handlers)
        yield from _metrics({label: one.stats() for label, one in by_label.items()})
        yield from _health({label: one.health() for label, one in by_label.items()})

    def _by_label(self, handlers: Iterable[KafkaHandler]) -> dict[str, KafkaHandler]:
        found: dict[str, KafkaHandler] = {}
        for handler in handlers:
            label = handler.name or self._numbered("", handler)
            while label in found:  # two handlers may have one name
                label = self._numbered(label, handler)
            found[label] = handler
        return found

    def _numbered(self, label: str, handler: KafkaHandler) -> str:
        if handler not in self._numbers:
            self._numbers[handler] = next(self._count)
        return f"{label}#{self._numbers[handler]}"


def _metrics(stats_by_label: dict[str, Stats]) -> Iterator[Metric]:
    for name, (text, value_of) in _COUNTERS.items():
        yield _filled(CounterMetricFamily(name, text, labels=["handler"]), value_of, stats_by_label)
    yield _dropped(stats_by_label)
    yield _left_out(stats_by_label)
    for name, (text, value_of) in _GAUGES.items():
        yield _filled(GaugeMetricFamily(name, text, labels=["handler"]), value_of, stats_by_label)
    yield from _troubles(stats_by_label)


def _health(health_by_label: dict[str, Health]) -> Iterator[Metric]:
    status = GaugeMetricFamily(_HEALTH, _HEALTH_HELP, labels=["handler"])
    oldest = GaugeMetricFamily(_OLDEST, _OLDEST_HELP, labels=["handler"])
    for label, health in health_by_label.items():
        status.add_metric([label], _STATUSES.index(health.status))
        oldest.add_metric([label], health.oldest or 0.0)
    yield from (status, oldest)


def _filled(
    family: CounterMetricFamily | GaugeMetricFamily,
    value_of: Callable[[Stats], int],
    stats_by_label: dict[str, Stats],
) -> Metric:
    for label, stats in stats_by_label.items():
        family.add_metric([label], value_of(stats))
    return family


def _dropped(stats_by_label: dict[str, Stats]) -> Metric:
    family = CounterMetricFamily(_DROPPED, _DROPPED_HELP, labels=["handler", "reason", "level"])
    for label, stats in stats_by_label.items():
        # A series that is not there before the first loss would hide it from rate().
        full = {**dict.fromkeys(_LEVELS, 0), **stats.dropped.get(BUFFER_FULL, {})}
        for reason, levels in {**stats.dropped, BUFFER_FULL: full}.items():
            for level, count in levels.items():
                family.add_metric([label, reason, level], count)
    return family


def _left_out(stats_by_label: dict[str, Stats]) -> Metric:
    family = CounterMetricFamily(_LEFT_OUT, _LEFT_OUT_HELP, labels=["handler", "reason", "level"])
    for label, stats in stats_by_label.items():
        for reason, levels in stats.left_out.items():
            for level, count in levels.items():
                family.add_metric([label, reason, level], count)
    return family


def _troubles(stats_by_label: dict[str, Stats]) -> Iterator[Metric]:
    labels = ["handler", "kind"]
    number = GaugeMetricFamily(_TROUBLES, _TROUBLES_HELP, labels=labels)
    seconds = GaugeMetricFamily(_TROUBLE_SECONDS, _TROUBLE_SECONDS_HELP, labels=labels)
    records = GaugeMetricFamily(_TROUBLE_RECORDS, _TROUBLE_RECORDS_HELP, labels=labels)
    now = time.time()
    for label, stats in stats_by_label.items():
        if not stats.troubles:
            number.add_metric([label, ""], 0)
        for kind in sorted({one.kind for one in stats.troubles}):
            alike = [one for one in stats.troubles if one.kind == kind]
            number.add_metric([label, kind], len(alike))
            seconds.add_metric([label, kind], max(0.0, now - min(one.since for one in alike)))
            records.add_metric([label, kind], sum(one.records for one in alike))
    yield from (number, seconds, records)
