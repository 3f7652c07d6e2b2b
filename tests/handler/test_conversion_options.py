"""The options that shape a record, from the call to the bytes that a broker stored."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import os
import re
import threading
import uuid
from typing import Any

import pytest

from tests.handler.shipped import (
    MakeHandler,
    fail,
    keys,
    logger_to,
    messages,
    stored,
    stored_records,
)
from tests.support.stamps import without_stamp
from tests.support.threaded_fake_cluster import ThreadedFakeCluster

REQUEST = contextvars.ContextVar[str]("REQUEST")
"""As a web framework sets it for each request."""


def value(cluster: ThreadedFakeCluster) -> bytes:
    """The value of the only record."""
    (record,) = stored_records(cluster)
    return record.value or b""


# -- formats -------------------------------------------------------------------------------------


def test_json(cluster: ThreadedFakeCluster, make_handler: MakeHandler) -> None:
    """The default: the fields under our names, the extras beside them."""
    logger_to(handler := make_handler()).warning("sold %d", 3, extra={"user": {"id": 7}})
    handler.flush()
    document = json.loads(value(cluster))
    assert (document["level"], document["message"]) == ("WARNING", "sold 3")
    assert document["user"] == {"id": 7}
    assert list(document)[:4] == ["time", "level", "logger", "message"]


def test_ecs(cluster: ThreadedFakeCluster, make_handler: MakeHandler) -> None:
    """Elastic Common Schema: what ecs-logging requires, and where it wants it."""
    handler = make_handler(format="ecs", fields={"service": "shop"})
    logger_to(handler).warning("sold %d", 3, extra={"http": {"method": "GET"}})
    handler.flush()
    document = json.loads(value(cluster))
    assert re.fullmatch(r"[0-9-]{10}T[0-9:.]+Z", document["@timestamp"])
    assert (document["log.level"], document["message"]) == ("warning", "sold 3")
    assert document["log"]["logger"] == "shop.cart"
    assert (document["service"], document["http"]) == ({"name": "shop"}, {"method": "GET"})
    assert "ecs.version" in document


def test_otel(cluster: ThreadedFakeCluster, make_handler: MakeHandler) -> None:
    """OpenTelemetry's data model as OTLP/JSON, one LogsData for each record."""
    handler = make_handler(format="otel", fields={"service": "shop"})
    logger_to(handler).warning("sold %d", 3, extra={"user": 7})
    handler.flush()
    (resource_logs,) = json.loads(value(cluster))["resourceLogs"]
    resource = {a["key"]: a["value"] for a in resource_logs["resource"]["attributes"]}
    (scope_logs,) = resource_logs["scopeLogs"]
    (record,) = scope_logs["logRecords"]
    attributes = {a["key"]: a["value"] for a in record["attributes"]}
    assert resource["service.name"] == {"stringValue": "shop"}
    assert scope_logs["scope"]["name"] == "shop.cart"
    assert (record["severityNumber"], record["severityText"]) == (13, "WARN")
    assert record["body"] == {"stringValue": "sold 3"}
    assert attributes["user"] == {"intValue": "7"}
    assert int(record["timeUnixNano"]) > 1_600_000_000 * 10**9


def test_gelf(cluster: ThreadedFakeCluster, make_handler: MakeHandler) -> None:
    """GELF 1.1: syslog's level, additional fields with an underscore."""
    handler = make_handler(format="gelf")
    logger_to(handler).warning("sold %d", 3, extra={"user": 7})
    handler.flush()
    document = json.loads(value(cluster))
    assert (document["version"], document["level"]) == ("1.1", 4)
    assert (document["short_message"], document["_user"]) == ("sold 3", 7)
    assert document["host"]
    assert type(document["timestamp"]) is float


def test_text(cluster: ThreadedFakeCluster, make_handler: MakeHandler) -> None:
    """Without a Formatter, what logging.basicConfig() would write."""
    logger_to(handler := make_handler(format="text")).warning("sold %d", 3)
    handler.flush()
    assert value(cluster) == b"WARNING:shop.cart:sold 3"


def test_text_by_a_formatter(cluster: ThreadedFakeCluster, make_handler: MakeHandler) -> None:
    """The value is what the Formatter makes, traceback included; it sees context and extras."""
    handler = make_handler(format="text", fields={"env": "test"})
    handler.setFormatter(logging.Formatter("%(levelname)s %(env)s %(user)s %(message)s"))
    try:
        fail()
    except RuntimeError:
        logger_to(handler).exception("broken", extra={"user": "ann"})
    handler.flush()
    lines = value(cluster).decode().splitlines()
    assert lines[:2] == ["ERROR test ann broken", "Traceback (most recent call last):"]
    assert lines[-1] == "RuntimeError: no way"


@pytest.mark.parametrize(
    ("made", "stored_value"),
    [
        ({"a": 1}, b'{"a":1}'),
        ("tea ü", "tea ü".encode()),
        (b"\x00\xff", b"\x00\xff"),
        ({"a": float("nan")}, b'{"a":null,"kiel_logging":{"replaced":["a"]}}'),
    ],
    ids=["mapping", "str", "bytes", "mapping with what JSON has not"],
)
def test_a_format_of_the_users(
    cluster: ThreadedFakeCluster, make_handler: MakeHandler, made: Any, stored_value: bytes
) -> None:
    """A callable takes the fields and the LogRecord; it returns a mapping or the value itself."""
    seen: list[Any] = []

    def lay_out(fields: dict[str, Any], record: logging.LogRecord) -> Any:
        seen.append((fields["message"], record.getMessage()))
        return made

    logger_to(handler := make_handler(format=lay_out)).info("x")
    handler.flush()
    assert seen == [("x", "x")]
    assert value(cluster) == stored_value


def test_a_format_that_returns_something_else(
    make_handler: MakeHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its record is dropped, counted and reported."""
    handler = make_handler(format=lambda _fields, _record: 7)
    logger_to(handler).info("x")
    assert handler.stats().dropped == {"unserialisable": {"INFO": 1}}
    assert "must return a mapping, str or bytes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("format_", "first"),
    [
        ("json", "time"),
        ("ecs", "@timestamp"),
        ("gelf", "version"),
        (lambda fields, _record: {"mine": fields["message"]}, "mine"),
    ],
    ids=["json", "ecs", "gelf", "callable"],
)
def test_a_serializer_takes_what_the_format_made(
    cluster: ThreadedFakeCluster, make_handler: MakeHandler, format_: Any, first: str
) -> None:
    """In place of JSON: msgpack, say."""
    handler = make_handler(format=format_, serializer=lambda made: ",".join(made))
    logger_to(handler).info("x")
    handler.flush()
    assert value(cluster).decode().split(",")[0] == first


def test_a_serializer_gets_the_values_as_they_are(
    cluster: ThreadedFakeCluster, make_handler: MakeHandler
) -> None:
    """With the format "json" nothing is made plain before: it may know better."""
    handler = make_handler(serializer=lambda fields: repr(fields["id"]))
    logger_to(handler).info("x", extra={"id": uuid.UUID(int=7)})
    handler.flush()
    assert value(cluster) == b"UUID('00000000-0000-0000-0000-000000000007')"


# -- headers and context ---------------------------------------------------------------------------


def test_headers(cluster: ThreadedFakeCluster, make_handler: MakeHandler) -> None:
    """Each is a field, a LogRecord's attribute or a path; what is missing has no header."""
    handler = make_handler(
        headers={"level": "levelname", "user": "user.id", "tenant": "tenant", "env": "env"},
        fields={"env": "test"},
    )
    logger_to(handler).info("x", extra={"user": {"id": 7}})
    handler.flush()
    (record,) = stored_records(cluster)
    headers = without_stamp(record.headers)
    assert headers == (("level", b"INFO"), ("user", b"7"), ("env", b"test"))


def test_the_context_of_a_thread(cluster: ThreadedFakeCluster, make_handler: MakeHandler) -> None:
    """Each thread's records have its own values; where there is none, there is no field."""
    handler = make_handler(context={"request": REQUEST})
    logger = logger_to(handler)

    def serve(number: int) -> None:
        REQUEST.set(f"request-{number}")
        logger.info("%d", number)

    threads = [threading.Thread(target=serve, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    logger.info("none")
    handler.flush()
    found = {fields["message"]: fields.get("request") for fields in stored(cluster)}
    assert found == {**{str(n): f"request-{n}" for n in range(4)}, "none": None}


def test_the_context_of_a_task(cluster: ThreadedFakeCluster, make_handler: MakeHandler) -> None:
    """Tasks take turns on one thread, and each has its own values all the same."""
    handler = make_handler(context={"request": REQUEST})
    logger = logger_to(handler)

    async def serve(number: int) -> None:
        REQUEST.set(f"request-{number}")
        await asyncio.sleep(0)
        logger.info("%d", number)

    async def serve_all() -> None:
        await asyncio.gather(*(serve(number) for number in range(4)))

    asyncio.run(serve_all())
    handler.flush()
    found = {fields["message"]: fields["request"] for fields in stored(cluster)}
    assert found == {str(n): f"request-{n}" for n in range(4)}


def test_a_context_that_is_called(cluster: ThreadedFakeCluster, make_handler: MakeHandler) -> None:
    """Its fields are in the record, and can be its key and headers."""
    handler = make_handler(
        context=lambda: {"tenant": "acme"}, key_field="tenant", headers={"tenant": "tenant"}
    )
    logger_to(handler).info("x")
    handler.flush()
    (record,) = stored_records(cluster)
    assert (record.key, without_stamp(record.headers)) == (b"acme", (("tenant", b"acme"),))
    assert stored(cluster)[0]["tenant"] == "acme"


def test_a_context_that_raises(cluster: ThreadedFakeCluster, make_handler: MakeHandler) -> None:
    """The record arrives without it, and says why."""
    handler = make_handler(context=fail)
    logger_to(handler).info("x")
    handler.flush()
    assert stored(cluster)[0]["kiel_logging"] == {"context": "RuntimeError: no way"}


# -- fields: added, renamed, left out, hidden ------------------------------------------------------


def test_static_fields(cluster: ThreadedFakeCluster, make_handler: MakeHandler) -> None:
    """They are in every record; an extra of the same name wins."""
    handler = make_handler(fields={"env": "test", "tags": ["a", "b"]})
    logger = logger_to(handler)
    logger.info("x")
    logger.info("y", extra={"env": "other"})
    handler.flush()
    assert [(f["env"], f["tags"]) for f in stored(cluster)] == [
        ("test", ["a", "b"]),
        ("other", ["a", "b"]),
    ]


def test_rename_and_exclude(cluster: ThreadedFakeCluster, make_handler: MakeHandler) -> None:
    """Names change, and what is left out is nowhere, nested paths included."""
    handler = make_handler(
        rename={"message": "msg", "level": "severity"}, exclude=["thread", "user.address"]
    )
    extra = {"user": {"id": 7, "address": "Rue de Kiel"}}
    logger_to(handler).info("x", extra=extra)
    handler.flush()
    (fields,) = stored(cluster)
    assert (fields["msg"], fields["severity"], fields["user"]) == ("x", "INFO", {"id": 7})
    assert not {"message", "level", "thread"} & fields.keys()
    assert extra == {"user": {"id": 7, "address": "Rue de Kiel"}}


def test_redact(cluster: ThreadedFakeCluster, make_handler: MakeHandler) -> None:
    """Values under these names are hidden at any depth, whatever their case."""

    class User:
        def __init__(self) -> None:
            self.password = "tea"

        def __str__(self) -> str:
            return "ann"

    handler = make_handler(redact=["password", "api-key"])
    extra = {"Password": "tea", "rows": [{"API_KEY": "tea", "id": 1}], "user": User()}
    logger_to(handler).info("x", extra=extra)
    handler.flush()
    (fields,) = stored(cluster)
    assert fields["Password"] == "[redacted]"
    assert fields["rows"] == [{"API_KEY": "[redacted]", "id": 1}]
    assert b"tea" not in value(cluster)


@pytest.mark.parametrize(
    "options",
    [
        {"rename": {"password": "word"}},
        {"format": "ecs"},
        {"format": "otel"},
        {"format": "gelf"},
        {"format": "text"},
        {"format": lambda fields, _record: fields},
        {"format": lambda fields, _record: str(fields)},
        {"serializer": str},
        {"fields": {"password": "secret"}},
        {"context": lambda: {"password": "secret"}},
        {"key_maker": lambda fields: str(fields["password"])},
    ],
    ids=lambda options: next(iter(options)) + "-" + str(next(iter(options.values())))[:12],
)
def test_redact_with_other_options(
    cluster: ThreadedFakeCluster, make_handler: MakeHandler, options: dict[str, Any]
) -> None:
    """A hidden field stays hidden, whatever else is done with the fields."""
    handler = make_handler(redact=["password"], **options)
    extra = {"password": "open sesame", "user": {"password": "open sesame", "id": 7}}
    logger_to(handler).info("x", extra=extra)
    assert handler.flush() == 0
    (record,) = stored_records(cluster)
    assert b"sesame" not in (record.value or b"") + (record.key or b"")


def test_redact_by_a_new_name(cluster: ThreadedFakeCluster, make_handler: MakeHandler) -> None:
    """A field that gets a name which is hidden is hidden."""
    handler = make_handler(redact=["password"], rename={"word": "password"})
    logger_to(handler).info("x", extra={"word": "open sesame"})
    handler.flush()
    assert stored(cluster)[0]["password"] == "[redacted]"


def test_redact_in_a_text(cluster: ThreadedFakeCluster, make_handler: MakeHandler) -> None:
    """A Formatter that asks for an extra gets it as it is redacted, renamed or left out."""
    handler = make_handler(
        format="text", redact=["password"], rename={"word": "pass"}, exclude=["gone"]
    )
    handler.setFormatter(
        logging.Formatter("%(password)s %(pass)s %(gone)s", defaults={"gone": "-"})
    )
    logger_to(handler).info("x", extra={"password": "open sesame", "word": "w", "gone": "g"})
    handler.flush()
    assert value(cluster) == b"[redacted] w -"


# -- large and odd values --------------------------------------------------------------------------


@pytest.mark.parametrize("format_", ["json", "ecs", "gelf", "otel"])
def test_an_extra_of_10_megabytes(
    cluster: ThreadedFakeCluster, make_handler: MakeHandler, format_: str
) -> None:
    """It is cut to what a request takes: still JSON, with the size before."""
    handler = make_handler(format=format_)
    logger_to(handler).info("x", extra={"payload": "p" * 10_000_000, "user": "ann"})
    assert handler.flush() == 0
    data = value(cluster)
    assert json.loads(data)
    assert 900_000 < len(data) < 1024 * 1024
    assert (handler.stats().delivered, handler.stats().dropped) == (1, {})
    assert int(re.search(rb"original_size\D{1,40}(\d+)", data)[1]) > 10_000_000  # type: ignore[index]
    assert b"ann" in data


def test_a_text_of_10_megabytes(cluster: ThreadedFakeCluster, make_handler: MakeHandler) -> None:
    """It is cut too, and its end says so."""
    handler = make_handler(format="text")
    logger_to(handler).info("ü" * 5_000_000)
    assert handler.flush() == 0
    text = value(cluster).decode()
    assert text.startswith("INFO:shop.cart:üüü")
    assert re.search(r"ü…\[cut, of 50000\d\d characters\]$", text)


def test_what_json_can_not_show_is_named(
    cluster: ThreadedFakeCluster, make_handler: MakeHandler
) -> None:
    """NaN and infinity become null, a cycle a mark; the record names their places."""
    cycle: list[Any] = []
    cycle.append(cycle)
    handler = make_handler()
    extra = {"ratio": float("nan"), "user": {"balance": float("-inf")}, "cycle": cycle}
    logger_to(handler).info("x", extra=extra)
    handler.flush()
    (fields,) = stored(cluster)
    assert fields["kiel_logging"] == {"replaced": ["ratio", "user.balance", "cycle.0"]}
    assert (fields["ratio"], fields["user"]) == (None, {"balance": None})
    assert fields["cycle"] == ["<cycle>"]


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
    handler = make_handler(topic)
    logger_to(handler).info("x", extra={"tenant": "acme"})
    assert handler.flush() == 0
    assert messages(cluster, arrives_in or f"{os.getpid()}.x") == ["x"]


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
    assert handler.stats().dropped == {"invalid_topic": {"INFO": 1}}
    assert "--- Logging error ---" in capsys.readouterr().err
