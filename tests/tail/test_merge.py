"""Records of several partitions are shown by their times."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.tail.merge import CROWDED, Merge

SOURCES = st.dictionaries(st.integers(0, 3), st.lists(st.integers(0, 9)), min_size=1)


@given(SOURCES, st.randoms(use_true_random=False))
def test_all_are_released_in_order(sources: dict[int, list[int]], chance: Random) -> None:
    """By time, if each source is in order; each source keeps its own order in any case."""
    merge: Merge[int, tuple[int, int]] = Merge(sources)
    released: list[tuple[int, int]] = []
    left = {source: list(enumerate(times)) for source, times in sources.items()}
    while left:
        source = chance.choice(sorted(left))
        if left[source]:
            at, when = left[source].pop(0)
            merge.add(source, (when,), (source, at))
        else:
            del left[source]
            merge.finish(source)
        released += merge.released()
    assert len(released) == sum(map(len, sources.values()))
    for source, times in sources.items():
        assert [at for one, at in released if one == source] == list(range(len(times)))
    if all(times == sorted(times) for times in sources.values()):
        by_time = [sources[source][at] for source, at in released]
        assert by_time == sorted(by_time)


def test_nothing_is_released_while_an_earlier_one_may_come() -> None:
    """A source without an item holds up the others until it is finished."""
    merge: Merge[str, str] = Merge(["a", "b"])
    merge.add("a", (5,), "five")
    assert list(merge.released()) == []
    merge.add("b", (3,), "three")
    assert list(merge.released()) == ["three"]
    merge.finish("b")
    assert list(merge.released()) == ["five"]


def test_a_source_that_is_far_ahead_has_to_wait() -> None:
    """Its items take memory until the others have caught up."""
    merge: Merge[str, int] = Merge(["a", "b"])
    for number in range(CROWDED + 1):
        assert merge.crowded() == set()
        merge.add("a", (number,), number)
    assert merge.crowded() == {"a"}
    merge.finish("b")
    assert sum(1 for _ in merge.released()) == CROWDED + 1
    assert merge.crowded() == set()
