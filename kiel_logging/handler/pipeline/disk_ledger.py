"""What a handler has on disk, in numbers: part of the hand-off's ledger.

The law: ``committed`` is written by those who log, under the hand-off's lock; all else by the loop
thread alone.
"""


class DiskLedger:
    """Counts of records.

    Attributes:
        committed: that went to disk before their logging calls returned.
        written: that the loop thread put there.
        removed: of both, that are there no more, or soon will not be.
        copies: of both, that are in memory as well.
        recovered: of processes that died, delivered here.
    """

    __slots__ = ("committed", "copies", "recovered", "removed", "written")

    def __init__(self) -> None:
        self.committed = self.written = self.removed = self.copies = self.recovered = 0

    def __repr__(self) -> str:
        return f"<DiskLedger on_disk={self.on_disk} spooled={self.spooled}>"

    @property
    def on_disk(self) -> int:
        """How many of this process's records are on disk."""
        return self.committed + self.written - self.removed

    @property
    def spooled(self) -> int:
        """How many are there alone."""
        return self.on_disk - self.copies
