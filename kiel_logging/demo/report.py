"""The tables. Each says beneath what was measured, and where."""

from collections.abc import Iterable, Iterator
from typing import Final

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from kiel_logging.demo.batches import BatchTotals
from kiel_logging.demo.cluster import Cluster
from kiel_logging.demo.logging_setup import TOPICS
from kiel_logging.demo.outcome import Outcome, PhaseResult
from kiel_logging.demo.samples import sample_panels
from kiel_logging.demo.tally import percentile

_NS_PER_US: Final = 1_000
_MS_PER_S: Final = 1_000
_MAXIMUM: Final = 100


def announce(console: Console, cluster: Cluster, records: int, threads: int) -> None:
    """Say what is about to happen."""
    kind = "three mock brokers" if cluster.is_mock else "the brokers"
    console.print(
        f"[bold]{records:,} log records[/bold] of a web shop, from {threads} threads, into "
        f"{len(TOPICS)} topics of {kind} at {cluster.brokers}"
    )
    if cluster.prefix:
        console.print(f"the topics are called {cluster.prefix}*")
    console.print("[dim]configured by a dictionary: kiel-logging demo --show-config[/dim]")


def report(console: Console, outcome: Outcome) -> None:
    """Print everything that ``outcome`` has, the verdict last."""
    for part in (*sample_panels(outcome), *_sections(outcome), verdict(outcome)):
        console.print()
        console.print(part)


def _sections(outcome: Outcome) -> Iterator[RenderableType]:
    yield _section(
        "Records by topic and partition",
        _records(outcome),
        "Read back by confluent-kafka's Consumer. Lost and duplicated are counted by the unique "
        "record_id that each record carries.",
    )
    yield _section(
        "Compression",
        _compression(outcome),
        "JSON: the values of the records. Stored: the record batches as the brokers keep them, "
        "fetched raw: values, keys, timestamps and headers." + _still_held(outcome),
    )
    yield _section(
        "Speed of logging",
        _throughput(outcome.results),
        "A call is one logger.info() or logger.exception() as the shop's thread sees it, waits for "
        "the other threads (the GIL) included. The rates include the shop's own work, delivered "
        "also the handlers' flush().",
    )
    yield _section(
        "Latency, from the logging call until the record was read",
        _latency(outcome),
        "From the record's own time until a Consumer in another process had it. Linger, batching, "
        "acknowledgement and the consumer's fetch (which waits 5 ms when it finds nothing) are "
        "all in it; flat out, the time in the queue.",
    )
    yield _section(
        "What the handlers say themselves",
        _handlers(outcome),
        "KafkaHandler.stats() after the flush.",
    )


def _section(title: str, table: Table, caption: str) -> Group:
    # Not the table's own title and caption: those would be folded to the table's width.
    return Group(Text(title, style="bold"), table, Text(caption, style="dim"))


def _table(left: str, *right: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(left, no_wrap=True)
    for name in right:
        table.add_column(name, justify="right")
    return table


def _records(outcome: Outcome) -> Table:
    numbers = sorted({partition.partition for partition in outcome.tally.partitions})
    columns = (f"p{number}" for number in numbers)
    table = _table("topic", *columns, "records", "keys", "lost", "duplicated")
    for short, name in zip(TOPICS, outcome.cluster.topics, strict=True):
        table.add_row(short, *_topic_cells(outcome, name, numbers))
    return table


def _topic_cells(outcome: Outcome, name: str, numbers: Iterable[int]) -> Iterator[str]:
    by_number = {
        partition.partition: counted.records
        for partition, counted in outcome.tally.partitions.items()
        if partition.topic == name
    }
    yield from (f"{by_number.get(number, 0):,}" for number in numbers)
    yield f"{sum(by_number.values()):,}"
    topic = outcome.tally.topics.get(name)
    yield f"{len(topic.keys):,}" if topic is not None else "0"
    yield _bad(outcome.differences.lost[name])
    yield _bad(outcome.differences.duplicated[name])


def _compression(outcome: Outcome) -> Table:
    table = _table("topic", "codec", "batches", "records a batch", "JSON", "stored", "ratio")
    for short, name in zip(TOPICS, outcome.cluster.topics, strict=True):
        totals = outcome.batches.get(name)
        if totals is not None:
            table.add_row(short, *_batch_cells(totals, _json_bytes(outcome, name, totals)))
    return table


def _batch_cells(totals: BatchTotals, json_bytes: float) -> Iterator[str]:
    yield "+".join(sorted(totals.codecs))
    yield f"{totals.batches:,}"
    yield f"{totals.records / totals.batches:,.1f}"
    yield f"{json_bytes / 1000:,.0f} kB"
    yield f"{totals.size / 1000:,.0f} kB"
    yield f"{json_bytes / totals.size:.2f}"


def _json_bytes(outcome: Outcome, topic: str, totals: BatchTotals) -> float:
    """Return the JSON bytes of the records in ``totals``, by the mean of all that were read."""
    counted = [tally for at, tally in outcome.tally.partitions.items() if at.topic == topic]
    records = sum(tally.records for tally in counted)
    json_bytes = sum(tally.json_bytes for tally in counted)
    return json_bytes * totals.records / records if records else 0.0


def _still_held(outcome: Outcome) -> str:
    held = sum(totals.records for totals in outcome.batches.values())
    if held >= outcome.tally.records:
        return ""
    return f" Of the newest {held:,} records: the brokers have thrown away the others."


def _throughput(results: Iterable[PhaseResult]) -> Table:
    table = _table("phase", "records", "logged", "delivered", "call p50", "p99")
    for result in results:
        calls = sorted(result.logged.call_ns)
        seconds = result.logged.seconds
        table.add_row(
            result.phase.name,
            f"{len(calls):,}",
            _rate(len(calls), seconds),
            _rate(len(calls), seconds + result.flush_seconds),
            *(f"{percentile(calls, percent) / _NS_PER_US:,.0f} µs" for percent in (50, 99)),
        )
    return table


def _latency(outcome: Outcome) -> Table:
    table = _table("phase", "p50", "p95", "p99", "max")
    for phase, latencies in outcome.tally.latencies_s.items():
        ordered = sorted(latencies)
        ranks = (percentile(ordered, percent) for percent in (50, 95, 99, _MAXIMUM))
        table.add_row(phase, *(f"{seconds * _MS_PER_S:,.1f} ms" for seconds in ranks))
    return table


def _handlers(outcome: Outcome) -> Table:
    table = _table("handler", "emitted", "delivered", "dropped", "failed")
    for name, stats in outcome.handlers.items():
        dropped = ", ".join(f"{count:,} {reason}" for reason, count in stats.dropped.items())
        table.add_row(
            name, f"{stats.emitted:,}", f"{stats.delivered:,}", dropped or "0", _bad(stats.failed)
        )
    return table


def verdict(outcome: Outcome) -> Text:
    """Return the last lines: whether every record arrived exactly once, and what else is odd."""
    differences, tally = outcome.differences, outcome.tally
    lost, duplicated = differences.lost.total(), differences.duplicated.total()
    good = differences.exactly_once
    opening = "Every record arrived exactly once: " if good else "Not every record arrived once: "
    text = Text(opening, style="bold green" if good else "bold red")
    text.append(
        f"{outcome.records:,} logged, {outcome.deliveries:,} to be delivered (an error goes to two "
        f"topics), {tally.records:,} read back, {lost:,} lost, {duplicated:,} duplicated, "
        f"{tally.out_of_order:,} out of order."
    )
    for remark in _remarks(outcome):
        text.append(f"\n{remark}", "yellow")
    return text


def _remarks(outcome: Outcome) -> Iterator[str]:
    for name, stats in outcome.handlers.items():
        if dropped := sum(stats.dropped.values()):
            yield f"{dropped:,} records were dropped by the handler {name}, which says so above."
    if skipped := outcome.tally.skipped:
        yield (
            f"{skipped:,} records were thrown away by the brokers before they could be read (the "
            "mock cluster keeps 5 MB of a partition): try fewer --records."
        )
    if unexpected := outcome.differences.unexpected.total():
        yield f"{unexpected:,} records were in a topic that they were not logged to."
    if split := sum(topic.split_keys for topic in outcome.tally.topics.values()):
        yield f"{split:,} keys were in more than one partition of a topic."


def _bad(number: int) -> str:
    return f"[red]{number:,}[/red]" if number else "[green]0[/green]"


def _rate(records: int, seconds: float) -> str:
    return f"{records / seconds:,.0f} /s" if seconds else "-"
