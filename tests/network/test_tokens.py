"""OAUTHBEARER's tokens: when they are fetched, and the faults that a provider may have."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from kiel_logging.config.security import Token
from kiel_logging.errors import AuthenticationFailed, ConfigurationError
from kiel_logging.network.tokens import Tokens
from tests.support.what_is_shown import traceback_of

SECRET = "s3cr3t-und-geheim"


class Clock:
    """Seconds since the epoch, which a test sets."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Provider:
    """Returns `make(n)` the n-th time that it is asked."""

    def __init__(self, make: Callable[[int], Any]) -> None:
        self._make = make
        self.calls = 0

    def __call__(self) -> Any:
        self.calls += 1
        return self._make(self.calls)


async def at_once(function: Callable[[], Any]) -> Any:
    """Runs aside what does not block."""
    return function()


def jwt(claims: Any) -> str:
    """A token with such claims; its signature is void."""
    parts = [json.dumps(part).encode() for part in ({"alg": "none"}, claims)]
    head, body = (base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
    return f"{head}.{body}.c2ln"


def tokens_of(make: Callable[[int], Any], clock: Clock | None = None) -> tuple[Tokens, Provider]:
    """Tokens, and the provider that makes them."""
    provider = Provider(make)
    return Tokens(provider, at_once, clock or Clock()), provider


async def got(tokens: Tokens) -> str:
    """The token that a connection would send."""
    return (await tokens.get()).value


# -- how long they are kept ------------------------------------------------------------------------

LIFE = 1000.0


@pytest.mark.parametrize(
    "make",
    [
        lambda n: Token(f"token{n}", 1_000_000 + LIFE * n),
        lambda n: jwt({"n": n, "exp": 1_000_000 + LIFE * n}),
        lambda n: Token(jwt({"n": n, "exp": 1}), 1_000_000 + LIFE * n),
    ],
    ids=["Token", "JWT", "a Token's word counts"],
)
async def test_a_token_is_kept_for_four_fifths_of_its_life(make: Callable[[int], Any]) -> None:
    """Then the next is fetched, while the old one is still good."""
    clock = Clock()
    tokens, provider = tokens_of(make, clock)
    first = await got(tokens)
    clock.now += LIFE * 0.8 - 1
    assert await got(tokens) == first
    assert provider.calls == 1
    clock.now += 1
    assert await got(tokens) != first
    assert provider.calls == 2


@pytest.mark.parametrize(
    "token",
    [
        "opaque",
        "a.b.c",
        "a.e30.c",
        jwt({}),
        jwt([]),
        jwt({"exp": "soon"}),
        jwt({"exp": None}),
        jwt({"exp": 10**400}),
        jwt({"exp": float("nan")}),
        f"a.{base64.urlsafe_b64encode(b'[' * 100_000).decode().rstrip('=')}.c",
        "a.\xff.c".encode("ascii", "replace").decode(),
    ],
    ids=lambda token: repr(token[:40]),
)
async def test_a_token_whose_end_is_not_known(token: str) -> None:
    """It is fetched anew for every session."""
    tokens, provider = tokens_of(lambda _n: token)
    assert [await got(tokens), await got(tokens)] == [token, token]
    assert provider.calls == 2


async def test_a_refused_token_is_forgotten() -> None:
    """However long it would have been good."""
    tokens, provider = tokens_of(lambda n: Token(f"token{n}", 2_000_000, {"pool": "p1"}))
    assert [(await tokens.get()).extensions for _ in range(2)] == [{"pool": "p1"}] * 2
    tokens.forget()
    assert await got(tokens) == "token2"
    assert provider.calls == 2


async def test_connections_that_are_opened_together_share_one() -> None:
    """The provider is asked once, however many wait for it."""
    asked = asyncio.Event()

    async def slow() -> Token:
        await asked.wait()
        return Token("token", 2_000_000)

    tokens, provider = tokens_of(lambda _n: slow())
    waiting = [asyncio.ensure_future(got(tokens)) for _ in range(5)]
    await asyncio.sleep(0)
    asked.set()
    assert await asyncio.gather(*waiting) == ["token"] * 5
    assert provider.calls == 1


# -- providers -------------------------------------------------------------------------------------


async def test_a_coroutine_function() -> None:
    """It is awaited on the loop, and may raise as any other."""
    loop = asyncio.get_running_loop()

    async def fetch() -> str:
        assert asyncio.get_running_loop() is loop
        await asyncio.sleep(0)
        return "token"

    assert await got(Tokens(fetch, at_once, Clock())) == "token"

    async def fail() -> str:
        raise ValueError(SECRET)

    with pytest.raises(AuthenticationFailed, match="provider raised ValueError") as e:
        await got(Tokens(fail, at_once, Clock()))
    assert SECRET not in traceback_of(e.value)


async def test_a_function_that_blocks_is_called_on_a_thread() -> None:
    """The loop continues meanwhile."""
    loop_ran, threads = threading.Event(), []

    def fetch() -> str:
        threads.append(threading.current_thread())
        return "token" if loop_ran.wait(30) else "never"

    waiting = asyncio.ensure_future(got(Tokens(fetch, asyncio.to_thread, Clock())))
    await asyncio.sleep(0)
    loop_ran.set()
    assert await waiting == "token"
    assert threads != [threading.current_thread()]


@pytest.mark.parametrize("error", [AuthenticationFailed, ConfigurationError])
async def test_a_provider_that_says_what_is_wrong(error: type[Exception]) -> None:
    """By errors of this package, whose text is fit to be shown."""

    def fetch() -> str:
        raise error("the secret of this program has expired: make a new one")

    with pytest.raises(AuthenticationFailed, match=r"^the secret .* has expired: make a new one$"):
        await Tokens(fetch, at_once, Clock()).get()


@pytest.mark.parametrize("make", [str, Token])
async def test_what_asyncio_logs_of_it_has_no_token(make: Callable[[str], Any]) -> None:
    """In debug mode it logs futures with their results."""
    shown: list[str] = []

    async def aside(function: Callable[[], Any]) -> Any:
        future = asyncio.get_running_loop().create_future()
        future.set_result(function())
        shown.append(repr(future))
        return await future

    assert await got(Tokens(lambda: make(SECRET), aside, Clock())) == SECRET
    assert shown == ["<Future finished result=<Token expires_at=None>>"]


class _Rude(BaseException):
    pass


@pytest.mark.parametrize(
    "error", [ValueError, KeyError, StopIteration, SystemExit, _Rude, TimeoutError, OSError]
)
@pytest.mark.parametrize("aside", [at_once, asyncio.to_thread], ids=["at once", "thread"])
async def test_a_provider_that_raises(error: type[BaseException], aside: Any) -> None:
    """Its error is named without its text, which may have a secret; no thread dies of it, and the
    provider is asked again the next time."""
    calls: list[int] = []

    def fetch() -> str:
        calls.append(1)
        if len(calls) > 1:
            return "token"
        raise error(SECRET)

    tokens = Tokens(fetch, aside, Clock())
    with pytest.raises(AuthenticationFailed) as failure:
        await got(tokens)
    assert await got(tokens) == "token"
    assert str(failure.value) == f"sasl_token_provider raised {error.__name__}"
    assert SECRET not in traceback_of(failure.value)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "returned NoneType: it must return a str that is not empty, or a Token"),
        ("", "returned str: it must return a str that is not empty"),
        (SECRET.encode(), "returned bytes: "),
        ({"access_token": SECRET}, "returned dict: "),
        (Token(""), "returned Token: "),
        (Token(SECRET.encode()), "returned Token: "),  # type: ignore[arg-type]
        (Token(SECRET, "tomorrow"), "whose expires_at is str: it must be seconds since"),  # type: ignore[arg-type]
        (f"{SECRET}\n", "a token with spaces or other characters that no token has"),
        (f"Bearer {SECRET}", "a token with spaces or other characters"),
        (f"{SECRET}\x01user=eve", "a token with spaces or other characters"),
        (f"{SECRET}ä", "a token with spaces or other characters"),
        (f"{SECRET}\udcff", "a token with spaces or other characters"),
        (Token("t", None, SECRET), "a Token whose extensions can't be sent: they are str"),  # type: ignore[arg-type]
        (Token("t", None, {"auth": SECRET}), "a name must be letters from A to Z, and not 'auth'"),
        (Token("t", None, {"pool": f"{SECRET}\x01"}), "the value of pool must be printable ASCII"),
    ],
    ids=range(15),
)
async def test_a_provider_that_returns_rubbish(returned: Any, message: str) -> None:
    """The error says what it must return, not what it did."""
    tokens, _ = tokens_of(lambda _n: returned)
    with pytest.raises(AuthenticationFailed) as failure:
        await got(tokens)
    assert str(failure.value).startswith("sasl_token_provider returned ")
    assert message in str(failure.value)
    assert SECRET not in traceback_of(failure.value)


async def test_a_provider_that_does_not_return() -> None:
    """Requests may be waiting for it: it has so many seconds, and the next attempt asks again."""
    never: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    provider = Provider(lambda n: never if n == 1 else "token")
    tokens = Tokens(provider, at_once, Clock(), patience=0.01)
    with pytest.raises(AuthenticationFailed, match="returned nothing within 0 s"):
        await got(tokens)
    assert await got(tokens) == "token"


async def test_a_connection_that_gives_up_waiting_harms_no_other() -> None:
    """A cancelled connection lets the next one fetch."""
    never: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    tokens, _ = tokens_of(lambda n: never if n == 1 else "token")
    first = asyncio.ensure_future(got(tokens))
    await asyncio.sleep(0)
    second = asyncio.ensure_future(got(tokens))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == "token"
    with pytest.raises(asyncio.CancelledError):
        await first
