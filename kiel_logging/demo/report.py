"""The text that shows a day of the shop: some records, tables of at most 60 columns, a verdict."""

import json
from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import Final

from kiel_logging.demo.day import Day, ledger
from kiel_logging.demo.reader import Arrival, percentile
from kiel_logging.printable import counted, printable, printable_lines

_WIDTH: Final = 60


def report(day: Day) -> Iterator[str]:
    """Yield the lines of the report, the verdict last."""
    first = {one.partition.topic: one for one in reversed(day.tally.arrivals) if one.value}
    for name in ("app", "audit", "errors"):
        if (arrival := first.get(day.cluster.prefix + name)) is not None:
            yield from _record(arrival)
    yield from _records(day)
    yield from _speed(day)
    title = "The handlers' own ledgers, KafkaHandler.stats()"
    yield from _table(title, *ledger(day.stats), "")
    yield from ("", *(line for text in _verdict(day) for line in wrap(text, _WIDTH)))


def _record(arrival: Arrival) -> Iterator[str]:
    key = "no key" if arrival.key is None else f"key {arrival.key.decode(errors='replace')}"
    yield ""
    yield printable(f"{arrival.partition}, offset {arrival.offset}, {key}:")
    for name, value in json.loads(arrival.value).items():
        for part, text in value.items() if isinstance(value, dict) else [("", value)]:
            shown = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)
            label = printable(f"{name}.{part}" if part else name)
            yield f"    {label:20} {printable_lines(shown.rstrip(), 10_000)}"


def _records(day: Day) -> Iterator[str]:
    tally, numbers = day.tally, sorted({at.partition for at in day.tally.records})
    placed = {tuple(at): count for at, count in tally.records.items()}
    rows = []
    for topic in day.cluster.topics:
        counts = [placed.get((topic, number), 0) for number in numbers]
        rows.append([topic.removeprefix(day.cluster.prefix), *counts, sum(counts)])
    size = sum(one.size for one in tally.arrivals)
    sent = sum(one.delivery.bytes_sent for one in day.stats.values())
    keys = tally.keys.total()
    note = (
        f"{counted(keys, 'keys')}, {tally.split_keys:,} of them in more than one partition. "
        f"{size / 1e6:,.1f} MB of JSON went over the network as {sent / 1e6:,.1f} MB, "
        f"a ratio of {size / (sent or 1):.1f}."
    )
    head = ["topic", *(f"p{number}" for number in numbers), "records"]
    yield from _table("Records by topic and partition", head, rows, note)


def _speed(day: Day) -> Iterator[str]:
    speed, latency = [], []
    for phase in day.phases:
        took, number = phase.took, len(phase.took)
        rates = [number / (phase.seconds + flush or 1) for flush in (0.0, phase.flush_seconds)]
        cells = [*rates, percentile(took, 50), percentile(took, 99)]
        speed.append([phase.name, number, *(f"{cell:,.0f}" for cell in cells)])
        waits = [one.latency * 1000 for one in day.tally.arrivals if one.record_id in phase.ids]
        ranks = (percentile(waits, percent) for percent in (50, 95, 99, 100))
        latency.append([phase.name, *(f"{rank:,.1f}" for rank in ranks)])
    note = (
        "p50 and p99 are of one logging call, waits for other threads (the GIL) included. The "
        "rates include the shop's own work, stored/s also the handlers' flush()."
    )
    head = ["phase", "records", "logged/s", "stored/s", "p50 us", "p99 us"]
    yield from _table("Speed of logging", head, speed, note)
    note = "Linger, batching, acknowledgement and the fetch are in it; flat out also the queue."
    title = "Latency in ms, from the logging call to the consumer"
    yield from _table(title, ["phase", "p50", "p95", "p99", "max"], latency, note)


def _table(
    title: str, head: list[str], rows: Sequence[Sequence[object]], note: str
) -> Iterator[str]:
    shown = [[f"{one:,}" if isinstance(one, int) else str(one) for one in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *shown, strict=True)]
    yield from ("", title, "")
    for first, *others in (head, *shown):
        right = (f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True))
        yield "  ".join([f"{first:{widths[0]}}", *right])
    yield from (["", *wrap(note, _WIDTH)] if note else [])


def _verdict(day: Day) -> Iterator[str]:
    tally = day.tally
    yield (
        f"{'Every' if tally.is_exactly_once else 'NOT every'} record arrived exactly once: "
        f"{sum(len(phase.took) for phase in day.phases):,} logged, {tally.expected:,} to be "
        f"delivered (an error goes to two topics), {len(tally.arrivals):,} read back, "
        f"{tally.lost:,} lost, {tally.extra:,} too many, {tally.out_of_order:,} out of order."
    )
    if tally.skipped:
        yield (
            f"The brokers removed {counted(tally.skipped, 'records')} early: the mock cluster "
            "keeps 5 MB of a partition. Try fewer --records."
        )
