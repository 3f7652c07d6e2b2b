"""setup(): one call, what the environment says, and exceptions that nothing catches."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kiel_logging
from kiel_logging import KafkaHandler, configuration
from kiel_logging.configuration import from_environment, resource
from kiel_logging.errors import ConfigurationError
from kiel_logging.handler.options import HANDLER
from kiel_logging.testing import FakeKafka, SentRecord, captured_logs
from tests.handler.process.child import run_program

NOWHERE = "127.0.0.1:9"
NAME = "tests.test_setup"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without variables that mean anything here."""
    for name in list(os.environ):
        if name.startswith(("KIEL_LOGGING_", "OTEL_")):
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Takes the handlers that setup() made off their loggers, and closes them."""
    levels = {name: logging.getLogger(name).level for name in ("root", NAME)}
    yield
    for made in configuration._made.values():
        for logger in made.loggers:
            logger.removeHandler(made.handler)
        made.handler.close()
    configuration._made.clear()
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


# -- one call ------------------------------------------------------------------------------------


def test_the_handler_hangs_on_the_root() -> None:
    """With INFO and up, unless another level is asked for."""
    with captured_logs() as logs:
        handler = kiel_logging.setup(NOWHERE, "shop.{levelname}", key_field="user")
        assert handler in logging.getLogger().handlers
        logging.getLogger(NAME).info("paid", extra={"user": "ada"})
        logging.getLogger(NAME).debug("not this")
    [record] = logs
    assert (record.topic, record.key, record.value["message"]) == ("shop.INFO", b"ada", "paid")


@pytest.mark.parametrize("logger", [NAME, logging.getLogger(NAME)], ids=["name", "logger"])
def test_the_handler_hangs_on_the_logger_that_is_named(logger: Any) -> None:
    """The root has its own handlers, as before."""
    before = logging.getLogger().handlers.copy()
    with captured_logs() as logs:
        kiel_logging.setup(NOWHERE, "logs", logger=logger, level="DEBUG")
        logging.getLogger(NAME).debug("here")
        logging.getLogger("tests.other").error("elsewhere")
    assert [one.value["message"] for one in logs] == ["here"]
    assert logging.getLogger().handlers == before


def test_another_call_replaces_the_handler() -> None:
    """As when a cell of a notebook runs again: no record comes twice."""
    with captured_logs() as logs:
        first = kiel_logging.setup(NOWHERE, "first", logger=NAME)
        second = kiel_logging.setup(NOWHERE, "second", logger=NAME)
        logging.getLogger(NAME).info("hello")
    assert [one.topic for one in logs] == ["second"]
    assert first not in logging.getLogger(NAME).handlers
    assert second in logging.getLogger(NAME).handlers
    assert "closed" in repr(first)


def test_a_call_that_fails_changes_nothing() -> None:
    """The handler of the call before stays."""
    first = kiel_logging.setup(NOWHERE, "first", logger=NAME)
    with pytest.raises(ConfigurationError, match="batch_size=0"):
        kiel_logging.setup(NOWHERE, "second", logger=NAME, batch_size=0, level="ERROR")
    assert logging.getLogger(NAME).handlers == [first]
    assert logging.getLogger(NAME).level == logging.INFO


@pytest.mark.parametrize(("given", "missing"), [({}, "BROKERS"), ({"brokers": "a"}, "TOPIC")])
def test_brokers_and_topic_are_needed(given: dict[str, Any], missing: str) -> None:
    """The error names the variable that could have them."""
    with pytest.raises(ConfigurationError, match=f"or set KIEL_LOGGING_{missing}$"):
        kiel_logging.setup(**given)


# -- the environment -----------------------------------------------------------------------------


def test_what_is_not_given_comes_from_variables(environment: pytest.MonkeyPatch) -> None:
    """An argument wins over a variable."""
    environment.setenv("KIEL_LOGGING_BROKERS", f"{NOWHERE},127.0.0.2:9")
    environment.setenv("KIEL_LOGGING_TOPIC", "variable")
    environment.setenv("KIEL_LOGGING_LOGGER", NAME)
    environment.setenv("KIEL_LOGGING_LEVEL", "debug")
    environment.setenv("KIEL_LOGGING_REDACT", "password")
    with captured_logs() as logs:
        handler = kiel_logging.setup(topic="argument")
        logging.getLogger(NAME).debug("hello", extra={"password": "secret"})
    assert "127.0.0.2" in repr(handler)
    [record] = logs
    assert record.topic == "argument"
    assert record.value["password"] != "secret"


TEXTS: dict[str, tuple[str, Any]] = {
    "BATCH_SIZE": ("automatic", "automatic"),
    "BUFFER_RECORDS": ("500", 500),
    "LINGER_MS": ("2.5", 2.5),
    "COMPRESSION_LEVEL": ("9", 9),
    "CHAIN": ("true", True),
    "IDEMPOTENCE": ("No", False),
    "CAPTURE_UNCAUGHT": ("1", True),
    "EXCLUDE": ("thread, user.address,", ["thread", "user.address"]),
    "FIELDS": ("env=prod,note=a%2Cb=c", {"env": "prod", "note": "a,b=c"}),
    "SPOOL_DIR": ("/var/spool/shop", "/var/spool/shop"),
    "LEVEL": ("15", 15),
    "SASL_PASSWORD": ("secret", {"env": "KIEL_LOGGING_SASL_PASSWORD"}),
    "CHAIN_KEY_FILE": ("/run/secrets/audit", {"file": "/run/secrets/audit"}),
}


@pytest.mark.parametrize("variable", TEXTS)
def test_a_variable_is_read_as_its_option(variable: str) -> None:
    """Numbers, words, lists and mappings; a secret stays where it is."""
    text, value = TEXTS[variable]
    name = variable.removesuffix("_FILE").lower()
    assert from_environment({f"KIEL_LOGGING_{variable}": text, "HOME": "/"}) == {name: value}


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("TOPCI", "logs", "no option 'topci': did you mean 'topic'"),
        ("ACKS", "1", "did you mean 'required_acks'"),
        ("CHAIN", "perhaps", "KIEL_LOGGING_CHAIN='perhaps' must be true or false"),
        ("BATCH_SIZE", "many", "KIEL_LOGGING_BATCH_SIZE='many' must be a number"),
        ("FIELDS", "env", "must be names and values, as in a=1,b=2"),
        ("SERIALIZER", "f", "takes an object; give it to setup()"),
    ],
)
def test_a_variable_that_can_t_be_used(variable: str, text: str, message: str) -> None:
    """The error names it, and says what is allowed."""
    with pytest.raises(ConfigurationError) as refused:
        from_environment({f"KIEL_LOGGING_{variable}": text})
    assert message in str(refused.value)
    assert f"KIEL_LOGGING_{variable}" in str(refused.value)


SAMPLES = [
    *("true", "-1", "5", "1048576", "a=b", "text", "100/s", "DEBUG=0.5"),
    *("INFO", "PLAIN", "SSL", "block", "always", "full"),
]


@pytest.mark.parametrize("name", HANDLER)
def test_each_option_has_a_variable_or_a_reason(name: str) -> None:
    """A new option is not forgotten: some text is a value of it, or it takes objects alone."""
    accepted = []
    for text in SAMPLES:
        try:
            value = from_environment({f"KIEL_LOGGING_{name.upper()}": text})[name]
            HANDLER[name].kind.check(name, value)
        except ConfigurationError:
            continue
        accepted.append(text)
    assert bool(accepted) == (name not in configuration._OBJECTS)


def test_a_password_of_a_variable_is_used_and_not_shown(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also one in a file that a variable names, as container platforms have it."""
    (tmp_path / "password").write_text("hunter2\n")
    environment.setenv("KIEL_LOGGING_SASL_USERNAME", "ada")
    environment.setenv("KIEL_LOGGING_SASL_PASSWORD_FILE", str(tmp_path / "password"))
    secured: Any = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN"}
    with FakeKafka(users={"ada": "hunter2"}, topics={"logs": 1}) as kafka:
        handler = kiel_logging.setup(kafka.addresses, "logs", logger=NAME, **secured)
        logging.getLogger(NAME).info("hello")
        assert kafka.arrived("logs", 1)[0].value["message"] == "hello"
        assert "hunter2" not in repr(vars(handler))
        handler.close()


def test_opentelemetry_s_variables_become_fields(environment: pytest.MonkeyPatch) -> None:
    """OTEL_SERVICE_NAME wins over the attribute; ``fields`` win over both."""
    environment.setenv("OTEL_SERVICE_NAME", "shop")
    attributes = "service.name=other,deployment.environment.name=pr%20od,odd,team=red"
    environment.setenv("OTEL_RESOURCE_ATTRIBUTES", attributes)
    assert resource(os.environ) == {
        "service.name": "shop",
        "deployment.environment.name": "pr od",
        "team": "red",
    }
    with captured_logs() as logs:
        kiel_logging.setup(NOWHERE, "logs", logger=NAME, fields={"team": "blue"})
        logging.getLogger(NAME).info("hello")
        kiel_logging.setup(NOWHERE, "logs", logger=NAME, format="ecs")
        logging.getLogger(NAME).info("hello")
    plain, ecs = logs
    assert (plain.value["service.name"], plain.value["team"]) == ("shop", "blue")
    assert ecs.value["service"] == {"name": "shop"}


def test_other_handlers_know_nothing_of_the_environment(environment: pytest.MonkeyPatch) -> None:
    """KafkaHandler takes what it is given."""
    environment.setenv("KIEL_LOGGING_TOPCI", "x")
    environment.setenv("OTEL_SERVICE_NAME", "shop")
    with captured_logs() as logs:
        KafkaHandler(NOWHERE, "logs").handle(logging.makeLogRecord({"msg": "hello"}))
    assert "service.name" not in logs[0].value


# -- programs --------------------------------------------------------------------------------------


def run(kafka: FakeKafka, code: str, **options: Any) -> Any:
    """Run a program that is set up with these options."""
    given = {"brokers": kafka.addresses, "topic": "logs", **options}
    return run_program(f"import kiel_logging\nkiel_logging.setup(**{given!r})\n{code}")


def by_message(kafka: FakeKafka, count: int) -> dict[str, SentRecord]:
    """The records that arrived, by their messages."""
    found = kafka.arrived("logs", count)
    assert len(found) == count
    return {one.value["message"]: one for one in found}


@pytest.mark.programs
def test_the_traceback_that_ends_a_program_arrives(fake_kafka: FakeKafka) -> None:
    """As CRITICAL, with the place where it was raised; the hook from before gets it too, and the
    program's own that is put on top."""
    code = """
import sys
before = sys.excepthook
def own(*arguments):
    print("own")
    before(*arguments)
sys.excepthook = own
kiel_logging.setup(capture_uncaught=True, **given)
def fail():
    raise ValueError("boom")
fail()
"""
    given = {"brokers": fake_kafka.addresses, "topic": "logs"}
    done = run(fake_kafka, f"given = {given!r}\n{code}", capture_uncaught=True)
    assert done.returncode == 1
    assert done.stdout == "own\n"
    assert done.stderr.count("ValueError: boom") == 1
    [record] = by_message(fake_kafka, 1).values()
    assert record.value["message"] == "uncaught ValueError"
    assert (record.value["level"], record.value["function"]) == ("CRITICAL", "fail")
    assert record.value["exception"]["message"] == "boom"
    assert "in fail" in record.value["exception"]["traceback"]


CATCHES_NOTHING = """
import asyncio, gc, logging, sys, threading, warnings

def fail():
    raise ValueError("in a thread")
for work in (fail, sys.exit):
    thread = threading.Thread(target=work, name="worker")
    thread.start()
    thread.join()

class Odd:
    def __del__(self):
        raise KeyError("odd")
Odd()

async def lost():
    raise OSError("lost")
async def main():
    task = asyncio.get_running_loop().create_task(lost())
    await asyncio.sleep(0)
    del task
    gc.collect()
asyncio.run(main())

warnings.warn("old", DeprecationWarning, stacklevel=1)
logging.getLogger("shop").error("last")
"""


@pytest.mark.programs
@pytest.mark.parametrize("logger", [None, "shop"], ids=["root", "named"])
def test_threads_destructors_tasks_and_warnings(fake_kafka: FakeKafka, logger: str | None) -> None:
    """All arrive once, whichever logger the handler hangs on; stderr has what it always has."""
    options = {"capture_uncaught": True, "capture_warnings": True, "logger": logger}
    done = run(fake_kafka, CATCHES_NOTHING, **options)
    assert done.returncode == 0, done.stderr
    records = by_message(fake_kafka, 5)
    thread = records["uncaught ValueError in thread worker"]
    assert (thread.value["level"], thread.value["logger"]) == ("ERROR", "uncaught")
    odd = records["KeyError that could not be raised, in Odd.__del__"]
    assert "KeyError" in odd.value["exception"]["traceback"]
    assert records["Task exception was never retrieved" + task_of(records)].value["exception"]
    assert any("DeprecationWarning: old" in message for message in records)
    assert "last" in records
    assert "in a thread" in done.stderr
    assert "Exception ignored in" in done.stderr


def task_of(records: dict[str, SentRecord]) -> str:
    """The rest of asyncio's message, which shows the task."""
    start = "Task exception was never retrieved"
    return next(one.removeprefix(start) for one in records if one.startswith(start))


@pytest.mark.programs
def test_ctrl_c_is_no_fault(fake_kafka: FakeKafka) -> None:
    """No record says so; the program ends as without us."""
    done = run(fake_kafka, "raise KeyboardInterrupt", capture_uncaught=True)
    assert done.returncode == -2
    assert "KeyboardInterrupt" in done.stderr
    assert fake_kafka.arrived("logs") == []


@pytest.mark.programs
def test_a_hook_that_was_there_gets_all(fake_kafka: FakeKafka) -> None:
    """In place of the interpreter's, if the program had one."""
    code = """
import json, sys, threading
seen = []
sys.excepthook = lambda kind, *_: print(json.dumps([*seen, kind.__name__]))
threading.excepthook = lambda arguments: seen.append(arguments.exc_type.__name__)
sys.unraisablehook = lambda arguments: seen.append(arguments.exc_type.__name__)
import kiel_logging
kiel_logging.setup(BROKERS, "logs", capture_uncaught=True)
def fail():
    raise ValueError
thread = threading.Thread(target=fail)
thread.start()
thread.join()
class Odd:
    def __del__(self):
        raise KeyError
Odd()
raise OSError
"""
    done = run_program(code.replace("BROKERS", repr(fake_kafka.addresses)))
    assert json.loads(done.stdout) == ["ValueError", "KeyError", "OSError"]
    assert done.stderr == ""
    assert len(fake_kafka.arrived("logs", 3)) == 3
