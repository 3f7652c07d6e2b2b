"""The run itself, from the first question to the brokers to the exit status."""

import io
import json
import sys
import threading
import time
from base64 import b64decode
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from kiel_logging.output import CannotRun
from kiel_logging.printable import counted, printable
from kiel_logging.proof.checkpoints import Evidence
from kiel_logging.proof.timestamps import Authority
from kiel_logging.verify import names, reader, state
from kiel_logging.verify.audit import Audit
from kiel_logging.verify.evidence import Registry
from kiel_logging.verify.judge import judge, waits
from kiel_logging.verify.names import State, TopicVerdict
from kiel_logging.verify.options import VerifyOptions
from kiel_logging.verify.report import document, report
from kiel_logging.verify.window import Part, Window

_STATUS: Final = {State.COMPLETE: 0, State.INCOMPLETE: 1, State.UNCHECKED: 2}
_PLAIN_WIDTH: Final = 120
_LONGEST_LINE: Final = 131_072
_STAMPED_WITHIN: Final = 3_600_000
"""Milliseconds between a checkpoint's time and its timestamp's: clocks differ, authorities are away
for a while."""


def verify(options: VerifyOptions) -> int:
    """Verify the topics, report what was found, and return the exit status.

    Raises:
        CannotRun: they can't be read.
    """
    run = _Run(options)
    if not options.watch:
        return _show(options, run.verdicts())
    watched = Watched(options.metrics)
    shown: list[TopicVerdict] | None = None
    while True:
        verdicts = run.verdicts()
        watched.note(verdicts, strict=options.strict)
        findings = [verdict.counts() for verdict in verdicts]
        if shown is None or findings != [verdict.counts() for verdict in shown]:
            status, shown = _show(options, verdicts), verdicts
            if status and options.exit:
                return status
        time.sleep(options.interval)


def _show(options: VerifyOptions, verdicts: list[TopicVerdict]) -> int:
    worst_state = worst(verdict.state(strict=options.strict) for verdict in verdicts)
    if options.json:
        sys.stdout.write(json.dumps(document(verdicts, worst_state, strict=options.strict)) + "\n")
    else:
        report(_console(sys.stdout), verdicts, strict=options.strict)
    sys.stdout.flush()
    return _STATUS[worst_state]


def worst(states: Iterable[State]) -> State:
    """Return the state of all together: damage that was found is the first to know."""
    order = list(State)
    return max(states, key=order.index)


def divided(checkpoints: Iterable[str]) -> tuple[list[Path], list[str]]:
    """Return which of the names are those of files, and the others: topics."""
    names = list(checkpoints)
    files = [name for name in names if Path(name).is_file()]
    return list(map(Path, files)), [name for name in names if name not in files]


def read_anchors(path: Path, registry: Registry, authority: Authority | None = None) -> None:
    """Note the checkpoints of a file, each of which is a line; with an ``authority`` only those
    that it has stamped within an hour of their time.

    Raises:
        CannotRun: it can't be read.
    """
    wrong = unstamped = 0
    try:
        with path.open("rb") as lines:
            while line := lines.readline(_LONGEST_LINE):
                try:
                    content = json.loads(line)
                    found = Evidence.of(content)
                except (ValueError, RecursionError):
                    wrong += 1
                    continue
                if authority is None or _is_stamped(found, content, authority):
                    registry.add(found, outside=True)
                else:
                    unstamped += 1
    except OSError as error:
        raise CannotRun(f"--checkpoints: {path} can't be read: {error.strerror}") from error
    if wrong:
        sys.stderr.write(
            f"kiel-logging verify: {printable(path)} has {counted(wrong, 'lines')} without a "
            "signed checkpoint\n"
        )
    if unstamped:
        sys.stderr.write(
            f"kiel-logging verify: {printable(path)} has {counted(unstamped, 'checkpoints')} that "
            "count for nothing, without a timestamp of --tsa within an hour of their time\n"
        )


def _is_stamped(found: Evidence, content: dict[str, Any], authority: Authority) -> bool:
    """Whether a checkpoint existed about when it says that it was made."""
    try:
        answer = b64decode(content.get("timestamp", ""), validate=True)
        time_ms = authority.time_of(answer, content["note"])
    except (TypeError, ValueError):
        return False
    return abs(time_ms - found.checkpoint.time) <= _STAMPED_WITHIN


class _Run:
    """One topic or more, from the first look on: each call of ``verdicts()`` reads what is new."""

    def __init__(self, options: VerifyOptions) -> None:
        self._options = options
        self._config = reader.consumer_config(
            options.config, options.brokers, uncommitted=options.uncommitted
        )
        self._registry = Registry(options.trusted, memory=options.memory)
        self._registry.vouches |= options.authority is not None
        self._files, others = divided(options.checkpoints)
        self._audits = {
            topic: Audit(
                options.origin or topic, options.chains, self._registry, memory=options.memory
            )
            for topic in options.topics
        }
        self._elsewhere = {
            topic: Audit(
                topic, options.chains, self._registry, memory=options.memory, has_checkpoints=True
            )
            for topic in others
        }
        self._read: reader.Read = {}
        self._horizons: dict[str, dict[str, int]] = {}
        if options.state is not None:
            state.load(options.state, self._all, self._registry, self._read)

    @property
    def _all(self) -> dict[str, Audit]:
        return {**self._elsewhere, **self._audits}

    def verdicts(self) -> list[TopicVerdict]:
        """Read what is new, and return what all that was read comes to.

        Raises:
            CannotRun: it can't be read.
        """
        options, self._horizons = self._options, {}
        for path in self._files:
            read_anchors(path, self._registry, options.authority)
        with _progress() as progress:
            # Checkpoints are read first: the records that they know of have to be there then.
            if self._elsewhere:
                reader.read_topics(
                    self._config,
                    self._elsewhere,
                    reader.Span(),
                    options.timeout,
                    progress,
                    read=self._read,
                )
            extents = reader.read_topics(
                self._config,
                self._audits,
                reader.Span(since=options.since, until=options.until),
                options.timeout,
                progress,
                read=self._read,
                grace=options.grace,
                waits=self.waits,
            )
        verdicts = [self._verdict(topic, audit, extents) for topic, audit in self._audits.items()]
        if options.state is not None or options.watch:
            state.settle(self._all)
        if options.state is not None and not any(one.rewound for one in extents.values()):
            state.save(options.state, self._all, self._registry, self._read)
        return verdicts

    def _verdict(self, topic: str, audit: Audit, extents: reader.Extents) -> TopicVerdict:
        window = replace(self.window(topic, extents), now=time.time_ns() // 1_000_000)
        if any(part.front for part in window.parts.values()) and window.since is None:
            kept = reader.retention(self._config, topic, self._options.timeout)
            window = replace(window, retention=kept)
        return judge(audit, topic, window)

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
            rewound=sum(one.rewound for one in own.values()),
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


class Watched:
    """Serves the figures of the last round to anybody who asks.

    Args:
        address: host and port to listen at; None to serve nothing.
    """

    def __init__(self, address: tuple[str, int] | None) -> None:
        self._text = b""
        if address is not None:
            self._serve(address)

    def _serve(self, address: tuple[str, int]) -> None:
        watched = self

        class Page(BaseHTTPRequestHandler):
            """Answers each request with all figures."""

            def do_GET(self) -> None:  # the base's name
                text = watched._text
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                """Keep silent: stderr is for troubles."""

        try:
            server = ThreadingHTTPServer(address, Page)
        except OSError as error:
            host, port = address
            raise CannotRun(f"--metrics: {host}:{port} can't be had: {error}") from error
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def note(self, verdicts: Iterable[TopicVerdict], *, strict: bool) -> None:
        """Take the figures of a round."""
        self._text = "".join(_lines(list(verdicts), strict)).encode()


def _lines(verdicts: list[TopicVerdict], strict: bool) -> Iterator[str]:
    yield "# TYPE kiel_verify_complete gauge\n"
    for one in verdicts:
        complete = one.state(strict=strict) is State.COMPLETE
        yield f'kiel_verify_complete{{topic="{one.topic}"}} {int(complete)}\n'
    yield "# TYPE kiel_verify_records gauge\n"
    for one in verdicts:
        yield f'kiel_verify_records{{topic="{one.topic}"}} {one.records}\n'
    yield "# TYPE kiel_verify_findings gauge\n"
    for one in verdicts:
        counts = one.counts()
        for name in names.FINDINGS:
            labels = f'topic="{one.topic}",finding="{name}"'
            yield f"kiel_verify_findings{{{labels}}} {counts[name]}\n"
    yield "# TYPE kiel_verify_last_round_timestamp_seconds gauge\n"
    yield f"kiel_verify_last_round_timestamp_seconds {time.time():.3f}\n"
