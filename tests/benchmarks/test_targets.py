"""Targets are reached, missed by so much, or not measured: never guessed."""

from __future__ import annotations

import pytest

from benchmarks.case import MIB
from benchmarks.targets import Target, targets

from .found import found, results


@pytest.mark.parametrize(
    ("measured", "limit", "at_least", "reached"),
    [
        (1.3, 1.3, True, True),
        (1.29, 1.3, True, False),
        (0.75, 0.75, False, True),
        (0.76, 0.75, False, False),
        (None, 1.0, True, None),
    ],
)
def test_a_target_is_reached_at_its_limit(
    measured: float | None, limit: float, at_least: bool, reached: bool | None
) -> None:
    """And not beyond it, in its own direction."""
    target = Target(aim="x", measured=measured, limit=limit, at_least=at_least)
    assert target.reached is reached


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (
            Target(aim="speed", measured=1.5, limit=1.3, at_least=True),
            "reached       speed: at least 1.3, is 1.50",
        ),
        (
            Target(aim="speed", measured=0.65, limit=1.3, at_least=True),
            "NOT reached   speed: at least 1.3, is 0.65: misses by 50.0%",
        ),
        (
            Target(aim="cost", measured=3.0, limit=0.75),
            "NOT reached   cost: at most 0.75, is 3.00: misses by 300.0%",
        ),
        (Target(aim="cost", measured=None, limit=0.75), "not measured  cost: at most 0.75"),
    ],
)
def test_a_target_says_by_how_much_it_is_missed(target: Target, said: str) -> None:
    """In per cent of its limit."""
    assert str(target) == said


def test_nothing_measured_is_nothing_reached() -> None:
    """An empty run has all targets, and an opinion on none."""
    every = targets(results())
    assert len(every) == 15
    assert {each.reached for each in every} == {None}


@pytest.mark.parametrize(
    ("aim", "cases", "measured"),
    [
        (
            "records/s / confluent-orjson's",
            [
                found("throughput", "ours", *({"records_per_s": each} for each in (10, 90, 30))),
                found("throughput", "confluent-orjson", {"records_per_s": 20}),
            ],
            1.5,
        ),
        (
            "CPU a record above NullHandler / what confluent-orjson adds",
            [
                found("throughput", "null", {"cpu_us": 5}),
                found("throughput", "confluent-orjson", {"cpu_us": 15}),
                found("throughput", "ours", {"cpu_us": 11}),
            ],
            0.6,
        ),
        (
            "p50 of a call, burst / NullHandler's",
            [found("burst", "null", {"p50": 4}), found("burst", "ours", {"p50": 6})],
            1.5,
        ),
        (
            "p99 of a call, steady / that of the best which ships",
            [
                found("steady", "null", {"p99": 1}),
                found("steady", "queue-handler", {"p99": 2}),
                found("steady", "aiokafka", {"p99": 40}),
                found("steady", "kafka-python", {"p99": 10}),
                found("steady", "ours", {"p99": 20}),
            ],
            2.0,
        ),
        (
            "CPU a record, 1,000 partitions / 1",
            [
                found("growth", "ours", {"cpu_us": 10}, aspect="partitions", at=1),
                found("growth", "ours", {"cpu_us": 12}, aspect="partitions", at=1_000),
            ],
            1.2,
        ),
        (
            "records/s, 32 threads / 1",
            [
                found("growth", "ours", {"records_per_s": 8}, aspect="threads", at=1),
                found("growth", "ours", {"records_per_s": 4}, aspect="threads", at=32),
            ],
            0.5,
        ),
        (
            "memory with the broker away / (buffer_memory + 32 MiB)",
            [found("outage", "ours", {"added": 48 * MIB})],
            0.75,
        ),
    ],
)
def test_a_target_compares_the_medians(aim: str, cases: list, measured: float) -> None:
    """Of those, and only those, that its words name."""
    (target,) = (each for each in targets(results(*cases)) if each.aim == aim)
    assert target.measured == pytest.approx(measured)


def test_a_way_to_log_that_does_not_run_is_no_standard() -> None:
    """What it would have to be compared with was not measured."""
    ran = found("throughput", "ours", {"records_per_s": 10})
    did_not = found("throughput", "kafka-python", {"error": "no broker"})
    (target,) = (
        each for each in targets(results(ran, did_not)) if each.aim == "records/s / kafka-python's"
    )
    assert target.reached is None
