"""Checkpoints with timestamps of an authority, which is OpenSSL's command line behind HTTP."""

from __future__ import annotations

import json
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kiel_logging.cli import main
from kiel_logging.errors import ConfigurationError
from kiel_logging.proof.checkpoints import Evidence
from kiel_logging.proof.timestamps import Authority, Question
from kiel_logging.testing import FakeKafka
from kiel_logging.verify.evidence import Registry
from kiel_logging.verify.verification import read_anchors
from tests.handler.shipped import MakeHandler, logger_to
from tests.support.signer import Signer
from tests.support.stamper import Stamper
from tests.support.timestamp_authority import TimestampAuthority, timestamp_authority
from tests.support.waiting import until

HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def tsa(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TimestampAuthority]:
    """One for all tests; some of them send it away."""
    with timestamp_authority(tmp_path_factory.mktemp("tsa")) as authority:
        yield authority


def lines_of(path: Path) -> list[dict[str, str]]:
    """The content of an anchor's file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_anchor_has_timestamps(
    make_handler: MakeHandler, tsa: TimestampAuthority, tmp_path: Path
) -> None:
    """Of each note; OpenSSL's command line takes them, and so does the package."""
    path = tmp_path / "anchored"
    anchor = {"timestamp": tsa.url, "to": path}
    with closing(make_handler("logs", chain=True, sign=True, anchor=anchor)) as handler:
        logger_to(handler).info("x")
    lines = lines_of(path)
    assert [Evidence.of(line).checkpoint.state for line in lines][-1] == "end"
    authority = Authority.of([tsa.root.read_bytes()])
    for line in lines:
        answer = b64decode(line["timestamp"])
        assert tsa.takes(answer, line["note"])
        assert not tsa.takes(answer, line["note"] + "x")
        stamped = authority.time_of(answer, line["note"])
        assert abs(stamped - Evidence.of(line).checkpoint.time) < HOUR_MS
        with pytest.raises(ValueError, match="no timestamp of this authority"):
            authority.time_of(answer, line["note"] + "x")


def test_an_authority_that_is_away_is_asked_again(
    make_handler: MakeHandler,
    cluster: FakeKafka,
    tsa: TimestampAuthority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Checkpoints wait for it, in order."""
    monkeypatch.setattr("kiel_logging.handler.shipper.LOOK_EVERY", 0.02)
    put: list[bytes] = []
    tsa.is_away = True
    anchor = {"timestamp": tsa.url, "to": put.append}
    with closing(make_handler("logs", chain=True, sign=True, anchor=anchor)) as handler:
        logger_to(handler).info("x")
        cluster.stored("logs", 3)
        assert put == []
        tsa.is_away = False
        until(lambda: bool(put))
    counters = [Evidence.of(json.loads(line)).checkpoint.counter for line in put]
    assert counters == list(range(1, len(put) + 1))


def checkpoint(at: int) -> dict[str, str]:
    """A signed one of that time."""
    signer = Signer()
    stamper = Stamper(signer=signer)
    stamper.stamp(b"x")
    return stamper.evidence(at=at)


def test_only_timestamps_of_their_time_count(
    tsa: TimestampAuthority, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the authority that was named. Others are counted on stderr."""
    authority = Authority.of([tsa.root.read_bytes()])

    def stamped(made: dict[str, str], note: str | None = None) -> dict[str, str]:
        answer = tsa.answer(Question(note or made["note"]).content)
        return {**made, "timestamp": b64encode(answer).decode()}

    now = time.time_ns() // 1_000_000
    right, old, bare = checkpoint(now), checkpoint(now - 2 * HOUR_MS), checkpoint(now)
    lines = [
        stamped(right),
        stamped(old),
        bare,
        stamped(bare, old["note"]),
        {**bare, "timestamp": "x"},
        {**bare, "timestamp": b64encode(b"\x30\x03\x02\x01\x00").decode()},
    ]
    path = tmp_path / "anchored"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    registry = Registry()
    read_anchors(path, registry, authority)
    account = registry.account("t", "a" * 32, None)
    assert account.publics == {Evidence.of(right).public}
    assert "has 5 checkpoints that count for nothing" in capsys.readouterr().err
    (tmp_path / "another").mkdir()
    with timestamp_authority(tmp_path / "another") as other:
        registry = Registry()
        read_anchors(path, registry, Authority.of([other.root.read_bytes()]))
        assert registry.streams == {}


@pytest.mark.parametrize(
    "anchor",
    [
        {},
        {"timestamp": "http://localhost/"},
        {"timestamp": "http://localhost/", "to": None},
        {"timestamp": "tsa", "to": "/tmp/x"},
        {"timestamp": "http://localhost/", "to": "/tmp/x", "more": 1},
    ],
)
def test_an_anchor_that_makes_no_sense(make_handler: MakeHandler, anchor: dict[str, Any]) -> None:
    """It is refused when the handler is made."""
    with pytest.raises(ConfigurationError, match="anchor"):
        make_handler(chain=True, sign=True, anchor=anchor)


@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN CERTIFICATE-----\nx\n"])
def test_a_root_that_is_none(
    content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command says so, and checks nothing."""
    path = tmp_path / "root.pem"
    if content is not None:
        path.write_bytes(content)
    assert main(["verify", "--topic", "t", "--brokers", "localhost:1", "--tsa", str(path)]) == 2
    assert f"--tsa: {path}" in capsys.readouterr().err
