"""The pages of ``view``, for who has the token: on the loopback, and for no other page.

Other programs of the host, and pages of other origins in the same browser, are kept out. A request
needs the token, and a ``Host`` of the loopback, so that a foreign name which points here (DNS
rebinding) is refused. Nothing allows other origins to read an answer (CORS), and the page may load
nothing, run no script but its own, and send data nowhere else (content security policy).
"""

import re
import shlex
import socket
from collections.abc import Callable
from hmac import compare_digest
from importlib.resources import files
from secrets import token_urlsafe
from typing import Any, Final

from tornado.httpserver import HTTPServer
from tornado.web import Application, HTTPError, RequestHandler

from kiel_logging.records import TopicPartition
from kiel_logging.tail.entries import severity_of
from kiel_logging.tail.filters import Filters
from kiel_logging.view.shelf import Shelf
from kiel_logging.view.streams import Streams

LOOPBACK: Final = "127.0.0.1"
_NAMES: Final = (LOOPBACK, "localhost")
_MOST_OF_A_QUERY: Final = 500
_SHOWN_FOR_S: Final = 60.0
_NONCE: Final = "__NONCE__"


class Site:
    """All that the pages show, and the token that they need."""

    def __init__(self, topics: tuple[str, ...], clock: Callable[[], float]) -> None:
        self.topics = topics
        self.clock = clock
        self.token = token_urlsafe(24)
        self.shelf = Shelf()
        self.streams = Streams()
        self.ledger: Callable[[], list[dict[str, Any]]] = list
        self.buttons: dict[str, Callable[[], None]] = {}
        self._trouble = ("", 0.0)
        self._server = HTTPServer(self._application(), max_body_size=0)
        self.page = files("kiel_logging.view").joinpath("page.html").read_text("utf-8")

    def report(self, trouble: str) -> None:
        """Show this for a while."""
        self._trouble = trouble, self.clock() + _SHOWN_FOR_S

    @property
    def trouble(self) -> str:
        """The newest error of the client, if it is new."""
        text, until = self._trouble
        return text if self.clock() < until else ""

    def listen(self, port: int) -> int:
        """Serve on a port of the loopback, 0 for any; return the port.

        Raises:
            OSError: it can't be had.
        """
        listener = socket.create_server((LOOPBACK, port))
        listener.setblocking(False)
        bound: int = listener.getsockname()[1]
        self.hosts = {f"{name}:{bound}" for name in _NAMES}
        self._server.add_socket(listener)
        return bound

    def close(self) -> None:
        """Serve no longer."""
        self._server.stop()

    def url(self, port: int) -> str:
        """Return the address of the page."""
        return f"http://{LOOPBACK}:{port}/?token={self.token}"

    def _application(self) -> Application:
        given = {"site": self}
        return Application(
            [
                (r"/", _Page, given),
                (r"/records", _Records, given),
                (r"/record", _Record, given),
                (r"/state", _State, given),
                (r"/press", _Press, given),
                (r".*", _Nothing, given),
            ],
            log_function=lambda _handler: None,  # its lines would show the token
        )


class _Guarded(RequestHandler):
    """Answers requests with the token, from the loopback."""

    SUPPORTED_METHODS: tuple[str, ...] = ("GET",)

    def initialize(self, site: Site) -> None:
        self.site = site

    def prepare(self) -> None:
        """Refuse whatever does not come from the page."""
        headers = self.request.headers
        if self.request.host not in self.site.hosts:
            raise HTTPError(403)
        if headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            raise HTTPError(403)
        origin = headers.get("Origin")
        if origin is not None and origin.removeprefix("http://") not in self.site.hosts:
            raise HTTPError(403)
        token = self.get_query_argument("token", "").encode()
        if not compare_digest(token, self.site.token.encode()):
            raise HTTPError(403)

    def set_default_headers(self) -> None:
        """Let no answer be kept, framed, guessed at, or read by other origins."""
        self.clear_header("Server")
        for name, value in (
            ("Cache-Control", "no-store"),
            ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
            ("Cross-Origin-Opener-Policy", "same-origin"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Referrer-Policy", "no-referrer"),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "DENY"),
        ):
            self.set_header(name, value)

    def write_error(self, status_code: int, **_: Any) -> None:
        """Answer with a line of text."""
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(_ERRORS.get(status_code, "this can't be answered") + "\n")

    def text(self, name: str) -> str:
        """Return a short argument."""
        return self.get_query_argument(name, "")[:_MOST_OF_A_QUERY]

    def whole(self, name: str) -> int:
        """Return an argument that is a whole number."""
        text = self.text(name) or "0"
        if not text.isdecimal() or not text.isascii() or len(text) > 18:
            raise HTTPError(400)
        return int(text)


_ERRORS: Final = {
    400: "an argument makes no sense",
    403: "the address lacks the token: open the one that kiel-logging view has shown",
    404: "it is not there, or not kept any more",
    405: "this is not answered",
}


class _Nothing(_Guarded):
    def get(self) -> None:
        raise HTTPError(404)


class _Page(_Guarded):
    def get(self) -> None:
        nonce = token_urlsafe(16)
        self.set_header(
            "Content-Security-Policy",
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
            "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        )
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(self.site.page.replace(_NONCE, nonce))


class _Records(_Guarded):
    def get(self) -> None:
        """The newest records behind the id ``after`` that pass the filters of the query."""
        try:
            filters = _filters(self.text)
        except ValueError as error:
            self.finish({"wrong": str(error)})
            return
        self.finish(self.site.shelf.newest(filters, self.whole("after")))


class _Record(_Guarded):
    def get(self) -> None:
        """All that is known of the record at ``topic``, ``partition``, ``offset``."""
        at = TopicPartition(self.text("topic"), self.whole("partition"))
        found = self.site.shelf.at(at, self.whole("offset"))
        if not found:
            raise HTTPError(404)
        self.finish({"entries": found})


class _State(_Guarded):
    def get(self) -> None:
        """Partitions, streams, ledgers, and whether the brokers answer."""
        site = self.site
        state = site.streams.document(site.clock())
        # A broker that is stopped before all partitions are found ends the reader.
        buttons = sorted(site.buttons) if state["partitions"] else []
        own = {"topics": site.topics, "trouble": site.trouble, "buttons": buttons}
        self.finish({**own, "ledger": site.ledger(), **state})


class _Press(_Guarded):
    SUPPORTED_METHODS = ("POST",)

    def post(self) -> None:
        """Press a button of the page, if it is there: only ``demo`` has some."""
        press = self.site.buttons.get(self.text("button"))
        if press is None:
            raise HTTPError(404)
        press()
        self.finish({})


def _filters(text: Callable[[str], str]) -> Filters:
    """Return the filters of a query.

    Raises:
        ValueError: one makes no sense; says why.
    """
    level, grep, where = text("level"), text("grep"), text("where")
    try:
        pattern = re.compile(grep) if grep else None
    except re.error as error:
        raise ValueError(f"this is no regular expression: {error}") from None
    conditions = [one.partition("=") for one in shlex.split(where)]
    if not all(name and equals for name, equals, _ in conditions):
        raise ValueError("fields are FIELD=VALUE or FIELD='A VALUE', with spaces between them")
    return Filters(
        level=severity_of(level) if level else None,
        where=tuple((name, value) for name, _, value in conditions),
        grep=pattern,
        trace=text("trace") or None,
    )
