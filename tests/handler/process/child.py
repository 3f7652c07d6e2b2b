"""Runs programs that log to brokers in this process, as children, to their end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.support.waiting import complaints

ROOT: Final = Path(__file__).parents[3]
TIMEOUT: Final = 60

STRICT: Final = ("-X", "dev", "-W", "error")
"""Switches with which nothing that is left open or behind goes unnoticed."""

_BY_DICT_CONFIG: Final = """
import logging, logging.config, sys
options = {options!r}
logging.config.dictConfig({{
    "version": 1,
    "disable_existing_loggers": {disable},
    "handlers": {{"kafka": {{"class": "kiel_logging.KafkaHandler", "topic": "logs", **options}}}},
    "root": {{"handlers": ["kafka"], "level": "INFO"}},
}})
log = logging.getLogger("child")
# In development mode it warns of whatever took long, as everything does on a busy machine.
logging.getLogger("asyncio").setLevel("ERROR")
"""

_BY_HAND: Final = """
import json, logging, os, signal, sys, threading
from kiel_logging import KafkaHandler

options = {options!r}
log = logging.getLogger("child")
log.setLevel("INFO")
# In development mode it warns of whatever took long, as everything does on a busy machine.
logging.getLogger("asyncio").setLevel("ERROR")

def say(**facts):
    os.write(1, json.dumps(facts).encode() + b"\\n")  # at once: others may write there

def fork(work):
    child = os.fork()
    if child == 0:
        work()
        sys.exit()  # the way that programs end
    return child

def wait(*children):
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]

def make(**more):
    handler = KafkaHandler(**{{**options, **more}})
    log.addHandler(handler)
    return handler

def terminate(process=0):
    os.kill(process or os.getpid(), signal.SIGTERM)
"""


_FORKS: Final = ("-W", "ignore:This process:DeprecationWarning")
"""Python 3.12 and later warn of every fork beside a thread; ours can't but be one."""


def run(
    code: str, *switches: str, brokers: list[str], disable: bool = False, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a program whose root logger has a handler by dictConfig, to its end.

    `disable` is what dictConfig's default is. It hides what asyncio and others complain of, so
    that most tests do without.
    """
    setup = _BY_DICT_CONFIG.format(options={"brokers": brokers, **options}, disable=disable)
    return run_program(setup + code, *switches)


def run_by_hand(
    code: str,
    *switches: str,
    brokers: list[str],
    before: str = "",
    prefix: Sequence[str] = (),
    timeout: float = TIMEOUT,
    is_slow: bool = False,
    **options: Any,
) -> subprocess.CompletedProcess[str]:
    """Run a program that calls `make()` for a handler, and may `fork()`, `wait()` and `say()`.

    `before` is what it does before it imports us, `prefix` the command that starts it.
    """
    setup = _BY_HAND.format(options={"brokers": brokers, "topic": "logs", **options})
    program = before + setup + code
    return run_program(program, *switches, prefix=prefix, timeout=timeout, is_slow=is_slow)


def run_program(
    code: str,
    *switches: str,
    prefix: Sequence[str] = (),
    timeout: float = TIMEOUT,
    is_slow: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run `code` to its end; its children too, should it not come to one.

    The notice that its end takes a while is left out of its stderr, unless it `is_slow` by itself.
    """
    with subprocess.Popen(
        [*prefix, sys.executable, *switches, *_FORKS, "-c", code],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as program:
        try:
            out, errors = program.communicate(timeout=timeout)
        except BaseException:
            os.killpg(program.pid, signal.SIGKILL)
            raise
    kept = errors if is_slow else "".join(complaints(errors))
    return subprocess.CompletedProcess(program.args, program.returncode, out, kept)


def said(program: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """All that a program and its children had to `say()`."""
    facts: dict[str, Any] = {}
    for line in program.stdout.splitlines():
        facts.update(json.loads(line))
    return facts


def burst(make: str, *, threads: int, least: int, own: int) -> str:
    """Code of a parent whose threads log, `least` records each, while it forks four children.

    Each child logs `own` records. They say what they logged, for `logged_in()`.
    """
    return f"""
{make}
forked = threading.Event()
logged = []

def burst(thread):
    number = 0
    while number < {least} or (number < 20_000 and not forked.is_set()):
        log.info("parent %d %d", thread, number)
        number += 1
        if number % 20 == 0: forked.wait(0.01)  # the fake broker takes no more
    logged.append((thread, number))

def work():
    for number in range({own}):
        log.info("child %d %d", os.getpid(), number)

threads = [threading.Thread(target=burst, args=(thread,)) for thread in range({threads})]
for thread in threads: thread.start()
children = [fork(work) for _ in range(4)]
statuses = wait(*children)
forked.set()
for thread in threads: thread.join()
say(children=children, statuses=statuses, logged=logged)
"""


def logged_in(told: dict[str, Any], own: int) -> Counter[str]:
    """The messages of all processes of a `burst()`."""
    logged = Counter(f"child {c} {number}" for c in told["children"] for number in range(own))
    for thread, count in told["logged"]:
        logged.update(f"parent {thread} {number}" for number in range(count))
    return logged
