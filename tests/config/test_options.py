"""The Producer's options: what is taken, in which units, and how the rest is refused."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.config.options import (
    Address,
    ProducerOptions,
    parse_brokers,
    producer_options,
)
from kiel_logging.errors import ConfigurationError
from kiel_logging.serializers import json_serializer
from tests.support.examples import examples

GIVEN: dict[str, Any] = {
    "brokers": "kafka",
    "key_maker": None,
    "partitioner": None,
    "serializer": None,
    "compression": None,
    "compression_level": None,
    "batch_size": 1,
    "required_acks": 1,
    "ack_timeout": 500,
    "client_id": "kiel_logging",
    "max_request_size": 1_048_576,
    "buffer_memory": 32_000_000,
    "idempotence": None,
    "max_block_ms": 60_000,
    "linger_ms": 5,
    "request_timeout_ms": 30_000,
    "delivery_timeout_ms": 120_000,
    "retry_backoff_ms": 100,
    "retry_backoff_max_ms": 1000,
    "metadata_max_age_ms": 300_000,
    "topic_creation_timeout_ms": 10_000,
    "connect_timeout_ms": 10_000,
    "connections_max_idle_ms": 540_000,
}
MILLISECONDS = sorted(name for name in GIVEN if name.endswith("_ms"))


def checked(**changes: Any) -> ProducerOptions:
    """The options with some of them changed."""
    return producer_options(**{**GIVEN, **changes})


# -- what is taken ---------------------------------------------------------------------------------


def test_defaults_are_filled_in() -> None:
    """No key, JSON, no compression."""
    options = checked()
    assert options.key_maker({"any": "message"}) is None
    assert options.serializer is json_serializer
    assert options.codec.name == "none"


def test_callables_are_taken_as_they_are() -> None:
    """Key maker, partitioner and serializer."""
    options = checked(key_maker=repr, partitioner=max, serializer=str)
    assert (options.key_maker, options.partitioner) == (repr, max)
    assert options.serializer is str


@pytest.mark.parametrize(
    ("idempotence", "acks", "expected"),
    [(None, -1, True), (None, 1, False), (None, 0, False), (True, -1, True), (False, -1, False)],
)
def test_idempotence_goes_with_all_acks(
    idempotence: bool | None, acks: int, expected: bool
) -> None:
    """By default wherever it is possible."""
    assert checked(idempotence=idempotence, required_acks=acks).idempotence is expected


@pytest.mark.parametrize("name", MILLISECONDS)
def test_fractions_of_milliseconds(name: str) -> None:
    """Are as good as whole ones."""
    value = GIVEN[name] + 0.5
    assert getattr(checked(**{name: value}), name.removesuffix("_ms")) == value / 1000


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["lz5", 1, ["gzip"]])
def test_a_bad_codec_is_refused(value: Any) -> None:
    """The message names the option and the value, and says what is allowed."""
    with pytest.raises(ConfigurationError) as refused:
        checked(compression=value)
    assert str(refused.value).startswith(f"compression={value!r} is not known: use one of 'snappy'")


@pytest.mark.parametrize("choice", ["murmur3", 3, ["random"]])
def test_a_bad_partitioner_is_refused(choice: Any) -> None:
    """Under the name that the option has outside."""
    with pytest.raises(ConfigurationError) as refused:
        checked(partitioner=choice)
    assert f"partitioner={choice!r} is not known" in str(refused.value)


def test_a_configuration_error_is_a_value_error() -> None:
    """For who catches those."""
    with pytest.raises(ValueError, match="batch_size=0"):
        checked(batch_size=0)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (
            {"delivery_timeout_ms": 30_000, "request_timeout_ms": 30_000, "linger_ms": 1},
            ["delivery_timeout_ms=30000", "linger_ms=1", "request_timeout_ms=30000"],
        ),
        (
            {"retry_backoff_ms": 2000, "retry_backoff_max_ms": 1000},
            ["retry_backoff_ms=2000", "retry_backoff_max_ms=1000"],
        ),
        ({"idempotence": True, "required_acks": 1}, ["idempotence=True", "required_acks=1"]),
        ({"idempotence": True, "required_acks": 0}, ["idempotence=True", "required_acks=0"]),
    ],
)
def test_contradictions_are_refused(changes: dict[str, Any], named: list[str]) -> None:
    """The message names both sides."""
    with pytest.raises(ConfigurationError) as refused:
        checked(**changes)
    assert [part for part in named if part not in str(refused.value)] == []


def test_what_just_fits_is_no_contradiction() -> None:
    """One attempt that takes all its time."""
    options = checked(delivery_timeout_ms=30_005, request_timeout_ms=30_000, linger_ms=5)
    assert options.delivery_timeout == 30.005


# -- brokers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("brokers", "expected"),
    [
        ("kafka", [("kafka", 9092)]),
        ("kafka:9093", [("kafka", 9093)]),
        ("kafka:1", [("kafka", 1)]),
        ("kafka:65535", [("kafka", 65535)]),
        (["kafka"], [("kafka", 9092)]),
        (("kafka-1", "kafka-2:9093"), [("kafka-1", 9092), ("kafka-2", 9093)]),
        ("kafka-1,kafka-2:9093", [("kafka-1", 9092), ("kafka-2", 9093)]),
        (" kafka-1 , kafka-2:9093 ", [("kafka-1", 9092), ("kafka-2", 9093)]),
        (["  kafka\t"], [("kafka", 9092)]),
        ("10.0.0.7:9094", [("10.0.0.7", 9094)]),
        ("[::1]", [("::1", 9092)]),
        ("[::1]:9093", [("::1", 9093)]),
        ("[fe80::1%eth0]:9093,kafka", [("fe80::1%eth0", 9093), ("kafka", 9092)]),
        ("kafka.example.org.", [("kafka.example.org.", 9092)]),
        ("kafka,kafka", [("kafka", 9092), ("kafka", 9092)]),
        ("kafka-1,,kafka-2:9093, ,", [("kafka-1", 9092), ("kafka-2", 9093)]),
    ],
)
def test_brokers(brokers: Any, expected: list[tuple[str, int]]) -> None:
    """A list, or one comma-separated string; in order; 9092 when the port is left out."""
    assert parse_brokers(brokers) == tuple(Address(*address) for address in expected)


@pytest.mark.parametrize(
    "brokers",
    [
        "kafka://u:hunter2@host:9092",
        "u:hunter2@host",
        ["a:9092", "u:hunter2@b"],
        "u:hunter2,x@host",
    ],
)
def test_a_password_in_an_address_is_not_shown(brokers: Any) -> None:
    """The error says where it belongs, and nothing of what was given."""
    with pytest.raises(ConfigurationError, match="by sasl_username and sasl_password") as caught:
        parse_brokers(brokers)
    assert "hunter" not in str(caught.value)


@pytest.mark.parametrize(
    ("brokers", "message"),
    [
        ([], "brokers is empty: name at least one"),
        ("", "brokers is empty: name at least one"),
        (" , ", "brokers is empty: name at least one"),
        (["kafka", ""], "brokers has '': that is no host name or address"),
        ("kafka:", "brokers has 'kafka:': the port must be a number from 1 to 65535"),
        ("kafka:0", "brokers has 'kafka:0': the port must be"),
        ("kafka:65536", "the port must be"),
        ("kafka:-1", "the port must be"),
        ("kafka:9092x", "the port must be"),
        ("kafka:\u0661\u0662", "the port must be"),
        (":9092", "brokers has ':9092': that is no host name or address"),
        ("kafka 1", "brokers has 'kafka 1': that is no host name or address"),
        ("kafka]", "that is no host name or address"),
        ("::1", "brokers has '::1': write IPv6 in brackets, '[::1]:9092'"),
        ("::1:9092", "write IPv6 in brackets"),
        ("[::1", "brokers has '[::1': write IPv6 as '[::1]:9092'"),
        ("[::1]9092", "write IPv6 as '[::1]:9092'"),
        ("[::1]:", "the port must be"),
        ("[]:9092", "that is no host name or address"),
        ("kafka://kafka:9092", "leave out the '...://'"),
        ("PLAINTEXT://kafka", "leave out the '...://'"),
        ("kafka/path", "leave out the '...://'"),
        (None, "brokers=None must be a list of 'host' or 'host:port'"),
        (9092, "brokers=9092 must be a list"),
        ({"kafka"}, "brokers={'kafka'} must be a list"),
        (["kafka", None], "brokers has None: each must be str"),
        ([("kafka", 9092)], "brokers has ('kafka', 9092): each must be str"),
        (b"kafka", "brokers=b'kafka' must be a list of 'host' or 'host:port'"),
    ],
)
def test_misspelt_brokers(brokers: Any, message: str) -> None:
    """The message has what was written and how to write it."""
    with pytest.raises(ConfigurationError) as refused:
        parse_brokers(brokers)
    assert message in str(refused.value)


@examples(100)
@given(st.ip_addresses(), st.integers(1, 65535))
def test_an_address_reads_what_it_writes(address: Any, port: int) -> None:
    """IPv6 in brackets."""
    written = str(Address(str(address), port))
    assert parse_brokers(written) == (Address(str(address), port),)


@examples(200)
@given(st.text(max_size=30))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    """With our own error and no other."""
    with contextlib.suppress(ConfigurationError):
        addresses = parse_brokers(text)
        assert all(address.host and 0 < address.port < 65536 for address in addresses)
