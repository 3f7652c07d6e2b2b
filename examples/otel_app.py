"""OpenTelemetry: records know the span in which they were logged, and the service.

KIEL_LOGGING_BROKERS=localhost:9092 OTEL_SERVICE_NAME=shop python examples/otel_app.py
"""

import logging

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

import kiel_logging

log = logging.getLogger("shop")
tracer = trace.get_tracer("shop")


def main() -> None:
    """Log within a span and outside of one."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
    trace.set_tracer_provider(provider)
    kiel_logging.setup(topic="shop.app", key_field="trace_id")

    log.info("started")
    with tracer.start_as_current_span("pay"):
        log.info("order %d paid", 17)


if __name__ == "__main__":
    main()
