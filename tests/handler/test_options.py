"""The options of KafkaHandler: what is refused when it is made, and what a dictConfig says."""

from __future__ import annotations

import json
import logging
import logging.config
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from kiel_logging import AuditHandler, KafkaHandler, Producer
from kiel_logging.config.options import PRODUCER
from kiel_logging.config.security import SecurityKeywords
from kiel_logging.config.table import rows
from kiel_logging.errors import ConfigurationError
from kiel_logging.handler.options import HANDLER
from kiel_logging.testing import FakeKafka
from tests.handler.shipped import QUICK, keys, logger_to, messages
from tests.support.stamps import without_stamp

SIGNED: dict[str, Any] = {"chain": True, "sign": True}

BAD_OPTIONS: list[tuple[str, Any, str]] = [
    ("brokers", [], "brokers is empty: name at least one, 'host' or 'host:port'"),
    ("brokers", None, "brokers=None must be a list of 'host' or 'host:port'"),
    ("brokers", "host:port", "brokers has 'host:port': the port must be a number"),
    ("brokers", ["kafka://host"], "leave out the '...://'"),
    ("topic", "", "topic=''"),
    ("topic", "a b", "topic='a b'"),
    ("topic", "..", "topic='..'"),
    ("topic", "x" * 250, "topic='xxx"),
    ("topic", "logs.{", "topic='logs.{' is no valid template"),
    ("topic", "logs/{levelname}", "has 'logs/': Kafka allows ASCII letters, digits"),
    ("topic", "{}", "has {}: name an attribute of the LogRecord"),
    ("topic", "{0}", "has {0}: name an attribute of the LogRecord"),
    ("topic", 7, "topic=7 must be a name, a template such as 'logs.{levelname}', or a callable"),
    ("topic", None, "topic=None must be a name"),
    ("level", "LOUD", "level='LOUD' must be a number, or one of 'CRITICAL', 'FATAL', 'ERROR'"),
    ("level", "info", "did you mean 'INFO'?"),
    ("key_field", "", "key_field='' must be the name of a record's field"),
    ("key_field", 7, "key_field=7 must be the name of a record's field"),
    ("key_maker", "x", "key_maker='x' must be callable"),
    ("headers", "level", "headers='level' must be a mapping of header names to names of fields"),
    ("headers", {"": "x"}, "headers has '': each name must be a str, and not empty"),
    ("headers", {"x": 7}, "headers has 7: each name must be a str, and not empty"),
    ("partitioner", "murmur3", "partitioner='murmur3' is not known: use one of"),
    ("partitioner", 7, "partitioner=7"),
    ("format", "jsn", "format='jsn' must be one of 'ecs', 'gelf', 'json', 'otel', 'text'"),
    ("format", "jsn", "did you mean 'json'?"),
    ("format", 7, "format=7 must be one of 'ecs', 'gelf', 'json', 'otel', 'text', or a callable"),
    ("format", None, "format=None must be one of"),
    ("serializer", "json", "serializer='json' must be callable, or None"),
    ("serializer", "json", "in a dictConfig a function is written 'ext://module.function'"),
    ("context", "request", "context='request' must be a mapping of names of fields to ContextVars"),
    ("context", {"request": "x"}, "context has 'request': 'x', which is no ContextVar"),
    ("context", {"level": 7}, "context has 'level': that is a field of the record's own"),
    ("fields", ["env"], "fields=['env'] must be a mapping of names to values"),
    ("fields", {"level": "x"}, "fields has 'level': that is a field of the record's own"),
    ("fields", {7: "x"}, "fields has 7: each name must be a str"),
    ("rename", {"message": 7}, "rename has 7: each name must be a str"),
    ("rename", {"message": "x", "level": "x"}, "gives two fields the name 'x'"),
    ("rename", {"message": "extra"}, "rename has 'extra': that is a field of the handler's own"),
    ("exclude", "thread", "exclude='thread' must be a list of names of fields, such as"),
    ("exclude", [7], "exclude has 7: each name must be a str"),
    ("redact", "password", "redact='password' must be a list of names of fields, such as"),
    ("redact", [""], "redact has '': each name must be a str, and not empty"),
    ("rate_limit", "fast", 'rate_limit=\'fast\' must be "<records>/s", "/m" or "/h", perhaps'),
    ("rate_limit", "0/s", "must be"),
    ("rate_limit", 100, "must be"),
    ("sample", 0.1, "sample=0.1 must be a mapping of levels, such as"),
    ("sample", {"DEBUGG": 0.1}, "sample has 'DEBUGG', which is the name of no level"),
    ("sample", {"DEBUG": 10}, "sample has 'DEBUG': 10, which must be the share that is shipped"),
    ("sample", {"DEBUG": True}, "which must be the share"),
    ("dedupe", 0, "dedupe=0 must be a number of seconds above 0"),
    ("before_send", "x", "before_send='x' must be callable, or None"),
    ("compression", "brotli", "compression='brotli' is not known: use one of"),
    ("delivery_timeout_ms", 5, "delivery_timeout_ms=5 is less than linger_ms=50.0 plus"),
    ("overflow", "drop_new", "overflow='drop_new' must be one of 'drop_newest', 'drop_oldest'"),
    ("overflow", "drop_new", "did you mean 'drop_newest'?"),
    ("fallback", 7, "fallback=7 must be a logging.Handler or the name of one"),
    ("fallback", "", "fallback='' must be a logging.Handler or the name of one"),
    ("spool_dir", 7, "spool_dir=7 must be the path of a directory"),
    ("spool_dir", "", "spool_dir='' must be the path of a directory"),
    ("spool_dir", b"/tmp", "spool_dir=b'/tmp' must be the path of a directory"),
    ("spool", "always", "spool is of no use without spool_dir: give both, or neither"),
    ("spool_max_bytes", None, "spool_max_bytes is of no use without spool_dir"),
    ("spool_synchronous", "full", "spool_synchronous is of no use without spool_dir"),
    ("chain_key", 7, "chain_key must be a str, {'env': 'NAME'} or {'file': '/path'}, not int"),
    ("chain_key", "secret", "chain_key is of no use without chain=True"),
    ("sign", "yes", "sign='yes' must be True or False"),
    ("sign", True, "sign=True is of no use without chain=True"),
    ("endorse_key", "pem", "endorse_key is of no use without sign=True"),
    ("checkpoint_topic", "t", "checkpoint_topic is of no use without sign=True"),
    ("checkpoint_topic", "a b", "checkpoint_topic='a b' must be a name that Kafka allows"),
    ("anchor", "/a", "anchor is of no use without sign=True"),
    ("anchor", 7, "anchor=7 must be the path of a file, a URL that begins with http:// or"),
    ("anchor", "", "anchor='' must be the path of a file"),
    ("retry_backoff_ms", 2000, "retry_backoff_max_ms=1000.0 is less than retry_backoff_ms=2000"),
]


@pytest.mark.parametrize(("option", "bad", "message"), BAD_OPTIONS)
def test_wrong_values(option: str, bad: Any, message: str) -> None:
    """Each is refused when the handler is made: which option, its value, what is allowed."""
    with pytest.raises(ConfigurationError) as refused:
        KafkaHandler(**{"brokers": "localhost", "topic": "logs", option: bad})
    assert message in str(refused.value)


def test_every_option_is_checked() -> None:
    """By its kind, for which the table of options has tests, or by what the table above says."""
    unchecked = {name for name, row in HANDLER.items() if row.kind.fits(object())}
    elsewhere = rows(SecurityKeywords).keys() | {"compression_level"}
    assert unchecked - elsewhere - {option for option, _, _ in BAD_OPTIONS} == set()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key_field": "x", "key_maker": str}, "key_field and key_maker are both given"),
        ({"format": "text", "serializer": str}, "format='text' and serializer are both given"),
        ({"exclude": ["a"], "rename": {"a": "b"}}, "exclude and rename both have 'a'"),
        ({"idempotence": True, "required_acks": 1}, "contradict each other"),
        (
            {"spool_dir": "/nowhere", "required_acks": 0},
            "spool_dir and required_acks=0 contradict each other: brokers that acknowledge nothing",
        ),
        (
            {"spool_dir": "/nowhere", "delivery_timeout_ms": 120_000},
            "spool_dir and delivery_timeout_ms=120000 contradict each other",
        ),
        ({"spool_dir": "/nowhere", "spool": "never"}, "spool='never' must be one of 'overflow'"),
        ({"spool_dir": "/nowhere", "spool_max_bytes": 1}, "spool_max_bytes=1 must be a whole"),
        ({"spool_dir": "/nowhere", "spool_max_bytes": True}, "spool_max_bytes=True must be a"),
        (
            {"spool_dir": "/nowhere", "spool_synchronous": "off"},
            "spool_synchronous='off' must be one of 'normal', 'full'",
        ),
        ({**SIGNED, "checkpoint_topic": "logs"}, "checkpoint_topic='logs' is the topic of the rec"),
        ({**SIGNED, "endorse_key": 7}, "endorse_key must be a str, {'env': 'NAME'} or"),
        ({**SIGNED, "endorse_key": "x"}, "endorse_key is no Ed25519 private key in PEM form"),
        (
            {"redact": ["password"], "key_field": "user.Password"},
            "key_field has 'user.Password', which redact hides: a key or a header would show it",
        ),
        (
            {"redact": ["api_key"], "headers": {"k": "api-key"}},
            "headers has 'api-key', which redact hides",
        ),
    ],
)
def test_options_that_contradict_each_other(options: dict[str, Any], message: str) -> None:
    """They are refused together."""
    with pytest.raises(ConfigurationError) as refused:
        KafkaHandler("localhost", "logs", **options)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("lingerms", ": did you mean 'linger_ms'?"),
        ("key_feild", ": did you mean 'key_field'?"),
        ("delivery_timeout", ": did you mean 'delivery_timeout_ms'?"),
        ("fall_back", ": did you mean 'fallback'?"),
        ("acks", ": did you mean 'required_acks'?"),
        ("bootstrap_servers", ": did you mean 'brokers'?"),
        ("compression_type", ": did you mean 'compression'?"),
        ("enable_idempotence", ": did you mean 'idempotence'?"),
        ("hosts_list", ": did you mean 'brokers'?"),
        ("sasl_plain_password", ": did you mean 'sasl_password'?"),
        ("additional_fields", ": did you mean 'fields'?"),
        ("api_version", ": leave it out, for the versions are negotiated with each broker"),
        ("retries", ": leave it out, for retries continue until delivery_timeout_ms"),
        (
            "max_block_ms",
            ": leave it out, for only overflow='block' lets callers wait, for block_timeout_ms",
        ),
        ("completely_else", ""),
    ],
)
def test_unknown_options(name: str, hint: str) -> None:
    """They are refused, with the nearest name there is."""
    with pytest.raises(ConfigurationError) as refused:
        KafkaHandler("localhost", "logs", **{name: 5})
    assert str(refused.value) == f"KafkaHandler has no option {name!r}{hint}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bootstrap_servers": "h", "topic": "t"}, "'bootstrap_servers': did you mean 'brokers'?"),
        ({"broker": "h", "topic": "t"}, "no option 'broker': did you mean 'brokers'?"),
        ({"brokers": "h", "topics": "t"}, "no option 'topics': did you mean 'topic'?"),
        ({"topic": "t"}, "brokers is empty: name at least one"),
        ({"brokers": "h"}, "topic='': a topic name can't be empty"),
        ({}, "brokers is empty: name at least one"),
    ],
)
def test_what_has_to_be_given(options: dict[str, Any], message: str) -> None:
    """Under a wrong name it is not missing, but misspelt, and the error says so."""
    with pytest.raises(ConfigurationError) as refused:
        KafkaHandler(**options)
    assert message in str(refused.value)


def test_all_options_of_the_producer_are_options_of_the_handler() -> None:
    """But for the time that ``produce()`` waits: a handler has no such call."""
    assert PRODUCER.keys() - HANDLER.keys() == {"max_block_ms"}


def test_a_handler_that_was_refused_leaves_no_thread() -> None:
    """Options are checked before anything is started."""
    before = threading.active_count()
    with pytest.raises(ConfigurationError):
        KafkaHandler("localhost", "logs", batch_size=0)
    assert threading.active_count() == before


def test_brokers_in_one_string(cluster: FakeKafka) -> None:
    """As an environment variable would have them."""
    with closing(KafkaHandler(",".join(cluster.addresses), "logs", **QUICK)) as handler:
        logger_to(handler).info("x")
        assert handler.flush() == 0
    assert messages(cluster) == ["x"]


# -- dictConfig ----------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _named_handlers() -> Iterator[None]:
    """Whatever a test configures is gone after it."""
    yield
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
    logging.getLogger("kiel_test.configured").handlers.clear()


def dict_config(brokers: str | list[str]) -> dict[str, Any]:
    """A program's configuration, but for the root logger."""
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
def test_dict_config(cluster: FakeKafka, read: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Names and numbers are all that a configuration needs, so that it may be a text file."""
    logging.config.dictConfig(read(dict_config(cluster.addresses)))
    logger = logging.getLogger("kiel_test.configured")
    (handler,) = logger.handlers
    with closing(handler):
        logger.debug("too low")
        logger.info("x", extra={"user": {"id": "ann"}})
        handler.flush()
    assert messages(cluster, "configured.INFO") == ["INFO x"]
    assert keys(cluster, "configured.INFO") == [b"ann"]
    batches = cluster.batches("configured.INFO").values()
    assert [batch.codec for part in batches for batch in part] == ["gzip"]
    assert cluster.requests("Produce")[0].client_id == "configured"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compresion": "gzip"}, "no option 'compresion': did you mean 'compression'?"),
        ({"overflow": "wait"}, "overflow='wait' must be one of"),
        ({"format": "xml"}, "format='xml' must be one of"),
        ({"serializer": "json.dumps"}, "a function is written 'ext://module.function'"),
        ({"fields": {"env": "ext://no.such.thing"}}, "can't be resolved"),
    ],
)
def test_a_wrong_option_is_readable_through_dict_config(
    options: dict[str, Any], message: str
) -> None:
    """dictConfig says which handler; its cause says which option."""
    config = dict_config("localhost")
    config["handlers"]["kafka"].update(options)
    with pytest.raises(ValueError, match="Unable to configure handler 'kafka'") as failure:
        logging.config.dictConfig(config)
    assert isinstance(failure.value.__cause__, ConfigurationError)
    assert message in str(failure.value.__cause__)


def test_every_option_as_text(cluster: FakeKafka) -> None:
    """Functions and handlers are references; mappings and lists are what YAML has."""
    config = dict_config(cluster.addresses)
    config["handlers"]["kafka"].update(
        yaml.safe_load("""
            format: json
            topic: logs
            serializer: ext://json.dumps
            context: ext://tests.handler.test_options.surroundings
            fields: {env: test, tags: [a, b], deploy: {by: "ext://json.__name__"}}
            rename: {message: msg}
            exclude: [thread, path]
            redact: [password]
            headers: {level: levelname}
            overflow: drop_lowest
            fallback: cfg://handlers.file
            on_error: ext://builtins.print
            internal_logger: kiel_test.internal
            chain: true
            chain_key: {env: PATH}
            flush_on_sigterm: false
        """)
    )
    config["handlers"]["file"] = {"class": "logging.NullHandler"}
    logging.config.dictConfig(config)
    logger = logging.getLogger("kiel_test.configured")
    (handler,) = logger.handlers
    with closing(handler):
        logger.info("x", extra={"password": "secret"})
        handler.flush()
    _start, record, _end = cluster.records("logs")[0]
    fields = json.loads(record.value or b"")
    expected = {"msg": "INFO x", "env": "test", "tags": ["a", "b"], "request": "r1"}
    assert fields["deploy"] == {"by": "json"}
    assert {name: fields[name] for name in expected} == expected
    assert fields["password"] == "[redacted]"
    assert without_stamp(record.headers) == (("level", b"INFO"),)


def surroundings() -> dict[str, str]:
    """The context function of a program."""
    return {"request": "r1"}


# -- what users see of a handler -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "base", "names"),
    [
        (Producer, object, {"connect", "produce", "flush", "close", "from_properties", "stats"}),
        (
            KafkaHandler,
            logging.Handler,
            {"from_properties", "health", "receipts", "rotate_key", "stats"},
        ),
        (AuditHandler, KafkaHandler, {"logger"}),
    ],
)
def test_dir_shows_what_users_call(client: Any, base: Any, names: set[str], tmp_path: Path) -> None:
    """And nothing else: other parts of the package use names with an underscore."""
    options: dict[str, Any] = {} if client is Producer else {"topic": "logs"}
    if client is AuditHandler:
        options = {**options, "spool_dir": tmp_path, "chain_key": "0123456789abcdef"}
    made = client("localhost", **options)
    if client is not Producer:
        made.close()
    shown = {name for name in dir(made) if not name.startswith("_")}
    inherited = {*dir(base), *(() if client is Producer else dir(logging.Handler()))}
    assert shown - inherited == names
