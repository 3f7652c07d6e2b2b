"""The cluster as it is known from answers of brokers, which may be older than what is known."""

from __future__ import annotations

import uuid

import pytest

from kiel_logging.delivery.topology import Topology
from kiel_logging.records import TopicPartition
from kiel_logging.wire.error_codes import ErrorCode
from kiel_logging.wire.metadata import MOST_BROKERS, NO_LEADER, Broker, Leader, Metadata, Topic

LOGS_0, LOGS_1, LOGS_2 = (TopicPartition("logs", partition) for partition in range(3))
BROKERS = {node: Broker(node, f"kafka-{node}", 9092) for node in (1, 2, 3)}
FIRST_ID, SECOND_ID = uuid.UUID(int=1), uuid.UUID(int=2)
UNKNOWN = ErrorCode.unknown_topic_or_partition


def topic(
    *leaders: tuple[int, int],
    name: str = "logs",
    error: ErrorCode = ErrorCode.none,
    topic_id: uuid.UUID | None = FIRST_ID,
) -> Topic:
    """A topic whose partitions, from 0 on, have these leaders: (node id, epoch)."""
    return Topic(
        name=name,
        error=error,
        topic_id=topic_id,
        leaders={number: Leader(*leader) for number, leader in enumerate(leaders)},
    )


def answer(*topics: Topic, brokers: dict[int, Broker] = BROKERS) -> Metadata:
    """A broker's answer."""
    return Metadata(brokers=brokers, topics={one.name: one for one in topics})


def knowing(*topics: Topic) -> Topology:
    """A topology after one answer at 0."""
    topology = Topology()
    topology.update(answer(*topics), 0.0)
    return topology


# -- nothing is known ------------------------------------------------------------------------------


# -- answers are merged ----------------------------------------------------------------------------


def test_an_answer_is_taken_in() -> None:
    """Brokers, partitions in order, leaders and the id. Leader -1, or one that is no known broker,
    is none. Topics that were not asked for stay, and so do leaders when partitions are added."""
    topology = Topology()
    topology.forget_leader(LOGS_0)
    topology.forget_topic("logs")
    assert (topology.brokers, topology.missing) == ({}, {})
    assert topology.partitions("logs") is topology.leader(LOGS_0) is topology.topic_id("logs")
    assert topology.leader(LOGS_0) is None
    leaders = {2: Leader(7, 0), 0: Leader(1, 0), 1: Leader(NO_LEADER, 3)}
    topology.update(answer(Topic("logs", ErrorCode.none, leaders, FIRST_ID)), 0.0)
    topology.update(answer(topic((2, 0), name="audit")), 1.0)
    assert topology.brokers == BROKERS
    assert topology.partitions("logs") == [0, 1, 2]
    assert [topology.leader(one) for one in (LOGS_0, LOGS_1, LOGS_2)] == [1, None, None]
    assert topology.topic_id("logs") == FIRST_ID
    assert topology.leader(TopicPartition("audit", 0)) == 2
    topology.update(answer(topic((1, 0), (3, 4), (2, 1), (2, 0))), 2.0)
    assert topology.partitions("logs") == [0, 1, 2, 3]
    assert [topology.leader(one) for one in (LOGS_0, LOGS_1, LOGS_2)] == [1, 3, 2]
    assert topology.remade == set(), "added partitions are for what comes later, as in Java"


def test_brokers_are_replaced() -> None:
    """One that is gone leads nothing that could be asked."""
    topology = knowing(topic((1, 0), (2, 0)))
    topology.update(answer(brokers={2: BROKERS[2]}), 1.0)
    assert topology.brokers == {2: BROKERS[2]}
    assert [topology.leader(LOGS_0), topology.leader(LOGS_1)] == [None, 2]


def test_an_answer_without_brokers_takes_none_away() -> None:
    """A broker that has just started may know no other."""
    topology = knowing(topic((1, 0)))
    topology.update(answer(brokers={}), 1.0)
    assert topology.brokers == BROKERS


# -- leaders and epochs ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "said", "expected"),
    [((1, 5), (2, 6), 2), ((1, 5), (2, 5), 2), ((1, 5), (2, 4), 1), ((1, 0), (2, -1), 1)],
    ids=["later", "same", "earlier", "without an epoch"],
)
def test_a_later_election_wins(
    known: tuple[int, int], said: tuple[int, int], expected: int
) -> None:
    """A broker that lags behind doesn't turn time back, in metadata or in a hint. A leader that was
    forgotten may lead again, or be replaced by an older one: a topic made again counts its
    elections anew, and may have no id to show it (KAFKA-12257)."""
    for learn in (
        lambda topology: topology.update(answer(topic(said)), 1.0),
        lambda topology: topology.learn_leader(LOGS_0, Leader(*said)),
    ):
        topology = knowing(topic(known, known))
        learn(topology)
        assert topology.leader(LOGS_0) == expected
        topology.forget_leader(LOGS_0)
        assert [topology.leader(LOGS_0), topology.partitions("logs")] == [None, [0, 1]]
        learn(topology)
        assert topology.leader(LOGS_0) == said[0]


def test_a_hint_is_taken_like_an_answer() -> None:
    """With its epoch, and the broker that came with it (KIP-951)."""
    topology = knowing(topic((1, 5)))
    topology.learn_brokers([Broker(9, "kafka-9", 9099)])
    topology.learn_leader(LOGS_0, Leader(9, 6))
    assert topology.leader(LOGS_0) == 9
    assert topology.brokers == {**BROKERS, 9: Broker(9, "kafka-9", 9099)}


def test_hints_name_no_more_brokers_than_a_cluster_can_have() -> None:
    """Each answer may bring others; those that are known stay."""
    topology = knowing(topic((1, 5)))
    for n in range(0, 3 * MOST_BROKERS, 100):
        topology.learn_brokers([Broker(m, "kafka", 9092) for m in range(n, n + 100)])
    assert len(topology.brokers) == MOST_BROKERS
    assert set(BROKERS) <= set(topology.brokers)


# -- partitions that have a leader -----------------------------------------------------------------


def test_available_are_the_partitions_with_a_leader() -> None:
    """A free choice is better made among those."""
    topology = knowing(topic((1, 0), (NO_LEADER, 0), (3, 0)))
    assert topology.available_partitions("logs") == [0, 2]
    topology.forget_leader(LOGS_0)
    assert topology.available_partitions("logs") == [2]
    topology.learn_leader(LOGS_1, Leader(2, 1))
    assert topology.available_partitions("logs") == [1, 2]
    for where in (LOGS_1, LOGS_2):
        topology.forget_leader(where)
    assert topology.available_partitions("logs") == [0, 1, 2], "records have to wait somewhere"


@pytest.mark.parametrize(
    ("partition", "expected"), [(0, 0), (1, 1), (2, None), (-1, None), ("0", None), (True, None)]
)
def test_which_partitions_there_are(partition: object, expected: int | None) -> None:
    """With or without a leader; a partitioner may return anything."""
    topology = knowing(topic((1, 0), (NO_LEADER, 0)))
    assert topology.find("logs", partition) == expected
    assert topology.find("audit", partition) is None


# -- topics that are made again --------------------------------------------------------------------


def test_a_topic_that_was_forgotten_comes_back_as_another() -> None:
    """Also where brokers have no ids."""
    topology = knowing(topic((1, 9), topic_id=None))
    topology.forget_topic("logs")
    assert topology.partitions("logs") is None
    assert topology.leader(LOGS_0) is None
    topology.update(answer(topic((2, 0), topic_id=None)), 1.0)
    assert topology.leader(LOGS_0) == 2


# -- topics that are missing -----------------------------------------------------------------------


def test_a_missing_topic_is_missing_since_the_first_answer() -> None:
    """With the error of the last one."""
    topology = Topology()
    topology.update(answer(topic(error=UNKNOWN)), 3.0)
    topology.update(answer(topic(error=ErrorCode.leader_not_available)), 5.0)
    assert "logs" in topology.missing
    assert list(topology.missing) == ["logs"]
    assert topology.missing["logs"] == (ErrorCode.leader_not_available, 3.0)
    topology.update(answer(topic((1, 0))), 6.0)
    assert "logs" not in topology.missing, "it came into being"
    topology.update(answer(topic(error=UNKNOWN)), 9.0)
    assert topology.missing["logs"] == (UNKNOWN, 9.0)
    topology.forget_topic("logs")
    assert topology.missing == {}


def test_a_missing_topic_keeps_its_partitions() -> None:
    """One broker may not have heard of it yet."""
    topology = knowing(topic((1, 0), (2, 0)))
    topology.update(answer(topic(error=UNKNOWN)), 1.0)
    assert topology.partitions("logs") == [0, 1]
    assert "logs" in topology.missing


# -- partitions that are gone ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("again", "leaders", "remade"),
    [([(3, 0)], [3, None, None], {"logs"}), ([(3, 0), (1, 0), (2, 0)], [3, 1, 2], set())],
    ids=["with fewer partitions", "as it was"],
)
def test_a_topic_of_another_id_has_only_the_partitions_and_epochs_that_are_listed(
    again: list[tuple[int, int]], leaders: list[int | None], remade: set[str]
) -> None:
    """It was deleted and made again: nothing of the first is true of the second (KIP-516)."""
    topology = knowing(topic((1, 9), (2, 9), (3, 9)))
    topology.update(answer(topic(*again, topic_id=SECOND_ID)), 1.0)
    assert topology.topic_id("logs") == SECOND_ID
    assert topology.partitions("logs") == list(range(len(again)))
    assert [topology.leader(one) for one in (LOGS_0, LOGS_1, LOGS_2)] == leaders
    assert topology.has(LOGS_2) == (len(again) == 3)
    assert topology.find("logs", 2) == (2 if len(again) == 3 else None)
    assert topology.remade == remade


def test_an_answer_with_fewer_partitions_of_the_same_id_is_an_old_one() -> None:
    """A topic never loses partitions: its broker has not heard of the new ones yet."""
    topology = knowing(topic((1, 0), (2, 0)))
    topology.update(answer(topic((1, 0))), 1.0)
    assert topology.has(LOGS_1)
    assert topology.partitions("logs") == [0, 1]
    topology.update(answer(topic((1, 0), topic_id=SECOND_ID)), 2.0)
    assert topology.partitions("logs") == [0]
    assert not topology.has(LOGS_1)


def test_without_ids_a_partition_is_gone_when_no_broker_leads_it_any_more() -> None:
    """And it is not listed; a broker was asked about it meanwhile."""
    topology = knowing(topic((1, 0), (2, 0), topic_id=None))
    topology.update(answer(topic((1, 0), topic_id=None)), 1.0)
    assert topology.has(LOGS_1)
    topology.forget_leader(LOGS_1)
    topology.update(answer(topic((1, 0), topic_id=None)), 2.0)
    assert not topology.has(LOGS_1)
    assert topology.remade == {"logs"}


def test_without_ids_a_partition_between_two_leaders_is_not_gone() -> None:
    """It is listed, without a leader."""
    topology = knowing(topic((1, 0), (2, 0), topic_id=None))
    topology.forget_leader(LOGS_1)
    topology.update(answer(topic((1, 0), (NO_LEADER, 0), topic_id=None)), 1.0)
    assert topology.has(LOGS_1)
