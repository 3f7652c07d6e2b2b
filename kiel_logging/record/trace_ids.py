"""The ids of the OpenTelemetry span in which a record is logged.

The package does not depend on OpenTelemetry, nor imports it: where nobody else has, there is no
span to be in.
"""

import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

TRACE_FIELDS: Final = ("trace_id", "span_id", "trace_flags")

_NONE: Final[Mapping[str, Any]] = MappingProxyType({})


def trace_ids() -> Mapping[str, Any]:
    """Return the ids of the current span of the calling thread or task; empty without one.

    ``trace_id`` is 32 and ``span_id`` 16 lower-case hex digits, ``trace_flags`` a number whose
    lowest bit says that the span is sampled (W3C Trace Context). Never raises.
    """
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return _NONE
    try:
        span = trace.get_current_span().get_span_context()
        if not span.is_valid:
            return _NONE
        return {
            "trace_id": format(span.trace_id, "032x"),
            "span_id": format(span.span_id, "016x"),
            "trace_flags": int(span.trace_flags),
        }
    except Exception:  # half imported by another thread, or a span of somebody else's making
        return _NONE
