"""Formats the data directories of a cluster's nodes.

`kafka.tools.StorageTool` runs once per Kafka version: what it writes, apart from the
identity in meta.properties, is the list of features that the version starts with. That
file is kept in the cache; a JVM per node and per start would cost a second and more.
"""

import base64
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

from .artifacts import Distribution, keep
from .properties import BrokerSpec, render, server_properties

_FEATURES = "bootstrap.checkpoint"


class FormatError(RuntimeError):
    """StorageTool refused; the message has its output."""


def random_uuid() -> str:
    """Return a random id as Kafka writes them; one with a leading dash confuses its tools."""
    text = "-"
    while text.startswith("-"):
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    return text


def format_storage(distribution: Distribution, spec: BrokerSpec, cluster_id: str) -> None:
    """Give a node's data directory its identity and its first features."""
    features = distribution.home / _FEATURES
    if not features.exists():
        _ask_storage_tool(distribution, features)
    spec.log_dir.mkdir()
    shutil.copy(features, spec.log_dir)
    identity = {
        "version": "1",
        "cluster.id": cluster_id,
        "node.id": str(spec.node_id),
        "directory.id": random_uuid(),
    }
    (spec.log_dir / "meta.properties").write_text(render(identity))


def _ask_storage_tool(distribution: Distribution, features: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        properties = Path(scratch) / "server.properties"
        log_dir = Path(scratch) / "data"
        # The ports are never opened; the tool only wants a valid configuration.
        spec = BrokerSpec(
            node_id=1, client_port=1, controller_port=2, controller_ports={1: 2}, log_dir=log_dir
        )
        properties.write_text(render(server_properties(spec)))
        arguments = ("format", "--cluster-id", random_uuid(), "--config", str(properties))
        command = distribution.command("kafka.tools.StorageTool", *arguments)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise FormatError(done.stdout + done.stderr)
        keep(log_dir / _FEATURES, features)
