"""The cost of each option for a logging call: ``python -m benchmarks.options``.

One handler for each option, on brokers that don't exist, so that nothing but the calls takes time.
The handlers take turns; each figure is the CPU time of the thread that logs, the median of
``--rounds``, beside the call of a handler without the option.
"""

import argparse
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from statistics import median
from typing import Any, Final

from benchmarks.load import is_quotable
from kiel_logging import KafkaHandler

CALLS: Final = 2_000
"""In a round. The buffers hold those of all rounds."""

REQUEST: Final[ContextVar[str]] = ContextVar("request", default="7f3a")

PLAIN: Final = "the key alone"

OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    PLAIN: {},
    "key_field with a dotted path": {"key_field": "cart.id"},
    "topic by template": {"topic": "logs.{levelname}"},
    "headers": {"headers": {"level": "level", "user": "user_id"}},
    "context": {"context": {"request": REQUEST}},
    "fields": {"fields": {"service": "shop", "version": 7}},
    "rename": {"rename": {"message": "msg", "level": "severity"}},
    "exclude": {"exclude": ["thread", "thread_name"]},
    "redact": {"redact": ["password", "token"]},
    'format="ecs"': {"format": "ecs"},
    'format="otel"': {"format": "otel"},
    'format="gelf"': {"format": "gelf"},
    'format="text"': {"format": "text"},
    "serializer": {"serializer": repr},
    "key_maker": {"key_maker": lambda value: value["user_id"]},
    "rate_limit, within it": {"rate_limit": "999999999/s"},
    "rate_limit, beyond it": {"rate_limit": "1/h"},
    "sample of another level": {"sample": {"DEBUG": 0.1}},
    "sample by key, none out": {"sample": {"INFO": 1}},
    "sample by key, all out": {"sample": {"INFO": 0}},
    "dedupe, all the same": {"dedupe": 3600},
    "before_send": {"before_send": lambda fields: fields},
}

Log = Callable[[logging.Logger], None]


def _plain(logger: logging.Logger) -> None:
    logger.info("sold %s", "tea", extra={"user_id": "ada", "cart": {"id": 7}})


def _nested(logger: logging.Logger) -> None:
    cart = {"id": 7, "items": [{"name": "tea", "price": 3.5}, {"name": "cup", "price": 9.0}]}
    logger.info("sold %s", "tea", extra={"user_id": "ada", "cart": cart})


def _object(logger: logging.Logger) -> None:
    logger.info("sold %s", "tea", extra={"user_id": "ada", "cart": {"id": 7}, "it": REQUEST})


def _exception(logger: logging.Logger) -> None:
    try:
        int("tea")
    except ValueError:
        logger.exception("sold %s", "tea", extra={"user_id": "ada", "cart": {"id": 7}})


RECORDS: Final[Mapping[str, Log]] = {
    "nested dicts and lists in an extra": _nested,
    "an extra that is an object": _object,
    "an exception with its traceback": _exception,
}
"""Records that differ, of a handler with no option."""


IN_A_SPAN: Final[Mapping[str, Mapping[str, Any]]] = {
    "in a span": {},
    'in a span, format="ecs"': {"format": "ecs"},
    'in a span, format="otel"': {"format": "otel"},
}
"""Measured last: once OpenTelemetry is imported, every record is asked for its span."""


def measure(rounds: int, options_of: Mapping[str, Mapping[str, Any]]) -> dict[str, list[float]]:
    """Return microseconds of CPU of a call in each round, by its speciality."""
    cases: dict[str, tuple[logging.Logger, Log]] = {}
    for name, given in options_of.items():
        options = {"topic": "logs", "key_field": "user_id", **given}
        if "key_maker" in options:
            del options["key_field"]
        handler = KafkaHandler("127.0.0.1:9", close_timeout_ms=1, **options)
        logger = logging.Logger(name, logging.INFO)
        logger.addHandler(handler)
        cases[name] = logger, RECORDS.get(name, _plain)
    found: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds + 1):
        for name, (logger, log) in cases.items():
            began = time.thread_time()
            for _ in range(CALLS):
                log(logger)
            if number:  # the first loads and starts
                found[name].append((time.thread_time() - began) / CALLS * 1e6)
    for logger, _ in cases.values():
        stats = logger.handlers[0].stats()  # type: ignore[attr-defined]
        assert not stats.dropped, stats
    return found


def _span() -> AbstractContextManager[Any]:
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

    return use_span(NonRecordingSpan(SpanContext(0x4BF92F35, 0xF067AA0B, False, TraceFlags(1))))


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table, return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.options", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--loaded", action="store_true", help="measure on a loaded machine as well")
    options = parser.parse_args(argv)
    if not is_quotable(loaded=options.loaded):
        return 2
    logging.getLogger("kiel_logging").propagate = False
    logging.getLogger("kiel_logging").addHandler(logging.NullHandler())
    found = measure(options.rounds, {**OPTIONS, **{name: {} for name in RECORDS}})
    plain = found[PLAIN]
    with _span():
        found |= measure(options.rounds, IN_A_SPAN)
    for name, calls in found.items():
        ratios = sorted(call / other for call, other in zip(calls, plain, strict=True))
        print(
            f"{name:36} {median(calls):7.1f} us  {median(ratios):5.2f} "
            f"({ratios[0]:.2f}-{ratios[-1]:.2f})"
        )
    return 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # else each handler reports the records that it has
