"""Placeholders in properties: what is read, and that none is ever taken for the secret itself."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.clients import Producer
from kiel_logging.config.credentials import Secret, revealed
from kiel_logging.config.properties import options_from
from kiel_logging.errors import ConfigurationError
from tests.support.what_is_shown import all_of

SECRET = "s3cr3t-und-geheim"
MODULE = "org.apache.kafka.common.security.plain.PlainLoginModule required"
KAFKA = "org.apache.kafka.common.config.provider"


def password_in(properties: dict[str, Any]) -> Any:
    """The password that a connection would send."""
    found = options_from(properties)["sasl_password"]
    assert isinstance(found, Secret)
    return found.read()


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PASSWORD", SECRET)
    monkeypatch.setenv("HOST", "kafka")
    Path("secrets.properties").write_text(f"password={SECRET}\nhost=kafka\n")
    Path("password").write_text(f"{SECRET}\n")


@pytest.mark.parametrize(
    "written",
    ["${env:PASSWORD}", "${file:secrets.properties:password}", "${directory:.:password}"],
)
def test_where_a_password_may_be(written: str) -> None:
    """As Kafka's three providers have it; alone, or in a JAAS configuration."""
    assert password_in({"sasl.password": written}) == SECRET
    for quote in ('"', "'", ""):
        config = f"{MODULE} username=alice password={quote}{written}{quote};"
        assert password_in({"sasl.jaas.config": config}) == SECRET


def test_a_variable_is_read_for_each_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new password takes effect without a restart, as that of {"env": ...}."""
    secret = options_from({"sasl.password": "${env:PASSWORD}"})["sasl_password"]
    assert secret.reveal() == {"env": "PASSWORD"}
    monkeypatch.setenv("PASSWORD", "new")
    assert secret.read() == "new"


def test_a_whole_jaas_configuration_somewhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """As operators of Kubernetes mount it."""
    monkeypatch.setenv("JAAS", f'{MODULE} username="alice" password="{SECRET}";')
    assert password_in({"sasl.jaas.config": "${env:JAAS}"}) == SECRET


@pytest.mark.parametrize(
    ("key", "written", "expected"),
    [
        ("bootstrap.servers", "${env:HOST}:9093,b", {"brokers": "kafka:9093,b"}),
        ("bootstrap.servers", "${env:HOST},${env:HOST}", {"brokers": "kafka,kafka"}),
        ("client.id", "${file:secrets.properties:host}", {"client_id": "kafka"}),
        ("client.id", "a ${ b } $c {d}", {"client_id": "a ${ b } $c {d}"}),
        ("sasl.password", "a${env:PASSWORD}", {"sasl_password": f"a{SECRET}"}),
        ("sasl.password", "a$env:{B}", {"sasl_password": "a$env:{B}"}),
        ("sasl.password", "pa${ss", {"sasl_password": "pa${ss"}),
    ],
)
def test_placeholders_within_a_value(key: str, written: str, expected: dict[str, Any]) -> None:
    """Any number of them in any value; what is none stays as it is."""
    found = {name: revealed(value) for name, value in options_from({key: written}).items()}
    assert found == expected


@pytest.mark.parametrize("java_class", ["EnvVarConfigProvider", "DirectoryConfigProvider"])
def test_a_name_of_ones_own(java_class: str, caplog: pytest.LogCaptureFixture) -> None:
    """As config.providers says; these keys are not warned of."""
    where = {"EnvVarConfigProvider": "PASSWORD", "DirectoryConfigProvider": ".:password"}
    properties = {
        "config.providers": "one, mine",
        "config.providers.mine.class": f"{KAFKA}.{java_class}",
        "sasl.password": f"${{mine:{where[java_class]}}}",
    }
    assert password_in(properties) == SECRET
    assert caplog.records == []


NOT_READ: dict[str, dict[str, Any]] = {
    "another provider": {"sasl.password": "${vault:kv:password}"},
    "another provider within": {"sasl.password": f"{SECRET}${{vault:password}}"},
    "in a JAAS": {"sasl.jaas.config": f'{MODULE} username="u" password="${{vault:x}}";'},
    "without a provider": {"sasl.password": "${KAFKA_PASSWORD}"},
    "a default": {"sasl.password": "${KAFKA_PASSWORD:tea}"},
    "a class of one's own": {
        "config.providers": "env",
        "config.providers.env.class": "com.example.Vault",
        "sasl.password": "${env:PASSWORD}",
    },
    "no path": {"sasl.password": "${file:password}"},
    "no secret": {"client.id": "${vault:name}"},
}


@pytest.mark.parametrize("name", NOT_READ)
def test_a_placeholder_that_is_not_read(name: str) -> None:
    """It is refused, and never sent as the password; an option beside the properties wins."""
    properties = {"bootstrap.servers": "kafka", **NOT_READ[name]}
    with pytest.raises(ConfigurationError, match=r"has a placeholder that is not read here: ") as e:
        Producer.from_properties(properties)
    assert "${env:NAME}" in str(e.value)
    assert "give the option beside the properties, which wins" in str(e.value)
    assert SECRET not in all_of(e.value)
    options_from(properties, {"sasl_password": "x", "sasl_username": "x", "client_id": "x"})


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"client.id": "${env:NOT_SET}"}, "client.id: the environment variable NOT_SET is not set"),
        ({"client.id": "x${env:NOT_SET}"}, "client.id: the environment variable NOT_SET is not se"),
        ({"sasl.password": "${file:nowhere:x}"}, "properties: nowhere can't be read"),
        ({"sasl.password": "${file:secrets.properties:x}"}, "sasl.password: .* has no property of"),
        ({"client.id": "${directory:.:nowhere}"}, "client.id: ./nowhere can't be read"),
    ],
)
def test_a_place_with_nothing_in_it(properties: dict[str, Any], message: str) -> None:
    """It is named, with the key that wants it."""
    with pytest.raises(ConfigurationError, match=message) as failure:
        Producer.from_properties({"bootstrap.servers": "kafka", **properties})
    assert SECRET not in all_of(failure.value)


@given(st.text("${}:env PASWORD/.", max_size=30))
def test_no_placeholder_is_a_crash(written: str) -> None:
    """Whatever is written, there is a password or an error that says what to do."""
    with contextlib.suppress(ConfigurationError):
        options_from({"sasl.password": written})
