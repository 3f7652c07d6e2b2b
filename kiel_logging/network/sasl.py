"""SASL: the messages of the mechanisms, and the requests that carry them, again for each session.

A mechanism is a generator of the client's messages, which is sent the broker's answers: bytes in,
bytes out, no socket. It ends when the client has sent its last message, and raises when an answer
is not as it should be.

Source: KIP-43, KIP-152, KIP-368 (re-authentication), RFC 4616 (PLAIN), RFC 5802 and 7677 (SCRAM),
RFC 7628 (OAUTHBEARER).
"""

import logging
import re
from collections.abc import Generator, Mapping
from typing import Any, Final, Protocol, TypeAlias

from kiel_logging.config.options import Address
from kiel_logging.config.security import OAUTHBEARER, PLAIN, SCRAM, SaslOptions
from kiel_logging.diagnostics import report
from kiel_logging.errors import (
    AuthenticationFailed,
    BrokerError,
    ConfigurationError,
    SecurityError,
    UnsupportedMechanism,
)
from kiel_logging.network.tokens import RunAside, Tokens
from kiel_logging.wire.error_codes import ErrorCode, error_name
from kiel_logging.wire.messages import Request
from kiel_logging.wire.requests import (
    Authenticated,
    read_sasl_authenticate,
    read_sasl_handshake,
    sasl_authenticate_request,
    sasl_handshake_request,
)
from kiel_logging.wire.schemas import Api

Conversation: TypeAlias = Generator[bytes, bytes, None]

_LEAST_ITERATIONS: Final = 4_096
"""Kafka's least. Fewer let anybody who poses as the broker guess the password from our proof."""

_MOST_ITERATIONS: Final = 1_000_000
"""Kafka's are 4,096 to 16,384. A broker that asks for more than this means to keep us busy."""

_ITERATIONS: Final = re.compile(rb"(?:^|,)i=([0-9]+)(?=,|$)")
_LONGEST_FIRST: Final = 4_096
"""Bytes of a broker's first SCRAM message: nonce, salt and iterations, 100 as a rule."""

_KVSEP: Final = "\x01"


class Line(Protocol):
    """A connection on which no other request is sent meanwhile."""

    address: Address

    def version(self, api: Api) -> int:
        """Return the version of ``api`` that is spoken."""

    async def ask_now(self, api: Api, request: Request, timeout: float) -> Any:
        """Send ``request`` and return its response."""


class Authenticator:
    """Authenticates this client to brokers.

    Args:
        options: mechanism and credentials.
        encrypted: whether connections are.
        tokens: where OAUTHBEARER has its tokens from; None for other mechanisms.
        run_aside: derives SCRAM's keys, which may take a second.
    """

    def __init__(
        self,
        options: SaslOptions,
        *,
        encrypted: bool,
        tokens: Tokens | None,
        run_aside: RunAside,
    ) -> None:
        self._options = options
        self._tokens = tokens
        self._run_aside = run_aside
        self._warn = options.mechanism == PLAIN and not encrypted

    async def authenticate(self, line: Line, timeout: float) -> float:
        """Return how many seconds the session has; 0 is without an end.

        Each answer may take ``timeout`` seconds.

        Raises:
            SecurityError: the broker does not accept us, or is not what it claims to be.
            BrokerError: the connection was lost meanwhile, or times out.
        """
        self._warn_once()
        try:
            return await self._converse(line, timeout)
        except BrokerError as error:
            refusal = type(error)(*error.args)
        except Exception as bug:  # ours or scramp's; its text may have anything in it
            refusal = SecurityError(f"{self._options.mechanism} failed: {type(bug).__name__}")
        if self._tokens is not None and isinstance(refusal, AuthenticationFailed):
            self._tokens.forget()
        # A new one, out here: the frames and errors below have what was sent among their locals.
        raise refusal

    async def _converse(self, line: Line, timeout: float) -> float:
        conversation = await self._conversation()
        await self._name_mechanism(line, timeout)
        version = line.version(Api.SASL_AUTHENTICATE)
        message, lifetime = next(conversation), 0.0
        while True:
            request = sasl_authenticate_request(version, message)
            response = await line.ask_now(Api.SASL_AUTHENTICATE, request, timeout)
            answer = read_sasl_authenticate(response)
            self._check(line, answer)
            lifetime = answer.lifetime or lifetime
            following = await self._next_message(conversation, answer.auth_bytes)
            if following is None:
                return lifetime
            message = following

    async def _next_message(self, conversation: Conversation, answer: bytes) -> bytes | None:
        """Return the next message, None after the last."""

        def send() -> bytes | None:
            try:
                return conversation.send(answer)
            except StopIteration:  # a future can't have that one
                return None

        if self._options.mechanism not in SCRAM:
            return send()
        following: bytes | None = await self._run_aside(send)
        return following

    def _warn_once(self) -> None:
        if self._warn:
            self._warn = False
            report(
                logging.WARNING,
                "sasl_mechanism='PLAIN' without TLS: the password goes over the network as it is; "
                "set security_protocol='SASL_SSL'",
            )

    async def _conversation(self) -> Conversation:
        options = self._options
        if self._tokens is not None:
            token = await self._tokens.get()
            return oauthbearer(token.value, token.extensions)
        assert options.username is not None
        assert options.password is not None
        try:
            username, password = options.username.read(), options.password.read()
        except ConfigurationError as error:
            raise AuthenticationFailed(str(error)) from None
        if options.mechanism == PLAIN:
            return plain(username, password)
        return scram(options.mechanism, username, password)

    async def _name_mechanism(self, line: Line, timeout: float) -> None:
        mechanism = self._options.mechanism
        request = sasl_handshake_request(mechanism)
        response = await line.ask_now(Api.SASL_HANDSHAKE, request, timeout)
        error, offered = read_sasl_handshake(response)
        if error == ErrorCode.unsupported_sasl_mechanism:
            # Whatever the broker says: some names, and not all of a long one.
            names = ", ".join(f"{name!r:.40}" for name in offered[:10]) or "none"
            raise UnsupportedMechanism(
                f"{line.address} does not offer sasl_mechanism={mechanism!r}; it offers {names}"
            )
        if error == ErrorCode.illegal_sasl_state:
            raise UnsupportedMechanism(
                f"{line.address} wants no SASL there: check the port and security_protocol"
            )
        if error != ErrorCode.none:
            raise SecurityError(f"{line.address} refused to begin SASL: {error_name(error)}")

    def _check(self, line: Line, answer: Authenticated) -> None:
        if answer.error == ErrorCode.none:
            return
        why = answer.message or error_name(answer.error)
        if answer.error != ErrorCode.sasl_authentication_failed:
            raise SecurityError(f"{line.address} broke off SASL: {why}")
        what = "token" if self._options.mechanism == OAUTHBEARER else "user name or password"
        raise AuthenticationFailed(
            f"{line.address} does not accept the {what} ({self._options.mechanism}): {why}"
        )


# The mechanisms.


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
        why = str(error)
        if "signature" in why:
            why = "the broker could not prove that it knows the password"
        raise _not_the_broker(mechanism, why) from None


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
