"""The pages of Django, Flask and FastAPI: the servers that come with them, and for production."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from kiel_logging.testing import FakeKafka
from tests.frameworks.server import EXAMPLES, Server, by_request, command, serving, values
from tests.support.waiting import until

slow = pytest.mark.slow
GREETED = [("r-1", "greeting ada"), ("r-2", "greeting bob")]


def greetings(kafka: FakeKafka, topic: str) -> list[tuple[str, str]]:
    """Return those of the records that the views log."""
    return [one for one in by_request(kafka, topic) if one[1].startswith("greeting")]


def copied(name: str, directory: Path) -> Path:
    """Copy an example to where a test may change it."""
    source = EXAMPLES / name
    if source.is_dir():
        return shutil.copytree(source, directory / name)
    return shutil.copy(source, directory / name).parent


def fails(server: Server) -> None:
    """Ask for the page that raises an exception."""
    with pytest.raises(OSError, match="500"):
        server.get("/fail", "r-3")


# -- Django ----------------------------------------------------------------------------------------

DJANGO = EXAMPLES / "django_app"
RUNSERVER = command("django", "python manage.py runserver .*")


@pytest.mark.parametrize(
    ("run", "status"),
    [
        pytest.param([*RUNSERVER, "--noreload"], -signal.SIGTERM, id="runserver", marks=slow),
        pytest.param(command("django", "gunicorn .*"), 0, id="gunicorn", marks=slow),
    ],
)
def test_django(fake_kafka: FakeKafka, tmp_path: Path, run: list[str], status: int) -> None:
    """Records of views and of Django itself have the id of their request, and no object in them."""
    with serving(run, fake_kafka, tmp_path / "log", DJANGO) as server:
        server.get("/hello/ada", "r-1")
        server.get("/hello/bob", "r-2")
        fails(server)
        until(lambda: len(fake_kafka.arrived("shop.django")) >= 3)
        assert server.end(signal.SIGTERM) == status
    assert greetings(fake_kafka, "shop.django") == GREETED
    failed = [one for one in values(fake_kafka, "shop.django") if one["logger"] == "django.request"]
    [failure] = failed
    assert (failure["request_id"], failure["status_code"]) == ("r-3", 500)
    assert failure["exception"]["message"] == "card declined"
    assert "request" not in failure


@slow
def test_a_reload_of_django(fake_kafka: FakeKafka, tmp_path: Path) -> None:
    """The process that served delivers before another one takes its place."""
    copy = copied("django_app", tmp_path)
    with serving(RUNSERVER, fake_kafka, tmp_path / "log", copy) as server:
        server.get("/hello/ada", "r-1")
        server.reload(copy / "shop" / "urls.py")
        fake_kafka.arrived("shop.django", 2)
        server.get("/hello/bob", "r-2", starts=2)
        until(lambda: greetings(fake_kafka, "shop.django") == GREETED)


# -- Flask -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run", "status"),
    [
        pytest.param(command("flask", "flask .*"), -signal.SIGTERM, id="flask run", marks=slow),
        pytest.param(command("flask", "gunicorn .*"), 0, id="gunicorn", marks=slow),
    ],
)
def test_flask(fake_kafka: FakeKafka, tmp_path: Path, run: list[str], status: int) -> None:
    """Records of views, of Flask and of its server have the id of their request."""
    with serving(run, fake_kafka, tmp_path / "log") as server:
        server.get("/hello/ada", "r-1")
        server.get("/hello/bob", "r-2")
        fails(server)
        assert server.end(signal.SIGTERM) == status
    assert greetings(fake_kafka, "shop.flask") == GREETED
    [failure] = [one for one in values(fake_kafka, "shop.flask") if "exception" in one]
    assert (failure["request_id"], failure["logger"]) == ("r-3", "flask_app")
    if run[0] == "flask":
        access = {one for one in by_request(fake_kafka, "shop.flask") if "HTTP/1.1" in one[1]}
        assert {id_ for id_, _ in access} >= {"r-1", "r-2"}


@slow
def test_a_reload_of_flask(fake_kafka: FakeKafka, tmp_path: Path) -> None:
    """The process that served delivers before another one takes its place."""
    copy = copied("flask_app.py", tmp_path)
    run = [*command("flask", "flask .*"), "--debug"]
    with serving(run, fake_kafka, tmp_path / "log", copy) as server:
        server.says("Debugger PIN")
        server.get("/hello/ada", "r-1")
        server.reload(copy / "flask_app.py")
        server.says("Debugger PIN", 2)
        server.get("/hello/bob", "r-2")
        until(lambda: greetings(fake_kafka, "shop.flask") == GREETED)


# -- FastAPI and uvicorn ---------------------------------------------------------------------------


def test_fastapi(fake_kafka: FakeKafka, tmp_path: Path) -> None:
    """Records of coroutines, of functions in threads and of uvicorn's access log have the id of
    their request, and its workers deliver what they log up to their end."""
    run = command("fastapi", "uvicorn .* --workers 2")
    with serving(run, fake_kafka, tmp_path / "log") as server:
        server.says("Application startup complete", 2)
        server.get("/hello/ada", "r-1")
        server.get("/blocking/bob", "r-2")
        fails(server)
        assert server.end(signal.SIGTERM) == 0
    assert greetings(fake_kafka, "shop.fastapi") == GREETED
    found = values(fake_kafka, "shop.fastapi")
    access = {one["request_id"] for one in found if one["logger"] == "uvicorn.access"}
    assert access == {"r-1", "r-2", "r-3"}
    [failure] = [one for one in found if "exception" in one]
    assert (failure["request_id"], failure["logger"]) == ("r-3", "uvicorn.error")
    finished = [one for one in found if one["message"].startswith("Finished server process")]
    assert len({one["process"] for one in finished}) == 2
    assert [one for one in found if "color_message" in one] == []


@slow
def test_a_reload_of_uvicorn(fake_kafka: FakeKafka, tmp_path: Path) -> None:
    """The process that served delivers before another one takes its place."""
    copy = copied("fastapi_app.py", tmp_path)
    run = command("fastapi", "uvicorn .* --reload")
    with serving(run, fake_kafka, tmp_path / "log", copy) as server:
        server.says("Application startup complete")
        server.get("/hello/ada", "r-1")
        server.reload(copy / "fastapi_app.py")
        server.says("Application startup complete", 2)
        server.get("/hello/bob", "r-2")
        assert server.end(signal.SIGTERM) in (0, -signal.SIGTERM)
    assert greetings(fake_kafka, "shop.fastapi") == GREETED
    found = [one["message"] for one in values(fake_kafka, "shop.fastapi")]
    started = [text for text in found if text.startswith("Started server process")]
    finished = [text for text in found if text.startswith("Finished server process")]
    assert len(started) == len(finished) >= 2
