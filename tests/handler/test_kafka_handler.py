"""KafkaHandler: from `logger.info()` to the records that a broker stored."""

from __future__ import annotations

import io
import json
import logging
import logging.config
import threading
import uuid
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
import yaml

from kiel_logging import KafkaHandler, Stats
from kiel_logging.errors import ConfigurationError
from tests.support.fake_cluster import ErrorCode
from tests.support.threaded_fake_cluster import ThreadedFakeCluster

QUICK = {
    "linger_ms": 1,
    "retry_backoff_ms": 5,
    "retry_backoff_max_ms": 20,
    "close_timeout_ms": 5_000,
}
MakeHandler = Callable[..., KafkaHandler]


@pytest.fixture
def cluster() -> Iterator[ThreadedFakeCluster]:
    """One broker on a thread, with a topic `logs` of one partition."""
    with ThreadedFakeCluster(brokers=1) as threaded:
        threaded.add_topic("logs", 1)
        yield threaded


@pytest.fixture
def make_handler(cluster: ThreadedFakeCluster) -> Iterator[MakeHandler]:
    """Makes handlers for the cluster; they are closed when the test is over."""
    with ExitStack() as handlers:

        def make(topic: Any = "logs", **options: Any) -> KafkaHandler:
            handler = KafkaHandler(cluster.addresses, topic, **{**QUICK, **options})
            return handlers.enter_context(closing(handler))

        yield make


def logger_to(handler: logging.Handler, name: str = "shop.cart") -> logging.Logger:
    """A logger that nothing else knows of."""
    logger = logging.Logger(name, logging.DEBUG)
    logger.addHandler(handler)
    return logger


def stored(cluster: ThreadedFakeCluster, topic: str = "logs") -> list[dict[str, Any]]:
    """Every record of a topic, in order for each partition, as a consumer would read it."""
    records = cluster.records(topic).values()
    return [json.loads(record.value or b"") for part in records for record in part]


def messages(cluster: ThreadedFakeCluster, topic: str = "logs") -> list[str]:
    """The message of every record of a topic."""
    return [fields["message"] for fields in stored(cluster, topic)]


def keys(cluster: ThreadedFakeCluster, topic: str = "logs") -> list[bytes | None]:
    """The key of every record of a topic."""
    return [record.key for part in cluster.records(topic).values() for record in part]


def total(stats: Stats) -> int:
    """What `emitted` must always be."""
    ended = stats.delivered + stats.failed + sum(stats.dropped.values())
    return ended + stats.buffered + stats.in_flight


def refuse_everything(cluster: ThreadedFakeCluster) -> None:
    """From now on no record is stored, and none is worth a retry."""
    cluster.call(lambda c: c.produce_error(ErrorCode.policy_violation, times=10**6))


# -- what arrives -------------------------------------------------------------------------------


def test_records_arrive_in_order(cluster: ThreadedFakeCluster, make_handler: MakeHandler) -> None:
    """What was logged is stored, once and in the order of the calls."""
    handler = make_handler()
    logger = logger_to(handler)
    for number in range(500):
        logger.info("record %d", number)
    assert handler.flush() == 0
    assert messages(cluster) == [f"record {number}" for number in range(500)]


def test_the_fields_of_a_record(cluster: ThreadedFakeCluster, make_handler: MakeHandler) -> None:
    """A consumer finds what the LogRecord knew, the extras beside it."""
    handler = make_handler()
    logger_to(handler).warning("sold %s", "tea", extra={"user": {"id": 7}, "price": 2.5})
    handler.flush()
    (fields,) = stored(cluster)
    expected = {
        "level": "WARNING",
        "logger": "shop.cart",
        "message": "sold tea",
        "module": "test_kafka_handler",
        "function": "test_the_fields_of_a_record",
        "thread_name": "MainThread",
        "user": {"id": 7},
        "price": 2.5,
    }
    assert {name: fields[name] for name in expected} == expected
    assert {"time", "line", "path", "process", "process_name", "thread", "host"} <= fields.keys()


def test_an_exception_arrives_with_its_traceback(
    cluster: ThreadedFakeCluster, make_handler: MakeHandler
) -> None:
    """Type, message and traceback are fields of their own."""
    handler = make_handler()
    try:
        {}["missing"]
    except KeyError:
        logger_to(handler).exception("it broke")
    handler.flush()
    exception = stored(cluster)[0]["exception"]
    assert (exception["type"], exception["message"]) == ("KeyError", "'missing'")
    assert exception["traceback"].startswith("Traceback (most recent call last)")


def test_a_formatter_makes_the_message(
    cluster: ThreadedFakeCluster, make_handler: MakeHandler
) -> None:
    """The other fields stay as they are."""
    handler = make_handler()
    handler.setFormatter(logging.Formatter("%(levelname)s|%(message)s"))
    logger_to(handler).info("tea")
    handler.flush()
    (fields,) = stored(cluster)
    assert (fields["message"], fields["level"]) == ("INFO|tea", "INFO")


def test_the_timestamp_is_when_it_was_logged(
    cluster: ThreadedFakeCluster, make_handler: MakeHandler
) -> None:
    """Not when it was sent."""
    handler = make_handler()
    record = logging.makeLogRecord({"msg": "old", "created": 1_600_000_000.25})
    handler.handle(record)
    handler.flush()
    assert cluster.records("logs")[0][0].timestamp == 1_600_000_000_250


def test_what_is_logged_later_changes_nothing(
    cluster: ThreadedFakeCluster, make_handler: MakeHandler
) -> None:
    """Arguments and extras are made bytes of while the caller logs, not when they are sent."""
    handler = make_handler(linger_ms=60_000)
    cart = ["tea"]
    logger_to(handler).info("cart %s", cart, extra={"cart": cart})
    cart.append("milk")
    handler.flush()
    (fields,) = stored(cluster)
    assert (fields["message"], fields["cart"]) == ("cart ['tea']", ["tea"])


def test_levels_and_filters(cluster: ThreadedFakeCluster, make_handler: MakeHandler) -> None:
    """They hold as for any handler."""
    handler = make_handler(level="WARNING")
    handler.addFilter(lambda record: "secret" not in record.getMessage())
    logger = logger_to(handler)
    logger.info("too low")
    logger.warning("secret")
    logger.warning("fine")
    handler.flush()
    assert messages(cluster) == ["fine"]
    assert handler.stats().emitted == 1


def test_a_filter_may_replace_the_record(
    cluster: ThreadedFakeCluster, make_handler: MakeHandler
) -> None:
    """As Python 3.12 allows; before, what a filter returns only counts as yes."""
    handler = make_handler()
    replacement = logging.makeLogRecord({"msg": "replaced"})
    handler.addFilter(lambda _record: replacement)
    logger_to(handler).info("original")
    handler.flush()
    plain = logging.StreamHandler(io.StringIO())
    plain.addFilter(lambda _record: replacement)
    logger_to(plain).info("original")
    assert messages(cluster) == [plain.stream.getvalue().strip()]


def test_the_record_is_left_as_it_was(
    cluster: ThreadedFakeCluster, make_handler: MakeHandler
) -> None:
    """Other handlers get the same LogRecord: it must not change."""
    handler = make_handler(key_field="user")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError as error:
        trace = (type(error), error, error.__traceback__)
    record = logging.LogRecord("n", 20, "p", 1, "%s", ("x",), trace, "f")
    record.user = {"id": 1}
    before = dict(record.__dict__)
    handler.handle(record)
    handler.flush()
    assert record.__dict__ == before
    assert len(stored(cluster)) == 1


# -- keys and topics ----------------------------------------------------------------------------


ID = uuid.UUID(int=7)


@pytest.mark.parametrize(
    ("key_field", "extra", "key"),
    [
        ("user_id", {"user_id": "ann"}, b"ann"),
        ("user_id", {"user_id": 42}, b"42"),
        ("user_id", {"user_id": b"\xff"}, b"\xff"),
        ("user_id", {"user_id": ID}, str(ID).encode()),
        ("user_id", {"user_id": 1.5}, b"1.5"),
        ("user_id", {"user_id": None}, None),
        ("user_id", {}, None),
        ("user.id", {"user": {"id": "ann"}}, b"ann"),
        ("user.id", {"user": {"name": "ann"}}, None),
        ("user.id", {"user": "ann"}, None),
        ("user.id", {"user.id": "dotted"}, b"dotted"),
        ("a.b.c", {"a": {"b": {"c": 0}}}, b"0"),
        ("level", {}, b"INFO"),
        ("levelname", {}, b"INFO"),
        ("logger", {}, b"shop.cart"),
        ("name", {}, b"shop.cart"),
        ("thread_name", {}, b"MainThread"),
        (None, {"user_id": "ann"}, None),
    ],
)
def test_key_field(
    cluster: ThreadedFakeCluster,
    make_handler: MakeHandler,
    key_field: str | None,
    extra: dict[str, Any],
    key: bytes | None,
) -> None:
    """The key is a field of the record, by name or by a path into nested extras."""
    handler = make_handler(key_field=key_field)
    logger_to(handler).info("x", extra=extra)
    assert handler.flush() == 0
    assert keys(cluster) == [key]


def test_a_key_field_that_holds_a_bool(
    cluster: ThreadedFakeCluster, make_handler: MakeHandler
) -> None:
    """The text of whatever is in the field is the key; no record is lost over it."""
    handler = make_handler(key_field="member")
    logger_to(handler).info("x", extra={"member": True})
    assert handler.flush() == 0
    assert keys(cluster) == [b"True"]


def test_a_key_maker_takes_the_dict(
    cluster: ThreadedFakeCluster, make_handler: MakeHandler
) -> None:
    """As in the seed, it takes the message; here that is the record's dict."""
    handler = make_handler(key_maker=lambda fields: fields["level"] + "/" + fields["message"])
    logger_to(handler).info("x")
    handler.flush()
    assert keys(cluster) == [b"INFO/x"]


def test_the_partitioner_takes_the_key(
    cluster: ThreadedFakeCluster, make_handler: MakeHandler
) -> None:
    """Any callable of key and partitions may choose."""
    cluster.add_topic("spread", 3)
    handler = make_handler(
        "spread",
        key_field="n",
        partitioner=lambda key, partitions: partitions[key % len(partitions)],
    )
    for n in range(6):
        logger_to(handler).info("x", extra={"n": n})
    handler.flush()
    placed = {p: [r.key for r in records] for p, records in cluster.records("spread").items()}
    assert placed == {0: [b"0", b"3"], 1: [b"1", b"4"], 2: [b"2", b"5"]}


def test_records_with_the_same_key_stay_together(
    cluster: ThreadedFakeCluster, make_handler: MakeHandler
) -> None:
    """By default the key decides on the partition, so that a key's records stay in order."""
    cluster.add_topic("spread", 5)
    handler = make_handler("spread", key_field="user")
    logger = logger_to(handler)
    for n in range(40):
        logger.info("%d", n, extra={"user": f"user-{n % 8}"})
    handler.flush()
    for n in range(8):
        homes = [
            records
            for records in cluster.records("spread").values()
            if any(r.key == b"user-%d" % n for r in records)
        ]
        assert len(homes) == 1
        mine = [json.loads(r.value)["message"] for r in homes[0] if r.key == b"user-%d" % n]
        assert mine == [str(m) for m in range(40) if m % 8 == n]


@pytest.mark.parametrize(
    ("topic", "arrives_in"),
    [
        ("logs.{levelname}", "logs.INFO"),
        ("{name}-{tenant}", "shop.cart-acme"),
        ("{process:d}" + ".x", None),
        (lambda record: f"by.{record.levelno}", "by.20"),
    ],
    ids=["template", "template with an extra", "template with a format", "callable"],
)
def test_topics_by_record(
    cluster: ThreadedFakeCluster, make_handler: MakeHandler, topic: Any, arrives_in: str | None
) -> None:
    """A topic may depend on the record."""
    import os

    handler = make_handler(topic)
    logger_to(handler).info("x", extra={"tenant": "acme"})
    assert handler.flush() == 0
    assert messages(cluster, arrives_in or f"{os.getpid()}.x") == ["x"]


@pytest.mark.parametrize(
    "topic", ["", "a b", "a/b", "..", "x" * 250, "logs.{", "logs/{levelname}", "{}", "{0}", 7, None]
)
def test_topics_that_can_not_be_right(cluster: ThreadedFakeCluster, topic: Any) -> None:
    """They are refused when the handler is made."""
    with pytest.raises(ConfigurationError, match="topic="):
        KafkaHandler(cluster.addresses, topic)


@pytest.mark.parametrize(
    ("topic", "extra"),
    [
        ("{tenant}", {"tenant": "a/b"}),
        ("{tenant}", {"tenant": ""}),
        ("{tenant}", {}),
        ("{tenant:d}", {"tenant": "x"}),
        (lambda record: record.tenant, {"tenant": "ü"}),
        (lambda record: None, {}),
    ],
)
def test_topics_that_turn_out_to_be_wrong(
    cluster: ThreadedFakeCluster,
    make_handler: MakeHandler,
    capsys: pytest.CaptureFixture[str],
    topic: Any,
    extra: dict[str, Any],
) -> None:
    """They are counted and reported; the program does not notice."""
    handler = make_handler(topic)
    logger_to(handler).info("x", extra=extra)
    assert handler.stats().dropped == {"invalid_topic": 1}
    assert "--- Logging error ---" in capsys.readouterr().err


# -- options ------------------------------------------------------------------------------------


def dict_config(brokers: str | list[str]) -> dict[str, Any]:
    """What a program would write, but for the root logger."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"short": {"format": "%(levelname)s %(message)s"}},
        "handlers": {
            "kafka": {
                "class": "kiel_logging.KafkaHandler",
                "brokers": brokers,
                "topic": "configured.{levelname}",
                "level": "INFO",
                "formatter": "short",
                "key_field": "user.id",
                "compression": "gzip",
                "partitioner": "round_robin",
                "linger_ms": 1,
                "client_id": "configured",
            }
        },
        "loggers": {
            "kiel_test.configured": {"handlers": ["kafka"], "level": "DEBUG", "propagate": False}
        },
    }


@pytest.mark.parametrize(
    "read",
    [
        lambda config: config,
        lambda config: json.loads(json.dumps(config)),
        lambda config: yaml.safe_load(yaml.safe_dump(config)),
    ],
    ids=["Python", "JSON", "YAML"],
)
def test_dict_config(
    cluster: ThreadedFakeCluster, read: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """Names and numbers are all that a configuration needs, so that it may be a text file."""
    logging.config.dictConfig(read(dict_config(cluster.addresses)))
    logger = logging.getLogger("kiel_test.configured")
    (handler,) = logger.handlers
    with closing(handler):
        logger.debug("too low")
        logger.info("x", extra={"user": {"id": "ann"}})
        handler.flush()
    logger.handlers.clear()
    assert messages(cluster, "configured.INFO") == ["INFO x"]
    assert keys(cluster, "configured.INFO") == [b"ann"]
    batches = cluster.batches("configured.INFO").values()
    assert [batch.codec for part in batches for batch in part] == ["gzip"]
    assert cluster.requests("Produce")[0].client_id == "configured"


def test_brokers_in_one_string(cluster: ThreadedFakeCluster) -> None:
    """As an environment variable would have them."""
    with closing(KafkaHandler(",".join(cluster.addresses), "logs", **QUICK)) as handler:
        logger_to(handler).info("x")
        assert handler.flush() == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lingerms": 5}, "no option 'lingerms': did you mean 'linger_ms'"),
        ({"key_feild": "x"}, "no option 'key_feild': did you mean 'key_field'"),
        ({"delivery_timeout": 5}, "did you mean 'delivery_timeout_ms'"),
        ({"completely_else": 5}, "no option 'completely_else'$"),
        ({"compression": "brotli"}, "compression='brotli' is not known: use one of"),
        ({"partitioner": "murmur3"}, "partitioner='murmur3' is not known: use one of"),
        ({"batch_size": 0}, "batch_size=0 must be"),
        ({"batch_size": "many"}, "batch_size='many' must be"),
        ({"required_acks": 2}, "required_acks=2 must be"),
        ({"buffer_records": 0}, "buffer_records=0 must be"),
        ({"buffer_memory": -1}, "buffer_memory=-1 must be"),
        ({"close_timeout_ms": 0}, "close_timeout_ms=0 must be"),
        ({"serializer": "json"}, "serializer='json' must be callable"),
        ({"key_maker": "x"}, "key_maker='x' must be callable"),
        ({"key_field": "x", "key_maker": str}, "choose one"),
        ({"key_field": ""}, "key_field='' must be"),
        ({"brokers": []}, "brokers is empty"),
        ({"brokers": "host:port"}, "the port must be"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    """Each is refused when the handler is made, with what would be right."""
    with pytest.raises(ConfigurationError, match=message):
        KafkaHandler(**{"brokers": "localhost", "topic": "logs", **options})


def test_a_wrong_option_is_readable_through_dict_config() -> None:
    """dictConfig says which handler; its cause says which option."""
    config = dict_config("localhost")
    config["handlers"]["kafka"]["compresion"] = "gzip"
    with pytest.raises(ValueError, match="kafka") as failure:
        logging.config.dictConfig(config)
    assert isinstance(failure.value.__cause__, ConfigurationError)
    assert "no option 'compresion': did you mean 'compression'?" in str(failure.value.__cause__)


def test_a_handler_that_was_refused_leaves_no_thread() -> None:
    """Options are checked before anything is started."""
    before = threading.active_count()
    with pytest.raises(ConfigurationError):
        KafkaHandler("localhost", "logs", batch_size=0)
    assert threading.active_count() == before


# -- without a broker ---------------------------------------------------------------------------


def test_records_wait_for_the_broker(
    cluster: ThreadedFakeCluster, make_handler: MakeHandler
) -> None:
    """Making the handler does not need Kafka: what was logged meanwhile arrives later, in order."""
    cluster.on_broker(0, lambda broker: broker.stop())
    handler = make_handler()
    logger = logger_to(handler)
    for number in range(20):
        logger.info("%d", number)
    assert handler.flush(timeout=0.02) == 20
    cluster.on_broker(0, lambda broker: broker.start())
    logger.info("20")
    assert handler.flush() == 0
    assert messages(cluster) == [str(number) for number in range(21)]


def test_a_broker_that_goes_and_comes_back(
    cluster: ThreadedFakeCluster, make_handler: MakeHandler
) -> None:
    """Nothing is lost or repeated over an outage."""
    handler = make_handler()
    logger = logger_to(handler)
    for turn in range(3):
        logger.info("%d up", turn)
        assert handler.flush() == 0
        cluster.on_broker(0, lambda broker: broker.stop())
        logger.info("%d down", turn)
        cluster.on_broker(0, lambda broker: broker.start())
    assert handler.flush() == 0
    assert messages(cluster) == [f"{n} {state}" for n in range(3) for state in ("up", "down")]


def test_a_bound_on_records(cluster: ThreadedFakeCluster, make_handler: MakeHandler) -> None:
    """When the buffer is full the newest records are dropped, and counted."""
    cluster.on_broker(0, lambda broker: broker.stop())
    handler = make_handler(buffer_records=5)
    logger = logger_to(handler)
    for number in range(8):
        logger.info("%d", number)
    stats = handler.stats()
    assert (stats.emitted, stats.dropped, total(stats)) == (8, {"buffer_full": 3}, 8)
    cluster.on_broker(0, lambda broker: broker.start())
    assert handler.flush() == 0
    logger.info("8")
    assert handler.flush() == 0
    assert messages(cluster) == ["0", "1", "2", "3", "4", "8"]


def test_a_bound_on_memory(cluster: ThreadedFakeCluster, make_handler: MakeHandler) -> None:
    """Large records fill the buffer by their size; what is delivered makes room."""
    cluster.on_broker(0, lambda broker: broker.stop())
    handler = make_handler(buffer_memory=20_000)
    logger = logger_to(handler)
    for letter in "abc":
        logger.info(letter * 8_000)
    stats = handler.stats()
    assert (stats.emitted, stats.dropped, total(stats)) == (3, {"buffer_full": 1}, 3)
    cluster.on_broker(0, lambda broker: broker.start())
    assert handler.flush() == 0
    logger.info("d" * 8_000)
    assert handler.flush() == 0
    assert [message[0] for message in messages(cluster)] == ["a", "b", "d"]


# -- what goes wrong ----------------------------------------------------------------------------


def _raise(*_arguments: Any) -> Any:
    raise RuntimeError("no way")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"serializer": _raise}, "unserialisable"),
        ({"serializer": lambda _fields: 7}, "unserialisable"),
        ({"key_maker": _raise}, "unserialisable"),
        ({"key_maker": lambda _fields: [1]}, "invalid_key"),
    ],
)
def test_what_the_users_code_does_wrong(
    cluster: ThreadedFakeCluster,
    make_handler: MakeHandler,
    capsys: pytest.CaptureFixture[str],
    options: dict[str, Any],
    reason: str,
) -> None:
    """The record is dropped and counted, logging's own error report goes to stderr, no more."""
    handler = make_handler(**options)
    logger_to(handler).info("x")
    stats = handler.stats()
    assert (stats.dropped, total(stats)) == ({reason: 1}, 1)
    assert "--- Logging error ---" in capsys.readouterr().err


def test_raise_exceptions_off(
    cluster: ThreadedFakeCluster,
    make_handler: MakeHandler,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """logging.raiseExceptions = False silences the report, as for any handler; the count stays."""
    monkeypatch.setattr(logging, "raiseExceptions", False)
    handler = make_handler(serializer=_raise)
    logger_to(handler).info("x")
    assert handler.stats().dropped == {"unserialisable": 1}
    assert capsys.readouterr().err == ""


def test_extras_of_any_kind(cluster: ThreadedFakeCluster, make_handler: MakeHandler) -> None:
    """Nothing that a program may log is lost over its type."""

    class Hostile:
        def __str__(self) -> str:
            raise RuntimeError("no")

        __repr__ = __str__

    cycle: list[Any] = []
    cycle.append(cycle)
    handler = make_handler()
    logger = logger_to(handler)
    for value in (float("nan"), cycle, b"\xff", {1: 2}, {1, 2}, Hostile(), "\ud800", 2**70):
        logger.info("x", extra={"value": value})
    assert handler.flush() == 0
    assert len(stored(cluster)) == 8
    assert handler.stats().dropped == {}


def test_arguments_that_do_not_fit_the_message(
    cluster: ThreadedFakeCluster, make_handler: MakeHandler
) -> None:
    """The record arrives all the same, and shows what was wrong."""
    handler = make_handler()
    logger_to(handler).info("%d items", "many")
    assert handler.flush() == 0
    assert "%d items" in messages(cluster)[0]


def test_a_record_that_is_too_large(
    cluster: ThreadedFakeCluster, make_handler: MakeHandler
) -> None:
    """It fails by itself; those around it arrive."""
    handler = make_handler(max_request_size=4096)
    logger = logger_to(handler)
    for message in ("before", "x" * 10_000, "after"):
        logger.info(message)
    assert handler.flush() == 0
    assert messages(cluster) == ["before", "after"]
    stats = handler.stats()
    assert (stats.delivered, stats.failed, total(stats)) == (2, 1, 3)


def test_a_partitioner_that_raises(cluster: ThreadedFakeCluster, make_handler: MakeHandler) -> None:
    """Its records fail and are counted; the loop thread goes on."""
    handler = make_handler(
        key_field="n", partitioner=lambda key, partitions: partitions[1 // key - 1]
    )
    logger = logger_to(handler)
    for n in (1, 0, 1):
        logger.info("x", extra={"n": n})
    assert handler.flush() == 0
    stats = handler.stats()
    assert (stats.delivered, stats.failed, total(stats)) == (2, 1, 3)


def test_records_that_the_broker_refuses(
    cluster: ThreadedFakeCluster, make_handler: MakeHandler, caplog: pytest.LogCaptureFixture
) -> None:
    """They count as failed, and the reason is logged on our own logger."""
    refuse_everything(cluster)
    handler = make_handler()
    logger_to(handler).info("x")
    assert handler.flush() == 0
    stats = handler.stats()
    assert (stats.failed, total(stats)) == (1, 1)
    assert "1 messages for logs[0] were not delivered" in caplog.text
    assert "POLICY_VIOLATION" in caplog.text


# -- its own logs -------------------------------------------------------------------------------


@pytest.fixture
def root_handler(make_handler: MakeHandler) -> Iterator[KafkaHandler]:
    """A handler on the root logger, where our own logs arrive too."""
    handler, root = make_handler(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.setLevel(level)
    root.removeHandler(handler)


def test_the_loop_threads_logs_are_not_shipped(
    cluster: ThreadedFakeCluster, root_handler: KafkaHandler
) -> None:
    """Records about records that failed would fail in turn, without an end."""
    refuse_everything(cluster)
    root_handler.flush()
    before = root_handler.stats().emitted
    for _ in range(3):
        logging.getLogger("shop").info("x")
        root_handler.flush()
    stats = root_handler.stats()
    assert (stats.emitted - before, stats.buffered, stats.in_flight) == (3, 0, 0)


def test_the_loop_threads_warnings_go_to_stderr(
    cluster: ThreadedFakeCluster, root_handler: KafkaHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    """What can't be shipped is not hidden."""
    refuse_everything(cluster)
    logging.getLogger("shop").info("x")
    root_handler.flush()
    assert "were not delivered" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["serializer", "key_maker", "topic"])
def test_user_code_that_logs_does_not_recurse(
    cluster: ThreadedFakeCluster,
    make_handler: MakeHandler,
    capsys: pytest.CaptureFixture[str],
    option: str,
) -> None:
    """What a serializer logs to the handler that calls it goes to stderr instead."""
    returns = {"serializer": "value", "key_maker": "key", "topic": "logs"}[option]

    def chatty(_argument: Any) -> str:
        logger.warning("I was called")
        return returns

    handler = make_handler(**{option: chatty})
    logger = logger_to(handler)
    logger.info("x")
    assert handler.flush() == 0
    assert cluster.call(lambda c: c.count("logs")) == 1
    assert capsys.readouterr().err == "I was called\n"
    logger.info("y")
    assert handler.flush() == 0
    assert handler.stats().emitted == 2


# -- flush, close, stats ------------------------------------------------------------------------


def test_flush_ends_with_its_timeout(
    cluster: ThreadedFakeCluster, make_handler: MakeHandler
) -> None:
    """It returns how many records are undelivered; they are delivered later."""
    handler = make_handler()
    logger = logger_to(handler)
    cluster.on_broker(0, lambda broker: broker.stall("Produce"))
    for number in range(3):
        logger.info("%d", number)
    assert handler.flush(timeout=0.02) == 3
    cluster.on_broker(0, lambda broker: broker.resume())
    assert handler.flush() == 0
    assert messages(cluster) == ["0", "1", "2"]


def test_flush_does_not_wait_for_the_linger(
    cluster: ThreadedFakeCluster, make_handler: MakeHandler
) -> None:
    """What is buffered is sent at once."""
    handler = make_handler(linger_ms=20_000)
    logger_to(handler).info("x")
    assert handler.flush() == 0
    assert messages(cluster) == ["x"]


def test_a_full_batch_does_not_wait_for_the_linger(
    cluster: ThreadedFakeCluster, make_handler: MakeHandler
) -> None:
    """batch_size records are worth sending at once."""
    handler = make_handler(linger_ms=20_000, batch_size=10)
    for number in range(10):
        logger_to(handler).info("%d", number)
    cluster.stored("logs", 10)
    assert len(messages(cluster)) == 10


def test_close_delivers_what_is_buffered(cluster: ThreadedFakeCluster) -> None:
    """Nothing that was logged before is lost, and nothing is written to stderr."""
    handler = KafkaHandler(cluster.addresses, "logs", linger_ms=20_000)
    logger_to(handler).info("x")
    handler.close()
    assert messages(cluster) == ["x"]
    cluster.wait(lambda c: c.until(lambda: c.brokers[0].open_connections == 0))


def test_close_twice(cluster: ThreadedFakeCluster) -> None:
    """The second time there is nothing to do; flush() has nothing to do either."""
    handler = KafkaHandler(cluster.addresses, "logs", **QUICK)
    handler.close()
    handler.close()
    assert handler.flush() == 0
    assert "closed" in repr(handler)


def test_logging_after_close(
    cluster: ThreadedFakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is counted, and neither raised nor reported for every record."""
    handler = KafkaHandler(cluster.addresses, "logs", **QUICK)
    logger = logger_to(handler)
    logger.info("before")
    handler.close()
    logger.info("after")
    stats = handler.stats()
    assert (stats.delivered, stats.dropped, total(stats)) == (1, {"closed": 1}, 2)
    assert capsys.readouterr().err == ""


def test_close_tells_what_is_lost(
    cluster: ThreadedFakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """What could not be delivered in time is told on stderr, and counted."""
    cluster.on_broker(0, lambda broker: broker.stop())
    handler = KafkaHandler(cluster.addresses, "logs", **{**QUICK, "close_timeout_ms": 30})
    for number in range(3):
        logger_to(handler).info("%d", number)
    handler.close()
    stats = handler.stats()
    assert (stats.failed, total(stats)) == (3, 3)
    assert "3 log records did not reach Kafka" in capsys.readouterr().err


def test_logging_shutdown(cluster: ThreadedFakeCluster) -> None:
    """What Python does at exit delivers everything."""
    handler = KafkaHandler(cluster.addresses, "logs", linger_ms=20_000)
    for number in range(10):
        logger_to(handler).info("%d", number)
    logging.shutdown([weakref.ref(handler)])
    assert messages(cluster) == [str(number) for number in range(10)]
    assert handler.stats().delivered == 10


def test_logging_shutdown_while_others_log(
    cluster: ThreadedFakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """Records that come while logging.shutdown() flushes are delivered by its close()."""
    handler = KafkaHandler(cluster.addresses, "logs", linger_ms=20_000)
    logger = logger_to(handler)
    cluster.on_broker(0, lambda broker: broker.stall("Produce"))
    logger.info("early")
    flushing = threading.Thread(target=handler.flush)
    flushing.start()
    cluster.received("Produce")
    logger.info("late")
    cluster.on_broker(0, lambda broker: broker.resume())
    flushing.join()
    handler.close()
    assert messages(cluster) == ["early", "late"]
    assert capsys.readouterr().err == ""


def test_the_ledger_holds_whenever_it_is_read(
    cluster: ThreadedFakeCluster, make_handler: MakeHandler
) -> None:
    """While eight threads log, every record is counted once, in one place."""
    handler = make_handler(buffer_records=100, batch_size=50, topic="{tenant}")
    logger = logger_to(handler)
    finished = threading.Event()
    samples: list[Stats] = []

    def sample() -> None:
        while not finished.is_set():
            samples.append(handler.stats())

    def log(who: int) -> None:
        for n in range(100):
            logger.info("%d", n, extra={"tenant": "logs" if n % 10 else "logs/"})

    logging.raiseExceptions, before = False, logging.raiseExceptions
    sampler = threading.Thread(target=sample)
    threads = [threading.Thread(target=log, args=(who,)) for who in range(8)]
    sampler.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert handler.flush() == 0
    finished.set()
    sampler.join()
    logging.raiseExceptions = before
    assert all(stats.emitted == total(stats) for stats in samples)
    final = handler.stats()
    assert (final.emitted, total(final), final.dropped["invalid_topic"]) == (800, 800, 80)
    assert final.delivered == cluster.call(lambda c: c.count("logs"))


def test_threads_keep_their_order(cluster: ThreadedFakeCluster, make_handler: MakeHandler) -> None:
    """Eight threads log at once; the records of each arrive once and in its order."""
    cluster.add_topic("spread", 3)
    handler = make_handler("spread", key_field="thread_name", batch_size=20)
    logger = logger_to(handler)

    def log() -> None:
        for n in range(100):
            logger.info("%d", n)

    threads = [threading.Thread(target=log, name=f"worker-{n}") for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert handler.flush() == 0
    arrived: dict[str, list[str]] = {}
    for fields in stored(cluster, "spread"):
        arrived.setdefault(fields["thread_name"], []).append(fields["message"])
    assert arrived == {f"worker-{n}": [str(m) for m in range(100)] for n in range(8)}


def test_two_handlers_on_one_logger(
    cluster: ThreadedFakeCluster, make_handler: MakeHandler
) -> None:
    """Each has its own thread, topic and level."""
    everything, errors = make_handler("logs"), make_handler("errors", level="ERROR")
    logger = logger_to(everything)
    logger.addHandler(errors)
    logger.info("fine")
    logger.error("broken")
    assert (everything.flush(), errors.flush()) == (0, 0)
    assert (messages(cluster), messages(cluster, "errors")) == (["fine", "broken"], ["broken"])


def test_repr_tells_the_state(cluster: ThreadedFakeCluster, make_handler: MakeHandler) -> None:
    """What a handler says of itself in a debugger is so."""
    cluster.on_broker(0, lambda broker: broker.stop())
    handler = make_handler(close_timeout_ms=20)
    logger_to(handler).info("x")
    assert "outstanding=1" in repr(handler)
    assert cluster.addresses[0] in repr(handler)
