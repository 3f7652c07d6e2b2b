"""``kiel-logging check`` as people call it: the options of a handler, the output, the status."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from kiel_logging.check.target import Target, target
from kiel_logging.cli import main
from kiel_logging.errors import ConfigurationError
from kiel_logging.testing import FakeKafka


def chosen(**words: str) -> Target:
    """The target of a command line."""
    names = ("brokers", "config", "dictconfig", "topic", "spool_dir")
    return target(**{name: words.get(name) for name in names})


# -- the options of a handler ----------------------------------------------------------------------


@pytest.fixture
def document(tmp_path: Path) -> Path:
    """A logging configuration with a handler of each kind."""
    kafka: dict[str, Any] = {"brokers": ["kafka01:9092"], "topic": "logs", "level": "INFO"}
    handlers = {
        "plain": {"class": "kiel_logging.KafkaHandler", "max_request_size": 2048, **kafka},
        "audit": {
            "class": "kiel_logging.AuditHandler",
            **kafka,
            "level": "NOTSET",
            "spool_dir": str(tmp_path / "spool"),
        },
        "spooled": {
            "class": "kiel_logging.SpoolHandler",
            "spool_dir": str(tmp_path / "spool"),
            "topic": "logs",
        },
        "java": {
            "()": "kiel_logging.KafkaHandler.from_properties",
            "properties": {"bootstrap.servers": "kafka01:9092", "acks": "1"},
            "topic": "logs",
        },
        "template": {
            "class": "kiel_logging.KafkaHandler",
            "brokers": "cfg://where",
            "topic": "logs.{levelname}",
        },
        "wrong": {"class": "kiel_logging.KafkaHandler", "brokers": "kafka01", "topik": "logs"},
        "stream": {"class": "logging.StreamHandler"},
        "nowhere": {"class": "kiel_logging.NoHandler"},
    }
    path = tmp_path / "logging.json"
    path.write_text(json.dumps({"version": 1, "where": "kafka02:9092", "handlers": handlers}))
    return path


@pytest.mark.parametrize(
    ("name", "acks", "topic", "spools", "shared"),
    [
        ("plain", -1, "logs", False, False),
        ("audit", -1, "logs", True, False),
        ("java", 1, "logs", False, False),
        ("template", -1, None, False, False),
        ("spooled", None, "logs", True, True),
    ],
)
def test_a_handler_of_a_dictconfig(
    document: Path, name: str, acks: int | None, topic: str | None, spools: bool, shared: bool
) -> None:
    """Its class checks its options, with their references, and no handler is made."""
    before = list(logging._handlerList)  # type: ignore[attr-defined]
    loggers = dict(logging.root.manager.loggerDict)
    found = chosen(dictconfig=f"{document}:{name}")
    assert (found.topic, found.spool is not None, found.shared) == (topic, spools, shared)
    assert (None if found.producer is None else found.producer.required_acks) == acks
    assert logging._handlerList == before  # type: ignore[attr-defined]
    assert logging.root.manager.loggerDict == loggers


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        ("yaml", "logging: {handlers: {kafka: %s}, version: 1}"),
        ("yml", "{handlers: {kafka: %s}, version: 1}"),
        ("json", '{"logging": {"handlers": {"kafka": %s}, "version": 1}}'),
        ("toml", "logging.version = 1\n[logging.handlers.kafka]\n"),
    ],
)
def test_files_that_have_a_dictconfig(tmp_path: Path, suffix: str, text: str) -> None:
    """YAML, JSON and TOML; at the top, or below "logging"."""
    entry = {"class": "kiel_logging.KafkaHandler", "brokers": "kafka01", "topic": "logs"}
    path = tmp_path / f"logging.{suffix}"
    if suffix == "toml":
        text += "".join(f"{name} = {json.dumps(value)}\n" for name, value in entry.items())
    path.write_text(text.replace("%s", json.dumps(entry)))
    found = chosen(dictconfig=f"{path}:kafka", topic="others")
    assert found.producer is not None
    assert (str(found.producer.brokers[0]), found.topic) == ("kafka01:9092", "others")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("other", "has no handler 'other'; it has 'plain', 'audit'"),
        ("wrong", "did you mean 'topic'"),
        ("stream", "not by a handler of kiel_logging"),
        ("nowhere", "Cannot resolve 'kiel_logging.NoHandler'"),
        ("", "must be a file, ':' and a handler's name"),
    ],
)
def test_a_handler_that_can_not_be_checked(document: Path, name: str, message: str) -> None:
    """The message says why, as the handler itself would where it has an opinion."""
    with pytest.raises(ConfigurationError) as refused:
        chosen(dictconfig=f"{document}:{name}")
    assert message in str(refused.value)


@pytest.mark.parametrize("text", ["{", "[]", '{"version": 1}', '{"handlers": []}'])
def test_files_without_a_dictconfig(tmp_path: Path, text: str) -> None:
    """The message names the file."""
    path = tmp_path / "logging.json"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"logging\.json"):
        chosen(dictconfig=f"{path}:kafka")


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"topic": "logs"},
        {"brokers": "kafka01", "topic": "no topic"},
        {"brokers": "kafka01:x"},
        {"config": "/nowhere/client.properties"},
        {"dictconfig": "/nowhere/logging.json:kafka"},
        {"dictconfig": "logging.json:kafka", "brokers": "kafka01"},
    ],
    ids=str,
)
def test_wrong_options(words: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, and a line that says why."""
    given = [f"--{name}={value}" for name, value in words.items()]
    assert main(["check", *given]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("kiel-logging check: ")


def test_a_client_s_properties(tmp_path: Path) -> None:
    """As of other commands; --brokers wins."""
    path = tmp_path / "client.properties"
    path.write_text("bootstrap.servers=kafka01\nacks=1\ncompression.type=gzip\n")
    found = chosen(config=str(path), brokers="kafka02", spool_dir=str(tmp_path))
    assert found.producer is not None
    assert str(found.producer.brokers[0]) == "kafka02:9092"
    assert (found.producer.required_acks, found.codec, found.topic) == (1, "gzip", None)
    assert found.spool is not None


# -- the output ------------------------------------------------------------------------------------


def test_the_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """One for each finding, with what to do below those that ask for it, and a sum; status 1 where
    something fails."""
    with FakeKafka() as cluster:
        words = ["check", "--brokers", cluster.addresses[0], "--topic", "logs"]
        assert main(words) == 1
    *lines, last = capsys.readouterr().out.splitlines()
    [at] = [number for number, line in enumerate(lines) if line.startswith("fail")]
    assert lines[at] == "fail  topic        there is no topic 'logs'"
    assert lines[at + 1].startswith(f"{'':19}-> create it")
    assert last == "5 ok, 1 warning, 1 failure"


def test_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    """The same as JSON; status 0 where nothing fails, whatever is warned of."""
    with FakeKafka() as cluster:
        cluster.add_topic("logs")
        words = ["check", "--json", "--send", "--brokers", cluster.addresses[0], "--topic", "logs"]
        assert main(words) == 0
        assert len(cluster.records("logs")[0]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["fail"] == 0
    assert document["warn"] == len([1 for one in document["findings"] if one["advice"]])
    assert {
        "check": "read back",
        "verdict": "ok",
        "text": "the record came back, as it was sent",
    }.items() <= next(one for one in document["findings"] if one["check"] == "read back").items()
