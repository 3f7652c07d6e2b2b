"""``kiel-logging tail`` against librdkafka's mock brokers: what is read, and how it ends."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import Producer

from kiel_logging.cli import main
from kiel_logging.demo.cluster import Cluster
from tests.support.stamped_topics import produce
from tests.support.stamper import Stamper
from tests.support.waiting import PATIENCE

BEGAN = 1_700_000_000_000


def write(cluster: Cluster, topic: str, numbers: Iterable[int], partition: int = 0) -> None:
    """Put plain texts into a partition, each a second later than the one before."""
    producer = Producer({"bootstrap.servers": cluster.brokers, "log_level": 0, "linger.ms": 5})
    for number in numbers:
        text = f"{'ERROR' if number % 10 == 0 else 'INFO'}:shop:{number}".encode()
        producer.produce(topic, text, b"ada", partition, timestamp=BEGAN + number * 1_000)
    assert producer.flush(PATIENCE) == 0


def command(cluster: Cluster, *words: str) -> list[str]:
    """The command line."""
    return [sys.executable, "-m", "kiel_logging", "tail", "--brokers", cluster.brokers, *words]


def tail(cluster: Cluster, capsys: pytest.CaptureFixture[str], *words: str) -> list[object]:
    """Run to the end of what is there; return the messages."""
    assert main(["tail", "--brokers", cluster.brokers, "--no-follow", "--json", *words]) == 0
    documents = map(json.loads, capsys.readouterr().out.splitlines())
    return [one["message"] if "message" in one else one["gap"] for one in documents]


def test_the_newest_records(
    cluster: Cluster, topic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of all partitions together, by their times; ten of them by default."""
    write(cluster, topic, range(1, 30, 2), 0)
    write(cluster, topic, range(2, 30, 2), 1)
    every = [str(number) for number in range(1, 30)]
    assert tail(cluster, capsys, topic) == every[-10:]
    assert tail(cluster, capsys, topic, "--lines", "3") == every[-3:]
    assert tail(cluster, capsys, topic, "--lines", "1000") == every
    assert tail(cluster, capsys, topic, "--lines", "0") == []
    assert tail(cluster, capsys, topic, "--lines", "2", "--level", "ERROR") == ["10", "20"]
    assert tail(cluster, capsys, topic, "--lines", "9", "--grep", "^7$") == ["7"]


def test_gaps_and_repeats(cluster: Cluster, topic: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Are found in what is there."""
    stamper = Stamper("0" * 32, chain=False, topic=topic)
    records = [stamper.stamp(b"%d" % number) for number in range(1, 7)]
    chosen = [records[0], records[1], records[4], records[1], records[5]]
    produce(cluster.brokers, topic, chosen, timestamp=BEGAN)
    *shown, gap = tail(cluster, capsys, topic)
    assert shown == ["1", "2", "5", "2", "6"]
    assert gap == {"topic": topic, "instance": "0" * 32, "first": 3, "last": 4}
    main(["tail", "--brokers", cluster.brokers, "--no-follow", topic])
    lines = capsys.readouterr().out.splitlines()
    assert ["[repeat]" in line for line in lines] == [False, False, False, True, False, False]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--level", "loud"], "'loud' is no level"),
        (["--where", "ada"], "'ada' is not FIELD=VALUE"),
        (["--grep", "("], "'(' is no regular expression"),
        (["--since", "lately"], "'lately' is not a time like"),
        (["--lines", "-1"], "'-1' is not a whole number from 0 to"),
        (["--lines", "all"], "'all' is not a whole number"),
    ],
)
def test_wrong_options(words: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, and what would be right."""
    with pytest.raises(SystemExit) as ended:
        main(["tail", "shop", "--brokers", "b:1", *words])
    assert ended.value.code == 2
    assert text in capsys.readouterr().err


def test_a_topic_that_is_not_there(
    cluster: Cluster, topic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2; asking does not create it."""
    for _ in range(2):
        assert main(["tail", "--brokers", cluster.brokers, topic]) == 2
        assert f"there is no topic '{topic}'" in capsys.readouterr().err


def test_no_brokers(unused_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, and the address that does not answer."""
    address = f"127.0.0.1:{unused_port}"
    assert main(["tail", "shop", "--brokers", address, "--timeout", "1"]) == 2
    assert f"no broker answers at {address}" in capsys.readouterr().err
    assert main(["tail", "shop"]) == 2
    assert "no brokers: give --brokers" in capsys.readouterr().err


@contextmanager
def following(
    cluster: Cluster, topic: str, stdout: int = subprocess.PIPE
) -> Iterator[subprocess.Popen[str]]:
    """A process that shows what comes."""
    with subprocess.Popen(
        command(cluster, topic), stdout=stdout, stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def test_what_comes_is_shown_until_ctrl_c(cluster: Cluster, topic: str) -> None:
    """A line as soon as it is there; then status 130."""
    write(cluster, topic, [1])
    with following(cluster, topic) as running:
        assert running.stdout is not None
        assert running.stdout.readline().endswith(" INFO     shop 1\n")
        write(cluster, topic, [2, 3], 1)
        assert running.stdout.readline().endswith(" INFO     shop 2\n")
        assert running.stdout.readline().endswith(" INFO     shop 3\n")
        running.send_signal(signal.SIGINT)
        shown, errors = running.communicate(timeout=PATIENCE)
    assert (running.returncode, shown, errors) == (130, "", "\ninterrupted\n")


def test_a_reader_that_goes_away_is_noticed(cluster: Cluster, topic: str) -> None:
    """Status 141 and no text, though nothing comes that could be written."""
    write(cluster, topic, [1])
    with following(cluster, topic) as running:
        assert running.stdout is not None
        running.stdout.readline()
        running.stdout.close()
        assert running.stderr is not None
        assert running.stderr.read() == ""
        assert running.wait(PATIENCE) == 141


@pytest.mark.parametrize(("variable", "coloured"), [("ANY", True), ("NO_COLOR", False)])
def test_colours_are_for_terminals(
    cluster: Cluster, topic: str, variable: str, coloured: bool
) -> None:
    """Unless NO_COLOR is set."""
    write(cluster, topic, [10])
    mine, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", variable: "1"}
    if variable != "NO_COLOR":
        environment.pop("NO_COLOR", None)
    try:
        subprocess.run(
            command(cluster, topic, "--no-follow"), stdout=terminal, check=True, env=environment
        )
        shown = os.read(mine, 10_000)
    finally:
        os.close(mine)
        os.close(terminal)
    assert (b"\x1b[1;31mERROR   \x1b[0m" in shown) is coloured
    assert (b"\x1b" in shown) is coloured
