"""Compares what processes say became of their records with what is stored. Pure.

The law: of every process, ``emitted == delivered + dropped + failed`` when it has ended; what it
says was delivered is stored, each record once; only a full buffer drops any.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

_FULL = "buffer_full"
_SHOWN = 10
_OWN = "kiel_logging"
"""The logger of the summaries in which a handler reports its drops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The counts of one process at its end, in records.

    Attributes:
        who: its name.
        logged: calls that it made, by thread: those are numbered from 0.
        diverted: taken for records that the handler caused.
        waiting: buffered or in flight, which nothing should be.
        children: the names of those that it forked.
    """

    who: str
    logged: Mapping[str, int]
    emitted: int
    delivered: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    failed: int = 0
    diverted: int = 0
    waiting: int = 0
    children: Sequence[str] = ()


class Stored(NamedTuple):
    """One record as a consumer found it; thread and number are None for a handler's own."""

    who: str
    thread: str | None
    number: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The counts, and all that should not be.

    Attributes:
        defects: one sentence each, with the name of the process.
    """

    processes: int
    emitted: int
    delivered: int
    dropped: int
    failed: int
    stored: int
    defects: tuple[str, ...]

    @property
    def flawless(self) -> bool:
        """Whether all ledgers hold."""
        return not self.defects

    def __str__(self) -> str:
        counts = (
            f"{self.processes} processes: {self.emitted} emitted, {self.delivered} delivered, "
            f"{self.dropped} dropped, {self.failed} failed; {self.stored} stored: "
            f"{len(self.defects)} defects"
        )
        shown = [f"  {defect}" for defect in self.defects[:_SHOWN]]
        more = len(self.defects) - _SHOWN
        return "\n".join([counts, *shown, *([f"  and {more} more"] if more > 0 else [])])


def read_ledgers(lines: Iterable[str]) -> list[Ledger]:
    """Read the ledgers of processes, one a line."""
    return [Ledger(**json.loads(line)) for line in lines]


def read_stored(values: Iterable[bytes | None]) -> list[Stored]:
    """Return the records that a topic's values stand for."""
    return [_stored(json.loads(value or b"{}")) for value in values]


def _stored(fields: Mapping[str, Any]) -> Stored:
    if fields.get("logger") == _OWN:
        return Stored(fields["who"], None, None)
    return Stored(fields["who"], fields["by"], fields["number"])


def check(started: Iterable[str], ledgers: Sequence[Ledger], stored: Sequence[Stored]) -> Report:
    """Compare the ledgers of the processes that were ``started``, and of all that those started,
    with what is ``stored``."""
    by_name: dict[str, list[Stored]] = {}
    for record in stored:
        by_name.setdefault(record.who, []).append(record)
    expected = [*started, *(child for ledger in ledgers for child in ledger.children)]
    defects = list(_wrong_names(expected, ledgers, by_name))
    for ledger in ledgers:
        found = [*_wrong_sums(ledger), *_wrong_records(ledger, by_name.get(ledger.who, []))]
        defects += (f"{ledger.who}: {defect}" for defect in found)
    return Report(
        processes=len(ledgers),
        emitted=sum(ledger.emitted for ledger in ledgers),
        delivered=sum(ledger.delivered for ledger in ledgers),
        dropped=sum(sum(ledger.dropped.values()) for ledger in ledgers),
        failed=sum(ledger.failed for ledger in ledgers),
        stored=len(stored),
        defects=tuple(defects),
    )


def _wrong_names(
    expected: Sequence[str], ledgers: Sequence[Ledger], stored: Iterable[str]
) -> Iterator[str]:
    told = Counter(ledger.who for ledger in ledgers)
    for who in expected:
        if not told[who]:
            yield f"{who}: ended without a ledger"
    for who in sorted({*told, *stored} - set(expected)):
        yield f"{who}: nobody started it"
    for who, times in told.items():
        if times > 1:
            yield f"{who}: told {times} ledgers"


def _wrong_sums(ledger: Ledger) -> Iterator[str]:
    ended = ledger.delivered + sum(ledger.dropped.values()) + ledger.failed
    if ledger.waiting:
        yield f"{ledger.waiting} records wait after the end"
    if ledger.diverted:
        yield f"{ledger.diverted} diverted, though the handler causes none"
    if ledger.emitted != ended + ledger.waiting:
        yield f"{ledger.emitted} emitted, and {ended} delivered, dropped or failed"
    if ledger.failed:
        yield f"{ledger.failed} failed, though the brokers came back"
    for reason, count in ledger.dropped.items():
        if reason != _FULL:
            yield f"{count} dropped for {reason}"


def _wrong_records(ledger: Ledger, stored: Sequence[Stored]) -> Iterator[str]:
    if len(stored) != ledger.delivered:
        yield f"{ledger.delivered} delivered, and {len(stored)} stored"
    numbered = Counter(record for record in stored if record.thread is not None)
    if twice := [record for record, times in numbered.items() if times > 1]:
        yield f"{len(twice)} stored more than once, {_name(twice[0])} for one"
    if foreign := [record for record in numbered if not _was_logged(ledger, record)]:
        yield f"{len(foreign)} stored that it did not log, {_name(foreign[0])} for one"
    own = len(stored) - numbered.total()
    logged = sum(ledger.logged.values())
    if ledger.emitted != logged + own:
        yield f"{ledger.emitted} emitted, and {logged} logged with {own} summaries"


def _was_logged(ledger: Ledger, record: Stored) -> bool:
    assert record.thread is not None
    return record.number in range(ledger.logged.get(record.thread, 0))


def _name(record: Stored) -> str:
    return f"{record.thread} {record.number}"
