"""The ``kiel-logging`` command: its help, its versions, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from kiel_logging.cli import SUBCOMMANDS, main
from kiel_logging.constants import VERSION

PATIENCE = 60.0
COMMAND = [sys.executable, "-m", "kiel_logging"]
ROOT = Path(__file__).parents[1]


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """``--help`` has a line for each subcommand."""
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in SUBCOMMANDS)


@pytest.mark.parametrize("words", [[], *([name] for name in SUBCOMMANDS)], ids=str)
def test_every_help_has_the_statuses(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Those of all commands are documented with each."""
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for status in ("  2  ", "  130  ", "  141  "):
        assert status in shown.partition("exit status")[2]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """``--version`` shows all that a bug report needs: compiled code, Python, dependencies."""
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    first, compiled, python, *packages = capsys.readouterr().out.splitlines()
    assert first == f"kiel-logging {VERSION}"
    try:
        import kiel_logging._accelerator  # noqa: F401
    except ImportError:
        assert compiled.startswith("compiled code: not in use")
    else:
        assert compiled == "compiled code: in use"
    assert f"Python {sys.version.split()[0]}" in python
    assert any(line.startswith("tornado ") for line in packages)


def test_no_command_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a subcommand the usage is printed and the exit status is 2."""
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


# Each writes to standard output, and all but the last before it ends.
PRINTING = ["--version", "verify --help", "demo --show-config"]


@pytest.mark.parametrize("words", PRINTING)
@pytest.mark.parametrize(
    ("where", "why"),
    [
        (">&-", "standard output is closed"),
        (">/dev/full", "standard output can't be written: No space left on device"),
    ],
)
def test_output_that_can_not_be_written(words: str, where: str, why: str) -> None:
    """Status 2, and one line that says why."""
    done = subprocess.run(
        ["/bin/sh", "-c", f'"$0" -m kiel_logging {words} {where}', sys.executable],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=PATIENCE,
    )
    name = "kiel-logging demo" if words.startswith("demo") else "kiel-logging"
    if words.startswith("verify"):
        name = "kiel-logging verify"
    assert (done.returncode, done.stderr) == (2, f"{name}: {why}\n")


@pytest.mark.parametrize("words", PRINTING)
def test_a_reader_that_went_away(words: str) -> None:
    """Status 141 and no text: head has what it wanted."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*COMMAND, *words.split()],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            timeout=PATIENCE,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("where", ["2>&-", "2>/dev/full"])
def test_errors_that_can_not_be_written(where: str) -> None:
    """The status is what it is, and standard output has no trace of it."""
    done = subprocess.run(
        ["/bin/sh", "-c", f'"$0" -m kiel_logging nonsense {where}', sys.executable],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stdout) == (2, "")


_STUBBORN = """
import signal, sys, types
from kiel_logging import cli

def run(arguments):
    print("ready", flush=True)
    while True:
        try:
            signal.pause()
        except KeyboardInterrupt:
            {then}

module = types.ModuleType("stubborn")
module.configure, module.run = lambda parser: None, run
module.DESCRIPTION = module.EPILOG = ""
sys.modules["stubborn"] = module
cli.SUBCOMMANDS["demo"] = cli.Subcommand("stubborn", "waits for ever")
sys.argv[1:] = ["demo"]
sys.exit(cli.main())
"""


@pytest.mark.parametrize("then", ["pass", "raise"])
@pytest.mark.parametrize("times", [1, 3])
def test_ctrl_c(then: str, times: int) -> None:
    """Status 130 and one word, even if the command waits in a ``finally``, or for C code."""
    with subprocess.Popen(
        [sys.executable, "-c", _STUBBORN.format(then=then)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        for _ in range(times):
            running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=PATIENCE)
    assert (running.returncode, errors) == (130, "\ninterrupted\n")


def test_ctrl_c_of_a_program_that_calls_it() -> None:
    """``main()`` leaves the program's own way with Ctrl-C as it was, and no thread."""
    before, threads = signal.getsignal(signal.SIGINT), threading.enumerate()
    for _ in range(20):
        assert main(["demo", "--show-config"]) == 0
        assert (signal.getsignal(signal.SIGINT), threading.enumerate()) == (before, threads)
    assert signal.set_wakeup_fd(-1) == -1
