"""One broker process: started, stopped, killed, paused and resumed by its own process id."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_GUARDIAN = Path(__file__).with_name("guardian.py")
_STOP_TIMEOUT = 30.0


class Guardian:
    """Kills the brokers when this process is gone, however that came. See guardian.py."""

    def __init__(self, directory: Path) -> None:
        """Start the process that will remove `directory`."""
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_GUARDIAN), str(directory)],
            stdin=subprocess.PIPE,
            text=True,
            bufsize=1,
            start_new_session=True,
        )

    def add(self, pid: int) -> None:
        """Have `pid` killed when this process is gone."""
        self._write(f"+{pid}")

    def forget(self, pid: int) -> None:
        """`pid` has ended; the number may soon be another process's."""
        self._write(f"-{pid}")

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")

    def __enter__(self) -> "Guardian":
        return self

    def __exit__(self, *_error: object) -> None:
        """Let the guardian do its work, and wait for it."""
        self._process.communicate()


class Broker:
    """A Java process that may be down, running or paused; its data and log file stay."""

    def __init__(
        self, node_id: int, command: Sequence[str], log_file: Path, guardian: Guardian
    ) -> None:
        """Prepare a broker that is down."""
        self.node_id = node_id
        self._command = command
        self._log_file = log_file
        self._guardian = guardian
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        pid = self._process and self._process.pid
        return f"<Broker {self.node_id} pid={pid}>"

    @property
    def pid(self) -> int | None:
        """The process id, None when the broker is down."""
        return self._process.pid if self._process else None

    @property
    def exit_status(self) -> int | None:
        """How the process ended by itself, None while it runs or is meant to be down."""
        return self._process.poll() if self._process else None

    def start(self) -> None:
        """Start the process; it takes a while until it serves."""
        if self._process is not None:
            raise RuntimeError(f"broker {self.node_id} is already up")
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for this process, not for the brokers
            )
        self._guardian.add(self._process.pid)

    def kill(self) -> None:
        """End the process with SIGKILL, paused or not. Fine when it is down already."""
        if self._process is not None:
            self._process.kill()
            self._reap(None)

    def stop(self) -> None:
        """Shut the broker down in good order: SIGTERM, and wait."""
        process = self._running()
        process.terminate()
        process.send_signal(signal.SIGCONT)  # a paused one would not hear SIGTERM
        try:
            self._reap(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def pause(self) -> None:
        """Freeze the process: its sockets stay open, without answers."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo `pause`."""
        self._running().send_signal(signal.SIGCONT)

    def log_tail(self, lines: int = 40) -> str:
        """Return the end of the broker's log, for a failure's message."""
        if not self._log_file.exists():
            return "(no log)"
        return "\n".join(self._log_file.read_text(errors="replace").splitlines()[-lines:])

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"broker {self.node_id} is down")
        return self._process

    def _reap(self, timeout: float | None) -> None:
        process = self._running()
        process.wait(timeout)
        self._guardian.forget(process.pid)
        self._process = None
