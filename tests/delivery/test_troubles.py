"""When trouble that lasts is reported, how often, and when it is over."""

from __future__ import annotations

from typing import Final

import pytest

from kiel_logging.delivery.troubles import CALM, MOST, PATIENCE, PERIOD, REPEAT, Seen, Troubles
from kiel_logging.errors import BrokerRejected, ConnectionLost, NoLeader

START: Final = 1000.0
LOGS: Final = "topic 'logs'"
CUT: Final = ConnectionLost("cut")
LEADERLESS: Final = NoLeader("no leader")


class Case:
    """Reports as (seconds since the start, subject), with a look every half second."""

    def __init__(self) -> None:
        self.troubles = Troubles()
        self.now = START
        self.lasts: list[tuple[float, str]] = []
        self.over: list[tuple[float, str]] = []

    def look(self, seconds: float, **seen: Seen) -> None:
        """Find the same trouble for so long."""
        end = self.now + seconds
        while self.now < end:
            for report in self.troubles.update(seen, self.now):
                reports = self.over if report.over else self.lasts
                reports.append((self.now - START, report.trouble.subject))
            self.now += 0.5


def test_trouble_that_passes_is_not_reported() -> None:
    """An election takes a few seconds: its beginning and its end are no news."""
    case = Case()
    case.look(PATIENCE, logs=Seen(LEADERLESS, 3))
    case.look(60.0)
    assert case.lasts == case.over == []
    assert not case.troubles


def test_trouble_that_lasts_is_reported_again_every_minute() -> None:
    """The first time when it has lasted for a few seconds."""
    case = Case()
    case.look(PATIENCE + 2 * REPEAT + 1, logs=Seen(LEADERLESS, 3))
    assert case.lasts == [(PATIENCE + n * REPEAT, "logs") for n in range(3)]


def test_trouble_may_become_urgent() -> None:
    """It is reported then, and not when its patience is over."""
    case = Case()
    case.look(1.0, logs=Seen(LEADERLESS, 3))
    case.look(1.0, logs=Seen(CUT, 3, urgent=True))
    assert case.lasts == [(1.0, "logs")]


def test_the_end_is_reported() -> None:
    """When it was not seen for a moment: a broker that hangs up is connected in between."""
    case = Case()
    for _ in range(20):
        case.look(1.0, logs=Seen(CUT, 3))
        case.look(CALM - 0.5)
    case.look(10.0)
    assert len(case.lasts) == len(case.over) == 1


def test_trouble_that_comes_back_is_not_reported_at_once() -> None:
    """Each subject is reported once in a period, however often it comes and goes."""
    case = Case()
    for _ in range(10):
        case.look(1.0, logs=Seen(CUT, 3, urgent=True))
        case.look(CALM)
    assert [at for at, _ in case.lasts] == [0.0, 12.0, 24.0]


def test_another_error_of_a_subject_is_reported() -> None:
    """Not sooner than a period after the last report; another text of the same kind is none."""
    case = Case()
    case.look(1.0, logs=Seen(CUT, 3, urgent=True))
    case.look(20.0, logs=Seen(ConnectionLost("cut again"), 3, urgent=True))
    case.look(1.0, logs=Seen(LEADERLESS, 3))
    assert case.lasts == [(0.0, "logs"), (21.0, "logs")]


def test_many_subjects_are_reported_one_after_the_other() -> None:
    """So many in a period, each once, those first that have waited longest; all are known."""
    case = Case()
    seen = {f"topic {n}": Seen(CUT, 1, urgent=True) for n in range(3 * MOST)}
    case.look(3 * PERIOD, **seen)
    assert [subject for _, subject in case.lasts] == list(seen)
    assert [at for at, _ in case.lasts] == [n // MOST * PERIOD for n in range(3 * MOST)]
    assert {one.subject for one in case.troubles.lasting} == set(seen)


def test_how_many_others_are_in_trouble_is_reported() -> None:
    """A report says how many are left for later."""
    seen = {f"topic {n}": Seen(CUT, 1, urgent=True) for n in range(MOST + 5)}
    reports = Troubles().update(seen, START)
    assert [one.others for one in reports] == [5] * MOST


def test_a_trouble_knows_since_when_and_how_much_waits() -> None:
    """It began when it was seen first; the records are those of now."""
    troubles = Troubles()
    troubles.update({LOGS: Seen(CUT, 1)}, START)
    (report,) = troubles.update({LOGS: Seen(LEADERLESS, 8)}, START + PATIENCE)
    trouble = report.trouble
    assert (trouble.subject, trouble.since, trouble.records) == (LOGS, START, 8)
    assert trouble.error is LEADERLESS
    assert troubles.lasting == (trouble,)


def test_no_trouble_lasts_before_it_is_due() -> None:
    """And none lasts when it is over."""
    troubles = Troubles()
    troubles.update({LOGS: Seen(CUT, 1)}, START)
    assert troubles.lasting == ()
    troubles.update({LOGS: Seen(CUT, 1)}, START + PATIENCE)
    troubles.update({}, START + PATIENCE + CALM)
    assert troubles.lasting == ()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (CUT, "ConnectionLost"),
        (BrokerRejected("no", 19, "NOT_ENOUGH_REPLICAS"), "NOT_ENOUGH_REPLICAS"),
        (BrokerRejected("no", 31_999), "BrokerRejected"),
    ],
)
def test_the_kind_of_an_error(error: Exception, kind: str) -> None:
    """Kafka's name for it if there is one: there are few, whatever the texts say."""
    troubles = Troubles()
    troubles.update({LOGS: Seen(error, 1, urgent=True)}, START)
    assert [one.kind for one in troubles.lasting] == [kind]
