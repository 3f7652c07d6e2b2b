"""``kiel-logging verify`` against librdkafka's mock brokers: exit status, report, document."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from kiel_logging.cli import main
from kiel_logging.demo.cluster import Cluster
from kiel_logging.verify.names import FINDINGS
from tests.support.stamped_topics import produce
from tests.support.stamper import Stamped, Stamper
from tests.verify.topic import shipped

_PATIENCE_S = 60.0
B = "b" * 32
FIRST = {"first": 1, "last": 1, "partition": 0, "offset": 0}


def verify(cluster: Cluster, topic: str, *words: str) -> int:
    """The exit status of the command."""
    return main(["verify", "--brokers", cluster.brokers, "--topic", topic, *words])


def document(
    cluster: Cluster, topic: str, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[int, dict[str, Any]]:
    """The exit status, and the one topic of the JSON document."""
    status = verify(cluster, topic, "--json", *words)
    whole = json.loads(capsys.readouterr().out)
    (told,) = whole["topics"]
    return status, told


def test_a_whole_topic(cluster: Cluster, topic: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Four partitions, two instances, one of them without a chain: status 0."""
    for number, records in enumerate(shipped(200, partitions=4, stamper=Stamper(topic=topic))):
        produce(cluster.brokers, topic, records, number)
    plain = Stamper(B, chain=False, topic=topic)
    produce(cluster.brokers, topic, [plain.stamp(b"%d" % number) for number in range(10)], 2)
    status, told = document(cluster, topic, capsys)
    assert (status, told["verdict"], told["records"]) == (0, "complete", 212)
    assert told["counts"] == {"unsigned": 202}
    assert told["proof"] == "numbers"
    assert [one["chained"] for one in told["instances"]] == [True, False]
    assert told["instances"][0] == {
        "instance": "a" * 32,
        "handler": "audit",
        "host": "web-1",
        "process": "42",
        "chained": True,
        "keyed": False,
        "signed": False,
        "records": 202,
        "first": 1,
        "last": 202,
        "complete": True,
        "findings": {"unsigned": {"count": 202, "examples": [FIRST]}},
    }


def test_a_damaged_topic(cluster: Cluster, topic: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 1; each finding has its name, its count, and where it is."""
    (records,) = shipped(20, stamper=Stamper(topic=topic))
    records[4] = records[4]._replace(value=b"altered")
    del records[9]
    produce(cluster.brokers, topic, records)
    status, told = document(cluster, topic, capsys)
    assert (status, told["verdict"]) == (1, "incomplete")
    assert told["failures"] == ["removed", "altered"]
    assert told["instances"][0]["findings"] == {
        "removed": {
            "count": 1,
            "examples": [{"first": 10, "last": 10, "partition": 0, "offset": 9}],
        },
        "altered": {"count": 1, "examples": [{"partition": 0, "offset": 4}]},
        "unsigned": {"count": 20, "examples": [FIRST]},
    }


def test_repeats_fail_only_where_it_is_asked_for(
    cluster: Cluster, topic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a crash they are what is to be expected."""
    (records,) = shipped(20, stamper=Stamper(topic=topic))
    produce(cluster.brokers, topic, records + records[15:])
    assert document(cluster, topic, capsys)[0] == 0
    status, told = document(cluster, topic, capsys, "--strict")
    assert (status, told["failures"]) == (1, ["unsigned", "repeated"])


def test_programs_that_still_run(cluster: Cluster, topic: str) -> None:
    """Their end records are yet to come."""
    produce(cluster.brokers, topic, shipped(20, stamper=Stamper(topic=topic))[0][:10])
    assert verify(cluster, topic) == 1
    assert verify(cluster, topic, "--running") == 0


def test_a_record_on_its_way_has_a_grace(cluster: Cluster, topic: str) -> None:
    """A number that is missing below a later one is waited for, and then it is overdue."""
    one, other = shipped(20, partitions=2, stamper=Stamper(topic=topic))
    produce(cluster.brokers, topic, one[:1], 0)
    produce(cluster.brokers, topic, other[:5], 1)
    assert verify(cluster, topic, "--running", "--grace", "0.2") == 1
    late = threading.Timer(0.5, produce, (cluster.brokers, topic, one[1:5], 0))
    late.start()
    assert verify(cluster, topic, "--running", "--grace", "60") == 0
    late.join()


@pytest.mark.parametrize("by", ["file", "env"])
def test_the_key_of_the_digests(
    cluster: Cluster, topic: str, by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a file, which may end with a newline, or from a variable."""
    produce(
        cluster.brokers,
        topic,
        shipped(20, stamper=Stamper(secret=b"s3cret of the chain", topic=topic))[0],
    )
    (tmp_path / "key").write_text("s3cret of the chain\n")
    monkeypatch.setenv("AUDIT_KEY", "s3cret of the chain")
    words = {"file": ("--key-file", str(tmp_path / "key")), "env": ("--key-env", "AUDIT_KEY")}
    assert verify(cluster, topic, *words[by]) == 0


def test_a_wrong_key_is_no_damage(
    cluster: Cluster,
    topic: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Status 2, and the advice; the key itself is shown nowhere."""
    produce(
        cluster.brokers,
        topic,
        shipped(20, stamper=Stamper(secret=b"s3cret of the chain", topic=topic))[0],
    )
    monkeypatch.setenv("AUDIT_KEY", "guessed by somebody")
    assert verify(cluster, topic, "--key-env", "AUDIT_KEY") == 2
    said = capsys.readouterr().out
    assert "not one digest matches; which key were they made with? --key-file" in said
    assert "guessed by somebody" not in said
    assert verify(cluster, topic) == 2
    assert "which key were they made with? --key-file" in capsys.readouterr().out


def test_a_topic_without_numbers_proves_nothing(
    cluster: Cluster, topic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2: it was not checked."""
    produce(cluster.brokers, topic, [Stamped(None, b"hello", ())] * 3)
    assert verify(cluster, topic) == 2
    assert "no number in 3 records" in capsys.readouterr().out


def test_several_topics(cluster: Cluster, topic: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each has a verdict; the status is that of the damaged one."""
    produce(cluster.brokers, topic, shipped(20, stamper=Stamper(topic=topic))[0])
    other = f"{topic}-2"
    produce(cluster.brokers, other, shipped(20, stamper=Stamper(topic=other))[0][1:])
    assert verify(cluster, topic, "--topic", f"{topic}-2") == 1
    said = capsys.readouterr().out
    assert f"{topic} is complete" in said
    assert f"{topic}-2 is NOT complete: removed 1" in said


def test_the_report_can_be_read_without_a_terminal(
    cluster: Cluster, topic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Plain text: the table, each finding with its meaning and places, the verdict."""
    (records,) = shipped(1_200, stamper=Stamper(topic=topic))
    del records[1_050:1_100]
    produce(cluster.brokers, topic, records)
    assert verify(cluster, topic) == 1
    captured = capsys.readouterr()
    lines = [line.rstrip() for line in captured.out.splitlines()]
    (row,) = (line for line in lines if line.startswith(f"  {'a' * 32}"))
    assert row.split() == [
        *("a" * 32, "web-1", "audit", "(42)", "no", "key", "1,152", "1-1,202", "removed", "50,"),
        *("unsigned", "1,152"),
    ]
    assert f"removed: 50 numbers, {FINDINGS['removed'].meaning}" in lines
    assert f"    {'a' * 32}, numbers 1,051-1,100, partition 0 offset 1,050" in lines
    assert lines[-2] == f"{topic} is NOT complete: removed 50"
    assert "\x1b" not in captured.out
    assert captured.err == ""


def test_a_handler_without_a_name(
    cluster: Cluster, topic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Leaves no gap where it would be."""
    nameless = Stamper(topic=topic)
    start = nameless.start(handler="")
    produce(cluster.brokers, topic, [start, nameless.end()])
    assert verify(cluster, topic) == 0
    assert "web-1 (42)" in capsys.readouterr().out


def test_a_record_can_not_write_to_the_terminal(
    topic: str, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """No title, clipboard or other verdict: escape sequences are shown."""
    evil = "\x1b]0;title\x07\x1b]52;c;Y3Vy\x07\x1b[2J\x1b[H[bold]t is complete[/bold]\n\u202e"
    stamper = Stamper(topic=topic)
    start = stamper.start(handler=evil, host=evil * 10, process=evil)
    produce(cluster.brokers, topic, [start, stamper.end()])
    verify(cluster, topic)
    said = capsys.readouterr().out
    assert all(line.isprintable() for line in said.split("\n"))
    assert len(said) < 5_000


def test_many_instances_hide_nothing(
    cluster: Cluster, topic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that are not complete come first, and the others are counted."""
    records = [
        record
        for n in range(99)
        for record in shipped(1, stamper=Stamper(f"{n:032x}", topic=topic))[0]
    ]
    produce(cluster.brokers, topic, records + shipped(3, stamper=Stamper(B, topic=topic))[0][1:])
    assert verify(cluster, topic) == 1
    said = capsys.readouterr().out
    rows = [line for line in said.splitlines() if "web-1" in line or B in line]
    assert B in rows[0]
    assert "50 more" in said


def test_no_group_is_left_behind(cluster: Cluster, topic: str) -> None:
    """Nothing is committed: the next run reads the same again."""
    produce(cluster.brokers, topic, shipped(20, stamper=Stamper(topic=topic))[0])
    assert [verify(cluster, topic) for _ in range(2)] == [0, 0]
    consumer = Consumer({"bootstrap.servers": cluster.brokers, "group.id": "kiel-verify"})
    try:
        (committed,) = consumer.committed([TopicPartition(topic, 0)], timeout=_PATIENCE_S)
    finally:
        consumer.close()
    assert committed.offset < 0


# -- what can't be checked -------------------------------------------------------------------------


def test_no_such_topic(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2; it isn't created by asking."""
    for _ in range(2):
        assert verify(cluster, "no-such-topic") == 2
    assert "there is no topic 'no-such-topic'" in capsys.readouterr().err


def test_nobody_answers(unused_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, with the reason, once --timeout is over."""
    words = ["--brokers", f"127.0.0.1:{unused_port}", "--topic", "t", "--timeout", "1"]
    assert main(["verify", *words]) == 2
    said = capsys.readouterr().err
    assert "kiel-logging verify: " in said
    assert "refused" in said


def test_a_configuration_file(cluster: Cluster, topic: str, tmp_path: Path) -> None:
    """Brokers and security as any client is configured."""
    produce(cluster.brokers, topic, shipped(5, stamper=Stamper(topic=topic))[0])
    config = tmp_path / "client.properties"
    config.write_text(f"bootstrap.servers={cluster.brokers}\nsecurity.protocol=PLAINTEXT\n")
    assert main(["verify", "--config", str(config), "--topic", topic]) == 0


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "no brokers"),
        (["--config", "/no/such/file"], "can't be read"),
        (["--brokers", "b:1", "--key-file", "/no/such/file"], "--key-file: /no/such/file"),
        (["--brokers", "b:1", "--key-env", "NO_SUCH"], "NO_SUCH is not set"),
        (["--brokers", "b:1", "--key-env", "EMPTY"], "a key of 0 bytes; the shortest that a han"),
        (["--brokers", "b:1", "--key-env", "SHORT"], "a key of 15 bytes; the shortest that a ha"),
    ],
    ids=str,
)
def test_wrong_options(
    words: list[str],
    complaint: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Status 2, and what is wrong."""
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.setenv("SHORT", "fifteen bytes..")
    assert main(["verify", "--topic", "t", *words]) == 2
    told = capsys.readouterr().err
    assert complaint in told
    assert "fifteen" not in told


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--brokers", "b:1"], "--topic"),
        (["--topic", "t", "--since", "yesterday"], "is not a time"),
        (["--topic", "t", "--timeout", "soon"], "is not a number of seconds"),
        (["--topic", "t", "--timeout", "0"], "is not a number of seconds"),
        (["--topic", "t", "--memory", "much"], "is not a whole number"),
        (["--topic", "t", "--memory", "0"], "is not a whole number from 1 to"),
    ],
    ids=str,
)
def test_words_that_make_no_sense(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As argparse has it: status 2 too."""
    with pytest.raises(SystemExit) as exit_:
        main(["verify", *words])
    assert exit_.value.code == 2
    assert complaint in capsys.readouterr().err


_WITHOUT_THE_EXTRA = """
import sys
import kiel_logging.arguments as arguments
arguments.find_spec = lambda name: None
from kiel_logging.cli import main
status = main(["verify", "--topic", "t"])
assert not {"confluent_kafka", "rich"} & set(sys.modules)
sys.exit(status)
"""


def test_without_the_extra_it_says_what_to_install() -> None:
    """One line of advice, and exit status 2."""
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_THE_EXTRA],
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "pip install 'kiel_logging[verify]'" in done.stderr
