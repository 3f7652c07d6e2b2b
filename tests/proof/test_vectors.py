"""The test vectors of docs/proof.rst: computed with openssl alone, and by the package.

Streams that are stored outlive this package: the vectors may never change.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kiel_logging.proof.chain import Chain, Keyring
from kiel_logging.proof.stamper import Stamper
from kiel_logging.record.item import make_item
from kiel_logging.records import Record
from tests.support import stamper as book

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "docs" / "proof-vectors.json").read_text()
)
KEY = bytes.fromhex(VECTORS["key"])
streams = pytest.mark.parametrize(
    "stream", VECTORS["streams"], ids=lambda stream: "keyed" if stream["keyed"] else "no key"
)


def from_hex(text: str | None) -> bytes | None:
    """Bytes; null is null."""
    return None if text is None else bytes.fromhex(text)


def openssl(content: bytes, key: bytes | None, path: Path) -> str:
    """The digest of ``content`` in hexadecimal, by OpenSSL's command line."""
    command = shutil.which("openssl")
    if command is None:
        pytest.skip("there is no openssl")
    path.write_bytes(content)
    mac = [] if key is None else ["-mac", "HMAC", "-macopt", f"hexkey:{key.hex()}"]
    done = subprocess.run(
        [command, "dgst", "-sha256", "-r", *mac, str(path)],
        capture_output=True,
        check=True,
        text=True,
    )
    return done.stdout.split()[0]


@streams
def test_openssl_computes_the_digests(stream: dict[str, Any], tmp_path: Path) -> None:
    """Of the bytes that the vectors list, and of the key's id."""
    key = KEY if stream["keyed"] else None
    for record in stream["records"]:
        content = bytes.fromhex(record["input"])
        assert openssl(content, key, tmp_path / "input") == record["digest"]
    if key is not None:
        found = openssl(b"kiel-chain-1 key id", key, tmp_path / "input")
        assert found[:16] == stream["key_id"]


@streams
def test_the_bytes_are_as_the_book_has_them(stream: dict[str, Any]) -> None:
    """An encoder that shares nothing with the package makes them of the records."""
    names = (VECTORS["topic"], VECTORS["instance"], stream["key_id"])
    for record in stream["records"]:
        key, value = from_hex(record["key"]), from_hex(record["value"])
        headers = tuple((name, from_hex(content)) for name, content in record["headers"])
        made = book.digest_input(names, bytes.fromhex(record["prev"]), key, value, headers)
        assert made.hex() == record["input"]


@streams
def test_the_package_makes_the_same_digests(stream: dict[str, Any]) -> None:
    """Of the same records, sent by the same instance."""
    made = Stamper(VECTORS["instance"], Chain.of(KEY if stream["keyed"] else None))
    assert made.key_id == stream["key_id"]
    for record in stream["records"]:
        asked = [
            (name, from_hex(content))
            for name, content in record["headers"]
            if name not in ("kiel-instance", "kiel-sequence")
        ]
        given = Record(from_hex(record["key"]), from_hex(record["value"]), tuple(asked), 0)
        (sent,) = made.stamp([make_item(VECTORS["topic"], None, given)])
        assert sent.record.headers[-1] == (
            "kiel-chain",
            bytes.fromhex(record["prev"] + record["digest"]),
        )


ROTATION: dict[str, Any] = VECTORS["rotation"]
BOTH = (KEY, bytes.fromhex(ROTATION["new_key"]))


def digests_of_rotation() -> list[tuple[str, bytes, str]]:
    """Each input of a digest, with the key that seals it, and the digest."""
    found, key = [], BOTH[0]
    for record in ROTATION["records"]:
        found.append((record["input"], key, record["digest"]))
        if "new_input" in record:
            key = BOTH[1]
            found.append((record["new_input"], key, record["new_digest"]))
    return found


def test_openssl_computes_the_digests_of_a_rotation(tmp_path: Path) -> None:
    """One with each key for the record that changes it; the next one continues the second."""
    for content, key, digest in digests_of_rotation():
        assert openssl(bytes.fromhex(content), key, tmp_path / "input") == digest
    records = ROTATION["records"]
    (at,) = (number for number, record in enumerate(records) if "new_digest" in record)
    assert records[at + 1]["prev"] == records[at]["new_digest"]
    assert records[at]["new_input"][-64:] == records[at]["input"][-64:]


def test_the_package_makes_the_same_rotation() -> None:
    """Of the same records."""
    keyring = Keyring(*map(Chain.of, BOTH))
    made = Stamper(VECTORS["instance"], Chain.of(BOTH[0]), keyring=keyring)
    for record in ROTATION["records"]:
        asked = tuple((name, from_hex(content)) for name, content in record["headers"][:-2])
        given = Record(from_hex(record["key"]), from_hex(record["value"]), asked, 0)
        (sent,) = made.stamp([make_item(VECTORS["topic"], None, given)])
        link = record["prev"] + record["digest"] + record.get("new_digest", "")
        assert sent.record.headers[-1] == ("kiel-chain", bytes.fromhex(link))
    assert made.key_id_of(VECTORS["topic"]) == ROTATION["key_ids"][1]
