"""Several topics of one handler, of which the brokers reject one for now."""

from __future__ import annotations

import logging
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from kiel_logging.errors import NotAcknowledged, TopicAuthorizationFailed, UnknownTopic
from kiel_logging.testing import FakeKafka
from kiel_logging.testing.broker import FakeBroker
from kiel_logging.wire.error_codes import ErrorCode
from tests.handler.shipped import Collecting, MakeHandler, logger_to, messages, outstanding, total
from tests.support.stamps import audited
from tests.support.waiting import until

FOREVER: Final = 10**6
IMPATIENT: Final[dict[str, Any]] = {"close_timeout_ms": 200}
Errors = list[Exception]


@pytest.fixture(autouse=True)
def two_topics(cluster: FakeKafka) -> None:
    """They are called good and bad."""
    cluster.add_topic("good", 1)
    cluster.add_topic("bad", 1)


@pytest.fixture
def errors() -> Errors:
    """Those that the handlers of `make` report of records that are not lost."""
    return []


@pytest.fixture
def make(make_handler: MakeHandler, errors: Errors) -> MakeHandler:
    """Makes handlers for both topics."""

    def on_error(error: Exception, records: int) -> None:
        if records == 0:  # else they are lost, not rejected for now
            errors.append(error)

    return partial(make_handler, "{area}", on_error=on_error)


@pytest.fixture
def spooling(make: MakeHandler, spool: Path, mode: str) -> MakeHandler:
    """Makes handlers for both topics that have one spool, in each mode."""
    return partial(make, spool_dir=spool, spool=mode)


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


def forbid(cluster: FakeKafka, topic: str = "bad", times: int = FOREVER) -> None:
    """Have the brokers reject the topic until `allow()`."""
    code = ErrorCode.topic_authorization_failed
    cluster.call(lambda c: c.produce_error(code, times=times, only=(topic, 0)))


def forbid_the_record(cluster: FakeKafka) -> None:
    """All of ten may be written but the first, for which brokers reject each batch it is in."""

    def change(broker: FakeBroker) -> None:
        broker.node.produce_faults.clear()
        broker.produce_error(ErrorCode.policy_violation, times=4, only=("bad", 0))

    cluster.on_broker(0, change)


def allow(cluster: FakeKafka) -> None:
    """Every record may be written to all topics."""
    cluster.on_broker(0, lambda broker: broker.node.produce_faults.clear())


def log(handler: logging.Handler, topic: str, *numbers: int) -> None:
    """Log them for a topic."""
    logger = logger_to(handler)
    for number in numbers:
        logger.info("%d", number, extra={"area": topic})


def log_until_rejected(handler: logging.Handler, errors: Errors, *numbers: int) -> None:
    """Log them for the topic that is rejected, and return when it is."""
    log(handler, "bad", *numbers)
    until(lambda: bool(errors))


def numbers(cluster: FakeKafka, topic: str) -> list[int]:
    """Those that arrived."""
    return [int(text) for text in messages(cluster, topic)]


# -- the others continue ---------------------------------------------------------------------------


@pytest.mark.usefixtures("soon_again")
def test_a_rejected_topic_waits_and_arrives_in_order(
    cluster: FakeKafka, make: MakeHandler, errors: Errors, spooled: dict[str, Any]
) -> None:
    """None of its records fails; the other topic does not wait for it."""
    forbid(cluster)
    handler = make(**spooled)
    log_until_rejected(handler, errors, *range(10))
    for number in range(100):
        log(handler, "good", number)
        log(handler, "bad", 10 + number)
    cluster.stored("good", 100)
    assert numbers(cluster, "good") == list(range(100))
    assert numbers(cluster, "bad") == []
    stats = handler.stats()
    assert (total(stats), stats.emitted, stats.failed, stats.dropped_total) == (210, 210, 0, 0)
    allow(cluster)
    assert handler.flush(20.0) == 0
    assert numbers(cluster, "bad") == list(range(110))
    assert (handler.stats().delivered, handler.stats().failed) == (210, 0)
    assert {type(error) for error in errors} == {TopicAuthorizationFailed}


@pytest.mark.usefixtures("soon_again")
def test_a_topic_that_does_not_exist_waits(
    cluster: FakeKafka, make: MakeHandler, errors: Errors
) -> None:
    """Until it is created; the other topic continues."""
    cluster.call(lambda c: setattr(c.state, "auto_create", False))
    handler = make(topic_creation_timeout_ms=10)
    log(handler, "new", *range(3))
    until(lambda: bool(errors))
    log(handler, "good", *range(10))
    cluster.stored("good", 10)
    log(handler, "new", *range(3, 6))
    cluster.add_topic("new", 1)
    assert handler.flush(20.0) == 0
    assert numbers(cluster, "new") == list(range(6))
    assert {type(error) for error in errors} == {UnknownTopic}


@pytest.mark.usefixtures("never_again")
def test_others_are_found_behind_much_that_has_to_wait(
    cluster: FakeKafka,
    make: MakeHandler,
    errors: Errors,
    spool: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """More than one slice; there are no more records, and no acknowledgements."""
    monkeypatch.setattr("kiel_logging.handler.spool.spool.QUIET", 3600.0)
    forbid(cluster)
    options: dict[str, Any] = {"buffer_records": 400, "linger_ms": 60_000, "batch_size": 151}
    handler = make(spool_dir=spool, **options, **IMPATIENT)
    log(handler, "bad", 0)
    handler.flush(0.01)
    until(lambda: bool(errors))
    log(handler, "bad", *range(1, 151))
    log(handler, "good", 0)
    cluster.stored("good", 1)
    until(lambda: handler.stats().undelivered == 151)


@pytest.mark.usefixtures("never_again")
def test_a_rejected_topic_takes_no_memory(
    cluster: FakeKafka, spooling: MakeHandler, errors: Errors
) -> None:
    """Its records wait on disk: others continue, though all that was on its way is rejected, and a
    quarter of the buffer may be."""
    forbid(cluster)
    handler = spooling(buffer_records=80, **IMPATIENT, overflow="block")
    log_until_rejected(handler, errors, *range(20))
    log(handler, "good", *range(200))
    log(handler, "bad", *range(20, 200))
    cluster.stored("good", 200)
    assert numbers(cluster, "good") == list(range(200))
    until(lambda: handler.stats().spooled >= 180)
    assert handler.flush(0.1) == 200
    stats = handler.stats()
    assert stats.buffered <= 20
    assert total(stats) == stats.emitted == 400


@pytest.mark.usefixtures("never_again")
def test_a_rejected_topic_that_waits_alone_takes_no_time(
    cluster: FakeKafka, spooling: MakeHandler, errors: Errors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A topic may be rejected for days; and records of others aren't taken for held up."""
    monkeypatch.setattr("kiel_logging.handler.spool.spool.QUIET", 0.2)
    forbid(cluster)
    handler = spooling(**IMPATIENT)
    log_until_rejected(handler, errors, 0)
    log(handler, "good", 0)
    cluster.stored("good", 1)
    spool = handler._lifecycle.pipeline._spool
    assert spool is not None
    until(lambda: "tend" not in spool._timers)
    until(lambda: handler.stats().undelivered == 1)


# -- the topic is allowed --------------------------------------------------------------------------


@pytest.mark.usefixtures("soon_again")
def test_all_arrives_in_order_when_it_is_allowed(
    cluster: FakeKafka, spooling: MakeHandler, errors: Errors, spool: Path, chain: bool
) -> None:
    """More than the buffer holds, the other topic's as well; nothing is left."""
    forbid(cluster)
    handler = spooling(buffer_records=80, overflow="block", chain=chain)
    for number in range(300):
        log(handler, "bad", number)
        log(handler, "good", number)
        if number == 250:
            until(lambda: bool(errors))
            allow(cluster)
    assert handler.flush(20.0) == 0
    until(lambda: handler.stats().delivered == 600 + 2 * chain)  # flush() awaits no start record
    stats = handler.stats()
    assert (stats.failed, stats.spooled, stats.memory) == (0, 0, 0)
    handler.close()
    assert list(spool.iterdir()) == []
    for topic in ("good", "bad"):
        assert numbers(cluster, topic) == list(range(300))
        assert not audited(cluster.records(topic), topic=topic).failures(strict=False)


@pytest.mark.usefixtures("soon_again")
def test_later_batches_do_not_overtake_a_rejected_one(
    cluster: FakeKafka, spooling: MakeHandler
) -> None:
    """Those that are on their way would be stored, for the first is rejected once."""
    forbid(cluster, times=1)
    handler = spooling(max_request_size=1024)
    log(handler, "bad", *range(100))
    assert handler.flush(20.0) == 0
    assert numbers(cluster, "bad") == list(range(100))


@pytest.mark.usefixtures("soon_again")
def test_a_record_that_can_never_be_stored_holds_up_no_other(
    cluster: FakeKafka, spooling: MakeHandler, errors: Errors
) -> None:
    """It was deferred, and is the first that is sent again: it fails, the others arrive."""
    forbid(cluster)
    handler = spooling()
    log_until_rejected(handler, errors, 0)
    log(handler, "bad", *range(1, 10))
    forbid_the_record(cluster)
    cluster.stored("bad", 10)  # with the handler's own, which reports the loss
    assert handler.stats().failed == 1
    assert numbers(cluster, "bad") == list(range(1, 10))


@pytest.mark.usefixtures("soon_again")
def test_orphaned_records_come_first_in_their_topic(
    cluster: FakeKafka, spooling: MakeHandler, errors: Errors
) -> None:
    """While they are rejected, this process's records of other topics arrive."""
    forbid(cluster)
    first = spooling(close_timeout_ms=50)
    with closing(first):
        log_until_rejected(first, errors, *range(10))
    assert first.stats().spooled == 10
    errors.clear()
    handler = spooling()
    until(lambda: bool(errors))
    log(handler, "bad", *range(10, 20))
    log(handler, "good", *range(10))
    cluster.stored("good", 10)
    assert numbers(cluster, "bad") == []
    allow(cluster)
    assert handler.flush(20.0) == 0
    assert numbers(cluster, "bad") == list(range(20))
    assert handler.stats().recovered == 10


# -- the end comes first ---------------------------------------------------------------------------


@pytest.mark.usefixtures("never_again")
def test_records_that_wait_in_memory_end_with_the_handler(
    cluster: FakeKafka, make: MakeHandler, errors: Errors
) -> None:
    """They count as failed, and the fallback has them."""
    forbid(cluster)
    fallback = Collecting()
    with closing(make(**IMPATIENT, fallback=fallback)) as handler:
        log_until_rejected(handler, errors, 0)
        log(handler, "bad", 1)
        assert handler.flush(0.01) == 2
        assert fallback.messages == []
    assert sorted(fallback.messages) == ["0", "1"]
    assert handler.stats().failed == 2


@pytest.mark.usefixtures("never_again")
def test_records_that_wait_on_disk_are_sent_by_the_next_start(
    cluster: FakeKafka, spooling: MakeHandler, errors: Errors
) -> None:
    """Of all topics, rejected records and those behind them; each in order."""
    forbid(cluster, "good")
    forbid(cluster, "bad")
    with closing(spooling(**IMPATIENT)) as handler:
        log(handler, "bad", 0)
        log(handler, "good", 0)
        until(lambda: len(errors) == 2)
        for number in range(1, 50):
            log(handler, "bad", number)
            log(handler, "good", number)
    stats = handler.stats()
    assert (stats.spooled, stats.failed, stats.dropped_total) == (100, 0, 0)
    allow(cluster)
    spooling()
    for topic in ("good", "bad"):
        cluster.stored(topic, 50)
        assert numbers(cluster, topic) == list(range(50))


# -- the reports -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("soon_again")
def test_a_topic_s_trouble_is_reported_now_and_then(
    cluster: FakeKafka,
    make: MakeHandler,
    errors: Errors,
    spooled: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """However often it is rejected, once a minute; other topics' trouble besides."""
    forbid(cluster, "good")
    forbid(cluster, "bad")
    handler = make(**spooled, **IMPATIENT)
    for count, topic in enumerate(("bad", "good")):
        log(handler, topic, 0)
        until(lambda count=count: len(errors) > count)  # type: ignore[misc]
        assert f"for {topic}[0]: allow" in str(errors[-1])
    cluster.received("Produce", 8)
    assert len(errors) == 2
    for error in errors:
        until(lambda error=error: str(error) in caplog.text)  # type: ignore[misc]
        assert caplog.text.count(str(error)) == 1


@pytest.mark.usefixtures("never_again")
def test_receipts_say_why_a_record_waits(
    cluster: FakeKafka, make: MakeHandler, errors: Errors, spooled: dict[str, Any]
) -> None:
    """The rejected one, and one that comes later: the reason, and that neither is lost."""
    forbid(cluster)
    handler = make(**spooled, **IMPATIENT)
    with pytest.raises(NotAcknowledged) as raised, handler.receipts(timeout=0.05):  # noqa: PT012
        log_until_rejected(handler, errors, 0)
        log(handler, "bad", 1)
        until(lambda: handler.flush(0.01) == 2 and (spooled or outstanding(handler) == 2))
    kept = "on disk " if spooled.get("spool") == "always" else ""
    assert [each.message for each in raised.value.undelivered] == ["0", "1"]
    for each in raised.value.undelivered:
        assert type(each.error) is TopicAuthorizationFailed
        assert each.reason == (
            "not acknowledged within 0.05 s: the brokers don't take it "
            f"(TopicAuthorizationFailed: {each.error}); it is kept {kept}and will be sent again"
        )
    assert f"it is kept {kept}and will be sent again" in str(raised.value)


@pytest.mark.usefixtures("soon_again")
def test_receipts_wait_for_a_rejected_record_that_is_then_stored(
    cluster: FakeKafka, spooling: MakeHandler
) -> None:
    """A rejection is no end."""
    forbid(cluster, times=2)
    handler = spooling()
    with handler.receipts(timeout=60.0) as receipts:
        log(handler, "bad", 0)
    assert [receipt.topic for receipt in receipts] == ["bad"]
