"""SASL on a connection: clients that are let in or refused, and sessions that are renewed."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from kiel_logging.config.options import Address
from kiel_logging.config.security import Token, security_options
from kiel_logging.errors import (
    AuthenticationFailed,
    BrokerError,
    ConnectionLost,
    RequestTimedOut,
    SecurityError,
    UnsupportedBroker,
    UnsupportedMechanism,
)
from kiel_logging.network.connection import Connection
from kiel_logging.network.opening import Security, open_connection, secure
from kiel_logging.network.resolver import resolve
from kiel_logging.network.tokens import RunAside
from kiel_logging.testing.broker import FakeBroker
from kiel_logging.testing.replies import HANG_UP
from kiel_logging.testing.sasl import MECHANISMS, Sasl
from kiel_logging.wire.error_codes import ErrorCode
from kiel_logging.wire.metadata import metadata_request
from kiel_logging.wire.schemas import Api
from tests.network.quick import let_time_pass
from tests.support.what_is_shown import all_of

SECRET = "s3cr3t-und-geheim"
SECURED = [(mechanism, version) for mechanism in MECHANISMS for version in (0, 1, 2)]


def as_alice(mechanism: str, password: Any = SECRET) -> dict[str, Any]:
    """The options of a client with that password, or token."""
    options = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": mechanism}
    if mechanism == "OAUTHBEARER":
        provider = password if callable(password) else lambda: password
        return {**options, "sasl_token_provider": provider}
    return {**options, "sasl_username": "alice", "sasl_password": password}


async def at_once(function: Callable[[], Any]) -> Any:
    """Runs aside what does not block."""
    return function()


def secured(options: dict[str, Any], aside: RunAside = at_once) -> Security:
    """Makes connections secure, of one client."""
    return secure(security_options(**options), aside)


async def dial(
    broker: FakeBroker, security: dict[str, Any] | Security, timeout: float = 5.0
) -> Connection:
    """A connection that may be used, to `broker`."""
    return await open_connection(
        Address("127.0.0.1", broker.port),
        resolve=resolve,
        client_id="test",
        timeout=timeout,
        security=security if isinstance(security, Security) else secured(security),
    )


def guarded(broker: FakeBroker, *lifetimes: int) -> Sasl:
    """Lets alice into `broker`, for such sessions in milliseconds."""
    sasl = Sasl(users={"alice": SECRET}, tokens={SECRET}, lifetimes=list(lifetimes))
    broker.require_sasl(sasl)
    return sasl


def ask(connection: Connection) -> asyncio.Future[Any]:
    """Asks for the brokers: any request would do."""
    return connection.send(
        Api.METADATA, metadata_request(connection.version(Api.METADATA), []), 30.0
    )


def asked(broker: FakeBroker) -> list[str]:
    """The requests that came to the broker, in order."""
    return [request.api for request in broker.requests]


# -- clients that are let in, or not ---------------------------------------------------------------


@pytest.mark.parametrize(("mechanism", "version"), SECURED)
async def test_every_mechanism(mechanism: str, version: int) -> None:
    """In every version: the mechanism is named, then messages go to and fro, then requests do."""
    async with FakeBroker() as broker:
        guarded(broker)
        broker.set_versions("SaslAuthenticate", 0, version)
        connection = await dial(broker, as_alice(mechanism))
        await ask(connection)
        connection.close()
        turns = 2 if mechanism.startswith("SCRAM") else 1
        expected = ["ApiVersions", "SaslHandshake", *["SaslAuthenticate"] * turns, "Metadata"]
        assert asked(broker) == expected
        assert {r.version for r in broker.requests if r.api == "SaslAuthenticate"} == {version}


@pytest.mark.parametrize("mechanism", MECHANISMS)
async def test_a_wrong_password(mechanism: str) -> None:
    """The error has the broker, the mechanism and its reason, and nothing that was sent."""
    async with FakeBroker() as broker:
        guarded(broker)
        wrong = "wr0ng-und-geheim"
        with pytest.raises(AuthenticationFailed) as failure:
            await dial(broker, as_alice(mechanism, wrong))
        what = "token" if mechanism == "OAUTHBEARER" else "user name or password"
        prefix = f"{broker.address} does not accept the {what} ({mechanism}): "
        assert str(failure.value).startswith(prefix)
        await broker.until(lambda: broker.open_connections == 0)
        assert wrong not in all_of(failure.value)


async def test_a_refused_token_is_confirmed_and_not_used_again() -> None:
    """RFC 7628's single byte; the next connection has another, however long that was good."""
    tokens = iter([Token("old", 2**40), SECRET])
    async with FakeBroker() as broker:
        guarded(broker)
        security = secured(as_alice("OAUTHBEARER", lambda: next(tokens)))
        with pytest.raises(AuthenticationFailed, match=r"confirmed by b'\\x01'"):
            await dial(broker, security)
        (await dial(broker, security)).close()


async def test_a_mechanism_that_is_not_offered() -> None:
    """It is named, and those that are."""
    async with FakeBroker() as broker:
        guarded(broker).mechanisms = ("PLAIN", "OAUTHBEARER")
        with pytest.raises(UnsupportedMechanism) as failure:
            await dial(broker, as_alice("SCRAM-SHA-512"))
        assert str(failure.value) == (
            f"{broker.address} does not offer sasl_mechanism='SCRAM-SHA-512'; "
            "it offers 'PLAIN', 'OAUTHBEARER'"
        )


async def test_a_listener_without_sasl() -> None:
    """Kafka says ILLEGAL_SASL_STATE there."""
    async with FakeBroker() as broker:
        broker.require_sasl(None)
        with pytest.raises(UnsupportedMechanism, match="wants no SASL there: check the port"):
            await dial(broker, as_alice("PLAIN"))


OF_THE_FUTURE = 32_000
"""An error that this client does not know."""


def answer_with(error: int, data: bytes = b"") -> Any:
    """An answer to SaslAuthenticate."""
    return {
        "error_code": error,
        "error_message": None,
        "auth_bytes": data,
        "session_lifetime_ms": 0,
    }


@pytest.mark.parametrize(
    ("api", "reply", "error", "message"),
    [
        (
            "SaslHandshake",
            {"error_code": ErrorCode.unknown_server_error, "mechanisms": ()},
            SecurityError,
            "refused to begin SASL: UNKNOWN_SERVER_ERROR",
        ),
        (
            "SaslAuthenticate",
            answer_with(OF_THE_FUTURE),
            SecurityError,
            r"broke off SASL: an unknown error \(32000\)",
        ),
        ("SaslHandshake", HANG_UP, ConnectionLost, "was lost"),
        ("SaslAuthenticate", HANG_UP, ConnectionLost, "was lost"),
        (
            "SaslAuthenticate",
            answer_with(ErrorCode.illegal_sasl_state),
            SecurityError,
            "broke off SASL: ILLEGAL_SASL_STATE",
        ),
        (
            "SaslAuthenticate",
            answer_with(ErrorCode.sasl_authentication_failed),
            AuthenticationFailed,
            "does not accept the user name or password .*: SASL_AUTHENTICATION_FAILED",
        ),
    ],
    ids=[
        "handshake fails",
        "of the future",
        "hang up 1",
        "hang up 2",
        "wrong state",
        "no words",
    ],
)
async def test_other_ends(api: str, reply: Any, error: type[BrokerError], message: str) -> None:
    """Only errors about the credentials say so; nothing that was sent is to be seen."""
    async with FakeBroker() as broker:
        guarded(broker)
        broker.set_versions("SaslAuthenticate", 0, 0)
        broker.on(api, reply)
        with pytest.raises(error, match=message) as failure:
            await dial(broker, as_alice("PLAIN"))
        assert type(failure.value) is error
        assert SECRET not in all_of(failure.value)
        await broker.until(lambda: broker.open_connections == 0)


@pytest.mark.parametrize("api", ["SaslHandshake", "SaslAuthenticate"])
async def test_a_broker_that_does_not_answer(api: str) -> None:
    """Each answer has the connect timeout."""
    async with FakeBroker() as broker:
        guarded(broker)
        broker.stall(api)
        dialling = asyncio.ensure_future(dial(broker, as_alice("PLAIN"), timeout=10.0))
        await broker.received(api)
        let_time_pass(10.0)
        with pytest.raises(RequestTimedOut, match=r"did not answer SASL_\w+ within 10000 ms") as e:
            await dialling
        assert SECRET not in all_of(e.value)


async def test_a_broker_that_only_knows_bare_sasl() -> None:
    """Older than Kafka 1.0: it is said, and no password is sent."""
    async with FakeBroker() as broker:
        guarded(broker)
        del broker.node.versions[36]
        with pytest.raises(UnsupportedBroker, match="does not know the request SASL_AUTHENTICATE"):
            await dial(broker, as_alice("PLAIN"))
        assert "SaslAuthenticate" not in asked(broker)


async def test_a_password_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker is not asked; the next connection looks again."""
    monkeypatch.delenv("KAFKA_PASSWORD", raising=False)
    async with FakeBroker() as broker:
        guarded(broker)
        options = as_alice("PLAIN", {"env": "KAFKA_PASSWORD"})
        with pytest.raises(AuthenticationFailed, match="KAFKA_PASSWORD is not set"):
            await dial(broker, options)
        assert asked(broker) == ["ApiVersions"]
        monkeypatch.setenv("KAFKA_PASSWORD", SECRET)
        (await dial(broker, options)).close()


async def test_plain_without_tls_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """At the first connection; other mechanisms are not."""
    async with FakeBroker() as broker:
        guarded(broker)
        for mechanism, warnings in (("SCRAM-SHA-256", 0), ("PLAIN", 1)):
            security = secured(as_alice(mechanism))
            for _ in range(3):
                (await dial(broker, security)).close()
            found = [r for r in caplog.records if "'PLAIN' without TLS" in r.getMessage()]
            assert [r.levelno for r in found] == [logging.WARNING] * warnings


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_keys_are_derived_beside_the_loop(mechanism: str) -> None:
    """SCRAM's take up to a second, in which the loop continues."""
    on_loop, begun, resume_ = threading.current_thread(), asyncio.Event(), asyncio.Event()
    threads = []

    async def aside(function: Callable[[], Any]) -> Any:
        begun.set()
        await resume_.wait()

        def work() -> Any:
            threads.append(threading.current_thread())
            return function()

        return await asyncio.to_thread(work)

    async with FakeBroker() as broker:
        guarded(broker).iterations = 20_000
        opening = asyncio.ensure_future(dial(broker, secured(as_alice(mechanism), aside)))
        await begun.wait()
        assert asked(broker).count("SaslAuthenticate") == 1  # the proof is not made yet
        resume_.set()
        (await opening).close()
    assert threads
    assert on_loop not in threads


async def test_nothing_that_is_logged_has_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    """Not at any level, in any library's record."""
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)
    async with FakeBroker() as broker:
        guarded(broker)
        for mechanism in MECHANISMS:
            (await dial(broker, as_alice(mechanism))).close()
            with pytest.raises(AuthenticationFailed):
                await dial(broker, as_alice(mechanism, f"{SECRET}?"))
    assert SECRET not in caplog.text


# -- sessions that end -----------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", MECHANISMS)
async def test_a_session_is_renewed_before_it_ends(mechanism: str) -> None:
    """On the same connection, as often as sessions end; one without an end is left alone."""
    async with FakeBroker() as broker:
        guarded(broker, 1, 1, 0)
        connection = await dial(broker, as_alice(mechanism))
        await broker.received("SaslHandshake", 3)
        await ask(connection)
        assert asked(broker).count("SaslHandshake") == 3
        assert broker.connections_accepted == 1
        connection.close()


async def renewing(broker: FakeBroker, options: dict[str, Any] | None = None) -> Connection:
    """A connection that renews its session, whose broker stalls."""
    connection = await dial(broker, options or as_alice("PLAIN"))
    broker.stall("SaslHandshake")
    await broker.received("SaslHandshake", 2)
    return connection


def named(connection: Connection, topic: str) -> asyncio.Future[Any]:
    """Asks for a topic."""
    return connection.send(
        Api.METADATA, metadata_request(connection.version(Api.METADATA), [topic]), 30.0
    )


async def test_requests_are_held_meanwhile_and_go_out_in_order() -> None:
    """Brokers hang up on requests in between. None overtakes another, later ones included, and one
    whose caller gave up is not sent."""
    async with FakeBroker() as broker:
        guarded(broker, 1)
        connection = await renewing(broker)
        waiting = [named(connection, f"t{n}") for n in range(5)]
        named(connection, "given up").cancel()
        await asyncio.sleep(0)
        assert asked(broker)[-1] == "SaslHandshake"
        broker.resume()
        waiting.append(named(connection, "t5"))
        await waiting[0]
        waiting.append(named(connection, "t6"))
        await asyncio.gather(*waiting)
        held = [r.payload["topics"][0]["name"] for r in broker.requests if r.api == "Metadata"]
        assert held == [f"t{n}" for n in range(7)]
        assert asked(broker)[-8] == "SaslAuthenticate"
        connection.close()


async def test_a_post_waits_too() -> None:
    """A request without an answer is written when the session is new."""
    async with FakeBroker() as broker:
        guarded(broker, 1)
        connection = await renewing(broker)
        request = metadata_request(connection.version(Api.METADATA), ["posted"])
        posted = asyncio.ensure_future(connection.post(Api.METADATA, request, 30.0))
        await asyncio.sleep(0)
        assert not posted.done()
        broker.on("Metadata", None)
        broker.resume()
        await posted
        await broker.received("Metadata")
        assert asked(broker)[-2:] == ["SaslAuthenticate", "Metadata"]
        connection.close()


async def test_requests_that_are_out_are_answered_first() -> None:
    """The broker takes one after the other: nothing that was sent before is lost."""
    async with FakeBroker() as broker:
        guarded(broker, 1)
        connection = await dial(broker, as_alice("PLAIN"))
        broker.stall("Metadata")
        out = [ask(connection) for _ in range(3)]
        while "pending=4" not in repr(connection):  # the handshake is behind them
            await asyncio.sleep(0)
        late = ask(connection)
        broker.resume()
        await asyncio.gather(*out, late)
        assert asked(broker)[3:] == [
            *["Metadata"] * 3,
            "SaslHandshake",
            "SaslAuthenticate",
            "Metadata",
        ]
        connection.close()


async def all_ended(
    broker: FakeBroker, connection: Connection, end: Callable[[], Any]
) -> list[Any]:
    """The ends of requests that are held while `end()` happens: each has another exception."""
    held = [ask(connection) for _ in range(3)]
    request = metadata_request(connection.version(Api.METADATA), [])
    posted = asyncio.ensure_future(connection.post(Api.METADATA, request, 30.0))
    await asyncio.sleep(0)
    end()
    ends = await asyncio.gather(*held, posted, return_exceptions=True)
    await broker.until(lambda: broker.open_connections == 0)
    assert len({id(each) for each in ends}) == 4
    with pytest.raises(type(ends[0])):
        await ask(connection)
    return ends


async def test_a_password_that_is_not_good_any_more() -> None:
    """The connection is closed with the error, and all that was held ends with it."""
    async with FakeBroker() as broker:
        sasl = guarded(broker, 1)
        connection = await renewing(broker)
        sasl.users["alice"] = "another"
        ends = await all_ended(broker, connection, broker.resume)
        assert [type(each) for each in ends] == [AuthenticationFailed] * 4
        assert isinstance(connection.closed, AuthenticationFailed)
        assert not any(SECRET in all_of(each) for each in ends)


@pytest.mark.parametrize("how", ["close", "hang up"])
async def test_a_connection_that_ends_meanwhile(how: str) -> None:
    """By us or by the broker: nothing is left pending."""
    async with FakeBroker() as broker:
        guarded(broker, 1)
        connection = await renewing(broker)
        end = connection.close if how == "close" else broker.hang_up
        ends = await all_ended(broker, connection, end)
        assert [type(each) for each in ends] == [ConnectionLost] * 4


async def test_a_connection_that_ends_while_a_token_is_fetched() -> None:
    """The provider's answer is not waited for."""
    never: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    tokens = iter([SECRET])
    asked_again = asyncio.Event()

    def provide() -> Any:
        for token in tokens:
            return token
        asked_again.set()
        return never

    async with FakeBroker() as broker:
        guarded(broker, 1)
        connection = await dial(broker, as_alice("OAUTHBEARER", provide))
        await asked_again.wait()
        ends = await all_ended(broker, connection, connection.close)
        assert [type(each) for each in ends] == [ConnectionLost] * 4
