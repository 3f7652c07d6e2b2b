"""Topics that the brokers reject for now: each waits by itself, longer each time.

The law:

- A topic that is rejected waits with all its partitions: ``FIRST`` seconds, twice as long each
  time, ``MOST`` at most. Other topics continue.
- After the wait one batch of the topic is tried. The others follow when it is delivered.
- A delivered batch ends the deferral; the next rejection waits ``FIRST`` seconds again.

Only owners that keep their records for so long defer; see ``Deliveries.defers``.
"""

from typing import Final

from kiel_logging.delivery.batch import Batch, State

FIRST: Final = 2.0
"""Seconds that a topic waits after its first rejection; doubles with each that follows."""

MOST: Final = 60.0
"""Most seconds of one wait."""


class _Deferral:
    """The wait of one topic, or the trial after it.

    Attributes:
        delay: seconds of the latest wait; 0 when a batch was delivered since it began.
        until: when it ends, or ended.
        trial: the batch that was sent after it.
        over: whether its end was reported.
    """

    def __init__(self) -> None:
        self.delay = self.until = 0.0
        self.error: Exception | None = None
        self.trial: Batch | None = None
        self.over = False


class Deferrals:
    """Knows which topics wait, and until when."""

    def __init__(self) -> None:
        self._topics: dict[str, _Deferral] = {}

    def __repr__(self) -> str:
        return f"<Deferrals {sorted(self._topics)}>"

    def reject(self, topic: str, error: Exception, now: float) -> bool:
        """Let ``topic`` wait because of ``error``.

        Returns:
            Whether a wait begins. A topic that waits already had several batches in flight; the
            later ones don't make its wait longer.
        """
        deferral = self._topics.setdefault(topic, _Deferral())
        if now < deferral.until:
            return False
        deferral.delay = min(MOST, deferral.delay * 2 or FIRST)
        deferral.until = now + deferral.delay
        deferral.error = error
        deferral.over = False
        return True

    def delivered(self, topic: str, now: float) -> None:
        """End the deferral of ``topic``, of which a batch was delivered, unless it waits now."""
        deferral = self._topics.get(topic)
        if deferral is None:
            return
        if now < deferral.until:
            deferral.delay = 0.0  # the batch was in flight beside the rejected one
        else:
            del self._topics[topic]

    def blocks(self, topic: str, now: float) -> bool:
        """Whether no batch of ``topic`` may be sent: it waits, or its trial is in flight."""
        deferral = self._topics.get(topic)
        if deferral is None:
            return False
        trial = deferral.trial
        return now < deferral.until or (trial is not None and trial.state is State.IN_FLIGHT)

    def sent(self, batch: Batch) -> None:
        """Note that ``batch`` was sent: if its topic was deferred, it is the trial."""
        deferral = self._topics.get(batch.topic_partition.topic)
        if deferral is not None:
            deferral.trial = batch

    def error(self, topic: str) -> Exception | None:
        """Return why ``topic`` was rejected last; None if a batch was delivered after its wait."""
        deferral = self._topics.get(topic)
        return None if deferral is None else deferral.error

    def errors(self) -> dict[str, Exception]:
        """Return the topics that are deferred, and why each was rejected last."""
        return {topic: one.error for topic, one in self._topics.items() if one.error is not None}

    def until(self, topic: str) -> float:
        """Return when the latest wait of ``topic`` ends or ended; 0 if it is not deferred."""
        deferral = self._topics.get(topic)
        return 0.0 if deferral is None else deferral.until

    def end_waits(self, now: float) -> bool:
        """Return whether a wait has ended since the last call."""
        ended = [one for one in self._topics.values() if not one.over and now >= one.until]
        for deferral in ended:
            deferral.over = True
        return bool(ended)

    def next_deadline(self, now: float) -> float | None:
        """Return when the next wait ends."""
        moments = [one.until for one in self._topics.values() if one.until > now]
        return min(moments, default=None)
