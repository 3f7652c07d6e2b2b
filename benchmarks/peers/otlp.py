"""OpenTelemetry's handler, which hands records to an agent over loopback: an agent's cost here.

The agent is a server that takes each request and drops it. So what a real one needs to bring the
records to Kafka comes on top, in another process.
"""

import subprocess
import sys
from typing import Final

from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

from .peer import LINGER_MS, MOST_RECORDS, Destination

_BATCH: Final = 4_096


class OtlpAgent:
    """The handler with a batch processor, which has a thread, and an agent beside."""

    ships = False

    def __init__(self, destination: Destination) -> None:  # noqa: ARG002 # as all peers
        self._agent = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.peers.otlp_agent"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._agent.stdout is not None
        endpoint = f"http://{self._agent.stdout.readline().strip()}/v1/logs"
        self._processor = BatchLogRecordProcessor(
            OTLPLogExporter(endpoint),
            schedule_delay_millis=LINGER_MS,
            max_export_batch_size=_BATCH,
            max_queue_size=MOST_RECORDS,
        )
        provider = LoggerProvider()
        provider.add_log_record_processor(self._processor)
        self.handler = LoggingHandler(logger_provider=provider)

    def drain(self, seconds: float) -> int:
        """Export what is queued."""
        self._processor.force_flush(int(seconds * 1000))
        return 0
