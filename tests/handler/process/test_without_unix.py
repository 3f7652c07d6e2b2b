"""A Python without Unix's modules, as on Windows, simulated in another program."""

from __future__ import annotations

from pathlib import Path

from kiel_logging.testing import FakeKafka
from tests.handler.process.child import run_by_hand, said
from tests.handler.shipped import messages

TAKEN_AWAY = """
import asyncio, os, selectors, sys  # Windows has its own of what these need
for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[name] = None
for name in ("fork", "register_at_fork", "geteuid", "pread", "pwrite", "fdatasync"):
    delattr(os, name)
selectors.DefaultSelector = selectors.SelectSelector
"""


def test_a_handler_without_a_spool(cluster: FakeKafka) -> None:
    """Ships as everywhere."""
    code = "make()\nfor number in range(100): log.info('%d', number)"
    done = run_by_hand(code, brokers=cluster.addresses, before=TAKEN_AWAY)
    assert (done.returncode, done.stderr) == (0, "")
    assert messages(cluster) == [str(number) for number in range(100)]


def test_a_spool(cluster: FakeKafka, tmp_path: Path) -> None:
    """Is refused when the handler is made, with what it needs."""
    code = """
try:
    make()
except Exception as error:
    say(error=f"{type(error).__name__}: {error}")
"""
    options = {"spool_dir": str(tmp_path / "spool")}
    done = run_by_hand(code, brokers=cluster.addresses, before=TAKEN_AWAY, **options)
    assert said(done)["error"].startswith("ConfigurationError: spool_dir needs a Unix"), done.stderr
    assert not (tmp_path / "spool").exists()
