"""Access tokens for OAUTHBEARER: fetched when needed, kept while they are good.

Source: KIP-255, KIP-768 (what a provider is), RFC 7519 (a JWT's ``exp``).
"""

import asyncio
import base64
import inspect
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from kiel_logging.config.credentials import Secret
from kiel_logging.config.security import Token, TokenFunction, wrong_extension
from kiel_logging.errors import AuthenticationFailed, ConfigurationError

RunAside: TypeAlias = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs what may block beside the loop."""

_GOOD_FOR: Final = 0.8
"""The part of a token's life in which it is used; then the next one is fetched."""

_PATIENCE: Final = 30.0
"""Seconds that a provider may take; requests may wait meanwhile."""

_SENDABLE: Final = re.compile(r"[\x21-\x7e]+")
"""The characters of a token: any other would end it, or the message that it is in."""


class Tokens:
    """The tokens of one provider.

    Args:
        provider: the user's.
        run_aside: calls it, for it may ask a server.
        clock: seconds since the epoch.
        patience: seconds that it may take.
    """

    def __init__(
        self,
        provider: TokenFunction,
        run_aside: RunAside,
        clock: Callable[[], float],
        patience: float = _PATIENCE,
    ) -> None:
        self._provider = provider
        self._run_aside = run_aside
        self._clock = clock
        self._last: Secret | None = None
        self._good_until = 0.0
        self._patience = patience
        self._fetching = asyncio.Lock()

    async def get(self) -> Token:
        """Return a token that is still good.

        Raises:
            AuthenticationFailed: the provider raised, took too long, or returned something else.
        """
        async with self._fetching:  # connections that are opened together share one
            if self._last is not None and self._clock() < self._good_until:
                last: Token = self._last.reveal()
                return last
            token = await self._fetch()
            now = self._clock()
            expires_at = token.expires_at if token.expires_at is not None else _jwt_end(token.value)
            self._last = Secret("a token", token)
            # A token whose end is not known is fetched anew for every session.
            self._good_until = 0.0 if expires_at is None else now + (expires_at - now) * _GOOD_FOR
            return token

    def forget(self) -> None:
        """Fetch another token next time: the broker refused the last one."""
        self._last = None

    async def _fetch(self) -> Token:
        limit = asyncio.timeout(self._patience)
        try:
            async with limit:
                token: object = await self._run_aside(self._ask)
                if inspect.isawaitable(token):
                    token = await token
        except AuthenticationFailed:
            raise
        except Exception as error:
            if limit.expired():
                raise AuthenticationFailed(
                    f"sasl_token_provider returned nothing within {self._patience:.0f} s"
                ) from None
            raise _raised(error) from None
        return _checked(token)

    def _ask(self) -> object:
        try:
            token = self._provider()
            # asyncio shows the results of futures in its logs; a Token shows no value.
            return Token(token) if token and isinstance(token, str) else token
        except (AuthenticationFailed, ConfigurationError) as error:  # ours, fit to be shown
            raise AuthenticationFailed(str(error)) from None
        except BaseException as error:  # StopIteration and SystemExit can't leave a thread
            raise _raised(error) from None


def _raised(error: BaseException) -> AuthenticationFailed:
    # Its text may have anything in it, a response with a secret for one.
    return AuthenticationFailed(f"sasl_token_provider raised {type(error).__name__}")


def _checked(returned: object) -> Token:
    token = Token(returned) if isinstance(returned, str) else returned  # a coroutine's is bare
    if not isinstance(token, Token) or not isinstance(token.value, str) or not token.value:
        raise AuthenticationFailed(
            f"sasl_token_provider returned {type(returned).__name__}: it must return a str that is "
            "not empty, or a Token"
        )
    if not isinstance(token.expires_at, int | float | None):
        raise AuthenticationFailed(
            "sasl_token_provider returned a Token whose expires_at is "
            f"{type(token.expires_at).__name__}: it must be seconds since the epoch, or None"
        )
    if (wrong := wrong_extension(token.extensions)) is not None:
        raise AuthenticationFailed(
            f"sasl_token_provider returned a Token whose extensions can't be sent: {wrong}"
        )
    if not _SENDABLE.fullmatch(token.value):
        raise AuthenticationFailed(
            "sasl_token_provider returned a token with spaces or other characters that no token has"
        )
    return token


def _jwt_end(token: str) -> float | None:
    """Return when a JWT ends, None where it does not say so (RFC 7519)."""
    try:
        claims = token.split(".")[1]
        padded = claims + "=" * (-len(claims) % 4)
        end = json.loads(base64.urlsafe_b64decode(padded))["exp"]
        return float(end)
    except (LookupError, TypeError, ValueError, OverflowError, RecursionError):
        return None
