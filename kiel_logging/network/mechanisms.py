"""What the SASL mechanisms say: bytes in, bytes out, no socket.

Each is a generator of the client's messages, which is sent the broker's answers. It ends when the
client has nothing more to say, and raises when the broker's answer is not what it should be.

Source: RFC 4616 (PLAIN), RFC 5802 and 7677 (SCRAM), RFC 7628 (OAUTHBEARER).
"""

from collections.abc import Generator
from typing import Final, TypeAlias

from kiel_logging.errors import AuthenticationFailed

Conversation: TypeAlias = Generator[bytes, bytes, None]

_MOST_ITERATIONS: Final = 1_000_000
"""Kafka's are 4,096 to 16,384. A broker that asks for more than this means to keep us busy."""

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
        client.set_server_first((yield client.get_client_first().encode()).decode())
        if int(client.iterations) > _MOST_ITERATIONS:
            raise AuthenticationFailed(
                f"the broker asks for {client.iterations} iterations of {mechanism}; "
                f"{_MOST_ITERATIONS} are the most that can be meant"
            )
        client.set_server_final((yield client.get_client_final().encode()).decode())
    except (ScramException, KeyError, ValueError) as error:
        # Its text may have what was sent, not what is secret; but it is not needed either.
        raise AuthenticationFailed(
            f"{mechanism} failed: {_scram_reason(error)}; is this the broker that it claims to be?"
        ) from None


def _scram_reason(error: Exception) -> str:
    text = str(error)
    return "the broker could not prove that it knows the password" if "signature" in text else text


def oauthbearer(token: str) -> Conversation:
    """OAUTHBEARER: the token; a broker that refuses it says why and expects one more byte."""
    refusal = yield f"n,,{_KVSEP}auth=Bearer {token}{_KVSEP}{_KVSEP}".encode()
    if refusal:
        yield _KVSEP.encode()
        raise AuthenticationFailed("the broker refused the token, and then answered as if not")
