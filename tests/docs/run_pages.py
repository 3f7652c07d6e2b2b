"""Run programs one after another: ``python run_pages.py DIR``, with ``DIR/*/program.py``.

Each runs in its directory, in a forked child, so that the modules which all need are imported once.
Beside it are then written ``stdout``, ``stderr`` and ``status``.
"""

import importlib
import os
import sys
from pathlib import Path

NEEDED = (
    "confluent_kafka",
    "kiel_logging.clients",
    "kiel_logging.handler.audit_handler",
    "prometheus_client",
    "structlog",
    "yaml",
)


def main(directory: Path) -> None:
    """Run all, whatever becomes of any."""
    for name in NEEDED:
        importlib.import_module(name)
    for place in sorted(directory.iterdir()):
        child = os.fork()
        if not child:
            run(place)
            return  # and so ends as a program does
        _, status = os.waitpid(child, 0)
        (place / "status").write_text(str(os.waitstatus_to_exitcode(status)))


def run(place: Path) -> None:
    """Run the program in ``place``."""
    os.chdir(place)
    for number, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(place / name, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, number)
        os.close(file)
    source = (place / "program.py").read_text(encoding="utf-8")
    exec(compile(source, "program.py", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
