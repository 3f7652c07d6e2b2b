"""What an instance ships, by the book, which is kiel_logging/proof/headers.py.

With hashlib and a record encoder of its own, so that it is a second opinion.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any, NamedTuple


class Stamped(NamedTuple):
    """A record as it is shipped."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


class Stamper:
    """One instance that ships to one topic."""

    def __init__(
        self, instance: str = "a" * 32, *, chain: bool = True, secret: bytes | None = None
    ) -> None:
        self.instance = instance
        self.sequence = 0
        self._chain = chain
        self._secret = secret
        self._digest = bytes(32)

    def stamp(
        self,
        value: bytes | None,
        key: bytes | None = None,
        headers: tuple[tuple[str, bytes | None], ...] = (),
    ) -> Stamped:
        """Return the next record."""
        self.sequence += 1
        headers = (
            *headers[:1],
            ("kiel-instance", self.instance.encode()),
            ("kiel-sequence", str(self.sequence).encode()),
            *headers[1:],
        )
        if self._chain:
            previous = self._digest
            self._digest = _digest(self._secret, previous + _body(key, value, headers))
            headers = (*headers, ("kiel-chain", previous + self._digest))
        return Stamped(key, value, headers)

    def event(self, name: str, **details: Any) -> Stamped:
        """Return the next record, one of the handler's own."""
        told = json.dumps(details, separators=(",", ":")).encode()
        marks = (("level", b"INFO"), ("kiel-event", name.encode()), ("kiel-details", told))
        return self.stamp(b'{"message":"kiel"}', headers=marks)

    def start(self) -> Stamped:
        """Return a first word."""
        return self.event("start", handler="audit", host="web-1", process=42)

    def end(self) -> Stamped:
        """Return the last word."""
        return self.event("end", records=self.sequence + 1)


def _digest(secret: bytes | None, content: bytes) -> bytes:
    if secret is None:
        return hashlib.sha256(content).digest()
    return hmac.new(secret, content, hashlib.sha256).digest()


def _body(
    key: bytes | None, value: bytes | None, headers: tuple[tuple[str, bytes | None], ...]
) -> bytes:
    parts = [_blob(key), _blob(value), _zigzag(len(headers))]
    for name, content in headers:
        parts += (_blob(name.encode()), _blob(content))
    return b"".join(parts)


def _blob(content: bytes | None) -> bytes:
    return _zigzag(-1) if content is None else _zigzag(len(content)) + content


def _zigzag(number: int) -> bytes:
    rest, out = (number << 1) ^ (number >> 63), b""
    while rest > 0x7F:
        out, rest = out + bytes([rest & 0x7F | 0x80]), rest >> 7
    return out + bytes([rest])
