"""How the package speaks of itself: the logger `kiel_logging`, and no lock of logging's."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator

import pytest

from kiel_logging import diagnostics
from kiel_logging.diagnostics import log_to, logger, report
from kiel_logging.printable import MOST as MOST_CHARACTERS


@pytest.fixture(autouse=True)
def _logger_as_it_was() -> Iterator[None]:
    """Levels and switches are the process's."""
    level, disabled, threshold = logger.level, logger.disabled, logging.root.manager.disable
    yield
    logger.setLevel(level)
    logger.disabled = disabled
    logging.disable(threshold)


def test_report(caplog: pytest.LogCaptureFixture) -> None:
    """It logs under the package's name, with the place of its caller."""
    report(logging.WARNING, "%d of %s", 3, "tea")
    (record,) = caplog.records
    assert (record.name, record.levelname, record.getMessage()) == (
        "kiel_logging",
        "WARNING",
        "3 of tea",
    )
    assert (record.funcName, record.filename) == ("test_report", "test_diagnostics.py")
    assert record.pathname == __file__


def test_a_message_without_arguments(caplog: pytest.LogCaptureFixture) -> None:
    """A per cent sign in it is one."""
    report(logging.WARNING, "100% full")
    assert caplog.messages == ["100% full"]


def test_what_dict_config_disabled(caplog: pytest.LogCaptureFixture) -> None:
    """disable_existing_loggers meant no loggers of libraries' that report losses."""
    logger.disabled = True
    report(logging.ERROR, "lost")
    assert caplog.messages == ["lost"]


@pytest.mark.parametrize(
    "silence",
    [
        lambda: logger.setLevel(logging.CRITICAL),
        lambda: logging.disable(logging.ERROR),
    ],
    ids=["its level", "logging.disable"],
)
def test_what_silences_it(caplog: pytest.LogCaptureFixture, silence: Callable[[], None]) -> None:
    """Whatever a program sets on the logger on purpose holds."""
    silence()
    report(logging.ERROR, "quiet")
    report(logging.CRITICAL, "loud")
    assert caplog.messages == ["loud"]


def test_the_level_of_the_root_holds(caplog: pytest.LogCaptureFixture) -> None:
    """As for any logger that has no level."""
    with caplog.at_level(logging.ERROR):
        report(logging.WARNING, "quiet")
    with caplog.at_level(logging.INFO):
        report(logging.INFO, "loud")
    assert caplog.messages == ["loud"]


def test_log_to(caplog: pytest.LogCaptureFixture) -> None:
    """The same on any logger."""
    log_to(logging.getLogger("kiel_test.other"), logging.WARNING, "%s", "x")
    (record,) = caplog.records
    assert (record.name, record.funcName, record.getMessage()) == (
        "kiel_test.other",
        "test_log_to",
        "x",
    )


def test_filters_of_the_logger_hold(caplog: pytest.LogCaptureFixture) -> None:
    """It is its own `handle()` that is called."""
    logger.addFilter(refuse := logging.Filter("nobody"))
    try:
        report(logging.WARNING, "x")
    finally:
        logger.removeFilter(refuse)
    assert caplog.messages == []


def test_logging_s_own_lock_is_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    """dictConfig holds it while it closes handlers, whose threads have something to report."""
    logger.manager._clear_cache()  # type: ignore[attr-defined]
    done = threading.Event()

    def work() -> None:
        report(logging.WARNING, "x")
        done.set()

    thread = threading.Thread(target=work, daemon=True)
    with logging._lock:  # type: ignore[attr-defined]
        thread.start()
        reported = done.wait(20)
    thread.join()
    assert reported
    assert caplog.messages == ["x"]


# -- what others wrote, and how much of it ---------------------------------------------------------


def test_arguments_are_printable(caplog: pytest.LogCaptureFixture) -> None:
    """Errors of brokers and records are among them; numbers stay numbers."""
    report(logging.WARNING, "%d of %s: %r", 3, ValueError("\x1b[2J\n"), "x" * 10**5)
    (message,) = caplog.messages
    assert message.startswith(r"3 of \x1b[2J\n: 'xxx")
    assert message.isprintable()
    assert len(message) < 3 * MOST_CHARACTERS


def test_five_of_a_kind_and_ten_in_all(caplog: pytest.LogCaptureFixture) -> None:
    """In ten seconds, so that one trouble does not flood a console or hide another."""
    for number in range(100):
        report(logging.ERROR, "lost %d", number)
    assert caplog.messages == [f"lost {number}" for number in range(5)]
    for number in range(100):
        report(logging.ERROR, f"another {number}")
    assert len(caplog.messages) == 10


def test_the_next_dose(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins with how many were not shown of the last."""
    clock = [100.0]
    monkeypatch.setattr(diagnostics, "monotonic", lambda: clock[0])
    for _ in range(8):
        report(logging.ERROR, "lost")
    clock[0] += diagnostics.PERIOD
    report(logging.ERROR, "lost")
    assert caplog.messages[5:] == ["3 more messages of kiel_logging were hidden", "lost"]
    clock[0] += diagnostics.PERIOD
    report(logging.ERROR, "lost")
    assert caplog.messages[7:] == ["lost"]


def test_what_is_not_wanted_takes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Messages below the logger's level are none; details are as many as there are."""
    with caplog.at_level(logging.ERROR):
        for _ in range(100):
            report(logging.INFO, "quiet")
    with caplog.at_level(logging.DEBUG):
        for _ in range(100):
            report(logging.DEBUG, "detail")
        report(logging.ERROR, "loud")
    assert caplog.messages == ["detail"] * 100 + ["loud"]
