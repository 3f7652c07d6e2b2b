"""The run itself, from the first question to the brokers to the exit status."""

import io
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from kiel_logging.verify import reader
from kiel_logging.verify.audit import Audit
from kiel_logging.verify.client import consumer_config
from kiel_logging.verify.document import document
from kiel_logging.verify.judge import judge, waits
from kiel_logging.verify.options import VerifyOptions
from kiel_logging.verify.report import report
from kiel_logging.verify.settings import retention
from kiel_logging.verify.verdict import State, TopicVerdict
from kiel_logging.verify.window import Part, Window

_STATUS: Final = {State.COMPLETE: 0, State.INCOMPLETE: 1, State.UNCHECKED: 2}
_PLAIN_WIDTH: Final = 120


def verify(options: VerifyOptions) -> int:
    """Verify the topics, report what was found, and return the exit status.

    Raises:
        CannotVerify: they can't be read.
    """
    verdicts = _verdicts(options)
    state = worst(verdict.state(strict=options.strict) for verdict in verdicts)
    if options.json:
        sys.stdout.write(json.dumps(document(verdicts, state, strict=options.strict)) + "\n")
    else:
        report(_console(sys.stdout), verdicts, strict=options.strict)
    return _STATUS[state]


def worst(states: Iterable[State]) -> State:
    """Return what is to be said of all together: damage that was found is the first to know."""
    order = list(State)
    return max(states, key=order.index)


def _verdicts(options: VerifyOptions) -> list[TopicVerdict]:
    config = consumer_config(options.config, options.brokers, uncommitted=options.uncommitted)
    audits = {
        topic: Audit(options.origin or topic, options.chains, memory=options.memory)
        for topic in options.topics
    }
    span = reader.Span(since=options.since, until=options.until)
    run = _Run(options, audits)
    with _progress() as progress:
        extents = reader.read(
            config,
            audits,
            span,
            options.timeout,
            progress,
            grace=options.grace,
            waits=run.waits,
        )
    verdicts = []
    for topic, audit in audits.items():
        window = run.window(topic, extents)
        if any(part.front for part in window.parts.values()) and window.since is None:
            kept = retention(config, topic, options.timeout)
            window = replace(window, retention=kept, now=time.time_ns() // 1_000_000)
        verdicts.append(judge(audit, topic, window))
    return verdicts


class _Run:
    """How much was read, from the first look on."""

    def __init__(self, options: VerifyOptions, audits: Mapping[str, Audit]) -> None:
        self._options = options
        self._audits = audits
        self._horizons: dict[str, dict[str, int]] = {}

    def waits(self, extents: reader.Extents) -> bool:
        """Whether anything is absent that may be on its way, or can't be read yet."""
        if not self._options.running or self._options.until is not None:
            return False
        if not self._horizons:
            self._horizons = {topic: audit.tops() for topic, audit in self._audits.items()}
        return any(one.unstable for one in extents.values()) or any(
            waits(audit, self.window(topic, extents)) for topic, audit in self._audits.items()
        )

    def window(self, topic: str, extents: reader.Extents) -> Window:
        """Return how much of a topic was read."""
        own = {at.partition: extent for at, extent in extents.items() if at.topic == topic}
        running = self._options.running
        parts = {
            partition: Part(extent.start, max(0, extent.high - extent.end))
            for partition, extent in own.items()
        }
        return Window(
            partitions=len(own),
            parts=parts,
            since=self._options.since,
            until=self._options.until,
            running=running,
            horizon=self._horizons.get(topic),
            mirror=self._options.origin is not None,
            unstable=sum(one.unstable for one in own.values()),
        )


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
