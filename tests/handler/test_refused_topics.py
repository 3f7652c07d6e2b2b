"""Several topics of one handler with ``spool_dir``, of which the brokers refuse one."""

from __future__ import annotations

import logging
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from kiel_logging import KafkaHandler
from kiel_logging.errors import NotAcknowledged, TopicAuthorizationFailed
from kiel_logging.testing import FakeKafka
from kiel_logging.testing.broker import FakeBroker
from kiel_logging.wire.error_codes import ErrorCode
from tests.handler.shipped import MakeHandler, logger_to, messages, total
from tests.support.stamps import audited
from tests.support.waiting import until

FOREVER: Final = 10**6
IMPATIENT: Final[dict[str, Any]] = {"close_timeout_ms": 200}


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """A directory that is yet to be made."""
    return tmp_path / "spool"


@pytest.fixture(params=["overflow", "always"])
def mode(request: pytest.FixtureRequest) -> str:
    """Each of them."""
    return str(request.param)


@pytest.fixture(autouse=True)
def two_topics(cluster: FakeKafka) -> None:
    """They are called good and bad."""
    cluster.add_topic("good", 1)
    cluster.add_topic("bad", 1)


@pytest.fixture
def never_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records that are held are not sent again as long as a test may take."""
    monkeypatch.setattr("kiel_logging.delivery.deferral.FIRST", 3600.0)
    monkeypatch.setattr("kiel_logging.delivery.deferral.MOST", 3600.0)


@pytest.fixture
def soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is sent again at once, and at once again."""
    monkeypatch.setattr("kiel_logging.delivery.deferral.FIRST", 0.01)
    monkeypatch.setattr("kiel_logging.delivery.deferral.MOST", 0.05)


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
    """Everybody may write to all topics."""
    cluster.on_broker(0, lambda broker: broker.node.produce_faults.clear())


def log(handler: logging.Handler, topic: str, *numbers: int) -> None:
    """Log them for a topic."""
    logger = logger_to(handler)
    for number in numbers:
        logger.info("%d", number, extra={"area": topic})


def numbers(cluster: FakeKafka, topic: str) -> list[int]:
    """Those that arrived."""
    return [int(text) for text in messages(cluster, topic)]


def waiting(handler: KafkaHandler) -> int:
    """How many records wait while the brokers reject a topic; 0 while they reject none."""
    spool = handler._lifecycle.pipeline._spool
    assert spool is not None
    return handler.stats().undelivered if spool.has_refused else 0


def is_tending(handler: KafkaHandler) -> bool:
    """Whether it will look again and again, as its own thread sees it."""
    spool, seen = handler._lifecycle.pipeline._spool, Future[bool]()
    assert spool is not None
    handler._lifecycle.pipeline._loop_thread.call(
        lambda _: seen.set_result("tend" in spool._timers)
    )
    return seen.result(30.0)


def until_held(handler: KafkaHandler, count: int) -> None:
    """Return once so many wait, of a topic that is rejected."""
    until(lambda: waiting(handler) == count)


# -- the others continue ---------------------------------------------------------------------------


@pytest.mark.usefixtures("never_again")
def test_other_topics_go_on(
    cluster: FakeKafka, make_handler: MakeHandler, spool: Path, mode: str
) -> None:
    """In order, while what is refused waits, and what comes later of its topic behind it."""
    forbid(cluster)
    handler = make_handler("{area}", spool_dir=spool, spool=mode, **IMPATIENT)
    log(handler, "bad", *range(10))
    until_held(handler, 10)
    for number in range(100):
        log(handler, "good", number)
        log(handler, "bad", 10 + number)
    cluster.stored("good", 100)
    until_held(handler, 110)
    assert numbers(cluster, "good") == list(range(100))
    assert numbers(cluster, "bad") == []
    assert total(handler.stats()) == handler.stats().emitted == 210


@pytest.mark.usefixtures("never_again")
def test_others_go_on_though_all_that_was_on_its_way_is_refused(
    cluster: FakeKafka, make_handler: MakeHandler, spool: Path, mode: str
) -> None:
    """A quarter of the buffer may be on its way."""
    forbid(cluster)
    options: dict[str, Any] = {"spool_dir": spool, "spool": mode, "buffer_records": 80}
    handler = make_handler("{area}", **options, **IMPATIENT, overflow="block")
    log(handler, "bad", *range(20))
    until_held(handler, 20)
    log(handler, "good", *range(200))
    cluster.stored("good", 200)
    assert numbers(cluster, "good") == list(range(200))


@pytest.mark.usefixtures("never_again")
def test_others_are_found_behind_much_that_has_to_wait(
    cluster: FakeKafka,
    make_handler: MakeHandler,
    spool: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """More than one slice; there are no more records, and no acknowledgements."""
    monkeypatch.setattr("kiel_logging.handler.spool.spool.QUIET", 3600.0)
    forbid(cluster)
    options: dict[str, Any] = {"buffer_records": 400, "linger_ms": 60_000, "batch_size": 151}
    handler = make_handler("{area}", spool_dir=spool, **options, **IMPATIENT)
    log(handler, "bad", 0)
    handler.flush(0.01)
    until_held(handler, 1)
    log(handler, "bad", *range(1, 151))
    log(handler, "good", 0)
    cluster.stored("good", 1)
    until(lambda: waiting(handler) == 151)


@pytest.mark.usefixtures("never_again")
def test_a_rejected_topic_takes_no_memory(
    cluster: FakeKafka, make_handler: MakeHandler, spool: Path, mode: str
) -> None:
    """Its records wait on disk, however many: others continue, and the buffer stays empty."""
    forbid(cluster)
    options: dict[str, Any] = {"spool_dir": spool, "spool": mode, "buffer_records": 80}
    handler = make_handler("{area}", **options, **IMPATIENT, overflow="block")
    log(handler, "bad", *range(20))
    until_held(handler, 20)
    log(handler, "bad", *range(20, 200))
    log(handler, "good", 0)
    cluster.stored("good", 1)
    until(lambda: handler.stats().spooled >= 180)
    assert handler.flush(0.1) == 200
    stats = handler.stats()
    assert stats.buffered <= 20
    assert total(stats) == stats.emitted == 201


@pytest.mark.usefixtures("never_again")
def test_nobody_looks_at_it_while_nothing_else_waits(
    cluster: FakeKafka, make_handler: MakeHandler, spool: Path, mode: str
) -> None:
    """A topic may be refused for days; and what comes for others isn't taken for held up."""
    forbid(cluster)
    handler = make_handler("{area}", spool_dir=spool, spool=mode, **IMPATIENT)
    log(handler, "bad", 0)
    until_held(handler, 1)
    log(handler, "good", 0)
    cluster.stored("good", 1)
    until(lambda: not is_tending(handler))
    until(lambda: waiting(handler) == 1)


# -- it comes at the end -------------------------------------------------------------------------


@pytest.mark.parametrize("chain", [False, True], ids=["numbers", "chain"])
@pytest.mark.usefixtures("soon_again")
def test_all_arrives_in_order_when_it_is_allowed(
    cluster: FakeKafka, make_handler: MakeHandler, spool: Path, mode: str, chain: bool
) -> None:
    """More than may be held, the other topic's as well; nothing is left."""
    forbid(cluster)
    options: dict[str, Any] = {"spool_dir": spool, "spool": mode, "buffer_records": 80}
    handler = make_handler("{area}", **options, overflow="block", chain=chain)
    for number in range(300):
        log(handler, "bad", number)
        log(handler, "good", number)
        if number == 250:
            allow(cluster)
    assert handler.flush(20.0) == 0
    stats = handler.stats()
    assert stats.delivered == 600 + 2 * chain
    assert (stats.failed, stats.spooled, stats.memory) == (0, 0, 0)
    handler.close()
    assert list(spool.iterdir()) == []
    for topic in ("good", "bad"):
        assert numbers(cluster, topic) == list(range(300))
        assert not audited(cluster.records(topic), topic=topic).failures(strict=False)


@pytest.mark.usefixtures("soon_again")
def test_what_is_on_its_way_does_not_overtake_what_is_refused(
    cluster: FakeKafka, make_handler: MakeHandler, spool: Path, mode: str
) -> None:
    """Batches behind it would arrive, for it is refused once."""
    forbid(cluster, times=1)
    options: dict[str, Any] = {"spool_dir": spool, "spool": mode, "max_request_size": 1024}
    handler = make_handler("{area}", **options)
    log(handler, "bad", *range(100))
    assert handler.flush(20.0) == 0
    assert numbers(cluster, "bad") == list(range(100))


@pytest.mark.usefixtures("soon_again")
def test_a_record_that_can_never_be_stored_is_in_nobody_s_way(
    cluster: FakeKafka, make_handler: MakeHandler, spool: Path, mode: str
) -> None:
    """It was held, and is the first that is sent again: it is given up, the others arrive."""
    forbid(cluster)
    handler = make_handler("{area}", spool_dir=spool, spool=mode)
    log(handler, "bad", 0)
    until_held(handler, 1)
    log(handler, "bad", *range(1, 10))
    until_held(handler, 10)
    forbid_the_record(cluster)
    cluster.stored("bad", 10)  # with the handler's own, which reports the loss
    assert handler.stats().failed == 1
    assert numbers(cluster, "bad") == list(range(1, 10))


@pytest.mark.usefixtures("soon_again")
def test_the_dead_ones_records_come_first_in_their_topic(
    cluster: FakeKafka, make_handler: MakeHandler, spool: Path, mode: str
) -> None:
    """While they are refused this process's own of other topics arrive."""
    forbid(cluster)
    first = KafkaHandler(
        cluster.addresses, "{area}", spool_dir=spool, spool=mode, linger_ms=1, close_timeout_ms=50
    )
    with closing(first):
        log(first, "bad", *range(10))
    assert first.stats().spooled == 10
    handler = make_handler("{area}", spool_dir=spool, spool=mode)
    until(lambda: handler._lifecycle.pipeline._spool.has_refused)  # type: ignore[union-attr]
    log(handler, "bad", *range(10, 20))
    log(handler, "good", *range(10))
    cluster.stored("good", 10)
    assert numbers(cluster, "bad") == []
    allow(cluster)
    assert handler.flush(20.0) == 0
    assert numbers(cluster, "bad") == list(range(20))
    assert handler.stats().recovered == 10


@pytest.mark.usefixtures("never_again")
def test_what_is_held_at_the_end_is_sent_by_the_next_start(
    cluster: FakeKafka, make_handler: MakeHandler, spool: Path, mode: str
) -> None:
    """Of all topics, what was refused and what stood behind it; each in order."""
    forbid(cluster, "good")
    forbid(cluster, "bad")
    handler = make_handler("{area}", spool_dir=spool, spool=mode, **IMPATIENT)
    with closing(handler):
        log(handler, "bad", 0)
        log(handler, "good", 0)
        until_held(handler, 2)
        for number in range(1, 50):
            log(handler, "bad", number)
            log(handler, "good", number)
    stats = handler.stats()
    assert (stats.spooled, stats.failed, stats.dropped_total) == (100, 0, 0)
    allow(cluster)
    make_handler("{area}", spool_dir=spool, spool=mode)
    for topic in ("good", "bad"):
        cluster.stored(topic, 50)
        assert numbers(cluster, topic) == list(range(50))


# -- the reports --------------------------------------------------------------------------------


@pytest.mark.usefixtures("never_again")
def test_each_topic_s_trouble_is_told(
    cluster: FakeKafka,
    make_handler: MakeHandler,
    spool: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Though of one topic it is reported once a minute only."""
    forbid(cluster, "good")
    forbid(cluster, "bad")
    errors: list[str] = []
    handler = make_handler(
        "{area}", spool_dir=spool, **IMPATIENT, on_error=lambda error, _: errors.append(str(error))
    )
    log(handler, "bad", 0)
    until_held(handler, 1)
    log(handler, "good", 0)
    until_held(handler, 2)
    until(lambda: len(errors) == 2)
    for topic, error in zip(("bad", "good"), errors, strict=True):
        assert f"for {topic}[0]: allow" in error
        until(lambda error=error: error in caplog.text)  # type: ignore[misc]


KEPT: Final = {
    "always": "it is kept on disk and will be sent again",
    "overflow": "it is kept and will be sent again",
}


@pytest.mark.usefixtures("never_again")
def test_receipts_tell_why_a_record_waits(
    cluster: FakeKafka, make_handler: MakeHandler, spool: Path, mode: str
) -> None:
    """Receipts of rejected records, and of those behind them, say why, and that none is lost."""
    forbid(cluster)
    handler = make_handler("{area}", spool_dir=spool, spool=mode, **IMPATIENT)

    def log_two() -> None:
        for number in range(2):
            log(handler, "bad", number)
            until_held(handler, number + 1)

    with pytest.raises(NotAcknowledged) as raised, handler.receipts(timeout=0.05):
        log_two()
    for number, each in enumerate(raised.value.undelivered):
        assert each.message == str(number)
        assert type(each.error) is TopicAuthorizationFailed
        assert each.reason == (
            "not acknowledged within 0.05 s: the brokers don't take it "
            f"(TopicAuthorizationFailed: {each.error}); {KEPT[mode]}"
        )
    assert KEPT[mode] in str(raised.value)


@pytest.mark.usefixtures("soon_again")
def test_receipts_wait_for_what_is_refused_and_then_taken(
    cluster: FakeKafka, make_handler: MakeHandler, spool: Path, mode: str
) -> None:
    """A refusal is no end."""
    forbid(cluster, times=2)
    handler = make_handler("{area}", spool_dir=spool, spool=mode)
    with handler.receipts(timeout=60.0) as receipts:
        log(handler, "bad", 0)
    assert [receipt.topic for receipt in receipts] == ["bad"]
