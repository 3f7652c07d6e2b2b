"""Ledgers that handlers and shippers expose for Prometheus: fetched from named places alone.

A place is a URL, or the path of a Unix socket. An answer is bounded in size and in time, redirects
and proxies are not followed, and only the figures of kiel_logging are taken from it.
"""

import asyncio
import re
import socket
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

from tornado.httpclient import HTTPRequest
from tornado.netutil import Resolver
from tornado.simple_httpclient import SimpleAsyncHTTPClient

EVERY_S: Final = 2.0
WITHIN_S: Final = 2.0
MOST_BYTES: Final = 1024 * 1024

_MOST_ROWS: Final = 200
_MOST_OF_A_TEXT: Final = 200
_MOST: Final = 1e15
_SAMPLE: Final = re.compile(r"kiel_(?:logging|ship)_(\w+)(?:\{(.*)\})? (\d[\d.eE+-]*)(?: \d+)?")
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_OF_HISTOGRAMS: Final = ("_bucket", "_sum", "_count", "_created")
_SUBJECTS: Final = ("handler", "topic")
_DETAILS: Final = ("reason", "error", "kind")


class _Socket(Resolver):
    """Finds a Unix socket, whatever the name."""

    def initialize(self, path: str) -> None:
        self._path = path

    async def resolve(self, *_: object, **__: object) -> list[tuple[int, Any]]:
        """Return its address."""
        return [(socket.AF_UNIX, self._path)]


class Ledger:
    """The figures of some places, as they last answered."""

    def __init__(self, places: Iterable[str]) -> None:
        self._places = tuple(dict.fromkeys(places))
        self._found: dict[str, dict[str, Any]] = {}

    async def watch(self) -> None:
        """Fetch the figures again and again."""
        while True:
            await self.fetch()
            await asyncio.sleep(EVERY_S)

    async def fetch(self) -> None:
        """Fetch the figures of all places, or learn why not."""
        await asyncio.gather(*(self._fetch(place) for place in self._places))

    async def _fetch(self, place: str) -> None:
        is_socket = place.startswith("/")
        client = SimpleAsyncHTTPClient(
            force_instance=True,
            max_body_size=MOST_BYTES,
            resolver=_Socket(path=place) if is_socket else Resolver(),
        )
        request = HTTPRequest(
            "http://localhost/metrics" if is_socket else place,
            connect_timeout=WITHIN_S,
            request_timeout=WITHIN_S,
            follow_redirects=False,
            decompress_response=False,
        )
        try:
            answer = await client.fetch(request)
            self._found[place] = {"error": "", "tables": tables(answer.body.decode())}
        except Exception as error:
            self._found[place] = {"error": str(error) or type(error).__name__, "tables": []}
        finally:
            client.close()

    def document(self) -> list[dict[str, Any]]:
        """Return all of it as a JSON document."""
        return [{"place": place, **found} for place, found in self._found.items()]


def tables(text: str) -> list[dict[str, Any]]:
    """Lay out the figures of kiel_logging in Prometheus' text: a row for each handler or topic.

    Figures that differ by reason, error or kind have columns of their own; those that differ by
    other labels are added up. Histograms, and columns without any number, are left out.
    """
    cells: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for sample in filter(None, map(_SAMPLE.fullmatch, text.splitlines())):
        name, labels, value = sample.groups()
        known = dict(_LABEL.findall(labels or ""))
        if not name.endswith(_OF_HISTOGRAMS):
            subject = next((one for one in _SUBJECTS if one in known), "")
            details = (known[one] for one in _DETAILS if known.get(one))
            head = " ".join([name.removesuffix("_total").replace("_", " "), *details])
            row = cells[subject][known.get(subject, "all")]
            row[head] = row.get(head, 0) + float(value)
    return [_table(subject, rows) for subject, rows in cells.items()]


def _table(subject: str, rows: dict[str, dict[str, float]]) -> dict[str, Any]:
    heads = list(
        dict.fromkeys(head for row in rows.values() for head, value in row.items() if value)
    )
    shown = [
        [name[:_MOST_OF_A_TEXT], *(round(min(row.get(head, 0), _MOST), 3) for head in heads)]
        for name, row in sorted(rows.items())[:_MOST_ROWS]
    ]
    return {"heads": [subject, *heads], "rows": shown}
