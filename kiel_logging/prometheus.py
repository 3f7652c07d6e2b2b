"""The handlers' stats for Prometheus, read when it scrapes, or written for other processes.

Needs the extra ``prometheus``. Nothing is counted here, so logging calls cost no more with it.
"""

import os
from collections.abc import Iterable, Iterator
from typing import Any, Final

from kiel_logging import metrics, native
from kiel_logging.delivery_stats import Histogram
from kiel_logging.errors import ConfigurationError
from kiel_logging.handler import exits
from kiel_logging.handler.record_handler import RecordHandler
from kiel_logging.metrics import COUNTER, GAUGE, HISTOGRAM, METRICS, Handlers, Readings, le

try:
    from prometheus_client import values as prometheus_values
    from prometheus_client.metrics_core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        Metric,
    )
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ImportError(
        "kiel_logging.prometheus needs prometheus_client: pip install 'kiel_logging[prometheus]'"
    ) from error

_FAMILIES: Final = {
    COUNTER: CounterMetricFamily,
    GAUGE: GaugeMetricFamily,
    HISTOGRAM: HistogramMetricFamily,
}


class KafkaHandlerCollector(Collector):
    """Collects from handlers: ``REGISTRY.register(KafkaHandlerCollector())``.

    The label ``handler`` has a handler's name, which dictConfig gives it, or "#" and a number. A
    handler that starts over, in a forked child, counts from 0 again, as Prometheus expects of
    counters. Where prometheus_client gathers from several processes (PROMETHEUS_MULTIPROC_DIR),
    it asks no collectors: see ``write_multiprocess()``.

    Args:
        handlers: whose stats these are, closed or not; by default those of all handlers that are
            there and not closed, whenever Prometheus asks.
    """

    def __init__(self, handlers: Iterable[RecordHandler] | None = None) -> None:
        self._handlers = Handlers(handlers)

    def describe(self) -> Iterator[Metric]:
        """Yield the metrics without values, by which a registry knows what is in it twice."""
        yield from _families({})

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of now."""
        yield from _families(self._handlers.readings())


def _families(readings: Readings) -> Iterator[Metric]:
    for metric in METRICS:
        family = _FAMILIES[metric.kind](
            metric.full_name, metric.text, labels=["handler", *metric.labels]
        )
        for handler, reading in readings.items():
            for key, value in metric.values(*reading).items():
                if isinstance(value, Histogram):
                    buckets = [(le(bound), count) for bound, count in value.cumulative()]
                    family.add_metric([handler, *key], buckets, value.sum)
                else:
                    family.add_metric([handler, *key], value)
        yield family


_sleep: Final = native.original("time", "sleep")
_EVERY: Final = 1.0
_PATIENCE: Final = 1.0
"""Seconds."""


def write_multiprocess() -> None:
    """Have this process, and those that it forks, write the metrics of their handlers to files in
    ``PROMETHEUS_MULTIPROC_DIR``, where ``MultiProcessCollector`` finds and adds them up.

    A thread does so each second, and each closing of a handler; so a process that is killed leaves
    the counts of at most a second before. Call it once, before or after forking.

    Raises:
        ConfigurationError: that variable was not set when prometheus_client was imported.
    """
    global _writer
    if not getattr(prometheus_values.ValueClass, "_multiprocess", False):
        raise ConfigurationError(
            "write_multiprocess() needs the variable PROMETHEUS_MULTIPROC_DIR to be set, to a "
            "directory, before prometheus_client is imported"
        )
    if _writer is None:
        _writer = _Writer()
        _writer.start()
        exits.at_ends.append(_writer.write)
        if hasattr(os, "register_at_fork"):  # not on Windows
            os.register_at_fork(
                before=_writer.pause, after_in_parent=_writer.resume, after_in_child=_writer.start
            )


class _Writer:
    """Writes the metrics of all handlers of this process."""

    def __init__(self) -> None:
        self._handlers = Handlers()
        self._values: dict[tuple[str, ...], Any] = {}
        self._gauges: dict[tuple[str, ...], Any] = {}

    def start(self) -> None:
        """Begin to write, on a thread of this process."""
        self._lock = native.Lock()
        native.Thread(self._run, "kiel_logging-metrics").start()

    def pause(self) -> None:
        """Write nothing until ``resume()``: a child would find locks of prometheus_client held."""
        self._paused = native.acquire(self._lock, _PATIENCE)

    def resume(self) -> None:
        """Write again."""
        if self._paused:
            self._lock.release()

    def _run(self) -> None:
        while True:
            _sleep(_EVERY)
            self.write()

    def write(self) -> None:
        """Write all values, unless another thread is about to."""
        if not native.acquire(self._lock, _PATIENCE):
            return
        try:
            readings = self._handlers.readings()
            passed = dict(self._gauges)  # unless they are written now
            for metric in METRICS:
                for handler, reading in readings.items():
                    for labels, value in metric.values(*reading).items():
                        for name, key, number in _parts(metric, (handler, *labels), value):
                            self._value(metric, name, key).set(number)
                            passed.pop((name, *key), None)
            for gauge in passed.values():  # a handler is closed, or a trouble over
                gauge.set(0)
        finally:
            self._lock.release()

    def _value(self, metric: metrics.Metric, name: str, key: tuple[str, ...]) -> Any:
        if (name, *key) not in self._values:
            names = ("handler", *metric.labels, "le")[: len(key)]
            self._values[name, *key] = value = prometheus_values.ValueClass(
                metric.kind,
                metric.full_name,
                name,
                names,
                key,
                metric.text,
                multiprocess_mode=f"live{metric.total}",
            )
            if metric.kind == GAUGE:
                self._gauges[name, *key] = value
        return self._values[name, *key]


def _parts(
    metric: metrics.Metric, key: tuple[str, ...], value: float | Histogram
) -> Iterator[tuple[str, tuple[str, ...], float]]:
    """Yield the numbers of a value, each with its name and the values of its labels."""
    if isinstance(value, Histogram):
        bounds = (*value.bounds, float("inf"))
        for bound, count in zip(bounds, value.counts, strict=True):  # not those below it
            yield f"{metric.full_name}_bucket", (*key, le(bound)), count
        yield f"{metric.full_name}_sum", key, value.sum
    else:
        yield metric.exposed_name, key, value


_writer: _Writer | None = None
