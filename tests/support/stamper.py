"""The records that an instance ships, by docs/proof.rst alone.

A second opinion: it shares no code with the package.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any, NamedTuple

from tests.support.signer import Signer


class Stamped(NamedTuple):
    """A record as it is shipped."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


class Stamper:
    """One instance that ships to one topic."""

    def __init__(
        self,
        instance: str = "a" * 32,
        *,
        chain: bool = True,
        secret: bytes | None = None,
        topic: str = "t",
        signer: Signer | None = None,
    ) -> None:
        self.instance = instance
        self.topic = topic
        self.key_id = key_id(secret)
        self.sequence = 0
        self._chain = chain
        self._secret = secret
        self._digest = bytes(32)
        self._signer = signer
        self._leaves: list[bytes] = []

    def stamp(
        self,
        value: bytes | None,
        key: bytes | None = None,
        headers: tuple[tuple[str, bytes | None], ...] = (),
    ) -> Stamped:
        """Return the next record."""
        self.sequence += 1
        headers = (
            *headers,
            ("kiel-instance", self.instance.encode()),
            ("kiel-sequence", str(self.sequence).encode()),
        )
        if self._chain:
            previous = self._digest
            names = (self.topic, self.instance, self.key_id)
            content = digest_input(names, previous, key, value, headers)
            self._digest = _digest(self._secret, content)
            self._leaves.append(self._leaf(_body(key, value, headers)))
            headers = (*headers, ("kiel-chain", previous + self._digest))
        return Stamped(key, value, headers)

    def _leaf(self, body: bytes) -> bytes:
        if self._secret is None:
            return self._digest
        return hashlib.sha256(self._digest + body).digest()

    def evidence(self, state: str = "open", *, at: int = 1_000_000) -> dict[str, str]:
        """Return a signed checkpoint of all records so far; nothing without a signer."""
        if self._signer is None:
            return {}
        leaves, self._leaves = self._leaves, []
        names = self.topic, self.instance
        return self._signer.evidence(names, self.sequence, self._digest, leaves, state, at)

    def checkpoint(self, *, at: int = 1_000_000) -> Stamped:
        """Return the next record, which bears a checkpoint of those before."""
        return self.event("checkpoint", **self.evidence(at=at))

    def event(self, name: str, **details: Any) -> Stamped:
        """Return the next record, one of the handler's own."""
        text = json.dumps(details, separators=(",", ":")).encode()
        marks = (("level", b"INFO"), ("kiel-event", name.encode()), ("kiel-details", text))
        return self.stamp(b'{"message":"kiel"}', headers=marks)

    def start(self, *, handler: str = "audit", host: str = "web-1", process: Any = 42) -> Stamped:
        """Return the record that starts the stream."""
        return self.event(
            "start",
            handler=handler,
            host=host,
            process=process,
            topic=self.topic,
            instance=self.instance,
            key=self.key_id,
            **({} if self._signer is None else self._signer.facts),
        )

    def rotation(self, secret: bytes) -> Stamped:
        """Return the record that changes the key of the stream, sealed with both keys."""
        old, new = (self._secret, self.key_id), (secret, key_id(secret))
        made = self.event("rotation", **{"from": old[1], "to": new[1]})
        link = made.headers[-1][1] or b""
        previous, headers = link[:32], made.headers[:-1]
        self._secret, self.key_id = new
        content = digest_input(
            (self.topic, self.instance, self.key_id), previous, None, made.value, headers
        )
        self._digest = _digest(secret, content)
        self._leaves[-1] = self._leaf(_body(None, made.value, headers))
        return made._replace(headers=(*headers, ("kiel-chain", link + self._digest)))

    def pause(self) -> Stamped:
        """Return a record that pauses the stream."""
        return self.event("pause")

    def end(self) -> Stamped:
        """Return the record that ends the stream."""
        return self.event("end", **self.evidence("end"))


def key_id(secret: bytes | None) -> str:
    """Return which key it is; an empty text for none."""
    if secret is None:
        return ""
    return _digest(secret, b"kiel-chain-1 key id")[:8].hex()


def digest_input(
    names: tuple[str, str, str],
    previous: bytes,
    key: bytes | None,
    value: bytes | None,
    headers: tuple[tuple[str, bytes | None], ...],
) -> bytes:
    """Return the bytes that a digest is of; ``names`` are topic, instance and key id."""
    stream = b"".join(_blob(name.encode()) for name in ("kiel-chain-1", *names))
    return stream + previous + _body(key, value, headers)


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
