"""The options that shape a record, from the call to the bytes that a broker stored.

``tests/record`` has the rules of each option; here each is seen to have its effect.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from kiel_logging.handler.record_options import CONVERSION
from kiel_logging.testing import FakeKafka
from kiel_logging.testing.batches import StoredRecord
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

REQUEST = contextvars.ContextVar[str]("REQUEST")
"""As a web framework sets it for each request."""


def fields_of(record: StoredRecord) -> dict[str, Any]:
    """The value as a consumer of JSON would read it."""
    fields: dict[str, Any] = json.loads(record.value or b"")
    return fields


EFFECTS: list[tuple[dict[str, Any], Callable[[StoredRecord], Any], Any]] = [
    ({"key_field": "user.id"}, lambda record: record.key, b"7"),
    ({"key_field": "level"}, lambda record: record.key, b"WARNING"),
    ({"key_maker": lambda fields: fields["level"] + "!"}, lambda record: record.key, b"WARNING!"),
    (
        {"headers": {"l": "levelname", "u": "user.id", "t": "tenant"}},
        lambda record: without_stamp(record.headers),
        (("l", b"WARNING"), ("u", b"7")),
    ),
    ({"format": "ecs"}, lambda record: fields_of(record)["log.level"], "warning"),
    ({"format": "otel"}, lambda record: list(fields_of(record)), ["resourceLogs"]),
    ({"format": "gelf"}, lambda record: fields_of(record)["short_message"], "sold 3"),
    ({"format": "text"}, lambda record: record.value, b"WARNING:shop.cart:sold 3"),
    ({"format": lambda fields, record: record.msg}, lambda record: record.value, b"sold %d"),
    ({"format": lambda _fields, _record: b"\xff"}, lambda record: record.value, b"\xff"),
    ({"serializer": lambda fields: fields["message"]}, lambda record: record.value, b"sold 3"),
    ({"context": {"request": REQUEST}}, lambda record: fields_of(record)["request"], "r-1"),
    ({"context": lambda: {"tenant": "a"}}, lambda record: fields_of(record)["tenant"], "a"),
    (
        {"context": fail},
        lambda record: fields_of(record)["kiel_logging"],
        {"context": "RuntimeError: no way"},
    ),
    ({"fields": {"env": ["a", "b"]}}, lambda record: fields_of(record)["env"], ["a", "b"]),
    ({"rename": {"message": "msg"}}, lambda record: fields_of(record)["msg"], "sold 3"),
    ({"exclude": ["user.name"]}, lambda record: fields_of(record)["user"], {"id": 7}),
    (
        {"redact": ["name"]},
        lambda record: fields_of(record)["user"],
        {"id": 7, "name": "[redacted]"},
    ),
    (
        {"before_send": lambda fields: {"user": fields["user"]}},
        lambda one: fields_of(one)["user"],
        {"id": 7, "name": "ann"},
    ),
]


@pytest.mark.parametrize(("options", "read", "expected"), EFFECTS)
def test_an_option_has_its_effect(
    cluster: FakeKafka,
    make_handler: MakeHandler,
    options: dict[str, Any],
    read: Callable[[StoredRecord], Any],
    expected: Any,
) -> None:
    """In the record that the broker stored; what the caller gave is not changed."""
    REQUEST.set("r-1")
    handler, extra = make_handler(**options), {"user": {"id": 7, "name": "ann"}}
    logger_to(handler).warning("sold %d", 3, extra=extra)
    assert handler.flush() == 0
    (record,) = stored_records(cluster)
    assert read(record) == expected
    assert extra == {"user": {"id": 7, "name": "ann"}}


def test_every_option_has_an_effect() -> None:
    """The table above leaves none out; topics are below."""
    assert {name for options, _, _ in EFFECTS for name in options} == {*CONVERSION} - {"topic"}


def test_options_work_together(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """A Formatter, context, static fields, a new name, and a field that is hidden."""
    handler = make_handler(
        format="text",
        context=lambda: {"tenant": "acme"},
        fields={"env": "test"},
        rename={"word": "pass"},
        redact=["password"],
        key_field="tenant",
    )
    handler.setFormatter(logging.Formatter("%(env)s %(pass)s %(password)s %(message)s"))
    try:
        fail()
    except RuntimeError:
        logger_to(handler).exception("x", extra={"word": "w", "password": "open sesame"})
    handler.flush()
    (record,) = stored_records(cluster)
    lines = (record.value or b"").decode().splitlines()
    assert lines[:2] == ["test w [redacted] x", "Traceback (most recent call last):"]
    assert lines[-1] == "RuntimeError: no way"
    assert record.key == b"acme"


def test_the_context_is_that_of_the_call(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Tasks take turns on one thread, and each has its own values."""
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


def test_what_json_can_not_show_is_named(cluster: FakeKafka, make_handler: MakeHandler) -> None:
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


# -- partitions and topics -------------------------------------------------------------------------


def test_a_partitioner_takes_the_key(cluster: FakeKafka, make_handler: MakeHandler) -> None:
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
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """By default the key decides on the partition, so that a key's records stay in order."""
    cluster.add_topic("spread", 5)
    handler = make_handler("spread", key_field="user")
    logger = logger_to(handler)
    for n in range(40):
        logger.info("%d", n, extra={"user": f"user-{n % 8}"})
    handler.flush()
    found: dict[Any, list[tuple[int, str]]] = {}
    for partition, records in cluster.records("spread").items():
        for record in records:
            found.setdefault(record.key, []).append((partition, fields_of(record)["message"]))
    for user in range(8):
        placed = found[b"user-%d" % user]
        assert len({partition for partition, _ in placed}) == 1
        assert [message for _, message in placed] == [str(n) for n in range(user, 40, 8)]


@pytest.mark.parametrize(
    ("topic", "arrives_in"),
    [
        ("logs.{levelname}", "logs.INFO"),
        ("{name}-{tenant}", "shop.cart-acme"),
        (lambda record: f"by.{record.levelno}", "by.20"),
    ],
    ids=["template", "template with an extra", "callable"],
)
def test_topics_by_record(
    cluster: FakeKafka, make_handler: MakeHandler, topic: Any, arrives_in: str
) -> None:
    """A topic may depend on the record."""
    handler = make_handler(topic)
    logger_to(handler).info("x", extra={"tenant": "acme"})
    assert handler.flush() == 0
    assert (messages(cluster, arrives_in), keys(cluster, arrives_in)) == (["x"], [None])
