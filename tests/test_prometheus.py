"""The Prometheus collector: what a scrape finds of the handlers that are there."""

from __future__ import annotations

import gc
import io
import logging
import re
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import REGISTRY

from kiel_logging import KafkaHandler
from kiel_logging.prometheus import KafkaHandlerCollector
from kiel_logging.testing import FakeKafka
from kiel_logging.wire.error_codes import ErrorCode
from tests.support.waiting import until

MakeHandler = Callable[..., KafkaHandler]
Samples = dict[tuple[str, tuple[str, ...]], float]
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


@pytest.fixture
def cluster() -> Iterator[FakeKafka]:
    """One broker on a thread, with a topic `logs` of one partition."""
    with FakeKafka(brokers=1) as threaded:
        threaded.add_topic("logs", 1)
        yield threaded


@pytest.fixture
def make_handler(cluster: FakeKafka) -> Iterator[MakeHandler]:
    """Makes handlers with a name; they are closed when the test is over."""
    with ExitStack() as handlers:

        def make(name: str | None, **options: Any) -> KafkaHandler:
            quick = {"linger_ms": 1, "close_timeout_ms": 5_000, **options}
            handler = handlers.enter_context(
                closing(KafkaHandler(cluster.addresses, "logs", **quick))
            )
            handler.name = name
            return handler

        yield make


def emit(handler: logging.Handler, *levels: int) -> None:
    """Give the handler one record for each level."""
    for level in levels:
        handler.handle(logging.makeLogRecord({"msg": "x", "levelno": level}))


def scrape(collector: KafkaHandlerCollector) -> Samples:
    """What Prometheus reads: (name, label values) -> value."""
    registry = CollectorRegistry()
    registry.register(collector)
    text = generate_latest(registry).decode()
    return {
        (sample.name.removeprefix("kiel_logging_"), tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of(handler: str, samples: Samples) -> dict[str, float]:
    """The samples that have no label but the handler's name."""
    return {name: value for (name, labels), value in samples.items() if labels == (handler,)}


def dropped(samples: Samples) -> dict[tuple[str, ...], float]:
    """The drops by handler, level and reason; without the zeros."""
    return {
        labels: value
        for (name, labels), value in samples.items()
        if name == "records_dropped_total" and value
    }


# -- the numbers ----------------------------------------------------------------------------------


def test_what_was_delivered(make_handler: MakeHandler) -> None:
    """A handler that delivered all it was given."""
    handler = make_handler("kafka", linger_ms=60_000, compression=None)
    emit(handler, logging.INFO, logging.INFO, logging.ERROR)
    handler.flush()
    found = scrape(KafkaHandlerCollector([handler]))
    sent = found["sent_bytes_total", ("kafka",)]
    assert found["batch_bytes_bucket", ("kafka", "256.0")] == (sent <= 256)
    assert found["batch_records_bucket", ("kafka", "1.0")] == 0
    assert found["batch_records_bucket", ("kafka", "3.0")] == 1
    assert found["batch_records_bucket", ("kafka", "+Inf")] == 1
    assert of("kafka", found) == {
        "records_emitted_total": 3,
        "records_delivered_total": 3,
        "records_failed_total": 0,
        "records_fallback_total": 0,
        "records_diverted_total": 0,
        "records_buffered": 0,
        "records_in_flight": 0,
        "records_spooled": 0,
        "records_recovered_total": 0,
        "memory_bytes": 0,
        "health": 0,
        "oldest_record_seconds": 0,
        "spool_bytes": 0,
        "delivery_latency_seconds_count": 3,
        "delivery_latency_seconds_sum": handler.stats().delivery.latency.sum,
        "batch_records_count": 1,
        "batch_records_sum": 3,
        "batch_bytes_count": 1,
        "batch_bytes_sum": sent,
        "uncompressed_bytes_total": sent,
        "sent_bytes_total": sent,
        "batches_retried_total": 0,
        "throttle_seconds_total": 0,
        "connections": 1,
    }


def test_what_waits(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Records that are sent and that wait are gauges, with the memory that they take."""
    cluster.on_broker(0, lambda broker: broker.stall("Produce"))
    handler = make_handler("kafka")
    emit(handler, logging.INFO)
    cluster.received("Produce")
    emit(handler, logging.INFO, logging.INFO)
    found = of("kafka", scrape(KafkaHandlerCollector([handler])))
    assert (found["records_in_flight"], found["records_buffered"]) == (1, 2)
    assert found["memory_bytes"] == handler.stats().memory > 0
    assert found["oldest_record_seconds"] > 0
    cluster.on_broker(0, lambda broker: broker.resume())


def test_what_was_dropped(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """By reason and level."""
    cluster.on_broker(0, lambda broker: broker.stop())
    handler = make_handler("kafka", buffer_records=2, close_timeout_ms=20)
    emit(handler, logging.INFO, logging.INFO, logging.DEBUG, logging.ERROR, logging.ERROR, 25)
    samples = scrape(KafkaHandlerCollector([handler]))
    assert dropped(samples) == {
        ("kafka", "DEBUG", "buffer_full"): 1,
        ("kafka", "ERROR", "buffer_full"): 2,
        ("kafka", "Level 25", "buffer_full"): 1,
    }
    assert samples["health", ("kafka",)] == 2


def test_trouble_that_lasts(
    cluster: FakeKafka, make_handler: MakeHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By kind, with how many subjects have it, for how long, and how many records wait."""
    monkeypatch.setattr("kiel_logging.delivery.troubles.PATIENCE", 0.0)
    cluster.call(lambda c: c.produce_error(ErrorCode.not_enough_replicas, times=10**6))
    handler = make_handler("kafka", close_timeout_ms=20)
    assert scrape(KafkaHandlerCollector([handler]))["troubles", ("kafka", "")] == 0
    emit(handler, logging.INFO, logging.INFO)
    kind = "NOT_ENOUGH_REPLICAS"
    until(lambda: [one.kind for one in handler.stats().troubles] == [kind])
    labels = ("kafka", kind)
    samples = scrape(KafkaHandlerCollector([handler]))
    assert samples["troubles", labels] == 1
    assert samples["batch_errors_total", labels] >= 1
    assert samples["trouble_seconds", labels] >= 0
    assert samples["trouble_records", labels] >= 1
    assert ("troubles", ("kafka", "")) not in samples


def test_a_full_buffer_is_seen_the_first_time(make_handler: MakeHandler) -> None:
    """Its series are there, at 0, before anything is lost: rate() needs two values."""
    handler = make_handler("kafka")
    samples = scrape(KafkaHandlerCollector([handler]))
    found = {labels: value for (name, labels), value in samples.items() if "dropped" in name}
    assert found == {("kafka", level, "buffer_full"): 0 for level in LEVELS}


def test_what_failed_and_what_the_fallback_took(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """Records that the brokers refuse are failed; with a fallback they are not lost."""
    cluster.call(lambda c: c.produce_error(ErrorCode.policy_violation, times=10**6))
    fallback = logging.StreamHandler(io.StringIO())
    handler = make_handler("kafka", fallback=fallback)
    emit(handler, logging.INFO, logging.INFO)
    handler.flush()
    found = of("kafka", scrape(KafkaHandlerCollector([handler])))
    assert (found["records_failed_total"], found["records_fallback_total"]) == (2, 2)


def test_what_was_diverted(make_handler: MakeHandler) -> None:
    """Records that the serializer logs are not emitted, but counted."""
    logger = logging.Logger("chatty")

    def chatty(_fields: Any) -> str:
        logger.info("I was called")
        return "x"

    handler = make_handler("kafka", serializer=chatty)
    logger.addHandler(handler)
    emit(handler, logging.INFO)
    found = of("kafka", scrape(KafkaHandlerCollector([handler])))
    assert (found["records_emitted_total"], found["records_diverted_total"]) == (1, 1)


def test_the_ledger_adds_up_in_every_scrape(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """All values of a handler are of one moment: emitted is the sum of the others."""
    handler = make_handler("kafka", buffer_records=20, batch_size=5)
    collector = KafkaHandlerCollector([handler])
    for _ in range(20):
        emit(handler, *[logging.INFO] * 10)
        samples = scrape(collector)
        found = of("kafka", samples)
        ends = ("delivered_total", "failed_total", "buffered", "in_flight", "spooled")
        rest = sum(found[f"records_{end}"] for end in ends)
        assert found["records_emitted_total"] == rest + sum(dropped(samples).values())


# -- which handlers -------------------------------------------------------------------------------


def test_all_that_are_there(make_handler: MakeHandler) -> None:
    """A collector without given handlers has those that are there when it is asked."""
    collector = KafkaHandlerCollector()
    first = make_handler("first")
    make_handler("second")
    assert {"first", "second"} <= labels_of(collector)
    first.close()
    make_handler("third")
    assert {"second", "third"} <= labels_of(collector)
    assert "first" not in labels_of(collector)


def test_those_that_are_given(make_handler: MakeHandler) -> None:
    """Are all that there is, also after they are closed."""
    given = make_handler("given")
    make_handler("other")
    collector = KafkaHandlerCollector([given])
    given.close()
    assert labels_of(collector) == {"given"}


def labels_of(collector: KafkaHandlerCollector) -> set[str]:
    """The names of the handlers in a scrape."""
    return {labels[0] for _name, labels in scrape(collector)}


def test_handlers_without_a_name_have_a_number(make_handler: MakeHandler) -> None:
    """Each its own, which stays with it when others go."""
    unnamed, gone = make_handler(None), make_handler(None)
    collector = KafkaHandlerCollector([gone, unnamed])
    emit(unnamed, logging.INFO)
    assert labels_of(collector) == {"#1", "#2"}
    everything = KafkaHandlerCollector()
    [label] = [name for name in labels_of(everything) if emitted(everything, name) == 1]
    gone.close()
    assert emitted(everything, label) == 1


def emitted(collector: KafkaHandlerCollector, handler: str) -> float:
    """How many records a handler was given, says the scrape."""
    return scrape(collector)["records_emitted_total", (handler,)]


@pytest.mark.parametrize(
    "names",
    [("kafka", "kafka"), ("kafka", "kafka#1", "kafka"), (None, "#1"), ("#1", None), ("", None)],
    ids=repr,
)
def test_labels_are_unique(make_handler: MakeHandler, names: tuple[str | None, ...]) -> None:
    """Whatever the handlers' names are: two series with the same labels cost the whole scrape."""
    handlers = [make_handler(name) for name in names]
    assert len(labels_of(KafkaHandlerCollector(handlers))) == len(names)


def test_a_name_that_is_hard_to_write(make_handler: MakeHandler) -> None:
    """Comes through the exposition format as it is."""
    name = 'a "quoted"\\ name\nof two lines, é'
    assert labels_of(KafkaHandlerCollector([make_handler(name)])) == {name}


def test_a_handler_is_not_kept_alive(cluster: FakeKafka) -> None:
    """By a collector of all handlers."""
    collector = KafkaHandlerCollector()
    handler = KafkaHandler(cluster.addresses, "logs")
    labels_of(collector)
    reference = weakref.ref(handler)
    handler.close()
    del handler
    gc.collect()
    assert reference() is None


# -- the registry ---------------------------------------------------------------------------------


def test_the_default_registry() -> None:
    """Takes one; a second of the same would be every metric twice, and is refused."""
    collector = KafkaHandlerCollector()
    REGISTRY.register(collector)
    try:
        with pytest.raises(ValueError, match="Duplicated timeseries"):
            REGISTRY.register(KafkaHandlerCollector([]))
    finally:
        REGISTRY.unregister(collector)


def test_the_exposition_names_and_explains(make_handler: MakeHandler) -> None:
    """Every metric has a help text and a type; counters end in _total."""
    registry = CollectorRegistry()
    registry.register(KafkaHandlerCollector([make_handler("kafka")]))
    text = generate_latest(registry).decode()
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    helps = dict(re.findall(r"^# HELP (\S+) (.+)$", text, re.MULTILINE))
    assert types == {
        **{
            f"kiel_logging_records_{what}_total": "counter"
            for what in (
                "emitted",
                "delivered",
                "dropped",
                "left_out",
                "failed",
                "fallback",
                "diverted",
                "recovered",
            )
        },
        **{
            f"kiel_logging_records_{what}": "gauge" for what in ("buffered", "in_flight", "spooled")
        },
        "kiel_logging_memory_bytes": "gauge",
        **{
            f"kiel_logging_{what}": "gauge"
            for what in (
                *("troubles", "trouble_seconds", "trouble_records"),
                *("health", "oldest_record_seconds", "spool_bytes", "connections"),
            )
        },
        **{
            f"kiel_logging_{what}": "histogram"
            for what in ("delivery_latency_seconds", "batch_records", "batch_bytes")
        },
        **{
            f"kiel_logging_{what}_total": "counter"
            for what in (
                *("uncompressed_bytes", "sent_bytes", "batches_retried", "throttle_seconds"),
                *("batch_errors", "connection_errors"),
            )
        },
    }
    assert helps.keys() == types.keys()


def test_without_prometheus_client() -> None:
    """The error says what to install."""
    code = "import sys; sys.modules['prometheus_client'] = None; import kiel_logging.prometheus"
    child = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert child.returncode == 1
    assert "ImportError: kiel_logging.prometheus needs prometheus_client" in child.stderr
    assert "pip install 'kiel_logging[prometheus]'" in child.stderr
