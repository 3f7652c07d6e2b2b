"""The run itself, from the first broker to the exit status."""

import io
import json
import sys
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Final

from confluent_kafka import KafkaException
from rich.console import Console

from kiel_logging.confluent import reason
from kiel_logging.demo.batches import batch_totals
from kiel_logging.demo.cluster import (
    Cluster,
    client_config,
    first_offsets,
    mock_cluster,
    real_cluster,
    topics_on,
)
from kiel_logging.demo.command import DemoOptions
from kiel_logging.demo.errors import DemoError
from kiel_logging.demo.logging_setup import logging_config
from kiel_logging.demo.outcome import Outcome, PhaseResult
from kiel_logging.demo.phases import Phase, plan
from kiel_logging.demo.progress import Display, showing
from kiel_logging.demo.reader import Reader, reading
from kiel_logging.demo.report import announce, report
from kiel_logging.demo.shipping import HandlerStats, ShippingHandler, configured, flush_all
from kiel_logging.demo.tally import Differences, Tally, compare
from kiel_logging.demo.workload import Shop
from kiel_logging.printable import printable
from kiel_logging.records import TopicPartition

_FLUSH_S: Final = 30.0
_RECEIVE_S: Final = 0.1
_PLAIN_WIDTH: Final = 100
_EXAMPLE_BROKERS: Final = "localhost:9092"

_EXACTLY_ONCE: Final = 0
_LOST_OR_DUPLICATED: Final = 1
_CANNOT_RUN: Final = 2


def demonstrate(options: DemoOptions) -> int:
    """Run the demo and return its exit status."""
    if options.show_config:
        _show_config(options)
        return _EXACTLY_ONCE
    console = _console()
    try:
        with _cluster(options) as cluster, topics_on(cluster, keep=options.keep_topics) as leaders:
            announce(console, cluster, options.records, options.threads)
            outcome = _run(options, cluster, leaders, console)
    except (DemoError, KafkaException) as error:
        sys.stderr.write(f"kiel-logging demo: {printable(reason(error))}\n")
        return _CANNOT_RUN
    report(console, outcome)
    return _EXACTLY_ONCE if outcome.differences.exactly_once else _LOST_OR_DUPLICATED


def _console() -> Console:
    if isinstance(sys.stdout, io.TextIOWrapper):
        # The shop's visitors write in every language, a terminal may know only one.
        sys.stdout.reconfigure(errors="replace")
    return Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH, highlight=False)


def _show_config(options: DemoOptions) -> None:
    config = logging_config(options.brokers or _EXAMPLE_BROKERS, options.compression)
    sys.stdout.write(json.dumps(config, indent=2) + "\n")


def _cluster(options: DemoOptions) -> AbstractContextManager[Cluster]:
    if options.brokers is None:
        return mock_cluster()
    return nullcontext(real_cluster(options.brokers))


def _run(
    options: DemoOptions,
    cluster: Cluster,
    leaders: Mapping[TopicPartition, str],
    console: Console,
) -> Outcome:
    phases = plan(options.records, options.rate)
    shop = Shop(options.threads, options.seed)
    config = logging_config(cluster.brokers, options.compression, cluster.prefix)
    with (
        reading(client_config(cluster), list(leaders), phases) as reader,
        showing(console, options.records) as display,
    ):
        with configured(config) as handlers:
            results = []
            for phase in phases:
                results.append(_log(phase, shop, handlers, reader, display))
                _check_delivering(handlers)
            stats = {name: handler.stats() for name, handler in handlers.items()}
        tally = _read_back(results, reader, display)
    return _outcome(cluster, leaders, results, stats, tally)


def _log(
    phase: Phase,
    shop: Shop,
    handlers: Mapping[str, ShippingHandler],
    reader: Reader,
    display: Display,
) -> PhaseResult:
    pace = f"at {phase.rate:,} a second" if phase.rate else "flat out"
    display.step(f"logging {phase.records:,} records {pace}")
    logged = shop.open(phase, partial(_show_logged, phase, reader, display))
    flush_seconds = flush_all(handlers, _FLUSH_S)
    return PhaseResult(phase=phase, logged=logged, flush_seconds=flush_seconds)


def _check_delivering(handlers: Mapping[str, ShippingHandler]) -> None:
    """Don't go on for minutes when nothing arrives at all.

    Raises:
        DemoError: none of the handlers has delivered a single record.
    """
    stats = [handler.stats() for handler in handlers.values()]
    if any(each.emitted for each in stats) and not any(each.delivered for each in stats):
        raise DemoError("the handlers could not deliver a single record, see above")


def _show_logged(phase: Phase, reader: Reader, display: Display, logged: int) -> None:
    reader.receive()
    display.show(logged=phase.first_id + logged, read=reader.read)


def _read_back(results: Iterable[PhaseResult], reader: Reader, display: Display) -> Tally:
    display.step("reading back what is still to be read")
    display.expect(sum(len(ids) for result in results for ids in result.logged.ids.values()))
    reader.finish()
    while reader.tally is None:  # ends: the reader gives up when nothing comes any more
        reader.receive(_RECEIVE_S)
        display.show(read=reader.read)
    return reader.tally


def _outcome(
    cluster: Cluster,
    leaders: Mapping[TopicPartition, str],
    results: list[PhaseResult],
    stats: Mapping[str, HandlerStats],
    tally: Tally,
) -> Outcome:
    return Outcome(
        cluster=cluster,
        results=results,
        handlers=stats,
        tally=tally,
        differences=_differences(cluster, results, tally),
        batches=batch_totals(leaders, first_offsets(cluster, leaders)),
    )


def _differences(cluster: Cluster, results: Iterable[PhaseResult], tally: Tally) -> Differences:
    expected: dict[str, list[int]] = {}
    for result in results:
        for topic, ids in result.logged.ids.items():
            expected.setdefault(cluster.prefix + topic, []).extend(ids)
    return compare(expected, {name: topic.ids for name, topic in tally.topics.items()})
