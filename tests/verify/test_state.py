"""``verify --state`` and ``--watch``: later runs read what is new, and find what one run finds."""

from __future__ import annotations

import json
import random
import threading
import time
import urllib.request
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from kiel_logging.demo.cluster import Cluster
from kiel_logging.output import CannotRun
from kiel_logging.proof.chain import Chain
from kiel_logging.records import Record
from kiel_logging.verify import names, state
from kiel_logging.verify.audit import Audit
from kiel_logging.verify.evidence import Registry
from kiel_logging.verify.judge import judge
from kiel_logging.verify.names import FINDINGS
from tests.support.signer import Signer
from tests.support.stamped_topics import produce
from tests.support.stamper import Stamped, Stamper
from tests.verify.test_command import document, verify
from tests.verify.topic import shipped

SECRET = b"a secret of sixteen"
A = "a" * 32


def whole(records: list[Stamped]) -> None:
    """Leave it as it is."""


def remove(records: list[Stamped]) -> None:
    """Take some out of the middle, and one of the first page."""
    del records[150:220]
    del records[20]


def alter(records: list[Stamped]) -> None:
    """Change one."""
    records[100] = records[100]._replace(value=b"altered")


def repeat(records: list[Stamped]) -> None:
    """Write some again, far behind."""
    records += records[100:110]


def swap(records: list[Stamped]) -> None:
    """Let two change places."""
    records[100], records[101] = records[101], records[100]


def cut(records: list[Stamped]) -> None:
    """Leave the end out."""
    del records[-5:]


def forge(records: list[Stamped]) -> None:
    """Give another record the number of one."""
    other = Stamper(A, secret=SECRET)
    forged = [other.stamp(b"forged") for _ in range(201)]
    records[200] = forged[200]


DEEDS = [whole, remove, alter, repeat, swap, cut, forge]


@pytest.mark.parametrize("partitions", [1, 3])
@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("secret", [SECRET, None], ids=["a key", "no key"])
def test_runs_with_a_state_find_what_one_run_finds(
    secret: bytes | None, deed: Callable[[list[Stamped]], None], partitions: int, tmp_path: Path
) -> None:
    """Wherever they end; and what is whole takes no room in the state."""
    stamper = Stamper(A, secret=secret, signer=Signer(A))
    records = [stamper.start(), stamper.checkpoint()]
    for number in range(500):
        records.append(stamper.stamp(b"%d" % number))
        if number % 100 == 0:
            records.append(stamper.checkpoint())
    records.append(stamper.end())
    deed(records)
    ends = [0, *sorted(random.Random(len(records)).sample(range(len(records)), 4)), len(records)]

    def run(ends: list[int]) -> dict[str, int]:
        counts: dict[str, int] = {}
        for first, last in pairwise(ends):
            registry, read = Registry(), dict[Any, Any]()
            audit = Audit("t", () if secret is None else (Chain.of(secret),), registry)
            state.load(tmp_path / "state", {"t": audit}, registry, read)
            for at in range(first, last):
                key, value, headers = records[at]
                audit.add(at % partitions, at, Record(key, value, tuple(headers), 1_000 + at))
            counts = dict(judge(audit, "t").counts())
            state.settle({"t": audit})
            assert judge(audit, "t").counts() == counts
            state.save(tmp_path / "state", {"t": audit}, registry, read)
        return counts

    at_once = run([0, len(records)])
    size = (tmp_path / "state").stat().st_size
    (tmp_path / "state").unlink()
    assert run(ends) == at_once
    if deed is whole:
        assert size < 12_000
        assert set(at_once) <= {"unsigned"}
    elif deed not in {repeat, swap}:
        assert set(at_once) - {"unsigned"}


def test_later_runs_read_what_is_new_alone(
    cluster: Cluster, topic: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And judge all of it."""
    words = ("--state", str(tmp_path / "state"), "--running")
    (records,) = shipped(300, stamper=Stamper(topic=topic))
    produce(cluster.brokers, topic, records[:200])
    assert document(cluster, topic, capsys, *words)[1]["records"] == 200
    produce(cluster.brokers, topic, records[200:])
    status, told = document(cluster, topic, capsys, *words)
    assert (status, told["records"], told["instances"][0]["records"]) == (0, 302, 302)
    assert set(told["counts"]) == {"unsigned"}
    again = document(cluster, topic, capsys, *words)
    assert (again[0], again[1]["records"]) == (0, 302)


def test_a_topic_that_was_made_anew_is_rewound(
    cluster: Cluster, topic: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether it is shorter, or as long and of other records; the state is kept as it was."""
    path = tmp_path / "state"
    (records,) = shipped(50, stamper=Stamper(topic=topic))
    produce(cluster.brokers, topic, records)
    assert document(cluster, topic, capsys, "--state", str(path))[0] == 0
    kept = json.loads(path.read_text())
    for place in kept["read"]:
        place[3] += 7
    longer = tmp_path / "longer"
    longer.write_text(json.dumps(kept))
    status, told = document(cluster, topic, capsys, "--state", str(longer))
    assert (status, told["counts"]["rewound"]) == (1, 7)
    assert json.loads(longer.read_text()) == kept
    for place in kept["read"]:
        place[3] -= 7
        place[5] = "0" * 64
    longer.write_text(json.dumps(kept))
    status, told = document(cluster, topic, capsys, "--state", str(longer))
    assert (status, told["counts"]["rewound"]) == (1, 1)


WRONG = {
    "no state": ("{}", "is no state of this release"),
    "no JSON": ("{", "is no state of this release"),
    "another topic": (
        '{"format":"kiel-verify-3","read":[],"audits":{"x":{"keys":[]}},"registry":[]}',
        "is of other topics, checkpoints or keys",
    ),
}


@pytest.mark.parametrize(("content", "message"), WRONG.values(), ids=WRONG)
def test_another_file_is_no_state(tmp_path: Path, content: str, message: str) -> None:
    """It is left alone."""
    (tmp_path / "state").write_text(content)
    with pytest.raises(CannotRun, match=message):
        state.load(tmp_path / "state", {"t": Audit("t")}, Registry(), {})


def test_watching_ends_with_findings_if_it_should(
    cluster: Cluster, topic: str, capsys: pytest.CaptureFixture[str], unused_port: int
) -> None:
    """Until then it serves figures for Prometheus."""
    (records,) = shipped(300, stamper=Stamper(topic=topic))
    produce(cluster.brokers, topic, records[:100])
    scraped: list[str] = []

    def tamper() -> None:
        url = f"http://127.0.0.1:{unused_port}/metrics"
        while not scraped or "kiel_verify_records" not in scraped[-1]:
            try:
                with urllib.request.urlopen(url) as answer:
                    scraped.append(answer.read().decode())
            except OSError:
                continue
        produce(cluster.brokers, topic, records[101:])

    thread = threading.Thread(target=tamper)
    thread.start()
    words = ("--watch", "--interval", "0.1", "--grace", "0.1", "--exit")
    status = verify(cluster, topic, "--json", *words, "--metrics", f"127.0.0.1:{unused_port}")
    thread.join()
    rounds = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (status, rounds[0]["verdict"], rounds[-1]["verdict"]) == (1, "complete", "incomplete")
    assert rounds[-1]["topics"][0]["counts"]["removed"] == 1
    assert f'kiel_verify_complete{{topic="{topic}"}} 1\n' in scraped[-1]
    assert f'kiel_verify_records{{topic="{topic}"}} 100\n' in scraped[-1]
    for name in FINDINGS:
        assert f'finding="{name}"' in scraped[-1]


def test_checkpoints_from_a_topic_and_a_file(
    cluster: Cluster, topic: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tail that was cut off is found by either; and nothing where all is there."""
    stamper = Stamper(A, topic=topic, signer=Signer(A))
    records = [stamper.start(), *(stamper.stamp(b"%d" % number) for number in range(50))]
    evidence = stamper.evidence(at=time.time_ns() // 1_000_000)
    keeper = Stamper("b" * 32, topic=f"{topic}-cp")
    produce(cluster.brokers, f"{topic}-cp", [keeper.event("checkpoint", **evidence)])
    (tmp_path / "anchors").write_text("torn\n" + json.dumps(evidence) + "\n")
    produce(cluster.brokers, topic, records[:40])
    for place in (f"{topic}-cp", str(tmp_path / "anchors")):
        words = ("--checkpoints", place, "--running", "--grace", "0.1")
        status, told = document(cluster, topic, capsys, *words)
        assert (status, told["counts"]) == (1, {"truncated": 11})
    assert names.TRUNCATED in told["failures"]


@pytest.mark.parametrize("content", [None, "x"], ids=["no file", "no key"])
def test_a_key_to_trust_that_is_none(
    cluster: Cluster,
    topic: str,
    content: str | None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The topic can't be checked; the message says why."""
    if content is not None:
        (tmp_path / "key.pub").write_text(content)
    assert verify(cluster, topic, "--trust", str(tmp_path / "key.pub")) == 2
    assert "--trust: " in capsys.readouterr().err
