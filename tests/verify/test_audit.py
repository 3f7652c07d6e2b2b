"""The checker: what is planted is found, under its own name; what is whole is clean."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kiel_logging.proof.chain import Chain
from kiel_logging.records import Record
from kiel_logging.verify import pages
from kiel_logging.verify.audit import Audit
from kiel_logging.verify.judge import judge
from kiel_logging.verify.names import Example, Proof, State, fails
from tests.support.stamper import Stamped, Stamper
from tests.verify.topic import Partitions, audited, found, harm, shipped

A, B, C = "a" * 32, "b" * 32, "c" * 32
SECRET, OTHER = b"a secret of sixteen", b"another secret"


def plain(count: int) -> Partitions:
    """A stream without a chain, and thus without events."""
    stamper = Stamper(chain=False)
    return [[stamper.stamp(b"%d" % number) for number in range(count)]]


# -- what is whole ---------------------------------------------------------------------------------


@pytest.mark.parametrize("partitions", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 60, 61, 62, 63, 64, 126, 200])
def test_a_whole_stream_is_clean(count: int, partitions: int) -> None:
    """Whatever its length is, to the number and beyond a page."""
    verdict = audited(shipped(count, partitions=partitions))
    assert harm(verdict) == {}
    (stream,) = verdict.streams
    assert (stream.records, stream.first, stream.last) == (count + 2, 1, count + 2)
    assert stream.start is not None
    assert stream.start == (1, "audit", "web-1", "42")


def test_a_stream_without_a_chain_is_clean() -> None:
    """It is not expected to have an end record."""
    assert found(plain(100)) == {}


def test_an_empty_topic_is_clean() -> None:
    """No instance can have lost anything."""
    assert audited([[]]).streams == ()


def test_streams_are_told_apart() -> None:
    """Each instance counts from 1."""
    streams = [shipped(5, stamper=Stamper(instance))[0] for instance in (A, B, C)]
    mixed = [record for records in zip(*streams, strict=True) for record in records]
    verdict = audited([mixed])
    assert harm(verdict) == {}
    assert [stream.instance for stream in verdict.streams] == [A, B, C]


@pytest.mark.parametrize("value", [None, b"", b"\x00" * 20_000])
@pytest.mark.parametrize("key", [None, b"", b"k" * 300])
def test_values_and_keys_of_any_kind_have_a_digest(key: bytes | None, value: bytes | None) -> None:
    """Null is not empty."""
    stamper = Stamper()
    odd = (("ü", None), ("kiel", b""), ("again", b"1"), ("again", b"2"))
    records = [stamper.stamp(value, key, odd), stamper.stamp(value, key), stamper.end()]
    assert found([records]) == {}


# -- what is planted: one defect each, in a stream of a hundred ------------------------------------


def without(records: list[Stamped], *positions: int) -> list[Stamped]:
    """Without the records at these positions."""
    return [record for at, record in enumerate(records) if at not in positions]


def with_value(records: list[Stamped], at: int, value: bytes) -> list[Stamped]:
    """With another value in one record."""
    return [*records[:at], records[at]._replace(value=value), *records[at + 1 :]]


def with_header(records: list[Stamped], at: int, name: str, value: bytes | None) -> list[Stamped]:
    """With another header in one record; None takes it out."""
    headers = tuple(
        (one, value if one == name else old)
        for one, old in records[at].headers
        if one != name or value is not None
    )
    return [*records[:at], records[at]._replace(headers=headers), *records[at + 1 :]]


def swap(records: list[Stamped], one: int, other: int) -> list[Stamped]:
    """With two records in each other's place."""
    records = list(records)
    records[one], records[other] = records[other], records[one]
    return records


def with_copy(records: list[Stamped], at: int, to: int) -> list[Stamped]:
    """With a record a second time."""
    return [*records[:to], records[at], *records[to:]]


def forged(at: int) -> Stamped:
    """A record with a valid digest, where no secret is needed for that."""
    other = Stamper()
    for number in range(at):
        other.stamp(b"%d" % number)
    return other.stamp(b"forged")


Change = Callable[[list[Stamped]], list[Stamped]]

PLANTED: dict[str, tuple[Change, dict[str, int]]] = {
    "one removed": (lambda r: without(r, 50), {"removed": 1}),
    "the first removed": (lambda r: without(r, 0), {"removed": 1}),
    "a page removed": (lambda r: without(r, *range(20, 90)), {"removed": 70}),
    "here and there removed": (lambda r: without(r, 3, 4, 60, 77), {"removed": 4}),
    "the last word removed": (lambda r: without(r, len(r) - 1), {"unfinished": 1}),
    "the end cut off": (lambda r: r[:-7], {"unfinished": 1}),
    "value altered": (lambda r: with_value(r, 50, b"!"), {"altered": 1}),
    "last word altered": (
        lambda r: with_value(r, len(r) - 1, b"!"),
        {"altered": 1, "unfinished": 1},
    ),
    "key altered": (
        lambda r: [*r[:9], r[9]._replace(key=None), *r[10:]],
        {"altered": 1},
    ),
    "header altered": (lambda r: with_header(r, 0, "level", b"DEBUG"), {"altered": 1}),
    "header removed": (lambda r: with_header(r, 0, "level", None), {"altered": 1}),
    "header added": (
        lambda r: [*r[:9], r[9]._replace(headers=(("x", b""), *r[9].headers)), *r[10:]],
        {"altered": 1},
    ),
    "header added behind": (
        lambda r: [*r[:9], r[9]._replace(headers=(*r[9].headers, ("x", b""))), *r[10:]],
        {"altered": 1},
    ),
    "digest altered": (lambda r: with_header(r, 5, "kiel-chain", bytes(64)), {"altered": 1}),
    "digest cut": (lambda r: with_header(r, 5, "kiel-chain", bytes(63)), {"altered": 1}),
    "digest removed": (lambda r: with_header(r, 5, "kiel-chain", None), {"altered": 1}),
    "number altered": (
        lambda r: with_header(r, 5, "kiel-sequence", b"70"),
        {"altered": 1, "removed": 1},
    ),
    "number altered, huge": (
        lambda r: with_header(r, 5, "kiel-sequence", b"9" * 18),
        {"altered": 1, "removed": 1},
    ),
    "instance altered": (
        lambda r: with_header(r, 5, "kiel-instance", b"f" * 32),
        {"altered": 1, "removed": 1},
    ),
    "number no number": (
        lambda r: with_header(r, 5, "kiel-sequence", b"x"),
        {"unreadable": 1, "removed": 1},
    ),
    "number removed": (
        lambda r: with_header(r, 5, "kiel-sequence", None),
        {"unreadable": 1, "removed": 1},
    ),
    "instance no instance": (
        lambda r: with_header(r, 5, "kiel-instance", b"F" * 32),
        {"unreadable": 1, "removed": 1},
    ),
    "neighbours swapped": (lambda r: swap(r, 50, 51), {"swapped": 1}),
    "far ones swapped": (lambda r: swap(r, 10, 90), {"swapped": 80}),
    "repeated at once": (lambda r: with_copy(r, 50, 51), {"repeated": 1}),
    "repeated later": (lambda r: with_copy(r, 50, 90), {"repeated": 1}),
    "repeated at the end": (lambda r: r + r[40:], {"repeated": 62}),
    "all repeated": (lambda r: r + r, {"repeated": 102}),
    "replaced": (lambda r: [*r[:50], forged(50), *r[51:]], {"broken": 2}),
    "forged beside it": (lambda r: [*r[:51], forged(50), *r[51:]], {"conflict": 1}),
    "forged before it": (lambda r: [*r[:50], forged(50), *r[50:]], {"conflict": 1}),
    "foreign record": (lambda r: [*r, Stamped(None, b"hello", ())], {"unmarked": 1}),
    "foreign headers": (lambda r: [*r, Stamped(None, None, (("h", b""),))], {"unmarked": 1}),
}


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_planted_is_found_by_its_name(name: str) -> None:
    """As often as it was planted, and nothing else with it."""
    change, expected = PLANTED[name]
    assert found([change(shipped(100)[0])]) == expected


@pytest.mark.parametrize("number", [2, 63, 64, 65, 127, 128, 129, 255, 256, 257])
def test_a_replaced_record_breaks_both_of_its_links(number: int) -> None:
    """Also where a page of numbers begins or ends."""
    (records,) = shipped(300)
    records[number - 1] = forged(number - 1)
    findings = audited([records]).streams[0].findings
    assert findings["broken"].examples == (
        Example(number, number, 0, number - 1),
        Example(number + 1, number + 1, 0, number),
    )


@pytest.mark.parametrize("number", [63, 64, 127, 128])
def test_where_records_conflict_one_that_links_is_enough(number: int) -> None:
    """The other records show which of the two was forged."""
    (records,) = shipped(300)
    assert found([[*records[:number], forged(number - 1), *records[number:]]]) == {"conflict": 1}


def test_the_first_record_continues_nothing() -> None:
    """One that claims to is not the first."""
    stamper = Stamper()
    stamper.stamp(b"before")
    stamper.sequence = 0
    assert found([[stamper.stamp(b""), stamper.end()]]) == {"broken": 1}


@pytest.mark.parametrize("name", PLANTED)
def test_with_a_secret_it_is_found_as_well(name: str) -> None:
    """Except that who lacks it can't make a digest: what he forges is altered."""
    change, expected = PLANTED[name]
    records = change(shipped(100, stamper=Stamper(secret=b"s"))[0])
    if name in ("replaced", "forged beside it", "forged before it"):
        expected = {"altered": 1}
    assert found([records], secret=b"s") == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda r: without(r, 50, 51), {"missing": 2}),
        (lambda r: without(r, 0), {"missing": 1}),
        (lambda r: swap(r, 50, 51), {"swapped": 1}),
        (lambda r: with_copy(r, 50, 80), {"repeated": 1}),
        (lambda r: with_value(with_copy(r, 50, 80), 80, b"!"), {"conflict": 1}),
        (
            lambda r: [*with_value([*r, r[50]], 100, b"!"), r[50]],
            {"conflict": 1, "repeated": 1},
        ),
    ],
)
def test_without_a_chain(change: Change, expected: dict[str, int]) -> None:
    """Numbers alone show losses, swaps and copies, but no altered records."""
    assert found([change(plain(100)[0])]) == expected


def test_a_stream_that_lost_all_its_digests_but_one_is_altered() -> None:
    """Stripping a record of its digest does not make it one that needs none."""
    (records,) = shipped(20)
    for at in range(21):
        records = with_header(records, at, "kiel-chain", None)
    verdict = audited([records])
    assert harm(verdict) == {"altered": 21}
    assert verdict.streams[0].chained


def test_each_copy_without_its_digest_is_altered() -> None:
    """They are no repeats of anything."""
    (records,) = shipped(20)
    stripped = with_header(records, 5, "kiel-chain", None)[5]
    assert found([[*records, stripped, stripped]]) == {"altered": 2}


def test_records_without_digest_where_a_key_was_given() -> None:
    """With a key, all of them are expected to be sealed."""
    assert found(plain(10), secret=b"s") == {"unchained": 10}
    assert found(plain(10)) == {}


# -- where it is -----------------------------------------------------------------------------------


def test_examples_tell_numbers_partition_and_offset() -> None:
    """A gap is shown by the record behind it, or before it; the others by themselves."""
    one, other = shipped(20, partitions=2)  # odd numbers, even numbers
    one = with_value(one, 4, b"!")  # number 9
    other = without(other, 3)  # number 8
    findings = audited([one, swap(other, 5, 6)], base=100).streams[0].findings
    assert findings["removed"].examples == (Example(8, 8, 0, 103),)  # 9 is not to be trusted
    assert findings["altered"].examples == (Example(None, None, 0, 104),)
    assert findings["swapped"].examples == (Example(14, 14, 1, 106),)


def test_a_gap_is_shown_by_the_first_copy_of_its_neighbour() -> None:
    """Whichever was read first."""
    records = without(shipped(20)[0], 9)
    for order in ([0] + [1] * 21, [1] * 21 + [0]):
        verdict = audited([[records[9]], records], order=order)
        assert verdict.streams[0].findings["removed"].examples == (Example(10, 10, 0, 0),)
        assert verdict.streams[0].findings["repeated"].examples == (Example(11, 11, 1, 9),)


def test_only_the_first_examples_are_kept() -> None:
    """All are counted."""
    (records,) = shipped(100)
    removed = audited([without(records, *range(10, 90, 2))]).streams[0].findings["removed"]
    assert removed.count == 40
    assert [one.first for one in removed.examples] == list(range(11, 31, 2))
    repeated = audited([records + records[::-1]]).streams[0].findings["repeated"]
    assert repeated.count == 102
    assert repeated.examples[0] == Example(1, 1, 0, 203)
    assert len(repeated.examples) == 10


def test_no_more_is_kept_than_is_shown() -> None:
    """Of a topic that is all repeats, or all altered, too."""
    audit = Audit("t", [Chain.of(b"another key")])
    for offset, record in enumerate(shipped(300, stamper=Stamper(secret=b"s"))[0]):
        audit.add(0, offset, Record(*record, 0))
        audit.add(1, offset, Record(None, b"", plain(1)[0][0].headers, 0))
        audit.add(2, offset, Record(None, b"", (), 0))
    altered, (plain_one,) = audit.unverified[b"a" * 32], audit.streams_of(b"a" * 32)
    assert (altered.count, plain_one.repeats, audit.unmarked) == (302, 301, 302)
    assert [len(places) for places in altered.places.values()] == [10]
    assert [len(places) for places in audit.unmarked_at.values()] == [10]
    assert len(plain_one.repeated) == 1
    for number in range(1, 303):
        plain_one.add(number, 0, number, number, 0)
        plain_one.add(number, 0, number, number, 0)
    assert len(plain_one.repeated) == 10


# -- what the handler reports ----------------------------------------------------------------------


def test_drops_that_were_told_are_losses() -> None:
    """They never had a number."""
    stamper = Stamper()
    records = [stamper.start(), stamper.event("drops", records=412), stamper.end()]
    assert found([records]) == {"dropped": 412}


def test_records_that_options_left_out_are_no_losses() -> None:
    """The topic is complete; what its handler left out on purpose is mentioned."""
    stamper = Stamper()
    records = [stamper.start(), stamper.event("omissions", records=412)]
    records += [records[-1], stamper.event("omissions", records=3), stamper.end()]
    assert found([records]) == {"left_out": 415, "repeated": 1}
    assert not fails("left_out", strict=True, keyed=True)


def test_drops_that_come_again_are_the_same_drops() -> None:
    """A repeat reports nothing new."""
    stamper = Stamper()
    records = [stamper.event("drops", records=412), stamper.end()]
    assert found([[*records, *records]]) == {"dropped": 412, "repeated": 2}


@pytest.mark.parametrize(
    ("numbers", "gone", "expected"),
    [
        ([[5, 6]], [5, 6], {"dropped": 2, "missing": 2}),
        ([[5, 5], [6, 6]], [5, 6], {"dropped": 2, "missing": 2}),
        ([[5, 6]], [5, 6, 7], {"dropped": 2, "missing": 2, "removed": 1}),
        ([[5, 6]], [4, 7], {"dropped": 2, "removed": 2}),
        ([[4, 9]], [5, 8], {"dropped": 2, "missing": 2}),
        ([[2, 3], [2, 8], [5, 5]], [4, 5, 9], {"dropped": 2, "missing": 2, "removed": 1}),
        ([], [5, 6], {"dropped": 2, "removed": 2}),
    ],
)
def test_drops_excuse_the_numbers_that_they_name(
    numbers: list[list[int]], gone: list[int], expected: dict[str, int]
) -> None:
    """Records that were dropped without a number explain no hole: they left none."""
    stamper = Stamper()
    records = [stamper.stamp(b"%d" % number) for number in range(10)]
    records += [stamper.event("drops", records=2, numbers=numbers), stamper.end()]
    left = without(records, *(number - 1 for number in gone))
    assert found([left]) == expected


def test_the_end_has_to_be_the_last_record() -> None:
    """An instance that continues has not ended."""
    stamper = Stamper()
    records = [stamper.stamp(b""), stamper.end(), stamper.stamp(b"")]
    assert found([records]) == {"unfinished": 1}


def test_a_pause_completes_nothing() -> None:
    """A stream that was cut back to one is not complete: the program may have gone on."""
    stamper = Stamper()
    records = [stamper.start(), stamper.stamp(b""), stamper.pause(), stamper.stamp(b"")]
    records.append(stamper.end())
    assert found([records]) == {}
    assert found([records[:3]]) == {"unfinished": 1}


@pytest.mark.parametrize(
    "event",
    [
        ("start", {"topic": "t", "key": ""}),
        ("start", {"topic": "t", "instance": B, "key": ""}),
        ("start", {"topic": "other", "instance": A, "key": ""}),
        ("start", {"topic": "t", "instance": A, "key": "0123456789abcdef"}),
        ("drops", {"records": -1}),
        ("omissions", {"records": -1}),
        ("omissions", {}),
        ("drops", {"records": float("nan")}),
        ("drops", {"records": True}),
        ("drops", {"records": 10**19}),
        ("drops", {"records": 1, "numbers": 7}),
        ("drops", {"records": 1, "numbers": [1]}),
        ("drops", {"records": 1, "numbers": [[1, 2]]}),
        ("drops", {"records": 1, "numbers": [[0, 1]]}),
        ("drops", {"records": 1, "numbers": [[1, 1]] * 65}),
        ("recovery", {"records": 1, "last": 1, "complete": True}),
        ("recovery", {"instance": "x", "records": 1, "last": 1, "complete": True}),
        ("recovery", {"instance": 7, "records": 1, "last": 1, "complete": True}),
        ("recovery", {"instance": A, "records": 1, "last": 1, "complete": True}),
        ("recovery", {"instance": B, "records": 1, "complete": True}),
        ("recovery", {"instance": B, "records": 1, "last": 1}),
        ("recovery", {"instance": B, "records": 1, "last": 1, "complete": 1}),
        ("party", {}),
    ],
    ids=str,
)
def test_events_that_make_no_sense_are_named(event: tuple[str, dict[str, object]]) -> None:
    """They are believed in nothing."""
    stamper = Stamper()
    records = [stamper.stamp(b""), stamper.event(event[0], **event[1])]
    assert found([records]) == {"unreadable": 1, "unfinished": 1}


# -- instances that died ---------------------------------------------------------------------------


def recovered(
    last: int, *, chain: bool = True, complete: bool = True, lost: list[list[int]] | None = None
) -> list[Stamped]:
    """The records of an instance that took the spool of A."""
    stamper = Stamper(B, chain=chain)
    details: dict[str, object] = {"instance": A, "records": 0, "last": last, "complete": complete}
    if lost:
        details["lost"] = lost
    words = [stamper.event("recovery", **details)]
    return [*words, stamper.end()] if chain else words


def test_another_instance_vouches_for_one_that_died() -> None:
    """It knows the last number, and all up to it are there."""
    dead = shipped(10)[0][:7]
    assert found([dead]) == {"unfinished": 1}
    assert found([dead + recovered(7)]) == {}
    assert found([recovered(7) + dead]) == {}


def test_what_the_dead_one_gave_and_is_not_there_was_removed() -> None:
    """The tail of a stream can be checked, though nothing comes behind it."""
    dead = shipped(10)[0][:7]
    assert found([dead + recovered(9)]) == {"removed": 2}
    assert found([recovered(9)]) == {"removed": 9}


def test_a_recovery_that_knows_less_is_no_end() -> None:
    """The dead one sent more than was on its disk: nothing shows what came behind."""
    dead = shipped(10)[0][:7]
    assert found([dead + recovered(6)]) == {"unfinished": 1}


def test_a_recovery_that_may_not_know_all_completes_nothing() -> None:
    """Records that never were on disk may have been deleted behind the number that it names."""
    dead = shipped(10)[0][:7]
    assert found([dead + recovered(7, complete=False)]) == {"unfinished": 1}
    assert found([dead + recovered(9, complete=False)]) == {"removed": 2, "unfinished": 1}


def test_numbers_that_were_lost_with_the_disk_are_missing_not_removed() -> None:
    """The instance that took the spool names them; it excuses no others."""
    dead = without(shipped(10)[0][:7], 2, 4)
    assert found([dead + recovered(7, lost=[[3, 3], [5, 5]])]) == {"missing": 2}
    assert found([dead + recovered(7, lost=[[3, 3]])]) == {"missing": 1, "removed": 1}


def test_a_recovery_without_a_digest_vouches_for_nobody() -> None:
    """Anybody could write it."""
    dead = shipped(10)[0][:7]
    assert found([dead + recovered(7, chain=False)]) == {"unfinished": 1}


def test_a_recovery_without_a_key_vouches_for_no_stream_with_one() -> None:
    """Anybody could write it."""
    dead = shipped(10, stamper=Stamper(secret=SECRET))[0][:7]
    told = found([dead + recovered(7)], secret=SECRET)
    assert told == {"unfinished": 1, "unsigned": 2}


def test_a_replay_may_step_back_once_for_each_recovery() -> None:
    """A random partitioner puts what is stored for the first time then behind later ones."""
    dead = shipped(10)[0][:9]
    replayed = [*without(dead, 4, 5), *dead[4:9], *recovered(9)]
    assert found([replayed]) == {"repeated": 3}
    twice_back = [*without(dead, 2, 4, 5), *dead[4:9], dead[2], *recovered(9)]
    assert found([twice_back]) == {"repeated": 3, "swapped": 3}
    assert found([[*without(dead, 4, 5), *dead[4:9]]])["swapped"] == 2


def test_a_copy_in_another_partition_may_be_late() -> None:
    """One that is in order is enough, whichever is read first."""
    (records,) = shipped(10)
    partitions = [records, [records[7], records[3]]]
    for order in ([0] * 12 + [1] * 2, [1] * 2 + [0] * 12):
        assert found(partitions, order=order) == {"repeated": 2}


# -- keys ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("made", "used"), [(SECRET, OTHER), (SECRET, None)])
def test_a_wrong_key_is_told_from_damage(made: bytes, used: bytes | None) -> None:
    """The stream names its key, and it is another one."""
    verdict = audited(shipped(10, stamper=Stamper(secret=made)), secret=used)
    assert verdict.wrong_key
    assert verdict.counts() == {"other_key": 12}
    assert verdict.state(strict=True) is State.UNCHECKED


@pytest.mark.parametrize("secret", [SECRET, None])
def test_a_topic_that_was_altered_from_end_to_end_is_damage(secret: bytes | None) -> None:
    """Though not one digest matches: the stream names the very key that was given."""
    (records,) = shipped(10, stamper=Stamper(secret=secret))
    altered = [record._replace(value=b"!") for record in records]
    verdict = audited([altered], secret=secret)
    assert verdict.counts() == {"altered": 12}
    assert verdict.state(strict=False) is State.INCOMPLETE


def test_where_a_key_fits_a_stream_with_another_one_is_a_forgery() -> None:
    """A writer without the key puts a stream with another key into the topic."""
    mine, theirs = Stamper(secret=SECRET), Stamper(B, secret=OTHER)
    records = shipped(5, stamper=mine)[0] + shipped(5, stamper=theirs)[0]
    assert found([records], secret=SECRET) == {"altered": 7}


def test_several_keys() -> None:
    """Each stream has one of them."""
    audit = Audit("t", [Chain.of(SECRET), Chain.of(OTHER)])
    streams = [Stamper(A, secret=OTHER), Stamper(B, secret=SECRET)]
    for partition, stamper in enumerate(streams):
        for offset, (key, value, headers) in enumerate(shipped(5, stamper=stamper)[0]):
            audit.add(partition, offset, Record(key, value, tuple(headers), 0))
    assert judge(audit, "t").counts() == {}


def test_a_stream_without_a_key_is_unsigned() -> None:
    """It fails where a key was given, and with --strict: it is no evidence."""
    records = shipped(5)
    told = audited(records)
    assert (told.counts(), told.proof) == ({"unsigned": 7}, Proof.DIGESTS)
    assert [told.state(strict=one) for one in (False, True)] == [State.COMPLETE, State.INCOMPLETE]
    told = audited(records, secret=SECRET)
    assert (told.counts(), told.state(strict=False)) == ({"unsigned": 7}, State.INCOMPLETE)


def test_what_a_topic_proves_is_the_least_of_its_streams() -> None:
    """One stream without digests, or without a key, is enough."""
    keyed, unkeyed = shipped(5, stamper=Stamper(secret=SECRET)), shipped(5, stamper=Stamper(B))
    bare = plain(5)
    assert audited(keyed, secret=SECRET).proof is Proof.KEY
    assert audited([*keyed, *unkeyed], secret=SECRET).proof is Proof.DIGESTS
    assert audited(bare).proof is Proof.NUMBERS
    assert audited([[]]).proof is Proof.NOTHING


@pytest.mark.parametrize("secret", [SECRET, None])
def test_a_record_sealed_without_the_key_is_altered(secret: bytes | None) -> None:
    """Under the name of an instance that has one, or has digests at all."""
    (records,) = shipped(20, stamper=Stamper(secret=SECRET))
    forger = Stamper(chain=secret is not None)
    forged_ones = [forger.stamp(b"forged") for _ in range(9)]
    assert found([[*records[:8], forged_ones[8], *records[9:]]], secret=SECRET) == {"altered": 1}


# -- a stream is of its topic ----------------------------------------------------------------------


def test_the_stream_of_another_topic_is_found() -> None:
    """In the place of this topic's own, all of it as it was sent to the other."""
    other = shipped(10, stamper=Stamper(secret=SECRET, topic="harmless"))
    assert found(other, secret=SECRET) == {"renamed": 12}
    assert found(other, secret=SECRET, topic="harmless") == {}


def test_a_record_of_another_topic_is_altered() -> None:
    """With the number that a record of this topic has."""
    mine, theirs = Stamper(secret=SECRET), Stamper(secret=SECRET, topic="harmless")
    (records,), (others,) = shipped(10, stamper=mine), shipped(10, stamper=theirs)
    assert found([[*records[:5], others[5], *records[6:]]], secret=SECRET) == {"altered": 1}


def test_a_record_under_the_name_of_another_instance_is_altered() -> None:
    """A digest covers the instance."""
    (records,) = shipped(10, stamper=Stamper(secret=SECRET))
    renamed = with_header(records, 5, "kiel-instance", B.encode())
    assert found([renamed], secret=SECRET) == {"altered": 1, "removed": 1}


# -- records of strangers --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "details",
    [
        b"[" * 2_000,
        b'{"records":' + b"9" * 4_300 + b"}",
        b'{"records":1,"numbers":' + b"[" * 3_000,
        b'{"host":"' + b"A" * 900_000 + b'"}',
        b"\xff\xfe",
        b"null",
        b"",
        None,
    ],
    ids=lambda details: repr(details)[:24],
)
@pytest.mark.parametrize(
    "event", [b"start", b"pause", b"end", b"drops", b"recovery", b"\xff", None]
)
@pytest.mark.parametrize("chain", [True, False])
def test_details_of_any_kind_are_unreadable(
    event: bytes | None, details: bytes | None, chain: bool
) -> None:
    """They crash nothing, and nothing in them is believed."""
    stamper = Stamper(chain=chain)
    marks = (("level", b""), ("kiel-event", event), ("kiel-details", details))
    hostile = [stamper.stamp(b"x", headers=marks) for _ in range(2)]
    records = [*hostile, stamper.end()]
    assert found([records]) == {"unreadable": 2}


def test_unmarked_records_in_a_topic_with_a_key_are_failures() -> None:
    """A record without our headers looks like any other to people who read the topic."""
    records = [*shipped(5, stamper=Stamper(secret=SECRET))[0], Stamped(None, b"paid", ())]
    with_key = audited([records], secret=SECRET)
    assert with_key.failures(strict=False) == ("unmarked",)
    assert audited([*plain(5), [Stamped(None, b"", ())]]).failures(strict=False) == ()


def crowd(*, count: int, secret: bytes | None = None) -> Audit:
    """An audit with little memory, of records with digests that need no key."""
    audit = Audit("t", () if secret is None else [Chain.of(secret)], memory=1024 * 1024)
    for number in range(count):
        stamper = Stamper(f"{number % 500:032x}")
        stamper.sequence = number * 1_000
        key, value, headers = stamper.stamp(b"")
        audit.add(0, number, Record(key, value, tuple(headers), 0))
    return audit


def test_memory_has_a_bound_which_is_reported() -> None:
    """Few records can have sparse numbers, and many instances."""
    audit = crowd(count=2_000)
    told = judge(audit, "t")
    assert 0 < told.counts()["uncounted"] < 2_000
    assert told.state(strict=False) is State.UNCHECKED
    assert "removed" not in told.counts()
    assert sum(len(one.pages) for each in audit.instances for one in audit.streams_of(each)) < 350


def test_people_without_the_key_cost_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many instances and numbers they make up; their records are counted."""
    monkeypatch.setattr(pages, "FOR_STRANGERS", 30_000)
    audit = Audit("t", [Chain.of(SECRET)])
    for offset in range(2_000):
        number = str(offset + 1).encode()
        marks = [("kiel-instance", b"%032x" % offset), ("kiel-sequence", number)]
        audit.add(0, offset, Record(None, b"", (*marks, ("kiel-chain", bytes(64))), 0))
    assert len(audit.unverified) <= 10
    told = judge(audit, "t")
    assert told.counts()["altered"] == 2_000
    assert told.state(strict=False) is State.INCOMPLETE
