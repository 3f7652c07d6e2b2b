"""What the SASL mechanisms say: bytes in, bytes out, no socket.

Each is a generator of the client's messages, which is sent the broker's answers. It ends when the
client has nothing more to say, and raises when the broker's answer is not what it should be.

Source: RFC 4616 (PLAIN), RFC 5802 and 7677 (SCRAM), RFC 7628 (OAUTHBEARER).
"""

import re
from collections.abc import Generator, Mapping
from typing import Final, TypeAlias

from kiel_logging.errors import AuthenticationFailed

Conversation: TypeAlias = Generator[bytes, bytes, None]

_LEAST_ITERATIONS: Final = 4_096
"""Kafka's least. Fewer let anybody who poses as the broker guess the password from our proof."""

_MOST_ITERATIONS: Final = 1_000_000
"""Kafka's are 4,096 to 16,384. A broker that asks for more than this means to keep us busy."""

_ITERATIONS: Final = re.compile(rb"(?:^|,)i=([0-9]+)(?=,|$)")
_LONGEST_FIRST: Final = 4_096
"""Bytes of a broker's first SCRAM message: nonce, salt and iterations, 100 as a rule."""

_KVSEP: Final = "\x01"


def plain(username: str, password: str) -> Conversation:
    """PLAIN: the password itself, which TLS should hide."""
    if "\0" in username + password:
        raise AuthenticationFailed("SASL PLAIN has no way to send a NUL in user name or password")
    yield _utf8(f"\0{username}\0{password}")


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:  # which has the whole text in it
        raise AuthenticationFailed(
            "the user name or the password has a character that UTF-8 does not have"
        ) from None


def scram(mechanism: str, username: str, password: str) -> Conversation:
    """SCRAM: a proof that we know the password, and the broker's that it does."""
    from scramp import ScramClient, ScramException  # not everybody needs it

    try:
        client = ScramClient([mechanism], username, password)
    except ScramException as error:
        raise AuthenticationFailed(
            f"{mechanism} can't be done with this user name and password: {error}"
        ) from None
    try:
        server_first = yield client.get_client_first().encode()
        _check_effort(mechanism, server_first)
        client.set_server_first(server_first.decode())
        client.set_server_final((yield client.get_client_final().encode()).decode())
    except (ScramException, KeyError, ValueError) as error:
        # Its text may have what was sent, not what is secret; but it is not needed either.
        raise _not_the_broker(mechanism, _scram_reason(error)) from None


def _check_effort(mechanism: str, server_first: bytes) -> None:
    """Refuse what would keep us busy, or would give the password away; before it is computed."""
    if len(server_first) > _LONGEST_FIRST:
        raise _not_the_broker(
            mechanism, f"the broker's first message has {len(server_first)} bytes"
        )
    for digits in _ITERATIONS.findall(server_first):
        if len(digits) > 7 or not _LEAST_ITERATIONS <= int(digits) <= _MOST_ITERATIONS:
            raise _not_the_broker(
                mechanism,
                f"the broker asks for {digits[:12].decode()} iterations, and only "
                f"{_LEAST_ITERATIONS} to {_MOST_ITERATIONS} can be meant",
            )


def _not_the_broker(mechanism: str, why: str) -> AuthenticationFailed:
    return AuthenticationFailed(
        f"{mechanism} failed: {why}; is this the broker that it claims to be?"
    )


def _scram_reason(error: Exception) -> str:
    text = str(error)
    return "the broker could not prove that it knows the password" if "signature" in text else text


def oauthbearer(token: str, extensions: Mapping[str, str]) -> Conversation:
    """OAUTHBEARER: the token, and extensions (KIP-342).

    A broker that refuses it says why and expects one more byte.
    """
    pairs = {"auth": f"Bearer {token}", **extensions}
    parts = [f"{name}={value}{_KVSEP}" for name, value in pairs.items()]
    refusal = yield f"n,,{_KVSEP}{''.join(parts)}{_KVSEP}".encode()
    if refusal:
        yield _KVSEP.encode()
        raise AuthenticationFailed("the broker refused the token, and then answered as if not")
