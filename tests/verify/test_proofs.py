"""``kiel-logging prove`` and ``verify --proof``: one record, for people without Kafka."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from kiel_logging.cli import main
from kiel_logging.demo.cluster import Cluster
from kiel_logging.proof import tree
from kiel_logging.verify.proofs import Stored, check, document
from tests.support.signer import Signer
from tests.support.stamped_topics import produce
from tests.support.stamper import Stamped, Stamper

HOST = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = HOST.public_key().public_bytes_raw()
SECRET = b"a secret of sixteen"
A = "a" * 32
kinds = pytest.mark.parametrize("secret", [None, SECRET], ids=["no key", "a key"])


def made(secret: bytes | None, count: int = 100, at: int = 70) -> dict[str, Any]:
    """The proof of one of the records under a checkpoint."""
    stamper = Stamper(A, secret=secret, signer=Signer(A, HOST))
    records = [stamper.start(), stamper.stamp(b"first")]
    stamper.evidence()
    covered = [stamper.stamp(b"value %d" % number, b"key") for number in range(count)]
    evidence = stamper.evidence()
    assert len(records) == 2
    stored = [Stored(*record) for record in covered]
    leaves = [one.leaf(keyed=secret is not None) for one in stored]
    path = tree.path(leaves, at)
    return json.loads(  # type: ignore[no-any-return]
        json.dumps(document(stored[at], evidence, path, keyed=secret is not None))
    )


@kinds
def test_a_proof_holds_and_names_its_record(secret: bytes | None) -> None:
    """Without the key of the chain, and without the other records."""
    proof = made(secret)
    proved = check(proof, [bytes(32), PUBLIC])
    assert (proved.record.value, proved.sequence) == (b"value 70", 73)
    assert (proved.checkpoint.topic, proved.checkpoint.instance) == ("t", A)
    assert proved.trusted
    assert not check(proof, [bytes(32)]).trusted
    assert b"value 71" not in base64.b64decode(json.dumps(proof).encode(), validate=False)
    assert len(json.dumps(proof)) < 6_000


def b64(content: bytes) -> str:
    """Base64, as JSON has bytes."""
    return base64.b64encode(content).decode()


def other_value(proof: dict[str, Any]) -> None:
    """Another record."""
    proof["record"]["value"] = b64(b"value 71")


def other_header(proof: dict[str, Any]) -> None:
    """One more header."""
    proof["record"]["headers"].insert(0, ["level", b64(b"INFO")])


def other_number(proof: dict[str, Any]) -> None:
    """Another place in the stream."""
    headers = proof["record"]["headers"]
    headers[-2][1] = b64(b"74")


def other_kind(proof: dict[str, Any]) -> None:
    """A leaf of the other kind."""
    proof["keyed"] = not proof["keyed"]


def other_path(proof: dict[str, Any]) -> None:
    """A neighbour that was not there."""
    proof["path"][0][3] = b64(bytes(32))


def other_note(proof: dict[str, Any]) -> None:
    """A note without a valid signature."""
    evidence = proof["evidence"]
    evidence["note"] = evidence["note"].replace("topic t", "topic u")


def no_path(proof: dict[str, Any]) -> None:
    """A part is missing."""
    del proof["path"]


def no_digest(proof: dict[str, Any]) -> None:
    """The record has no digest any more."""
    proof["record"]["headers"].pop()


def no_proof(proof: dict[str, Any]) -> None:
    """Another file."""
    proof["format"] = "kiel-proof-0"


DEEDS = [
    other_value,
    other_header,
    other_number,
    other_kind,
    other_path,
    other_note,
    no_path,
    no_digest,
    no_proof,
]


@kinds
@pytest.mark.parametrize("deed", DEEDS)
def test_a_proof_that_was_changed_does_not_hold(
    secret: bytes | None, deed: Callable[[dict[str, Any]], None]
) -> None:
    """In any part."""
    proof = made(secret)
    deed(proof)
    with pytest.raises(ValueError, match=r"."):
        check(proof)


def signed_topic(secret: bytes | None, topic: str) -> list[Stamped]:
    """A stream with checkpoints."""
    stamper = Stamper(A, secret=secret, topic=topic, signer=Signer(A, HOST))
    records = [stamper.start(), stamper.checkpoint()]
    for number in range(100):
        records.append(stamper.stamp(b"value %d" % number, b"key"))
        if number % 40 == 39:
            records.append(stamper.checkpoint())
    return records


@kinds
def test_from_a_topic_to_a_file_to_somebody_without_kafka(
    cluster: Cluster,
    topic: str,
    secret: bytes | None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In a process that can't import a client of Kafka."""
    produce(cluster.brokers, topic, signed_topic(secret, topic))
    place = ("--brokers", cluster.brokers, "--topic", topic, "--partition", "0")
    assert main(["prove", *place, "--offset", "60"]) == 0
    (tmp_path / "proof").write_text(capsys.readouterr().out)
    pem = HOST.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "host.pub").write_bytes(pem)
    code = (
        "import sys; sys.modules['confluent_kafka'] = sys.modules['rich'] = None\n"
        "from kiel_logging.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "verify", "--proof", str(tmp_path / "proof")]
    done = subprocess.run(
        [*command, "--trust", str(tmp_path / "host.pub")], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"number 61 of instance {A} in topic {topic}" in done.stdout
    assert "value: value 57" in done.stdout
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, "NOT checked: whose key it is" in done.stdout) == (2, True)
    (tmp_path / "proof").write_text("{}")
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, "does NOT hold" in done.stdout) == (1, True)


CANNOT = {
    "no record": ("999", "there is no record at offset 999"),
    "not signed yet": ("103", "no signed checkpoint within an hour covers the record"),
}


@pytest.mark.parametrize(("offset", "message"), CANNOT.values(), ids=CANNOT)
def test_a_record_that_cannot_be_proved(
    cluster: Cluster, topic: str, offset: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2, and the reason."""
    produce(cluster.brokers, topic, signed_topic(None, topic))
    place = ("--brokers", cluster.brokers, "--topic", topic, "--partition", "0")
    assert main(["prove", *place, "--offset", offset]) == 2
    assert message in capsys.readouterr().err
