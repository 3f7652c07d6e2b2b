"""SASL on a connection: who we are is told, again before each session ends.

Source: KIP-43, KIP-152, KIP-368 (re-authentication).
"""

import logging
from typing import Any, Protocol

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
from kiel_logging.network.mechanisms import Conversation, oauthbearer, plain, scram
from kiel_logging.network.tokens import RunAside, Tokens
from kiel_logging.wire.error_codes import ErrorCode, error_name
from kiel_logging.wire.messages import Request
from kiel_logging.wire.sasl import (
    Authenticated,
    read_sasl_authenticate,
    read_sasl_handshake,
    sasl_authenticate_request,
    sasl_handshake_request,
)
from kiel_logging.wire.schemas import Api


class Line(Protocol):
    """What of a connection is needed: requests that nothing else comes between."""

    address: Address

    def version(self, api: Api) -> int:
        """Return the version of ``api`` that is spoken."""

    async def ask(self, api: Api, request: Request) -> Any:
        """Send ``request`` and return its response."""


class Authenticator:
    """Tells brokers who we are.

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

    async def authenticate(self, line: Line) -> float:
        """Return how many seconds the session has; 0 is without an end.

        Raises:
            SecurityError: the broker does not accept us, or is not what it claims to be.
            BrokerError: the connection was lost meanwhile, or times out.
        """
        self._warn_once()
        try:
            return await self._converse(line)
        except BrokerError as error:
            refusal = type(error)(*error.args)
        except Exception as bug:  # ours or scramp's; its text may have anything in it
            refusal = SecurityError(f"{self._options.mechanism} failed: {type(bug).__name__}")
        if self._tokens is not None and isinstance(refusal, AuthenticationFailed):
            self._tokens.forget()
        # A new one, out here: the frames and errors below have what was sent among their locals.
        raise refusal

    async def _converse(self, line: Line) -> float:
        conversation = await self._conversation()
        await self._name_mechanism(line)
        version = line.version(Api.SASL_AUTHENTICATE)
        message, lifetime = next(conversation), 0.0
        while True:
            request = sasl_authenticate_request(version, message)
            answer = read_sasl_authenticate(await line.ask(Api.SASL_AUTHENTICATE, request))
            self._check(line, answer)
            lifetime = answer.lifetime or lifetime
            following = await self._go_on(conversation, answer.auth_bytes)
            if following is None:
                return lifetime
            message = following

    async def _go_on(self, conversation: Conversation, answer: bytes) -> bytes | None:
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

    async def _name_mechanism(self, line: Line) -> None:
        mechanism = self._options.mechanism
        response = await line.ask(Api.SASL_HANDSHAKE, sasl_handshake_request(mechanism))
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
