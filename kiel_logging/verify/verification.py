"""The run itself, from the first question to the brokers to the exit status."""

import io
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from kiel_logging.printable import printable
from kiel_logging.verify import reader
from kiel_logging.verify.audit import Audit
from kiel_logging.verify.client import consumer_config
from kiel_logging.verify.document import document
from kiel_logging.verify.errors import CannotVerify
from kiel_logging.verify.events import evidence
from kiel_logging.verify.evidence import Registry
from kiel_logging.verify.judge import judge, waits
from kiel_logging.verify.options import VerifyOptions
from kiel_logging.verify.report import report
from kiel_logging.verify.settings import retention
from kiel_logging.verify.verdict import State, TopicVerdict
from kiel_logging.verify.window import Part, Window

_STATUS: Final = {State.COMPLETE: 0, State.INCOMPLETE: 1, State.UNCHECKED: 2}
_PLAIN_WIDTH: Final = 120
_LONGEST_LINE: Final = 16_384


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
    registry = Registry(options.trusted, memory=options.memory)
    files, others = divided(options.checkpoints)
    for path in files:
        read_anchors(path, registry)
    audits = {
        topic: Audit(options.origin or topic, options.chains, registry, memory=options.memory)
        for topic in options.topics
    }
    # Read first: what they know of has to be in the other topics then.
    elsewhere = {
        topic: Audit(topic, options.chains, registry, memory=options.memory, has_checkpoints=True)
        for topic in others
    }
    span = reader.Span(since=options.since, until=options.until)
    run = _Run(options, audits)
    with _progress() as progress:
        if elsewhere:
            reader.read(config, elsewhere, reader.Span(), options.timeout, progress)
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
        window = replace(run.window(topic, extents), now=time.time_ns() // 1_000_000)
        if any(part.front for part in window.parts.values()) and window.since is None:
            kept = retention(config, topic, options.timeout)
            window = replace(window, retention=kept)
        verdicts.append(judge(audit, topic, window))
    return verdicts


def divided(checkpoints: Iterable[str]) -> tuple[list[Path], list[str]]:
    """Return which of the names are those of files, and the others: topics."""
    names = list(checkpoints)
    files = [name for name in names if Path(name).is_file()]
    return list(map(Path, files)), [name for name in names if name not in files]


def read_anchors(path: Path, registry: Registry) -> None:
    """Note the checkpoints of a file, each of which is a line.

    Raises:
        CannotVerify: it can't be read.
    """
    wrong = 0
    try:
        with path.open("rb") as lines:
            while line := lines.readline(_LONGEST_LINE):
                found = evidence(line)
                if found is None:
                    wrong += 1
                else:
                    registry.add(found, outside=True)
    except OSError as error:
        raise CannotVerify(f"--checkpoints: {path} can't be read: {error.strerror}") from error
    if wrong:
        sys.stderr.write(
            f"kiel-logging verify: {wrong} lines of {printable(path)} are no signed checkpoints\n"
        )


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
