"""What is seen while the demo runs: two bars in a terminal, a line per step anywhere else."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)


class Display:
    """Tells how far the run is. Made by :func:`showing`."""

    def __init__(self, console: Console, bars: Progress, records: int) -> None:
        self._console = console
        self._bars = bars
        self._logged = bars.add_task("logged", total=records)
        self._read = bars.add_task("read back", total=records)

    def step(self, text: str) -> None:
        """Say what is being done next."""
        self._console.print(f"[dim]…[/dim] {text}")

    def show(self, *, logged: int | None = None, read: int) -> None:
        """Move the bars to these numbers of records."""
        if logged is not None:
            self._bars.update(self._logged, completed=logged)
        self._bars.update(self._read, completed=read)

    def expect(self, deliveries: int) -> None:
        """Correct how many records are to be read back."""
        self._bars.update(self._read, total=deliveries)


@contextmanager
def showing(console: Console, records: int) -> Iterator[Display]:
    """Yield a display for a run of ``records`` log records."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:>10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    # A log file would keep every frame of the bars.
    quiet = not (console.is_interactive and console.file.isatty())
    with Progress(*columns, console=console, disable=quiet, transient=True) as bars:
        yield Display(console, bars, records)
