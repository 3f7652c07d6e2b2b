"""The options of ``kiel-logging view``, and the run: a thread that reads, a loop that answers."""

import argparse
import asyncio
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import urlsplit

from kiel_logging.arguments import require, whole
from kiel_logging.output import CannotRun
from kiel_logging.tail.command import add_topics, options_of
from kiel_logging.tail.filters import TailOptions
from kiel_logging.tail.screen import Shown
from kiel_logging.view.shelf import Finds, Found

if TYPE_CHECKING:
    from kiel_logging.tail.reader import Progress
    from kiel_logging.view.server import Site

_LINES: Final = 200
_SLICE: Final = 200
_PROGRESS_EVERY_S: Final = 1.0
_CLOSED_WITHIN_S: Final = 0.5

DESCRIPTION: Final = """\
Shows the records of topics in a browser on this host: live, with filters; a page for each record;
rates and lag of partitions; numbers and digests of streams; ledgers of handlers. It prints the
address to open, which has a token in it: without the token nothing is answered, and from other
hosts nothing can be asked. It writes nothing to Kafka and commits no offsets.
"""

EPILOG: Final = """\
exit status:
  2  the topics could not be read, or the port is taken
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to ``parser``."""
    add_topics(parser, _LINES)
    parser.add_argument(
        "--port",
        type=whole(0, 65_535),
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


def run(arguments: argparse.Namespace) -> NoReturn:
    """Serve until Ctrl-C, or until the topics can't be read."""
    require("tail", "confluent_kafka")
    from kiel_logging.view.ledger import Ledger
    from kiel_logging.view.server import Site

    options = options_of(arguments, _LINES)
    site, ledger = Site(options.topics, time.monotonic), Ledger(arguments.metrics)
    site.ledger = ledger.document
    try:
        asyncio.run(serve(site, options, arguments.port, ledger.watch()))
    except OSError as error:
        raise CannotRun(f"port {arguments.port} can't be had: {error.strerror}") from error


async def serve(
    site: "Site", options: TailOptions, port: int, beside: Coroutine[Any, Any, None]
) -> NoReturn:
    """Answer requests while a thread reads, and run ``beside``.

    Raises:
        OSError: the port can't be had.
        CannotRun, ConfigurationError: the topics can't be read.
    """
    side = asyncio.ensure_future(beside)
    bound = site.listen(port)
    failure: asyncio.Future[NoReturn] = asyncio.get_running_loop().create_future()
    reader = _Reader(site, options, failure)
    reader.start()
    try:
        sys.stdout.write(f"{site.url(bound)}\n")
        sys.stdout.flush()
        await failure
    finally:
        side.cancel()
        reader.stop()
        site.close()


class _Reader:
    """A thread that reads, and hands what it reads to the loop of the server."""

    def __init__(
        self, site: "Site", options: TailOptions, failure: asyncio.Future[NoReturn]
    ) -> None:
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
        from kiel_logging.tail.reader import tail

        try:
            tail(self._options, Finds(), self)
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
        try:
            if not self._is_over.is_set():
                self._loop.call_soon_threadsafe(function, argument)
                return
        except RuntimeError:  # the loop is closed
            pass
        sys.exit()


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
