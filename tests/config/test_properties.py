"""librdkafka's and Java's configurations: what each key means here, and what has no meaning."""

from __future__ import annotations

import logging
import logging.config
import ssl
import traceback
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging import KafkaHandler
from kiel_logging.clients import Producer
from kiel_logging.config.credentials import Secret, revealed
from kiel_logging.config.options import PRODUCER
from kiel_logging.config.properties import complete, options_from
from kiel_logging.errors import ConfigurationError

SECRET = "s3cr3t-und-geheim"
LONGEST = 2**31 - 1
JAVA_PRODUCER = "org.apache.kafka.clients.producer"
DEFAULT_TOPIC = {"required_acks": 1, "partitioner": "fnv1a"}
SCRAM_MODULE = "org.apache.kafka.common.security.scram.ScramLoginModule required"


def options_in(properties: Any) -> dict[str, Any]:
    """The options that it amounts to, their secrets revealed."""
    return {name: revealed(value) for name, value in options_from(properties).items()}


def read(tmp_path: Path, text: str) -> dict[str, Any]:
    """The options in a Java file."""
    path = tmp_path / "client.properties"
    path.write_bytes(text.encode())
    return options_in(path)


# -- keys and values -------------------------------------------------------------------------------

MEANINGS: list[tuple[str, Any, dict[str, Any]]] = [
    ("bootstrap.servers", "a:1, b:2", {"brokers": "a:1,b:2"}),
    ("metadata.broker.list", "a", {"brokers": "a"}),
    ("bootstrap.servers", "SASL_SSL://a:1,b:2,,", {"brokers": "a:1,b:2"}),
    ("bootstrap.servers", " SSL://[::1]:1 ", {"brokers": "[::1]:1"}),
    ("bootstrap.servers", ["a:1", "SSL://b:2,c"], {"brokers": "a:1,b:2,c"}),
    ("bootstrap.servers", ("a:1",), {"brokers": "a:1"}),
    ("client.id", "app", {"client_id": "app"}),
    ("client.id", "", {}),
    ("acks", "all", {"required_acks": -1}),
    ("acks", -1, {"required_acks": -1}),
    ("request.required.acks", "0", {"required_acks": 0}),
    ("enable.idempotence", "false", {"idempotence": False}),
    ("enable.idempotence", "F", {"idempotence": False}),
    ("enable.idempotence", "t", {"idempotence": True, "required_acks": -1}),
    ("enable.idempotence", True, {"idempotence": True, "required_acks": -1}),
    ("compression.type", "none", {"compression": None}),
    ("compression.codec", "LZ4", {"compression": "lz4"}),
    ("compression.level", "3", {"compression_level": 3}),
    ("compression.level", "-1", {"compression_level": None}),
    ("partitioner", "random", {"partitioner": "random"}),
    ("partitioner", "murmur2", {"partitioner": "murmur2"}),
    ("partitioner", "murmur2_random", {"partitioner": "murmur2"}),
    ("partitioner", "consistent", {"partitioner": "crc32"}),
    ("partitioner", "consistent_random", {"partitioner": "crc32"}),
    ("partitioner", "fnv1a", {"partitioner": "fnv1a"}),
    ("partitioner", "fnv1a_random", {"partitioner": "fnv1a"}),
    ("partitioner.class", f"{JAVA_PRODUCER}.RoundRobinPartitioner", {"partitioner": "round_robin"}),
    (
        "partitioner.class",
        f"{JAVA_PRODUCER}.internals.DefaultPartitioner",
        {"partitioner": "murmur2"},
    ),
    ("linger.ms", "0.5", {"linger_ms": 0.5}),
    ("queue.buffering.max.ms", 5, {"linger_ms": 5.0}),
    ("batch.num.messages", 10, {"batch_size": 10}),
    ("max.request.size", "2048", {"max_request_size": 2048}),
    ("message.max.bytes", 2048, {"max_request_size": 2048}),
    ("message.max.bytes", 1000, {"max_request_size": 1024}),
    ("buffer.memory", 33554432, {"buffer_memory": 33554432}),
    ("buffer.memory", "4294967296", {"buffer_memory": LONGEST}),
    ("max.block.ms", 1, {"max_block_ms": 1.0}),
    ("max.block.ms", "9223372036854775807", {"max_block_ms": LONGEST}),
    ("request.timeout.ms", 2, {"request_timeout_ms": 2.0}),
    ("socket.timeout.ms", 2, {"request_timeout_ms": 2.0}),
    ("delivery.timeout.ms", 3, {"delivery_timeout_ms": 3.0}),
    ("message.timeout.ms", 3, {"delivery_timeout_ms": 3.0}),
    ("message.timeout.ms", 0, {"delivery_timeout_ms": LONGEST}),
    ("retry.backoff.ms", 4, {"retry_backoff_ms": 4.0}),
    ("retry.backoff.ms", 0, {"retry_backoff_ms": 1.0}),
    ("retry.backoff.max.ms", 5, {"retry_backoff_max_ms": 5.0}),
    ("metadata.max.age.ms", 6, {"metadata_max_age_ms": 6.0}),
    ("topic.metadata.refresh.interval.ms", 6, {"metadata_max_age_ms": 6.0}),
    ("topic.metadata.refresh.interval.ms", "-1", {"metadata_max_age_ms": LONGEST}),
    ("topic.metadata.refresh.interval.ms", 0, {"metadata_max_age_ms": LONGEST}),
    ("socket.connection.setup.timeout.ms", 7, {"connect_timeout_ms": 7.0}),
    ("security.protocol", "sasl_ssl", {"security_protocol": "sasl_ssl"}),
    ("ssl.ca.location", "/ca.pem", {"ssl_cafile": "/ca.pem"}),
    ("ssl.ca.location", "probe", {"ssl_cafile": None}),
    ("ssl.ca.location", "", {}),
    ("ssl.keystore.location", " ", {}),
    ("ssl.key.password", "", {}),
    ("ssl.certificate.location", "/own.pem", {"ssl_certfile": "/own.pem"}),
    ("ssl.key.location", "/key.pem", {"ssl_keyfile": "/key.pem"}),
    ("ssl.key.password", SECRET, {"ssl_password": SECRET}),
    ("ssl.endpoint.identification.algorithm", "", {"ssl_check_hostname": False}),
    ("ssl.endpoint.identification.algorithm", "none", {"ssl_check_hostname": False}),
    ("ssl.endpoint.identification.algorithm", "https", {"ssl_check_hostname": True}),
    ("enable.ssl.certificate.verification", "false", {"ssl_verify_certificate": False}),
    ("sasl.mechanism", "PLAIN", {"sasl_mechanism": "PLAIN"}),
    ("sasl.mechanisms", "PLAIN", {"sasl_mechanism": "PLAIN"}),
    ("sasl.username", "alice", {"sasl_username": "alice"}),
    ("sasl.password", f" {SECRET}", {"sasl_password": f" {SECRET}"}),
    ("sasl.password", 12345, {"sasl_password": "12345"}),
    ("sasl.password", {"env": "KAFKA"}, {"sasl_password": {"env": "KAFKA"}}),
    ("sasl.password", None, {}),
    ("default.topic.config", {"acks": 1, "partitioner": "fnv1a"}, DEFAULT_TOPIC),
]


@pytest.mark.parametrize(("key", "value", "options"), MEANINGS)
def test_what_a_key_means(key: str, value: Any, options: dict[str, Any]) -> None:
    """As an option of the Producer, in its type."""
    assert options_in({key: value}) == options


@pytest.mark.parametrize("kind", ["truststore", "keystore"])
def test_pem_stores(kind: str) -> None:
    """Java's stores are taken when they are PEM files; the others are refused with what to do."""
    option = {"truststore": "ssl_cafile", "keystore": "ssl_certfile"}[kind]
    location, stored_as = f"ssl.{kind}.location", f"ssl.{kind}.type"
    assert options_in({location: "/x.pem", stored_as: "pem"}) == {option: "/x.pem"}
    for other in ({}, {stored_as: "JKS"}, {stored_as: "PKCS12"}):
        with pytest.raises(
            ConfigurationError, match=f"{location} is a Java or PKCS#12 key store.*PEM"
        ):
            options_from({location: "/x.jks", **other})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("acks", "most"),
        ("enable.idempotence", "yes"),
        ("linger.ms", "soon"),
        ("batch.num.messages", "1.5"),
        ("partitioner", "Consistent_Random"),
        ("partitioner.class", "com.example.Own"),
        ("compression.level", 23),
        ("compression.level", -2),
        ("request.timeout.ms", []),
    ],
)
def test_a_value_that_its_key_cannot_have(key: str, value: Any) -> None:
    """Both are named."""
    with pytest.raises(ConfigurationError) as failure:
        options_from({key: value})
    assert str(failure.value).startswith(f"{key}={value!r} has no meaning here: change it, or")


def test_secrets_are_hidden() -> None:
    """From here on, so that no error's frames show them."""
    jaas = f'{SCRAM_MODULE} username="alice" password="{SECRET}";'
    for properties in (
        {"sasl.password": SECRET, "sasl.username": "alice", "ssl.key.password": SECRET},
        {"sasl.jaas.config": jaas},
    ):
        options = options_from(properties)
        assert {type(value) for value in options.values()} == {Secret}
        assert SECRET not in repr(options)


def test_two_keys_for_one_option(caplog: pytest.LogCaptureFixture) -> None:
    """They may agree; where they don't, the later one counts, with a warning."""
    agreeing = {"sasl.mechanism": "PLAIN", "sasl.mechanisms": "PLAIN"}
    assert options_in(agreeing) == {"sasl_mechanism": "PLAIN"}
    assert caplog.records == []
    times = {"message.timeout.ms": 60_000, "delivery.timeout.ms": 120_000}
    assert options_in(times) == {"delivery_timeout_ms": 120_000}
    (told,) = [record.getMessage() for record in caplog.records]
    assert told == "delivery.timeout.ms counts, and not message.timeout.ms, which says otherwise"


@pytest.mark.parametrize(
    ("key", "value", "other", "option"),
    [
        ("metadata.max.age.ms", 900, "topic.metadata.refresh.interval.ms", "metadata_max_age_ms"),
        ("request.timeout.ms", 900, "socket.timeout.ms", "request_timeout_ms"),
        ("ssl.truststore.location", "/ca.jks", "ssl.ca.location", "ssl_cafile"),
        ("ssl.keystore.location", "/own.p12", "ssl.certificate.location", "ssl_certfile"),
    ],
)
@pytest.mark.parametrize("order", [1, -1])
def test_keys_that_give_way_to_others(
    key: str, value: Any, other: str, option: str, order: int, caplog: pytest.LogCaptureFixture
) -> None:
    """In a file for two clients, or for one that has both, in any order; nothing is wrong there."""
    pairs = [(key, value), (other, "300")][::order]
    assert str(options_in(dict(pairs))[option]).startswith("300")
    assert caplog.records == []


def test_two_keys_for_one_secret() -> None:
    """Which one it is can't be guessed; it is said what to do, without the values."""
    jaas = f'{SCRAM_MODULE} username="alice" password="other";'
    message = "sasl.jaas.config contradicts sasl.password: leave one of them out, or give sasl_pass"
    with pytest.raises(ConfigurationError, match=message) as e:
        options_from({"sasl.password": SECRET, "sasl.jaas.config": jaas})
    assert SECRET not in str(e.value)
    assert "other" not in str(e.value).replace("another", "")


def test_unknown_keys_are_named_in_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    """In order, and without their values."""
    unknown = {"ssl.truststore.password": SECRET, "key.serializer": "x.Y", "error_cb": print, 7: 8}
    assert options_in({"bootstrap.servers": "a", **unknown}) == {"brokers": "a"}  # type: ignore[dict-item]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    text = record.getMessage()
    assert text.startswith("these properties have no meaning here and are ignored: ")
    assert text.endswith(": 7, error_cb, key.serializer, ssl.truststore.password")


@pytest.mark.parametrize("key", ["ssl.ca.pem", "ssl.truststore.certificates", "ssl.key.pem"])
def test_certificates_and_keys_themselves(key: str, caplog: pytest.LogCaptureFixture) -> None:
    """Only files are read; the property's value is not shown, for it may be a key."""
    assert options_from({key: f"-----BEGIN PRIVATE KEY----- {SECRET}"}) == {}
    told = [record.getMessage() for record in caplog.records]
    option = "ssl_keyfile" if "key" in key else "ssl_cafile"
    assert f"{key} is not read: write it into a file, and give the path of that as {option}" in told
    assert SECRET not in caplog.text


@pytest.mark.parametrize("properties", [None, 7, ["acks=1"], b"acks=1"], ids=repr)
def test_what_is_neither_mapping_nor_path(properties: Any) -> None:
    """It is said what there may be."""
    with pytest.raises(ConfigurationError, match="properties must be a mapping, or the path"):
        options_from(properties)


# -- JAAS ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "password"),
    [
        ('password="tea"', "tea"),
        ("password='tea'", "tea"),
        ("password=tea", "tea"),
        ('password = "tea"', "tea"),
        ('password=""', ""),
        (r'password="a\"b\\c"', r'a"b\c'),
        ("password=\"semi;colon = username='eve'\"", "semi;colon = username='eve'"),
        ('note="password=wrong" password="tea"', "tea"),
        ('user_password="wrong" password="tea"', "tea"),
    ],
)
def test_a_jaas_configuration(written: str, password: str) -> None:
    """User name and password are read as Java reads them."""
    config = f'{SCRAM_MODULE}\n  username="alice" {written};'
    expected = {"sasl_username": "alice", "sasl_password": password}
    assert options_in({"sasl.jaas.config": config}) == expected


def test_a_jaas_configuration_without_credentials(caplog: pytest.LogCaptureFixture) -> None:
    """OAUTHBEARER's has none that count here: it is named, and options can add what is missing."""
    module = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required"
    config = f'{module} clientSecret="{SECRET}";'
    properties = {"bootstrap.servers": "a", "security.protocol": "SASL_SSL"}
    bearer = {**properties, "sasl.mechanism": "OAUTHBEARER", "sasl.jaas.config": config}
    Producer.from_properties(bearer, sasl_token_provider=lambda: "token")
    assert "ignored: sasl.jaas.config" in caplog.text
    assert SECRET not in caplog.text


# -- Java's files ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "client.id=app",
        "client.id = app",
        "client.id: app",
        "client.id app",
        "client.id\tapp",
        "\t  client.id=app",
        "client\\.id=app",
        "client.i\\u0064=\\u0061pp",
        "client.id=a\\\n    pp",
        "client.\\\r\n  id=a\\\r\n\tpp",
        "# note \\\nclient.id=app",
        "! note\n\n   # other\nclient.id=app",
        "client.id=old\nclient.id=app",
        "client.id=\\app",
    ],
)
def test_one_property_in_many_spellings(tmp_path: Path, line: str) -> None:
    """Separators, comments, continuations and escapes are java.util.Properties'."""
    assert read(tmp_path, f"{line}\nlinger.ms=1\n") == {"client_id": "app", "linger_ms": 1}
    assert read(tmp_path, f"linger.ms=1\r{line}") == {"client_id": "app", "linger_ms": 1}


def test_a_byte_order_mark(tmp_path: Path) -> None:
    """Is no part of the first key, whichever editor put it there."""
    assert read(tmp_path, "\ufeffclient.id=app") == {"client_id": "app"}


@pytest.mark.parametrize(
    ("written", "password"),
    [
        ("a=b:c#d!e", "a=b:c#d!e"),
        (r"a\tb\nc\\d\:e\=f\ g", "a\tb\nc\\d:e=f g"),
        (r"\ lead", " lead"),
        ("trail ", "trail "),
        (r"even\\", "even\\"),
        ("grün", "grün"),
        (r"\uD83D\uDE00", "\N{GRINNING FACE}"),
        ("line\u2028end\x85\x0c.", "line\u2028end\x85\x0c."),
    ],
)
def test_what_is_in_a_value(tmp_path: Path, written: str, password: str) -> None:
    """Everything up to the end of the line, escapes read."""
    text = f"sasl.password={written}\nlinger.ms=1\n"
    assert read(tmp_path, text) == {"sasl_password": password, "linger_ms": 1}


def _escaped_as_java_does(text: str) -> str:
    """java.util.Properties.store()."""
    units = text.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_what_java_stores_is_read_back(tmp_path_factory: Any, password: str) -> None:
    """Any text, escaped throughout."""
    path = tmp_path_factory.mktemp("java") / "client.properties"
    path.write_text(f"sasl.password={_escaped_as_java_does(password)}", encoding="ascii")
    assert options_in(path) == {"sasl_password": password}


@given(st.text("ab\\u0 =:#!\n\r\t\f"))
def test_no_file_is_a_crash(tmp_path_factory: Any, text: str) -> None:
    """Whatever is in it, there are options, or keys without a meaning."""
    path = tmp_path_factory.mktemp("java") / "client.properties"
    path.write_bytes(text.encode())
    assert options_in(path) == {}


@pytest.mark.parametrize("kind", ["missing", "directory", "Latin-1", "no path"])
def test_a_file_that_cannot_be_read(tmp_path: Path, kind: str) -> None:
    """The error has its path and the reason, nothing of the content."""
    path: Any = tmp_path / "client.properties"
    if kind == "directory":
        path = tmp_path
    elif kind == "Latin-1":
        path.write_bytes(f"sasl.password={SECRET}ä".encode("latin-1"))
    elif kind == "no path":
        path = "client\0properties"
    with pytest.raises(ConfigurationError, match=r"properties: .* can't be read: ") as failure:
        options_from(path)
    assert SECRET not in "".join(traceback.format_exception(failure.value))


# -- producers and handlers ------------------------------------------------------------------------

LIBRDKAFKA = {
    "bootstrap.servers": "kafka:9093",
    "security.protocol": "sasl_ssl",
    "sasl.mechanisms": "SCRAM-SHA-256",
    "sasl.username": "alice",
    "sasl.password": SECRET,
    "enable.idempotence": True,
}
JAVA = rf"""
# a client of the billing cluster
bootstrap.servers = kafka:9093
security.protocol=SASL_SSL
sasl.mechanism=SCRAM-SHA-256
sasl.jaas.config={SCRAM_MODULE} \
    username="alice" \
    password="{SECRET}";
"""


def test_a_producer_from_librdkafka() -> None:
    """Its dict is enough; options beside it win."""
    producer = Producer.from_properties(LIBRDKAFKA, brokers="other:1", sasl_password="tea")
    assert repr(producer).startswith("<Producer other:1 not connected")


def test_a_producer_from_java(tmp_path: Path) -> None:
    """The path of its file is enough."""
    path = tmp_path / "client.properties"
    path.write_text(JAVA)
    assert repr(Producer.from_properties(str(path))).startswith("<Producer kafka:9093 not")


OWN_KEY = {"ssl_password": "tea"}

WORKING_ELSEWHERE: dict[str, tuple[dict[str, Any], list[str]]] = {
    "SASL without it in the protocol": (
        {"security.protocol": "SSL"},
        ["sasl_mechanism", "sasl_password", "sasl_username"],
    ),
    "no protocol": (
        {"security.protocol": None, "ssl.ca.location": "/ca.pem"},
        ["sasl_mechanism", "sasl_password", "sasl_username", "ssl_cafile"],
    ),
    "TLS without it in the protocol": (
        {"security.protocol": "SASL_PLAINTEXT", "ssl.endpoint.identification.algorithm": ""},
        ["ssl_check_hostname"],
    ),
    "a password for tokens": (
        {"sasl.mechanisms": "OAUTHBEARER"},
        ["sasl_password", "sasl_username"],
    ),
}


@pytest.mark.parametrize("name", WORKING_ELSEWHERE)
def test_what_other_clients_do_not_mind(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """A file that works there works here, and is warned of what it says in vain."""
    changes, unused = WORKING_ELSEWHERE[name]
    own = {"sasl_token_provider": str} if "tokens" in name else {}
    Producer.from_properties({**LIBRDKAFKA, **changes}, **own)
    (record,) = caplog.records
    told = record.getMessage()
    assert told.startswith(f"what the properties say of {', '.join(unused)} has no use with")
    assert SECRET not in told


@pytest.mark.parametrize(
    ("properties", "own"),
    [
        ({"ssl.truststore.location": "/ca.jks"}, {"ssl_cafile": "/ca.pem"}),
        ({"ssl.keystore.location": "/own.p12"}, {"ssl_certfile": "/own.pem"}),
        ({"partitioner.class": "com.example.Own"}, {"partitioner": "murmur2"}),
        ({"ssl.key.password": "${vault:a:b}", "ssl.certificate.location": "/c"}, OWN_KEY),
        ({"sasl.jaas.config": f'{SCRAM_MODULE} username="eve";'}, {"sasl_username": "bob"}),
        (
            {"ssl.ca.location": "/ca.pem", "enable.ssl.certificate.verification": "false"},
            {"ssl_context": ssl.create_default_context()},
        ),
    ],
    ids=["trust store", "key store", "partitioner", "placeholder", "JAAS", "context"],
)
@pytest.mark.parametrize("client", [Producer, KafkaHandler])
def test_options_of_ours_are_given_in_place_of_properties(
    client: Any, properties: dict[str, Any], own: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Which may then be what we could not use."""
    more = {"topic": "logs", "close_timeout_ms": 1} if client is KafkaHandler else {}
    made = client.from_properties({**LIBRDKAFKA, **properties}, **own, **more)
    assert caplog.records == []
    if client is KafkaHandler:
        made.close()


def test_an_option_of_ours_that_is_wrong_there() -> None:
    """Is refused as it would be without the properties, with what to do."""
    with pytest.raises(ConfigurationError, match="sasl_mechanism='GSSAPI' must be one of") as e:
        Producer.from_properties({**LIBRDKAFKA, "sasl.mechanisms": "GSSAPI"})
    assert "for Kerberos there is no support: ask for a listener with one of these" in str(e.value)
    assert SECRET not in str(e.value)


# -- what is legal there, and would contradict the rest here ---------------------------------------

FITTING: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "a short time": (
        {"message.timeout.ms": 5000},
        {},
        {"delivery_timeout_ms": 5000, "request_timeout_ms": 4995},
    ),
    "a time as long as one attempt": (
        {"delivery.timeout.ms": 30_000, "request.timeout.ms": 30_000},
        {},
        {"delivery_timeout_ms": 30_000, "request_timeout_ms": 29_995},
    ),
    "a time shorter than we linger": (
        {"message.timeout.ms": 4},
        {},
        {"delivery_timeout_ms": 4, "linger_ms": 1.5, "request_timeout_ms": 2.5},
    ),
    "a long attempt": (
        {"request.timeout.ms": 180_000},
        {},
        {"request_timeout_ms": 180_000, "delivery_timeout_ms": 180_005},
    ),
    "what fits": ({"delivery.timeout.ms": 31_000}, {}, {"delivery_timeout_ms": 31_000}),
    "a time of ours": (
        {"request.timeout.ms": 60_000},
        {"delivery_timeout_ms": 10_000},
        {"delivery_timeout_ms": 10_000, "request_timeout_ms": 9_995},
    ),
    "a long pause": (
        {"retry.backoff.ms": 3000},
        {},
        {"retry_backoff_ms": 3000, "retry_backoff_max_ms": 3000},
    ),
    "a pause above its bound": (
        {"retry.backoff.ms": 3000, "retry.backoff.max.ms": 2000},
        {},
        {"retry_backoff_ms": 2000, "retry_backoff_max_ms": 2000},
    ),
    "a pause above a bound of ours": (
        {"retry.backoff.ms": 3000},
        {"retry_backoff_max_ms": 500},
        {"retry_backoff_ms": 500, "retry_backoff_max_ms": 500},
    ),
    "a bound below a pause of ours": (
        {"retry.backoff.max.ms": 500},
        {"retry_backoff_ms": 3000},
        {"retry_backoff_ms": 3000, "retry_backoff_max_ms": 3000},
    ),
    **{
        f"level {level} of {name}": (
            {"compression.type": name, "compression.level": level},
            {},
            {"compression": name, "compression_level": fitting},
        )
        for name, level, fitting in [
            *[("gzip", 12, 9), ("gzip", 0, 1), ("gzip", 5, 5)],
            *[("lz4", 12, 12), ("zstd", 12, 12), ("zstd", 0, 0)],
        ]
    },
    **{
        f"level {level} of {name}": (
            {"compression.type": name, "compression.level": level},
            {},
            {"compression": None if name == "none" else name},
        )
        for name, level in [("gzip", -1), ("snappy", 0), ("snappy", -1), ("none", 6)]
    },
    "a level of nothing": ({"compression.level": 6}, {}, {}),
    "Java's level": (
        {"compression.type": "zstd", "compression.zstd.level": 7, "compression.gzip.level": 9},
        {},
        {"compression": "zstd", "compression_level": 7},
    ),
    "Java's least level": (
        {"compression.type": "zstd", "compression.zstd.level": -131072},
        {},
        {"compression": "zstd", "compression_level": -7},
    ),
}


@pytest.mark.parametrize("name", FITTING)
def test_what_is_legal_there_fits_here(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing that another client takes contradicts our defaults, or is refused here."""
    properties, own, expected = FITTING[name]
    options = complete({"bootstrap.servers": "kafka", **properties}, own, PRODUCER)
    assert options == {"brokers": "kafka", **expected}
    assert caplog.records == []
    Producer(**options)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "message.timeout.ms": st.integers(0, LONGEST),
            "request.timeout.ms": st.integers(1, 900_000),
            "retry.backoff.ms": st.integers(1, 300_000),
            "retry.backoff.max.ms": st.integers(1, 300_000),
            "compression.codec": st.sampled_from(["none", "gzip", "snappy", "lz4", "zstd"]),
            "compression.level": st.integers(-1, 12),
            "topic.metadata.refresh.interval.ms": st.integers(-1, 3_600_000),
            "metadata.max.age.ms": st.integers(1, 86_400_000),
            "batch.num.messages": st.integers(1, 1_000_000),
            "message.max.bytes": st.integers(1000, 1_000_000_000),
            "client.id": st.text("ab", max_size=2),
        },
    )
)
def test_whatever_librdkafka_takes(properties: dict[str, Any]) -> None:
    """Within the bounds of its CONFIGURATION.md, in any combination."""
    Producer.from_properties({"bootstrap.servers": "kafka", **properties})


def test_a_linger_that_leaves_no_time() -> None:
    """librdkafka refuses it as well."""
    properties = {"bootstrap.servers": "a", "message.timeout.ms": 50, "linger.ms": 100}
    with pytest.raises(ConfigurationError, match="not even one attempt would fit"):
        Producer.from_properties(properties)


def test_a_property_for_an_option_that_a_handler_lacks(caplog: pytest.LogCaptureFixture) -> None:
    """It is ignored, with a warning: the same file may configure a Producer."""
    properties = {"bootstrap.servers": "kafka", "max.block.ms": 1000}
    KafkaHandler.from_properties(properties, "logs").close()
    (record,) = caplog.records
    assert record.getMessage().endswith("no meaning here and are ignored: max.block.ms")
    Producer.from_properties(properties)
    assert len(caplog.records) == 1


def test_a_handler_from_a_dict_config(monkeypatch: pytest.MonkeyPatch) -> None:
    """`"()"` names the class method; "cfg://" and named secrets work inside the properties."""
    monkeypatch.setattr(logging.root, "handlers", [])
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "where": "kafka:9093",
            "handlers": {
                "kafka": {
                    "()": "kiel_logging.KafkaHandler.from_properties",
                    "properties": {
                        **LIBRDKAFKA,
                        "bootstrap.servers": "cfg://where",
                        "sasl.password": {"env": "KAFKA_PASSWORD"},
                    },
                    "topic": "logs",
                    "level": "WARNING",
                    "close_timeout_ms": 1,
                }
            },
            "root": {"handlers": ["kafka"]},
        }
    )
    (handler,) = logging.root.handlers
    assert isinstance(handler, KafkaHandler)
    assert repr(handler).startswith("<KafkaHandler kafka (WARNING) to kafka:9093 open")
    handler.close()


def test_a_dict_config_that_is_wrong() -> None:
    """Its error has ours as the cause, and no secret anywhere."""
    with pytest.raises(ValueError, match="Unable to configure handler 'kafka'") as failure:
        logging.config.dictConfig(
            {
                "version": 1,
                "disable_existing_loggers": False,
                "handlers": {
                    "kafka": {
                        "()": "kiel_logging.KafkaHandler.from_properties",
                        "properties": {**LIBRDKAFKA, "acks": "most"},
                        "topic": "logs",
                    }
                },
            }
        )
    text = "".join(traceback.format_exception(failure.value))
    assert "acks='most' has no meaning here" in text
    assert SECRET not in text
