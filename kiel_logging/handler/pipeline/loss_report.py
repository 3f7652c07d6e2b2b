"""When losses are told, and to whom: on stderr now and then, in the stream once all is well again.

Pure: ``now`` is an argument, in seconds of a monotonic clock; who asks sees to the telling.
"""

import logging
from collections.abc import Mapping
from typing import Final

from kiel_logging.handler.pipeline.losses import Loss, Losses, add_all, total

PERIOD: Final = 10.0
"""Seconds between two tellings of the same kind."""


GATHERING: Final = 1.0
"""Seconds until the first telling: a loss seldom comes alone."""


class LossReport:
    """Gathers what was lost, for the loop thread.

    Args:
        drops: what those who log note.
    """

    def __init__(self, drops: Losses) -> None:
        self._drops = drops
        self._untold: dict[str, Loss] = {}
        self._missing: dict[str, Loss] = {}
        self._tell_at = 0.0
        self._gathering = False
        self._summarise_at = 0.0

    def __bool__(self) -> bool:
        """Whether anything is to be told of in a stream."""
        return bool(self._missing) or bool(self._drops)

    def add_failures(self, failures: Mapping[tuple[str, int], int], reason: str, at: float) -> None:
        """Count what the producer gave up: (topic, level) -> records, ``at`` in epoch seconds.

        It was logged with its reason when it happened, so that only the streams lack it.
        """
        for (topic, level), records in failures.items():
            loss = Loss(at, at)
            loss.counts[reason, level] = records
            add_all(self._missing, {topic: loss})

    def add_number(self, topic: str, number: int) -> None:
        """Note that a record among the failures of ``topic`` had ``number``."""
        if (loss := self._missing.get(topic)) is not None:
            loss.numbers.add(number)

    def _collect(self) -> None:
        for topic, loss in self._drops.collect().items():
            add_all(self._untold, {topic: loss.copy()})
            add_all(self._missing, {topic: loss})

    def to_tell(self, now: float) -> Loss | None:
        """Return all drops since the last time, unless that was a moment ago."""
        self._collect()
        if self._untold and not self._gathering:
            self._gathering = True
            self._tell_at = max(self._tell_at, now + GATHERING)
        if not self._untold or now < self._tell_at:
            return None
        self._tell_at = now + PERIOD
        return self._take_untold()

    def _take_untold(self) -> Loss | None:
        untold, self._untold, self._gathering = self._untold, {}, False
        return total(untold) if untold else None

    def tell_at(self) -> float | None:
        """Return when there will be something to tell; None while there is nothing.

        In the past, when somebody else is just counting it.
        """
        return self._tell_at if self._untold or self._drops else None

    def rest(self) -> Loss | None:
        """Return all drops that were not told yet, whenever the last time was."""
        self._collect()
        return self._take_untold()

    def to_summarise(self, now: float, *, at_once: bool = False) -> dict[str, Loss]:
        """Return what each stream lacks since the last summary, unless that was a moment ago."""
        self._collect()
        if not self._missing or (now < self._summarise_at and not at_once):
            return {}
        missing, self._missing = self._missing, {}
        missing.pop("", None)  # of topics beyond counting
        self._summarise_at = now + PERIOD
        return missing

    def put_back(self, topic: str, loss: Loss) -> None:
        """The summary of ``loss`` could not be made yet."""
        add_all(self._missing, {topic: loss})

    def lacks(self, topic: str) -> bool:
        """Whether the stream of ``topic`` is yet to be told what it lacks."""
        return topic in self._missing

    def summarise_at(self) -> float | None:
        """Return when a summary may be made; None while there is nothing to say."""
        return self._summarise_at if self else None


def summary_record(loss: Loss) -> logging.LogRecord:
    """Return the record that tells the readers of a stream what it lacks."""
    record = logging.LogRecord(
        "kiel_logging", logging.WARNING, __file__, 0, "%s", (loss,), None, "summary_record"
    )
    record.dropped = loss.by_reason()
    return record
