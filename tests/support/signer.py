"""Signed checkpoints by the book, which is docs/proof.rst: a second opinion."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


class Signer:
    """An instance's key, and the checkpoints of one stream that it has signed."""

    def __init__(self, instance: str = "a" * 32, endorser: Ed25519PrivateKey | None = None) -> None:
        self.instance = instance
        self.private = Ed25519PrivateKey.generate()
        self.public = self.private.public_key().public_bytes_raw()
        self.facts: dict[str, str] = {"public": b64(self.public)}
        if endorser is not None:
            text = f"kiel-endorsement-1\ninstance {instance}\nkey {b64(self.public)}\n"
            self.facts["endorsement"] = note(text, "kiel-logging/endorsement", endorser)
        self.counter = 0
        self.covered = 0
        self.previous = bytes(32)

    def evidence(
        self,
        names: tuple[str, str],
        sequence: int,
        digest: bytes,
        leaves: list[bytes],
        state: str,
        at: int,
    ) -> dict[str, str]:
        """Return a checkpoint as records bear it."""
        self.counter += 1
        first, self.covered = self.covered + 1, sequence
        text = (
            f"kiel-checkpoint-1\ntopic {names[0]}\ninstance {names[1]}\ncounter {self.counter}\n"
            f"first {first}\nsequence {sequence}\ndigest {b64(digest)}\ntree {b64(root(leaves))}\n"
            f"previous {b64(self.previous)}\ntime {at}\nstate {state}\n"
        )
        self.previous = hashlib.sha256(text.encode()).digest()
        signed = note(text, f"kiel-logging/{self.instance}", self.private)
        more: dict[str, Any] = {k: v for k, v in self.facts.items() if k == "endorsement"}
        return {"note": signed, "key": b64(self.public), **more}


def root(leaves: list[bytes]) -> bytes:
    """Return the root of the tree of these leaves."""
    if not leaves:
        return bytes(32)
    while True:
        groups = [leaves[at : at + 32] for at in range(0, len(leaves), 32)]
        leaves = [hashlib.sha256(b"\1" + b"".join(group)).digest() for group in groups]
        if len(leaves) == 1:
            return leaves[0]


def note(text: str, name: str, private: Ed25519PrivateKey) -> str:
    """Return a signed note."""
    public = private.public_key().public_bytes_raw()
    key_id = hashlib.sha256(name.encode() + b"\n\x01" + public).digest()[:4]
    return f"{text}\n\u2014 {name} {b64(key_id + private.sign(text.encode()))}\n"


def b64(content: bytes) -> str:
    """Return bytes in base64."""
    return base64.b64encode(content).decode()
