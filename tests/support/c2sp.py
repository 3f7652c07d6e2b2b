"""A reader of signed notes, written from https://c2sp.org/signed-note alone.

It knows nothing of the package, and leaves the Ed25519 signatures to OpenSSL's command line.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

SPKI_OF_ED25519 = bytes.fromhex("302a300506032b6570032100")
"""In front of the 32 bytes of a public key in DER (RFC 8410)."""


class NotANote(Exception):
    """The bytes break a rule of the specification."""


def parse(content: bytes) -> tuple[bytes, list[tuple[str, bytes, bytes]]]:
    """Return the text, and for each signature the key's name, its id and the signature."""
    try:
        whole = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotANote("Signed notes MUST be valid UTF-8") from error
    if any(ord(char) < 0x20 and char != "\n" for char in whole):
        raise NotANote("MUST NOT contain any ASCII control characters other than newline")
    at = whole.rfind("\n\n")
    if at < 0:
        raise NotANote("the text is separated from the signatures by the last empty line")
    text, block = whole[: at + 1], whole[at + 2 :]
    if not block.endswith("\n"):
        raise NotANote("a signature line ends with a newline")
    return text.encode(), [_signature(line) for line in block[:-1].split("\n")]


def _signature(line: str) -> tuple[str, bytes, bytes]:
    if not line.startswith("\u2014 "):
        raise NotANote("em dash (U+2014), space (U+0020), key name, space, base64, newline")
    name, _, encoded = line[2:].partition(" ")
    if not name or "+" in name or any(char.isspace() for char in name):
        raise NotANote("Key names MUST be non-empty, without Unicode spaces or plus")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise NotANote("base64 of RFC 4648, section 4") from error
    if len(raw) < 5:
        raise NotANote("Signatures are the base64 encoding of 4+n bytes")
    return name, raw[:4], raw[4:]


def signed_text(content: bytes, name: str, public: bytes, tmp_path: Path) -> bytes:
    """Return the text of a note that a known key has signed.

    Raises:
        NotANote: no signature of that key verifies, or one does not.
    """
    text, signatures = parse(content)
    key_id = hashlib.sha256(name.encode() + b"\x0a\x01" + public).digest()[:4]
    known = [raw for its_name, its_id, raw in signatures if (its_name, its_id) == (name, key_id)]
    if not known:
        raise NotANote("If no signature from a known key verifies, clients MUST reject the note")
    for raw in known:
        if not openssl_verifies(text, raw, public, tmp_path):
            raise NotANote("a signature from a known key fails to verify")
    return text


def openssl_verifies(text: bytes, signature: bytes, public: bytes, tmp_path: Path) -> bool:
    """Whether OpenSSL's command line takes the signature."""
    command = shutil.which("openssl")
    if command is None:
        pytest.skip("there is no openssl")
    files = {"text": text, "signature": signature, "key.der": SPKI_OF_ED25519 + public}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    words = ["pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER", "-inkey", "key.der"]
    words += ["-in", "text", "-sigfile", "signature"]
    done = subprocess.run([command, *words], cwd=tmp_path, capture_output=True, text=True)
    return done.returncode == 0 and "Verified Successfully" in done.stdout
