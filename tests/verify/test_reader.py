"""From a client's properties to a consumer's configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka import Consumer

from kiel_logging.errors import ConfigurationError
from kiel_logging.verify.reader import consumer_config

JAAS = 'org.apache.kafka.common.security.plain.PlainLoginModule required username="u" password="p";'


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("security.protocol=SASL_PLAINTEXT", "security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism=PLAIN", "sasl.mechanism", "PLAIN"),
        ("sasl.mechanisms=PLAIN", "sasl.mechanism", "PLAIN"),
        ("sasl.username=u", "sasl.username", "u"),
        ("sasl.password=p", "sasl.password", "p"),
        (f"sasl.jaas.config={JAAS}", "sasl.username", "u"),
        (f"sasl.jaas.config={JAAS}", "sasl.password", "p"),
        ("ssl.ca.location=/ca", "ssl.ca.location", "/ca"),
        ("ssl.truststore.location=/ca\nssl.truststore.type=PEM", "ssl.ca.location", "/ca"),
        ("ssl.certificate.location=/c", "ssl.certificate.location", "/c"),
        ("ssl.keystore.location=/c\nssl.keystore.type=PEM", "ssl.key.location", "/c"),
        ("ssl.key.location=/k", "ssl.key.location", "/k"),
        ("ssl.key.password=p", "ssl.key.password", "p"),
        (
            "ssl.endpoint.identification.algorithm=",
            "ssl.endpoint.identification.algorithm",
            "none",
        ),
        (
            "ssl.endpoint.identification.algorithm=https",
            "ssl.endpoint.identification.algorithm",
            "https",
        ),
        (
            "enable.ssl.certificate.verification=false",
            "enable.ssl.certificate.verification",
            False,
        ),
    ],
    ids=str,
)
def test_librdkafka_s_names_for_it(line: str, name: str, value: object, tmp_path: Path) -> None:
    """Each property that says how to connect, by either client's name."""
    path = tmp_path / "client.properties"
    path.write_text(f"bootstrap.servers=b:1\n{line}\n")
    assert consumer_config(str(path), None)[name] == value


def test_the_client_takes_it() -> None:
    """It would refuse a name that it does not know."""
    Consumer(consumer_config(None, "127.0.0.1:1")).close()


def test_what_a_producer_needs_is_left_out(tmp_path: Path) -> None:
    """A program's own configuration can be given as it is."""
    path = tmp_path / "client.properties"
    path.write_text("bootstrap.servers=b:1\nacks=all\nlinger.ms=5\nclient.id=shop\n")
    assert consumer_config(str(path), None) == consumer_config(None, "b:1")


def test_brokers_of_the_command_line_win(tmp_path: Path) -> None:
    """Over those of the file."""
    path = tmp_path / "client.properties"
    path.write_text("bootstrap.servers=b:1\n")
    assert consumer_config(str(path), "c:2")["bootstrap.servers"] == "c:2"


@pytest.mark.parametrize(
    ("uncommitted", "level"), [(False, "read_committed"), (True, "read_uncommitted")]
)
def test_open_transactions(uncommitted: bool, level: str) -> None:
    """Are left out unless they are asked for."""
    config = consumer_config(None, "b:1", uncommitted=uncommitted)
    assert config["isolation.level"] == level


def test_a_java_key_store_is_refused(tmp_path: Path) -> None:
    """With what to do about it."""
    path = tmp_path / "client.properties"
    path.write_text("bootstrap.servers=b:1\nssl.truststore.location=/t.jks\n")
    with pytest.raises(ConfigurationError, match="export it as PEM"):
        consumer_config(str(path), None)
