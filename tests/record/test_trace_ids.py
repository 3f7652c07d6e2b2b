"""The ids of the span that a record is logged in; with OpenTelemetry's own SDK."""

from __future__ import annotations

import asyncio
import contextvars
import json
import re
import subprocess
import sys
import threading
import types
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from kiel_logging.record.fields import trace_ids

TRACER = TracerProvider(shutdown_on_exit=False).get_tracer("tests")
UNSAMPLED = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False).get_tracer("tests")


@pytest.fixture(autouse=True)
def no_spans() -> None:
    """Here somebody has imported OpenTelemetry."""


SAMPLED = 1
"""The lowest bit of the flags; the next one says that the trace id is random."""


def ids_of(span: trace.Span) -> dict[str, Any]:
    """What OpenTelemetry itself calls them."""
    context = span.get_span_context()
    return {
        "trace_id": trace.format_trace_id(context.trace_id),
        "span_id": trace.format_span_id(context.span_id),
        "trace_flags": int(context.trace_flags),
    }


def in_a_span_with(trace_id: int, span_id: int, flags: int = 1) -> Any:
    """What is told within a span that came from elsewhere, with these ids."""
    context = trace.SpanContext(trace_id, span_id, True, trace.TraceFlags(flags))
    with trace.use_span(trace.NonRecordingSpan(context)):
        return trace_ids()


# -- where there is a span -------------------------------------------------------------------------


def test_in_a_span() -> None:
    """Its ids, and that it is sampled."""
    with TRACER.start_as_current_span("order") as span:
        assert trace_ids() == ids_of(span)
        assert trace_ids()["trace_flags"] & SAMPLED


def test_in_a_span_in_a_span() -> None:
    """The inner one's within, the outer one's after; the trace is the same."""
    with TRACER.start_as_current_span("order") as outer:
        with TRACER.start_as_current_span("payment") as inner:
            within = trace_ids()
        after = trace_ids()
    assert (within, after) == (ids_of(inner), ids_of(outer))
    assert within["trace_id"] == after["trace_id"]
    assert within["span_id"] != after["span_id"]


def test_in_a_span_that_is_not_sampled() -> None:
    """It has ids all the same, which say that they lead nowhere."""
    with UNSAMPLED.start_as_current_span("order") as span:
        assert trace_ids() == ids_of(span)
        assert not trace_ids()["trace_flags"] & SAMPLED


def test_each_task_has_its_own() -> None:
    """Also when they take turns."""

    async def order(name: str) -> bool:
        with TRACER.start_as_current_span(name) as span:
            await asyncio.sleep(0)
            return trace_ids() == ids_of(span)

    async def main() -> list[bool]:
        return await asyncio.gather(*(order(name) for name in "abc"))

    assert asyncio.run(main()) == [True, True, True]


def test_a_task_has_its_maker_s() -> None:
    """As its context is a copy."""

    async def main() -> Any:
        with TRACER.start_as_current_span("order") as span:
            return await asyncio.create_task(asyncio.to_thread(trace_ids)) == ids_of(span)

    assert asyncio.run(main()) is True


hex_ids = st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 255)


@given(*hex_ids)
def test_ids_are_hex_of_their_full_length(trace_id: int, span_id: int, flags: int) -> None:
    """With their leading zeros; numbers of the types that JSON has."""
    ids = in_a_span_with(trace_id, span_id, flags)
    assert re.fullmatch("[0-9a-f]{32}", ids["trace_id"])
    assert re.fullmatch("[0-9a-f]{16}", ids["span_id"])
    assert (int(ids["trace_id"], 16), int(ids["span_id"], 16)) == (trace_id, span_id)
    assert ids["trace_flags"] == flags
    assert [type(value) for value in ids.values()] == [str, str, int]


# -- where there is none ---------------------------------------------------------------------------


def test_outside_of_spans() -> None:
    """Before one and after it."""
    before = dict(trace_ids())
    with TRACER.start_as_current_span("order"):
        pass
    assert (before, trace_ids()) == ({}, {})


def test_in_another_thread() -> None:
    """Its context is its own."""
    seen: list[Any] = []
    with TRACER.start_as_current_span("order"):
        own = threading.Thread(
            target=lambda: contextvars.Context().run(lambda: seen.append(trace_ids()))
        )
        own.start()
        own.join()
        seen.append(trace_ids())
    assert seen[0] == {}
    assert seen[1] != {}


@pytest.mark.parametrize(("trace_id", "span_id"), [(0, 0), (0, 7), (7, 0), (2**128, 7), (7, 2**64)])
def test_in_a_span_that_is_not_valid(trace_id: int, span_id: int) -> None:
    """As W3C Trace Context has it: ids of zeros, or too long."""
    assert in_a_span_with(trace_id, span_id) == {}


def test_what_is_told_of_no_span_can_not_be_changed() -> None:
    """It is the same each time."""
    with pytest.raises(TypeError):
        trace_ids()["trace_id"] = "mine"  # type: ignore[index]


# -- whatever OpenTelemetry is ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "module",
    [
        None,
        types.ModuleType("opentelemetry.trace"),
        types.SimpleNamespace(get_current_span=lambda: None),
        types.SimpleNamespace(get_current_span=lambda: 1 / 0),
    ],
    ids=["kept out", "half imported", "no span", "raises"],
)
def test_it_never_raises(monkeypatch: pytest.MonkeyPatch, module: Any) -> None:
    """A module of that name may be in any state."""
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", module)
    assert trace_ids() == {}


def test_open_telemetry_is_not_imported() -> None:
    """Where the program hasn't, it costs a look into a dict."""
    code = (
        "import json, sys\n"
        "from kiel_logging.record.fields import trace_ids\n"
        "ids = dict(trace_ids())\n"
        "print(json.dumps([ids, [name for name in sys.modules if 'opentelemetry' in name]]))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert json.loads(done.stdout) == [{}, []]
