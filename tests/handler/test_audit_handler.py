"""AuditHandler: the safe choices, and a logger that can't be silenced."""

from __future__ import annotations

import json
import logging
import logging.config
import signal
import unittest
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kiel_logging import AuditHandler
from kiel_logging.errors import ConfigurationError
from kiel_logging.handler.audit_logger import AuditLogger
from kiel_logging.proof.chain import Chain
from kiel_logging.testing import FakeKafka
from kiel_logging.verify.names import Proof
from tests.handler.process.child import run_by_hand
from tests.handler.shipped import QUICK, Collecting, messages, stored
from tests.support.stamps import audited, events

MakeAudit = Callable[..., AuditHandler]


@pytest.fixture
def name() -> Iterator[str]:
    """Of a logger that no other test has."""
    name = f"audit-{uuid.uuid4().hex}"
    yield name
    for known in [each for each in logging.Logger.manager.loggerDict if each.startswith(name)]:
        del logging.Logger.manager.loggerDict[known]


@pytest.fixture
def make(cluster: FakeKafka, tmp_path: Path, name: str) -> Iterator[MakeAudit]:
    """Makes audit handlers for the cluster and the logger."""
    made: list[AuditHandler] = []

    def make(**options: Any) -> AuditHandler:
        given = {**QUICK, "spool_dir": tmp_path / "spool", "logger": name, **options}
        made.append(AuditHandler(cluster.addresses, "logs", **given))
        return made[-1]

    yield make
    for handler in made:
        handler.close()


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Whatever a test does to the root logger and to logging.disable()."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.disable(logging.NOTSET)


# -- the safe choices -----------------------------------------------------------------------------


def test_one_without_a_key_says_so(
    make: MakeAudit, cluster: FakeKafka, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once, on stderr, and in the record that starts its stream: it proves nothing against people
    who can write to the topic."""
    handler = make()
    handler.logger.info("x")
    handler.logger.info("x")
    handler.close()
    assert capsys.readouterr().err.count("has no chain_key: anybody who can write") == 1
    ((_, details), _) = events(cluster.records("logs"))
    assert json.loads(details)["key"] == ""
    assert audited(cluster.records("logs")).counts() == {"unsigned": 4}


def test_one_with_a_key_says_which(
    make: MakeAudit, cluster: FakeKafka, capsys: pytest.CaptureFixture[str]
) -> None:
    """By an id that does not show the key; there is nothing to warn of."""
    key = "0123456789abcdef"
    handler = make(chain_key=key)
    handler.logger.info("x")
    handler.close()
    assert capsys.readouterr().err == ""
    ((_, details), _) = events(cluster.records("logs"))
    assert json.loads(details)["key"] == Chain.of(key.encode()).key_id
    verdict = audited(cluster.records("logs"), secret=key.encode())
    assert (verdict.counts(), verdict.proof) == ({}, Proof.KEY)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("required_acks", 1),
        ("acks", 0),
        ("idempotence", False),
        ("overflow", "drop_newest"),
        ("chain", False),
        ("level", "ERROR"),
    ],
)
def test_what_would_make_it_less_safe_is_refused(
    make: MakeAudit, option: str, value: object
) -> None:
    """By name, with the reason, and with what takes it."""
    with pytest.raises(ConfigurationError, match=f"{option}=.*AuditHandler.*KafkaHandler takes it"):
        make(**{option: value})


@pytest.mark.parametrize(
    ("option", "value"), [("required_acks", -1), ("chain", True), ("overflow", "block")]
)
def test_a_safe_choice_may_be_named(make: MakeAudit, option: str, value: object) -> None:
    """It is what it would be."""
    make(**{option: value})


def test_it_needs_a_directory(make: MakeAudit) -> None:
    """A default might be lost with the machine's temporary files."""
    with pytest.raises(ConfigurationError, match="spool_dir"):
        make(spool_dir=None)


@pytest.mark.parametrize("logger", ["", "root", None, 7])
def test_a_logger_of_its_own(make: MakeAudit, logger: object) -> None:
    """Not the root, whose levels are everybody's."""
    with pytest.raises(ConfigurationError, match="logger="):
        make(logger=logger)


# -- it can't be silenced -------------------------------------------------------------------------


def raise_level(logger: logging.Logger) -> None:
    logger.setLevel(logging.CRITICAL)


def raise_root_level(logger: logging.Logger) -> None:
    logging.getLogger().setLevel(logging.CRITICAL)


def disable_logging(logger: logging.Logger) -> None:
    logging.disable(logging.CRITICAL)


def disable(logger: logging.Logger) -> None:
    logger.disabled = True


def clear_handlers(logger: logging.Logger) -> None:
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
    logger.handlers.clear()
    logger.handlers = []


def filter_all(logger: logging.Logger) -> None:
    logger.addFilter(lambda record: False)


def configure_anew(logger: logging.Logger) -> None:
    logging.config.dictConfig(
        {"version": 1, "incremental": True, "loggers": {logger.name: {"level": "CRITICAL"}}}
    )


def raise_the_handlers_level(logger: logging.Logger) -> None:
    logger.handlers[0].setLevel(logging.CRITICAL)


SILENCERS = [
    raise_level,
    raise_root_level,
    disable_logging,
    disable,
    clear_handlers,
    filter_all,
    configure_anew,
    raise_the_handlers_level,
]


@pytest.mark.parametrize("silence", SILENCERS, ids=lambda silence: silence.__name__)
def test_nobody_silences_it(
    make: MakeAudit, cluster: FakeKafka, silence: Callable[[logging.Logger], None], name: str
) -> None:
    """Whatever is done to its logger, to all loggers, or to itself."""
    before = logging.getLogger(name)
    handler = make()
    child = logging.getLogger(f"{name}.payments")
    silence(before)
    for logger in (before, logging.getLogger(name), handler.logger):
        logger.debug("deed")
    assert before.isEnabledFor(logging.DEBUG)
    if silence is not disable_logging:  # it stops a child before anybody else is asked
        child.info("deed")
    assert handler.flush() == 0
    assert messages(cluster) == ["deed"] * (4 if silence is not disable_logging else 3)


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("silence", SILENCERS[:-2], ids=lambda silence: silence.__name__)
def test_nobody_silences_its_children(
    make: MakeAudit,
    cluster: FakeKafka,
    silence: Callable[[logging.Logger], None],
    earlier: bool,
    name: str,
) -> None:
    """Those that it makes, and those that were there before."""
    if earlier:
        logging.getLogger(f"{name}.payments")
    handler = make()
    child = handler.logger.getChild("payments")
    child.propagate = False
    silence(child)
    child.debug("deed")
    assert handler.flush() == 0
    assert messages(cluster) == ["deed"]


def test_a_full_dict_config_does_not_disable_it(
    cluster: FakeKafka, tmp_path: Path, name: str
) -> None:
    """One entry among the handlers makes the stream; loggers that exist are disabled then."""
    logger = logging.getLogger(name)
    logging.config.dictConfig(
        {
            "version": 1,
            "handlers": {
                "audit": {
                    "class": "kiel_logging.AuditHandler",
                    "brokers": cluster.addresses,
                    "topic": "logs",
                    "spool_dir": str(tmp_path),
                    "logger": name,
                    **QUICK,
                }
            },
            "root": {"level": "CRITICAL"},
        }
    )
    logger.info("deed")
    [handler] = logger.handlers
    assert isinstance(handler, AuditHandler)
    handler.close()
    assert messages(cluster) == ["deed"]


@pytest.mark.parametrize("disable", [False, True])
def test_a_later_dict_config_does_not_end_it(
    make: MakeAudit, cluster: FakeKafka, disable: bool
) -> None:
    """Though it closes all handlers that it finds."""
    handler = make()
    handler.logger.info("before")
    logging.config.dictConfig(
        {"version": 1, "disable_existing_loggers": disable, "root": {"level": "INFO"}}
    )
    handler.logger.info("after")
    assert handler.flush() == 0
    assert messages(cluster) == ["before", "after"]


def test_the_same_dict_config_again_replaces_it(
    cluster: FakeKafka, tmp_path: Path, name: str
) -> None:
    """One handler has the stream; each record is there once."""
    audit = {
        "class": "kiel_logging.AuditHandler",
        "brokers": cluster.addresses,
        "topic": "logs",
        "spool_dir": str(tmp_path),
        "logger": name,
        **QUICK,
    }
    logger = logging.getLogger(name)
    for number in range(3):
        logging.config.dictConfig({"version": 1, "handlers": {"audit": audit}})
        logger.info("deed %d", number)
    [handler] = logger.handlers
    handler.close()
    assert sorted(messages(cluster)) == ["deed 0", "deed 1", "deed 2"]


def test_what_is_logged_while_the_program_ends(cluster: FakeKafka, tmp_path: Path) -> None:
    """Logging closes it, after the hooks that were registered later than logging."""
    code = f"""
import atexit, logging.config
atexit.register(lambda: logging.getLogger("audit").info("at exit"))
from kiel_logging import AuditHandler
AuditHandler(options["brokers"], "logs", spool_dir={str(tmp_path)!r}, chain_key="0123456789abcdef")
logging.config.dictConfig({{"version": 1}})
logging.getLogger("audit").info("deed")
"""
    program = run_by_hand(code, brokers=cluster.addresses)
    assert (program.returncode, program.stderr) == (0, "")
    assert messages(cluster) == ["deed", "at exit"]
    assert stored(cluster)[-1]["function"] == "end"


def test_sigterm_delivers_first(cluster: FakeKafka, tmp_path: Path) -> None:
    """As a container is stopped."""
    code = f"""
from kiel_logging import AuditHandler
AuditHandler(options["brokers"], "logs", spool_dir={str(tmp_path)!r}, linger_ms=60_000)
for number in range(100): logging.getLogger("audit").info("%d", number)
terminate()
"""
    program = run_by_hand(code, brokers=cluster.addresses)
    assert program.returncode == -signal.SIGTERM
    assert messages(cluster) == [str(number) for number in range(100)]


def falsify(record: logging.LogRecord) -> bool:
    """Make another record of it."""
    record.msg = "nothing happened"
    return False


def stumble(record: logging.LogRecord) -> bool:
    """Not able to do what it is for."""
    raise RuntimeError("no way")


@pytest.mark.parametrize("where", ["logger", "handler"])
def test_filters_do_not_change_what_it_gets(
    make: MakeAudit, cluster: FakeKafka, where: str
) -> None:
    """They come after it."""
    handler = make()
    (handler.logger if where == "logger" else handler).addFilter(falsify)
    handler.logger.info("ada deleted everything")
    assert handler.flush() == 0
    assert messages(cluster) == ["ada deleted everything"]


def test_a_filter_that_raises_comes_too_late(make: MakeAudit, cluster: FakeKafka) -> None:
    """Its exception is the program's; the record is stored."""
    handler, other = make(), Collecting()
    handler.logger.addHandler(other)
    handler.logger.addFilter(stumble)
    with pytest.raises(RuntimeError):
        handler.logger.error("deed")
    assert handler.flush() == 0
    assert messages(cluster) == ["deed"]


def test_it_is_named_among_the_handlers_of_its_logger(make: MakeAudit, cluster: FakeKafka) -> None:
    """Nothing is there twice."""
    handler = make()
    handler.logger.addHandler(handler)
    handler.logger.info("deed")
    assert handler.logger.handlers == [handler]
    assert handler.flush() == 0
    assert messages(cluster) == ["deed"]


def test_a_level_for_the_handler_is_told_of(
    make: MakeAudit, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has no effect."""
    handler = make()
    handler.setLevel("ERROR")
    assert handler.level == logging.NOTSET
    assert "all levels" in capsys.readouterr().err
    with pytest.raises(ValueError, match="LOUD"):
        handler.setLevel("LOUD")


# -- other handlers -------------------------------------------------------------------------------


def test_other_handlers_go_by_the_rules(make: MakeAudit) -> None:
    """Levels, filters, disabled and propagate are theirs."""
    handler, own, above = make(), Collecting(), Collecting()
    logger, root = handler.logger, logging.getLogger()
    logger.addHandler(own)
    root.addHandler(above)
    root.setLevel(logging.WARNING)
    logger.info("quiet")  # the root's level, where it has none
    logger.warning("loud")
    logger.setLevel(logging.INFO)
    logger.info("as it likes")
    logger.propagate = True
    logger.info("everywhere")
    logger.disabled = True
    logger.info("nowhere else")
    logger.disabled = False
    own.setLevel(logging.ERROR)
    logger.info("above only")
    logging.disable(logging.CRITICAL)
    logger.info("nowhere else")
    logging.disable(logging.NOTSET)
    logger.addFilter(lambda record: False)
    logger.error("nowhere else")
    assert own.messages == ["loud", "as it likes", "everywhere"]
    assert above.messages == ["everywhere", "above only"]


def test_a_closed_handler_leaves_an_ordinary_logger(make: MakeAudit, cluster: FakeKafka) -> None:
    """The level that was set counts again."""
    handler, other = make(), Collecting()
    logger = handler.logger
    logger.setLevel(logging.ERROR)
    logger.addHandler(other)
    handler.close()
    assert logger.handlers == [other]
    assert not logger.isEnabledFor(logging.INFO)
    logger.info("x")
    logger.error("y")
    logger.disabled = True
    logger.error("z")
    assert other.messages == ["y"]
    assert messages(cluster) == []


def test_two_streams_of_one_logger(make: MakeAudit, cluster: FakeKafka, tmp_path: Path) -> None:
    """Each has all of it, until it is closed."""
    cluster.add_topic("copy", 1)
    first = make()
    second = AuditHandler(
        cluster.addresses, "copy", spool_dir=tmp_path / "other", logger=first.logger.name, **QUICK
    )
    assert first.logger is second.logger
    first.logger.info("to both")
    first.close()
    second.logger.info("to one")
    second.close()
    assert messages(cluster) == ["to both"]
    assert messages(cluster, "copy") == ["to both", "to one"]


class Verbose(logging.Logger):
    """A program's own class of loggers."""

    def trace(self, text: str) -> None:
        """Below DEBUG."""
        self.log(5, text)


def test_a_logger_class_of_the_program(make: MakeAudit, cluster: FakeKafka, name: str) -> None:
    """It still has what it had."""
    manager = logging.Logger.manager
    previous = manager.loggerClass
    manager.setLoggerClass(Verbose)
    try:
        logger = logging.getLogger(name)
    finally:
        manager.loggerClass = previous
    handler = make()
    assert isinstance(logger, AuditLogger)
    assert isinstance(logger, Verbose)
    logger.trace("deep")
    assert handler.flush() == 0
    assert messages(cluster) == ["deep"]


# -- beside others --------------------------------------------------------------------------------


def test_tools_that_replace_call_handlers(
    make: MakeAudit, cluster: FakeKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sentry and others hear what other handlers get; the stream has all, once."""
    handler, other, heard = make(), Collecting(), list[str]()
    plain = logging.Logger.callHandlers

    def listen(logger: logging.Logger, record: logging.LogRecord) -> None:
        heard.append(record.getMessage())
        plain(logger, record)

    monkeypatch.setattr(logging.Logger, "callHandlers", listen)
    handler.logger.addHandler(other)
    handler.logger.setLevel(logging.ERROR)
    handler.logger.info("paid")
    handler.logger.error("refused")
    handler.close()
    assert (heard, other.messages) == (["refused"], ["refused"])
    assert messages(cluster) == ["paid", "refused"]


def test_no_other_handler(make: MakeAudit, capsys: pytest.CaptureFixture[str]) -> None:
    """logging's last resort, stderr, is for loggers without any handler."""
    make().logger.critical("paid")
    assert "paid" not in capsys.readouterr().err


def test_assert_logs(make: MakeAudit, cluster: FakeKafka) -> None:
    """unittest's block sees what is logged in it, and leaves the logger as it was."""
    handler, other = make(), Collecting()
    logger = handler.logger
    logger.addHandler(other)
    logger.propagate = False
    with unittest.TestCase().assertLogs(logger, "INFO") as seen:
        logger.info("inside")
    logger.error("behind")
    assert seen.output == [f"INFO:{logger.name}:inside"]
    assert logger.handlers == [handler, other]
    assert other.messages == ["behind"]
    handler.close()
    assert messages(cluster) == ["inside", "behind"]
    assert logger.handlers == [other]
