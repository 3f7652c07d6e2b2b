"""The options of ``kiel-logging ship``, and what it does upon signals."""

import argparse
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from kiel_logging.arguments import add_connection
from kiel_logging.config.properties import complete
from kiel_logging.errors import ConfigurationError, KielError
from kiel_logging.handler.options import HANDLER
from kiel_logging.output import CannotRun
from kiel_logging.printable import printable
from kiel_logging.ship.daemon import Daemon, Signals

_ALL_SENT, _NOT_ALL_SENT = range(2)

DESCRIPTION: Final = """\
Sends the records that kiel_logging.SpoolHandlers append to their spool_dir, for all programs of a
host, living and dead, with one connection to each broker. It stays in the foreground, until
SIGTERM or Ctrl-C; SIGHUP has it read its configuration and credentials again.

Any number of them may run: by locks they agree who sends whose records. So it can be stopped,
killed and started at any time; another one, or the next one, continues where it was.
"""

EPILOG: Final = """\
exit status:
  0    stopped by SIGTERM; with --once: all that was there is sent
  1    with --once: something is not sent
  2    wrong options, or a directory can't be read
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to ``parser``."""
    add = parser.add_argument
    add(
        "--spool-dir",
        action="append",
        required=True,
        metavar="DIR",
        help="a spool_dir of SpoolHandlers, or a directory that has one for each user; may be "
        "repeated",
    )
    add_connection(parser, timeout=60.0, meaning="with --once: for how long at most")
    add(
        "--chain-key",
        action="append",
        metavar="FILE",
        help="a secret for the digests of SpoolHandlers with chain=True; may be repeated: the key "
        "of now, then former ones",
    )
    add(
        "--http",
        metavar="PLACE",
        help="answer /metrics (for Prometheus) and /healthz there: a port of the loopback, or the "
        "path of a Unix socket",
    )
    once = parser.add_mutually_exclusive_group().add_argument
    once("--once", action="store_true", help="send what is there, and end")
    once("--top", action="store_true", help="show the streams with the most bytes, each second")


def run(arguments: argparse.Namespace) -> int:
    """Ship, and return the exit status."""
    directories = tuple(Path(one).absolute() for one in arguments.spool_dir)
    try:
        for path in directories:
            path.stat()
        daemon = Daemon(directories, lambda: _options(arguments))
        if arguments.http is not None:
            from kiel_logging.ship.watch import serve  # few need it

            serve(arguments.http, daemon)
    except OSError as error:
        raise CannotRun(
            f"{error.filename} can't be read: {error.strerror}: make it, or choose another"
        ) from error
    if arguments.once:
        return _send_once(daemon, arguments.timeout)
    return _serve(daemon, shows=arguments.top)


def _options(arguments: argparse.Namespace) -> Mapping[str, Any]:
    """Return the options of the handler that this is, as files say now."""
    own: dict[str, Any] = {}
    if arguments.brokers is not None:
        own["brokers"] = arguments.brokers
    if arguments.chain_key is not None:
        own["chain_key"] = [{"file": one} for one in arguments.chain_key]
    if arguments.config is not None:
        return complete(arguments.config, own, HANDLER)
    if "brokers" not in own:
        raise ConfigurationError("no brokers are named: give --brokers or --config")
    return own


def _send_once(daemon: Daemon, timeout: float) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_NOT_ALL_SENT))
    try:
        daemon.start()
        done = daemon.send_all(timeout)
    finally:
        daemon.close()
    return _ALL_SENT if done else _NOT_ALL_SENT


def _serve(daemon: Daemon, *, shows: bool) -> int:
    with Signals() as signals:
        try:
            daemon.start()
            while (number := signals.wait(_SHOWN_EVERY if shows else _FOR_LONG)) != signal.SIGTERM:
                if shows:
                    _show(daemon)
                if number == signal.SIGINT:
                    raise KeyboardInterrupt
                if number == signal.SIGHUP:
                    _reload(daemon)
        finally:
            daemon.close()
    return _ALL_SENT


def _reload(daemon: Daemon) -> None:
    try:
        daemon.reload()
    except KielError as error:
        _report(f"the configuration stays as it was: {error}")


def _show(daemon: Daemon) -> None:
    from kiel_logging.ship.watch import table  # few need it

    rows = shutil.get_terminal_size().lines
    lines = "\n".join(table(daemon, rows))
    sys.stdout.write(f"{_CLEAR if sys.stdout.isatty() else ''}{lines}\n")
    sys.stdout.flush()


_FOR_LONG: Final = 3600.0
_SHOWN_EVERY: Final = 1.0
_CLEAR: Final = "\x1b[H\x1b[2J"


def _report(text: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(f"kiel-logging ship: {printable(text)}\n")
