"""Faults in a random order, for as long as you like: `python -m tests.support.chaos`.

Exit status 1 when a message is lost, stored twice or out of order, or does not end as delivered.
"""

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Sequence

from tests.support.kafka import DEFAULT_VERSION, VERSIONS, kafka_unavailable_reason

from . import FAULTS, MOST_PARTITIONS, Fault, ProxiedCluster, Site, open_site
from .faults import partitions_added

_TOPIC = "chaos"


def main(argv: Sequence[str] | None = None) -> int:
    """Run, and report lost, repeated and reordered messages."""
    arguments = _parser().parse_args(argv)
    reason = kafka_unavailable_reason(arguments.version)
    if reason is not None:
        print(reason, file=sys.stderr)
        return 1
    print(f"seed {arguments.seed}, Apache Kafka {arguments.version}", flush=True)
    with ProxiedCluster(arguments.version) as cluster:
        return asyncio.run(_run(cluster, arguments))


async def _run(cluster: ProxiedCluster, arguments: argparse.Namespace) -> int:
    async with open_site(cluster, _TOPIC, arguments.messages, proxied=True) as site:
        faults = _Faults(random.Random(arguments.seed), arguments.minutes * 60)
        await site.endure(faults.strike)
        print(f"{site.traffic.produced} messages, {faults.count} faults, {site.retries}")
        print("reading them back", flush=True)
        report = site.check(await site.read_back())
    print(report)
    for error in site.traffic.failures[:5]:
        print(f"not delivered: {error}")
    return 0 if report.flawless and not site.traffic.failures else 1


class _Faults:
    """One fault after the other, until `seconds` are over."""

    def __init__(self, rng: random.Random, seconds: float) -> None:
        self._rng = rng
        self._ends_at = time.monotonic() + seconds
        self.count = 0

    async def strike(self, site: Site) -> None:
        # By the clock: the duration is what was asked for.
        while time.monotonic() < self._ends_at:
            self.count += 1
            await self._strike_once(site, self._choose(site))

    def _choose(self, site: Site) -> Fault:
        full = len(site.traffic.acknowledged) >= MOST_PARTITIONS
        return self._rng.choice(
            [fault for fault in FAULTS if not (full and fault.strike is partitions_added)]
        )

    async def _strike_once(self, site: Site, fault: Fault) -> None:
        began, produced, retried = time.monotonic(), site.traffic.produced, site.retries.total
        print(f"{self.count:4} {fault!s:30}", end="", flush=True)
        await fault.strike(site)
        print(
            f"{time.monotonic() - began:6.1f} s {site.traffic.produced - produced:8} messages "
            f"{site.retries.total - retried:5} retries",
            flush=True,
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.support.chaos", description=__doc__)
    parser.add_argument("--messages", type=int, default=500_000, help="at least so many")
    parser.add_argument("--minutes", type=float, default=10, help="for so long something happens")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--version", default=DEFAULT_VERSION, help=f"such as {', '.join(VERSIONS)}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
