"""A broker's half of SASL, by the RFCs and without any library.

SCRAM here shares no code with what is tested; it is itself checked by the example of RFC 7677.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import NamedTuple

from kiel_logging.testing.frames import (
    API_VERSIONS,
    SASL_AUTHENTICATE,
    SASL_HANDSHAKE,
    ReceivedRequest,
    Versions,
)
from kiel_logging.wire.error_codes import ErrorCode

SASL_VERSIONS: Versions = {SASL_HANDSHAKE: (0, 1), SASL_AUTHENTICATE: (0, 2)}

MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")

Answers = Generator[bytes, bytes, bytes]
"""Sent the client's messages, yields the answers, and returns the last one."""


class Refused(Exception):
    """The client did not prove its name."""


class Turn(NamedTuple):
    """One answer to SaslAuthenticate."""

    error: ErrorCode
    message: str | None = None
    data: bytes = b""
    lifetime_ms: int = 0


@dataclass(slots=True)
class Sasl:
    """Users and tokens, and the state of each connection of a cluster."""

    users: dict[str, str] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    extensions: dict[str, str] = field(default_factory=dict)
    """The extensions that a token needs."""
    iterations: int = 4096
    mechanisms: tuple[str, ...] = MECHANISMS
    lifetimes: list[int] = field(default_factory=list)
    """Milliseconds of the next sessions; later ones have no end."""
    _talking: dict[tuple[int, int], Answers] = field(default_factory=dict)
    _inside: set[tuple[int, int]] = field(default_factory=set)

    def lets_in(self, request: ReceivedRequest) -> bool:
        """Whether a connection may send that now; Kafka hangs up on other requests."""
        connection = _connection(request)
        if request.api_key in (SASL_HANDSHAKE, SASL_AUTHENTICATE):
            return True
        if connection in self._talking:
            return False
        return connection in self._inside or request.api_key == API_VERSIONS

    def begin(self, request: ReceivedRequest, mechanism: str) -> ErrorCode:
        """SaslHandshake."""
        if mechanism not in self.mechanisms:
            return ErrorCode.unsupported_sasl_mechanism
        answers = self._answers(mechanism)
        next(answers)
        self._talking[_connection(request)] = answers
        return ErrorCode.none

    def authenticate(self, request: ReceivedRequest, data: bytes) -> Turn:
        """SaslAuthenticate."""
        connection = _connection(request)
        if connection not in self._talking:
            return Turn(ErrorCode.illegal_sasl_state)
        try:
            return Turn(ErrorCode.none, data=self._talking[connection].send(data))
        except Refused as refusal:
            return Turn(ErrorCode.sasl_authentication_failed, str(refusal))
        except StopIteration as end:
            del self._talking[connection]
            self._inside.add(connection)
            lifetime_ms = self.lifetimes.pop(0) if self.lifetimes else 0
            return Turn(ErrorCode.none, data=end.value, lifetime_ms=lifetime_ms)

    def _answers(self, mechanism: str) -> Answers:
        if mechanism == "PLAIN":
            return plain_answers(self.users)
        if mechanism == "OAUTHBEARER":
            return oauthbearer_answers(self.tokens, self.extensions)
        return scram_answers(mechanism, self.users, iterations=self.iterations)


def _connection(request: ReceivedRequest) -> tuple[int, int]:
    return request.node_id, request.connection


def plain_answers(users: dict[str, str]) -> Answers:
    """RFC 4616."""
    _, username, password = (yield b"").decode().split("\0")
    if users.get(username) != password:
        raise Refused("Authentication failed: Invalid username or password")
    return b""


def oauthbearer_answers(tokens: set[str], extensions: dict[str, str]) -> Answers:
    """RFC 7628: the reason of a refusal is a message, which the client confirms."""
    message = (yield b"").decode()
    pairs = "".join(f"{name}={value}\x01" for name, value in extensions.items())
    if message in {f"n,,\x01auth=Bearer {token}\x01{pairs}\x01" for token in tokens}:
        return b""
    confirmation = yield b'{"status":"invalid_token"}'
    raise Refused(f"the token is refused, which is confirmed by {confirmation!r}")


def scram_answers(
    mechanism: str,
    users: dict[str, str],
    *,
    nonce: str = "broker",
    salt: bytes = b"sixteen bytes ok",
    iterations: int = 4096,
) -> Answers:
    """RFC 5802: both sides prove that they know the password."""
    algorithm = mechanism.removeprefix("SCRAM-").replace("-", "").lower()
    client_first = (yield b"").decode()
    bare = client_first.removeprefix("n,,")
    username, client_nonce = (part[2:] for part in bare.split(","))
    encoded_salt = base64.b64encode(salt).decode()
    server_first = f"r={client_nonce}{nonce},s={encoded_salt},i={iterations}"
    client_final = (yield server_first.encode()).decode()
    without_proof, _, proof = client_final.rpartition(",p=")
    text = f"{bare},{server_first},{without_proof}".encode()
    password = users.get(username.replace("=2C", ",").replace("=3D", "="), "")
    salted = hashlib.pbkdf2_hmac(algorithm, password.encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", algorithm)
    signature = hmac.digest(hashlib.new(algorithm, client_key).digest(), text, algorithm)
    expected = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    if base64.b64decode(proof) != expected or f"r={client_nonce}{nonce}" not in without_proof:
        raise Refused("Authentication failed during authentication due to invalid credentials")
    server_key = hmac.digest(salted, b"Server Key", algorithm)
    return b"v=" + base64.b64encode(hmac.digest(server_key, text, algorithm))
