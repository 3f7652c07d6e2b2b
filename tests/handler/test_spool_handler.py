"""SpoolHandler: a record is in a file when its logging call returns, and none is in memory."""

from __future__ import annotations

import json
import logging
import logging.config
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from kiel_logging import SpoolHandler
from kiel_logging.errors import ConfigurationError, SpoolError
from kiel_logging.journal.directory import streams_of
from kiel_logging.journal.frames import EVENT, Frame
from kiel_logging.journal.segments import Descriptor
from kiel_logging.journal.stream import START
from tests.handler.shipped import logger_to
from tests.support.small_disk import on_small_disk
from tests.support.waiting import in_threads

PROGRAM = """
import logging, os, signal, sys, threading, time
from kiel_logging import SpoolHandler
handler = SpoolHandler({root!r}, "logs", {options})
logger = logging.Logger("shop")
logger.addHandler(handler)
"""


def frames_in(root: Path) -> list[Frame]:
    """Return all frames below a spool_dir, of one writer after the other."""
    found = list[Frame]()
    for instance in sorted(path for path in root.iterdir() if path.is_dir()):
        for stream in streams_of(instance).values():
            position = START
            while (run := stream.read(position, ended=True)).entries:
                found += [entry for entry in run.entries if isinstance(entry, Frame)]
                position = run.position
    return found


def messages(root: Path) -> list[str]:
    """Return the messages of all records below a spool_dir."""
    frames = [one for one in frames_in(root) if one.kind != EVENT]
    return [json.loads(one.value or b"")["message"] for one in frames]


def events(root: Path) -> list[str]:
    """Return the names of the handler's own records below a spool_dir."""
    return [
        str(value, "ascii")
        for one in frames_in(root)
        for name, value in one.headers
        if one.kind == EVENT and name == "kiel-event" and value is not None
    ]


def run(root: Path, code: str, *prefix: str, options: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program with a SpoolHandler."""
    program = PROGRAM.format(root=str(root), options=options) + code
    command = [*prefix, sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c"]
    return subprocess.run(
        [*command, program], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.fixture
def handler(tmp_path: Path) -> Iterator[SpoolHandler]:
    """A handler with an empty directory."""
    with closing(SpoolHandler(tmp_path, "logs")) as made:
        yield made


def test_a_record_is_in_a_file_when_its_call_returns(handler: SpoolHandler, tmp_path: Path) -> None:
    """As KafkaHandler would send it: by compiled code and by Python, and in this order."""
    logger = logger_to(handler)
    logger.info("by C")
    logger.info("by %r", Path("Python"), extra={"user": "ada"})
    assert messages(tmp_path) == ["by C", f"by {Path('Python')!r}"]
    assert handler.stats().emitted == handler.stats().spooled == 2


def test_all_that_makes_a_record_is_as_with_kafka_handler(tmp_path: Path) -> None:
    """Key, headers, topic, format, fields and redaction."""
    options: dict[str, Any] = {
        "key_field": "user",
        "headers": {"lvl": "levelname"},
        "fields": {"app": "shop"},
        "redact": ["password"],
    }
    with closing(SpoolHandler(tmp_path, "logs.{levelname}", **options)) as handler:
        logger_to(handler).error("hi", extra={"user": "ada", "password": "secret"})
        (frame,) = frames_in(tmp_path)
        value = json.loads(frame.value or b"")
        assert (frame.key, frame.headers) == ("ada", (("lvl", b"ERROR"),))
        assert (value["app"], value["message"]) == ("shop", "hi")
        assert "secret" not in str(value)
        assert list(tmp_path.glob("*/logs.ERROR/00000001.log")) != []


def test_one_entry_of_a_dict_config_is_enough(tmp_path: Path) -> None:
    """And a second dictConfig closes the first handler."""
    entry = {"class": "kiel_logging.SpoolHandler", "spool_dir": str(tmp_path), "topic": "logs"}
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"kafka": entry},
        "loggers": {"kiel_test.spooled": {"level": "INFO", "handlers": ["kafka"]}},
    }
    for number in (1, 2):
        logging.config.dictConfig(config)
        logging.getLogger("kiel_test.spooled").info("%d", number)
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
    assert sorted(messages(tmp_path)) == ["1", "2"]


def test_no_network_and_no_thread(tmp_path: Path) -> None:
    """A program that only appends pays for nothing that sends, also not at its end."""
    done = run(
        tmp_path,
        "logger.info('hi'); handler.flush(); handler.close(); logger.info('again')\n"
        "heavy = 'tornado', 'asyncio', 'ssl', 'snappy', 'http'\n"
        "ours = 'kiel_logging.network.', 'kiel_logging.delivery.', 'kiel_logging.clients'\n"
        "print([one for one in sys.modules if one.startswith((*heavy, *ours))])\n"
        "print(threading.active_count())",
    )
    assert (done.stdout, done.stderr) == ("[]\n1\n", "")
    assert messages(tmp_path) == ["hi", "again"]


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("", 0),
        ("os._exit(3)", 3),
        ("os.kill(os.getpid(), signal.SIGTERM); signal.pause()", -signal.SIGTERM),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("raise SystemExit(4)", 4),
    ],
)
def test_no_end_of_the_process_loses_a_record(tmp_path: Path, end: str, status: int) -> None:
    """Nothing is in memory."""
    done = run(tmp_path, "for number in range(500): logger.info('%d', number)\n" + end)
    assert (done.returncode, done.stderr) == (status, "")
    assert messages(tmp_path) == [str(number) for number in range(500)]


@pytest.mark.parametrize(
    "fork",
    [
        "child = os.fork()",
        # As C code forks, which runs no hooks.
        "import ctypes; child = ctypes.PyDLL(None).fork()",
    ],
)
def test_a_forked_child_has_a_journal_of_its_own(tmp_path: Path, fork: str) -> None:
    """Its records are another instance's, and its parent's are not touched."""
    done = run(
        tmp_path,
        f"logger.info('before')\n{fork}\nlogger.info('child' if child == 0 else 'parent')\n"
        "if child == 0: os._exit(0)\nos.waitpid(child, 0)",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(messages(tmp_path)) == ["before", "child", "parent"]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_program_that_closes_all_descriptors_has_another_journal(tmp_path: Path) -> None:
    """As daemons do. The lock is gone with them, and a shipper may send and remove the first."""
    done = run(
        tmp_path,
        "logger.info('before')\nos.closerange(3, 256)\nlogger.info('after')\nlogger.info('later')",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert messages(tmp_path) == ["before", "after", "later"]
    assert len(list(tmp_path.iterdir())) == 2


def test_threads_lose_nothing_as_segments_follow_each_other(tmp_path: Path) -> None:
    """Each record is there once, and each thread's are in order."""
    with (
        patch("kiel_logging.handler.spool.append_pipeline.SEGMENT_BYTES", 5_000),
        closing(SpoolHandler(tmp_path, "logs")) as handler,
    ):
        logger = logger_to(handler)

        def log(thread: int) -> None:
            for number in range(300):
                logger.info("%d %d", thread, number)

        in_threads(log, range(4))
        log(4)  # alone, so that each segment ends where it is full
    found = [tuple(map(int, one.split())) for one in messages(tmp_path)]
    assert sorted(found) == [(thread, number) for thread in range(5) for number in range(300)]
    for thread in range(5):
        assert [one for one in found if one[0] == thread] == sorted(
            one for one in found if one[0] == thread
        )
    assert len(list(tmp_path.glob("*/logs/*.log"))) > 10


@pytest.mark.slow
def test_a_full_disk_drops_by_the_policy_and_counts(tmp_path: Path) -> None:
    """The program continues; each record is on disk or in the counts, and drops are reported."""
    done = run(
        tmp_path / "disk",
        "for number in range(3000): logger.info('%d', number)\n"
        "stats = handler.stats()\n"
        "from tests.handler.test_spool_handler import Path, messages\n"
        f"there = messages(Path({str(tmp_path / 'disk')!r}))\n"
        "print(stats.emitted, stats.dropped_total + len(there), stats.dropped_total > 0)\n"
        "print(there == [str(number) for number in range(len(there))])",
        *on_small_disk(tmp_path, "300k"),
    )
    assert done.stdout == "3000 3000 True\nTrue\n"
    assert "its file system has no room left" in done.stderr
    assert "dropped" in done.stderr


def test_drops_are_told_to_callbacks_and_given_to_the_fallback(tmp_path: Path) -> None:
    """As KafkaHandler does with them."""
    errors, taken = list[tuple[Exception, int]](), list[str]()

    class Taking(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            taken.append(record.getMessage())

    with closing(
        SpoolHandler(
            tmp_path, "logs", fallback=Taking(), on_error=lambda *error: errors.append(error)
        )
    ) as handler:
        logger = logger_to(handler)
        with patch.object(Descriptor, "append", side_effect=OSError(28, "No space left on device")):
            logger.info("lost")
        logger.info("kept")
        assert messages(tmp_path) == ["kept"]
    assert taken == ["lost"]
    assert [(type(error).__name__, number) for error, number in errors] == [("NoRoom", 1)]
    assert events(tmp_path) == ["drops"]


def test_block_waits_for_room(tmp_path: Path) -> None:
    """Until the shipper has made some, or for block_timeout_ms."""
    fails = [True] * 3
    write = Descriptor.append

    def reluctant(file: Descriptor, data: bytes) -> int:
        if fails:
            fails.pop()
            raise OSError(28, "No space left on device")
        return write(file, data)

    with (
        closing(SpoolHandler(tmp_path, "logs", overflow="block")) as handler,
        patch.object(Descriptor, "append", reluctant),
    ):
        logger_to(handler).info("kept")
        assert messages(tmp_path) == ["kept"]
        assert handler.stats().dropped_total == 0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"topic": "logs"}, "spool_dir"),
        ({"spool_dir": "x", "topic": ""}, "topic"),
        ({"spool_dir": "x", "topic": "a b"}, "Kafka refuses"),
        ({"spool_dir": "x", "topic": "logs", "overflow": "drop_oldest"}, "overflow"),
        ({"spool_dir": "x", "topic": "logs", "brokers": "k:9092"}, "has no option 'brokers'"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], text: str) -> None:
    """With the name of the option."""
    with pytest.raises(ConfigurationError, match=text):
        SpoolHandler(**options)


def test_a_directory_that_anybody_may_write_to_is_refused(tmp_path: Path) -> None:
    """Unless each user may remove only its own files there; the group may write, to ship."""
    for mode, fits in ((0o777, False), (0o1777, True), (0o2770, True)):
        tmp_path.chmod(mode)
        if fits:
            SpoolHandler(tmp_path, "logs").close()
        else:
            with pytest.raises(SpoolError, match="other users may write"):
                SpoolHandler(tmp_path, "logs")


def test_a_chain_begins_and_ends(tmp_path: Path) -> None:
    """With records of the handler's own, in which the shipper puts the id of its key."""
    with closing(SpoolHandler(tmp_path, "logs", chain=True)) as handler:
        logger_to(handler).info("hi")
    assert events(tmp_path) == ["start", "end"]
