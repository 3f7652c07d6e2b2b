"""The run itself, from the first question to the brokers to the exit status."""

import io
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from kiel_logging.verify import reader
from kiel_logging.verify.audit import Audit
from kiel_logging.verify.client import consumer_config
from kiel_logging.verify.document import document
from kiel_logging.verify.judge import Window, judge
from kiel_logging.verify.options import VerifyOptions
from kiel_logging.verify.report import report
from kiel_logging.verify.verdict import State, TopicVerdict

_STATUS: Final = {State.COMPLETE: 0, State.INCOMPLETE: 1, State.UNCHECKED: 2}
_PLAIN_WIDTH: Final = 120


def verify(options: VerifyOptions) -> int:
    """Verify the topics, tell what was found, and return the exit status.

    Raises:
        CannotVerify: they can't be read.
    """
    verdicts = _verdicts(options)
    state = worst(verdict.state(strict=options.strict) for verdict in verdicts)
    if options.json:
        sys.stdout.write(json.dumps(document(verdicts, state, strict=options.strict)) + "\n")
    else:
        report(_console(sys.stdout), verdicts, strict=options.strict, keyed=bool(options.key))
    return _STATUS[state]


def worst(states: Iterable[State]) -> State:
    """Return what is to be said of all together: damage that was found is the first to know."""
    order = list(State)
    return max(states, key=order.index)


def _verdicts(options: VerifyOptions) -> list[TopicVerdict]:
    config = consumer_config(options.config, options.brokers, uncommitted=options.uncommitted)
    audits = {topic: Audit(options.key) for topic in options.topics}
    span = reader.Span(since=options.since, until=options.until)
    with _progress() as progress:
        extents = reader.read(config, audits, span, options.timeout, progress)
    running = options.running or options.until is not None
    return [
        judge(
            audit,
            topic,
            Window(
                begins_late=[
                    at.partition
                    for at, extent in extents.items()
                    if at.topic == topic and extent.begins_late
                ],
                running=running,
            ),
        )
        for topic, audit in audits.items()
    ]


@contextmanager
def _progress() -> Iterator[reader.Progress]:
    columns = (
        TextColumn("reading"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    # On stderr: what is piped is the report. A log file would keep every frame of the bar.
    console = _console(sys.stderr)
    quiet = not (console.is_interactive and console.file.isatty())
    with Progress(*columns, console=console, disable=quiet, transient=True) as bars:
        bar = bars.add_task("reading", total=None)
        yield lambda behind, total: bars.update(bar, completed=behind, total=total)


def _console(stream: object) -> Console:
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")  # a terminal may know only one language
    is_terminal = isinstance(stream, io.TextIOBase) and stream.isatty()
    return Console(
        file=stream,  # type: ignore[arg-type]
        width=None if is_terminal else _PLAIN_WIDTH,
        highlight=False,
    )
