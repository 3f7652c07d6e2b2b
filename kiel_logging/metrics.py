"""The metrics of a handler: one table, for all that expose them, and for the documentation.

Each has a label ``handler`` besides its own. Labels have names of handlers, levels, reasons and
errors, of which there are few; no topics, and nothing out of records.
"""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

from kiel_logging.delivery_stats import Histogram
from kiel_logging.handler.exits import live_handlers
from kiel_logging.handler.health import Health
from kiel_logging.handler.ledger import BUFFER_FULL, Stats, Trouble
from kiel_logging.handler.record_handler import RecordHandler

COUNTER: Final = "counter"
GAUGE: Final = "gauge"
HISTOGRAM: Final = "histogram"

_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_STATUSES: Final = ("ok", "degraded", "failing")

Values: TypeAlias = "Mapping[tuple[str, ...], float | Histogram]"
"""The values of the labels -> the value."""

Read: TypeAlias = "Callable[[Stats, Health], float | Histogram | Mapping[Any, float]]"
"""Returns a metric's value, or its values by those of its labels."""


class Metric(NamedTuple):
    """One metric.

    Attributes:
        name: without the unit, and what a system adds to it.
        kind: COUNTER, GAUGE or HISTOGRAM.
        unit: "seconds", "bytes" or "".
        text: its meaning.
        read: returns its value, or its values by those of its labels.
        labels: their names.
        total: "sum" or "max", how values of several processes make one.
    """

    name: str
    kind: str
    unit: str
    text: str
    read: Read
    labels: tuple[str, ...] = ()
    total: str = "sum"

    def values(self, stats: Stats, health: Health) -> Values:
        """Return its values."""
        read = self.read(stats, health)
        if not isinstance(read, Mapping):
            return {(): read}
        return {key if isinstance(key, tuple) else (key,): value for key, value in read.items()}

    @property
    def full_name(self) -> str:
        """Its name for Prometheus, without ``_total``."""
        return "_".join(filter(None, ("kiel_logging", self.name, self.unit)))

    @property
    def exposed_name(self) -> str:
        """Its name for Prometheus."""
        return f"{self.full_name}_total" if self.kind == COUNTER else self.full_name


def _by_level(counts: Mapping[str, Mapping[str, int]]) -> dict[tuple[str, str], int]:
    return {
        (reason, level): count
        for reason, levels in counts.items()
        for level, count in levels.items()
    }


# A series that is not there before the first loss would hide it from rate().
_NO_DROPS: Final = dict.fromkeys(((BUFFER_FULL, level) for level in _LEVELS), 0)


def _by_kind(
    stats: Stats,
    of: Callable[[Trouble], float],
    total: Callable[[list[float]], float] = sum,
) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for one in stats.troubles:
        found.setdefault(one.kind, []).append(of(one))
    return {kind: total(values) for kind, values in found.items()}


METRICS: Final = (
    Metric(
        *("records_emitted", COUNTER, ""),
        "Log records given to the handler: the sum of what became of them, and of what waits.",
        lambda stats, _health: stats.emitted,
    ),
    Metric(
        *("records_delivered", COUNTER, ""),
        "Log records that the brokers acknowledged.",
        lambda stats, _health: stats.delivered,
    ),
    Metric(
        *("records_failed", COUNTER, ""),
        "Log records that were sent for and given up, or were left when the handler was closed.",
        lambda stats, _health: stats.failed,
    ),
    Metric(
        *("records_dropped", COUNTER, ""),
        "Log records that never reached the producer, by reason (buffer_full: more came than Kafka "
        "took) and level.",
        lambda stats, _health: _NO_DROPS | _by_level(stats.dropped),
        ("reason", "level"),
    ),
    Metric(
        *("records_left_out", COUNTER, ""),
        "Log records that options left out on purpose, by reason (rate_limit, sample, dedupe, "
        "before_send) and level. They are neither dropped nor lost.",
        lambda stats, _health: _by_level(stats.left_out),
        ("reason", "level"),
    ),
    Metric(
        *("records_fallback", COUNTER, ""),
        "Log records, of those dropped or failed, that the fallback handler took.",
        lambda stats, _health: stats.fallback,
    ),
    Metric(
        *("records_recovered", COUNTER, ""),
        "Log records of processes that died, found in spool_dir and delivered. Not emitted.",
        lambda stats, _health: stats.recovered,
    ),
    Metric(
        *("records_diverted", COUNTER, ""),
        "Log records that were made while shipping others, and shown elsewhere. Not emitted.",
        lambda stats, _health: stats.diverted,
    ),
    Metric(
        *("records_buffered", GAUGE, ""),
        "Log records that wait to be sent.",
        lambda stats, _health: stats.buffered,
    ),
    Metric(
        *("records_in_flight", GAUGE, ""),
        "Log records that were sent and not yet acknowledged.",
        lambda stats, _health: stats.in_flight,
    ),
    Metric(
        *("records_spooled", GAUGE, ""),
        "Log records that are on disk and not in memory.",
        lambda stats, _health: stats.spooled,
    ),
    Metric(
        *("memory", GAUGE, "bytes"),
        "Memory that the log records take that are buffered or in flight.",
        lambda stats, _health: stats.memory,
    ),
    Metric(
        *("spool", GAUGE, "bytes"),
        "Log records on disk that are not acknowledged, those of dead processes included.",
        lambda stats, _health: stats.spool_bytes,
    ),
    Metric(
        *("health", GAUGE, ""),
        "0: log records get to Kafka in time; 1: they wait for more than some seconds, or the disk "
        "takes none; 2: some are lost, or were in the last minute.",
        lambda _stats, health: _STATUSES.index(health.status),
        total="max",
    ),
    Metric(
        *("oldest_record", GAUGE, "seconds"),
        "How long ago the oldest log record was made that is not delivered, in memory or on disk; "
        "else 0.",
        lambda _stats, health: health.oldest or 0.0,
        total="max",
    ),
    Metric(
        *("troubles", GAUGE, ""),
        "What keeps log records from being delivered, by kind of error: how many topics and "
        "brokers have had it for some seconds. A handler without any has one series, 0, whose kind "
        "is empty.",
        lambda stats, _health: _by_kind(stats, lambda _one: 1) or {"": 0},
        ("kind",),
    ),
    Metric(
        *("trouble", GAUGE, "seconds"),
        "How long the longest of these lasts, by kind.",
        lambda stats, _health: _by_kind(stats, lambda one: time.time() - one.since, max),
        ("kind",),
        "max",
    ),
    Metric(
        *("trouble_records", GAUGE, ""),
        "How many log records wait because of these, by kind.",
        lambda stats, _health: _by_kind(stats, lambda one: one.records),
        ("kind",),
    ),
    Metric(
        *("delivery_latency", HISTOGRAM, "seconds"),
        "From the logging call to the acknowledgement, one value for each log record that is "
        "acknowledged, by the clock of the system. Time on disk counts.",
        lambda stats, _health: stats.delivery.latency,
    ),
    Metric(
        *("batch_records", HISTOGRAM, ""),
        "Log records in each batch that is acknowledged.",
        lambda stats, _health: stats.delivery.batch_records,
    ),
    Metric(
        *("batch", HISTOGRAM, "bytes"),
        "The size of each batch that is acknowledged, as it was sent: compressed.",
        lambda stats, _health: stats.delivery.batch_bytes,
    ),
    Metric(
        *("uncompressed", COUNTER, "bytes"),
        "All batches that were sent, those sent again included, as they are before compression.",
        lambda stats, _health: stats.delivery.bytes_uncompressed,
    ),
    Metric(
        *("sent", COUNTER, "bytes"),
        "The same batches as they were sent.",
        lambda stats, _health: stats.delivery.bytes_sent,
    ),
    Metric(
        *("batches_retried", COUNTER, ""),
        "Batches that were sent again.",
        lambda stats, _health: stats.delivery.retries,
    ),
    Metric(
        *("batch_errors", COUNTER, ""),
        "Attempts to send a batch that had no success, by kind: Kafka's name of the error, or the "
        "class of the exception if there was no answer.",
        lambda stats, _health: stats.delivery.errors,
        ("kind",),
    ),
    Metric(
        *("connection_errors", COUNTER, ""),
        "Attempts to connect to a broker that had no success, by class of the exception.",
        lambda stats, _health: stats.delivery.connection_errors,
        ("kind",),
    ),
    Metric(
        *("throttle", COUNTER, "seconds"),
        "For how long brokers had this client wait, because of quotas.",
        lambda stats, _health: stats.delivery.throttled,
    ),
    Metric(
        *("connections", GAUGE, ""),
        "Connections to brokers. Like handlers share them, and each counts those that it uses.",
        lambda stats, _health: stats.delivery.connections,
    ),
)


Readings: TypeAlias = "Mapping[str, tuple[Stats, Health]]"
"""The label of a handler -> what it says of itself."""


class Handlers:
    """Handlers, each with another label: its name, or "#" and a number.

    Args:
        handlers: closed or not; by default all that are there and not closed, whenever it is asked.
    """

    def __init__(self, handlers: Iterable[RecordHandler] | None = None) -> None:
        self._handlers = None if handlers is None else list(handlers)
        self._numbers: WeakKeyDictionary[RecordHandler, int] = WeakKeyDictionary()
        self._count = itertools.count(1)

    def readings(self) -> Readings:
        """Return what they say of themselves now."""
        return {label: (one.stats(), one.health()) for label, one in self._by_label().items()}

    def _by_label(self) -> dict[str, RecordHandler]:
        found: dict[str, RecordHandler] = {}
        handlers: list[Any] = live_handlers() if self._handlers is None else self._handlers
        for handler in handlers:
            label = handler.name or self._numbered("", handler)
            while label in found:  # two handlers may have one name
                label = self._numbered(label, handler)
            found[label] = handler
        return found

    def _numbered(self, label: str, handler: RecordHandler) -> str:
        if handler not in self._numbers:
            self._numbers[handler] = next(self._count)
        return f"{label}#{self._numbers[handler]}"


def text_lines(
    name: str, kind: str, text: str, labels: tuple[str, ...], values: Values
) -> Iterator[str]:
    """Yield the lines of a metric in Prometheus' text format, for where its client isn't there."""
    if text:
        yield f"# HELP {name} {text}\n"
    yield f"# TYPE {name} {kind}\n"
    for key, value in sorted(values.items(), key=lambda pair: pair[0]):
        pairs = [f'{label}="{escaped(one)}"' for label, one in zip(labels, key, strict=True)]
        if isinstance(value, Histogram):
            for bound, count in value.cumulative():
                yield _sample(f"{name}_bucket", [*pairs, f'le="{le(bound)}"'], count)
            yield _sample(f"{name}_sum", pairs, value.sum)
            yield _sample(f"{name}_count", pairs, value.count)
        else:
            yield _sample(name, pairs, value)


def _sample(name: str, pairs: list[str], value: float) -> str:
    return f"{name}{'{' + ','.join(pairs) + '}' if pairs else ''} {value}\n"


def escaped(text: str) -> str:
    """Return the value of a label as it is written between quotation marks."""
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def le(bound: float) -> str:
    """Return the label of a bucket, as Prometheus' clients write it."""
    return "+Inf" if bound == float("inf") else str(float(bound))
