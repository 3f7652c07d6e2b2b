"""Checkpoints: what is signed and when, and trees of records, beside the book's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.proof import notes, tree
from kiel_logging.proof.chain import Chain
from kiel_logging.proof.checkpoints import (
    ENDORSER,
    Checkpoint,
    Evidence,
    Signer,
    endorsement_text,
    line,
)
from kiel_logging.proof.stamper import Stamper
from kiel_logging.record.item import make_item
from kiel_logging.records import Record
from tests.support import c2sp, signer
from tests.support import stamper as book

INSTANCE = "a" * 32
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
SECRET = b"a secret of sixteen"


def new_signer(endorsement: str = "") -> Signer:
    """One of the instance."""
    return Signer(INSTANCE, PUBLIC, KEY.sign, endorsement)


def signed(counter: int, sequence: int, **more: Any) -> dict[str, str]:
    """Evidence with unimportant contents."""
    one = Checkpoint("t", INSTANCE, counter, 1, sequence, *[bytes(32)] * 3, 5, "open")
    text = one._replace(**more).text()
    note = notes.signed(text, f"kiel-logging/{INSTANCE}", PUBLIC, KEY.sign)
    return {"note": note, "key": signer.b64(PUBLIC)}


@pytest.mark.parametrize("secret", [None, SECRET], ids=["no key", "a key"])
def test_a_stamper_and_a_signer_make_what_the_book_makes(
    secret: bytes | None, tmp_path: Path
) -> None:
    """Digest, tree, counter and the digest of the checkpoint before; OpenSSL takes the note."""
    ours = Stamper(INSTANCE, Chain.of(secret), keeps_leaves=True)
    by_the_book = signer.Signer(INSTANCE)
    by_the_book.private, by_the_book.public = KEY, PUBLIC
    theirs = book.Stamper(INSTANCE, secret=secret, signer=by_the_book)
    signing = new_signer()
    for count in (1, 31, 32, 1_100):
        values = [b"%d" % number for number in range(count)]
        items = [make_item("t", None, Record(None, value, (), 7)) for value in values]
        for value in values:
            theirs.stamp(value)
        ours.stamp(items)
        made = signing.sign(
            "t", ours.leaves("t"), digest=ours.digest("t"), now=0.0, time_ms=1_000_000
        )
        expected = theirs.evidence()
        assert made["note"] == expected["note"]
        name = f"kiel-logging/{INSTANCE}"
        text = c2sp.signed_text(made["note"].encode(), name, PUBLIC, tmp_path)
        assert Evidence.of(made).checkpoint == Checkpoint.of(text.decode())


def test_when_checkpoints_are_due() -> None:
    """At once, every 1,000 records, after 10 s with something new, after 60 s in any case; the
    record that bears one is nothing new."""
    signing, leaves = new_signer(), tree.Leaves()
    assert not signing.is_due("t", 0, 0.0)
    assert signing.is_due("t", 1, 0.0)
    leaves.extend(1, [bytes(32)])
    signing.sign("t", leaves, digest=bytes(32), now=100.0, time_ms=1)
    due = {
        (sequence, now): signing.is_due("t", sequence, now)
        for sequence in (1, 2, 3, 1_001, 1_002)
        for now in (100.0, 109.9, 110.0, 160.0)
    }
    assert {key for key, is_due in due.items() if not is_due} == {
        *((sequence, now) for sequence in (1, 2) for now in (100.0, 109.9, 110.0)),
        *((sequence, now) for sequence in (3, 1_001) for now in (100.0, 109.9)),
    }


def test_a_key_that_was_forgotten_signs_nothing() -> None:
    """A forked child, and a handler that was closed, have none."""
    signing, leaves = new_signer(), tree.Leaves()
    signing.forget()
    with pytest.raises(ValueError, match="forgotten"):
        signing.sign("t", leaves, digest=bytes(32), now=0.0, time_ms=1)


def test_an_endorsement_is_for_one_instance_and_key(tmp_path: Path) -> None:
    """By the endorser alone; the reader from the specification takes it too."""
    host = Ed25519PrivateKey.generate()
    public = host.public_key().public_bytes_raw()
    text = endorsement_text(INSTANCE, PUBLIC)
    endorsement = notes.signed(text, ENDORSER, public, host.sign)
    assert c2sp.signed_text(endorsement.encode(), ENDORSER, public, tmp_path) == text.encode()
    evidence = Evidence.of({**signed(1, 1), "endorsement": endorsement})
    assert evidence.is_endorsed_by(public)
    assert not evidence.is_endorsed_by(PUBLIC)
    assert not evidence._replace(public=public).is_endorsed_by(public)
    assert not evidence._replace(endorsement="").is_endorsed_by(public)


NO_EVIDENCE: dict[str, Any] = {
    "another signer": {"key": signer.b64(bytes(32))},
    "a key of another size": {"key": signer.b64(bytes(31))},
    "no key": {"key": None},
    "no base64": {"key": "*"},
    "no note": {"note": "x"},
    "another text": {"note": signed(1, 1)["note"].replace("counter 1", "counter 2")},
    "an endorsement that is no text": {"endorsement": 7},
    "no topic": {"note": signed(1, 1, topic="")["note"]},
    "a topic of several lines": {"note": signed(1, 1, topic="a\nb")["note"]},
    "another instance": {"note": signed(1, 1, instance="b" * 32)["note"]},
    "a number that begins with 0": {"note": signed(1, 1, first="01")["note"]},
    "a huge number": {"note": signed(10**18, 1)["note"]},
    "another state": {"note": signed(1, 1, state="over")["note"]},
}


@pytest.mark.parametrize("change", NO_EVIDENCE.values(), ids=NO_EVIDENCE)
def test_json_that_is_no_evidence_is_refused(change: dict[str, Any]) -> None:
    """Whatever is wrong with it, there is one error."""
    Evidence.of(signed(1, 1))
    with pytest.raises(ValueError):  # noqa: PT011 # of any text
        Evidence.of({**signed(1, 1), **change})


@pytest.mark.parametrize("content", [None, [], "note", 7])
def test_other_json_is_refused(content: object) -> None:
    """It need not be an object."""
    with pytest.raises(ValueError, match="no evidence"):
        Evidence.of(content)


def test_evidence_is_one_line_of_a_file() -> None:
    """Whatever the note's lines are."""
    assert line(signed(1, 1)).count("\n") == 1


# -- trees -----------------------------------------------------------------------------------------

counts = st.integers(1, 70) | st.integers(1, 40).map(lambda one: one * 32) | st.just(1_025)


def leaf(number: int) -> bytes:
    """The leaf of a record."""
    return number.to_bytes(32)


@given(counts, st.data())
def test_a_path_leads_from_each_leaf_to_the_root(count: int, data: st.DataObject) -> None:
    """And from nothing else: another leaf, place or neighbour has another root, or none."""
    leaves = [leaf(number) for number in range(count)]
    index = data.draw(st.integers(0, count - 1))
    path = tree.path(leaves, index)
    root = tree.root(leaves)
    assert root == signer.root(leaves)
    assert tree.root_of_path(leaves[index], index, count, path) == root
    assert tree.root_of_path(leaf(9_999), index, count, path) != root
    for other, size in ((index + 1, count), (index, count + 1), (index, count - 1)):
        try:
            found = tree.root_of_path(leaves[index], other, size, path)
        except ValueError:
            continue
        assert found != root or size != count
    with pytest.raises(ValueError, match="path"):
        tree.root_of_path(leaves[index], index, count, [*path, []])
    with pytest.raises(ValueError, match="path"):
        tree.root_of_path(leaves[index], index, count, path[:-1])


def test_leaves_that_come_again_or_never() -> None:
    """A record that is read again has its leaf already; one that was lost has zeros."""
    leaves = tree.Leaves()
    for numbers in ([1, 2], [1, 2], [4]):
        leaves.extend(numbers[0], [leaf(number) for number in numbers])
    assert leaves.take() == (1, 4, tree.root([leaf(1), leaf(2), bytes(32), leaf(4)]))
    assert leaves.take() == (5, 4, bytes(32))
    leaves.extend(3, [leaf(number) for number in (3, 4, 5)])
    assert leaves.take() == (5, 5, tree.root([leaf(5)]))
