"""The figures of handlers and shippers, from places that may answer anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_unix_socket
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from kiel_logging.cli import main
from kiel_logging.view import ledger
from kiel_logging.view.ledger import MOST_BYTES, Ledger, tables

TEXT = """\
# TYPE kiel_logging_records_emitted counter
kiel_logging_records_emitted_total{handler="b"} 3.0
kiel_logging_records_emitted_total{handler="a,} 9",pid="1"} 1.0
kiel_logging_records_emitted_total{handler="a,} 9",pid="2"} 4.0 1700000000000
kiel_logging_records_dropped_total{handler="b",level="INFO",reason="buffer_full"} 1.0
kiel_logging_records_dropped_total{handler="b",level="ERROR",reason="buffer_full"} 1e999
kiel_logging_records_failed_total{handler="b"} 0.0
kiel_logging_latency_seconds_bucket{handler="b",le="+Inf"} 7.0
kiel_logging_latency_seconds_sum{handler="b"} 7.0
python_info{version="3"} 1.0
kiel_ship_connections 2
kiel_ship_backlog_bytes{topic="shop.app"} NaN
"""
TABLES = [
    {
        "heads": ["handler", "records emitted", "records dropped buffer_full"],
        "rows": [["a,} 9", 5.0, 0], ["b", 3.0, 1e15]],
    },
    {"heads": ["", "connections"], "rows": [["all", 2.0]]},
]


def test_figures_are_laid_out() -> None:
    """A row for each handler or topic, a column for each figure that is not 0 and its reason."""
    assert tables(TEXT) == TABLES


class _Answer(RequestHandler):
    """One answer for each path."""

    async def get(self) -> None:
        match self.request.path:
            case "/metrics":
                self.finish(TEXT)
            case "/away":
                self.redirect("/metrics")
            case "/long":
                self.finish("#" * (MOST_BYTES + 1))
            case "/slow":
                await asyncio.Event().wait()
            case "/binary":
                self.finish(b"\xff")


@asynccontextmanager
async def answering(path: Path | None = None) -> AsyncIterator[int]:
    """Yield the port at which a program answers, or 0 where it is a Unix socket."""
    listener, port = bind_unused_port() if path is None else (bind_unix_socket(str(path)), 0)
    server = HTTPServer(Application([(".*", _Answer)], log_function=lambda _: None))
    server.add_socket(listener)
    try:
        yield port
    finally:
        server.stop()
        await server.close_all_connections()


async def _asked(place: str) -> dict[str, Any]:
    asked = Ledger([place])
    await asked.fetch()
    [found] = asked.document()
    assert found["place"] == place
    return found


@pytest.mark.gen_test
async def test_a_port_and_a_socket_are_asked(tmp_path: Path) -> None:
    """As ``kiel-logging ship --http`` takes either."""
    async with answering() as port, answering(tmp_path / "ship"):
        for place in (f"http://127.0.0.1:{port}/metrics", str(tmp_path / "ship")):
            assert await _asked(place) == {"place": place, "error": "", "tables": TABLES}


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("away", "302"),
        ("long", ""),
        ("slow", "Timeout"),
        ("binary", "can't decode"),
    ],
)
async def test_an_answer_is_bounded(path: str, error: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In size and time; a redirect to elsewhere is not followed; all of it is an error to show."""
    if path == "slow":
        monkeypatch.setattr(ledger, "WITHIN_S", 0.1)
    async with answering() as port:
        found = await _asked(f"http://127.0.0.1:{port}/{path}")
    assert found["error"]
    assert error in found["error"]
    assert found["tables"] == []


@pytest.mark.gen_test
async def test_a_place_where_nothing_answers(tmp_path: Path) -> None:
    """It is an error to show, until something does."""
    assert (await _asked(str(tmp_path / "none")))["error"]


@pytest.mark.parametrize(
    "place",
    ["file:///etc/passwd", "127.0.0.1:9321", "http://", "http://a:b@c/", "http://[", "http://a:x/"],
)
def test_other_places_are_refused(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Only http, https and sockets, with no password that the page would show."""
    with pytest.raises(SystemExit) as ended:
        main(["view", "shop", "--metrics", place])
    assert ended.value.code == 2
    assert "neither http" in capsys.readouterr().err
