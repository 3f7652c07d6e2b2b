"""What a handler has on disk, in numbers: part of the buffer's ledger.

The law: logging threads count what they append, in the journal; all else here is written by the
loop thread alone.
"""

from collections.abc import Callable


class DiskLedger:
    """Counts of records.

    Attributes:
        count_appended: returns how many records logging threads appended by themselves.
        written: records that the loop thread appended.
        removed: of both, those that are there no more, or soon will not be.
        copies: of both, those that are in memory as well.
        recovered: records of dead processes that were delivered here.
    """

    __slots__ = ("copies", "count_appended", "recovered", "removed", "written")

    def __init__(self) -> None:
        self.count_appended: Callable[[], int] = int
        self.written = self.removed = self.copies = self.recovered = 0

    def __repr__(self) -> str:
        return f"<DiskLedger on_disk={self.on_disk} spooled={self.spooled}>"

    @property
    def on_disk(self) -> int:
        """How many of this process's records are on disk."""
        return self.count_appended() + self.written - self.removed

    @property
    def spooled(self) -> int:
        """How many are there alone."""
        return self.on_disk - self.copies
