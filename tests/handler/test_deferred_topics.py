"""Several topics of one handler without ``spool_dir``, of which the brokers reject one for now."""

from __future__ import annotations

import logging
from contextlib import closing
from typing import Any, Final

import pytest

from kiel_logging.errors import NotAcknowledged, TopicAuthorizationFailed, UnknownTopic
from kiel_logging.testing import FakeKafka
from kiel_logging.wire.error_codes import ErrorCode
from tests.handler.shipped import Collecting, MakeHandler, logger_to, messages, outstanding, total
from tests.support.waiting import until

FOREVER: Final = 10**6
IMPATIENT: Final[dict[str, Any]] = {"close_timeout_ms": 200}


@pytest.fixture(autouse=True)
def two_topics(cluster: FakeKafka) -> None:
    """They are called good and bad."""
    cluster.add_topic("good", 1)
    cluster.add_topic("bad", 1)


def wait_for(monkeypatch: pytest.MonkeyPatch, first: float, most: float) -> None:
    """Let a rejected topic wait for so many seconds."""
    monkeypatch.setattr("kiel_logging.delivery.deferral.FIRST", first)
    monkeypatch.setattr("kiel_logging.delivery.deferral.MOST", most)


@pytest.fixture
def never_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rejected topic waits for longer than a test may take."""
    wait_for(monkeypatch, 3600.0, 3600.0)


@pytest.fixture
def soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rejected topic is tried again at once, and at once again."""
    wait_for(monkeypatch, 0.01, 0.05)


def forbid(cluster: FakeKafka, topic: str = "bad") -> None:
    """No record may be written to it, until `allow()`."""
    code = ErrorCode.topic_authorization_failed
    cluster.call(lambda c: c.produce_error(code, times=FOREVER, only=(topic, 0)))


def allow(cluster: FakeKafka) -> None:
    """Every record may be written to all topics."""
    cluster.on_broker(0, lambda broker: broker.node.produce_faults.clear())


def log(handler: logging.Handler, topic: str, *numbers: int) -> None:
    """Log them for a topic."""
    logger = logger_to(handler)
    for number in numbers:
        logger.info("%d", number, extra={"area": topic})


def numbers(cluster: FakeKafka, topic: str) -> list[int]:
    """Those that arrived."""
    return [int(text) for text in messages(cluster, topic)]


@pytest.mark.usefixtures("soon_again")
def test_a_rejected_topic_waits_and_arrives_in_order(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """Nothing of it fails; the other topic does not wait for it."""
    forbid(cluster)
    errors: list[tuple[type[Exception], int]] = []
    handler = make_handler("{area}", on_error=lambda error, n: errors.append((type(error), n)))
    log(handler, "bad", *range(10))
    until(lambda: bool(errors))
    for number in range(100):
        log(handler, "good", number)
        log(handler, "bad", 10 + number)
    cluster.stored("good", 100)
    stats = handler.stats()
    assert total(stats) == stats.emitted == 210
    assert (stats.failed, stats.dropped_total) == (0, 0)
    assert numbers(cluster, "bad") == []
    allow(cluster)
    assert handler.flush(20.0) == 0
    assert numbers(cluster, "bad") == list(range(110))
    assert handler.stats().delivered == 210
    assert set(errors) == {(TopicAuthorizationFailed, 0)}


@pytest.mark.usefixtures("soon_again")
def test_a_topic_that_does_not_exist_waits(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Until it is created; the other topic continues."""
    cluster.call(lambda c: setattr(c.state, "auto_create", False))
    errors: list[tuple[type[Exception], int]] = []
    handler = make_handler(
        "{area}",
        topic_creation_timeout_ms=10,
        on_error=lambda error, n: errors.append((type(error), n)),
    )
    log(handler, "new", *range(3))
    until(lambda: bool(errors))
    log(handler, "good", *range(10))
    cluster.stored("good", 10)
    log(handler, "new", *range(3, 6))
    cluster.add_topic("new", 1)
    assert handler.flush(20.0) == 0
    assert numbers(cluster, "new") == list(range(6))
    assert set(errors) == {(UnknownTopic, 0)}


@pytest.mark.usefixtures("soon_again")
def test_a_topic_s_trouble_is_reported_now_and_then(
    cluster: FakeKafka, make_handler: MakeHandler, caplog: pytest.LogCaptureFixture
) -> None:
    """However often it is rejected, once a minute; other topics' trouble besides."""
    forbid(cluster, "good")
    forbid(cluster, "bad")
    errors: list[str] = []
    handler = make_handler(
        "{area}", **IMPATIENT, on_error=lambda error, _: errors.append(str(error))
    )
    for topic in ("bad", "good"):
        log(handler, topic, 0)
        until(lambda topic=topic: any(f"for {topic}[0]" in error for error in errors))  # type: ignore[misc]
    cluster.received("Produce", 8)
    assert len(errors) == 2
    for error in errors:
        assert caplog.text.count(error) == 1


@pytest.mark.usefixtures("never_again")
def test_records_that_wait_end_with_the_handler(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """They count as failed, and the fallback has them."""
    forbid(cluster)
    fallback = Collecting()
    errors: list[tuple[type[Exception], int]] = []
    handler = make_handler(
        "{area}",
        **IMPATIENT,
        fallback=fallback,
        on_error=lambda error, n: errors.append((type(error), n)),
    )
    with closing(handler):
        log(handler, "bad", 0)
        until(lambda: bool(errors))
        log(handler, "bad", 1)
        assert handler.flush(0.01) == 2
        assert fallback.messages == []
    assert sorted(fallback.messages) == ["0", "1"]
    assert handler.stats().failed == 2


@pytest.mark.usefixtures("never_again")
def test_receipts_tell_why_a_record_waits(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """The rejected one, and one that comes later: the reason, and that it is not lost."""
    forbid(cluster)
    errors: list[Exception] = []
    handler = make_handler("{area}", **IMPATIENT, on_error=lambda error, _: errors.append(error))

    def log_two() -> None:
        log(handler, "bad", 0)
        until(lambda: bool(errors))
        log(handler, "bad", 1)
        until(lambda: handler.flush(0.01) == outstanding(handler) == 2)

    with pytest.raises(NotAcknowledged) as raised, handler.receipts(timeout=0.05):
        log_two()
    assert [each.message for each in raised.value.undelivered] == ["0", "1"]
    for each in raised.value.undelivered:
        assert type(each.error) is TopicAuthorizationFailed
        assert each.reason == (
            "not acknowledged within 0.05 s: the brokers don't take it "
            f"(TopicAuthorizationFailed: {each.error}); it is kept and will be sent again"
        )
