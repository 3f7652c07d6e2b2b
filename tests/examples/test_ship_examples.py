"""The examples of ``examples/ship/``: their commands run, and tools read their files."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from configparser import ConfigParser
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from kiel_logging.testing import FakeKafka
from tests.support.waiting import until
from tests.test_ship_command import cluster, messages, write

__all__ = ["cluster"]

EXAMPLES: Final = Path(__file__).parents[2] / "examples" / "ship"
UNIT: Final = EXAMPLES / "kiel-logging-ship.service"


def unit() -> ConfigParser:
    """Return the sections of the unit for systemd."""
    parsed = ConfigParser(interpolation=None)
    parsed.optionxform = str  # type: ignore[assignment,method-assign] # names are not lowered
    parsed.read(UNIT)
    return parsed


def of_the_unit() -> list[str]:
    """Return the command that systemd starts."""
    return shlex.split(unit()["Service"]["ExecStart"])


def of_the_image() -> list[str]:
    """Return the command of the Dockerfile."""
    lines = (EXAMPLES / "Dockerfile").read_text().splitlines()
    (command,) = [line.removeprefix("CMD ") for line in lines if line.startswith("CMD ")]
    found: list[str] = json.loads(command)
    return found


def pod() -> Any:
    """Return the pod that the DaemonSet starts on each node."""
    return yaml.safe_load((EXAMPLES / "daemonset.yaml").read_text())["spec"]["template"]["spec"]


def of_the_pod() -> list[str]:
    """Return the command of its container."""
    found: list[str] = pod()["containers"][0]["args"]
    return found


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Stands for the installed command, in a directory of its own."""
    path = tmp_path / "bin" / "kiel-logging"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -m kiel_logging "$@"\n')
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("command", [of_the_unit, of_the_image, of_the_pod])
def test_its_command_ships(
    cluster: FakeKafka, tmp_path: Path, program: Path, command: Callable[[], list[str]]
) -> None:
    """With other paths; SIGHUP, which reloads, leaves it running, and SIGTERM ends it well."""
    brokers, spool, config = ",".join(cluster.addresses), tmp_path / "spool", tmp_path / "config"
    spool.mkdir()
    config.write_text(f"bootstrap.servers={brokers}\n")
    places = {
        "/opt/kiel/bin/kiel-logging": str(program),
        "/etc/kiel/client.properties": str(config),
        "/var/spool/kiel": str(spool),
        "/spool ": f"{spool} ",
    }
    found = command()
    for place, there in places.items():
        found = [part.replace(place, there) for part in found]
    path = f"{program.parent}:{os.environ['PATH']}"
    process = subprocess.Popen(found, env={**os.environ, "PATH": path, "BROKERS": brokers})
    try:
        write(spool, 1)
        until(lambda: messages(cluster) == ["1"])
        process.send_signal(signal.SIGHUP)
        write(spool, 2)
        until(lambda: sorted(messages(cluster)) == ["1", "2"])
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


def test_what_is_mounted_is_what_is_named() -> None:
    """The directories in the arguments of the pod's container are volumes of it."""
    (container,) = pod()["containers"]
    mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    assert {f"--spool-dir={mounts['spool']}"} == {
        one for one in container["args"] if one.startswith("--spool-dir")
    }
    assert {f"--config={mounts['config']}/client.properties"} <= {*container["args"]}
    assert mounts.keys() == {one["name"] for one in pod()["volumes"]}


def test_the_unit_lets_it_write_where_it_has_to() -> None:
    """All else is read-only; a reload is SIGHUP."""
    service = unit()["Service"]
    command = of_the_unit()
    assert service["ReadWritePaths"] == command[command.index("--spool-dir") + 1]
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_systemd_knows_all_that_is_in_the_unit(tmp_path: Path, program: Path) -> None:
    """It complains of nothing in it."""
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/kiel/bin/kiel-logging", str(program)))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(copy)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert [line for line in done.stderr.splitlines() if UNIT.stem in line] == []
