"""``kiel-logging spool``: shows an operator the records on disk, and changes none of them."""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging import KafkaHandler
from kiel_logging.cli import main
from kiel_logging.journal.directory import OWNER, SHIPPER, Journal
from kiel_logging.journal.frames import EVENT, FORMAT, MAGIC, STATE, Frame, encode
from kiel_logging.journal.local_stream import LocalStream
from kiel_logging.journal.segments import segment_path
from kiel_logging.journal.stream import CHECKPOINT, DAMAGED, Checkpoint, Stream
from kiel_logging.spool_command.command import age, lines, plain, size
from kiel_logging.spool_command.survey import Backlog
from kiel_logging.testing import FakeKafka
from kiel_logging.testing.batches import StoredRecord
from tests.journal.sample import INSTANCE, fill, frame, output, program, said
from tests.support.stamps import marks
from tests.support.waiting import PATIENCE, until

NOBODY: Final = "127.0.0.1:1"
"""An address that no broker listens at."""

AS_ROOT: Final = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
_ROOT: Final = Path(__file__).parents[1]
_BUFFERED: Final = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
_SHOW: Final = (sys.executable, "-W", "error", "-m", "kiel_logging", "spool")


class Output(NamedTuple):
    """The exit status and the output of the command."""

    status: int
    out: str
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        """The lines of ``--show``."""
        return [json.loads(line) for line in self.out.splitlines()]


Command = Callable[..., Output]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command in this process."""

    def show(*words: object) -> Output:
        capsys.readouterr()
        status = main(["spool", *map(str, words)])
        return Output(status, *capsys.readouterr())

    return show


def run(*words: object, **environment: str) -> Output:
    """Run a program to its end."""
    done = subprocess.run(
        [*map(str, words)],
        capture_output=True,
        text=True,
        cwd=_ROOT,
        env={**_BUFFERED, **environment},
        timeout=PATIENCE,
        check=False,
    )
    return Output(done.returncode, done.stdout, done.stderr)


@contextmanager
def running(*words: object, stderr: int = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
    """Run a program beside the block, and kill it then if it has not ended."""
    with subprocess.Popen(
        [*map(str, words)],
        cwd=_ROOT,
        env=_BUFFERED,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    ) as program:
        try:
            yield program
        finally:
            program.kill()


def document(told: Output) -> dict[str, Any]:
    """Return the one instance of ``--json``."""
    (instance,) = json.loads(told.out)["instances"]
    assert isinstance(instance, dict)
    return instance


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """A directory that is yet to be made."""
    return tmp_path / "spool"


@pytest.fixture
def cluster() -> Iterator[FakeKafka]:
    """One broker, with a topic `logs` of one partition."""
    with FakeKafka(topics={"logs": 1}) as cluster:
        yield cluster


def shipping(cluster: FakeKafka, root: Path, **options: Any) -> closing[KafkaHandler]:
    """Return a handler that also sends what others left; it is closed at the end of a block."""
    return closing(KafkaHandler(cluster.addresses, "logs", spool_dir=root, linger_ms=1, **options))


def sent_by_the_next(cluster: FakeKafka, root: Path, **options: Any) -> list[StoredRecord]:
    """Have another handler send what others left; return the records in the topic."""
    with shipping(cluster, root, **options) as handler:
        assert handler.flush() == 0
    return [one for part in cluster.records("logs").values() for one in part]


# -- journals -------------------------------------------------------------------------------------

_WRITER: Final = """
import json, logging, sys
from kiel_logging import KafkaHandler
given = json.loads(sys.argv[1])
handler = KafkaHandler(**given["options"])
logger = logging.Logger("shop")
logger.addHandler(handler)
for text in given["texts"]:
    logger.info(text)
print("logged", flush=True)
input()
if given["ends"]:
    handler.close()
"""


@contextmanager
def writer(
    directory: Path, *texts: str, ends: bool = False, **options: Any
) -> Iterator[subprocess.Popen[str]]:
    """Run a program that logs, finds no broker, and waits; it is killed unless it ``ends``."""
    always = {"brokers": NOBODY, "topic": "logs", "spool": "always", "spool_dir": str(directory)}
    options = {**always, "close_timeout_ms": 50, **options}
    given = json.dumps({"texts": texts, "ends": ends, "options": options})
    command = (sys.executable, "-c", _WRITER, given)
    with running(*command, stderr=subprocess.DEVNULL) as logging_on:
        assert said(logging_on) == "logged"
        yield logging_on
        if ends:
            logging_on.communicate("\n", timeout=PATIENCE)


def leave(directory: Path, *texts: str, **options: Any) -> Path:
    """Let a program log, and be killed or end; return the directory of its instance."""
    before = set(directory.iterdir()) if directory.exists() else set()
    with writer(directory, *texts, **options):
        pass
    (path,) = set(directory.iterdir()) - before
    return path


@contextmanager
def journal(spool: Path, instance: str = INSTANCE, topic: str = "logs") -> Iterator[LocalStream]:
    """Yield a stream, and leave its instance as a process does that is killed."""
    made = Journal(spool, instance, segment_bytes=1)
    try:
        yield made.stream(topic)
    finally:
        made.abandon()


def logged(text: str) -> Frame:
    """Return the frame of a record as a handler writes it."""
    return frame(json.dumps({"message": text}, separators=(",", ":")).encode())


def leave_texts(spool: Path, *texts: str, instance: str = INSTANCE) -> Path:
    """Leave records as a handler writes them; return the directory of their instance."""
    return leave_frames(spool, *map(logged, texts), instance=instance).parent


def leave_frames(spool: Path, *several: Frame, **where: str) -> Path:
    """Leave frames in one segment; return the directory of their stream."""
    with journal(spool, **where) as stream:
        for one in several:
            stream.append(encode(one, stream.seed))
        return stream.path


def leave_segments(spool: Path, *several: int) -> LocalStream:
    """Leave numbered records, each in a new segment; return their stream."""
    with journal(spool) as stream:
        fill_segments(stream, *several)
        return stream


def fill_segments(stream: LocalStream, *several: int) -> None:
    """Append records, each to a new segment."""
    for number in several:
        fill(stream, number)
        stream.roll_if_due()


def damage(path: Path, what: bytes) -> None:
    """Flip a bit of bytes that are in a file once."""
    content = path.read_bytes()
    at = content.index(what)
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])


# -- whose records --------------------------------------------------------------------------------


def test_a_process_that_was_killed(spool: Path, command: Command) -> None:
    """Is gone; its records are counted, and no process ships them."""
    path = leave(spool, "one", "two", chain=True)
    told = command(spool)
    assert (told.status, told.err) == (0, "")
    assert path.name in told.out
    assert re.search(r"written by pid \d+ on \S+, started \d+ (s|min) ago: gone\n", told.out)
    assert "no process ships it; the next handler here will\n" in told.out
    assert max(map(len, told.out.splitlines())) <= 60
    assert re.search(r"^    logs +3 +\d\.\d kB +\d+ (s|min)$", told.out, re.MULTILINE)
    assert re.search(r"^3 records of 1 instance wait, \d\.\d kB$", told.out, re.MULTILINE)


def test_a_process_that_lives(spool: Path, command: Command) -> None:
    """Is alive, and ships its own records."""
    with writer(spool, "one") as running:
        told = command(spool)
        shown = document(command(spool, "--json"))
    assert (told.status, told.err) == (0, "")
    assert re.search(f"written by pid {running.pid} on .*: alive\n", told.out)
    assert f"shipped by pid {running.pid}\n" in told.out
    assert "1 record of 1 instance waits, " in told.out
    assert (shown["owner"]["state"], shown["owner"]["pid"]) == ("alive", running.pid)
    assert shown["shipper"] == running.pid


def test_a_handler_of_the_same_process_keeps_its_locks(spool: Path, command: Command) -> None:
    """To close any descriptor of their files would give them up, to processes that ship orphans."""
    handler = KafkaHandler(NOBODY, "logs", spool_dir=spool, spool="always", close_timeout_ms=50)
    with closing(handler):
        logging.Logger("shop").addHandler(handler)
        handler.handle(logging.LogRecord("shop", logging.INFO, __file__, 1, "one", (), None))
        shown = document(command(spool, "--json"))
        assert (shown["owner"]["state"], shown["owner"]["pid"]) == ("alive", os.getpid())
        assert shown["streams"][0]["records"] == 1
        (path,) = spool.iterdir()
        code = "from kiel_logging.journal.locks import holder; "
        code += f"print(json.dumps([holder(Path({str(path)!r}, name)) for name in LOCKS]))"
        assert output(code) == [os.getpid()] * 2


_SHIPPER: Final = (
    "orphans = Directory(Path({!r})).orphans()\nprint(len(orphans), flush=True); input()"
)


def test_what_another_process_ships(spool: Path, command: Command) -> None:
    """That one has the owner's lock, and is not taken for the owner: not even with its pid."""
    path = leave(spool, "one")
    with program(_SHIPPER.format(str(spool))) as running:
        assert said(running) == "1"
        shown = document(command(spool, "--json"))
        assert (shown["owner"]["state"], shown["shipper"]) == ("gone", running.pid)
        about = json.loads((path / OWNER).read_text())
        (path / OWNER).write_text(json.dumps({**about, "pid": running.pid}))
        assert document(command(spool, "--json"))["owner"]["state"] == "gone"
        assert "gone\n" in command(spool).out


def test_a_process_that_has_another_pid_for_itself(spool: Path, command: Command) -> None:
    """As in a container: it is known by the moment when it was born."""
    with writer(spool, "one"):
        (path,) = spool.iterdir()
        about = json.loads((path / OWNER).read_text())
        (path / OWNER).write_text(json.dumps({**about, "pid": 7, "host": "f00d"}))
        owner = document(command(spool, "--json"))["owner"]
    assert (owner["state"], owner["pid"], owner["host"]) == ("alive", 7, "f00d")


def test_a_process_that_can_not_be_seen(spool: Path) -> None:
    """As from another container: nothing is claimed of it, and its records are shown."""
    elsewhere = ("unshare", "--pid", "--fork", "--mount-proc")
    if not shutil.which("unshare") or subprocess.run([*elsewhere, "true"], check=False).returncode:
        pytest.skip("needs a namespace of processes")
    with writer(spool, "one"):
        told = run(*elsewhere, *_SHOW, spool)
    assert told.status == 0
    assert ": perhaps alive\n" in told.out
    assert "shipped by a process that can't be seen from here\n" in told.out
    assert "1 record of 1 instance waits" in told.out


def test_an_owner_that_says_nothing_or_nonsense(spool: Path, command: Command) -> None:
    """Is shown by what is known."""
    leave_frames(spool, frame())
    for about in ("", "{", "[]", "[" * 100_000, '{"pid": "7", "host": 7, "started": NaN}'):
        (spool / INSTANCE / OWNER).write_text(about)
        told = command(spool)
        assert (told.status, told.err) == (0, "")
        assert "  written by a process: gone\n" in told.out


def test_the_oldest_instance_comes_first(spool: Path, command: Command) -> None:
    """And topics by name."""
    for instance, started in (("a" * 32, 30), ("b" * 32, 10), ("c" * 32, 20)):
        leave_frames(spool, frame(), instance=instance)
        (spool / instance / OWNER).write_text(json.dumps({"started": started}))
    told = command(spool)
    assert re.findall(r"^([abc])\1{31}$", told.out, re.MULTILINE) == ["b", "c", "a"]


# -- which records --------------------------------------------------------------------------------


def test_all_of_a_record_is_shown(spool: Path, command: Command) -> None:
    """Where it is, its number, its time, and what Kafka will get."""
    before = time.time()
    path = leave(
        spool,
        "caf\u00e9 \x1b[31m",
        key_field="levelname",
        fields={"env": "pr\u00f6d"},
        headers={"tenant": "env"},
    )
    told = command(spool, "--show")
    assert (told.status, told.err) == (0, "")
    assert told.out.isascii()
    assert "\x1b" not in told.out
    (record,) = told.records
    moment = time.mktime(time.strptime(record["time"][:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone
    assert before - 2 < moment < time.time() + 1
    assert re.fullmatch(r"[-\d]{10}T[:\d]{8}\.\d{3}Z", record.pop("time"))
    assert record.pop("value")["message"] == "caf\u00e9 \x1b[31m"
    assert record == {
        "instance": path.name,
        "topic": "logs",
        "sequence": 1,
        "level": "INFO",
        "key": "INFO",
        "headers": [{"name": "tenant", "value": "pr\u00f6d"}],
    }


def test_the_handlers_own_records_are_records(spool: Path, command: Command) -> None:
    """They are numbered, too; the list says how many they are."""
    leave(spool, "one", chain=True)
    (stream,) = document(command(spool, "--json"))["streams"]
    assert (stream["records"], stream["events"]) == (2, 1)
    start, one = command(spool, "--show").records
    assert {"name": "kiel-event", "value": "start"} in start["headers"]
    assert (start["sequence"], one["sequence"]) == (1, 2)


def test_what_is_acknowledged_is_not_shown(
    cluster: FakeKafka, spool: Path, command: Command
) -> None:
    """Though it may be in the file still; the others keep their numbers."""
    with shipping(cluster, spool, spool="always", close_timeout_ms=50) as handler:
        logger = logging.Logger("shop")
        logger.addHandler(handler)
        for text in ("one", "two", "three"):
            logger.info(text)
        until(lambda: handler.stats().delivered == 3)
        until(lambda: command(spool, "--show").out == "")
        cluster.on_broker(0, lambda broker: broker.stop())
        logger.info("four")
        (record,) = command(spool, "--show").records
        assert (record["sequence"], record["value"]["message"]) == (4, "four")
        assert document(command(spool, "--json"))["streams"][0]["records"] == 1


@pytest.mark.parametrize("mode", ["overflow", "always"])
@pytest.mark.parametrize("chain", [False, True], ids=["numbers", "chain"])
def test_numbers_are_those_that_the_brokers_get(
    cluster: FakeKafka, spool: Path, command: Command, mode: str, chain: bool
) -> None:
    """The shipper gives them when it reads; a damaged record takes one."""
    path = leave(spool, *"abcdefg", spool=mode, chain=chain, ends=mode == "overflow")
    damage(segment_path(path / "logs", 1), b'"message":"d"')
    told = command(spool, "--show")
    assert told.status == 1
    shown = {one["sequence"]: one["value"]["message"] for one in told.records if "value" in one}
    assert [shown[number + chain] for number in (1, 2, 3, 5, 6, 7)] == list("abcefg")
    (lost,) = (one for one in told.records if "damaged_bytes" in one)
    assert (lost["sequence"], lost["topic"], lost["instance"]) == (4 + chain, "logs", path.name)
    sent = {}
    for stored in sent_by_the_next(cluster, spool, chain=chain):
        of = marks(stored)
        if of["instance"] == path.name:
            sent[int(of["sequence"])] = json.loads(stored.value or b"")["message"]
    assert sent == shown


def remove(number: int) -> Callable[[Path], None]:
    """Return what removes a segment of a stream."""
    return lambda path: segment_path(path, number).unlink()


def cut(path: Path) -> None:
    """Cut the second segment short, behind its record."""
    segment = segment_path(path, 2)
    segment.write_bytes(segment.read_bytes() * 2)
    os.truncate(segment, segment.stat().st_size - 1)


def remove_checkpoint(path: Path) -> None:
    """Remove the checkpoint of a stream."""
    (path / CHECKPOINT).unlink()


@pytest.mark.parametrize(
    "harm",
    [
        (),
        (remove(3),),
        (cut,),
        (remove_checkpoint,),
        (remove_checkpoint, remove(1)),
        (remove(2), remove(3)),
    ],
    ids=["none", "segment", "cut", "checkpoint", "both", "segments"],
)
def test_numbers_are_known_where_the_shipper_knows_them(
    cluster: FakeKafka, spool: Path, command: Command, harm: tuple[Callable[[Path], None], ...]
) -> None:
    """It has another instance number records whose place it does not know."""
    stream = leave_segments(spool, 1, 2, 3, 4, 5)
    for one in harm:
        one(stream.path)
    shown = {one["value"]: one["sequence"] for one in command(spool, "--show").records}
    sent = {
        stored.value: (of := marks(stored))["instance"] == INSTANCE and int(of["sequence"])
        for stored in sent_by_the_next(cluster, spool)
    }
    assert {value.encode(): number or False for value, number in shown.items()} == {
        value: number for value, number in sent.items() if value and value.startswith(b"record")
    }


def test_a_state_sets_the_number(spool: Path, command: Command) -> None:
    """It is no record."""
    leave_frames(spool, frame(None, kind=STATE, sequence=41, digest=bytes(32)), frame())
    assert [one["sequence"] for one in command(spool, "--show").records] == [42]
    (shown,) = document(command(spool, "--json"))["streams"]
    assert (shown["records"], shown["events"]) == (1, 0)


def test_the_age_is_that_of_the_oldest_record(spool: Path, command: Command) -> None:
    """Whatever the order in the file is."""
    now = time.time()
    times = (round((now - ago) * 1000) for ago in (10, 200, 3))
    leave_frames(spool, *(frame(timestamp=each, kind=EVENT) for each in times))
    assert re.search(r" 3 min$", command(spool).out, re.MULTILINE)


def read(value: bytes | None) -> dict[str, Any]:
    """Return how a record with this value is shown, without the rest of it."""
    with tempfile.TemporaryDirectory() as root:
        path = leave_frames(Path(root), frame(value, data=value, headers=(("h", value),)))
        (line,) = lines(Backlog(path, INSTANCE, ended=True))
    assert line.isascii()
    assert line.removesuffix("\n").isprintable()

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    shown = json.loads(line, parse_constant=refuse)
    assert isinstance(shown, dict)
    return shown


DEEP: Final = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, {"value": None}),
        (b"", {"value": ""}),
        (b"text", {"value": "text"}),
        (b"7", {"value": 7}),
        (b' {"a": [1, 2.5, "x"]}\n', {"value": {"a": [1, 2.5, "x"]}}),
        (b'{"a": 1} x', {"value": '{"a": 1} x'}),
        (b'{"a": NaN}', {"value": '{"a": NaN}'}),
        (b"1e999", {"value": "1e999"}),
        (b"9" * 5_000, {"value": "9" * 5_000}),
        (b'"\\ud800"', {"value": "\ud800"}),
        (b"a\x1b[2J\x7f\nb", {"value": "a\x1b[2J\x7f\nb"}),
        ("caf\u00e9 \u202e".encode(), {"value": "caf\u00e9 \u202e"}),
        (b"\xff\x00", {"value_base64": "/wA="}),
        (DEEP, {"value": DEEP.decode()}),
    ],
    ids=lambda one: repr(one)[:20],
)
def test_values(value: bytes | None, shown: dict[str, Any]) -> None:
    """As what their JSON stands for, else as text, else in base64; always JSON, and ASCII."""
    found = read(value)
    assert {name: found[name] for name in found if name.startswith("value")} == shown


def test_json_that_is_nested_about_as_deep_as_python_goes() -> None:
    """Reading may succeed where writing does not."""
    deepest = sys.getrecursionlimit()
    kinds = {type(read(b"[" * n + b"]" * n)["value"]) for n in range(deepest - 150, deepest, 2)}
    assert kinds <= {str, list}


@given(st.binary(max_size=50) | st.text(max_size=20).map(str.encode))
def test_nothing_of_a_key_or_a_header_is_lost(content: bytes) -> None:
    """It is there as text, or in base64."""
    shown = read(content)
    (header,) = shown["headers"]
    for name, where in (("key", shown), ("value", header)):
        text = where.get(name)
        encoded = where.get(f"{name}_base64")
        assert content == (base64.b64decode(encoded) if text is None else text.encode())


@pytest.mark.parametrize(
    ("timestamp", "shown"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        (253_402_300_800_000, None),
        (2**63 - 1, None),
        (-(2**63), None),
    ],
)
def test_times(spool: Path, command: Command, timestamp: int, shown: str | None) -> None:
    """In UTC, to the millisecond; none where the year has five digits."""
    leave_frames(spool, frame(timestamp=timestamp))
    (record,) = command(spool, "--show").records
    assert record["time"] == shown
    assert command(spool).status == 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), ["aa", "ab", "bb"]),
        (("--topic", "b"), ["ab", "bb"]),
        (("--topic", "b", "--topic", "a"), ["aa", "ab", "bb"]),
        (("--topic", "c"), []),
        (("--instance", "a" * 32), ["aa", "ab"]),
        (("--instance", "b"), ["bb"]),
        (("--instance", "b", "--instance", "aa"), ["aa", "ab", "bb"]),
        (("--instance", "a", "--topic", "b"), ["ab"]),
        (("--instance", "c"), []),
    ],
    ids=str,
)
def test_some_of_it(
    spool: Path, command: Command, words: tuple[str, ...], expected: list[str]
) -> None:
    """By topic, and by instance or its first digits; for the list as well."""
    for instance, topics in (("a" * 32, "ab"), ("b" * 32, "b")):
        for topic in topics:
            leave_frames(spool, frame(), instance=instance, topic=topic)
            (spool / instance / OWNER).write_text('{"started": 1}')
    told = command(spool, "--show", *words)
    assert (told.status, told.err) == (0, "")
    assert [f"{one['instance'][0]}{one['topic']}" for one in told.records] == expected
    (last,) = command(spool, *words).out.splitlines()[-1:]
    assert last.startswith(f"{len(expected)} record")


# -- beside handlers that work --------------------------------------------------------------------


def contents(path: Path) -> dict[Path, tuple[int, int, bytes]]:
    """Return all that is below a directory, with the times of the last change."""
    return {
        one: (one.stat().st_mtime_ns, one.stat().st_mode, b"" if one.is_dir() else one.read_bytes())
        for one in (path, *path.rglob("*"))
    }


def test_nothing_is_changed(spool: Path, command: Command, tmp_path: Path) -> None:
    """No file is made, not even that of a lock; no byte is written."""
    path = leave_texts(spool, "one", "two")
    damage(segment_path(path / "logs", 1), b'"two"')
    (path / SHIPPER).unlink()
    (spool / ("f" * 32)).mkdir()
    (spool / "notes").touch()
    before = contents(spool)
    for words in ((), ("--json",), ("--show",), ("--export", tmp_path / "all")):
        assert command(spool, *words).status == 1
    assert contents(spool) == before


def test_it_looks_while_others_write_and_send(
    cluster: FakeKafka, spool: Path, command: Command
) -> None:
    """All that it shows is whole and in order; nothing is taken for damage.

    The shipper may remove what it has sent while the command reads.
    """
    with shipping(cluster, spool, spool="always", spool_max_bytes=1024 * 1024) as handler:
        logger = logging.Logger("shop")
        logger.addHandler(handler)
        for look in range(20):
            for number in range(200):
                logger.info("%d %s", number, "x" * 1000)
            told = command(spool, "--show" if look % 2 else "--json")
            assert (told.status, told.err) == (0, "")
            if look % 2:
                numbers = [one["sequence"] for one in told.records]
                assert numbers == sorted(set(numbers))


def test_a_reader_that_the_shipper_overtakes(spool: Path) -> None:
    """Goes on behind the checkpoint: what is gone was acknowledged, and is no damage."""
    stream = leave_segments(spool, 1, 2, 3, 4, 5, 6)
    backlog = Backlog(stream.path, INSTANCE, ended=True)
    found = lines(backlog)
    first = json.loads(next(found))
    stream.release(Checkpoint(4, 0, 3, bytes(32)))
    assert not segment_path(stream.path, 3).exists()
    shown = [first, *map(json.loads, found)]
    assert [(one["sequence"], one["value"]) for one in shown] == [
        (number, f"record {number}") for number in (1, 4, 5, 6)
    ]
    assert backlog.problems == []


def test_a_stream_that_is_removed_meanwhile(spool: Path) -> None:
    """As soon as all of it is acknowledged: it is no damage either."""
    stream = leave_segments(spool, 1, 2, 3)
    backlog = Backlog(stream.path, INSTANCE, ended=True)
    found = lines(backlog)
    next(found)
    shutil.rmtree(spool / INSTANCE)
    assert list(found) == []
    assert backlog.problems == []


def test_records_that_come_later_are_not_shown(spool: Path) -> None:
    """So the command comes to its end, however fast a program logs."""
    with journal(spool) as stream:
        fill(stream, 1, 2)
        found = lines(Backlog(stream.path, INSTANCE, ended=True))
        next(found)
        fill(stream, 3)
        fill_segments(stream, 4, 5)
        assert [json.loads(line)["value"] for line in found] == ["record 2"]


def test_the_front_of_a_write(spool: Path, command: Command) -> None:
    """The rest may come while its process lives. When that is gone something may be lost."""
    with writer(spool, "one"):
        (path,) = spool.iterdir()
        whole = segment_path(path / "logs", 1).read_bytes()
        with segment_path(path / "logs", 1).open("ab") as file:
            file.write(whole[:-10])
        assert command(spool, "--show").status == 0
    told = command(spool, "--show")
    assert (told.status, len(told.records)) == (1, 1)
    assert "logs: segment 1 ends in the middle of a record\n" in told.err


def test_numbers_behind_a_write_that_was_cut(spool: Path, command: Command) -> None:
    """Are known while the process lives, which knows that its disk was full."""
    with journal(spool) as stream:
        fill_segments(stream, 1, 2, 3)
        path = segment_path(stream.path, 2)
        path.write_bytes(path.read_bytes() * 2)
        os.truncate(path, path.stat().st_size - 1)
        assert [one["sequence"] for one in command(spool, "--show").records] == [1, 2, 3]
    told = command(spool, "--show")
    assert (told.status, [one["sequence"] for one in told.records]) == (1, [1, 2, None])


# -- what is wrong --------------------------------------------------------------------------------


def test_a_damaged_record(spool: Path, command: Command) -> None:
    """It is reported, with its stream; the others are shown."""
    path = leave_texts(spool, "one", "two", "three")
    damage(segment_path(path / "logs", 1), b'"two"')
    told = command(spool)
    assert told.status == 1
    assert "      ! 1 record damaged\n" in told.out
    assert told.out.endswith("; 1 problem, see above\n")
    (stream,) = document(command(spool, "--json"))["streams"]
    assert (stream["records"], stream["damaged"]) == (2, 1)
    shown = command(spool, "--show")
    assert shown.status == 1
    assert shown.err == f"kiel-logging spool: {path.name}/logs: 1 record damaged\n"
    assert [one.get("value", {}).get("message") for one in shown.records] == ["one", None, "three"]


def test_what_was_set_aside(spool: Path, command: Command) -> None:
    """It is reported, also when all else was sent."""
    path = leave_texts(spool, "one")
    (path / "logs" / DAMAGED).write_bytes(b"???")
    assert command(spool).status == 1
    for name in (CHECKPOINT, segment_path(path / "logs", 1).name):
        (path / "logs" / name).unlink()
    told = command(spool)
    assert told.status == 1
    assert "! 3 bytes of records that could not be read are in its file 'damaged'\n" in told.out
    assert told.out.splitlines()[-1].startswith("0 records of 1 instance")


@pytest.mark.parametrize(
    ("gone", "told", "numbers"),
    [
        ([3], "segment 3 is gone, with all records in it", [2, None, None, None]),
        ([3, 4], "segments 3, 4 are gone, with all records in them", [2, None, None]),
        ([2, 3], "segments 2, 3 are gone, with all records in them", [None, None, None]),
        ([1], "", [2, 3, 4, 5, 6]),
    ],
    ids=str,
)
def test_a_segment_that_somebody_removed(
    spool: Path, command: Command, gone: list[int], told: str, numbers: list[int | None]
) -> None:
    """It is reported by its number, unless its records are acknowledged; those behind have none."""
    stream = leave_segments(spool, 1, 2, 3, 4, 5, 6)
    stream.store(Checkpoint(2, 0, 1, bytes(32)))
    for number in gone:
        segment_path(stream.path, number).unlink()
    shown = command(spool, "--show")
    assert shown.err == (f"kiel-logging spool: {INSTANCE}/logs: {told}\n" if told else "")
    assert shown.status == bool(told)
    assert [one["sequence"] for one in shown.records] == numbers


def test_many_segments_that_somebody_removed(spool: Path, command: Command) -> None:
    """They are not reported one by one."""
    stream = leave_segments(spool, *range(1, 10))
    for number in range(1, 9):
        segment_path(stream.path, number).unlink()
    assert "segments 1, 2, 3, 4, 5 and 3 more are gone" in command(spool).out


def test_a_checkpoint_that_somebody_removed(spool: Path, command: Command) -> None:
    """It is reported; numbers are known as long as nothing before them is missing."""
    with journal(spool) as stream:
        fill_segments(stream, 1, 2, 3)
        (stream.path / CHECKPOINT).unlink()
        told = command(spool, "--show")
        assert told.status == 1
        assert "has no good checkpoint: some of these records may have been sent" in told.err
        assert [one["sequence"] for one in told.records] == [1, 2, 3]
        segment_path(stream.path, 1).unlink()
        assert [one["sequence"] for one in command(spool, "--show").records] == [None, None]
    assert [one["sequence"] for one in command(spool, "--show").records] == [None, None]


def test_a_shipper_that_did_not_know_the_numbers(spool: Path, command: Command) -> None:
    """Says so in the checkpoint; a record that has its number is known again."""
    leave_frames(spool, frame(), frame(), frame(sequence=7, digest=bytes(32)), frame())
    stream = Stream(spool / INSTANCE / "logs", INSTANCE)
    stream.load()
    stream.store(Checkpoint(*stream.read(stream.position).ends[0], 0, bytes(32)))
    told = command(spool, "--show")
    assert (told.status, [one["sequence"] for one in told.records]) == (0, [None, 7, 8])


def test_an_instance_of_another_format(spool: Path, command: Command) -> None:
    """It is reported by name and left alone; the others are shown."""
    path, other = (leave_texts(spool, "one", instance=digit * 32) for digit in "ab")
    about = json.loads((path / OWNER).read_text())
    (path / OWNER).write_text(json.dumps({**about, "format": FORMAT + 1}))
    told = command(spool, "--show")
    assert told.status == 1
    assert [one["instance"] for one in told.records] == [other.name]
    assert f"{path.name}: has format {FORMAT + 1} and this release" in told.err
    assert f"    ! has format {FORMAT + 1} and this release" in command(spool).out


def test_frames_of_another_format(spool: Path, command: Command) -> None:
    """They are reported, with their place; records in front of them are shown."""
    stream = leave_segments(spool, 1, 2)
    segment_path(stream.path, 3).write_bytes(MAGIC[:2] + b"\2" + MAGIC[3:] + bytes(100))
    told = command(spool, "--show")
    assert (told.status, len(told.records)) == (1, 2)
    assert f"{INSTANCE}/logs: from segment 3 on it has format 2: the release" in told.err


def test_what_is_not_ours(spool: Path, command: Command) -> None:
    """It is reported by name, wherever it is, unless the file system made it by itself."""
    path = leave_texts(spool, "one")
    (spool / "notes.txt").touch()
    (spool / ("F" * 32)).mkdir()
    (spool / ("e" * 32)).touch()
    (spool / ("f" * 32)).symlink_to(path)
    (path / "more.txt").touch()
    (path / "link").symlink_to(path / "logs")
    (spool / "lost+found").mkdir()
    (spool / ".hidden").touch()
    told = command(spool)
    assert told.status == 1
    assert [line for line in told.out.splitlines() if re.match(r"\S+: | +!", line)] == [
        "    ! link in it is nothing of kiel_logging's",
        "    ! more.txt in it is nothing of kiel_logging's",
        f"{'F' * 32}: is nothing of kiel_logging's",
        f"{'e' * 32}: is a file",
        f"{'f' * 32}: is a symbolic link, which is not followed",
        "notes.txt: is nothing of kiel_logging's",
    ]
    assert len(json.loads(command(spool, "--json").out)["others"]) == 4
    assert "1 record of 1 instance waits" in told.out


_AS_ANOTHER_USER: Final = """
import os, sys
import locale, shutil, kiel_logging.spool_command.command  # while the sources can be read
from kiel_logging.cli import main
os.seteuid(65534)
sys.exit(main(["spool", sys.argv[1], "--show"]))
"""


@AS_ROOT
def test_what_can_not_be_read(command: Command) -> None:
    """It is reported by name, and the rest is shown: an instance, a stream, a segment, a lock."""
    with tempfile.TemporaryDirectory() as root:
        Path(root).chmod(0o755)
        for digit in "abcde":
            leave_frames(Path(root), frame(), instance=digit * 32)
            for one in (Path(root), *Path(root).rglob("*")):
                one.chmod(0o755)
        a, b, c, d, _ = sorted(Path(root).iterdir())
        closed = (a, b / "logs", segment_path(c / "logs", 1), d / OWNER)
        for path in closed:
            path.chmod(0)
        told = run(sys.executable, "-c", _AS_ANOTHER_USER, root)
    assert told.status == 1
    assert [one["instance"][0] for one in told.records] == ["e"]
    assert sorted(told.err.splitlines()) == [
        f"kiel-logging spool: {name}: can't be read: Permission denied"
        for name in ("a" * 32, f"{'b' * 32}/logs", f"{'c' * 32}/logs", "d" * 32)
    ]


def test_a_file_where_a_segment_should_be(spool: Path, command: Command) -> None:
    """The system's reason is reported."""
    stream = leave_segments(spool, 1)
    segment_path(stream.path, 1).unlink()
    segment_path(stream.path, 1).mkdir()
    told = command(spool)
    assert told.status == 1
    assert "      ! can't be read: Is a directory\n" in told.out


def test_names_from_the_disk_do_nothing_to_a_terminal(spool: Path, command: Command) -> None:
    """They may hold anything: only printable ASCII is written."""
    path = leave_texts(spool, "one")
    about = json.loads((path / OWNER).read_text())
    (path / OWNER).write_text(json.dumps({**about, "host": "\x1b[2J\u202e"}))
    (path / "t\x1b[2J").mkdir()
    (path / os.fsdecode(b"\xff\n")).mkdir()
    (spool / "\x1b]0;x\x07").touch()
    for words in ((), ("--json",), ("--show",)):
        told = command(spool, *words)
        assert told.status == 1
        for text in (told.out, told.err):
            assert text.replace("\n", "").isprintable()
            assert text.isascii()
    assert "on \\x1b[2J\\u202e, " in command(spool).out


# -- the directory --------------------------------------------------------------------------------


def test_an_empty_directory(tmp_path: Path, command: Command) -> None:
    """Has nothing that waits, which is good."""
    assert command(tmp_path) == Output(0, "0 records of 0 instances wait, 0 B\n", "")
    assert command(tmp_path, "--show") == Output(0, "", "")
    assert json.loads(command(tmp_path, "--json").out) == {
        "directory": str(tmp_path),
        "instances": [],
        "others": [],
    }


def test_a_directory_that_can_not_be_read(tmp_path: Path, command: Command) -> None:
    """Status 2, and why."""
    (tmp_path / "file").touch()
    for name, why in (("none", "No such file or directory"), ("file", "Not a directory")):
        path = tmp_path / name
        told = Output(2, "", f"kiel-logging spool: {path} can't be read: {why}\n")
        assert command(path) == command(path, "--show") == told


def test_the_directory_of_an_instance(spool: Path, command: Command) -> None:
    """Is one too deep: status 2, and the advice."""
    path = leave_texts(spool, "one")
    told = f"kiel-logging spool: {path} is a single instance: give the directory that it is in\n"
    assert command(path) == command(path, "--instance", "a") == Output(2, "", told)


@pytest.mark.parametrize(
    "words", [(), ("dir", "--json", "--show"), ("dir", "--show", "--export", "x")], ids=str
)
def test_wrong_words(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """As argparse has it: status 2."""
    with pytest.raises(SystemExit) as exit_:
        main(["spool", *words])
    assert exit_.value.code == 2
    assert "usage: kiel-logging spool" in capsys.readouterr().err


# -- the list -------------------------------------------------------------------------------------


def test_the_list_fits_a_terminal(spool: Path, command: Command) -> None:
    """80 columns; a topic that is too long for that gets a separate line."""
    long = "t" * 249
    for topic in ("logs", long):
        leave_frames(spool, *[frame()] * 1_000, topic=topic)
    lines_ = command(spool).out.splitlines()
    assert [line for line in lines_ if len(line) > 80] == [f"    {long}"]
    head, logs, _, ruled = (line for line in lines_ if line.startswith("    "))
    assert len(head) == len(logs) == len(ruled)
    assert logs.split()[1] == ruled.split()[0] == "1,000"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s"),
        (0.9, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3_599, "59 min"),
        (7_200, "2 h"),
        (86_399, "23 h"),
        (86_400 * 1_000, "1,000 d"),
    ],
)
def test_ages(seconds: float, text: str) -> None:
    """In the largest unit that there is one of."""
    assert age(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (99_949, "99.9 kB"),
        (123_456, "123 kB"),
        (7_800_000, "7.8 MB"),
        (1024**3, "1.1 GB"),
        (2 * 10**15, "2,000 TB"),
    ],
)
def test_sizes(number: int, text: str) -> None:
    """In three digits or so."""
    assert size(number) == text


@given(st.text())
def test_escaped_text_is_printable(text: str) -> None:
    """And is itself if it was so before."""
    found = plain(text)
    assert found.isascii()
    assert found.isprintable()
    assert found == text or not (text.isascii() and text.isprintable())


# -- the output -----------------------------------------------------------------------------------


def test_all_records_are_exported(spool: Path, command: Command, tmp_path: Path) -> None:
    """As they are shown, to a file for this user alone."""
    leave_texts(spool, "one", "two")
    target = tmp_path / "all.jsonl"
    mask = os.umask(0)
    try:
        told = command(spool, "--export", target)
    finally:
        os.umask(mask)
    assert told == Output(0, "", f"kiel-logging spool: 2 records exported to {target}\n")
    assert target.read_text() == command(spool, "--show").out
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_an_export_writes_over_nothing(spool: Path, command: Command, tmp_path: Path) -> None:
    """No file, no target of a symbolic link; and it does not write into the directory."""
    leave_texts(spool, "one")
    target, link = tmp_path / "precious", tmp_path / "link"
    target.write_text("precious")
    link.symlink_to(tmp_path / "elsewhere")
    for path in (target, link):
        told = command(spool, "--export", path)
        assert told.status == 2
        assert f"{path} exists, and is not overwritten: choose another name" in told.err
    assert target.read_text() == "precious"
    assert not (tmp_path / "elsewhere").exists()
    assert command(spool, "--export", spool / "all").status == 2
    assert not (spool / "all").exists()
    told = command(spool, "--export", tmp_path / "none" / "all")
    assert (told.status, "can't be written: No such file" in told.err) == (2, True)


_LITTLE_ROOM: Final = """
import resource, sys
from kiel_logging.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
sys.exit(main(["spool", *sys.argv[1:]]))
"""


def test_an_export_that_fails_leaves_no_file(spool: Path, tmp_path: Path) -> None:
    """Half of the records might be taken for all."""
    leave_frames(spool, *[frame()] * 1_000)
    target = tmp_path / "all"
    told = run(sys.executable, "-c", _LITTLE_ROOM, spool, "--export", target)
    why = f"kiel-logging spool: {target} can't be written: File too large\n"
    assert told == Output(2, "", why)
    assert not target.exists()


def test_damage_is_told_after_an_export(spool: Path, command: Command, tmp_path: Path) -> None:
    """By the status, too; the file has what can be read."""
    path = leave_texts(spool, "one", "two")
    damage(segment_path(path / "logs", 1), b'"one"')
    told = command(spool, "--export", tmp_path / "all")
    assert told.status == 1
    assert "logs: 1 record damaged\n" in told.err
    assert len((tmp_path / "all").read_text().splitlines()) == 2


@contextmanager
def much_is_shown(spool: Path) -> Iterator[subprocess.Popen[str]]:
    """Run the command; it writes more than a pipe holds, and one line was read."""
    leave_frames(spool, *[frame()] * 10_000)
    with running(*_SHOW, spool, "--show") as showing:
        assert json.loads(said(showing))["value"] == "value"
        yield showing
        showing.wait(PATIENCE)


def test_a_reader_that_goes_away(spool: Path) -> None:
    """As head does: there is no message, and the exit status is 141."""
    with much_is_shown(spool) as showing:
        assert showing.stdout is not None
        assert showing.stderr is not None
        showing.stdout.close()
        assert showing.stderr.read() == ""
    assert showing.returncode == 141


_INTERRUPTED: Final = """
import logging, sys
from kiel_logging.cli import main

def name(level, levels=[]):
    levels.append(level)
    if len(levels) == 2:
        print("one is written", file=sys.stderr, flush=True)
        sys.stdin.readline()
        raise KeyboardInterrupt
    return "INFO"

logging.getLevelName = name
sys.exit(main(["spool", sys.argv[1], "--show"]))
"""


def test_ctrl_c_that_ends_the_reader_as_well(spool: Path) -> None:
    """It goes to all programs of a pipe; Python does not complain of what is not written."""
    leave_frames(spool, frame(), frame())
    with running(sys.executable, "-c", _INTERRUPTED, spool) as showing:
        assert showing.stdout is not None
        assert showing.stderr is not None
        assert showing.stderr.readline() == "one is written\n"
        showing.stdout.close()
        _, told = showing.communicate("\n", timeout=PATIENCE)
    assert (showing.returncode, told) == (130, "\ninterrupted\n")


def test_an_export_needs_no_standard_output(spool: Path, tmp_path: Path) -> None:
    """Nor standard error."""
    leave_frames(spool, frame())
    told = run("sh", "-c", '"$@" >&- 2>&-', "sh", *_SHOW, spool, "--export", tmp_path / "all")
    assert told.status == 0
    assert len((tmp_path / "all").read_text().splitlines()) == 1


def test_an_output_that_has_no_unicode(spool: Path) -> None:
    """Is no trouble."""
    leave_texts(spool, "caf\u00e9")
    for words in ((), ("--show",)):
        told = run(*_SHOW, spool, *words, PYTHONIOENCODING="ascii:strict")
        assert (told.status, told.err) == (0, "")
