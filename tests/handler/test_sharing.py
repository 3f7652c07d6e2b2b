"""Handlers of one process with the same brokers and security share a thread and connections."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from kiel_logging import KafkaHandler
from kiel_logging.testing import FakeKafka
from tests.handler.process.child import STRICT, run_by_hand, said
from tests.handler.shipped import HELD_BACK, QUICK, Collecting, logger_to, messages

TOPICS = {"logs": 1, "orders": 2, "traces": 3}


@pytest.fixture
def kafka() -> Iterator[FakeKafka]:
    """Three brokers, so that there is more than one connection to share."""
    with FakeKafka(3, topics=TOPICS) as started:
        yield started


@pytest.fixture
def make(kafka: FakeKafka) -> Iterator[Callable[..., KafkaHandler]]:
    """Makes handlers for `kafka`; they are closed when the test is over."""
    with ExitStack() as handlers:

        def make(topic: str, **options: Any) -> KafkaHandler:
            handler = KafkaHandler(kafka.addresses, topic, **{**QUICK, **options})
            return handlers.enter_context(closing(handler))

        yield make


@pytest.fixture
def others() -> set[threading.Thread]:
    """The threads of handlers that are not this test's."""
    return loop_threads()


def loop_threads() -> set[threading.Thread]:
    """The handlers' threads that run."""
    return {thread for thread in threading.enumerate() if thread.name == "kiel_logging"}


def accepted(kafka: FakeKafka) -> int:
    """How many connections the brokers have taken."""
    return kafka.call(lambda c: sum(broker.connections_accepted for broker in c.brokers))


def log(handler: logging.Handler, count: int = 1) -> None:
    """Log `count` records."""
    for number in range(count):
        logger_to(handler).info("%d", number)


def arrived(kafka: FakeKafka, topic: str) -> list[str]:
    """The messages of a topic, sorted."""
    return sorted(str(record.value["message"]) for record in kafka.arrived(topic))


# -- who shares -----------------------------------------------------------------------------------


def test_three_handlers_take_as_much_as_one(
    kafka: FakeKafka, make: Callable[..., KafkaHandler], others: set[threading.Thread]
) -> None:
    """One thread, and one connection to each broker: whatever else the handlers' options are."""
    spread = {"partitioner": "round_robin"}
    first = make("traces", compression="gzip", **spread)
    log(first, 30)
    assert first.flush() == 0
    alone = accepted(kafka)
    chained, quick = make("traces", chain=True, **spread), make("orders", required_acks=1, **spread)
    for handler in (chained, quick):
        log(handler, 30)
        assert handler.flush() == 0
    assert len(loop_threads() - others) == 1
    assert accepted(kafka) == alone
    assert len(kafka.arrived("traces", 61)) == 61  # the chain has a start record
    assert len(kafka.arrived("orders", 30)) == 30


def test_handlers_that_connect_at_the_same_time(
    kafka: FakeKafka, make: Callable[..., KafkaHandler], others: set[threading.Thread]
) -> None:
    """They wait for the same connections, and for brokers that are not there yet."""
    kafka.down()
    handlers = [make("traces", **HELD_BACK) for _ in range(3)]
    for handler in handlers:
        log(handler, 5)
    assert len(loop_threads() - others) == 1
    kafka.up()
    assert [handler.flush() for handler in handlers] == [0, 0, 0]
    assert arrived(kafka, "traces") == sorted([*"01234"] * 3)
    kafka.wait(lambda c: c.until(lambda: max(one.open_connections for one in c.brokers) == 1))


@pytest.mark.parametrize(
    "own",
    [
        {"client_id": "another"},
        {"request_timeout_ms": 20_000},
        {"fallback": Collecting()},
        {"on_error": lambda *_lost: None},
        {"internal_logger": "test_sharing"},
        {"partitioner": lambda _key, partitions: partitions[0]},
        {"required_acks": 0},
        {"spool_dir": "..."},
        {"sign": True, "chain": True},
    ],
    ids=lambda own: next(iter(own)),
)
def test_handlers_that_keep_their_own(
    make: Callable[..., KafkaHandler], others: set[threading.Thread], own: Any, tmp_path: Path
) -> None:
    """Those that reach brokers otherwise, and those that may hold up a thread."""
    own = {name: str(tmp_path) if name == "spool_dir" else value for name, value in own.items()}
    for handler in (make("logs"), make("orders", **own)):
        log(handler)
        assert handler.flush() == 0
    assert len(loop_threads() - others) == 2


def test_handlers_with_other_credentials(others: set[threading.Thread]) -> None:
    """Two users have two threads; the same secret, given twice, is the same."""
    users = {"ada": "one", "bob": "two"}
    with FakeKafka(users=users, topics=TOPICS) as kafka, ExitStack() as handlers:
        for user in ("ada", "bob", "ada"):
            secured = KafkaHandler(
                kafka.addresses,
                "logs",
                security_protocol="SASL_PLAINTEXT",
                sasl_mechanism="PLAIN",
                sasl_username=user,
                sasl_password=users[user],
                **QUICK,
            )
            log(handlers.enter_context(closing(secured)))
            assert secured.flush() == 0
        assert len(loop_threads() - others) == 2
        assert arrived(kafka, "logs") == ["0", "0", "0"]


# -- each for itself ------------------------------------------------------------------------------


def test_the_thread_ends_with_the_last_handler(
    kafka: FakeKafka, make: Callable[..., KafkaHandler], others: set[threading.Thread]
) -> None:
    """A handler that is closed leaves the others what they need; a new one joins them."""
    first, second = make("logs"), make("orders")
    log(first)
    log(second)
    (thread,) = loop_threads() - others
    first.close()
    log(second)
    assert second.flush() == 0
    log(first)  # which opens it again
    assert first.flush() == 0
    assert loop_threads() - others == {thread}
    second.close()
    first.close()
    assert not thread.is_alive()
    assert (arrived(kafka, "logs"), arrived(kafka, "orders")) == (["0", "0"], ["0", "0"])
    log(first)
    assert first.flush() == 0
    assert len(loop_threads() - others) == 1


def test_a_rejected_topic_holds_up_its_handler_alone(
    kafka: FakeKafka, make: Callable[..., KafkaHandler]
) -> None:
    """The other delivers, and is well; a flush waits for the records of its handler."""
    kafka.reject("orders", "TOPIC_AUTHORIZATION_FAILED")
    rejected, well = make("orders", close_timeout_ms=50), make("logs")
    log(rejected, 3)
    assert rejected.flush(timeout=0.1) == 3
    log(well, 3)
    assert well.flush() == 0
    assert arrived(kafka, "logs") == ["0", "1", "2"]
    assert (well.health().status, well.stats().troubles) == ("ok", ())
    assert (rejected.stats().delivered, rejected.stats().failed) == (0, 0)


def test_a_handler_gives_up_what_the_brokers_do_not_answer(
    kafka: FakeKafka, make: Callable[..., KafkaHandler], capsys: pytest.CaptureFixture[str]
) -> None:
    """Its requests end with it; those of the others, on the same connections, get their answers."""
    impatient, patient = make("logs", close_timeout_ms=20), make("logs")
    for handler in (impatient, patient):
        log(handler)
        assert handler.flush(timeout=20) == 0
    connections = accepted(kafka)
    kafka.call(lambda c: [broker.stall("Produce") for broker in c.brokers])
    log(impatient)
    impatient.flush(timeout=0.05)
    log(patient)
    impatient.close()
    assert impatient.stats().failed == 1
    assert "1 log record did not reach Kafka" in capsys.readouterr().err
    kafka.recover()
    assert patient.flush() == 0
    assert patient.stats().delivered == 2
    assert accepted(kafka) == connections


def test_a_lost_connection_is_everybodys(
    kafka: FakeKafka, make: Callable[..., KafkaHandler]
) -> None:
    """Each handler sends again what has no answer: all is stored, once and in order."""
    handlers = [make("logs", batch_size=3) for _ in range(3)]
    for handler in handlers:
        log(handler)
        assert handler.flush() == 0
    kafka.lose_answers(3)
    for handler in handlers:
        log(handler, 50)
    assert [handler.flush() for handler in handlers] == [0, 0, 0]
    assert Counter(arrived(kafka, "logs")) == Counter(["0", *map(str, range(50))] * 3)


def test_where_no_thread_can_be_started(
    kafka: FakeKafka, make: Callable[..., KafkaHandler], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Python is about to exit: each flush and each close() runs the loop that they share."""

    def refuse(*_arguments: Any) -> None:
        raise RuntimeError("can't start new thread")

    first, second = make("logs"), make("orders")
    monkeypatch.setattr(threading.Thread, "start", refuse)
    log(first, 2)
    log(second, 2)
    assert (first.flush(), second.flush()) == (0, 0)
    log(first)
    log(second)
    first.close()
    second.close()
    assert (first.stats().delivered, second.stats().delivered) == (3, 3)


def test_a_handler_that_is_dropped(
    kafka: FakeKafka, make: Callable[..., KafkaHandler], others: set[threading.Thread]
) -> None:
    """Its records are delivered, and the other's thread stays."""
    kept = make("orders")
    log(kept)
    log(KafkaHandler(kafka.addresses, "logs", **{**QUICK, **HELD_BACK}), 3)
    assert len(kafka.arrived("logs", 3)) == 3
    log(kept)
    assert kept.flush() == 0
    assert len(loop_threads() - others) == 1


# -- processes ------------------------------------------------------------------------------------


TWO = """
def both():
    first, second = make(), make(topic="orders")
    return first, second

def threads():
    return sum(thread.name == "kiel_logging" for thread in threading.enumerate())
"""


@pytest.fixture
def cluster() -> Iterator[FakeKafka]:
    """One broker with the topics of both handlers."""
    with FakeKafka(topics=TOPICS) as started:
        yield started


def test_forks(cluster: FakeKafka) -> None:
    """The child has another thread, for both; each process's records arrive once."""
    code = f"""{TWO}
first, second = both()
log.info("parent")
def work():
    log.info("child")
    say(child=[first.flush(), second.flush(), threads()])
children = [fork(work) for _ in range(3)]
log.info("parent again")
statuses = wait(*children)
say(parent=[first.flush(), second.flush(), threads()], statuses=statuses)
"""
    done = run_by_hand(code, *STRICT, brokers=cluster.addresses, **QUICK)
    facts = said(done)
    assert (done.returncode, done.stderr, facts["statuses"]) == (0, "", [0, 0, 0])
    assert facts["child"] == facts["parent"] == [0, 0, 1]
    expected = Counter({"parent": 1, "parent again": 1, "child": 3})
    assert Counter(messages(cluster)) == Counter(messages(cluster, "orders")) == expected


LOG = "for number in range(100): log.info('%d', number)"
ENDS = {
    "the end": LOG,
    "SIGTERM": f"{LOG}\nterminate()",
    "atexit": f"import atexit\n@atexit.register\ndef late():\n    {LOG}",
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_ends(cluster: FakeKafka, end: str) -> None:
    """All that both have is delivered, also where no thread can be started any more."""
    done = run_by_hand(f"{TWO}\nkept = both()\n{end}", brokers=cluster.addresses, **HELD_BACK)
    assert done.stderr == ""
    expected = [str(number) for number in range(100)]
    assert messages(cluster) == expected
    assert Counter(messages(cluster, "orders")) == Counter(expected)


BREAK = {
    "descriptors": "os.closerange(3, 512)",
    "selector": """
def fail(*_timeout):
    raise OSError("a selector that is broken")
runner.loop._selector.select = fail
runner.loop.call_soon_threadsafe(int)
runner.thread.join(20)
""",
}


@pytest.mark.parametrize("fault", BREAK.values(), ids=BREAK)
def test_a_broken_thread_is_replaced_for_all(cluster: FakeKafka, fault: str) -> None:
    """The next call of one handler finds it; what the other has is sent as well, unasked."""
    code = f"""
import time
first, second = make(), make(topic="orders", linger_ms=60_000, batch_size=10_000)
log.info("before")
assert first.flush() == second.flush() == 0
log.info("0")
log.removeHandler(second)
first.flush()
runner, other = (one._lifecycle.pipeline._loop_thread.runner for one in (first, second))
assert runner is other
{fault}
log.info("1")
left = first.flush(20.0)
while second.stats().delivered < 2: time.sleep(0.01)
say(left=left, shared=len({{
    one._lifecycle.pipeline._loop_thread.runner for one in (first, second)
}}))
"""
    done = run_by_hand(code, brokers=cluster.addresses, **QUICK)
    assert (done.returncode, said(done)) == (0, {"left": 0, "shared": 1}), done.stderr
    assert Counter(messages(cluster)) == Counter(["before", "0", "1"])
    assert sorted(messages(cluster, "orders")) == ["0", "before"]
