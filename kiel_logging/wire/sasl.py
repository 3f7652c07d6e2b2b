"""The SaslHandshake and SaslAuthenticate requests and responses, whatever their version.

Source: KIP-43, KIP-152 (SaslAuthenticate), KIP-368 (session lifetime).
"""

from typing import Final, NamedTuple

from kiel_logging.printable import printable
from kiel_logging.wire.codec import Message
from kiel_logging.wire.error_codes import ErrorCode
from kiel_logging.wire.messages import Request
from kiel_logging.wire.schemas import Api

HANDSHAKE_VERSION: Final = 1
"""The one that is followed by SaslAuthenticate requests."""

_MOST_SAID: Final = 300
"""Characters of a broker's reason for a refusal."""


class Handshake(NamedTuple):
    """The broker's answer to the name of a mechanism, and the names that it offers."""

    error: ErrorCode | int
    mechanisms: tuple[str, ...]


class Authenticated(NamedTuple):
    """One answer of the broker's: its bytes, and in the last how many seconds the session has.

    ``lifetime`` 0 is one without an end.
    """

    error: ErrorCode | int
    message: str | None
    auth_bytes: bytes
    lifetime: float


def sasl_handshake_request(mechanism: str) -> Request:
    """Return the request that names the mechanism."""
    return Request(Api.SASL_HANDSHAKE, HANDSHAKE_VERSION, {"mechanism": mechanism})


def read_sasl_handshake(response: Message) -> Handshake:
    """Return the broker's answer to the name."""
    return Handshake(response["error_code"], response["mechanisms"])


def sasl_authenticate_request(version: int, auth_bytes: bytes) -> Request:
    """Return the request that carries the client's next bytes."""
    return Request(Api.SASL_AUTHENTICATE, version, {"auth_bytes": auth_bytes})


def read_sasl_authenticate(response: Message) -> Authenticated:
    """Return the broker's answer to the bytes."""
    milliseconds = response.get("session_lifetime_ms", 0)  # from version 1 on
    message = response["error_message"]
    return Authenticated(
        error=response["error_code"],
        message=None if message is None else printable(message, _MOST_SAID),
        auth_bytes=response["auth_bytes"],
        lifetime=max(0, milliseconds) / 1000,
    )
