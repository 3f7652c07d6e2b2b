"""The SaslHandshake and SaslAuthenticate requests and responses, whatever their version.

Source: KIP-43, KIP-152 (SaslAuthenticate), KIP-368 (session lifetime).
"""

from typing import Any, Final, NamedTuple

from kio.schema.errors import ErrorCode

from kiel_logging.printable import printable
from kiel_logging.wire.messages import Api, request_module

HANDSHAKE_VERSION: Final = 1
"""The one that is followed by SaslAuthenticate requests."""

_MOST_SAID: Final = 300
"""Characters of a broker's reason for a refusal."""


class Authenticated(NamedTuple):
    """One answer of the broker's: its bytes, and in the last how many seconds the session has.

    ``lifetime`` 0 is one without an end.
    """

    error: ErrorCode
    message: str | None
    auth_bytes: bytes
    lifetime: float


def sasl_handshake_request(mechanism: str) -> Any:
    """Return the request that names the mechanism."""
    return request_module(Api.SASL_HANDSHAKE, HANDSHAKE_VERSION).SaslHandshakeRequest(
        mechanism=mechanism
    )


def sasl_authenticate_request(version: int, auth_bytes: bytes) -> Any:
    """Return the request that carries the client's next bytes."""
    return request_module(Api.SASL_AUTHENTICATE, version).SaslAuthenticateRequest(
        auth_bytes=auth_bytes
    )


def read_sasl_authenticate(response: Any) -> Authenticated:
    """Return what the broker answered."""
    milliseconds = getattr(response, "session_lifetime", 0)  # from version 1 on
    message = response.error_message
    return Authenticated(
        error=response.error_code,
        message=None if message is None else printable(message, _MOST_SAID),
        auth_bytes=bytes(response.auth_bytes),
        lifetime=max(0, milliseconds) / 1000,
    )
