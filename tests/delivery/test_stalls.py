"""Partitions that can't be sent to now: why and since when, and how much waits for them."""

from __future__ import annotations

import pytest

from kiel_logging.delivery.accumulator import UNKNOWN
from kiel_logging.delivery.batch import memory_of
from kiel_logging.delivery.stalls import MANY, Stalls
from kiel_logging.errors import ConnectionLost, NoLeader
from kiel_logging.records import Record, TopicPartition
from kiel_logging.wire.error_codes import ErrorCode
from kiel_logging.wire.metadata import Leader
from kiel_logging.wire.produce import PartitionResult
from tests.delivery.settling import LOGS_0, LOGS_1, Parts

FORBIDDEN = PermissionError("forbidden")
CUT = ConnectionLost("cut")
MEMORY = memory_of(Record(None, b"value", (), 0))
NEW = TopicPartition("new", UNKNOWN)


class Case(Parts):
    """Two partitions, led by broker 1, and the stalls among them."""

    def __init__(self) -> None:
        super().__init__(defers=True)
        self.away: dict[int, Exception] = {}
        self.connected = True
        self.stalls = Stalls(
            self.accumulator,
            self.topology,
            self.settlement.deferrals,
            unreachable=self.away.get,
            connected=lambda: self.connected,
        )

    def why(self, where: TopicPartition) -> Exception:
        """The reason of one that is stalled."""
        return self.stalls.partitions[where].error

    def hold(self, *tokens: str) -> None:
        """Hold records of a topic that is not known."""
        for token in tokens:
            self.accumulator.hold("new", None, Record(None, b"value", (), 0), token, 0.0)


def test_a_partition_that_can_be_sent_to_is_not_stalled() -> None:
    """However much waits for it."""
    case = Case()
    case.append("a", "b")
    assert not case.stalls.update(1.0)
    assert case.stalls.partitions == {}
    assert (case.stalls.records, case.stalls.memory) == (0, 0)


def test_a_partition_without_a_leader() -> None:
    """Its waiting records are counted, and none of the other one."""
    case = Case()
    case.append("a", "b")
    case.append("c", to=LOGS_1)
    case.topology.forget_leader(LOGS_0)
    assert case.stalls.update(1.0)
    assert (case.stalls.records, case.stalls.memory) == (2, 2 * MEMORY)
    assert list(case.stalls.partitions) == [LOGS_0]
    assert isinstance(case.why(LOGS_0), NoLeader)


def test_a_partition_whose_leader_is_away() -> None:
    """The reason is why its broker can't be reached."""
    case = Case()
    case.append("a")
    case.away[1] = CUT
    case.stalls.update(1.0)
    assert case.why(LOGS_0) is CUT


def test_all_partitions_of_a_deferred_topic() -> None:
    """Until one batch may be tried; the others are stalled while that is in flight."""
    case = Case()
    case.append("a")
    case.append("b", to=LOGS_1)
    case.settlement.defer("logs", FORBIDDEN, 0.0)
    case.stalls.update(1.0)
    assert case.why(LOGS_0) is case.why(LOGS_1) is FORBIDDEN
    case.send(now=10.0)
    case.stalls.update(10.0)
    assert case.stalls.partitions[LOGS_1].records == case.stalls.records == 1


def test_records_of_an_unknown_topic() -> None:
    """They wait for no partition that is known."""
    case = Case()
    case.hold("a", "b")
    case.stalls.update(1.0)
    assert (case.stalls.records, case.stalls.memory) == (2, 2 * MEMORY)
    assert isinstance(case.why(NEW), NoLeader)
    assert "topic 'new'" in str(case.why(NEW))


def come_back(case: Case, times: int) -> None:
    """Let the first batch of `logs[0]` come back so often."""
    case.append("a")
    for number in range(times):
        batch = case.send(now=10.0 * number)
        answer = PartitionResult(error=ErrorCode.not_enough_replicas, base_offset=-1)
        case.settlement.answered(batch, answer, 0.0)


def test_a_batch_that_came_back_many_times() -> None:
    """Once or twice is no reason; the reason is its last error."""
    case = Case()
    come_back(case, MANY - 1)
    case.stalls.update(1.0)
    assert case.stalls.partitions == {}
    batch = case.send(now=60.0)
    answer = PartitionResult(error=ErrorCode.not_enough_replicas, base_offset=-1)
    case.settlement.answered(batch, answer, 60.0)
    case.stalls.update(60.0)
    assert "NOT_ENOUGH_REPLICAS" in str(case.why(LOGS_0))


def test_another_attempt_does_not_begin_the_stall_anew() -> None:
    """It lasts until the attempt succeeds."""
    case = Case()
    come_back(case, MANY)
    case.stalls.update(1.0)
    batch = case.send(now=60.0)
    case.stalls.update(60.0)
    assert case.stalls.partitions[LOGS_0].since == 1.0
    assert case.stalls.records == 0  # those in flight don't wait
    case.settlement.answered(batch, PartitionResult(error=ErrorCode.none, base_offset=0), 60.0)
    case.stalls.update(60.0)
    assert case.stalls.partitions == {}


def test_since_when_it_is_stalled() -> None:
    """Whatever the reasons are, one after the other; then from the beginning."""
    case = Case()
    case.append("a")
    case.topology.forget_leader(LOGS_0)
    case.stalls.update(1.0)
    case.topology.learn_leader(LOGS_0, Leader(1, 6))
    case.away[1] = CUT
    case.stalls.update(2.0)
    assert case.stalls.partitions[LOGS_0].since == 1.0
    case.away.clear()
    case.stalls.update(3.0)
    case.away[1] = CUT
    case.stalls.update(4.0)
    assert case.stalls.partitions[LOGS_0].since == 4.0


def test_no_partition_is_better_off_while_no_broker_is_connected() -> None:
    """Nothing is counted then, but it is known which are stalled."""
    case = Case()
    case.append("a")
    case.away[1] = CUT
    case.connected = False
    case.stalls.update(1.0)
    assert (case.stalls.records, case.stalls.memory) == (0, 0)
    assert list(case.stalls.partitions) == [LOGS_0]
    case.connected = True
    assert case.stalls.update(2.0)
    assert case.stalls.records == 1


def test_the_owner_need_not_look_again_when_nothing_changed() -> None:
    """It has to when more waits, and when a partition can be sent to again."""
    case = Case()
    case.append("a")
    case.topology.forget_leader(LOGS_0)
    assert case.stalls.update(1.0)
    assert not case.stalls.update(2.0)
    case.append("b")
    assert case.stalls.update(3.0)
    case.topology.learn_leader(LOGS_0, Leader(1, 6))
    assert case.stalls.update(4.0)


def test_a_watched_partition_is_stalled_though_nothing_waits() -> None:
    """Until it can be sent to."""
    case = Case()
    case.topology.forget_leader(LOGS_0)
    case.stalls.watched |= {LOGS_0, LOGS_1}
    case.stalls.update(1.0)
    assert list(case.stalls.partitions) == [LOGS_0]
    case.topology.learn_leader(LOGS_0, Leader(1, 6))
    assert case.stalls.update(2.0)
    assert case.stalls.partitions == {}
    assert case.stalls.watched == set()


@pytest.mark.parametrize("where", [TopicPartition("logs", 2), TopicPartition("logs", UNKNOWN)])
def test_a_partition_that_is_gone_is_not_stalled(where: TopicPartition) -> None:
    """Nothing will ever be sent to it: its records go elsewhere."""
    case = Case()
    case.stalls.watched.add(where)
    case.stalls.update(1.0)
    assert case.stalls.partitions == {}


@pytest.mark.parametrize("sealed", [True, False])
def test_what_comes_later_is_counted_at_once(sealed: bool) -> None:
    """Though it may not be due yet."""
    case = Case()
    case.append("a")
    case.topology.forget_leader(LOGS_0)
    case.stalls.update(1.0)
    case.accumulator.append(LOGS_0, Record(None, b"value", (), 0), "b", 1.0)
    if sealed:
        case.accumulator.seal()
    case.stalls.update(2.0)
    assert case.stalls.records == 2
