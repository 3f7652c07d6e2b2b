"""The ledger: counts that add up, losses by topic, and when they are reported."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.handler import ledger as ledger_module
from kiel_logging.handler.ledger import (
    GATHERING,
    MOST_RANGES,
    PERIOD,
    Counts,
    Ledger,
    Loss,
    LossReport,
    Stats,
    add_all,
    ranges,
)
from tests.handler.sample import DEBUG, ERROR, INFO, WARNING

NOON = 1_709_208_000.0
"""2024-02-29T12:00:00Z."""

NOW = 500.0
"""A moment of a monotonic clock, which has nothing to do with NOON."""

BOUND = 1_000
"""Topics that have a count of their own."""


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Have drops come at NOON, or at the times in the list, one after the other."""
    times: list[float] = []

    class Clock:
        @staticmethod
        def time() -> float:
            return times.pop(0) if times else NOON

    monkeypatch.setattr(ledger_module, "time", Clock)
    return times


def new_ledger() -> Ledger:
    """Return a ledger that counts nothing yet."""
    return Ledger(Counts(100, 100, 10))


def loss(begin: float = NOON, end: float = NOON, **counts: dict[int, int]) -> Loss:
    """Return a loss; `loss(buffer_full={INFO: 3})`."""
    made = Loss(begin, end)
    for reason, levels in counts.items():
        for level, records in levels.items():
            made.counts[reason, level] = records
    return made


def drop(ledger: Ledger, records: int = 1, topic: str = "logs", level: int = INFO) -> None:
    """Count drops, as logging threads do."""
    for _ in range(records):
        ledger.drop("buffer_full", level, topic)


# -- counts ----------------------------------------------------------------------------------------


def test_every_record_is_in_one_column() -> None:
    """Stats show each record in one place, and don't change afterwards."""
    ledger = new_ledger()
    ledger.counts.emitted = ledger.counts.kept = 4
    ledger.counts.bytes_kept = 400
    for reason, level in [("topic", INFO), ("topic", ERROR), ("closed", 25)]:
        ledger.drop(reason, level, "logs")
    ledger.delivered(1, 100)
    ledger.failed(1, 100)
    stats = ledger.stats(1)
    drop(ledger)
    assert stats == Stats(
        emitted=7,
        delivered=1,
        dropped={"topic": {"INFO": 1, "ERROR": 1}, "closed": {"Level 25": 1}},
        failed=1,
        buffered=1,
        in_flight=1,
        memory=200,
    )
    assert (stats.dropped_total, stats.undelivered) == (3, 6)
    assert ledger.outstanding == 2


def test_an_old_count_of_records_in_flight_does_not_break_the_sum() -> None:
    """The producer counts on its own thread, and may lag behind."""
    ledger = new_ledger()
    ledger.counts.emitted = ledger.counts.kept = 1
    ledger.delivered(1, 100)
    stats = ledger.stats(in_flight=1)
    assert (stats.delivered, stats.in_flight, stats.buffered) == (1, 0, 0)


def test_levels_that_share_a_name_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """logging lets a program give two levels one name; none of their records is missing."""
    monkeypatch.setitem(logging._levelToName, 21, "INFO")
    ledger = new_ledger()
    drop(ledger, 3)
    drop(ledger, 4, level=21)
    assert ledger.stats(0).dropped == {"buffer_full": {"INFO": 7}}
    assert ledger.take_losses()["logs"].by_reason() == {"buffer_full": {"INFO": 7}}


# -- losses ----------------------------------------------------------------------------------------

SPAN = "from 2024-02-29T12:00:00.000000Z to 2024-02-29T12:00:02.500000Z"


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        pytest.param(
            {"buffer_full": {INFO: 12, DEBUG: 400}},
            "dropped 412: DEBUG 400, INFO 12, buffer_full",
            id="levels, the lowest first",
        ),
        pytest.param({"closed": {ERROR: 1}}, "dropped 1: ERROR 1, closed", id="one"),
        pytest.param({"dedupe": {INFO: 2}}, "left out 2: INFO 2, dedupe", id="on purpose"),
        pytest.param(
            {"invalid_key": {INFO: 2}, "buffer_full": {INFO: 3, WARNING: 4}},
            "dropped 9: INFO 3, WARNING 4, buffer_full; INFO 2, invalid_key",
            id="reasons, by name",
        ),
        pytest.param(
            {"buffer_full": {25: 2}}, "dropped 2: Level 25 2, buffer_full", id="no name of a level"
        ),
    ],
)
def test_the_text_of_a_loss(counts: dict[str, dict[int, int]], text: str) -> None:
    """It says how many records of which levels, why, and when in UTC."""
    assert str(loss(NOON, NOON + 2.5, **counts)) == f"{text}, {SPAN}"


def test_losses_add_up() -> None:
    """The sum has counts by reason and level and a span that covers both; copies stay apart."""
    first = loss(NOON, NOON + 1, buffer_full={INFO: 1})
    second = first.copy()
    first.add(loss(NOON - 5, NOON - 4, buffer_full={INFO: 2, ERROR: 1}, closed={INFO: 1}))
    assert first == loss(NOON - 5, NOON + 1, buffer_full={INFO: 3, ERROR: 1}, closed={INFO: 1})
    assert (first.records, second.records) == (5, 1)
    assert list(first.by_reason()["buffer_full"]) == ["INFO", "ERROR"]


@given(st.sets(st.integers(1, 400)), st.integers(0, 3))
def test_parts_add_up_to_the_whole(numbers: set[int], records: int) -> None:
    """Each part names few enough numbers for one record; each lost record is counted once."""
    whole = Loss(NOON, NOON, numbers=set(numbers))
    whole.counts["failed", logging.INFO] = records
    first, *others = whole.parts()
    assert all(len(ranges(part.numbers)) <= MOST_RANGES for part in (first, *others))
    assert [part.records for part in others] == [0] * len(others)
    for part in others:
        first.add(part)
    assert first == whole


@given(st.sets(st.integers(1, 100)))
def test_ranges_are_the_numbers(numbers: set[int]) -> None:
    """They ascend, and are as few as can be."""
    found = ranges(numbers)
    assert [n for first, last in found for n in range(first, last + 1)] == sorted(numbers)
    ends = [last for _, last in found]
    assert all(first > end + 1 for (first, _), end in zip(found[1:], ends, strict=False))


def test_losses_are_counted_by_topic_and_taken_once(clock: list[float]) -> None:
    """Each has the moments of its first and its last record, also if the clock is set back."""
    ledger = new_ledger()
    clock += [NOON, NOON + 1, NOON + 2, NOON - 5]
    drop(ledger)
    ledger.drop("closed", ERROR, "audit")
    drop(ledger, 2)
    assert ledger.has_losses
    assert ledger.take_losses() == {
        "logs": loss(NOON - 5, NOON + 2, buffer_full={INFO: 3}),
        "audit": loss(NOON + 1, NOON + 1, closed={ERROR: 1}),
    }
    assert (ledger.has_losses, ledger.take_losses()) == (False, {})


def test_threads_lose_no_loss() -> None:
    """While four threads drop, the loop thread takes each of their losses once."""
    ledger = new_ledger()

    def log() -> None:
        for number in range(2_000):
            drop(ledger, topic=f"t{number % 3}")

    threads = [threading.Thread(target=log) for _ in range(4)]
    for thread in threads:
        thread.start()
    found: dict[str, Loss] = {}
    while any(thread.is_alive() for thread in threads):
        add_all(found, ledger.take_losses())
    add_all(found, ledger.take_losses())
    assert sum(one.records for one in found.values()) == 8_000


def test_topics_without_end_do_not_fill_the_memory() -> None:
    """Losses of topics beyond the first thousand are counted under no name, taken or not."""
    ledger = new_ledger()
    gathered: dict[str, Loss] = {}
    for number in [*range(BOUND + 500), 0]:
        drop(ledger, topic=f"tenant-{number}")
        more: Any = {f"tenant-{number}": loss(NOON + number, NOON + number, closed={INFO: 1})}
        add_all(gathered, more)
    for found in (ledger.take_losses(), gathered):
        assert len(found) == BOUND + 1
        assert (found["tenant-0"].records, found[""].records) == (2, 500)
    assert (gathered[""].begin, gathered[""].end) == (NOON + BOUND, NOON + BOUND + 499)


# -- reports on stderr -----------------------------------------------------------------------------


def records(reported: Loss | None) -> int | None:
    """Return how many records a report is about."""
    return None if reported is None else reported.records


def steps(report: LossReport, moments: Iterable[float]) -> list[int | None]:
    """Return what is reported at each of these moments after NOW."""
    return [records(report.due(NOW + moment)) for moment in moments]


def test_nothing_is_reported_of_nothing() -> None:
    """Without a loss no report is due, and a question costs no time."""
    ledger = new_ledger()
    report = LossReport(ledger)
    assert (report.due(NOW), report.due_at(), report.remaining(), bool(report)) == (
        None,
        None,
        None,
        False,
    )
    assert dict(report.take_missing(NOW)) == {}
    drop(ledger)
    assert dict(report.take_missing(NOW)) != {}


def test_a_report_waits_for_more_losses_and_the_next_one_for_ten_seconds() -> None:
    """Losses seldom come alone; all topics are reported together."""
    ledger = new_ledger()
    report = LossReport(ledger)
    drop(ledger, 3)
    assert steps(report, [0]) == [None]
    assert report.due_at() == NOW + GATHERING == NOW + 1
    drop(ledger, 4)
    assert steps(report, [0.999, 1]) == [None, 7]
    assert report.due_at() is None
    drop(ledger, 5, "logs", DEBUG)
    drop(ledger, 6, "audit", ERROR)
    assert steps(report, [2, 10.999]) == [None, None]
    assert report.due_at() == NOW + 1 + PERIOD == NOW + 11
    assert report.due(NOW + 11) == loss(buffer_full={DEBUG: 5, ERROR: 6})
    drop(ledger, 2)
    assert steps(report, [100, 101, 150]) == [None, 2, None]


def test_omissions_are_no_losses() -> None:
    """Records that options leave out have their own column, and stay off stderr and out of the
    handler's health; the stream alone reports them, apart from losses, and waits for more."""
    ledger = new_ledger()
    report = LossReport(ledger)
    ledger.drop("rate_limit", DEBUG, "logs")
    ledger.drop("sample", INFO, "logs")
    assert ledger.lost_at == -math.inf
    stats = ledger.stats(0)
    assert stats.left_out == {"rate_limit": {"DEBUG": 1}, "sample": {"INFO": 1}}
    assert (stats.emitted, stats.left_out_total) == (2, 2)
    assert (stats.dropped, stats.dropped_total, stats.undelivered) == ({}, 0, 0)
    assert (stats + stats).left_out_total == 4
    assert report.due(NOW) is report.due_at() is report.remaining() is None
    moment = report.summary_at()
    assert moment == ledger.omitted_at + GATHERING
    assert report.take_missing(moment - 0.001) == []
    drop(ledger)
    assert report.due(moment) is None
    assert report.take_missing(moment) == [
        ("logs", loss(rate_limit={DEBUG: 1}, sample={INFO: 1})),
        ("logs", loss(buffer_full={INFO: 1})),
    ]
    assert not report
    report.put_back("logs", loss(dedupe={INFO: 3}))
    assert report.lacks("logs")
    assert report.take_missing(NOW, at_once=True) == [("logs", loss(dedupe={INFO: 3}))]


def test_losses_that_a_summary_collected_are_reported_in_their_time() -> None:
    """The report waits for more losses also if the summary saw them first."""
    ledger = new_ledger()
    report = LossReport(ledger)
    drop(ledger, 3)
    missing = dict(report.take_missing(NOW))
    assert report.due_at() is not None
    assert steps(report, [0, 1]) == [None, 3]
    assert missing["logs"].records == 3


def test_at_the_end_all_remaining_losses_are_reported() -> None:
    """Also if the last report was a moment ago."""
    ledger = new_ledger()
    report = LossReport(ledger)
    drop(ledger)
    steps(report, [0, 1])
    drop(ledger, 2)
    steps(report, [2])
    drop(ledger, 3)
    assert (records(report.remaining()), report.remaining()) == (5, None)


# -- summaries in the streams ----------------------------------------------------------------------


def test_each_stream_gets_a_summary_of_what_it_lacks() -> None:
    """By topic, with the reasons; failures of the producer, which were logged, are among them."""
    ledger = new_ledger()
    report = LossReport(ledger)
    drop(ledger, 3, "logs")
    drop(ledger, 4, "audit", ERROR)
    drop(ledger, 9, "")
    reported = (report.due(NOW), report.due(NOW + 1))
    report.add_failures({("audit", INFO): 5}, "MessageTooLarge", NOON + 9)
    report.add_number("audit", 17)
    report.add_number("unknown", 18)
    missing = loss(NOON, NOON + 9, buffer_full={ERROR: 4}, MessageTooLarge={INFO: 5})
    missing.numbers.add(17)
    found = dict(report.take_missing(NOW))
    assert found == {"logs": loss(buffer_full={INFO: 3}), "audit": missing}
    found["logs"].add(loss(closed={INFO: 9}))
    assert records(reported[1]) == 16  # a report and a summary don't share counts
    assert dict(report.take_missing(NOW + 100)) == {}
    assert (bool(report), report.due_at(), report.remaining()) == (False, None, None)


def test_summaries_are_ten_seconds_apart() -> None:
    """The first one is due at once, and one at the end at any time."""
    ledger = new_ledger()
    report = LossReport(ledger)
    drop(ledger, 1)
    assert (report.summary_at() or 0.0) <= NOW
    assert report.take_missing(NOW)
    assert report.summary_at() is None
    drop(ledger, 2)
    assert report.summary_at() == NOW + PERIOD
    assert dict(report.take_missing(NOW + 9.999)) == {}
    assert report
    assert dict(report.take_missing(NOW + 10)) == {"logs": loss(buffer_full={INFO: 2})}
    drop(ledger, 3)
    assert dict(report.take_missing(NOW + 10, at_once=True)) == {
        "logs": loss(buffer_full={INFO: 3})
    }
    drop(ledger, 4)
    assert report.summary_at() == NOW + 10 + PERIOD


def test_a_summary_that_is_put_back_comes_later() -> None:
    """Together with what was lost since; until then the stream lacks it."""
    ledger = new_ledger()
    report = LossReport(ledger)
    drop(ledger, 3, "logs")
    drop(ledger, 4, "audit")
    missing = dict(report.take_missing(NOW))
    lacking = [report.lacks("logs")]
    report.put_back("logs", missing["logs"])
    lacking.append(report.lacks("logs"))
    assert (lacking, report.lacks("audit")) == ([False, True], False)
    drop(ledger, 1, "logs", ERROR)
    assert report.summary_at() == NOW + PERIOD
    assert dict(report.take_missing(NOW + PERIOD)) == {
        "logs": loss(buffer_full={INFO: 3, ERROR: 1})
    }
