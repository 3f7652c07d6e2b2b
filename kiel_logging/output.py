"""Standard output and error of the commands, which may be closed, full, or no longer read.

Python reports a pipe whose reader went away with a traceback where text is written, and with
another one at the end of the process; a closed standard output is None. Here the first failed write
of standard output raises an exception that no library catches, and everything after it is
discarded. Failed writes of standard error are discarded at once.
"""

import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class ReaderGone(Exception):
    """The reader of standard output went away, as ``head`` does."""


class CannotRun(Exception):
    """A command can't do its work; users see the message as it is, and the exit status is 2."""


class Output(io.RawIOBase):
    """A descriptor to write to; None if the process was started without it."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor: Final = descriptor
        self._is_discarding = False

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the descriptor; raise OSError if there is none."""
        if self._descriptor is None:
            raise io.UnsupportedOperation("fileno")
        return self._descriptor

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return self._descriptor is not None and os.isatty(self._descriptor)

    def discard(self) -> None:
        """Discard what is written from now on, and what is still in buffers."""
        self._is_discarding = True

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write some of ``data``; return how many bytes.

        Raises:
            ReaderGone: it is a pipe that is read no more.
            CannotRun: it is closed, the disk is full, or the like.
        """
        if self._is_discarding:
            return memoryview(data).nbytes
        try:
            return os.write(self.fileno(), data)
        except OSError as error:
            self.discard()
            raise self._failure(error) from None

    def _failure(self, error: OSError) -> Exception:
        if isinstance(error, BrokenPipeError):
            return ReaderGone("the reader of standard output went away")
        if self._descriptor is None:
            return CannotRun("standard output is closed")
        return CannotRun(f"standard output can't be written: {error.strerror}")


class ErrorOutput(Output):
    """Standard error, whose failures are discarded."""

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write some of ``data``; return how many bytes."""
        try:
            return super().write(data)
        except (ReaderGone, CannotRun):
            return super().write(data)  # which discards it


@contextmanager
def standard_output() -> Iterator[Output]:
    """Put these streams in the place of ``sys.stdout`` and ``sys.stderr`` for the block.

    Streams that the program replaced before, as test runners do, stay. At the end of the block all
    is written that was not discarded.

    Raises:
        ReaderGone, CannotRun: standard output failed.
    """
    before, errors_before = sys.stdout, sys.stderr
    output, errors = Output(_descriptor(before)), ErrorOutput(_descriptor(errors_before))
    if before is sys.__stdout__:
        sys.stdout = _text(output, before)
    if errors_before is sys.__stderr__:
        sys.stderr = _text(errors, errors_before, line_buffering=True)
    try:
        yield output
    finally:
        try:
            sys.stderr.flush()
            sys.stdout.flush()
        finally:
            sys.stdout, sys.stderr = before, errors_before


def check_reader() -> None:
    """Raise ReaderGone if the reader of standard output went away.

    A write shows that too, but only when there is something to write.
    """
    descriptor = _descriptor(sys.stdout)
    if descriptor is None:
        return
    poll = select.poll()
    poll.register(descriptor, 0)
    if any(events & select.POLLERR for _, events in poll.poll(0)):
        raise ReaderGone("the reader of standard output went away")


def _descriptor(stream: TextIO | None) -> int | None:
    try:
        return None if stream is None else stream.fileno()
    except (OSError, ValueError):
        return None


def _text(raw: Output, before: TextIO | None, *, line_buffering: bool = False) -> TextIO:
    """Return a text stream that escapes characters which the terminal does not know."""
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding="utf-8" if before is None else before.encoding,
        errors="backslashreplace",
        line_buffering=line_buffering or raw.isatty(),
    )
