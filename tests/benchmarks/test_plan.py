"""A plan says which cases run, in which order; cases travel as JSON."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from benchmarks.case import Case
from benchmarks.peers import PEERS
from benchmarks.plan import FULL, MEASURES, QUICK, Plan, measures_named, rounds_of


@pytest.mark.parametrize("plan", [QUICK, FULL], ids=["quick", "full"])
def test_every_way_to_log_is_measured_in_every_round(plan: Plan) -> None:
    """Whatever is measured but growth and outages, which look at some."""
    for measure, _, cases in rounds_of(plan):
        if measure not in ("growth", "outage"):
            assert Counter(each.peer for each in cases) == Counter(list(PEERS))


def test_a_few_ways_to_log_at_a_time_share_an_outage() -> None:
    """Each is in one; all of them together would want more processors than there are."""
    outages = [cases for _, _, cases in rounds_of(replace(FULL, measures=["outage"]))]
    assert sorted(case.peer for cases in outages for case in cases) == sorted(PEERS)
    assert {len(cases) for cases in outages} == {3}


def test_each_round_begins_with_another_way_to_log() -> None:
    """So that none always runs first, on a cold machine, or last, on a hot one."""
    firsts = [cases[0].peer for _, _, cases in rounds_of(replace(FULL, measures=["throughput"]))]
    assert len(firsts) == FULL.rounds
    assert len(set(firsts)) == FULL.rounds


def test_growth_changes_one_thing_at_a_time() -> None:
    """Everything else is as in every other case."""
    ((_, _, cases),) = rounds_of(replace(FULL, measures=["growth"], growth_rounds=1))
    usual = Case(measure="growth", peer="", records=0)
    for case in cases:
        assert getattr(case, case.aspect) == case.at
        changed = {case.aspect: getattr(usual, case.aspect)}
        plain = {"peer": "", "aspect": "", "at": 0, "records": 0}
        assert replace(case, **{**changed, **plain}) == usual


def test_the_full_plan_grows_as_far_as_is_asked_for() -> None:
    """Threads, partitions, topics, sizes of records and extras."""
    assert {name: tuple(sizes) for name, sizes in FULL.growth.items()} == {
        "threads": (1, 2, 4, 8, 32),
        "partitions": (1, 10, 100, 1_000),
        "topics": (1, 10, 100),
        "message_size": (100, 1_000, 10_000, 100_000),
        "extras": (0, 5, 50),
    }


@pytest.mark.parametrize(
    ("names", "measures"),
    [
        (["latency"], ["burst", "steady"]),
        (["outage", "throughput"], ["throughput", "outage"]),
        (["memory", "throughput"], ["throughput", "outage"]),
        (list(MEASURES), list(MEASURES)),
    ],
)
def test_names_stand_for_measures_in_the_order_in_which_they_run(
    names: list[str], measures: list[str]
) -> None:
    """Each once, whatever was asked for twice."""
    assert measures_named(names) == measures


@pytest.mark.parametrize(
    "case",
    [
        Case(measure="throughput", peer="ours"),
        Case(measure="growth", peer="null", aspect="topics", at=3, topics=3, topic="t", rate=7),
    ],
)
def test_a_case_is_the_same_on_the_other_side_of_a_pipe(case: Case) -> None:
    """It is all that a process is told."""
    assert Case.from_json(case.to_json()) == case


def test_several_topics_have_names_of_their_own() -> None:
    """One topic has the name itself."""
    assert Case(measure="", peer="", topic="t").topic_names == ("t",)
    assert Case(measure="", peer="", topic="t", topics=2).topic_names == ("t-0", "t-1")
