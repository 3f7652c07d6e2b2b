"""``kiel-logging ship``: one process sends what the programs of a host append."""

from __future__ import annotations

import http.client
import io
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kiel_logging.cli import main
from kiel_logging.journal.directory import SHIPPER, streams_of
from kiel_logging.journal.locks import holder
from kiel_logging.metrics import METRICS
from kiel_logging.testing import FakeKafka
from kiel_logging.testing.batches import StoredRecord
from kiel_logging.wire.error_codes import ErrorCode
from tests.handler.shipped import stored_records
from tests.support.examples import THOROUGH
from tests.support.waiting import until

WRITER: Final = """
import logging, os, sys, time
from kiel_logging import SpoolHandler
handler = SpoolHandler({root!r}, {topic!r}, key_field="user", {options})
logger = logging.Logger("shop")
logger.addHandler(handler)
def log(*numbers):
    for number in numbers: logger.info("%d", number, extra={{"user": "ada"}})
"""
TALKS: Final = "for line in sys.stdin: exec(line); print(flush=True)"


def start_python(code: str) -> subprocess.Popen[str]:
    """Start a Python program."""
    return subprocess.Popen(
        [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def run_python(code: str) -> None:
    """Run a Python program."""
    done = start_python(code)
    done.communicate(timeout=60)
    assert done.returncode == 0


class Writer:
    """A program with a SpoolHandler, which runs code line by line until it is killed."""

    def __init__(self, root: Path, topic: str = "logs", options: str = "") -> None:
        code = WRITER.format(root=str(root), topic=topic, options=options) + TALKS
        self.process = start_python(code)

    def do(self, line: str) -> None:
        """Run a line of code to its end."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "\n"

    def log(self, *numbers: int) -> None:
        """Log numbers."""
        self.do(f"log(*{numbers!r})")

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.process.kill()
        self.process.communicate()

    def end(self) -> None:
        """Let it end as programs do."""
        self.process.communicate()
        assert self.process.returncode == 0


def write(root: Path, *numbers: int, topic: str = "logs", options: str = "") -> None:
    """Log numbers in a program that then ends."""
    writer = Writer(root, topic, options)
    writer.log(*numbers)
    writer.end()


def ship(root: Path, cluster: FakeKafka, *options: str) -> list[str]:
    """Return a shipper's command."""
    command = [sys.executable, "-m", "kiel_logging", "ship", "--spool-dir", str(root)]
    return [*command, "--brokers", ",".join(cluster.addresses), *options]


class Output(NamedTuple):
    """The exit status and the output of the command."""

    status: int
    out: str
    err: str


def run_command(*words: str) -> Output:
    """Run the command to its end in this process, which is left as it was."""
    before, limits = signal.getsignal(signal.SIGTERM), resource.getrlimit(resource.RLIMIT_NOFILE)
    out, err = io.StringIO(), io.StringIO()
    try:
        with redirect_stdout(out), redirect_stderr(err):
            status = main(["ship", *words])
    except SystemExit as exit_:  # of argparse
        status = int(exit_.code or 0)
    finally:
        signal.signal(signal.SIGTERM, before)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    return Output(status, out.getvalue(), err.getvalue())


def ship_once(root: Path, cluster: FakeKafka, *options: str) -> Output:
    """Send what is there."""
    return run_command(*ship(root, cluster, "--once", *options)[4:])


@contextmanager
def shipping(root: Path, cluster: FakeKafka, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Have a shipper run in the block."""
    command = ship(root, cluster, *options)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def cluster() -> Iterator[FakeKafka]:
    """Three brokers and a topic."""
    with FakeKafka(brokers=3, topics={"logs": 2}) as made:
        yield made
        assert made.complaints == []


@pytest.fixture
def writers(tmp_path: Path) -> Iterator[Callable[..., Writer]]:
    """Start programs with a SpoolHandler."""
    made = list[Writer]()

    def start(*options: Any) -> Writer:
        made.append(Writer(tmp_path, *options))
        return made[-1]

    yield start
    for writer in made:
        writer.kill()


def stored(cluster: FakeKafka, topic: str = "logs") -> list[StoredRecord]:
    """Return all records of a topic, in order for each partition."""
    return stored_records(cluster, topic)


def messages(cluster: FakeKafka, topic: str = "logs") -> list[str]:
    """Return the messages of all records of a topic, the handler's own left out."""
    values = [json.loads(record.value or b"") for record in stored(cluster, topic)]
    return [value["message"] for value in values if value["logger"] == "shop"]


def stamps(cluster: FakeKafka) -> dict[bytes, list[int]]:
    """Return the numbers of each instance, in order for each partition."""
    found: dict[bytes, list[int]] = {}
    for record in stored(cluster):
        headers = dict(record.headers)
        number = int(headers["kiel-sequence"] or 0)
        found.setdefault(headers["kiel-instance"] or b"", []).append(number)
    return found


def is_acknowledged(root: Path) -> bool:
    """Whether the checkpoints of all streams below a spool_dir are behind all that is there."""
    streams = [stream for path in root.iterdir() for stream in streams_of(path).values()]
    return bool(streams) and all(stream.is_acknowledged for stream in streams)


def is_empty(root: Path) -> bool:
    """Whether nothing is left below a spool_dir."""
    return list(root.iterdir()) == []


def test_once_sends_what_dead_programs_left(cluster: FakeKafka, tmp_path: Path) -> None:
    """All of it, in order and numbered, and then nothing is left."""
    write(tmp_path, 1, 2, 3)
    write(tmp_path, 4, 5)
    done = ship_once(tmp_path, cluster)
    assert done == (0, "", "")
    assert sorted(messages(cluster)) == ["1", "2", "3", "4", "5"]
    assert sorted(stamps(cluster).values()) == [[1, 2], [1, 2, 3]]
    assert is_empty(tmp_path)


def test_once_sends_what_living_programs_appended(
    cluster: FakeKafka, tmp_path: Path, writers: Callable[..., Writer]
) -> None:
    """And again what they append later, with the numbers that follow."""
    writer = writers()
    writer.log(1, 2)
    assert ship_once(tmp_path, cluster).status == 0
    writer.log(3)
    assert ship_once(tmp_path, cluster).status == 0
    assert messages(cluster) == ["1", "2", "3"]
    assert list(stamps(cluster).values()) == [[1, 2, 3]]
    writer.end()
    assert ship_once(tmp_path, cluster).status == 0
    assert is_empty(tmp_path)


def test_once_says_that_not_all_is_sent(cluster: FakeKafka, tmp_path: Path) -> None:
    """And leaves it on disk."""
    write(tmp_path, 1)
    cluster.call(lambda c: [broker.stop() for broker in c.brokers])
    assert ship_once(tmp_path, cluster, "--timeout", "0.5").status == 1
    assert not is_empty(tmp_path)


def test_a_refused_record_is_given_up_and_reported(cluster: FakeKafka, tmp_path: Path) -> None:
    """The exit status says so; those around it are sent."""
    write(tmp_path, 1)
    cluster.call(lambda c: c.produce_error(ErrorCode.invalid_record, 99))
    done = ship_once(tmp_path, cluster)
    assert done.status == 1
    assert "records of dead processes were refused" in done.err


def test_living_and_dead_writers_are_followed(
    cluster: FakeKafka, tmp_path: Path, writers: Callable[..., Writer]
) -> None:
    """New programs, new topics, new segments, forks; what is empty is removed."""
    with shipping(tmp_path, cluster):
        first = writers()
        first.log(1, 2)
        until(lambda: messages(cluster) == ["1", "2"])
        second = writers("more.{levelname}")
        second.log(3)
        until(lambda: messages(cluster, "more.INFO") == ["3"])
        second.do("logger.error('%d', 4)")
        until(lambda: messages(cluster, "more.ERROR") == ["4"])
        first.do("child = os.fork() or log(5) or os._exit(0); os.waitpid(child, 0)")
        first.log(6)
        until(lambda: sorted(messages(cluster)) == ["1", "2", "5", "6"])
        first.do("log(*range(10_000))")
        until(lambda: len(messages(cluster)) == 10_004)
        first.kill()
        second.end()
        until(lambda: is_empty(tmp_path))
    assert sorted(stamps(cluster).values())[0] == [1]


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
def test_appends_are_noticed(
    cluster: FakeKafka, tmp_path: Path, writers: Callable[..., Writer]
) -> None:
    """A new writer, a new stream and a writer that was quiet are found long before the next look at
    all of them."""
    seldom = "\n".join(
        (
            "from kiel_logging.handler.spool import orphans, spool",
            "orphans.LOOK_AT_LIVING_EVERY, orphans._BUSY = 3600.0, 0.01",
            "from kiel_logging.cli import main",
            "main()",
        )
    )
    arguments = ship(tmp_path, cluster)[3:]
    with subprocess.Popen([sys.executable, "-c", seldom, *arguments]) as process:
        try:
            first, logged = writers("{user}"), list[str]()
            for user in ("ada", "ada", "bob", "ada"):
                logged.append(user)
                first.do(f"logger.info('hello', extra={{'user': {user!r}}})")
                until(lambda: len(messages(cluster, user)) == logged.count(user))  # noqa: B023
            second = writers()
            second.log(7)
            until(lambda: messages(cluster) == ["7"])
        finally:
            process.kill()
            process.wait()


def test_sigterm_ends_it_soon_with_a_checkpoint(
    cluster: FakeKafka, tmp_path: Path, writers: Callable[..., Writer]
) -> None:
    """The next one repeats nothing that was acknowledged."""
    writer = writers()
    with shipping(tmp_path, cluster) as process:
        writer.log(1)
        until(lambda: is_acknowledged(tmp_path))
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
        assert (process.returncode, errors) == (0, "")
    writer.log(2)
    with shipping(tmp_path, cluster):
        until(lambda: len(messages(cluster)) >= 2)
    assert messages(cluster) == ["1", "2"]


@pytest.mark.slow
def test_a_killed_shipper_is_followed_by_another(
    cluster: FakeKafka, tmp_path: Path, writers: Callable[..., Writer]
) -> None:
    """Repeats have the same numbers; no record is missing or overtakes another."""
    writer = writers()
    lives = 4 if THOROUGH else 2
    for life in range(lives):
        with shipping(tmp_path, cluster) as process:
            writer.do(f"log(*range({life * 1000}, {life * 1000 + 1000}))")
            until(lambda life=life: str(life * 1000 + 500) in messages(cluster))  # type: ignore[misc]
            process.kill()
    writer.end()
    assert ship_once(tmp_path, cluster).status == 0
    pairs = [
        (json.loads(record.value or b"")["message"], dict(record.headers)["kiel-sequence"])
        for record in stored(cluster)
    ]
    firsts = list(dict.fromkeys(pairs))
    assert firsts == [(str(number), b"%d" % (number + 1)) for number in range(1000 * lives)]


@pytest.mark.slow
def test_two_shippers_share_no_stream(
    cluster: FakeKafka, tmp_path: Path, writers: Callable[..., Writer]
) -> None:
    """One of them has each writer; when it is stopped, the other one continues."""
    with shipping(tmp_path, cluster) as one, shipping(tmp_path, cluster) as other:
        busy = [writers() for _ in range(4)]
        for number, writer in enumerate(busy):
            writer.log(number)
        until(lambda: sorted(messages(cluster)) == ["0", "1", "2", "3"])
        until(lambda: is_acknowledged(tmp_path))
        holders = {holder(path / SHIPPER) for path in tmp_path.iterdir()}
        assert holders <= {one.pid, other.pid}
        one.send_signal(signal.SIGTERM)
        assert one.wait(30) == 0
        for number, writer in enumerate(busy):
            writer.log(10 + number)
        until(lambda: len(messages(cluster)) >= 8)
    assert sorted(messages(cluster), key=int) == ["0", "1", "2", "3", "10", "11", "12", "13"]


def test_a_handler_with_a_spool_sends_its_own_records(
    cluster: FakeKafka, tmp_path: Path, writers: Callable[..., Writer]
) -> None:
    """And what dead SpoolHandlers left, if no shipper runs; a shipper sends what it left."""
    write(tmp_path, 1)
    brokers = ",".join(cluster.addresses)
    code = (
        "import logging, os\nfrom kiel_logging import KafkaHandler\n"
        f"spool = {{'spool_dir': {str(tmp_path)!r}, 'spool': 'always'}}\n"
        f"handler = KafkaHandler({brokers!r}, 'logs', **spool)\n"
        "logger = logging.Logger('shop'); logger.addHandler(handler)\n"
    )
    run_python(code + "logger.info('2')\nhandler.flush(60)")
    assert sorted(messages(cluster)) == ["1", "2"]
    cluster.call(lambda c: [broker.stop() for broker in c.brokers])
    run_python(code + "logger.info('3'); os._exit(0)")
    cluster.call(lambda c: [broker.start() for broker in c.brokers])
    assert ship_once(tmp_path, cluster).status == 0
    assert sorted(messages(cluster)) == ["1", "2", "3"]
    assert is_empty(tmp_path)


@pytest.mark.slow
def test_a_rejected_topic_waits_by_itself(
    cluster: FakeKafka, tmp_path: Path, writers: Callable[..., Writer]
) -> None:
    """Other topics are sent meanwhile, and the rejected one when the brokers take it again."""
    cluster.call(lambda c: c.produce_error(ErrorCode.topic_authorization_failed, 1, ("closed", 0)))
    with shipping(tmp_path, cluster):
        closed, opened = writers("closed"), writers()
        closed.log(1, 2)
        opened.log(3)
        until(lambda: messages(cluster) == ["3"])
        until(lambda: messages(cluster, "closed") == ["1", "2"])


@pytest.mark.slow
def test_a_noisy_writer_holds_up_no_other(
    cluster: FakeKafka, tmp_path: Path, writers: Callable[..., Writer]
) -> None:
    """A record that comes behind a backlog of another stream is sent before the end of that."""
    cluster.call(lambda c: c.set_versions("Produce", 3, 9))  # with the names of topics
    cluster.add_topic("noisy", leaders=[0])
    cluster.add_topic("quiet", leaders=[0])
    noisy, quiet = writers("noisy"), writers("quiet")
    noisy.do("log(*range(40_000))")
    quiet.log(1)
    with shipping(tmp_path, cluster):
        until(lambda: cluster.call(lambda c: c.count("noisy")) == 40_000)
    sent = [
        {topic["name"] for topic in request.payload["topic_data"]}
        for request in cluster.requests("Produce")
    ]
    first = next(place for place, topics in enumerate(sent) if "quiet" in topics)
    assert any("noisy" in topics for topics in sent[first + 1 :])


def test_hostile_files_harm_their_own_streams_alone(cluster: FakeKafka, tmp_path: Path) -> None:
    """Links, pipes, garbage, lengths that lie, names that are no topics, foreign files."""
    write(tmp_path, 1)
    hostile = tmp_path / ("f" * 32)
    for topic in ("link", "pipe", "garbage", "sparse", "extra", "no topic", "..."):
        (hostile / topic).mkdir(parents=True)
    (hostile / "link" / "00000001.log").symlink_to("/etc/passwd")
    os.mkfifo(hostile / "pipe" / "00000001.log")
    (hostile / "garbage" / "00000001.log").write_bytes(os.urandom(100_000) + b"KJ\1\xc5" * 9_999)
    (hostile / "garbage" / "checkpoint").write_bytes(os.urandom(9_000))
    with (hostile / "sparse" / "00000001.log").open("wb") as file:
        file.truncate(10**8)
    (hostile / "extra" / "mine").write_bytes(b"")
    (hostile / "owner.lock").write_bytes(b"[" * 10_000)
    (tmp_path / ("e" * 32)).symlink_to(hostile)
    done = ship_once(tmp_path, cluster, "--timeout", "60")
    assert messages(cluster) == ["1"]
    assert os.listdir(tmp_path) != []  # noqa: PTH208
    assert "Traceback" not in done.err
    assert "a bug of kiel_logging" not in done.err


def test_a_chain_is_sealed_by_the_shipper(
    cluster: FakeKafka, tmp_path: Path, writers: Callable[..., Writer]
) -> None:
    """With its own key, whose id is in the record that starts the stream; the shipper reports the
    end of a writer that was killed."""
    root, key = tmp_path / "spool", tmp_path / "key"
    root.mkdir()
    key.write_text("a secret of the shipper's")
    write(root, 1, options="chain=True")
    killed = Writer(root, "logs", "chain=True")
    killed.log(2)
    killed.kill()
    assert ship_once(root, cluster, "--chain-key", str(key)).status == 0
    events = [
        (name, json.loads(headers["kiel-details"]))
        for headers in (dict(record.headers) for record in stored(cluster))
        if (name := headers.get("kiel-event"))
    ]
    names = sorted(name for name, _ in events)
    assert names == [b"end", b"end", b"recovery", b"start", b"start", b"start"]
    keys = {details["key"] for name, details in events if name == b"start"}
    assert len(keys) == 1
    assert all(len(one) == 16 for one in keys)
    assert all("kiel-chain" in dict(record.headers) for record in stored(cluster))
    assert is_empty(root)


def test_sighup_has_it_read_its_configuration_again(
    cluster: FakeKafka, tmp_path: Path, writers: Callable[..., Writer]
) -> None:
    """A wrong one changes nothing, and is reported."""
    config, root = tmp_path / "client.properties", tmp_path / "spool"
    root.mkdir()
    config.write_text(f"bootstrap.servers={','.join(cluster.addresses)}\nclient.id=first\n")
    writer = Writer(root)
    command = [sys.executable, "-m", "kiel_logging", "ship", "--spool-dir", str(root)]
    process = subprocess.Popen(
        [*command, "--config", str(config)], stderr=subprocess.PIPE, text=True
    )
    try:
        writer.log(1)
        until(lambda: is_acknowledged(root))
        good = config.read_text()
        config.write_text("acks=nonsense\n")
        process.send_signal(signal.SIGHUP)
        assert process.stderr is not None
        assert "the configuration stays as it was" in process.stderr.readline()
        config.write_text(good.replace("first", "second"))
        process.send_signal(signal.SIGHUP)
        until(lambda: any(one.client_id == "second" for one in cluster.requests()))
        writer.log(2)
        until(lambda: messages(cluster) == ["1", "2"])
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        writer.kill()
        process.kill()
        process.communicate()


@pytest.mark.parametrize("kind", ["port", pytest.param("socket", marks=pytest.mark.slow)])
def test_figures_and_health(
    cluster: FakeKafka, tmp_path: Path, writers: Callable[..., Writer], kind: str, unused_port: int
) -> None:
    """For Prometheus, and for whatever restarts what is not well."""
    port = unused_port
    place = str(port) if kind == "port" else str(tmp_path.parent / f"{tmp_path.name}.sock")

    def ask(path: str) -> tuple[int, str]:
        family = socket.AF_INET if kind == "port" else socket.AF_UNIX
        connection = http.client.HTTPConnection("localhost", timeout=30)
        with socket.socket(family) as client:
            client.connect(("127.0.0.1", port) if kind == "port" else place)
            connection.sock = client
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    writer = writers()
    writer.log(1, 2)
    with shipping(tmp_path, cluster, "--http", place):
        until(lambda: is_acknowledged(tmp_path))
        status, figures = ask("/metrics")
        assert status == 200
        values = dict(line.rsplit(" ", 1) for line in figures.splitlines() if line[0] != "#")
        assert values['kiel_ship_records_delivered_total{topic="logs"}'] == "2"
        batches = int(values['kiel_ship_batches_delivered_total{topic="logs"}'])
        assert 1 <= batches <= 2
        assert values['kiel_ship_backlog_records{topic="logs"}'] == "0"
        assert values["kiel_ship_writers"] == values['kiel_ship_streams{topic="logs"}'] == "1"
        assert int(values["kiel_ship_connections"]) > 0
        handler = '{handler="kiel-logging ship"}'
        assert values[f"kiel_logging_delivery_latency_seconds_count{handler}"] >= "2"
        assert int(values[f"kiel_logging_batch_records_count{handler}"]) >= batches
        exposed = {family.name for family in text_string_to_metric_families(figures)}
        assert {metric.full_name for metric in METRICS} <= exposed
        assert ask("/healthz") == (200, '{"alive": true, "troubles": []}\n')
        assert ask("/other")[0] == 404
        cluster.call(lambda c: c.produce_error(ErrorCode.invalid_record, 1))
        writer.log(3)
        failed = 'kiel_ship_records_failed_total{topic="logs",error="INVALID_RECORD"} 1\n'
        until(lambda: failed in ask("/metrics")[1])
        cluster.call(lambda c: c.produce_error(ErrorCode.topic_authorization_failed, 10**6))
        writer.log(4, 5, 6)
        rejected = 'rejections_total{topic="logs",error="TOPIC_AUTHORIZATION_FAILED"}'
        until(lambda: rejected in ask("/metrics")[1])
        backlog = 'kiel_ship_backlog_records{topic="logs"} 3\n'
        until(lambda: backlog in ask("/metrics")[1])
        assert 'kiel_ship_backlog_bytes{topic="logs"} 0\n' not in ask("/metrics")[1]


@pytest.mark.slow
def test_a_table_of_streams(
    cluster: FakeKafka, tmp_path: Path, writers: Callable[..., Writer]
) -> None:
    """With the writer of each, each second."""
    writer = writers()
    writer.log(1, 2)
    command = ship(tmp_path, cluster, "--top")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            shown = ""
            while f"pid {writer.process.pid}" not in shown or "2 records delivered" not in shown:
                shown = shown[-2000:] + process.stdout.readline()
        finally:
            process.kill()
            process.communicate()
    assert "logs" in shown


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--spool-dir", "/tmp", "--brokers", "k:1", "--http", "0.0.0.0:80"], "a port of the loop"),
        (["--spool-dir", "/nowhere/at/all", "--brokers", "k:1"], "can't be read"),
        (["--spool-dir", "/tmp"], "give --brokers or --config"),
        (["--spool-dir", "/tmp", "--config", "/nowhere"], "/nowhere"),
        (["--spool-dir", "/tmp", "--brokers", "k:1", "--timeout", "x"], "number of seconds"),
        ([], "--spool-dir"),
    ],
)
def test_wrong_options_are_refused(options: list[str], text: str) -> None:
    """With status 2."""
    done = run_command(*options)
    assert done.status == 2
    assert text in done.err


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")
def test_a_shipper_of_another_user(cluster: FakeKafka) -> None:
    """It is in the users' groups, whose directories are theirs, and has what it needs there."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        for user in (20001, 20002):
            home = root / f"user{user}"
            home.mkdir()
            os.chown(home, user, user)
            home.chmod(0o2770)
            # All modules are loaded before, as other users may not be allowed to read them.
            code = WRITER.format(root=f"{name}/root", topic="logs", options="") + "log(0)\n"
            code += f"handler.close(); os.setgid({user}); os.setuid({user})\n"
            code += WRITER.format(root=str(home), topic="logs", options="") + f"log({user})"
            run_python(code)
        shipper = ship(root / "root", cluster, "--once")[3:]
        code = (
            f"import os\nfrom kiel_logging.cli import main\nassert main({shipper!r}) == 0\n"
            f"os.rmdir({name + '/root'!r})\n"
            "os.setgroups([20001, 20002]); os.setgid(20009); os.setuid(20009)\n"
        )
        run_python(code + f"assert main({ship(root, cluster, '--once')[3:]!r}) == 0")
        assert sorted(messages(cluster)) == ["0", "0", "20001", "20002"]
        assert [list(home.iterdir()) for home in root.iterdir()] == [[], []]
