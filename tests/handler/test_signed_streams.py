"""Signed checkpoints of what a handler ships: in the stream, in another topic, outside of Kafka."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kiel_logging import KafkaHandler
from kiel_logging.errors import ConfigurationError
from kiel_logging.handler import signing
from kiel_logging.proof.chain import Chain
from kiel_logging.proof.checkpoints import Evidence
from kiel_logging.records import Record
from kiel_logging.testing import FakeKafka
from kiel_logging.verify.audit import Audit
from kiel_logging.verify.evidence import Registry
from kiel_logging.verify.judge import judge
from kiel_logging.verify.names import Proof, TopicVerdict
from tests.handler.process.child import run_by_hand, said
from tests.handler.shipped import MakeHandler, logger_to, refuse_everything
from tests.support import c2sp
from tests.support.signer import note
from tests.support.stamps import marks

SECRET = "s3cret-of-the-chain"
SIGNED: dict[str, Any] = {"chain": True, "sign": True}
HOST = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = HOST.public_key().public_bytes_raw()


def verdicts(
    cluster: FakeKafka,
    elsewhere: Sequence[Evidence] = (),
    *,
    topics: Sequence[str] = ("logs",),
    secret: str | None = None,
    trusted: Sequence[bytes] = (),
) -> list[TopicVerdict]:
    """Those of `kiel-logging verify` on some topics; the second is one of checkpoints."""
    registry = Registry(trusted)
    for evidence in elsewhere:
        registry.add(evidence, outside=True)
    chains = () if secret is None else (Chain.of(secret.encode()),)
    audits = [
        Audit(topic, chains, registry, has_checkpoints=topic != topics[0]) for topic in topics
    ]
    for audit in audits:
        for partition, records in cluster.records(audit.topic).items():
            for one in records:
                headers = list(one.headers)
                audit.add(
                    partition, one.offset, Record(one.key, one.value, tuple(headers), one.timestamp)
                )
    return [judge(audit, audit.topic) for audit in audits]


def evidence(cluster: FakeKafka, topic: str = "logs") -> list[Evidence]:
    """All that the records of a topic bear, in the order of their counters."""
    details = [
        json.loads(marks(one).get("details", "{}"))
        for records in cluster.records(topic).values()
        for one in records
    ]
    found = [Evidence.of(one) for one in details if "note" in one]
    return sorted(found, key=lambda one: one.checkpoint.counter)


@pytest.mark.parametrize("secret", [None, SECRET], ids=["no key", "a key"])
def test_a_signed_stream_is_proved(
    cluster: FakeKafka, make_handler: MakeHandler, spooled: dict[str, Any], secret: str | None
) -> None:
    """Without a key by the signatures alone: each record up to the end is covered, in the topic, in
    the topic of checkpoints, and outside. The topic of checkpoints is complete itself."""
    cluster.add_topic("shop", 3)
    cluster.add_topic("signed", 1)
    anchored: list[bytes] = []
    options = spooled if secret is None else {**spooled, "chain_key": secret}
    handler = make_handler(
        "shop", **SIGNED, checkpoint_topic="signed", anchor=anchored.append, **options
    )
    logger = logger_to(handler)
    for number in range(2_500):
        logger.info("%d", number)
    handler.close()
    logs, signed = verdicts(cluster, topics=("shop", "signed"), secret=secret)
    assert dict(logs.counts()) == {}
    assert logs.proof is (Proof.SIGNED if secret is None else Proof.KEY)
    assert set(signed.counts()) <= {"unsigned"}
    own = evidence(cluster, "shop")
    assert [one.checkpoint.counter for one in own] == list(range(1, len(own) + 1))
    assert evidence(cluster, "signed") == own
    assert [Evidence.of(json.loads(line)) for line in anchored] == own
    assert 2 <= len(own) <= 6
    assert own[-1].checkpoint.sequence == logs.streams[0].last - 1
    assert own[-1].checkpoint.state == "end"


def test_openssl_and_a_reader_of_the_specification_take_the_notes(
    cluster: FakeKafka, make_handler: MakeHandler, tmp_path: Path
) -> None:
    """With the key that the start record names."""
    with closing(make_handler("logs", **SIGNED)) as handler:
        logger_to(handler).info("x")
    (found,) = (one for records in cluster.records("logs").values() for one in records[:1])
    start = json.loads(marks(found)["details"])
    checkpoint = evidence(cluster)[0]
    note_of = json.loads(marks(cluster.records("logs")[0][2])["details"])["note"]
    name = f"kiel-logging/{start['instance']}"
    text = c2sp.signed_text(note_of.encode(), name, checkpoint.public, tmp_path)
    assert text.decode() == checkpoint.checkpoint.text()


def in_hardware(text: str) -> str:
    """Sign as a service would that alone has the key."""
    return note(text, "kiel-logging/endorsement", HOST)


@pytest.mark.parametrize("form", ["text", "file", "env", "callable"])
def test_a_key_of_the_host_endorses_instances(
    cluster: FakeKafka,
    make_handler: MakeHandler,
    form: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Made by OpenSSL, and given in any form; `--trust` takes its public key, and no other."""
    path = tmp_path / "host.pem"
    openssl = ["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(path)]
    subprocess.run(openssl, check=True)
    monkeypatch.setenv("HOST_KEY", path.read_text())
    forms: dict[str, Any] = {
        "text": path.read_text(),
        "file": {"file": str(path)},
        "env": {"env": "HOST_KEY"},
        "callable": in_hardware,
    }
    with closing(make_handler("logs", **SIGNED, endorse_key=forms[form])) as handler:
        logger_to(handler).info("x")
    der = subprocess.run(
        ["openssl", "pkey", "-in", str(path), "-pubout", "-outform", "DER"],
        check=True,
        capture_output=True,
    ).stdout
    public = PUBLIC if form == "callable" else der[-32:]
    (made,) = verdicts(cluster, trusted=[public])
    assert (dict(made.counts()), made.proof) == ({}, Proof.SIGNED)
    (made,) = verdicts(cluster, trusted=[bytes(32)])
    assert set(made.counts()) == {"unsigned"}


def test_an_endorsement_that_fails_is_reported_and_nothing_else_does(
    cluster: FakeKafka, make_handler: MakeHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    """The user's callable may raise anything, in a forked child as well."""

    def fail(text: str) -> str:
        raise OSError("no such device")

    with closing(make_handler("logs", **SIGNED, endorse_key=fail)) as handler:
        logger_to(handler).info("x")
    assert "could not be endorsed: no such device" in capsys.readouterr().err
    assert set(verdicts(cluster)[0].counts()) == {"unsigned"}


def test_a_checkpoint_comes_with_time_and_in_any_case(
    cluster: FakeKafka, make_handler: MakeHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A heartbeat where nothing is logged."""
    monkeypatch.setattr("kiel_logging.handler.shipper.LOOK_EVERY", 0.02)
    monkeypatch.setattr("kiel_logging.proof.checkpoints.HEARTBEAT", 0.05)
    with closing(make_handler("logs", **SIGNED)) as handler:
        logger_to(handler).info("x")
        cluster.stored("logs", 6)
    assert set(verdicts(cluster)[0].counts()) == {"unsigned"}


def test_no_checkpoints_pile_up_while_the_brokers_take_nothing(
    cluster: FakeKafka, make_handler: MakeHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would fill the memory, for days."""
    monkeypatch.setattr("kiel_logging.handler.shipper.LOOK_EVERY", 0.005)
    monkeypatch.setattr("kiel_logging.proof.checkpoints.HEARTBEAT", 0.001)
    refuse_everything(cluster)
    handler = make_handler("logs", **SIGNED, close_timeout_ms=100)
    logger_to(handler).info("x")
    handler.flush(0.5)
    assert handler.stats().emitted <= 4
    handler.close()


def test_a_forked_child_signs_with_a_key_of_its_own(cluster: FakeKafka) -> None:
    """And its copy of the parent's is forgotten."""
    code = """
handler = make()
log.info("parent")
signer = handler._lifecycle.pipeline._checkpoints._signer

def work():
    log.info("child")
    try:
        signer._sign(b"")
    except ValueError as error:
        say(error=str(error))

wait(fork(work))
"""
    program = run_by_hand(code, brokers=cluster.addresses, **SIGNED)
    assert (said(program), program.stderr) == ({"error": "the private key is forgotten"}, "")
    publics = {one.public for one in evidence(cluster)}
    assert len(publics) == 2
    (made,) = verdicts(cluster, evidence(cluster))
    assert (dict(made.counts()), len(made.streams)) == ({}, 2)


# -- anchors ---------------------------------------------------------------------------------------


def test_a_file_as_an_anchor(cluster: FakeKafka, make_handler: MakeHandler, tmp_path: Path) -> None:
    """Checkpoints are appended, each of them a line: two handlers may have the same file."""
    path = tmp_path / "anchors"
    for _ in range(2):
        with closing(make_handler("logs", **SIGNED, anchor=path)) as handler:
            logger_to(handler).info("x")
    lines = [Evidence.of(json.loads(line)) for line in path.read_bytes().splitlines()]
    assert len({one.checkpoint.instance for one in lines}) == 2
    (made,) = verdicts(cluster, lines)
    assert (dict(made.counts()), made.proof) == ({}, Proof.SIGNED)


@pytest.fixture
def endpoint() -> Iterator[tuple[str, list[Any], threading.Event]]:
    """Yield the address of an HTTP server that refuses the first request, what it was sent, and
    when it has refused."""
    bodies: list[Any] = []
    refused = threading.Event()

    class Endpoint(BaseHTTPRequestHandler):
        """Collects what is posted."""

        def do_POST(self) -> None:  # the base's name
            body = self.rfile.read(int(self.headers["Content-Length"]))
            bodies.append(json.loads(body))
            self.send_response(503 if len(bodies) == 1 else 204)
            self.end_headers()
            refused.set()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Endpoint) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/anchor", bodies, refused
        server.shutdown()
        thread.join()


def test_an_http_endpoint_as_an_anchor(
    cluster: FakeKafka,
    make_handler: MakeHandler,
    endpoint: tuple[str, list[Any], threading.Event],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One that fails is reported, and sent again before those behind it."""
    url, bodies, refused = endpoint
    with closing(make_handler("logs", **SIGNED, anchor=url)) as handler:
        logger_to(handler).info("x")
        assert refused.wait(60)
    found = [Evidence.of(one) for one in bodies]
    assert [one.checkpoint.counter for one in found] == [1, 1, 2]
    assert "could not be anchored, and will be again: <HTTPError 503" in capsys.readouterr().err
    assert dict(verdicts(cluster, found)[0].counts()) == {}


def test_an_anchor_that_is_gone_harms_nothing(
    cluster: FakeKafka, make_handler: MakeHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    """Records are delivered; the end says how many checkpoints are not there."""

    def gone(content: bytes) -> None:
        raise ConnectionError("gone")

    with closing(make_handler("logs", **SIGNED, anchor=gone)) as handler:
        logger_to(handler).info("x")
    assert "2 checkpoints were not anchored before the end" in capsys.readouterr().err
    assert set(verdicts(cluster)[0].counts()) == {"unsigned"}


def test_signing_needs_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says how to install it."""
    monkeypatch.setattr(signing, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'kiel_logging\[proof\]'"):
        KafkaHandler("localhost", "logs", **SIGNED)
