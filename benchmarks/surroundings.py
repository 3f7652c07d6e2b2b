"""The machine and the versions that figures were measured on. Read, never guessed."""

import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

_PACKAGES: Final = (
    "kiel_logging",
    "confluent-kafka",
    "kafka-python",
    "aiokafka",
    "kafka-logging-handler",
    "orjson",
    "tornado",
    "python-snappy",
    "cramjam",
)
_UNKNOWN: Final = "unknown"


def surroundings() -> dict[str, Mapping[str, str]]:
    """Return the machine and the versions."""
    return {"machine": _machine(), "versions": _versions()}


def _machine() -> Mapping[str, str]:
    return {
        "processor": _in_proc("cpuinfo", "model name"),
        "cores": str(os.cpu_count()),
        "memory": _in_proc("meminfo", "MemTotal"),
        "system": platform.platform(),
        "load": " ".join(f"{each:.1f}" for each in os.getloadavg()),
    }


def _versions() -> Mapping[str, str]:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return {"python": python, **{name: _version(name) for name in _PACKAGES}}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _in_proc(file: str, name: str) -> str:
    path = Path("/proc") / file
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    values = (line.partition(":")[2].strip() for line in lines if line.startswith(name))
    return next(values, _UNKNOWN)
