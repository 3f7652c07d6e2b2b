"""How long a block of receipts takes until all is acknowledged: ``python -m benchmarks.receipts``.

Beside a Producer that awaits each message, or each batch of as many, in the same run and on the
same broker. Each figure is the median of ``--rounds``, which take turns; the ratios are to the
Producer's line of as many records.
"""

import argparse
import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Final, NamedTuple

from benchmarks.cluster import cluster
from benchmarks.percentiles import percentiles
from benchmarks.surroundings import surroundings
from kiel_logging import KafkaHandler, Producer

TOPIC: Final = "benchmark.receipts"
MANY: Final = 100
_COMPRESSION: Final = "snappy"
_TIMEOUT: Final = 60.0
_WARM_UP: Final = 20
_FIELDS: Final = {"user_id": "ada", "total": "9.90", "page": "/cart/checkout"}

Step = Callable[[], Awaitable[None]]


class Line(NamedTuple):
    """One thing to measure, for a number of records at once."""

    name: str
    records: int
    measure: Callable[[str, int, int], list[float]]


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cluster", help="kafka, mock or host:port; the best there is by default")
    parser.add_argument("--blocks", type=int, default=500, help="of each round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with cluster(options.cluster) as found:
        found.create((TOPIC,), 1)
        rounds = [measure_all(found.brokers, options.blocks) for _ in range(options.rounds)]
        print(json.dumps({"broker": found.name, **surroundings()}, indent=1))
    print(f"{'milliseconds':42}{'p50':>8}{'ratio':>7}{'p99':>9}{'ratio':>7}")
    for place, line in enumerate(LINES):
        show(line, [each[place] for each in rounds], [each[beside(line)] for each in rounds])


def measure_all(brokers: str, blocks: int) -> list[dict[str, float]]:
    """Return the percentiles of each line's blocks."""
    return [percentiles(line.measure(brokers, line.records, blocks)) for line in LINES]


def beside(line: Line) -> int:
    """Return the place of the line that ``line`` is compared with."""
    return next(place for place, one in enumerate(LINES) if one.records == line.records)


def show(line: Line, own: list[dict[str, float]], base: list[dict[str, float]]) -> None:
    """Print one line of the table."""
    text = f"{line.name:42}"
    for name, width in (("p50", 8), ("p99", 9)):
        ours, theirs = (median(each[name] for each in side) for side in (own, base))
        text += f"{ours * 1000:>{width}.2f}{ours / theirs:>7.2f}"
    print(text)


async def _timed(step: Step, blocks: int) -> list[float]:
    times = []
    for _ in range(blocks + _WARM_UP):
        before = time.perf_counter()
        await step()
        times.append(time.perf_counter() - before)
    return times[_WARM_UP:]


def _producer(brokers: str, records: int, blocks: int) -> list[float]:
    async def run() -> list[float]:
        async with Producer(
            brokers, batch_size=records, required_acks=-1, compression=_COMPRESSION
        ) as producer:

            async def step() -> None:
                for _ in range(records):
                    await producer.produce(TOPIC, {"message": "order placed", **_FIELDS})

            return await _timed(step, blocks)

    return asyncio.run(run())


def _handler(brokers: str) -> tuple[KafkaHandler, logging.Logger]:
    handler = KafkaHandler(brokers, TOPIC, compression=_COMPRESSION)
    logger = logging.Logger("shop.checkout")
    logger.addHandler(handler)
    return handler, logger


def _async_with(brokers: str, records: int, blocks: int) -> list[float]:
    handler, logger = _handler(brokers)

    async def step() -> None:
        async with handler.receipts(_TIMEOUT):
            for _ in range(records):
                logger.info("order placed", extra=_FIELDS)

    try:
        return asyncio.run(_timed(step, blocks))
    finally:
        handler.close()


def _with(brokers: str, records: int, blocks: int) -> list[float]:
    handler, logger = _handler(brokers)

    async def step() -> None:
        with handler.receipts(_TIMEOUT):
            for _ in range(records):
                logger.info("order placed", extra=_FIELDS)

    try:
        return asyncio.run(_timed(step, blocks))
    finally:
        handler.close()


LINES: Final = (
    Line("Producer.produce awaited, 1 message", 1, _producer),
    Line("async with receipts, 1 record", 1, _async_with),
    Line("with receipts, 1 record", 1, _with),
    Line(f"Producer.produce awaited, {MANY} in a batch", MANY, _producer),
    Line(f"async with receipts, {MANY} records", MANY, _async_with),
    Line(f"with receipts, {MANY} records", MANY, _with),
)


if __name__ == "__main__":
    main()
