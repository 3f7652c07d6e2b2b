"""The page of Jupyter: a kernel runs the example's cells."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from kiel_logging.testing import FakeKafka
from tests.docs.pages import ROOT

PATIENCE = 60.0
CELLS = (ROOT / "examples" / "jupyter_app.py").read_text(encoding="utf-8").split("# %%")[1:]


class Notebook:
    """A kernel, and the client that sends it cells."""

    def __init__(self, kernel: KernelManager) -> None:
        self._kernel = kernel
        self._client: BlockingKernelClient = kernel.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=PATIENCE)

    def run(self, cell: str) -> str:
        """Return what the cell prints; it must end well."""
        printed: list[str] = []

        def take(message: dict[str, Any]) -> None:
            printed.append(message["content"].get("text", ""))

        reply = self._client.execute_interactive(
            "#" + cell, output_hook=take, timeout=PATIENCE, allow_stdin=False
        )
        assert reply["content"]["status"] == "ok", reply["content"]
        return "".join(printed)

    def restart(self) -> None:
        """Ask the kernel to end, and start another one."""
        self._kernel.restart_kernel(now=False)
        self._client.wait_for_ready(timeout=PATIENCE)

    def close(self) -> None:
        """Ask the kernel to end, and wait for that."""
        self._kernel.shutdown_kernel(now=False)

    def kill(self) -> None:
        """End all."""
        self._client.stop_channels()
        self._kernel.shutdown_kernel(now=True)
        self._kernel.cleanup_resources()


@pytest.fixture
def notebook(fake_kafka: FakeKafka, tmp_path: Any) -> Iterator[Notebook]:
    """A kernel whose records arrive when it ends, or when they are waited for; not by time."""
    kernel = KernelManager(transport="ipc", connection_file=str(tmp_path / "kernel.json"))
    kernel.shutdown_wait_time = PATIENCE
    brokers = ",".join(fake_kafka.addresses)
    more = {"KIEL_LOGGING_BROKERS": brokers, "KIEL_LOGGING_LINGER_MS": "600000"}
    kernel.start_kernel(env={**os.environ, **more})
    notebook = Notebook(kernel)
    yield notebook
    notebook.kill()


@pytest.mark.slow
def test_cells_and_restarts(notebook: Notebook, fake_kafka: FakeKafka) -> None:
    """Each record arrives once: cells run twice, the loop is patched, the kernel restarts."""

    def arrived() -> list[str]:
        return [one.value["message"] for one in fake_kafka.arrived("shop.notebooks")]

    set_up, log, wait, coroutine = CELLS
    notebook.run(set_up)
    printed = [notebook.run(cell) for cell in (set_up, log, wait)]
    assert printed == ["", "", "shop.notebooks[0]@1\n"]
    assert arrived() == ["read 17 orders", "checked"]
    notebook.run(coroutine)
    notebook.run(wait)
    assert arrived()[2:] == ["order 17 published", "checked"]
    notebook.run(log)
    notebook.restart()
    assert arrived()[4:] == ["read 17 orders"]
    notebook.run(set_up)
    notebook.run(log)
    notebook.close()
    assert arrived()[5:] == ["read 17 orders"]
    assert {one.value["notebook"] for one in fake_kafka.arrived("shop.notebooks")} == {"orders"}
