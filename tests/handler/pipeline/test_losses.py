"""What was lost: counts by topic, reason and level, and the words for them."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.handler.ledger import (
    MOST_RANGES,
    Loss,
    Losses,
    add_all,
    ranges,
    total,
)
from tests.handler.pipeline.interruption import Trial, interrupt_everywhere
from tests.handler.pipeline.sample import DEBUG, ERROR, INFO, WARNING

NOON = 1_709_208_000.0
"""2024-02-29T12:00:00Z."""


def loss(begin: float = NOON, end: float = NOON, **counts: dict[int, int]) -> Loss:
    """`loss(buffer_full={INFO: 3})`."""
    made = Loss(begin, end)
    for reason, levels in counts.items():
        for level, records in levels.items():
            made.counts[reason, level] = records
    return made


def noted(*drops: tuple[str, str, int, float]) -> Losses:
    """Losses with some noted."""
    losses = Losses()
    for topic, reason, level, at in drops:
        losses.note(topic, reason, level, at)
    return losses


# -- the words -------------------------------------------------------------------------------------

SPAN = "from 2024-02-29T12:00:00.000000Z to 2024-02-29T12:00:02.500000Z"


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        pytest.param(
            {"buffer_full": {INFO: 12, DEBUG: 400}},
            "dropped 412: DEBUG 400, INFO 12, buffer_full",
            id="levels, the lowest first",
        ),
        pytest.param({"closed": {ERROR: 1}}, "dropped 1: ERROR 1, closed", id="one"),
        pytest.param(
            {"invalid_key": {INFO: 2}, "buffer_full": {INFO: 3, WARNING: 4}},
            "dropped 9: INFO 3, WARNING 4, buffer_full; INFO 2, invalid_key",
            id="reasons, by name",
        ),
        pytest.param(
            {"buffer_full": {25: 2}}, "dropped 2: Level 25 2, buffer_full", id="no name of a level"
        ),
    ],
)
def test_the_words_for_a_loss(counts: dict[str, dict[int, int]], text: str) -> None:
    """How many, of which levels, why, and when in UTC."""
    assert str(loss(NOON, NOON + 2.5, **counts)) == f"{text}, {SPAN}"


def test_by_reason() -> None:
    """Reason, then the level's name, the lowest first."""
    found = loss(buffer_full={ERROR: 1, DEBUG: 400}, closed={INFO: 2}).by_reason()
    assert found == {"buffer_full": {"DEBUG": 400, "ERROR": 1}, "closed": {"INFO": 2}}
    assert list(found["buffer_full"]) == ["DEBUG", "ERROR"]


def test_levels_that_share_a_name_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are what readers see; none of their records is missing from the count."""
    monkeypatch.setitem(logging._levelToName, 21, "INFO")
    assert loss(buffer_full={INFO: 3, 21: 4}).by_reason() == {"buffer_full": {"INFO": 7}}


# -- one loss --------------------------------------------------------------------------------------


def test_losses_add_up() -> None:
    """Counts by reason and level; the span covers both."""
    first = loss(NOON, NOON + 1, buffer_full={INFO: 1})
    first.add(loss(NOON - 5, NOON - 4, buffer_full={INFO: 2, ERROR: 1}, closed={INFO: 1}))
    assert first == loss(NOON - 5, NOON + 1, buffer_full={INFO: 3, ERROR: 1}, closed={INFO: 1})
    assert first.records == 5


def test_a_copy_counts_on_its_own() -> None:
    """Neither changes with the other."""
    first = loss(buffer_full={INFO: 1})
    second = first.copy()
    second.add(loss(NOON, NOON + 1, buffer_full={INFO: 1}))
    assert first == loss(buffer_full={INFO: 1})
    assert second == loss(NOON, NOON + 1, buffer_full={INFO: 2})


def test_the_total_of_all_topics() -> None:
    """As one loss; those that it was made of stay as they were."""
    losses = {"a": loss(buffer_full={INFO: 1}), "b": loss(NOON - 1, NOON + 1, closed={INFO: 2})}
    assert total(losses) == loss(NOON - 1, NOON + 1, buffer_full={INFO: 1}, closed={INFO: 2})
    assert losses["a"] == loss(buffer_full={INFO: 1})


# -- those that log note, the loop thread collects -------------------------------------------------


def test_losses_are_noted_by_topic() -> None:
    """With the moments of the first and the last."""
    losses = noted(
        ("a", "buffer_full", INFO, NOON),
        ("b", "closed", ERROR, NOON + 1),
        ("a", "buffer_full", INFO, NOON + 2),
    )
    assert losses.collect() == {
        "a": loss(NOON, NOON + 2, buffer_full={INFO: 2}),
        "b": loss(NOON + 1, NOON + 1, closed={ERROR: 1}),
    }


def test_several_may_be_noted_at_once() -> None:
    """With their number."""
    losses = Losses()
    losses.note("a", "buffer_full", INFO, NOON, 5)
    assert losses.collect()["a"].records == 5


def test_a_clock_that_is_set_back_turns_no_span_around() -> None:
    """What is told never ends before it begins."""
    losses = noted(("a", "closed", INFO, NOON), ("a", "closed", INFO, NOON - 5))
    assert losses.collect() == {"a": loss(NOON - 5, NOON, closed={INFO: 2})}


def test_what_was_collected_is_forgotten() -> None:
    """It is not told twice."""
    losses = noted(("a", "buffer_full", INFO, NOON))
    assert losses
    losses.collect()
    assert not losses
    assert losses.collect() == {}


def test_the_first_is_told_apart() -> None:
    """One loss since the last collection is worth a call of the loop thread, others are not."""
    losses = Losses()
    first = [losses.note("a", "closed", INFO, NOON), losses.note("b", "closed", INFO, NOON)]
    losses.collect()
    assert [*first, losses.note("a", "closed", INFO, NOON)] == [True, False, True]


class Held(str):
    """A reason that holds up the thread that counts it."""

    def __new__(cls) -> Held:
        made = super().__new__(cls, "held")
        made.reached, made.let_go = threading.Event(), threading.Event()
        return made

    reached: threading.Event
    let_go: threading.Event

    def __hash__(self) -> int:
        self.reached.set()
        assert self.let_go.wait(20)
        return super().__hash__()

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other)


def test_collecting_does_not_wait_for_whoever_counts() -> None:
    """There is nothing to be had just now; later there is all of it."""
    losses, reason = noted(("a", "closed", INFO, NOON)), Held()
    counting = threading.Thread(target=losses.note, args=("a", reason, INFO, NOON))
    counting.start()
    assert reason.reached.wait(20)
    assert losses.collect() == {}
    assert losses
    reason.let_go.set()
    counting.join()
    assert losses.collect()["a"].records == 2


def test_nothing_is_lost_when_a_loss_comes_on_top_of_another() -> None:
    """A signal handler may log, and lose, while a loss is being noted."""

    def make() -> Trial:
        losses = Losses()

        def note(reason: str = "buffer_full") -> None:
            losses.note("a", reason, INFO, NOON)

        def check() -> None:
            assert losses.collect() == {"a": loss(buffer_full={INFO: 2})}

        return Trial(note, note, check)

    assert interrupt_everywhere(make) > 3


def test_threads_lose_no_loss() -> None:
    """While four threads note, what is collected is each of theirs, once."""
    losses = Losses()

    def note() -> None:
        for number in range(2_000):
            losses.note(f"t{number % 3}", "buffer_full", INFO, NOON)

    threads = [threading.Thread(target=note) for _ in range(4)]
    for thread in threads:
        thread.start()
    found: dict[str, Loss] = {}
    while any(thread.is_alive() for thread in threads):
        add_all(found, losses.collect())
    add_all(found, losses.collect())
    assert total(found).counts == {("buffer_full", INFO): 8_000}


# -- bounds ----------------------------------------------------------------------------------------

BOUND = 1_000
"""Topics that are told apart."""


def test_topics_without_end_do_not_fill_the_memory() -> None:
    """Losses of those beyond the first thousand are counted under no name."""
    losses = Losses()
    for number in range(BOUND + 500):
        losses.note(f"tenant-{number}", "buffer_full", INFO, NOON)
    losses.note("tenant-0", "buffer_full", INFO, NOON)
    found = losses.collect()
    assert len(found) == BOUND + 1
    assert (found["tenant-0"].records, found[""].records) == (2, 500)


def test_topics_that_are_gathered_are_bounded_too() -> None:
    """However many collections they come from."""
    gathered: dict[str, Loss] = {}
    for number in range(BOUND + 500):
        more: Any = {f"tenant-{number}": loss(NOON + number, NOON + number, closed={INFO: 1})}
        add_all(gathered, more)
    add_all(gathered, {"tenant-0": loss(closed={INFO: 1})})
    assert len(gathered) == BOUND + 1
    assert (gathered["tenant-0"].records, gathered[""].records) == (2, 500)
    assert (gathered[""].begin, gathered[""].end) == (NOON + BOUND, NOON + BOUND + 499)


@given(st.sets(st.integers(1, 400)), st.integers(0, 3))
def test_parts_add_up_to_the_whole(numbers: set[int], records: int) -> None:
    """Each names few enough numbers for one record; what was lost is counted once."""
    whole = Loss(NOON, NOON, numbers=set(numbers))
    whole.counts["failed", logging.INFO] = records
    first, *others = whole.parts()
    assert all(len(ranges(part.numbers)) <= MOST_RANGES for part in (first, *others))
    assert [part.records for part in others] == [0] * len(others)
    for part in others:
        first.add(part)
    assert first == whole


@given(st.sets(st.integers(1, 100)))
def test_ranges_are_the_numbers(numbers: set[int]) -> None:
    """In ascending order, as few as can be."""
    found = ranges(numbers)
    assert [n for first, last in found for n in range(first, last + 1)] == sorted(numbers)
    ends = [last for _, last in found]
    assert all(first > end + 1 for (first, _), end in zip(found[1:], ends, strict=False))
