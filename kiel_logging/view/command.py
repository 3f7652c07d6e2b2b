"""The options of ``kiel-logging view``, and the run: a thread that reads, a loop that answers."""

import argparse
import asyncio
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from kiel_logging.arguments import advice
from kiel_logging.errors import ConfigurationError
from kiel_logging.printable import printable
from kiel_logging.tail.command import add_topics, lines_of, topics_of
from kiel_logging.tail.screen import Shown
from kiel_logging.view.shelf import Finds, Found

if TYPE_CHECKING:
    from kiel_logging.tail.reader import Progress, TailOptions
    from kiel_logging.view.server import Site

_CANNOT_VIEW: Final = 2
_LINES: Final = 200
_SLICE: Final = 200
_PROGRESS_EVERY_S: Final = 1.0
_CLOSED_WITHIN_S: Final = 0.5

_DESCRIPTION: Final = """\
Shows the records of topics in a browser on this host: live, with filters; a page for each record;
rates and lag of partitions; numbers and digests of streams; ledgers of handlers. It prints the
address to open, which has a token in it: without the token nothing is answered, and from other
hosts nothing can be asked. It writes nothing to Kafka and commits no offsets.
"""

_EPILOG: Final = """\
exit status:
  2  the topics could not be read, or the port is taken
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to ``parser``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = _DESCRIPTION
    parser.epilog = _EPILOG
    add_topics(parser, _LINES)
    parser.add_argument(
        "--port",
        type=_port,
        default=0,
        metavar="N",
        help="of the loopback interface, the only one that is served (any free one)",
    )
    parser.add_argument(
        "--metrics",
        type=_metrics,
        action="append",
        default=[],
        metavar="PLACE",
        help="show the ledgers of handlers and shippers that answer there: the URL of a program "
        "for Prometheus, the URL or Unix socket of kiel-logging ship --http; may be repeated",
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C, or until the topics can't be read; return the exit status."""
    if lacking := advice("view", "tail", ("confluent_kafka",)):
        sys.stderr.write(lacking)
        return _CANNOT_VIEW
    from kiel_logging.tail.reader import TailOptions

    options = TailOptions(
        topics=topics_of(arguments),
        config=arguments.config,
        brokers=arguments.brokers,
        timeout=arguments.timeout,
        since=arguments.since,
        lines=lines_of(arguments, _LINES),
    )
    from kiel_logging.view.ledger import Ledger
    from kiel_logging.view.server import Site

    site, ledger = Site(options.topics, time.monotonic), Ledger(arguments.metrics)
    site.ledger = ledger.document
    try:
        error = asyncio.run(serve(site, options, arguments.port, ledger.watch()))
    except OSError as failure:
        error = f"port {arguments.port} can't be had: {failure.strerror}"
    sys.stderr.write(f"kiel-logging view: {printable(error)}\n")
    return _CANNOT_VIEW


async def serve(
    site: "Site", options: "TailOptions", port: int, beside: Coroutine[Any, Any, None]
) -> str:
    """Answer requests while a thread reads, and run ``beside``; return why it ended.

    Raises:
        OSError: the port can't be had.
    """
    side = asyncio.ensure_future(beside)
    bound = site.listen(port)
    failure: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    reader = _Reader(site, options, failure)
    reader.start()
    try:
        sys.stdout.write(f"{site.url(bound)}\n")
        sys.stdout.flush()
        return await failure
    finally:
        side.cancel()
        reader.stop()
        site.close()


class _Reader:
    """A thread that reads, and hands what it reads to the loop of the server."""

    def __init__(self, site: "Site", options: "TailOptions", failure: asyncio.Future[str]) -> None:
        self._site = site
        self._options = options
        self._failure = failure
        self._loop = failure.get_loop()
        self._next_progress = 0.0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="view", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, which closes its client; wait for a moment."""
        self._is_over.set()
        self._thread.join(_CLOSED_WITHIN_S)

    def _run(self) -> None:
        """Read until the topics can't be read."""
        from kiel_logging.tail.reader import CannotRead, tail

        try:
            tail(self._options, Finds(), self)
        except (CannotRead, ConfigurationError) as error:
            self._call(self._failure.set_result, str(error))
        except Exception as error:
            self._call(self._failure.set_exception, error)

    def show(self, all_shown: Iterator[Shown[Found]]) -> None:
        """Put records on the shelf, some at a time: a backlog may be long."""
        some: list[Found] = []
        for shown in all_shown:
            some.append(shown.content)
            if len(some) >= _SLICE:
                self._call(self._put, some)
                some = []
        if some:
            self._call(self._put, some)

    def rest(self, progress: "Progress") -> None:
        """Note how far the partitions are read."""
        now = time.monotonic()
        if self._is_over.is_set():
            sys.exit()
        if now >= self._next_progress:
            self._next_progress = now + _PROGRESS_EVERY_S
            self._call(self._site.streams.note, progress())

    def report(self, trouble: str) -> None:
        """Show an error that the client gets over by itself."""
        self._call(self._site.report, trouble)

    def _put(self, some: list[Found]) -> None:
        now = self._site.clock()
        for found in some:
            self._site.shelf.add(found)
            if found.arrival is not None:
                self._site.streams.take(found.arrival, now, is_repeat=found.is_repeat)
            elif found.gap is not None:
                self._site.streams.miss(found.gap)

    def _call(self, function: Callable[[Any], object], argument: object) -> None:
        if self._is_over.is_set():
            sys.exit()
        self._loop.call_soon_threadsafe(function, argument)


def _metrics(text: str) -> str:
    if text.startswith("/"):
        return text
    try:
        url = urlsplit(text)
        named = url.hostname and url.port != 0
    except ValueError:
        named = False
    if not named or url.scheme not in ("http", "https") or "@" in url.netloc:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither http://HOST:PORT/PATH (or https) nor the path of a socket"
        )
    return text if url.path else f"{text}/metrics"


def _port(text: str) -> int:
    if not text.isdecimal() or not text.isascii() or not 0 <= int(text[:6]) <= 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port")
    return int(text)
