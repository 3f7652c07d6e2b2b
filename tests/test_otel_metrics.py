"""The metrics of handlers for OpenTelemetry, read by its SDK."""

from __future__ import annotations

import logging
import subprocess
import sys
from contextlib import closing

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Sum

from kiel_logging import KafkaHandler
from kiel_logging.metrics import COUNTER, GAUGE, HISTOGRAM, METRICS
from kiel_logging.otel_metrics import instrument
from kiel_logging.testing.kafka import FakeKafka
from tests.support.waiting import until

Point = tuple[tuple[str, str], ...]


def test_a_reader_finds_all_metrics() -> None:
    """Counters and gauges of handlers, and histograms as counters, with names, units, meanings."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    instrument(provider)
    with (
        FakeKafka(topics={"logs": 1}) as kafka,
        closing(KafkaHandler(kafka.addresses, "logs", linger_ms=60_000)) as handler,
    ):
        handler.name = "otel"
        for _ in range(3):
            handler.handle(logging.makeLogRecord({"msg": "x", "levelno": logging.INFO}))
        handler.flush()
        until(lambda: collected(reader)["kiel_logging.records_delivered"][()] == 3)
        found = collected(reader)
        assert found["kiel_logging.batch_records.count"][()] == 1
        assert found["kiel_logging.batch_records.sum"][()] == 3
        buckets = found["kiel_logging.batch_records.bucket"]
        assert buckets[("le", "1.0"),] == 0
        assert buckets[("le", "3.0"),] == buckets[("le", "+Inf"),] == 1
        assert found["kiel_logging.connections"][()] == 1
        assert found["kiel_logging.health"][()] == 0
        dropped = found["kiel_logging.records_dropped"]
        assert dropped[("level", "INFO"), ("reason", "buffer_full")] == 0
        assert 0 < found["kiel_logging.delivery_latency.sum"][()] < 60
        check_instruments(reader)
    provider.shutdown()


def collected(reader: InMemoryMetricReader) -> dict[str, dict[Point, float]]:
    """Return the values of the handler of this test: name -> attributes -> value."""
    data = reader.get_metrics_data()
    assert data is not None
    [resource] = data.resource_metrics
    [scope] = resource.scope_metrics
    assert scope.scope.name == "kiel_logging"
    found: dict[str, dict[Point, float]] = {}
    for metric in scope.metrics:
        for point in metric.data.data_points:
            labels = {str(name): str(value) for name, value in dict(point.attributes or {}).items()}
            if labels.pop("handler") == "otel":
                values = found.setdefault(metric.name, {})
                values[tuple(sorted(labels.items()))] = point.value  # type: ignore[union-attr]
    return found


def check_instruments(reader: InMemoryMetricReader) -> None:
    """Check kinds, units and meanings of those that have a value."""
    data = reader.get_metrics_data()
    assert data is not None
    units = {"seconds": "s", "bytes": "By", "": ""}
    shown = {one.name: one for one in data.resource_metrics[0].scope_metrics[0].metrics}
    for metric in METRICS:
        name = f"kiel_logging.{metric.name}" + (".sum" if metric.kind == HISTOGRAM else "")
        if name in shown:
            one = shown[name]
            assert (one.unit, one.description) == (units[metric.unit], metric.text)
            assert isinstance(one.data, Sum) == (metric.kind != GAUGE)
    with_values = {one.name for one in METRICS if not one.labels}
    assert {f"kiel_logging.{one.name}" for one in METRICS if one.kind in (COUNTER, GAUGE)} & {
        f"kiel_logging.{name}" for name in with_values
    } <= set(shown)


def test_without_opentelemetry() -> None:
    """The error says what to install."""
    code = "import sys; sys.modules['opentelemetry'] = None; import kiel_logging.otel_metrics"
    child = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert child.returncode == 1
    assert "ImportError: kiel_logging.otel_metrics needs OpenTelemetry" in child.stderr
    assert "pip install opentelemetry-api" in child.stderr
