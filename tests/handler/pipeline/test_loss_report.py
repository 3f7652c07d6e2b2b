"""When losses are told, and to whom. Time is a number that the tests choose."""

from __future__ import annotations

import logging
import threading

from kiel_logging.handler.ledger import (
    GATHERING,
    PERIOD,
    Loss,
    Losses,
    LossReport,
    summary_record,
)
from tests.handler.pipeline.sample import DEBUG, ERROR, INFO
from tests.handler.pipeline.test_losses import NOON, Held, loss

NOW = 500.0
"""Of a monotonic clock, which has nothing to do with NOON."""


def drop(drops: Losses, records: int = 1, topic: str = "logs", level: int = INFO) -> None:
    """What those who log note."""
    drops.note(topic, "buffer_full", level, NOON, records)


def records(told: Loss | None) -> int | None:
    """How many records a telling is about."""
    return None if told is None else told.records


# -- telling, now and then -------------------------------------------------------------------------


def test_nothing_is_told_of_nothing() -> None:
    """Nor is there a moment for it."""
    report = LossReport(Losses())
    assert report.to_tell(NOW) is None
    assert report.tell_at() is None
    assert report.rest() is None
    assert not report


def test_the_first_telling_waits_for_others() -> None:
    """For a second: a loss seldom comes alone."""
    drops = Losses()
    report = LossReport(drops)
    drop(drops, 3)
    assert report.to_tell(NOW) is None
    assert report.tell_at() == NOW + GATHERING == NOW + 1
    drop(drops, 4)
    assert report.to_tell(NOW + 0.999) is None
    assert records(report.to_tell(NOW + 1)) == 7
    assert report.tell_at() is None


def test_tellings_are_ten_seconds_apart() -> None:
    """What comes in between is told as one, all topics together."""
    drops = Losses()
    report = LossReport(drops)
    drop(drops)
    report.to_tell(NOW)
    report.to_tell(NOW + 1)
    drop(drops, 5, "logs", DEBUG)
    drop(drops, 6, "audit", ERROR)
    assert report.to_tell(NOW + 2) is None
    assert report.tell_at() == NOW + 1 + PERIOD == NOW + 11
    assert report.to_tell(NOW + 10.999) is None
    assert report.to_tell(NOW + 11) == loss(buffer_full={DEBUG: 5, ERROR: 6})
    assert report.to_tell(NOW + 50) is None


def test_after_a_quiet_time_others_are_waited_for_again() -> None:
    """As at first."""
    drops = Losses()
    report = LossReport(drops)
    drop(drops)
    report.to_tell(NOW)
    report.to_tell(NOW + 1)
    drop(drops, 2)
    assert report.to_tell(NOW + 100) is None
    assert report.tell_at() == NOW + 101
    assert records(report.to_tell(NOW + 101)) == 2


def test_what_a_summary_collected_is_told_in_its_time() -> None:
    """Others are waited for, whoever saw the loss first."""
    drops = Losses()
    report = LossReport(drops)
    drop(drops, 3)
    report.to_summarise(NOW)
    assert report.tell_at() is not None
    assert report.to_tell(NOW) is None
    assert records(report.to_tell(NOW + 1)) == 3


def test_what_can_not_be_collected_just_now_is_asked_for_again() -> None:
    """Nobody says a second time that there is something: the report does, until it has it."""
    drops, reason = Losses(), Held()
    report = LossReport(drops)
    drop(drops)
    counting = threading.Thread(target=drops.note, args=("logs", reason, INFO, NOON))
    counting.start()
    assert reason.reached.wait(20)
    told, moment = report.to_tell(NOW), report.tell_at()
    reason.let_go.set()
    counting.join()
    assert told is None
    assert moment is not None
    report.to_tell(NOW)
    assert records(report.to_tell(NOW + 1)) == 2


def test_at_the_end_the_rest_is_told() -> None:
    """However short a time ago the last telling was."""
    drops = Losses()
    report = LossReport(drops)
    drop(drops)
    report.to_tell(NOW)
    report.to_tell(NOW + 1)
    drop(drops, 2)
    report.to_tell(NOW + 2)
    drop(drops, 3)
    assert records(report.rest()) == 5
    assert report.rest() is None


def test_what_was_told_does_not_change() -> None:
    """Neither by new losses nor by the summary."""
    drops = Losses()
    report = LossReport(drops)
    drop(drops, 2)
    report.to_tell(NOW)
    told = report.to_tell(NOW + 1)
    missing = report.to_summarise(NOW + 1)
    missing["logs"].add(loss(closed={INFO: 9}))
    drop(drops, 3)
    report.to_tell(NOW + 20)
    assert told == loss(buffer_full={INFO: 2})


# -- the summary in the stream ---------------------------------------------------------------------


def test_each_stream_is_told_what_it_lacks() -> None:
    """Topic by topic, with the reasons: also what was told elsewhere already."""
    drops = Losses()
    report = LossReport(drops)
    drop(drops, 3, "logs")
    drop(drops, 4, "audit", ERROR)
    report.to_tell(NOW)
    report.to_tell(NOW + 1)
    report.add_failures({("audit", INFO): 5}, "MessageTooLarge", NOON + 9)
    assert report.to_summarise(NOW) == {
        "logs": loss(buffer_full={INFO: 3}),
        "audit": loss(NOON, NOON + 9, buffer_full={ERROR: 4}, MessageTooLarge={INFO: 5}),
    }
    assert report.to_summarise(NOW + 100) == {}
    assert not report


def test_what_the_producer_gave_up_is_not_told_again() -> None:
    """It was logged when it happened; only the stream lacks it."""
    report = LossReport(Losses())
    report.add_failures({("logs", INFO): 5}, "MessageTooLarge", NOON)
    assert report
    assert report.to_tell(NOW) is None
    assert report.tell_at() is None
    assert report.rest() is None
    assert report.to_summarise(NOW) == {"logs": loss(MessageTooLarge={INFO: 5})}


def test_summaries_are_ten_seconds_apart() -> None:
    """The first comes at once."""
    drops = Losses()
    report = LossReport(drops)
    drop(drops, 1)
    assert report.summarise_at() is not None
    assert report.summarise_at() <= NOW
    assert report.to_summarise(NOW)
    assert report.summarise_at() is None
    drop(drops, 2)
    assert report.summarise_at() == NOW + PERIOD
    assert report.to_summarise(NOW + 9.999) == {}
    assert report
    assert report.to_summarise(NOW + 10) == {"logs": loss(buffer_full={INFO: 2})}


def test_at_the_end_a_summary_is_due_at_any_time() -> None:
    """And the next one ten seconds later, should it not be the end."""
    drops = Losses()
    report = LossReport(drops)
    drop(drops)
    report.to_summarise(NOW)
    drop(drops)
    assert report.to_summarise(NOW, at_once=True) == {"logs": loss(buffer_full={INFO: 1})}
    drop(drops, 2)
    assert report.summarise_at() == NOW + PERIOD
    assert report.to_summarise(NOW + PERIOD) == {"logs": loss(buffer_full={INFO: 2})}


def test_a_stream_lacks_something_until_it_is_told() -> None:
    """What those who log just noted is not known here before it is collected."""
    drops = Losses()
    report = LossReport(drops)
    report.add_failures({("logs", INFO): 1}, "RecordTooLarge", 1.0)
    assert (report.lacks("logs"), report.lacks("audit")) == (True, False)
    ((topic, missing),) = report.to_summarise(NOW).items()
    assert not report.lacks("logs")
    report.put_back(topic, missing)
    assert report.lacks("logs")


def test_nothing_to_summarise_costs_no_time() -> None:
    """The ten seconds are between two summaries, not between two questions."""
    drops = Losses()
    report = LossReport(drops)
    assert report.to_summarise(NOW) == {}
    drop(drops)
    assert report.to_summarise(NOW) != {}


def test_a_summary_that_is_put_back_comes_later() -> None:
    """Together with what was lost since."""
    drops = Losses()
    report = LossReport(drops)
    drop(drops, 3, "logs")
    drop(drops, 4, "audit")
    for topic, missing in report.to_summarise(NOW).items():
        if topic == "logs":
            report.put_back(topic, missing)
    drop(drops, 1, "logs", ERROR)
    assert report.summarise_at() == NOW + PERIOD
    assert report.to_summarise(NOW + PERIOD) == {"logs": loss(buffer_full={INFO: 3, ERROR: 1})}


def test_topics_beyond_counting_get_no_summary() -> None:
    """Nobody knows which they are; they are told of on stderr."""
    drops = Losses()
    report = LossReport(drops)
    drop(drops, 2, "")
    drop(drops, 3, "logs")
    assert report.to_summarise(NOW).keys() == {"logs"}
    assert records(report.rest()) == 5


def test_the_summary_is_a_log_record() -> None:
    """A warning of ours in the words of stderr, with the numbers beside them."""
    made = summary_record(loss(buffer_full={DEBUG: 400, INFO: 12}))
    assert (made.name, made.levelno) == ("kiel_logging", logging.WARNING)
    assert made.getMessage() == str(loss(buffer_full={DEBUG: 400, INFO: 12}))
    assert made.getMessage().startswith("dropped 412: DEBUG 400, INFO 12, buffer_full, from ")
    assert made.dropped == {"buffer_full": {"DEBUG": 400, "INFO": 12}}
