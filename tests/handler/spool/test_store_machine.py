"""Any order of what can happen to a store, against a dict."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kiel_logging.errors import SpoolError, SpoolFull
from kiel_logging.handler.spool.row import Row, size_of
from kiel_logging.handler.spool.store import Store

TOPICS = ["audit", "logs"]
MOST = 2_000

places = st.integers(1, 60)
payloads = st.binary(max_size=80)
states = st.dictionaries(st.sampled_from(TOPICS), st.binary(max_size=5))


class AnyOrder(RuleBasedStateMachine):
    """The model is a dict of rows by place, and one of states with their places by topic."""

    @initialize()
    def start(self) -> None:
        """A store that is soon full."""
        self.directory = tempfile.TemporaryDirectory()
        self.path = Path(self.directory.name) / "one.spool"
        self.store = Store.make(self.path, "one", max_bytes=MOST)
        self.rows: dict[int, Row] = {}
        self.states: dict[str, tuple[int, bytes]] = {}
        self.last_place = 0

    def teardown(self) -> None:
        """Nothing is left."""
        if hasattr(self, "store"):
            self.store.close()
            self.directory.cleanup()

    @rule(
        new=st.dictionaries(places, st.tuples(st.sampled_from(TOPICS), payloads), max_size=8),
        states=states,
    )
    def append(self, new: dict[int, tuple[str, bytes]], states: dict[str, bytes]) -> None:
        """All of it or nothing: there may be no room, or a place may be taken."""
        rows = [Row(place, *rest) for place, rest in new.items()]
        if rows and self.size() + sum(map(size_of, rows)) > MOST:
            with pytest.raises(SpoolFull):
                self.store.append(rows, states)
        elif self.rows.keys() & new.keys():
            with pytest.raises(SpoolError):
                self.store.append(rows, states)
        else:
            self.store.append(rows, states)
            self.keep(rows, states)

    def keep(self, rows: list[Row], states: dict[str, bytes]) -> None:
        """What the model makes of it."""
        for topic, state in states.items():
            place = max((row.place for row in rows if row.topic == topic), default=self.last_place)
            if place >= self.states.get(topic, (0, b""))[0]:
                self.states[topic] = place, state
        self.rows.update({row.place: row for row in rows})
        self.last_place = max([self.last_place, *(row.place for row in rows)])

    @rule(gone=st.sets(places))
    def remove(self, gone: set[int]) -> None:
        """Also what is not there."""
        self.store.remove(gone)
        self.rows = {place: row for place, row in self.rows.items() if place not in gone}

    @rule(first=places, length=st.integers(0, 60))
    def remove_a_range(self, first: int, length: int) -> None:
        """As acknowledged batches are."""
        self.remove(set(range(first, first + length)))

    @rule(after=st.integers(0, 60), most=st.integers(0, 10), most_bytes=st.integers(0, 300))
    def read(self, after: int, most: int, most_bytes: int) -> None:
        """In order, and no more than fits."""
        expected: list[Row] = []
        for place in sorted(place for place in self.rows if place > after)[:most]:
            taken = sum(max(1, len(row.payload)) for row in expected)
            if expected and taken + len(self.rows[place].payload) > most_bytes:
                break
            expected.append(self.rows[place])
        assert self.store.read(after, most, most_bytes) == expected

    @rule(place=places)
    def holds(self, place: int) -> None:
        """Asked for one row."""
        assert self.store.holds(place) == (place in self.rows)

    @rule(clean=st.booleans())
    def reopen(self, clean: bool) -> None:
        """As the next process does: after a close, or after none (a copy of the files)."""
        if not clean:
            self.copy()
        else:
            self.store.close()
        self.store = Store.open(self.path, max_bytes=MOST)
        self.last_place = max(self.rows, default=0)

    def copy(self) -> None:
        """Take the files as they are: what a killed process leaves."""
        directory = tempfile.TemporaryDirectory()
        for one in self.path.parent.iterdir():
            if not one.name.endswith("-shm"):  # made anew from the log
                (Path(directory.name) / one.name).write_bytes(one.read_bytes())
        self.store.close()
        self.directory.cleanup()
        self.directory, self.path = directory, Path(directory.name) / self.path.name

    def size(self) -> int:
        """What rows count for."""
        return sum(map(size_of, self.rows.values()))

    @invariant()
    def counts(self) -> None:
        """Are exact at all times."""
        if not hasattr(self, "store"):
            return
        assert (self.store.rows, self.store.size) == (len(self.rows), self.size())
        assert self.store.last_place == self.last_place
        assert self.store.streams() == {topic: one[1] for topic, one in self.states.items()}


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
