"""Numbers that may be missing because a topic was not read whole: no excuse covers any others."""

from __future__ import annotations

import pytest

from kiel_logging.proof.instances import new_instance
from kiel_logging.verify.window import Part, Retention, Window
from tests.support.stamper import Stamped, Stamper
from tests.verify.topic import Partitions, audited, found, shipped

SECRET = b"a secret of sixteen"
HOUR = 3_600_000
DAY = 24 * HOUR
NOW = 1_000 * DAY
WEEK = Retention(7 * DAY)
LONG_AGO, LATELY = NOW - 30 * DAY, NOW - DAY
B = "b" * 32


def stamper(began: int = LONG_AGO, topic: str = "t") -> Stamper:
    """An instance that began at some time, and has a key."""
    return Stamper(new_instance(began, bytes(10)), secret=SECRET, topic=topic)


def late(*fronts: int, retention: Retention | None = WEEK) -> Window:
    """A topic whose partitions begin so many offsets late."""
    parts = {partition: Part(front) for partition, front in enumerate(fronts)}
    return Window(partitions=len(fronts), parts=parts, retention=retention, now=NOW)


def told(
    partitions: Partitions, window: Window, *, began: int = LONG_AGO, fails: bool
) -> dict[str, int]:
    """The findings in partitions with records from ``began`` on, and whether they are failures."""
    verdict = audited(partitions, secret=SECRET, window=window, began=began)
    assert bool(verdict.failures(strict=False)) is fails
    return dict(verdict.counts())


# -- retention: the front of a partition -----------------------------------------------------------


def test_records_that_the_topic_keeps_no_longer_have_expired() -> None:
    """They are no failure, not even with --strict: the topic is as it is meant to be."""
    (records,) = shipped(20, stamper=stamper())
    assert told([records[5:]], late(5), fails=False) == {"expired": 5}
    assert (
        audited([records[5:]], secret=SECRET, window=late(5), began=LONG_AGO).failures(strict=True)
        == ()
    )
    assert told([records[5:]], late(0), fails=True) == {"removed": 5}


def test_records_that_are_gone_though_the_topic_still_keeps_them_were_purged() -> None:
    """The stream itself began within the retention: its front was deleted by hand."""
    (records,) = shipped(20, stamper=stamper(LATELY))
    assert told([records[5:]], late(5), began=LATELY, fails=True) == {"purged": 5}


def test_nothing_expires_where_records_are_kept_for_ever() -> None:
    """Whatever its age."""
    (records,) = shipped(20, stamper=stamper())
    assert told([records[5:]], late(5, retention=Retention(None)), fails=True) == {"purged": 5}


@pytest.mark.parametrize("retention", [None, Retention(7 * DAY, by_size=True)])
def test_where_age_says_nothing_the_front_is_undated(retention: Retention | None) -> None:
    """A topic that is bounded by size, or whose retention this user may not see: a doubt."""
    (records,) = shipped(20, stamper=stamper(LATELY))
    window = late(5, retention=retention)
    assert told([records[5:]], window, began=LATELY, fails=False) == {"undated": 5}
    verdict = audited([records[5:]], secret=SECRET, window=window, began=LATELY)
    assert verdict.failures(strict=True) == ("undated",)


def test_a_younger_record_does_not_say_how_old_the_one_before_was() -> None:
    """The stream is older than the retention, and its first record that is left is not."""
    (records,) = shipped(20, stamper=stamper())
    assert told([records[5:]], late(5), began=LATELY, fails=False) == {"undated": 5}


def test_a_younger_record_in_front_says_that_the_one_behind_it_was_purged() -> None:
    """Another partition has numbers below, which are younger than the topic keeps records."""
    one, other = shipped(20, partitions=2, stamper=stamper())
    assert told([one, other[5:]], late(0, 5), began=LATELY, fails=True) == {"purged": 5}


def test_a_partition_that_begins_late_excuses_no_more_records_than_it_had() -> None:
    """33 numbers, and one junk record that was deleted from a partition."""
    one, other = shipped(98, partitions=2, stamper=stamper())
    partitions = [one, [record for at, record in enumerate(other) if at % 3]]
    assert told([*partitions, []], late(0, 0, 1), fails=True) == {"expired": 1, "removed": 16}


def test_a_partition_excuses_only_what_is_below_its_numbers() -> None:
    """A number above the first one that is left of it was not in front of that."""
    one, other = shipped(20, partitions=2, stamper=stamper())
    # Numbers 2, 4 ... 10 were in the partition that begins late, 9 and 15 in the other.
    gone = [record for at, record in enumerate(one) if at not in (4, 7)]
    assert told([gone, other[5:]], late(0, 5), fails=True) == {"expired": 5, "removed": 2}
    assert told([gone, other[5:]], late(0, 9), fails=True) == {"expired": 6, "removed": 1}


def test_partitions_excuse_each_what_is_below_their_own_numbers() -> None:
    """The room in one of them is of no use to numbers that it can't have had."""
    one, other = shipped(20, partitions=2, stamper=stamper())
    assert told([one[2:], other[5:]], late(2, 5), fails=False) == {"expired": 7}
    assert told([one[2:], other[5:]], late(100, 2), fails=True) == {"expired": 6, "removed": 1}


def test_where_a_partition_begins_is_its_lowest_number() -> None:
    """Though it may not be the first one."""
    (records,) = shipped(20, stamper=stamper())
    left = [records[8], *records[6:8], records[5], *records[9:]]
    del left[1]
    assert told([left], late(99), fails=True) == {"expired": 5, "removed": 1, "swapped": 2}


def test_a_quiet_partition_that_retention_emptied_blinds_nothing() -> None:
    """A stream that is younger than the topic keeps records had nothing in it."""
    (records,) = shipped(20, stamper=stamper(LATELY))
    assert told([records, []], late(0, 1_000), began=LATELY, fails=False) == {}
    gone = [record for at, record in enumerate(records) if at not in (0, 7)]
    assert told([gone, []], late(0, 1_000), began=LATELY, fails=True) == {"purged": 2}


def test_an_end_that_is_missing_elsewhere_has_no_excuse() -> None:
    """Records of the stream in each partition are behind whatever expired there."""
    one, other = shipped(21, partitions=2, stamper=stamper())
    assert told([one[4:], other[2:]], late(4, 2), fails=False) == {"expired": 6}
    assert told([one[4:-1], other[2:]], late(4, 2), fails=True) == {"expired": 6, "unfinished": 1}


def test_an_end_that_would_be_younger_than_the_topic_keeps_records_has_no_excuse() -> None:
    """A partition that has nothing of the stream began late, and long ago."""
    (records,) = shipped(20, stamper=stamper())
    assert told([records[:-1], []], late(0, 9), began=LATELY, fails=True) == {"unfinished": 1}
    assert told([records[:-1], []], late(0, 9), fails=False) == {"undated": 1}


def test_a_start_that_is_missing_elsewhere_has_no_excuse() -> None:
    """Number 2 accounts for the offset in front of the other partition."""
    one, other = shipped(20, partitions=2, stamper=stamper())
    assert told([one, other[1:]], late(0, 1), fails=False) == {"expired": 1}
    assert told([one[1:], other[1:]], late(0, 1), fails=True) == {"expired": 1, "removed": 1}


# -- --since and --until ---------------------------------------------------------------------------


def since(*fronts: int, hours: int = 0) -> Window:
    """A topic of which so many offsets were left out, by their time."""
    parts = {partition: Part(front) for partition, front in enumerate(fronts)}
    return Window(partitions=len(fronts), parts=parts, since=LONG_AGO + hours * HOUR)


def until(*behind: int, hours: int = 0) -> Window:
    """A topic of which so many offsets were left out, by their time."""
    parts = {partition: Part(0, count) for partition, count in enumerate(behind)}
    return Window(partitions=len(behind), parts=parts, until=LONG_AGO + hours * HOUR)


def test_numbers_before_since_are_outside() -> None:
    """They are no doubt, for the user asked for it, and however many there were: a hole that a
    record before --since explains is no news."""
    one, other = shipped(20, partitions=2, stamper=stamper())
    assert told([one[2:], other[5:]], since(2, 5), fails=False) == {"outside": 7}
    assert told([one[2:], other[5:]], since(1, 1), fails=False) == {"outside": 7}
    gone = [*one[2:4], *one[5:]]
    assert told([gone, other], since(2, 0), fails=True) == {"outside": 2, "removed": 1}


def test_a_partition_that_since_empties_excuses_nothing_that_is_later() -> None:
    """A number behind records of long after --since was not before it."""
    (records,) = shipped(20, stamper=stamper())
    gone = [record for at, record in enumerate(records) if at != 9]
    assert told([gone, []], since(0, 100), fails=False) == {"outside": 1}
    assert told([gone, []], since(0, 100, hours=-2), fails=True) == {"removed": 1}


def test_numbers_that_until_leaves_out_are_outside() -> None:
    """Though the stream ends in what was read, as it may where clocks step."""
    one, other = shipped(20, partitions=2, stamper=stamper())
    assert told([one[:5], other], until(6, 0), fails=False) == {"outside": 6}
    middle = [*one[:2], *one[3:5]]
    assert told([middle, other], until(6, 0), fails=True) == {"outside": 6, "removed": 1}


def test_a_partition_that_until_empties_excuses_nothing_that_is_earlier() -> None:
    """A number in front of records of long before --until was not behind it."""
    (records,) = shipped(20, stamper=stamper())
    gone = [record for at, record in enumerate(records) if at != 9]
    assert told([gone, []], until(0, 100), fails=False) == {"outside": 1}
    assert told([gone, []], until(0, 100, hours=2), fails=True) == {"removed": 1}


def test_a_number_may_be_before_since_or_behind_until() -> None:
    """A partition that has nothing of the stream in between had its records on both sides."""
    (records,) = shipped(20, stamper=stamper())
    gone = [record for at, record in enumerate(records) if at != 9]
    window = Window(
        partitions=2,
        parts={1: Part(7, 7)},
        since=LONG_AGO - 2 * HOUR,
        until=LONG_AGO,
    )
    assert told([gone, []], window, fails=False) == {"outside": 1}


def test_an_end_may_be_behind_until() -> None:
    """It is expected where nothing was left out."""
    (records,) = shipped(20, stamper=stamper())
    assert told([records[:9]], Window(parts={0: Part(0, 3)}), fails=False) == {}
    assert told([records[:9]], Window(parts={0: Part(0, 0)}), fails=True) == {"unfinished": 1}


# -- programs that still write ---------------------------------------------------------------------


def running(horizon: int | None = None, partitions: int = 2) -> Window:
    """While programs write; up to ``horizon`` all had time to arrive."""
    of = stamper().instance
    return Window(
        partitions=partitions,
        running=True,
        horizon=None if horizon is None else {of: horizon},
    )


def test_no_end_is_expected_of_programs_that_write() -> None:
    """All else is."""
    one, other = shipped(20, partitions=2, stamper=stamper())
    assert told([one[:5], other[:5]], running(), fails=False) == {}


def test_what_is_newer_than_the_run_is_pending() -> None:
    """A number may be missing while a later one of another partition is there already."""
    one, other = shipped(20, partitions=2, stamper=stamper())
    assert told([one[:5], other[:7]], running(horizon=10), fails=False) == {"pending": 2}


def test_what_had_time_to_arrive_is_overdue() -> None:
    """All of one partition but the start removed, say: that is not on its way for ever."""
    one, other = shipped(20, partitions=2, stamper=stamper())
    assert told([one[:1], other[:7]], running(horizon=14), fails=True) == {"overdue": 6}
    assert told([one[:5], other[:7]], running(horizon=12), fails=True) == {
        "overdue": 1,
        "pending": 1,
    }


def test_a_number_below_others_of_every_partition_is_on_no_way() -> None:
    """Each partition has its numbers in order."""
    one, other = shipped(20, partitions=2, stamper=stamper())
    gone = [*one[:2], *one[3:5]]
    assert told([gone, other[:5]], running(horizon=10), fails=True) == {"removed": 1}
    assert told([gone, other[:5]], running(horizon=10, partitions=3), fails=True) == {"overdue": 1}


def test_an_instance_that_has_ended_does_not_run() -> None:
    """Nothing of it is on its way any more."""
    one, other = shipped(20, partitions=2, stamper=stamper())
    assert told([one[:5], other], running(horizon=22), fails=True) == {"removed": 6}


def test_streams_without_a_chain_are_excused_alike() -> None:
    """By their numbers."""
    plain = Stamper(B, chain=False)
    records: list[Stamped] = [plain.stamp(b"%d" % number) for number in range(10)]
    window = late(3)
    assert found([records[3:]], window=window, began=LONG_AGO) == {"expired": 3}
    assert found([records[4:]], window=window, began=LONG_AGO) == {"expired": 3, "missing": 1}


# -- mirrors ---------------------------------------------------------------------------------------


def test_a_mirror_may_have_another_order() -> None:
    """With another number of partitions records of several come together as they may."""
    one, other = shipped(20, partitions=2, stamper=stamper(topic="t"))
    assert told([[*other, *one]], Window(mirror=True), fails=False) == {}
    assert "swapped" in told([[*other, *one]], Window(), fails=True)


def test_what_an_open_transaction_holds_back_was_not_checked() -> None:
    """Whatever else is there: it could not be read."""
    verdict = audited(shipped(5), window=Window(unstable=3))
    assert verdict.counts()["unstable"] == 3
    assert verdict.state(strict=False).value == "unchecked"
