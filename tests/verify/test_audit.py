"""The checker: what is planted is found, under its own name; what is whole is clean."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kiel_logging.verify.audit import Audit
from kiel_logging.verify.judge import Window
from kiel_logging.verify.verdict import Example
from tests.support.stamper import Stamped, Stamper
from tests.verify.topic import Partitions, audited, found, shipped

A, B, C = "a" * 32, "b" * 32, "c" * 32


def plain(count: int) -> Partitions:
    """A stream without a chain, and thus without words of its own."""
    stamper = Stamper(chain=False)
    return [[stamper.stamp(b"%d" % number) for number in range(count)]]


# -- what is whole ---------------------------------------------------------------------------------


@pytest.mark.parametrize("partitions", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 60, 61, 62, 63, 64, 126, 200])
def test_a_whole_stream_is_clean(count: int, partitions: int) -> None:
    """Whatever its length is, to the number and beyond a page."""
    verdict = audited(shipped(count, partitions=partitions))
    assert verdict.counts() == {}
    (stream,) = verdict.streams
    assert (stream.records, stream.first, stream.last) == (count + 2, 1, count + 2)
    assert stream.start is not None
    assert stream.start == (1, "audit", "web-1", "42")


def test_a_stream_without_a_chain_is_clean() -> None:
    """It is not expected to have a last word."""
    assert found(plain(100)) == {}


def test_an_empty_topic_is_clean() -> None:
    """There is nobody who could have lost anything."""
    assert audited([[]]).streams == ()


def test_streams_are_told_apart() -> None:
    """Each instance has numbers of its own."""
    streams = [shipped(5, stamper=Stamper(instance))[0] for instance in (A, B, C)]
    mixed = [record for records in zip(*streams, strict=True) for record in records]
    verdict = audited([mixed])
    assert verdict.counts() == {}
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
    """A record with a digest of its own, where no secret is needed for that."""
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
    """Which of the two was forged can be told by the others."""
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
    """Numbers alone tell of losses, swaps and copies; not of what was altered."""
    assert found([change(plain(100)[0])]) == expected


def test_a_stream_that_lost_all_its_digests_but_one_is_altered() -> None:
    """Stripping a record of its digest does not make it one that needs none."""
    (records,) = shipped(20)
    for at in range(21):
        records = with_header(records, at, "kiel-chain", None)
    verdict = audited([records])
    assert verdict.counts() == {"altered": 21}
    assert verdict.streams[0].chained


def test_each_copy_without_its_digest_is_altered() -> None:
    """They are no repeats of anything."""
    (records,) = shipped(20)
    stripped = with_header(records, 5, "kiel-chain", None)[5]
    assert found([[*records, stripped, stripped]]) == {"altered": 2}


def test_records_without_digest_where_a_key_was_given() -> None:
    """Whoever has a key expects all of them to be sealed."""
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
    audit = Audit(b"another key")
    for offset, record in enumerate(shipped(300)[0]):
        audit.add(0, offset, 0, record.key, record.value, list(record.headers))
        audit.add(1, offset, 0, None, b"", list(plain(1)[0][0].headers))
        audit.add(2, offset, 0, None, b"", [])
    altered, plain_one = audit.chained[b"a" * 32], audit.plain[b"a" * 32]
    assert (altered.altered, plain_one.repeats, audit.unmarked) == (302, 301, 302)
    assert [len(places) for places in altered.altered_at.values()] == [10]
    assert [len(places) for places in audit.unmarked_at.values()] == [10]
    assert len(plain_one.repeated) == 1
    for number in range(1, 303):
        plain_one.add(number, 0, number, number, 0)
        plain_one.add(number, 0, number, number, 0)
    assert len(plain_one.repeated) == 10


# -- what the handler tells ------------------------------------------------------------------------


def test_drops_that_were_told_are_losses() -> None:
    """They never had a number."""
    stamper = Stamper()
    records = [stamper.start(), stamper.event("drops", records=412), stamper.end()]
    assert found([records]) == {"dropped": 412}


def test_drops_that_come_again_are_the_same_drops() -> None:
    """A repeat tells nothing new."""
    stamper = Stamper()
    records = [stamper.event("drops", records=412), stamper.end()]
    assert found([[*records, *records]]) == {"dropped": 412, "repeated": 2}


def test_a_gap_that_drops_explain_is_missing_not_removed() -> None:
    """What was given up after it had its number."""
    stamper = Stamper()
    records = [stamper.stamp(b"%d" % number) for number in range(10)]
    records += [stamper.event("drops", records=2), stamper.end()]
    assert found([without(records, 4, 5)]) == {"dropped": 2, "missing": 2}
    assert found([without(records, 4, 5, 6)]) == {"dropped": 2, "removed": 3}


def test_the_last_word_has_to_be_the_last() -> None:
    """An instance that goes on has not said it."""
    stamper = Stamper()
    records = [stamper.stamp(b""), stamper.end(), stamper.stamp(b"")]
    assert found([records]) == {"unfinished": 1}


@pytest.mark.parametrize(
    "event",
    [
        ("end", {"records": 1}),
        ("end", {}),
        ("end", {"records": "2"}),
        ("drops", {"records": -1}),
        ("drops", {"records": True}),
        ("recovery", {"records": 1, "last": 1}),
        ("recovery", {"instance": "x", "records": 1, "last": 1}),
        ("recovery", {"instance": 7, "records": 1, "last": 1}),
        ("recovery", {"instance": B, "records": 1}),
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


def recovered(last: int, *, records: int = 0, chain: bool = True) -> list[Stamped]:
    """What an instance ships that took the spool of A."""
    stamper = Stamper(B, chain=chain)
    words = [stamper.event("recovery", instance=A, records=records, last=last)]
    return [*words, stamper.end()] if chain else words


def test_another_instance_vouches_for_one_that_died() -> None:
    """It knows the last number, and all up to it are there."""
    dead = shipped(10)[0][:7]
    assert found([dead]) == {"unfinished": 1}
    assert found([dead + recovered(7)]) == {}
    assert found([recovered(7) + dead]) == {}


def test_what_the_dead_one_gave_and_is_not_there_was_lost() -> None:
    """The tail of a stream can be checked, though nothing comes behind it."""
    dead = shipped(10)[0][:7]
    assert found([dead + recovered(9)]) == {"removed": 2}
    assert found([recovered(9)]) == {"removed": 9}


def test_a_recovery_that_knows_less_is_no_last_word() -> None:
    """The dead one sent more than was on its disk: what came behind can't be told."""
    dead = shipped(10)[0][:7]
    assert found([dead + recovered(6)]) == {"unfinished": 1}


def test_a_recovery_without_a_digest_vouches_for_nobody() -> None:
    """Anybody could write it."""
    dead = shipped(10)[0][:7]
    assert found([dead + recovered(7, chain=False)]) == {"unfinished": 1}


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


# -- a wrong key -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("made", "used"), [(b"s", b"t"), (b"s", None), (None, b"s")])
def test_a_wrong_key_is_told_from_damage(made: bytes | None, used: bytes | None) -> None:
    """Not one digest matches."""
    verdict = audited(shipped(10, stamper=Stamper(secret=made)), secret=used)
    assert verdict.wrong_key
    assert verdict.counts() == {"altered": 12}


def test_one_instance_with_another_key() -> None:
    """The others say that the key is right."""
    records = shipped(5)[0] + shipped(5, stamper=Stamper(B, secret=b"s"))[0]
    verdict = audited([records])
    assert not verdict.wrong_key
    assert [stream.wrong_key for stream in verdict.streams] == [False, True]


# -- a topic that begins late, programs that still run ---------------------------------------------


def test_what_the_topic_no_longer_holds_has_expired() -> None:
    """What is missing below where the topic begins is no loss; what is missing above it is."""
    (records,) = shipped(20)
    late = Window(begins_late=[0])
    assert found([records[5:]], window=late) == {"expired": 5}
    assert found([records[5:]]) == {"removed": 5}
    assert found([without(records, *range(5), 9)], window=late) == {"expired": 5, "removed": 1}


def test_where_a_partition_begins_is_its_lowest_number() -> None:
    """Though it may not be the first one."""
    records = swap(shipped(20)[0][5:], 0, 3)
    assert found([without(records, 1)], window=Window(begins_late=[0])) == {
        "expired": 5,
        "removed": 1,
        "swapped": 2,
    }


def test_partitions_begin_late_each_on_its_own() -> None:
    """The numbers in between may have been in the one that begins later."""
    one, other = shipped(20, partitions=2)
    late = Window(begins_late=[0, 1])
    assert found([one[2:], other[5:]], window=late) == {"expired": 7}
    # Number 9 was in partition 0, which goes on; 2, 4 ... 10 were in the other, which begins late.
    assert found([without(one, 4), other[5:]], window=late) == {"expired": 6}
    assert found([without(one, 7), other[5:]], window=late) == {"expired": 5, "removed": 1}
    assert found([one[2:], other], window=Window(begins_late=[0])) == {"expired": 2}


def test_a_partition_that_has_nothing_of_a_stream_any_more() -> None:
    """Of one that is older than what the partition still has all may have been there."""
    _, other = shipped(20, partitions=2)
    old = Stamper(B).stamp(b"")
    late = Window(begins_late=[0])
    # Offsets are times here: number 2 of the stream is as old as the oldest in partition 0.
    assert found([[old], other[:7]], window=late) == {"expired": 7, "unfinished": 1}
    assert found([[], other[:7]], window=late) == {"expired": 7}


def test_a_last_word_may_have_expired() -> None:
    """It may have been in the partition that has nothing of the stream any more."""
    records = shipped(20)[0][:-1]
    assert found([[], records], window=Window(begins_late=[0])) == {"expired": 1}
    assert found([[], records]) == {"unfinished": 1}


def test_a_stream_younger_than_where_the_topic_begins_has_lost_what_is_missing() -> None:
    """But for what is below its own first number, of which nobody knows how old it was."""
    records = shipped(20)[0]
    filler = [Stamper(B, chain=False).stamp(b"")] * 30
    partitions = [filler[:1], [*filler, *without(records[3:], 4)]]
    assert audited(partitions, window=Window(begins_late=[0])).streams[0].findings.keys() == {
        *("removed", "expired")
    }


def test_what_may_be_on_its_way_is_pending() -> None:
    """While programs run there is no last word, and a number may be missing in one partition."""
    one, other = shipped(20, partitions=2)
    running = Window(running=True)
    assert found([one[:5], other[:7]], window=running) == {"pending": 2}
    assert found([one[:5], other[:7]]) == {"removed": 2, "unfinished": 1}
    assert found([without(one, 2)[:5], other[:7]], window=running) == {"pending": 1, "removed": 1}


def test_who_has_said_the_last_word_does_not_run() -> None:
    """Nothing of it is on its way any more."""
    one, other = shipped(20, partitions=2)
    assert found([one[:5], other], window=Window(running=True)) == {"removed": 6}
