"""The verdict as one JSON document, for programs."""

from collections.abc import Iterable, Mapping
from typing import Any

from kiel_logging.verify.verdict import Example, Found, State, StreamVerdict, TopicVerdict


def document(verdicts: Iterable[TopicVerdict], state: State, *, strict: bool) -> dict[str, Any]:
    """Return all that is known, as JSON's types; findings are named as in ``names.py``."""
    return {
        "verdict": state.value,
        "topics": [_topic(verdict, strict=strict) for verdict in verdicts],
    }


def _topic(verdict: TopicVerdict, *, strict: bool) -> dict[str, Any]:
    return {
        "topic": verdict.topic,
        "verdict": verdict.state(strict=strict).value,
        "proof": verdict.proof.name.lower(),
        "records": verdict.records,
        "failures": list(verdict.failures(strict=strict)),
        "counts": dict(verdict.counts()),
        "wrong_key": verdict.wrong_key,
        "findings": _findings(verdict.findings),
        "instances": [
            _stream(stream, strict=strict, keyed=verdict.keyed) for stream in verdict.streams
        ],
    }


def _stream(stream: StreamVerdict, *, strict: bool, keyed: bool) -> dict[str, Any]:
    start = stream.start
    return {
        "instance": stream.instance,
        "handler": start and start.handler,
        "host": start and start.host,
        "process": start and start.process,
        "chained": stream.chained,
        "keyed": stream.keyed,
        "signed": stream.signed,
        "records": stream.records,
        "first": stream.first,
        "last": stream.last,
        "complete": not stream.failures(strict=strict, keyed=keyed),
        "findings": _findings(stream.findings),
    }


def _findings(findings: Mapping[str, Found]) -> dict[str, Any]:
    return {
        name: {"count": found.count, "examples": [_example(one) for one in found.examples]}
        for name, found in findings.items()
    }


def _example(example: Example) -> dict[str, int]:
    return {name: value for name, value in example._asdict().items() if value is not None}
