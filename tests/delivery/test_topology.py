"""What is known of the cluster, from answers of brokers that may be older than it."""

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
    """What a broker says."""
    return Metadata(brokers=brokers, topics={one.name: one for one in topics})


def knowing(*topics: Topic) -> Topology:
    """A topology after one answer at 0."""
    topology = Topology()
    topology.update(answer(*topics), 0.0)
    return topology


# -- nothing is known ------------------------------------------------------------------------------


def test_in_the_beginning_nothing_is_known() -> None:
    """No broker, no partition, no leader; nothing is missing either."""
    topology = Topology()
    assert topology.brokers == {}
    assert topology.partitions("logs") is None
    assert topology.leader(LOGS_0) is None
    assert topology.topic_id("logs") is None
    assert topology.missing_topics() == []


# -- answers are merged ----------------------------------------------------------------------------


def test_an_answer_is_taken_in() -> None:
    """Brokers, partitions in order, leaders and the id."""
    topology = knowing(topic((1, 0), (2, 0), (3, 0)))
    assert topology.brokers == BROKERS
    assert topology.partitions("logs") == [0, 1, 2]
    assert [topology.leader(one) for one in (LOGS_0, LOGS_1, LOGS_2)] == [1, 2, 3]
    assert topology.topic_id("logs") == FIRST_ID


def test_partitions_are_in_order_whatever_the_answer_s() -> None:
    """Partitioners depend on it."""
    unordered = Topic(
        name="logs",
        error=ErrorCode.none,
        leaders={2: Leader(1, 0), 0: Leader(1, 0), 1: Leader(1, 0)},
    )
    assert knowing(unordered).partitions("logs") == [0, 1, 2]


def test_topics_that_were_not_asked_for_stay() -> None:
    """An answer is about what was asked."""
    topology = knowing(topic((1, 0)))
    topology.update(answer(topic((2, 0), name="audit")), 1.0)
    assert topology.leader(LOGS_0) == 1
    assert topology.leader(TopicPartition("audit", 0)) == 2


def test_partitions_that_were_added_are_there() -> None:
    """And those that were known keep their leaders."""
    topology = knowing(topic((1, 0)))
    topology.update(answer(topic((1, 0), (2, 0))), 1.0)
    assert topology.partitions("logs") == [0, 1]
    assert topology.leader(LOGS_1) == 2


def test_brokers_are_replaced() -> None:
    """One that is gone leads nothing that could be asked."""
    topology = knowing(topic((1, 0), (2, 0)))
    topology.update(answer(brokers={2: BROKERS[2]}), 1.0)
    assert topology.brokers == {2: BROKERS[2]}
    assert [topology.leader(LOGS_0), topology.leader(LOGS_1)] == [None, 2]


def test_an_answer_without_brokers_takes_none_away() -> None:
    """A broker that has just started may know of nobody."""
    topology = knowing(topic((1, 0)))
    topology.update(answer(brokers={}), 1.0)
    assert topology.brokers == BROKERS


# -- leaders and epochs ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "told", "expected"),
    [((1, 5), (2, 6), 2), ((1, 5), (2, 5), 2), ((1, 5), (2, 4), 1), ((1, 0), (2, -1), 1)],
    ids=["later", "same", "earlier", "without an epoch"],
)
def test_a_later_election_wins(
    known: tuple[int, int], told: tuple[int, int], expected: int
) -> None:
    """A broker that lags behind doesn't turn time back."""
    topology = knowing(topic(known))
    topology.update(answer(topic(told)), 1.0)
    assert topology.leader(LOGS_0) == expected


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


def test_a_late_hint_is_not_taken() -> None:
    """The answer that was asked for meanwhile knew more."""
    topology = knowing(topic((1, 7)))
    topology.learn_leader(LOGS_0, Leader(2, 6))
    assert topology.leader(LOGS_0) == 1


def test_a_leader_that_is_no_known_broker_is_none() -> None:
    """There is no way to it."""
    assert knowing(topic((7, 0))).leader(LOGS_0) is None


def test_no_leader_is_none() -> None:
    """As brokers write it: -1."""
    assert knowing(topic((NO_LEADER, 3))).leader(LOGS_0) is None


def test_a_forgotten_leader() -> None:
    """It is none until somebody tells, and the partition is still there."""
    topology = knowing(topic((1, 5), (2, 5)))
    topology.forget_leader(LOGS_0)
    assert [topology.leader(LOGS_0), topology.leader(LOGS_1)] == [None, 2]
    assert topology.partitions("logs") == [0, 1]


def test_a_forgotten_leader_may_lead_again() -> None:
    """The same broker in the same epoch: it was only away for a moment."""
    topology = knowing(topic((1, 5)))
    topology.forget_leader(LOGS_0)
    topology.update(answer(topic((1, 5))), 1.0)
    assert topology.leader(LOGS_0) == 1


def test_a_forgotten_leader_may_be_replaced_by_an_older_one() -> None:
    """A topic made again counts its elections anew, and may have no id to tell (KAFKA-12257)."""
    topology = knowing(topic((1, 5)))
    topology.forget_leader(LOGS_0)
    topology.update(answer(topic((2, 4))), 1.0)
    assert topology.leader(LOGS_0) == 2


def test_forgetting_what_is_not_known_is_nothing() -> None:
    """It may come at any time."""
    topology = Topology()
    topology.forget_leader(LOGS_0)
    topology.forget_topic("logs")
    assert topology.leader(LOGS_0) is None


# -- partitions that have a leader -----------------------------------------------------------------


def test_available_are_the_partitions_with_a_leader() -> None:
    """A free choice is better made among those."""
    topology = knowing(topic((1, 0), (NO_LEADER, 0), (3, 0)))
    assert topology.available_partitions("logs") == [0, 2]
    topology.forget_leader(LOGS_0)
    assert topology.available_partitions("logs") == [2]
    topology.learn_leader(LOGS_1, Leader(2, 1))
    assert topology.available_partitions("logs") == [1, 2]


def test_all_are_available_where_none_is() -> None:
    """Records have to wait somewhere."""
    topology = knowing(topic((NO_LEADER, 0), (NO_LEADER, 0)))
    assert topology.available_partitions("logs") == [0, 1]


@pytest.mark.parametrize(
    ("partition", "expected"), [(0, 0), (1, 1), (2, None), (-1, None), ("0", None), (True, None)]
)
def test_which_partitions_there_are(partition: object, expected: int | None) -> None:
    """With or without a leader; a partitioner may return anything."""
    topology = knowing(topic((1, 0), (NO_LEADER, 0)))
    assert topology.find("logs", partition) == expected
    assert topology.find("audit", partition) is None


# -- topics that are made again --------------------------------------------------------------------


def test_a_topic_made_again_starts_with_new_epochs() -> None:
    """Another id: what was known of the first says nothing of the second (KIP-516)."""
    topology = knowing(topic((1, 9), (1, 9)))
    topology.update(answer(topic((2, 0), topic_id=SECOND_ID)), 1.0)
    assert topology.topic_id("logs") == SECOND_ID
    assert topology.partitions("logs") == [0]
    assert topology.leader(LOGS_0) == 2
    assert topology.leader(LOGS_1) is None
    assert topology.find("logs", 1) is None


def test_a_topic_that_was_forgotten_comes_back_as_another() -> None:
    """Also where brokers have no ids."""
    topology = knowing(topic((1, 9), topic_id=None))
    topology.forget_topic("logs")
    assert topology.partitions("logs") is None
    assert topology.leader(LOGS_0) is None
    topology.update(answer(topic((2, 0), topic_id=None)), 1.0)
    assert topology.leader(LOGS_0) == 2


# -- topics that are missing -----------------------------------------------------------------------


def test_a_missing_topic_is_missing_since_it_was_first_told() -> None:
    """With what was told last."""
    topology = Topology()
    topology.update(answer(topic(error=UNKNOWN)), 3.0)
    topology.update(answer(topic(error=ErrorCode.leader_not_available)), 5.0)
    assert topology.is_missing("logs")
    assert topology.missing_topics() == ["logs"]
    assert topology.missing("logs") == (ErrorCode.leader_not_available, 3.0)


def test_a_topic_that_came_into_being_is_not_missing() -> None:
    """And should it go again, it is missing from then on."""
    topology = Topology()
    topology.update(answer(topic(error=UNKNOWN)), 3.0)
    topology.update(answer(topic((1, 0))), 4.0)
    assert not topology.is_missing("logs")
    topology.update(answer(topic(error=UNKNOWN)), 9.0)
    assert topology.missing("logs") == (UNKNOWN, 9.0)


def test_a_missing_topic_keeps_its_partitions() -> None:
    """One broker's word is not enough: it may not have heard of it yet."""
    topology = knowing(topic((1, 0), (2, 0)))
    topology.update(answer(topic(error=UNKNOWN)), 1.0)
    assert topology.partitions("logs") == [0, 1]
    assert topology.is_missing("logs")


def test_other_topics_are_not_missing() -> None:
    """Of what was not asked nothing is said."""
    topology = knowing(topic((1, 0)), topic(name="audit", error=UNKNOWN))
    assert topology.missing_topics() == ["audit"]
    assert not topology.is_missing("never heard of")


def test_a_forgotten_topic_is_not_missing() -> None:
    """Nothing is known of it, not even that."""
    topology = knowing(topic(error=UNKNOWN))
    topology.forget_topic("logs")
    assert topology.missing_topics() == []


def test_repr_tells_what_is_known() -> None:
    """Node ids and names."""
    topology = knowing(topic((1, 0)), topic((1, 0), name="audit"))
    assert repr(topology) == "<Topology brokers=[1, 2, 3] topics=['audit', 'logs']>"


# -- partitions that are gone ----------------------------------------------------------------------


def test_a_topic_of_another_id_has_only_the_partitions_that_are_listed() -> None:
    """It was deleted and made again, with fewer of them."""
    topology = knowing(topic((1, 0), (2, 0), (3, 0)))
    topology.update(answer(topic((1, 0), topic_id=SECOND_ID)), 1.0)
    assert [topology.has(one) for one in (LOGS_0, LOGS_1, LOGS_2)] == [True, False, False]
    assert topology.remade == {"logs"}


def test_a_topic_that_is_made_again_as_it_was() -> None:
    """What is queued for its partitions is right where it is."""
    topology = knowing(topic((1, 0), (2, 0)))
    topology.update(answer(topic((2, 0), (1, 0), topic_id=SECOND_ID)), 1.0)
    assert topology.remade == set()


def test_partitions_that_are_added_move_nothing() -> None:
    """They are for what comes later, as in Kafka's own clients."""
    topology = knowing(topic((1, 0)))
    topology.update(answer(topic((1, 0), (2, 0))), 1.0)
    assert topology.remade == set()


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


def test_a_forgotten_topic_has_no_partitions() -> None:
    """Nor has one that was never heard of."""
    topology = knowing(topic((1, 0)))
    topology.forget_topic("logs")
    assert not topology.has(LOGS_0)
    assert not topology.has(TopicPartition("other", 0))
