"""Signed checkpoints of an instance's streams: when they are made, and where else they go.

A checkpoint covers the records that have numbers when it is made. It is a record of the stream
itself, behind them; with ``checkpoint_topic`` it also goes to that topic, and with ``anchor`` to a
place that people who can change the topic can't reach. All of it runs on the loop thread, but for
the calls of the anchor, which run on a daemon thread, one at a time.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeAlias

from kiel_logging.handler import events
from kiel_logging.handler.events import Event
from kiel_logging.handler.internal_log import InternalLog
from kiel_logging.handler.signing import Put
from kiel_logging.native import monotonic
from kiel_logging.proof.checkpoints import OPEN, Signer, line
from kiel_logging.proof.stamper import Stamper

LOOK_EVERY: Final = 10.0
"""Seconds between two looks at streams that had less than a thousand new records."""

_MOST_WAITING: Final = 1_000
"""Checkpoints that wait for the anchor; the oldest give way."""

Emit: TypeAlias = Callable[[Event, str], bool]


class Checkpoints:
    """Makes the checkpoints of one instance's streams.

    Args:
        signer: signs them.
        stamper: knows how far the streams have come.
        topic: where they go as well; None for no other topic.
        put: puts one into a place outside of Kafka; None for no such place.
        internal_log: where failures of ``put`` are reported.
    """

    def __init__(
        self,
        signer: Signer,
        stamper: Stamper,
        topic: str | None,
        put: Put | None,
        internal_log: InternalLog,
    ) -> None:
        self.topic = topic
        self._signer = signer
        self._stamper = stamper
        self._put = put
        self._internal_log = internal_log
        self._waiting: deque[bytes] = deque(maxlen=_MOST_WAITING)
        self._writing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Checkpoints {self._signer!r}>"

    def facts(self, topic: str) -> dict[str, str]:
        """Return what the start record of a stream says of the key that signs it."""
        return {} if topic == self.topic else self._signer.facts()

    def make_due(self, emit: Emit) -> bool:
        """Put a checkpoint into each stream for which one is due; return whether there are any."""
        now, made = monotonic(), False
        for topic in self._stamper.topics:
            sequence = self._stamper.sequence(topic)
            if topic != self.topic and self._signer.is_due(topic, sequence, now):
                evidence = self.sign(topic)
                emit(events.checkpoint(evidence), topic)
                self.publish(evidence, emit)
                made = True
        return made

    def sign(self, topic: str, state: str = OPEN) -> dict[str, Any]:
        """Return a checkpoint of all that has a number in the stream of ``topic``; nothing for the
        topic of the checkpoints themselves."""
        if topic == self.topic or topic not in self._stamper:
            return {}
        return dict(
            self._signer.sign(
                topic,
                self._stamper.leaves(topic),
                digest=self._stamper.digest(topic),
                now=monotonic(),
                time_ms=time.time_ns() // 1_000_000,
                state=state,
            )
        )

    def forget(self) -> None:
        """Forget the private key: nothing is signed any more."""
        self._signer.forget()

    def publish(self, evidence: dict[str, Any], emit: Emit) -> None:
        """Put a checkpoint that a stream bears into the other places."""
        if not evidence:
            return
        if self.topic is not None:
            emit(events.checkpoint(evidence), self.topic)
        if self._put is not None:
            self._waiting.append(line(evidence).encode())
            self.anchor()

    # Outside of Kafka: in order, and again if it fails.

    def anchor(self) -> None:
        """Begin to write what waits for the anchor, unless that has begun."""
        if self._waiting and (self._writing is None or self._writing.done()):
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        from kiel_logging.handler.pausing_loop import run_on_a_daemon

        assert self._put is not None
        while self._waiting:
            content = self._waiting[0]
            try:
                await run_on_a_daemon(partial(self._put, content))
            except Exception as error:
                self._internal_log.complain(
                    "anchor", f"a checkpoint could not be anchored, and will be again: {error!r}"
                )
                return
            if self._waiting and self._waiting[0] is content:
                self._waiting.popleft()

    async def drain(self, timeout: float) -> None:
        """Wait until the anchor has all, one attempt failed, or ``timeout`` seconds have passed."""
        self.anchor()
        if self._writing is not None:
            await asyncio.wait([self._writing], timeout=timeout)
        if self._waiting:
            waiting = len(self._waiting)
            self._internal_log.say(
                logging.WARNING, f"{waiting} checkpoints were not anchored before the end"
            )
