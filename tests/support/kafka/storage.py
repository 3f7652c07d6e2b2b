"""Formats the data directories of a cluster's nodes.

`kafka.tools.StorageTool` runs once per Kafka version. Apart from the identity in meta.properties
it writes the list of features that the version starts with; that file is kept in the cache, for a
JVM per node and per start costs a second and more. With users it runs once per cluster, because
their salted passwords are in that file too.
"""

import base64
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path

from .artifacts import Distribution, keep
from .properties import BrokerSpec, render, server_properties

_FIRST = "bootstrap.checkpoint"
_SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-512")


class FormatError(RuntimeError):
    """StorageTool refused; the message has its output."""


def random_uuid() -> str:
    """Return a random id as Kafka writes them; one with a leading dash confuses its tools."""
    text = "-"
    while text.startswith("-"):
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    return text


def first_metadata(distribution: Distribution, users: Mapping[str, str], directory: Path) -> Path:
    """Return the file with a new cluster's features and its `users` of both SCRAM mechanisms."""
    if users:
        made = directory / _FIRST
        _ask_storage_tool(distribution, made, *_scram_arguments(users))
        return made
    features = distribution.home / _FIRST
    if not features.exists():
        _ask_storage_tool(distribution, features)
    return features


def format_storage(spec: BrokerSpec, cluster_id: str, metadata: Path) -> None:
    """Give a node's data directory its identity and the cluster's first metadata."""
    spec.log_dir.mkdir()
    shutil.copy(metadata, spec.log_dir / _FIRST)
    identity = {
        "version": "1",
        "cluster.id": cluster_id,
        "node.id": str(spec.node_id),
        "directory.id": random_uuid(),
    }
    (spec.log_dir / "meta.properties").write_text(render(identity))


def _scram_arguments(users: Mapping[str, str]) -> list[str]:
    arguments = []
    for user, password in users.items():
        for mechanism in _SCRAM:
            arguments += ["--add-scram", f"{mechanism}=[name={user},password={password}]"]
    return arguments


def _ask_storage_tool(distribution: Distribution, made: Path, *more: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        properties = Path(scratch) / "server.properties"
        log_dir = Path(scratch) / "data"
        # The ports are never opened; the tool only wants a valid configuration.
        spec = BrokerSpec(
            node_id=1, client_port=1, controller_port=2, controller_ports={1: 2}, log_dir=log_dir
        )
        properties.write_text(render(server_properties(spec)))
        arguments = ("format", "--cluster-id", random_uuid(), "--config", str(properties), *more)
        command = distribution.command("kafka.tools.StorageTool", *arguments)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise FormatError(done.stdout + done.stderr)
        keep(log_dir / _FIRST, made)
