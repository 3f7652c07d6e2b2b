"""Tools that show a wrong option or a failed connection show no secret, and get no error.

Sentry, pytest and `traceback` can show the local variables of each frame, by their repr.
"""

from __future__ import annotations

import functools
import re
import traceback
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import kiel_logging
from kiel_logging import AuditHandler, KafkaHandler
from kiel_logging.clients import Producer
from kiel_logging.errors import BrokerError, ConfigurationError, SpoolError
from kiel_logging.testing.cluster import FakeCluster
from kiel_logging.testing.replies import HANG_UP
from kiel_logging.testing.sasl import MECHANISMS, Sasl
from tests.network.quick import quick_producer
from tests.support.what_is_shown import all_of, object_of

SECRET = "s3cr3t-und-geheim"


def token(client_secret: str) -> str:
    """A provider that needs a secret itself."""
    return client_secret


def secured(mechanism: str = "SCRAM-SHA-256") -> dict[str, Any]:
    """The options of a client that has secrets of every kind."""
    options = {
        "security_protocol": "SASL_SSL",
        "ssl_certfile": "own.pem",
        "ssl_password": SECRET,
        "sasl_mechanism": mechanism,
    }
    if mechanism == "OAUTHBEARER":
        return {**options, "sasl_token_provider": functools.partial(token, SECRET)}
    return {**options, "sasl_username": "alice", "sasl_password": SECRET}


PROPERTIES = {
    "bootstrap.servers": "kafka",
    "security.protocol": "SASL_SSL",
    "sasl.mechanism": "PLAIN",
    "sasl.username": "alice",
    "sasl.password": SECRET,
}

MISTAKES: dict[str, dict[str, Any]] = {
    "a time": {"linger_ms": -1},
    "a protocol": {"security_protocol": "TLS"},
    "a protocol without use for them": {"security_protocol": "PLAINTEXT"},
    "a mechanism": {"sasl_mechanism": "GSSAPI"},
    "a flag": {"ssl_check_hostname": "no"},
    "no certificate": {"ssl_certfile": None},
    "no user": {"sasl_username": None},
    "a user of bytes": {"sasl_username": SECRET.encode()},
    "a password of bytes": {"sasl_password": SECRET.encode()},
    "a password of a list": {"sasl_password": [SECRET]},
    "a key's password of a dict": {"ssl_password": {"vault": SECRET}},
    "a key in place of its file": {"ssl_keyfile": f"-----BEGIN PRIVATE KEY-----\n{SECRET}"},
    "a key in place of the certificate": {"ssl_certfile": SECRET.encode()},
    "a provider besides": {"sasl_token_provider": functools.partial(token, SECRET)},
    "a token in place of its provider": {
        **dict.fromkeys(("sasl_username", "sasl_password")),
        "sasl_mechanism": "OAUTHBEARER",
        "sasl_token_provider": SECRET,
    },
}


@pytest.mark.parametrize("client", [Producer, KafkaHandler])
@pytest.mark.parametrize("name", MISTAKES)
def test_a_wrong_option(name: str, client: type[Producer | KafkaHandler]) -> None:
    """Whichever it is, the secrets beside it are not shown."""
    options = {"brokers": "kafka", **secured(), **MISTAKES[name]}
    if client is KafkaHandler:
        options["topic"] = "logs"
    with pytest.raises(ConfigurationError) as failure:
        client(**options)
    shown = all_of(failure.value)
    assert f"{client.__name__}.__init__ of" in shown
    assert SECRET not in shown


@pytest.mark.parametrize(
    "wrong",
    [{"topic": ""}, {"overflow": "x"}, {"nonsense": 1}, {"close_timeout_ms": 0}, {"level": "LOUD"}],
    ids=str,
)
def test_a_wrong_option_of_the_handler_alone(wrong: dict[str, Any]) -> None:
    """As those that it passes on."""
    with pytest.raises(ValueError, match=r".") as failure:
        KafkaHandler("kafka", **{"topic": "logs", **secured(), **wrong})
    assert SECRET not in all_of(failure.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"spool_dir": None},
        {"spool_dir": __file__},
        {"overflow": "drop_newest"},
        {"acks": 1},
        {"chain": False},
        {"nonsense": 1},
        {"linger_ms": -1},
        {"logger": ""},
    ],
    ids=str,
)
def test_a_wrong_option_of_an_audit_handler(wrong: dict[str, Any], tmp_path: Path) -> None:
    """Nor is its chain key shown."""
    secrets = {**secured(), "chain_key": SECRET}
    with pytest.raises((ConfigurationError, SpoolError)) as failure:
        AuditHandler("kafka", "logs", **{"spool_dir": tmp_path, **secrets, **wrong})
    assert "AuditHandler.__init__ of" in all_of(failure.value)
    assert SECRET not in all_of(failure.value)


MISSPELT = ["sasl_pasword", "chain_keey", "chainkey", "paswd", "x"]


@pytest.mark.parametrize("name", MISSPELT)
@pytest.mark.parametrize("client", [KafkaHandler, AuditHandler])
@pytest.mark.parametrize("value", [SECRET, SECRET.encode(), {"env": [SECRET]}], ids=type)
def test_a_secret_under_a_misspelt_name(
    client: Callable[..., object], name: str, value: object, tmp_path: Path
) -> None:
    """The name is shown, so that it can be found; the value is nowhere."""
    options = {"spool_dir": tmp_path, name: value}
    with pytest.raises(ConfigurationError, match=f"has no option '{name}'") as failure:
        client("kafka", "logs", **options)
    assert SECRET not in all_of(failure.value)


@pytest.mark.parametrize("name", MISSPELT)
@pytest.mark.parametrize("client", [Producer, KafkaHandler, AuditHandler])
@pytest.mark.parametrize("acks", ["all", "most"])
def test_a_secret_under_a_misspelt_name_beside_properties(
    client: Any, name: str, acks: str
) -> None:
    """As without them, whichever of the two is reported."""
    options = {} if client is Producer else {"topic": "logs"}
    properties = {"bootstrap.servers": "kafka", "acks": acks}
    with pytest.raises((ConfigurationError, TypeError)) as failure:
        client.from_properties(properties, **options, **{name: SECRET})
    assert "from_properties of" in all_of(failure.value)
    assert SECRET not in all_of(failure.value)


@pytest.mark.parametrize("client", [Producer, functools.partial(KafkaHandler, topic="logs")])
def test_tools_can_show_a_client_that_could_not_be_made(client: Callable[..., object]) -> None:
    """Its repr is asked for, which must not raise in its turn."""
    with pytest.raises(ConfigurationError) as failure:
        client(brokers="kafka", linger_ms=-1)
    shown = traceback.TracebackException.from_exception(failure.value, capture_locals=True)
    assert re.search("self = <(Producer|KafkaHandler) being made>", "".join(shown.format()))


WRONG_PROPERTIES: dict[str, dict[str, Any]] = {
    "a value": {"acks": "most"},
    "one that is no option": {"sasl.mechanism": "GSSAPI"},
    "a contradiction": {"sasl.jaas.config": f'Module required password="{SECRET}2";'},
    "a key store": {"ssl.keystore.location": "own.jks"},
    "no brokers": {"bootstrap.servers": None},
    "a placeholder": {"client.id": "${vault:x}"},
    "no client secret": {
        "sasl.mechanism": "OAUTHBEARER",
        "sasl.oauthbearer.method": "oidc",
        "sasl.oauthbearer.token.endpoint.url": "https://idp/token",
        "sasl.oauthbearer.client.id": SECRET,
    },
    "an endpoint": {
        "sasl.mechanism": "OAUTHBEARER",
        "sasl.oauthbearer.token.endpoint.url": "idp/token",
        "sasl.oauthbearer.client.id": SECRET,
        "sasl.oauthbearer.client.secret": SECRET,
    },
}


@pytest.mark.parametrize("client", [Producer, KafkaHandler])
@pytest.mark.parametrize("given", ["mapping", "file"])
@pytest.mark.parametrize("name", WRONG_PROPERTIES)
def test_a_wrong_property(name: str, given: str, client: Any, tmp_path: Path) -> None:
    """The file, or the mapping, was read by then."""
    properties: Any = {**PROPERTIES, **WRONG_PROPERTIES[name]}
    if given == "file":
        lines = [f"{key}={value}\n" for key, value in properties.items() if value is not None]
        properties = tmp_path / "client.properties"
        properties.write_text("".join(lines))
    options = {} if client is Producer else {"topic": "logs"}
    with pytest.raises(ConfigurationError) as failure:
        client.from_properties(properties, **options, ssl_password=SECRET)
    assert SECRET not in all_of(failure.value)


@pytest.mark.parametrize("mechanism", MECHANISMS[:3])
def test_a_client(mechanism: str) -> None:
    """Nor by anything that is inside it."""
    handler = KafkaHandler("kafka", "logs", **secured(mechanism), close_timeout_ms=1)
    for client in (Producer("kafka", **secured(mechanism)), handler):
        shown = object_of(client)
        assert "<Secret sasl_password=...>" in shown
        assert SECRET not in shown
    handler.close()


@pytest.mark.parametrize("how", ["refused", "not offered", "SaslAuthenticate", "SaslHandshake"])
@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.gen_test
async def test_a_connection_that_fails(mechanism: str, how: str) -> None:
    """After the secret was read, or sent; a broker may also hang up."""
    async with FakeCluster(brokers=1) as cluster:
        sasl = Sasl(users={"alice": "another"}, tokens={"another"})
        cluster.brokers[0].require_sasl(sasl)
        if how == "not offered":
            sasl.mechanisms = ()
        elif how != "refused":
            cluster.brokers[0].on(how, HANG_UP)
        options = {**secured(mechanism), "security_protocol": "SASL_PLAINTEXT"}
        del options["ssl_certfile"], options["ssl_password"]
        producer = quick_producer(cluster, **options)
        with pytest.raises(BrokerError) as failure:
            await producer.connect()
        assert SECRET not in all_of(failure.value)
        await producer.close()


@pytest.mark.gen_test
async def test_an_error_that_nobody_thought_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours or a library's, with the password in its text: it is named, and retried as others."""

    def raises(*_arguments: object) -> None:
        raise LookupError(SECRET)

    monkeypatch.setattr("scramp.ScramClient", raises)
    async with FakeCluster(brokers=1) as cluster:
        cluster.brokers[0].require_sasl(Sasl(users={"alice": SECRET}))
        options = {**secured(), "security_protocol": "SASL_PLAINTEXT"}
        del options["ssl_certfile"], options["ssl_password"]
        producer = quick_producer(cluster, **options)
        with pytest.raises(BrokerError, match="SCRAM-SHA-256 failed: LookupError") as failure:
            await producer.connect()
        assert SECRET not in all_of(failure.value)
        await producer.close()


# -- whether these tests would see it --------------------------------------------------------------


def test_a_secret_in_a_variable_of_ours_is_seen() -> None:
    """However deep it is, and also behind `from None`."""
    source = (
        "def leak(password):\n"
        "    inside = {'options': [(password,)]}\n"
        "    try:\n"
        "        del password\n"
        "        raise KeyError\n"
        "    except KeyError as error:\n"
        "        raise ValueError('x') from None\n"
    )
    variables: dict[str, Any] = {}
    exec(compile(source, str(Path(kiel_logging.__file__).with_name("leak.py")), "exec"), variables)
    with pytest.raises(ValueError, match="x") as failure:
        variables["leak"](SECRET)
    assert SECRET in all_of(failure.value)
    assert SECRET not in "".join(traceback.format_exception(failure.value))


def test_a_secret_in_an_attribute_of_ours_is_seen() -> None:
    """As a debugger sees it."""
    with closing(KafkaHandler("kafka", "logs", close_timeout_ms=1)) as handler:
        handler._options.engine["client_id"] = SECRET
        assert SECRET in object_of(handler)
