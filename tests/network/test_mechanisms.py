"""SASL's conversations, byte by byte: their messages, and answers that are not believed."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.errors import AuthenticationFailed
from kiel_logging.network.sasl import Conversation, oauthbearer, plain, scram
from kiel_logging.testing.sasl import Answers, Refused, scram_answers
from tests.support.examples import examples
from tests.support.what_is_shown import traceback_of

SECRET = "s3cr3t-und-geheim"
SCRAM = ["SCRAM-SHA-256", "SCRAM-SHA-512"]


def converse(client: Conversation, broker: Answers) -> None:
    """Carry the messages to and fro until both have nothing more to say."""
    next(broker)
    message = next(client)
    while True:
        try:
            answer, last = broker.send(message), False
        except StopIteration as end:
            answer, last = end.value, True
        try:
            message = client.send(answer)
        except StopIteration:
            assert last, "the client thinks that it is done, and the broker does not"
            return


# -- PLAIN -----------------------------------------------------------------------------------------


def test_plain() -> None:
    """RFC 4616: no authorization identity, name and password between NULs, in UTF-8."""
    client = plain("tim", "tanstaaftanstaaf")
    assert next(client) == b"\0tim\0tanstaaftanstaaf"
    with pytest.raises(StopIteration):
        client.send(b"")
    assert next(plain("müller", "größe")) == "\0müller\0größe".encode()


@pytest.mark.parametrize(("name", "password"), [("a\0b", SECRET), ("a", f"{SECRET}\0")])
def test_plain_has_no_way_to_send_a_nul(name: str, password: str) -> None:
    """It would end the field; the rest of it would be another one."""
    with pytest.raises(AuthenticationFailed, match="no way to send a NUL") as failure:
        next(plain(name, password))
    assert SECRET not in traceback_of(failure.value)


def test_what_utf_8_does_not_have() -> None:
    """Half of a pair, as from a variable that is no UTF-8: Python's error would show all of it."""
    with pytest.raises(AuthenticationFailed, match="UTF-8 does not have") as failure:
        next(plain("alice", f"{SECRET}\udcff"))
    assert SECRET not in traceback_of(failure.value)
    assert failure.value.__suppress_context__


# -- SCRAM -----------------------------------------------------------------------------------------

RFC_7677 = {
    "nonce": "rOprNGfwEbeRWgbNEkqO",
    "first": "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
    "server first": (
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    ),
    "final": (
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    ),
    "server final": "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
}


def test_the_example_of_rfc_7677(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its nonce in place of chance, every byte is as printed there."""
    monkeypatch.setattr("scramp.core.token_hex", lambda: RFC_7677["nonce"])
    client = scram("SCRAM-SHA-256", "user", "pencil")
    assert next(client).decode() == RFC_7677["first"]
    assert client.send(RFC_7677["server first"].encode()).decode() == RFC_7677["final"]
    with pytest.raises(StopIteration):
        client.send(RFC_7677["server final"].encode())


def test_the_broker_of_these_tests_answers_as_rfc_7677_does() -> None:
    """It shares no code with the client, so that agreement means the standard."""
    broker = scram_answers(
        "SCRAM-SHA-256",
        {"user": "pencil"},
        nonce="%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        salt=base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="),
    )
    next(broker)
    assert broker.send(RFC_7677["first"].encode()).decode() == RFC_7677["server first"]
    with pytest.raises(StopIteration) as end:
        broker.send(RFC_7677["final"].encode())
    assert end.value.value.decode() == RFC_7677["server final"]


@pytest.mark.parametrize("mechanism", SCRAM)
@pytest.mark.parametrize("user", ["alice", "a=b,c", "müller"])
def test_a_conversation(mechanism: str, user: str) -> None:
    """Both believe the other when they know the same password, which is never sent; each
    conversation has its own nonce, so that an overheard one is of no use."""
    converse(scram(mechanism, user, SECRET), scram_answers(mechanism, {user: SECRET}))
    with pytest.raises(Refused):
        converse(scram(mechanism, user, "wrong"), scram_answers(mechanism, {user: SECRET}))
    client, broker = scram(mechanism, user, SECRET), scram_answers(mechanism, {user: SECRET})
    next(broker)
    first = next(client)
    assert first != next(scram(mechanism, user, SECRET))
    assert SECRET.encode() not in first + client.send(broker.send(first))


@examples(20)
@given(st.text(st.characters(codec="ascii", exclude_categories=["C"]), min_size=1))
def test_any_password_of_ascii(password: str) -> None:
    """Goes through; what beyond it SASLprep makes of others is scramp's."""
    broker = scram_answers("SCRAM-SHA-256", {"alice": password})
    converse(scram("SCRAM-SHA-256", "alice", password), broker)


def test_a_broker_that_does_not_know_the_password_is_found_out() -> None:
    """One that takes anything can't sign: it is not the broker that it claims to be."""
    client, broker = scram("SCRAM-SHA-256", "alice", SECRET), scram_answers("SCRAM-SHA-256", {})
    next(broker)
    client.send(broker.send(next(client)))
    signature = base64.b64encode(bytes(32))
    with pytest.raises(AuthenticationFailed, match="could not prove that it knows the password"):
        client.send(b"v=" + signature)


def answered(mechanism: str, replies: list[bytes]) -> BaseException:
    """How the client takes answers that no broker gives; %r is its own nonce."""
    client = scram(mechanism, "alice", SECRET)
    nonce = next(client).rpartition(b"r=")[2]
    try:
        for reply in replies:
            client.send(reply.replace(b"%r", nonce))
    except AuthenticationFailed as failure:
        return failure
    except StopIteration:
        pass
    raise AssertionError("the client is content with that")


GOOD_FIRST = b"r=%rbroker,s=c2l4dGVlbiBieXRlcyBvaw==,i=4096"


@pytest.mark.parametrize(
    "replies",
    [
        [b""],
        [b"\xff\xfe"],
        [b"garbage"],
        [b"r=,s=,i="],
        [b"r=other,s=c2l4dGVlbiBieXRlcyBvaw==,i=4096"],
        [b"r=%r,s=c2l4dGVlbiBieXRlcyBvaw==,i=4096"],
        [b"r=%rbroker,s=!!!,i=4096"],
        [b"r=%rbroker,s=\xc3\xa4,i=4096"],
        [b"r=%rbroker,s=c2l4dGVlbiBieXRlcyBvaw=="],
        [b"r=%rbroker,s=c2l4dGVlbiBieXRlcyBvaw==,i=many"],
        [b"r=%rbroker,s=c2l4dGVlbiBieXRlcyBvaw==,i=-1"],
        [b"r=%rbroker,s=c2l4dGVlbiBieXRlcyBvaw==,i=1"],
        [b"m=what," + GOOD_FIRST],
        [b"e=unknown-user"],
        [b"e=nonsense"],
        [GOOD_FIRST, b""],
        [GOOD_FIRST, b"\xff"],
        [GOOD_FIRST, b"v="],
        [GOOD_FIRST, b"v=!!!"],
        [GOOD_FIRST, b"v=QQ=="],
        [GOOD_FIRST, b"e=invalid-proof"],
        [GOOD_FIRST, GOOD_FIRST],
    ],
    ids=lambda replies: repr(b" | ".join(replies))[:60],
)
@pytest.mark.parametrize("mechanism", SCRAM)
def test_garbage_at_each_step(mechanism: str, replies: list[bytes]) -> None:
    """Is an error of the authentication, never success, and shows nothing."""
    failure = answered(mechanism, replies)
    assert str(failure).startswith(f"{mechanism} failed: ")
    assert SECRET not in traceback_of(failure)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=2))
def test_any_garbage(replies: list[bytes]) -> None:
    """Whatever comes, the client does not take it for a broker."""
    assert isinstance(answered("SCRAM-SHA-256", [*replies, b""]), AuthenticationFailed)


@pytest.mark.parametrize("iterations", ["0", "1", "4095", "1000001", "10000000", "9" * 300])
@pytest.mark.parametrize("first", [GOOD_FIRST, GOOD_FIRST + b",x=1", b"i=4096," + GOOD_FIRST])
def test_iterations_that_cannot_be_meant(iterations: str, first: bytes) -> None:
    """More would keep us busy, fewer would let the password be guessed: no key is derived. A first
    message of megabytes is not read either."""
    large = answered("SCRAM-SHA-256", [GOOD_FIRST.replace(b"s=", b"s=" + b"QUJD" * 250_000)])
    assert "the broker's first message has 1000106 bytes" in str(large)
    first = first.replace(b",i=4096", f",i={iterations}".encode())
    failure = answered("SCRAM-SHA-256", [first])
    assert f"the broker asks for {iterations[:12]} iterations, and only 4096 to" in str(failure)
    assert len(str(failure)) < 250


@pytest.mark.parametrize("iterations", [4_096, 16_384, 1_000_000])
def test_iterations_that_are_meant(iterations: int) -> None:
    """Kafka's least, its most, and what a careful administrator may choose."""
    broker = scram_answers("SCRAM-SHA-256", {"alice": SECRET}, iterations=iterations)
    converse(scram("SCRAM-SHA-256", "alice", SECRET), broker)


@pytest.mark.parametrize(
    ("user", "password"),
    [("", SECRET), ("alice", f"{SECRET}\x07"), ("alice\x07", SECRET), ("alice", f"{SECRET}\udcff")],
    ids=["no user", "control character", "in the user", "half of a pair"],
)
def test_credentials_that_scram_cannot_have(user: str, password: str) -> None:
    """RFC 4013 prohibits them: it is our side that is wrong, not the broker."""
    with pytest.raises(AuthenticationFailed, match="can't be done with this user name") as failure:
        next(scram("SCRAM-SHA-256", user, password))
    assert SECRET not in traceback_of(failure.value)


# -- OAUTHBEARER -----------------------------------------------------------------------------------


def test_oauthbearer() -> None:
    """RFC 7628: the header of HTTP, between kvseps."""
    client = oauthbearer("vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==", {})
    expected = b"n,,\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01"
    assert next(client) == expected
    with pytest.raises(StopIteration):
        client.send(b"")
    client = oauthbearer("token", {"logicalCluster": "lkc-1", "identityPoolId": "pool-2"})
    expected = b"n,,\x01auth=Bearer token\x01logicalCluster=lkc-1\x01identityPoolId=pool-2\x01\x01"
    assert next(client) == expected, "pairs behind the token (KIP-342)"


def test_a_refused_token_is_answered_by_one_byte() -> None:
    """The broker gives its reason and waits for it; one that does not fail then is no broker."""
    client: Any = oauthbearer("token", {})
    next(client)
    assert client.send(b'{"status":"invalid_token"}') == b"\x01"
    with pytest.raises(AuthenticationFailed, match="refused the token"):
        client.send(b"")
