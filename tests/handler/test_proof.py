"""Records of a handler can be verified: numbers, the chain, the handler's own events."""

from __future__ import annotations

import json
import logging
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kiel_logging import KafkaHandler
from kiel_logging.errors import ConfigurationError
from kiel_logging.handler.events import Recovered
from kiel_logging.testing import FakeKafka
from kiel_logging.verify.window import Window
from kiel_logging.wire.error_codes import ErrorCode
from tests.handler.process.child import run_by_hand, said
from tests.handler.shipped import (
    HELD_BACK,
    MakeHandler,
    fail,
    logger_to,
    messages,
    refuse_everything,
    start_broker,
    stop_broker,
    stored,
    stored_records,
    summaries,
    total,
)
from tests.support.stamps import audited, events, harm, marks, without_stamp
from tests.support.waiting import in_threads
from tests.support.what_is_shown import all_of, object_of

SECRET = "s3cret-of-the-chain"

CHAINS: dict[str, tuple[dict[str, Any], bytes | None]] = {
    "no chain": ({}, None),
    "a chain": ({"chain": True}, None),
    "a chain with a key": ({"chain": True, "chain_key": SECRET}, SECRET.encode()),
}
"""Options, and what to verify with."""

every_kind = pytest.mark.parametrize(("options", "secret"), CHAINS.values(), ids=CHAINS)


def counts(cluster: FakeKafka, topic: str = "logs", **how: Any) -> dict[str, int]:
    """What `verify` finds in a topic, and how often."""
    return harm(audited(cluster.records(topic), topic=topic, **how))


# -- complete --------------------------------------------------------------------------------------


@every_kind
def test_what_is_shipped_is_complete(
    cluster: FakeKafka, make_handler: MakeHandler, options: dict[str, Any], secret: bytes | None
) -> None:
    """From many threads, over partitions and batches, with a leader that gives way."""
    cluster.add_topic("shop", 3)
    cluster.call(lambda c: c.produce_error(ErrorCode.not_leader_or_follower, times=3))
    handler = make_handler("shop", key_field="user", batch_size=40, **options)
    logger = logger_to(handler)

    def log(user: int) -> None:
        for number in range(100):
            logger.info("%d", number, extra={"user": user})

    in_threads(log, range(8))
    handler.close()
    verdict = audited(cluster.records("shop"), secret=secret, topic="shop")
    (stream,) = verdict.streams
    assert harm(verdict) == {}
    assert stream.chained == bool(options)
    assert (stream.first, stream.last) == (1, handler.stats().delivered)
    assert stream.last == 800 + (2 if options else 0)


def test_numbers_are_in_the_order_of_logging(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Each topic has its own; the instance is the same."""
    cluster.add_topic("shop", 1)
    handler = make_handler("{topic}", **HELD_BACK)
    logger = logger_to(handler)
    for number in range(300):
        logger.info("%d", number, extra={"topic": ("logs", "shop", "logs")[number % 3]})
    handler.close()
    instances = set()
    for topic, count in {"logs": 200, "shop": 100}.items():
        records = stored_records(cluster, topic)
        instances |= {marks(record)["instance"] for record in records}
        sequences = [int(marks(record)["sequence"]) for record in records]
        assert sequences == list(range(1, count + 1))
        numbers = [int(message) for message in messages(cluster, topic)]
        assert numbers == sorted(numbers)
    (instance,) = instances
    assert len(instance) == 32
    assert int(instance, 16) > 0


def test_headers_that_the_program_asked_for_stay(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """The program's headers stand in front of the handler's, in events too where they can."""
    handler = make_handler(headers={"level": "levelname", "user": "user"}, chain=True)
    logger_to(handler).warning("x", extra={"user": 7})
    handler.close()
    assert [without_stamp(record.headers) for record in stored_records(cluster)] == [
        (("level", b"INFO"),),
        (("level", b"WARNING"), ("user", b"7")),
        (("level", b"INFO"),),
    ]


def test_what_is_removed_is_found(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """A record that is missing from a topic would fail the tests above."""
    handler = make_handler(chain=True)
    for number in range(5):
        logger_to(handler).info("%d", number)
    handler.close()
    records = stored_records(cluster)
    del records[3]
    assert harm(audited({0: records})) == {"removed": 1}
    assert harm(audited({0: records[:-1]})) == {"removed": 1, "unfinished": 1}


@pytest.mark.parametrize("key", [None, b"another"], ids=["none", "a wrong one"])
def test_another_key(cluster: FakeKafka, make_handler: MakeHandler, key: bytes | None) -> None:
    """No digest fits another key."""
    handler = make_handler(chain=True, chain_key=SECRET)
    logger_to(handler).info("x")
    handler.close()
    assert audited(cluster.records("logs"), secret=key).wrong_key
    assert not audited(cluster.records("logs"), secret=SECRET.encode()).wrong_key


# -- start and end records -------------------------------------------------------------------------


def test_a_stream_has_a_start_and_an_end_record(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """Events are records for people, with headers for programs; they count as any record."""
    handler = make_handler(chain=True, fields={"service": "shop"})
    handler.name = "audit"
    logger_to(handler).info("x")
    handler.close()
    start, logged, end = stored(cluster)
    assert (start["message"], end["message"]) == (
        "audit stream started by audit, without a key: anybody can compute its digests",
        "audit stream ended",
    )
    assert {(one["logger"], one["level"], one["service"]) for one in (start, end)} == {
        ("kiel_logging", "INFO", "shop")
    }
    (started, told), ended = events(cluster.records("logs"))
    assert (started, json.loads(told)) == (
        "start",
        {
            "handler": "audit",
            "host": logged["host"],
            "process": logged["process"],
            "topic": "logs",
            "instance": marks(stored_records(cluster)[1])["instance"],
            "key": "",
        },
    )
    assert ended == ("end", "{}")
    stats = handler.stats()
    assert (stats.emitted, stats.delivered, total(stats)) == (3, 3, 3)


def test_each_topic_has_its_words(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """The start record comes in front of a topic's first record, the end record behind its last."""
    cluster.add_topic("shop", 1)
    handler = make_handler("{topic}", chain=True)
    logger = logger_to(handler)
    for topic in ("logs", "logs", "shop", "logs"):
        logger.info("x", extra={"topic": topic})
        handler.flush()
    handler.close()
    for topic, logged in {"logs": 3, "shop": 1}.items():
        names = [marks(record).get("event") for record in stored_records(cluster, topic)]
        assert names == ["start", *[None] * logged, "end"]
        assert counts(cluster, topic) == {}


def test_a_handler_that_never_logs_says_nothing(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """Without records there is no stream, and no event."""
    make_handler(chain=True).close()
    assert cluster.requests() == []


def test_without_a_chain_there_are_no_words(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Without a chain a topic has the logged records and no more."""
    handler = make_handler()
    logger_to(handler).info("x")
    handler.close()
    assert (messages(cluster), summaries(cluster)) == (["x"], [])


@pytest.mark.parametrize(
    "options",
    [
        {"format": "ecs"},
        {"format": "gelf"},
        {"format": "otel"},
        {"format": "text"},
        {"level": "ERROR"},
        {"max_request_size": 1_500},
    ],
    ids=str,
)
def test_words_are_made_as_other_records(
    cluster: FakeKafka, make_handler: MakeHandler, options: dict[str, Any]
) -> None:
    """Events have the format of the stream, and its key, headers and size limit."""
    handler = make_handler(chain=True, **options)
    logger_to(handler).error("x" * 2_000)
    handler.close()
    start, _, end = (record.value or b"" for record in stored_records(cluster))
    assert b"audit stream started" in start
    assert b"audit stream ended" in end
    assert counts(cluster) == {}


def test_a_word_that_can_not_be_made(
    cluster: FakeKafka, make_handler: MakeHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key maker that fails for an event costs that event alone, and it is reported."""
    handler = make_handler(chain=True, key_maker=lambda fields: fields["user"])
    logger_to(handler).info("x", extra={"user": "ann"})
    handler.close()
    assert counts(cluster) == {"unfinished": 1}
    assert handler.stats().delivered == 1
    told = capsys.readouterr().err
    assert "no 'start' for 'logs': KeyError('user')" in told
    assert "no 'end' for 'logs': KeyError('user')" in told


def test_a_stream_that_can_not_be_delivered_has_no_last_word(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """Readers see that records are missing, but not how many."""
    handler = make_handler(chain=True, close_timeout_ms=20)
    logger = logger_to(handler)
    logger.info("x")
    assert handler.flush(timeout=20) == 0
    stop_broker(cluster)
    logger.info("lost")
    handler.close()
    start_broker(cluster)
    assert counts(cluster) == {"unfinished": 1}
    assert counts(cluster, window=Window(running=True)) == {}


def test_finish_pauses_a_stream(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """A program may end behind a pause, or continue. Only close() ends the stream.

    So it can't be cut back to an earlier end.
    """
    handler = make_handler(chain=True)
    logger = logger_to(handler)
    logger.info("x")
    assert handler._lifecycle.finish(last=False) == handler._lifecycle.finish(last=False) == 0
    assert [name for name, _ in events(cluster.records("logs"))] == ["start", "pause"]
    assert counts(cluster) == {"unfinished": 1}
    logger.info("x")
    handler._lifecycle.finish(last=False)
    handler.close()
    names = [name for name, _ in events(cluster.records("logs"))]
    assert (names, counts(cluster)) == (["start", "pause", "pause", "end"], {})


def test_a_last_finish_ends_a_stream(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """finish(last=True) ends the stream, for a process that ends without a close()."""
    handler = make_handler(chain=True)
    logger_to(handler).info("x")
    assert handler._lifecycle.finish(last=True) == handler._lifecycle.finish(last=False) == 0
    handler.close()
    assert [name for name, _ in events(cluster.records("logs"))] == ["start", "end"]
    assert counts(cluster) == {}


# -- losses ----------------------------------------------------------------------------------------


@every_kind
def test_drops_are_declared(
    cluster: FakeKafka, make_handler: MakeHandler, options: dict[str, Any], secret: bytes | None
) -> None:
    """Records without room never had a number; a drops record counts them."""
    cluster.on_broker(0, lambda broker: broker.stall("Produce"))
    handler = make_handler(**HELD_BACK, buffer_records=5, **options)
    logger = logger_to(handler)
    for number in range(8):
        logger.info("%d", number)
    cluster.on_broker(0, lambda broker: broker.resume())
    handler.close()
    verdict = audited(cluster.records("logs"), secret=secret)
    assert harm(verdict) == {"dropped": 3}
    assert ("drops", '{"records":3}') in events(cluster.records("logs"))
    assert [one["dropped"] for one in stored(cluster) if "dropped" in one] == [
        {"buffer_full": {"INFO": 3}}
    ]


def test_the_hole_of_a_record_that_is_given_up_is_declared(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """A record that was given up had a number; the drops record names it, so it isn't `removed`."""
    handler = make_handler(chain=True)
    logger = logger_to(handler)
    logger.info("stored")
    handler.flush()
    refuse = ErrorCode.policy_violation
    cluster.call(lambda c: c.produce_error(refuse, times=1))
    logger.info("refused")
    handler.close()
    assert counts(cluster) == {"dropped": 1, "missing": 1}
    assert events(cluster.records("logs"))[1:] == [
        ("drops", '{"records":1,"numbers":[[3,3]]}'),
        ("end", "{}"),
    ]
    records = [one for one in stored_records(cluster) if marks(one)["sequence"] != "2"]
    assert harm(audited({0: records})) == {"dropped": 1, "missing": 1, "removed": 1}


def test_drops_that_are_not_delivered_are_told_again(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """An unexplained hole looks like a theft, so a lost drops record is reported again."""
    handler = make_handler(chain=True, **HELD_BACK, key_maker=lambda fields: fields.get("key"))
    logger = logger_to(handler)
    for key in ("a", "b", ["no key"]):
        logger.info("x", extra={"key": key})
    # All three together, and then each alone: the handler looks which of them is at fault.
    cluster.call(lambda c: c.produce_error(ErrorCode.policy_violation, times=5))
    handler.flush()  # with it the start record and both records
    assert handler.stats().failed == 3
    cluster.call(lambda c: c.produce_error(ErrorCode.policy_violation, times=1))
    handler._lifecycle.finish(last=False)  # with it the drops
    assert handler.stats().failed == 4
    handler.close()
    assert events(cluster.records("logs")) == [
        ("drops", '{"records":5,"numbers":[[1,4]]}'),
        ("end", "{}"),
    ]
    assert counts(cluster) == {"dropped": 5, "missing": 4}


def test_there_is_no_end_record_while_drops_are_unreported(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """An end record claims that all drops are reported."""
    cluster.add_topic("shop", 1)
    handler = make_handler("{topic}", chain=True)
    logger = logger_to(handler)
    for topic in ("logs", "shop"):
        logger.info("x", extra={"topic": topic})
        handler.flush()
    refuse_everything(cluster, "shop")
    logger.info("x", extra={"topic": "shop"})
    handler.close()
    assert [name for name, _ in events(cluster.records("logs"))] == ["start", "end"]
    assert [name for name, _ in events(cluster.records("shop"))] == ["start"]
    assert counts(cluster, "shop") == {"unfinished": 1}


def tell_of_recovery(handler: KafkaHandler, topic: str, *found: Any, complete: bool) -> None:
    """As the spool does, on the loop thread, when all of a dead process's stream is sent."""
    pipeline = handler._lifecycle.pipeline
    recovered = Recovered(*found, complete=complete)
    pipeline._loop_thread.call(
        lambda shipper: shipper.report_recovery(topic, recovered, lambda: None)
    )


@pytest.mark.parametrize("complete", [True, False])
def test_a_recovery(
    cluster: FakeKafka, make_handler: MakeHandler, tmp_path: Path, complete: bool
) -> None:
    """The instance that took the spool of one that died reports how far that one came. It completes
    the stream if the dead one can't have sent more than it had on disk."""
    dead = make_handler(chain=True)
    logger_to(dead).info("x")
    dead.flush()
    (instance,) = {marks(record)["instance"] for record in stored_records(cluster)}
    assert counts(cluster) == {"unfinished": 1}
    heir = make_handler(chain=True, spool_dir=tmp_path)
    tell_of_recovery(heir, "logs", instance, 1, 2, complete=complete)
    cluster.stored("logs", 4)
    heir.close()
    assert counts(cluster) == ({} if complete else {"unfinished": 1})
    told = Counter(name for name, _ in events(cluster.records("logs")))
    assert told == {"start": 2, "recovery": 1, "end": 1}
    text = f"audit stream of {instance}, which died, ends with record 2; 1 of them were found on"
    assert any(one["message"].startswith(text) for one in stored(cluster))


def test_without_a_chain_nobody_vouches_for_others(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """Without a chain anybody could write such a record, so it proves nothing."""
    handler = make_handler()
    tell_of_recovery(handler, "logs", "0" * 32, 1, 2, complete=True)
    logger_to(handler).info("x")
    handler.close()
    assert events(cluster.records("logs")) == []


# -- processes -------------------------------------------------------------------------------------


def test_forked_children_are_instances_of_their_own(cluster: FakeKafka) -> None:
    """Each stream is complete, a forked child's as well as the parent's."""
    code = """
handler = make()
log.info("parent")
handler.flush()
children = [fork(lambda: log.info("child")) for _ in range(3)]
log.info("parent")
say(statuses=wait(*children))
wait(fork(lambda: None))
"""
    program = run_by_hand(code, brokers=cluster.addresses, chain=True)
    assert (said(program), program.stderr) == ({"statuses": [0, 0, 0]}, "")
    verdict = audited(cluster.records("logs"))
    assert harm(verdict) == {}
    assert sorted(stream.last for stream in verdict.streams) == [3, 3, 3, 4]
    assert len({stream.start.process for stream in verdict.streams if stream.start}) == 4


def test_workers_of_multiprocessing_say_their_last_words(cluster: FakeKafka) -> None:
    """Workers of a pool end without close(), and their streams are complete."""
    code = """
import multiprocessing
make()
log.info("parent")
worker = multiprocessing.get_context("fork").Process(target=log.info, args=("child",))
worker.start()
worker.join()
say(status=worker.exitcode)
"""
    program = run_by_hand(code, brokers=cluster.addresses, chain=True)
    assert (said(program), program.stderr) == ({"status": 0}, "")
    assert Counter(messages(cluster)) == {"parent": 1, "child": 1}
    assert counts(cluster) == {}


# -- options ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["itself", "env", "file"])
def test_where_the_key_may_be(
    cluster: FakeKafka,
    make_handler: MakeHandler,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    where: str,
) -> None:
    """A chain key comes from text, env or file, like any secret, and is read once."""
    monkeypatch.setenv("CHAIN_KEY", SECRET)
    file = tmp_path / "key"
    file.write_text(f"{SECRET}\n")
    given = {"itself": SECRET, "env": {"env": "CHAIN_KEY"}, "file": {"file": str(file)}}
    handler = make_handler(chain=True, chain_key=given[where])
    monkeypatch.delenv("CHAIN_KEY")
    file.unlink()
    logger_to(handler).info("x")
    handler.close()
    assert counts(cluster, secret=SECRET.encode()) == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chain": "yes"}, "chain='yes' must be True or False"),
        ({"chain": 1}, "chain=1 must be True or False"),
        ({"chain_key": SECRET}, "chain_key is of no use without chain=True"),
        ({"chain": True, "chain_key": ""}, "chain_key has fewer than 16 bytes, and could be gues"),
        ({"chain": True, "chain_key": SECRET[:15]}, "chain_key has fewer than 16 bytes"),
        ({"chain": True, "chain_key": {"env": "SHORT_KEY"}}, "chain_key has fewer than 16 bytes"),
        ({"chain": True, "chain_key": {"env": "NOT_SET"}}, "chain_key: the environment variable"),
        ({"chain": True, "chain_key": {"file": "/nowhere"}}, "chain_key: /nowhere can't be read"),
        ({"chain": True, "chain_key": SECRET.encode()}, "chain_key must be a str, {'env': 'NAME'}"),
        ({"chain": True, "chain_key": {"vault": SECRET}}, "chain_key must be a str, {'env': "),
        ({"chain": True, "chain_key": f"{SECRET}\ud800"}, "chain_key has no UTF-8 form"),
        ({"chain": True, "chain_key": SECRET, "overflow": "x"}, "overflow='x' must be one of"),
        ({"chain": True, "chain_key": SECRET, "topic": ""}, "topic"),
        ({"headers": {"kiel-sequence": "n"}}, "headers has 'kiel-sequence', which is the handler"),
    ],
)
def test_wrong_options(
    options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the wrong option, and nothing shows the key."""
    monkeypatch.setenv("SHORT_KEY", SECRET[:15])
    with pytest.raises(ConfigurationError) as failure:
        KafkaHandler("kafka", **{"topic": "logs", **options})
    assert str(failure.value).startswith(message)
    assert SECRET[:15] not in all_of(failure.value)


@pytest.mark.parametrize("key", ["sixteen bytes ok", "eight ä" * 2])
def test_a_key_of_sixteen_bytes(key: str) -> None:
    """A key's length counts in bytes, not characters."""
    KafkaHandler("kafka", "logs", chain=True, chain_key=key, close_timeout_ms=1).close()


def test_nothing_shows_the_key() -> None:
    """No repr shows the key, and no attribute of any object inside."""
    handler = KafkaHandler("kafka", "logs", chain=True, chain_key=SECRET, close_timeout_ms=1)
    with closing(handler):
        assert SECRET not in object_of(handler)


@pytest.mark.parametrize("size", [1_024, 2_000, 10_000])
@pytest.mark.parametrize("chain", [False, True])
def test_a_record_is_cut_so_that_its_stamp_fits(
    cluster: FakeKafka, make_handler: MakeHandler, chain: bool, size: int
) -> None:
    """Headers that are added to a record never make it too large."""
    handler = make_handler(chain=chain, max_request_size=size, compression=None)
    for length in range(size - 1_000, size, 50):
        logger_to(handler).info("x" * length)
    handler.close()
    assert (handler.stats().failed, counts(cluster)) == (0, {})
    batches = [batch for part in cluster.batches("logs").values() for batch in part]
    assert max(len(batch.raw) for batch in batches) <= size


def test_a_partitioner_that_raises_for_events(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """A failing partitioner costs the events and no record; their holes stay unexplained."""

    def partitioner(key: Any, partitions: Any) -> int:
        return fail() if key is None else int(partitions[0])

    handler = make_handler(chain=True, partitioner=partitioner, key_field="user")
    logger = logger_to(handler)
    logger.log(logging.INFO, "x", extra={"user": "ann"})
    handler.close()
    assert messages(cluster) == ["x"]
    assert counts(cluster) == {"removed": 1, "unfinished": 1}
