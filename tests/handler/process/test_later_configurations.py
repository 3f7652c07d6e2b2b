"""Programs in which others configure logging, or shut it down, after the handler was made.

uvicorn, Django, alembic and others call ``dictConfig`` or ``fileConfig``, which closes all handlers
of the process. Each test runs a program, against brokers in this process.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from kiel_logging.testing import FakeKafka
from tests.handler.process.child import STRICT, run_by_hand, said
from tests.handler.shipped import messages
from tests.support.examples import combinations
from tests.support.stamps import audited, harm

DICT = """
import logging.config
logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
"""

FILE = """
import io, logging.config
logging.config.fileConfig(io.StringIO(
    "[loggers]\\nkeys=root\\n[handlers]\\nkeys=c\\n[formatters]\\nkeys=\\n"
    "[logger_root]\\nhandlers=c\\n[handler_c]\\nclass=logging.NullHandler\\n"
), disable_existing_loggers=False)
"""

FAILING = """
import logging.config
try:
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": False,
                               "handlers": {"broken": {"class": "no.such.Class"}}})
except ValueError:
    pass
"""

CLOSING = {
    "dictConfig": DICT,
    "fileConfig": FILE,
    "logging.shutdown()": "logging.shutdown()",
    "a dictConfig that fails": FAILING,
    "many": 3 * (DICT + "log.info('between')\n"),
}
HELD_BACK: dict[str, Any] = {"linger_ms": 60_000}
"""Nothing is delivered but by a flush, or at the end."""


@combinations(
    indirect=("spooled",),
    closing=CLOSING,
    spooled={"memory": None, "overflow": "overflow", "always": "always"},
)
def test_a_handler_that_is_still_in_use(
    cluster: FakeKafka, closing: str, spooled: dict[str, Any]
) -> None:
    """Its records arrive, those of the end of the program too."""
    code = f"""
make(chain=True)
log.info("before")
{closing}
for number in range(20): log.info("%d", number)
"""
    options = {**HELD_BACK, **spooled}
    done = run_by_hand(code, *STRICT, brokers=cluster.addresses, **options)
    assert (done.returncode, done.stderr) == (0, "")
    found = [text for text in messages(cluster) if text != "between"]
    assert found == ["before", *map(str, range(20))]
    assert harm(audited(cluster.records("logs"))) == {}


@pytest.mark.parametrize("how", ["os.fork", "multiprocessing"])
def test_a_fork_after_a_configuration(cluster: FakeKafka, how: str) -> None:
    """A child delivers its own records, though its parent's handler was closed."""
    forked = {
        "os.fork": "say(statuses=wait(*(fork(lambda: log.info('child')) for _ in range(3))))",
        "multiprocessing": """
import multiprocessing
context = multiprocessing.get_context("fork")
children = [context.Process(target=log.info, args=("child",)) for _ in range(3)]
for child in children: child.start()
for child in children: child.join()
say(statuses=[child.exitcode for child in children])
""",
    }[how]
    code = f"""
make()
log.info("before")
{DICT}
{forked}
log.info("after")
"""
    done = run_by_hand(code, brokers=cluster.addresses, **HELD_BACK)
    assert (done.returncode, done.stderr, said(done)) == (0, "", {"statuses": [0, 0, 0]})
    assert Counter(messages(cluster)) == {"before": 1, "child": 3, "after": 1}


def test_sigterm_after_a_configuration(cluster: FakeKafka) -> None:
    """A handler that was opened again is flushed like all others."""
    code = f"""
make(flush_on_sigterm=True)
{DICT}
log.info("after")
terminate()
"""
    run_by_hand(code, *STRICT, brokers=cluster.addresses, **HELD_BACK)
    assert messages(cluster) == ["after"]


def test_a_buffer_in_front_that_is_closed_behind_the_handler(cluster: FakeKafka) -> None:
    """logging closes the youngest handler first; what an older one still hands on arrives."""
    code = """
import logging.handlers
memory = logging.handlers.MemoryHandler(1_000)
memory.setTarget(make())
log.handlers = [memory]
log.info("in the buffer")
"""
    done = run_by_hand(code, *STRICT, brokers=cluster.addresses, **HELD_BACK)
    assert (done.returncode, done.stderr) == (0, "")
    assert messages(cluster) == ["in the buffer"]


def test_a_record_after_all_handlers_were_closed(cluster: FakeKafka) -> None:
    """No thread can be started any more: the fallback gets it, it is counted, and this is said."""
    before = """
import atexit
last = []
atexit.register(lambda: [call() for call in last])  # runs after logging's own: it was there first
"""
    code = """
fallback = logging.StreamHandler(sys.stdout)
fallback.setFormatter(logging.Formatter('{"fallback": "%(message)s"}'))
handler = make(fallback=fallback)
log.info("in time")
last += [lambda: log.info("too late"), lambda: say(dropped=handler.stats().dropped)]
"""
    done = run_by_hand(code, *STRICT, brokers=cluster.addresses, before=before)
    assert done.returncode == 0
    assert said(done) == {"fallback": "too late", "dropped": {"closed": {"INFO": 1}}}
    assert "is closed, as the process ends" in done.stderr
    assert messages(cluster) == ["in time"]
