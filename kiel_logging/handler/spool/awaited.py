"""Records of this process that receipts wait for, while another process ships them.

The law: a record is acknowledged when the checkpoint of its stream is behind it and doesn't name it
among those that were given up. One slot of the checkpoint says both, see ``journal/__init__.py``.
"""

import contextlib
import os
from collections.abc import Iterable
from typing import Final, NamedTuple

from kiel_logging.errors import SpoolError
from kiel_logging.handler.receipts import ReceiptWaiter
from kiel_logging.journal.directory import SHIPPER
from kiel_logging.journal.local_stream import LocalStream
from kiel_logging.journal.locks import holder
from kiel_logging.journal.segments import Descriptor, failing_at
from kiel_logging.journal.stream import CHECKPOINT, Checkpoint, Position
from kiel_logging.records import NO_OFFSET, TopicPartition

NO_PARTITION: Final = -1
"""The partition of a record that another process sent."""

_KEPT: Final = "it is kept on disk and will be sent"
_NO_SHIPPER: Final = f"no process ships it: start kiel-logging ship; {_KEPT}"
_SLOW: Final = f"kiel-logging ship or the brokers are slow, or away; {_KEPT}"


class AwaitedFile(NamedTuple):
    """A stream, and its checkpoint's file, which stays readable when the shipper has removed it."""

    stream: LocalStream
    checkpoint: Descriptor

    @classmethod
    def of(cls, stream: LocalStream) -> "AwaitedFile":
        """Open the checkpoint of ``stream``; raise SpoolError."""
        path = stream.path / CHECKPOINT
        with failing_at(path):
            return cls(stream, Descriptor(path, os.O_RDONLY))

    def read(self) -> Checkpoint | None:
        """Return the checkpoint; None if it can't be read."""
        with contextlib.suppress(OSError):
            if self.checkpoint.status() is not None:
                return self.stream.stored_by_others(self.checkpoint)
        return None


class AwaitedRecord(NamedTuple):
    """The place of a record that a receipt waits for: between ``begin`` and ``end``."""

    file: AwaitedFile
    begin: Position
    end: Position

    def why(self) -> str:
        """Return why it is not acknowledged yet."""
        instance = self.file.stream.path.parent
        try:
            is_shipped = holder(instance / SHIPPER) is not None
        except (OSError, SpoolError):
            is_shipped = True
        return _SLOW if is_shipped else _NO_SHIPPER

    def settle(self, waiter: ReceiptWaiter, checkpoint: Checkpoint) -> bool:
        """Settle ``waiter`` if the record's end is known; return whether it is."""
        if checkpoint.position < self.end:
            return False
        for begin, end, reason in checkpoint.refused:
            if begin < self.end and self.begin < end:
                waiter.lost(reason)
                return True
        topic_partition = TopicPartition(self.file.stream.topic, NO_PARTITION)
        waiter.delivered(topic_partition, NO_OFFSET)
        return True


def settle(waiters: Iterable[ReceiptWaiter]) -> None:
    """Settle those whose records have an end by now; in the order in which they were logged."""
    checkpoints: dict[AwaitedFile, Checkpoint | None] = {}
    for waiter in waiters:
        if (record := waiter.record) is None:
            continue  # another thread is appending it
        if record.file not in checkpoints:
            checkpoints[record.file] = record.file.read()
        checkpoint = checkpoints[record.file]
        if checkpoint is not None and not record.settle(waiter, checkpoint):
            checkpoints[record.file] = None  # the later ones wait as well
