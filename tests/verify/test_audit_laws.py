"""The laws of the checker, by hypothesis: what it says depends on no interleaving."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kiel_logging.verify.window import Part, Retention, Window
from tests.support.examples import examples
from tests.support.stamper import Stamped, Stamper
from tests.verify.topic import Partitions, audited, found

A, B, C = "a" * 32, "b" * 32, "c" * 32
SECRETS = st.none() | st.just(b"secret")


@st.composite
def streams(draw: st.DrawFn, secret: bytes | None = None) -> Partitions:
    """Up to three whole streams, dealt out to up to four partitions at random."""
    partitions: Partitions = [[] for _ in range(draw(st.integers(1, 4)))]
    for instance in draw(st.lists(st.sampled_from((A, B, C)), unique=True, max_size=3)):
        stamper = Stamper(instance, chain=draw(st.booleans()), secret=secret)
        count = draw(st.integers(1, 150))
        words = [stamper.stamp(b"%d" % number) for number in range(count)]
        words.append(stamper.end())
        deal = draw(st.randoms(use_true_random=False))
        for word in words:
            deal.choice(partitions).append(word)
    return partitions


def an_order(partitions: Partitions, draw: Any) -> list[int]:
    """Which partition each record is read from."""
    order = [number for number, records in enumerate(partitions) for _ in records]
    draw(st.randoms(use_true_random=False)).shuffle(order)
    return order


@examples(300)
@given(st.data(), SECRETS)
def test_whole_streams_are_clean(data: st.DataObject, secret: bytes | None) -> None:
    """However they are dealt out, and however partitions interleave."""
    partitions = data.draw(streams(secret))
    counts = found(partitions, order=an_order(partitions, data.draw), secret=secret)
    counts.pop("unchained", None)  # where a key was given
    assert counts == {}


@st.composite
def windows(draw: st.DrawFn, count: int, *, running: bool) -> Window:
    """Any part of a topic."""
    offsets = st.sampled_from((0, 1, 2, 50, 1_000))
    return Window(
        partitions=count,
        parts={n: Part(draw(offsets), draw(offsets)) for n in range(count)},
        retention=draw(st.sampled_from((None, Retention(None), Retention(20)))),
        now=1_050,
        since=draw(st.none() | st.integers(1, 10_000_000)),
        until=draw(st.none() | st.integers(1, 10_000_000)),
        running=running,
        horizon=draw(st.none() | st.dictionaries(st.sampled_from((A, B, C)), st.integers(0, 150))),
    )


@examples(300)
@given(st.data())
def test_what_retention_deletes_is_no_failure(data: st.DataObject) -> None:
    """Of each partition any number of its oldest records, as long as they are old enough."""
    secret = b"secret"
    partitions = data.draw(streams(secret))
    fronts = [data.draw(st.integers(0, len(records))) for records in partitions]
    left = [records[front:] for records, front in zip(partitions, fronts, strict=True)]
    window = Window(
        partitions=len(left),
        parts={number: Part(front) for number, front in enumerate(fronts)},
        retention=Retention(1_000),
        now=1_000_000,
    )
    verdict = audited(left, secret=secret, window=window)
    failures = set(verdict.failures(strict=False))
    assert failures <= {"unchained"}  # there are streams without a chain among them


def sequence(record: Stamped) -> int:
    """The number of a record."""
    return int(dict(record.headers)["kiel-sequence"] or 0)


@examples(300)
@given(st.integers(4, 80), st.integers(1, 3), st.data())
def test_what_is_removed_behind_every_front_is_found(
    count: int, partitions: int, data: st.DataObject
) -> None:
    """However much retention has deleted: it deletes fronts, and nothing else."""
    stamper = Stamper(A, secret=b"secret")
    records = [stamper.stamp(b"%d" % number) for number in range(count)] + [stamper.end()]
    whole = [records[first::partitions] for first in range(partitions)]
    fronts = [data.draw(st.integers(0, len(part) - 1)) for part in whole]
    left = [part[front:] for part, front in zip(whole, fronts, strict=True)]
    late = [sequence(part[0]) for part, front in zip(left, fronts, strict=True) if front]
    candidates = [
        record
        for part in left
        for record in part[1:]
        if sequence(record) > max(late, default=0) and record != records[-1]
    ]
    assume(candidates)
    gone = data.draw(st.sampled_from(candidates))
    verdict = audited(
        [[record for record in part if record != gone] for part in left],
        secret=b"secret",
        window=Window(
            partitions=partitions,
            parts={number: Part(front) for number, front in enumerate(fronts)},
            retention=Retention(1_000),
            now=1_000_000,
        ),
    )
    assert verdict.counts()["removed"] == 1


def tamper(draw: Any, partitions: Partitions) -> None:
    """Do any harm to any record."""
    records = draw(st.sampled_from([records for records in partitions if records] or [[]]))
    if not records:
        return
    at = draw(st.integers(0, len(records) - 1))
    copies: list[Stamped] = draw(st.sampled_from(partitions))
    harm = draw(st.sampled_from(["remove", "alter", "swap", "copy", "strip", "number"]))
    headers = records[at].headers
    if harm == "remove":
        del records[at]
    elif harm == "alter":
        records[at] = records[at]._replace(value=b"altered")
    elif harm == "swap":
        other = draw(st.integers(0, len(records) - 1))
        records[at], records[other] = records[other], records[at]
    elif harm == "copy":
        copies.insert(draw(st.integers(0, len(copies))), records[at])
    elif harm == "strip":
        records[at] = records[at]._replace(headers=headers[:-1])
    else:
        number = str(draw(st.integers(1, 200))).encode()
        renumbered = tuple(
            (name, number if name == "kiel-sequence" else value) for name, value in headers
        )
        records[at] = records[at]._replace(headers=renumbered)


@examples(300)
@given(st.data(), st.integers(0, 12), st.booleans())
def test_no_interleaving_changes_the_verdict(
    data: st.DataObject, harms: int, running: bool
) -> None:
    """All of it, to the last example, whatever was done to the records."""
    partitions = data.draw(streams())
    for _ in range(harms):
        tamper(data.draw, partitions)
    window = data.draw(windows(len(partitions), running=running))
    one = audited(partitions, order=an_order(partitions, data.draw), window=window)
    other = audited(partitions, order=an_order(partitions, data.draw), window=window)
    assert one == other


def numbered(number: int, variant: int) -> Stamped:
    """One of several records of the same number."""
    marks = (("kiel-instance", A.encode()), ("kiel-sequence", b"%d" % number))
    return Stamped(None, b"%d" % variant, marks)


@examples(300)
@given(
    st.lists(
        st.lists(st.builds(numbered, st.integers(1, 6), st.integers(0, 2)), max_size=8),
        min_size=2,
        max_size=3,
    ),
    st.data(),
)
def test_no_interleaving_of_copies_changes_the_verdict(
    partitions: Partitions, data: st.DataObject
) -> None:
    """Of few numbers with many copies, equal and not, that go back and forth."""
    late = data.draw(windows(len(partitions), running=False))
    one = audited(partitions, order=an_order(partitions, data.draw), window=late)
    other = audited(partitions, order=an_order(partitions, data.draw), window=late)
    assert one == other
    copies = [record for records in partitions for record in records]
    numbers = {record.headers[1][1] for record in copies}
    counts = one.counts()
    assert counts["repeated"] == len(copies) - len(set(copies))
    assert counts["conflict"] == len(set(copies)) - len(numbers)


@examples(300)
@given(st.data())
def test_a_secret_leaves_nothing_to_do_unseen(data: st.DataObject) -> None:
    """Any one harm shows, except to records that have no chain."""
    partitions = data.draw(streams(b"secret").filter(any))
    before = [list(records) for records in partitions]
    tamper(data.draw, partitions)
    if _of_chains(partitions) != _of_chains(before):
        counts = found(partitions, secret=b"secret")
        counts.pop("unchained", None)
        assert counts


def _of_chains(partitions: Partitions) -> list[list[Stamped]]:
    """The chained streams, in the order of each."""
    return [
        [record for record in records if _is_of(record, instance)]
        for records in partitions
        for instance in (A, B, C)
    ]


def _is_of(record: Stamped, instance: str) -> bool:
    return ("kiel-instance", instance.encode()) in record.headers and any(
        name == "kiel-chain" for name, _ in record.headers
    )


@pytest.mark.parametrize("chain", [True, False])
@examples(300)
@given(st.integers(2, 200), st.data())
def test_each_number_that_is_taken_out_is_counted(
    chain: bool, count: int, data: st.DataObject
) -> None:
    """As many as were taken out in front of the last one, and none more."""
    stamper = Stamper(chain=chain)
    records = [stamper.stamp(b"%d" % number) for number in range(count)]
    records.append(stamper.end())
    gone = data.draw(st.sets(st.integers(0, count - 1)))
    left = [record for at, record in enumerate(records) if at not in gone]
    name = "removed" if chain else "missing"
    assert found([left]) == ({name: len(gone)} if gone else {})
