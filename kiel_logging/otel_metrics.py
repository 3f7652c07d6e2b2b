"""The handlers' stats as OpenTelemetry metrics, read when a reader collects.

Needs opentelemetry-api; values appear where the program has set up a MeterProvider.
"""

from collections.abc import Callable, Iterator
from typing import Final

from kiel_logging.constants import VERSION
from kiel_logging.delivery_stats import Histogram
from kiel_logging.metrics import COUNTER, GAUGE, METRICS, Handlers, Metric, Readings, le
from kiel_logging.native import monotonic

try:
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter
except ImportError as error:
    raise ImportError(
        "kiel_logging.otel_metrics needs OpenTelemetry: pip install opentelemetry-api"
    ) from error

_UNITS: Final = {"seconds": "s", "bytes": "By", "": ""}
_HISTOGRAM: Final = ("bucket", "sum", "count")
_MOMENT: Final = 0.1
"""Seconds."""


def instrument(meter_provider: MeterProvider | None = None) -> None:
    """Have the metrics of all handlers of the process collected; call it once.

    They are asynchronous counters and gauges, so log records cost no more with them. There are no
    asynchronous histograms: each is three counters, ``.bucket`` (with an attribute ``le``, as in
    Prometheus), ``.sum`` and ``.count``.

    Args:
        meter_provider: whose meter is used; the global one by default.
    """
    readings = _Readings()
    meter = get_meter("kiel_logging", VERSION, meter_provider)
    for metric in METRICS:
        name, unit = f"kiel_logging.{metric.name}", _UNITS[metric.unit]
        if metric.kind == GAUGE:
            meter.create_observable_gauge(name, [readings.of(metric)], unit, metric.text)
        elif metric.kind == COUNTER:
            meter.create_observable_counter(name, [readings.of(metric)], unit, metric.text)
        else:
            for part in _HISTOGRAM:
                unit_of_part = unit if part == "sum" else ""
                meter.create_observable_counter(
                    f"{name}.{part}", [readings.of(metric, part)], unit_of_part, metric.text
                )


class _Readings:
    """The handlers at one moment, for all callbacks that are called soon after each other."""

    def __init__(self) -> None:
        self._handlers = Handlers()
        self._found: Readings = {}
        self._until = 0.0

    def of(
        self, metric: Metric, part: str = ""
    ) -> Callable[[CallbackOptions], Iterator[Observation]]:
        """Return the callback of a metric, or of a ``part`` of a histogram."""

        def observe(_options: CallbackOptions) -> Iterator[Observation]:
            if monotonic() >= self._until:
                self._found = self._handlers.readings()
                self._until = monotonic() + _MOMENT
            for handler, reading in self._found.items():
                for key, value in metric.values(*reading).items():
                    attributes = dict(zip(metric.labels, key, strict=True), handler=handler)
                    if not isinstance(value, Histogram):
                        yield Observation(value, attributes)
                    elif part == "bucket":
                        for bound, count in value.cumulative():
                            yield Observation(count, {**attributes, "le": le(bound)})
                    else:
                        yield Observation(value.sum if part == "sum" else value.count, attributes)

        return observe
