"""The pages answer the browser that has the token, on this host, and no other."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse
from tornado.httputil import HTTPHeaders

from kiel_logging.records import TopicPartition
from kiel_logging.tail.entries import entries
from kiel_logging.view.server import Site
from kiel_logging.view.shelf import Finds
from tests.tail.sample import TIME, arrival

PATHS = ["/", "/records", "/record", "/state", "/else"]


class Client:
    """Asks a site that is served."""

    def __init__(self, site: Site, port: int) -> None:
        self.site = site
        self.port = port
        self.token = {"token": site.token}

    async def ask(
        self,
        path: str,
        query: Mapping[str, str],
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: str = "",
    ) -> HTTPResponse:
        """Return the answer, whatever it is."""
        url = f"http://127.0.0.1:{self.port}{path}?{urlencode(query)}"
        request = HTTPRequest(
            url,
            method=method,
            headers=HTTPHeaders(dict(headers or {})),
            body=body if method in ("POST", "PUT") else None,
        )
        return await AsyncHTTPClient(force_instance=True).fetch(request, raise_error=False)

    async def document(self, path: str, **query: str) -> Any:
        """Return the content of an answer to who has the token."""
        answer = await self.ask(path, {**query, **self.token})
        assert answer.code == 200
        return json.loads(answer.body)


@asynccontextmanager
async def serving() -> AsyncIterator[Client]:
    """Yield a client of a site with three records."""
    site = Site(("shop.app",), lambda: 1.0)
    for text in (b"INFO:a:one", b"ERROR:a:two", b'{"message": "<b>three</b>", "user_id": "ada b"}'):
        came = arrival(text)
        site.shelf.add(Finds().record(came, entries(came)[0], is_repeat=False))
        site.streams.take(came, 1.0, is_repeat=False)
    client = Client(site, site.listen(0))
    try:
        yield client
    finally:
        site.close()


@pytest.mark.gen_test
@pytest.mark.parametrize("path", PATHS)
async def test_nothing_is_answered_without_the_token(path: str) -> None:
    """Nor with another one; the answer says where the right one is."""
    async with serving() as client:
        for query in ({}, {"token": ""}, {"token": "é"}, {"token": client.site.token[:-1]}):
            answer = await client.ask(path, query)
            assert answer.code == 403
            assert b"the address lacks the token" in answer.body


FOREIGN = pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1"},
        {"Host": "127.0.0.1:1"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
"""Requests that other pages make a browser send."""


@pytest.mark.gen_test
@FOREIGN
async def test_other_pages_are_refused(headers: dict[str, str]) -> None:
    """Even one that has found the token, or whose name points to this host."""
    async with serving() as client:
        for path in PATHS:
            answer = await client.ask(path, client.token, headers=headers)
            assert answer.code == 403


@pytest.mark.gen_test
async def test_the_page_itself_is_answered() -> None:
    """With the headers that a browser sends for it."""
    async with serving() as client:
        for host in ("127.0.0.1", "localhost"):
            own = f"{host}:{client.port}"
            headers = {"Host": own, "Origin": f"http://{own}", "Sec-Fetch-Site": "same-origin"}
            answer = await client.ask("/state", client.token, headers=headers)
            assert answer.code == 200


@pytest.mark.gen_test
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "HEAD"])
async def test_nothing_can_be_changed(method: str) -> None:
    """Only GET is answered; a preflight of CORS is refused."""
    async with serving() as client:
        answer = await client.ask("/records", client.token, method=method)
        assert answer.code == 405


@pytest.mark.gen_test
@pytest.mark.parametrize("path", PATHS)
async def test_no_answer_is_for_others(path: str) -> None:
    """No header lets another origin read, frame or keep it; the page runs its own script only."""
    async with serving() as client:
        for query in ({}, client.token):
            headers = (await client.ask(path, query)).headers
            assert not [name for name in headers if name.lower().startswith("access-control")]
            assert "default-src 'none'" in headers["Content-Security-Policy"]
            assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
            assert "unsafe" not in headers["Content-Security-Policy"]
            assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "no-referrer"
            assert headers["Cache-Control"] == "no-store"
            assert "Server" not in headers


@pytest.mark.gen_test
async def test_each_page_has_a_nonce_of_its_own() -> None:
    """Script and style have it, and nothing in the page has another source."""
    async with serving() as client:
        nonces = set()
        for _ in range(2):
            answer = await client.ask("/", client.token)
            policy = answer.headers["Content-Security-Policy"]
            nonce = policy.partition("script-src 'nonce-")[2].partition("'")[0]
            assert answer.body.decode().count(f'nonce="{nonce}"') == 2
            assert b"http" not in answer.body
            nonces.add(nonce)
        assert len(nonces) == 2


@pytest.mark.gen_test
async def test_the_loopback_alone_is_served() -> None:
    """No other address of this host answers."""
    async with serving() as client:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", client.port), 5)


@pytest.mark.gen_test
async def test_records() -> None:
    """The filters of the query choose."""
    async with serving() as client:

        async def messages(**query: str) -> list[str]:
            found = await client.document("/records", **query)
            return [one["message"] for one in found["records"]]

        assert await messages() == ["one", "two", "<b>three</b>"]
        assert await messages(after="2") == ["<b>three</b>"]
        assert await messages(level="ERROR") == ["two"]
        assert await messages(grep="^t") == ["two"]
        assert await messages(where="user_id='ada b'") == ["<b>three</b>"]
        assert await messages(trace="0" * 32) == []
        for query in ({"grep": "("}, {"where": "ada"}, {"where": "'"}):
            assert (await client.document("/records", **query))["wrong"]


@pytest.mark.gen_test
async def test_one_record() -> None:
    """By its place; 404 where none is kept, 400 for no place."""
    async with serving() as client:
        place = {"topic": "shop.app", "partition": "2", "offset": "17"}
        found = await client.document("/record", **place)
        assert [one["message"] for one in found["entries"]] == ["one", "two", "<b>three</b>"]
        assert found["entries"][0]["time"] == TIME
        for offset, code in (("18", 404), ("x", 400), ("9" * 50, 400)):
            query = {**place, **client.token, "offset": offset}
            assert (await client.ask("/record", query)).code == code


@pytest.mark.gen_test
async def test_the_state() -> None:
    """Topics, partitions, streams, and trouble while it is new."""
    async with serving() as client:
        assert await client.document("/state") == {
            "topics": ["shop.app"],
            "trouble": "",
            "buttons": [],
            "ledger": [],
            "partitions": [],
            "streams": [],
        }
        client.site.report("all brokers are down")
        assert (await client.document("/state"))["trouble"] == "all brokers are down"
        client.site.clock = lambda: 100.0
        assert (await client.document("/state"))["trouble"] == ""


@pytest.mark.gen_test
@FOREIGN
async def test_other_pages_press_no_button(headers: dict[str, str]) -> None:
    """Even with the token; and nothing presses one without it, by GET, or with a body."""
    pressed: list[str] = []
    async with serving() as client:
        client.site.buttons["stop"] = lambda: pressed.append("stop")
        button = {"button": "stop"}
        mine = {**button, **client.token}

        async def code(query: Mapping[str, str], method: str = "POST", **given: Any) -> int:
            return (await client.ask("/press", query, method=method, **given)).code

        assert await code(mine, headers=headers) == 403
        assert await code(button) == 403
        assert await code({**button, "token": "x"}) == 403
        assert await code(mine, "GET") == 405
        assert await code(mine, body="x") == 400
        assert not pressed


@pytest.mark.gen_test
async def test_the_page_itself_presses_buttons() -> None:
    """Those that it has, and shows when the topics are read; ``view`` has none."""
    pressed: list[str] = []
    async with serving() as client:
        own = f"127.0.0.1:{client.port}"
        headers = {"Host": own, "Origin": f"http://{own}", "Sec-Fetch-Site": "same-origin"}
        query = {"button": "stop", **client.token}
        assert (await client.ask("/press", query, method="POST", headers=headers)).code == 404
        client.site.buttons["stop"] = lambda: pressed.append("stop")
        assert (await client.document("/state"))["buttons"] == []
        client.site.streams.note({TopicPartition("shop.app", 0): (0, 0)})
        assert (await client.document("/state"))["buttons"] == ["stop"]
        assert (await client.ask("/press", query, method="POST", headers=headers)).code == 200
        assert pressed == ["stop"]
