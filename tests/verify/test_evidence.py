"""Signed checkpoints: what they show of a topic that no longer has it, or has something else."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kiel_logging.proof.chain import Chain
from kiel_logging.proof.checkpoints import Evidence
from kiel_logging.records import Record
from kiel_logging.verify.audit import Audit
from kiel_logging.verify.evidence import SILENCE_MS, Registry
from kiel_logging.verify.judge import judge
from kiel_logging.verify.names import Proof, State, TopicVerdict
from kiel_logging.verify.window import WHOLE, Part, Retention, Window
from tests.support.signer import Signer
from tests.support.stamper import Stamped, Stamper

SECRET = b"a secret of sixteen"
HOST = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = HOST.public_key().public_bytes_raw()
BEGAN = 1_764_500_000_000
A = f"{BEGAN:012x}70008000" + "a" * 12
B = f"{BEGAN:012x}70008000" + "b" * 12
AT = BEGAN + 5_000


class Signed(NamedTuple):
    """A stream, and the checkpoints that went elsewhere, in their order."""

    records: list[Stamped]
    elsewhere: list[dict[str, str]]


def stream(
    count: int = 30,
    *,
    instance: str = A,
    secret: bytes | None = SECRET,
    endorser: Ed25519PrivateKey | None = HOST,
    every: int = 10,
    ends: bool = True,
    signer: Signer | None = None,
    value: str = "value",
) -> Signed:
    """A stream with a checkpoint behind every so many records."""
    stamper = Stamper(instance, secret=secret, signer=signer or Signer(instance, endorser=endorser))
    records, elsewhere = [stamper.start()], []
    for number in range(count):
        if number % every == 0:
            elsewhere.append(stamper.evidence(at=AT + number))
            records.append(stamper.event("checkpoint", **elsewhere[-1]))
        records.append(stamper.stamp(f"{value} {number}".encode()))
    if ends:
        evidence = stamper.evidence("end", at=AT + count)
        elsewhere.append(evidence)
        records.append(stamper.event("end", **evidence))
    return Signed(records, elsewhere)


def verdict(
    records: Sequence[Stamped],
    elsewhere: Sequence[dict[str, str]] = (),
    *,
    secret: bytes | None = SECRET,
    trusted: Sequence[bytes] = (),
    window: Window = WHOLE,
    base: int = 0,
) -> TopicVerdict:
    """The verdict on one partition, with checkpoints from elsewhere."""
    registry = Registry(trusted)
    for evidence in elsewhere:
        registry.add(Evidence.of(json.loads(json.dumps(evidence))), outside=True)
    audit = Audit("t", () if secret is None else (Chain.of(secret),), registry)
    for offset, (key, value, headers) in enumerate(records):
        audit.add(0, base + offset, Record(key, value, tuple(headers), AT + offset))
    return judge(audit, "t", window)


def found(*arguments: Any, **more: Any) -> dict[str, int]:
    """Each finding, and how often it was made."""
    return dict(verdict(*arguments, **more).counts())


# -- what is whole ---------------------------------------------------------------------------------


@pytest.mark.parametrize("trusted", [(), (PUBLIC,)], ids=["no endorser", "an endorser"])
@pytest.mark.parametrize("elsewhere", [False, True], ids=["in the topic", "elsewhere"])
@pytest.mark.parametrize("secret", [SECRET, None], ids=["a key", "no key"])
def test_a_whole_stream_is_clean(
    secret: bytes | None, elsewhere: bool, trusted: tuple[bytes, ...]
) -> None:
    """Signatures prove a stream without a key, where people who write to the topic have no part in
    them: checkpoints from elsewhere, or an endorsed key."""
    records, others = stream(secret=secret)
    made = verdict(records, others if elsewhere else (), secret=secret, trusted=trusted)
    proves = elsewhere or bool(trusted)
    proof = Proof.KEY if secret else Proof.SIGNED if proves else Proof.DIGESTS
    assert (made.proof, made.streams[0].signed) == (proof, proves)
    assert dict(made.counts()) == ({} if secret or proves else {"unsigned": len(records)})


def test_a_stream_that_runs_is_clean() -> None:
    """The numbers behind its last checkpoint are not signed yet."""
    records, elsewhere = stream(secret=None, ends=False)
    running = Window(running=True, now=AT + 30)
    assert found(records, elsewhere, secret=None, trusted=[PUBLIC], window=running) == {}


# -- what is not there -----------------------------------------------------------------------------


@pytest.mark.parametrize("running", [False, True])
def test_a_tail_that_was_cut_off_is_found(running: bool) -> None:
    """Also of a program that still runs, and of one that was killed."""
    records, elsewhere = stream(ends=False)
    window = Window(running=running, now=AT + 30, horizon={A: 31})
    assert found(records, elsewhere, window=window) == ({} if running else {"unfinished": 1})
    made = found(records[:-15], elsewhere, window=window)
    assert made.pop("unfinished", None) == (None if running else 1)
    assert made == {"truncated": 4}


def test_an_end_that_was_cut_off_is_found() -> None:
    """The checkpoint of the end has its number."""
    records, elsewhere = stream()
    assert found(records[:-1], elsewhere) == {"truncated": 1}


def test_an_earlier_end_is_none() -> None:
    """An end can be made with the key of the chain, and by anybody without one: the instance has
    signed that it continued."""
    for secret in (SECRET, None):
        whole = Stamper(A, secret=secret, signer=Signer(A))
        records = [whole.start(), whole.checkpoint(), *map(whole.stamp, [b"x"] * 10)]
        evidence = whole.evidence(at=AT)
        records.append(Stamper.event(whole, "end"))
        made = found(records, secret=secret, window=Window(now=AT))
        assert made.pop("unsigned", 13) == 13
        assert made == {"unfinished": 1}
        made = found(records[:6], [evidence], secret=secret, window=Window(now=AT))
        assert made["truncated"] == 6


def test_an_instance_that_vanished_is_found() -> None:
    """All of its records were removed; checkpoints elsewhere are the registry of instances."""
    records, elsewhere = stream()
    others, more = stream(instance=B)
    assert found(others, [*elsewhere, *more]) == {"vanished": len(records)}
    assert found(others, more) == {}


@pytest.mark.parametrize(
    ("retention", "name"),
    [(Retention(1_000), "expired"), (Retention(10**9), "purged"), (None, "undated")],
)
def test_an_instance_that_expired_did_not_vanish(retention: Retention | None, name: str) -> None:
    """All of its records may have been in front of what is left of the topic."""
    records, elsewhere = stream()
    window = Window(
        partitions=1, parts={0: Part(len(records))}, retention=retention, now=AT + 10**8
    )
    made = found([], elsewhere, window=window)
    if retention == Retention(1_000):
        assert made == {"undated": len(records)}  # nothing behind it shows that it is so old
    else:
        assert made == {name: len(records)}


def test_a_silent_program_is_found() -> None:
    """One that runs signs at least every minute; one that has ended need not."""
    for ends in (False, True):
        records, elsewhere = stream(ends=ends)
        for waited in (SILENCE_MS - 1_000, SILENCE_MS + 1_000):
            window = Window(running=True, now=AT + 30 + waited)
            is_silent = waited > SILENCE_MS and not ends
            assert found(records, elsewhere, window=window) == ({"silent": 1} if is_silent else {})
            assert found(records, window=window) == ({"silent": 1} if is_silent else {})


# -- what is there, and not as it was --------------------------------------------------------------


def test_a_history_that_was_written_anew_is_found() -> None:
    """An owner of the chain's key makes other records under the same numbers."""
    records, elsewhere = stream()
    forged = stream(value="forged", signer=Signer(A)).records
    made = found(forged, elsewhere)
    assert made.pop("forked") >= 3
    assert made.keys() <= {"unfinished"}
    assert found(records, elsewhere) == {}


def test_a_program_that_was_copied_is_found() -> None:
    """From a snapshot of a virtual machine two of it continue with the same key."""
    signer = Signer(A)
    records, elsewhere = stream(signer=signer, ends=False)
    before = signer.counter, signer.covered, signer.previous
    copy = Stamper(A, secret=SECRET, signer=signer)
    signer.counter, signer.covered, signer.previous = before[0] - 1, 0, bytes(32)
    copy.stamp(b"another")
    assert found(records, [*elsewhere, copy.evidence(at=AT)])["forked"] >= 1


def test_checkpoints_of_another_key_do_not_count_where_one_is_endorsed() -> None:
    """Anybody can sign; --trust says whose signatures count."""
    records, elsewhere = stream()
    stranger = stream(count=99, signer=Signer(A), secret=None).elsewhere
    assert found(records, [*elsewhere, *stranger], trusted=[PUBLIC]) == {}
    assert found(records, [*elsewhere, *stranger])["forked"] >= 1


@pytest.mark.parametrize("trusted", [PUBLIC, bytes(32)], ids=["the endorser", "another"])
def test_records_that_no_trusted_key_has_signed_are_unsigned(trusted: bytes) -> None:
    """A failure, as with a key of the chain: people without any key could have made them."""
    records, _ = stream(secret=None)
    made = verdict(records, secret=None, trusted=[trusted])
    if trusted == PUBLIC:
        assert (made.counts(), made.state(strict=False)) == ({}, State.COMPLETE)
    else:
        assert made.counts() == {"unsigned": len(records)}
        assert made.state(strict=False) is State.INCOMPLETE


def test_records_behind_the_last_checkpoint_are_unsigned() -> None:
    """Of a program that was killed: nothing shows that they are its own."""
    records, elsewhere = stream(secret=None, ends=False)
    made = found(records, elsewhere, secret=None)
    assert made == {"unfinished": 1, "unsigned": 11}


def test_a_checkpoint_with_a_wrong_signature_is_unreadable() -> None:
    """The record bears something that the handler never writes."""
    signer = Signer(A)
    stamper = Stamper(A, secret=SECRET, signer=signer)
    evidence = {**stamper.evidence(), "key": Signer(A).facts["public"]}
    records = [stamper.start(), stamper.event("checkpoint", **evidence), stamper.end()]
    assert found(records)["unreadable"] == 1


def test_checkpoints_take_bounded_memory() -> None:
    """Those beyond it are counted, and the topic is not checked."""
    records, elsewhere = stream(count=300, every=1)
    registry = Registry(memory=10_000)
    for evidence in elsewhere:
        registry.add(Evidence.of(evidence), outside=True)
    audit = Audit("t", (Chain.of(SECRET),), registry)
    for offset, (key, value, headers) in enumerate(records):
        audit.add(0, offset, Record(key, value, tuple(headers), AT))
    made = judge(audit, "t")
    assert made.counts()["uncounted"] > 0
    assert made.state(strict=False) is State.UNCHECKED


def test_a_topic_of_checkpoints_is_evidence_for_others(
    taken: Callable[[Sequence[Stamped]], Registry],
) -> None:
    """Whatever digests its own records have."""
    records, elsewhere = stream()
    keeper = Stamper(B, secret=b"a key that nobody gave", topic="checkpoints")
    registry = taken([keeper.event("checkpoint", **evidence) for evidence in elsewhere])
    account = registry.account("t", A, None)
    assert (account.last, account.end, account.proves) == (len(records), len(records), True)
    own = Stamper(A, topic="checkpoints", signer=Signer(A))
    assert taken([own.start(), own.checkpoint()]).instances("checkpoints") == set()


@pytest.fixture
def taken() -> Callable[[Sequence[Stamped]], Registry]:
    """Return a function that reads a topic of checkpoints."""

    def take(records: Sequence[Stamped]) -> Registry:
        registry = Registry()
        audit = Audit("checkpoints", (), registry, has_checkpoints=True)
        for offset, (key, value, headers) in enumerate(records):
            audit.add(0, offset, Record(key, value, tuple(headers), AT))
        return registry

    return take
