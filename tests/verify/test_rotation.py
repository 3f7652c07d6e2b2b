"""A stream that changes its key is one stream; a key that nothing leads to makes no part of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kiel_logging.output import CannotRun
from kiel_logging.proof.chain import Chain
from kiel_logging.records import Record
from kiel_logging.verify import state
from kiel_logging.verify.audit import Audit
from kiel_logging.verify.evidence import Registry
from kiel_logging.verify.judge import judge
from tests.support.stamper import Stamped, Stamper
from tests.verify.topic import audited, found, harm

OLD, NEW = b"the old key of the chain", b"the new key of the chain"
KEYS = (OLD, NEW)


def rotated(value: bytes = b"value", *, keys: tuple[bytes, ...] = KEYS) -> list[Stamped]:
    """Two hundred records for each key, from the start to the end."""
    stamper = Stamper(secret=keys[0])
    records = [stamper.start()]
    for key in keys:
        if key is not keys[0]:
            records.append(stamper.rotation(key))
        records += [stamper.stamp(b"%s %d" % (value, number)) for number in range(200)]
    return [*records, stamper.end()]


RECORDS = rotated()
AT = 201
"""The index of the rotation record."""


def foreign(records: list[Stamped], secret: bytes) -> list[Stamped]:
    """Three further records behind these, by an owner of this key alone."""
    stamper = Stamper(secret=secret)
    stamper.sequence = len(records)
    stamper._digest = (records[-1].headers[-1][1] or b"")[-32:]
    return [*records, stamper.stamp(b"x"), stamper.stamp(b"y"), stamper.end()]


def with_half_a_seal() -> list[Stamped]:
    """The rotation by an owner of the new key only."""
    stamper = Stamper(secret=b"a guess at the old key")
    records = RECORDS[:AT]
    stamper.sequence = AT
    stamper._digest = (records[-1].headers[-1][1] or b"")[-32:]
    stamper.key_id = Stamper(secret=OLD).key_id
    return [*records, stamper.rotation(NEW), *RECORDS[AT + 1 :]]


@pytest.mark.parametrize("partitions", [1, 3])
@pytest.mark.parametrize("turn", [1, -1])
def test_it_is_whole(partitions: int, turn: int) -> None:
    """Whichever partition is read first."""
    parts = [RECORDS[first::partitions] for first in range(partitions)]
    order = [number for number, part in enumerate(parts) for _ in part][::turn]
    assert found(parts, order=order, secret=KEYS) == {}


HARMS: dict[str, tuple[Callable[[], list[Stamped]], dict[str, int]]] = {
    "the record of it removed": (lambda: RECORDS[:AT] + RECORDS[AT + 1 :], {"removed": 1}),
    "records before it forged by an owner of the old key": (
        lambda: rotated(b"forged")[:AT] + RECORDS[AT:],
        {"broken": 1},
    ),
    "the same without its link": (
        lambda: rotated(b"forged", keys=(OLD,))[:AT] + RECORDS[AT + 1 :],
        {"removed": 1},
    ),
    "records behind it by an owner of the old key": (
        lambda: foreign(RECORDS[: AT + 50], OLD),
        {"forked": 49},
    ),
    "records behind the old key by an owner of the new one": (
        lambda: foreign(RECORDS[:AT], NEW),
        {"forked": 3},
    ),
    "a rotation by an owner of the new key": (
        with_half_a_seal,
        {"altered": 1},
    ),
}


@pytest.mark.parametrize(("records", "harms"), HARMS.values(), ids=HARMS)
def test_harm_around_it_is_found(
    records: Callable[[], list[Stamped]], harms: dict[str, int]
) -> None:
    """Also by owners of one of both keys."""
    assert found([records()], secret=KEYS) == harms


@pytest.mark.parametrize("key", KEYS, ids=["the old key", "the new key"])
def test_one_key_checks_its_own_part(key: bytes) -> None:
    """The other one is not checked; harm in its own part is found."""
    other = {OLD: 201, NEW: 201}[key]
    assert found([RECORDS], secret=key) == {"other_key": other}
    at = {OLD: 50, NEW: 300}[key]
    assert found([RECORDS[:at] + RECORDS[at + 1 :]], secret=key).keys() == {"other_key", "removed"}


def continued(
    path: Path, records: list[Stamped], cut: int, first: tuple[bytes, ...] = KEYS
) -> Audit:
    """The audit of a second run, which has both keys; the first one has read up to a record."""
    for part, keys in ((range(cut), first), (range(cut, len(records)), KEYS)):
        registry = Registry()
        now = Audit("t", tuple(map(Chain.of, keys)), registry)
        state.load(path, {"t": now}, registry, {})
        for offset in part:
            key, value, headers = records[offset]
            now.add(0, offset, Record(key, value, tuple(headers), 1_000 + offset))
        state.settle({"t": now})
        state.save(path, {"t": now}, registry, {})
    return now


@pytest.mark.parametrize("cut", [100, AT, AT + 1, 300])
def test_a_later_run_continues_over_it(cut: int, tmp_path: Path) -> None:
    """With the state of one that has read up to any record; and it stays small."""
    now = continued(tmp_path / "state", RECORDS, cut)
    assert harm(judge(now, "t")) == harm(audited([RECORDS], secret=KEYS)) == {}
    (stream,) = now.streams()
    assert stream.settled >= 380


def test_a_later_run_may_have_a_further_key(tmp_path: Path) -> None:
    """If nothing is sealed with it yet; then it counts from its rotation on alone."""
    now = continued(tmp_path / "whole", RECORDS, AT, KEYS[:1])
    assert harm(judge(now, "t")) == {}
    now = continued(tmp_path / "forged", foreign(RECORDS[:AT], NEW), AT, KEYS[:1])
    assert harm(judge(now, "t")) == {"forked": 3}
    with pytest.raises(CannotRun, match="of other topics, checkpoints or keys"):
        continued(tmp_path / "late", RECORDS, AT + 5, KEYS[:1])


def test_a_rotation_says_that_other_streams_may_have_another_key() -> None:
    """Which was not given. A stream that claims any further key is a forgery, as a key fits."""
    later, guessed = (Stamper("b" * 32, secret=key) for key in (NEW, b"a key that nobody knows"))
    for stamper, name in ((later, "other_key"), (guessed, "altered")):
        other = [stamper.start(), stamper.stamp(b"x"), stamper.end()]
        assert found([RECORDS, other], secret=OLD) == {
            "other_key": 201 + 3 * (name == "other_key"),
            **({} if name == "other_key" else {name: 3}),
        }
