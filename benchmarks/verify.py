"""The cost of verifying beside reading, and of signing beside logging.

``python -m benchmarks.verify`` writes a topic with a key and signed checkpoints. Then it is read by
turns with confluent-kafka, with a look at each part of each record, and verified. A new process
does it each time, and the time includes its start. Ratios are those of neighbours.
Afterwards it is verified with ``--state``, once from the beginning and once with a thousand new
records. ``--signed`` records are logged with and without signatures, by turns as well, to see how
much these add to the CPU time.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.cluster import cluster
from benchmarks.measures.signing import KEY
from benchmarks.surroundings import surroundings
from kiel_logging.handler.events import checkpoint
from kiel_logging.proof.chain import Chain
from kiel_logging.proof.checkpoints import EVERY_RECORDS, Signer
from kiel_logging.proof.stamper import Stamper
from kiel_logging.record.item import Item
from kiel_logging.records import Record

_TOPIC: Final = f"benchmark.verify.{os.getpid()}"
_PARTITIONS: Final = 6
_NEW: Final = 1_000
_INSTANCE: Final = 32 * "a"
_SIGNED: Final = 50
"""Checkpoints."""


class Run(NamedTuple):
    """The time that a process took, and its output."""

    seconds: float
    cpu: float
    printed: str


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cluster", help="kafka, mock or host:port; the best there is by default")
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--signed", type=int, default=100_000)
    options = parser.parse_args()
    with cluster(options.cluster) as found, tempfile.TemporaryDirectory() as directory:
        print(json.dumps({"broker": found.name, **surroundings()}, indent=1))
        key = Path(directory, "key")
        key.write_text(KEY)
        key.chmod(0o600)
        found.create((_TOPIC,), _PARTITIONS)
        logged(found.brokers, options.records)
        verify = ["-m", "kiel_logging", "verify", "--brokers", found.brokers, "--topic", _TOPIC]
        verify += ["--key-file", str(key)]
        compare_reading(found.brokers, verify, options.records, options.rounds)
        continue_runs(found.brokers, [*verify, "--state", str(Path(directory, "state"))])
        sign_alone()
        if options.signed:
            compare_signing(found.brokers, options.signed, options.rounds)


def logged(brokers: str, records: int, *words: str) -> float:
    """Log records in another process, with a key and signatures unless ``words`` say otherwise."""
    words = words or ("key", "sign")
    arguments = ["-m", "benchmarks.measures.signing", brokers, _TOPIC, str(records), *words]
    return float(run(arguments).printed)


def compare_reading(brokers: str, verify: Sequence[str], records: int, rounds: int) -> None:
    """Print how long it takes to read the topic, and to verify it."""
    read = ["-m", "benchmarks.measures.reading", brokers, _TOPIC]
    pairs = [(run(read), run(verify)) for _ in range(rounds)]
    for name, runs in zip(("read", "verify"), zip(*pairs, strict=True), strict=True):
        seconds, cpu = (median(getattr(one, of) for one in runs) for of in ("seconds", "cpu"))
        print(f"{name:8} {seconds:6.2f} s, CPU {cpu:5.2f} s, {cpu / records * 1e6:.2f} us a record")
    for of in ("seconds", "cpu"):
        ratios = [getattr(two, of) / getattr(one, of) for one, two in pairs]
        print(f"verify/read, {of}: {shown(ratios)}")


def continue_runs(brokers: str, verify: Sequence[str]) -> None:
    """Print how long the first and the second run with a state take."""
    first = run(verify)
    logged(brokers, _NEW)
    second = run(verify)
    for name, one in (("all", first), (f"{_NEW:,} new", second)):
        print(f"--state, {name}: {one.seconds:.2f} s, CPU {one.cpu:.2f} s")


def compare_signing(brokers: str, records: int, rounds: int) -> None:
    """Print how much signatures add to the CPU time of a record."""
    for words in (("chain",), ("key",)):
        pairs = [
            (logged(brokers, records, *words), logged(brokers, records, *words, "sign"))
            for _ in range(rounds)
        ]
        without = median(one for one, _ in pairs)
        ratios = [two / one for one, two in pairs]
        print(f"signed/unsigned, {words[0]}: {shown(ratios)} of {without:.1f} us a record")


def sign_alone() -> None:
    """Print the CPU time of leaves and checkpoints for a record, measured in this process alone."""
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    record = Record(b"ada", bytes(350), (("level", b"INFO"),), 1)
    items = [Item(_TOPIC, None, record, 450, 800)] * EVERY_RECORDS
    for name, chain in (("chain", Chain.of()), ("key", Chain.of(KEY.encode()))):
        more = []
        for _ in range(_SIGNED):
            plain = Stamper(_INSTANCE, chain)
            signed = Stamper(_INSTANCE, chain, keeps_leaves=True)
            signer = Signer(_INSTANCE, public, private.sign)
            began = time.process_time()
            plain.stamp(items)
            between = time.process_time()
            signed.stamp(items)
            leaves, digest = signed.leaves(_TOPIC), signed.digest(_TOPIC)
            checkpoint(signer.sign(_TOPIC, leaves, digest=digest, now=1.0, time_ms=1))
            more.append(time.process_time() - between - (between - began))
        print(f"signing alone, {name}: {median(more) / EVERY_RECORDS * 1e6:.2f} us a record")


def shown(ratios: Sequence[float]) -> str:
    """Return the median, the least and the most."""
    return f"{median(ratios):.3f} ({min(ratios):.3f} - {max(ratios):.3f})"


def run(arguments: Sequence[str]) -> Run:
    """Run Python and wait for its end."""
    before, began = os.times(), time.perf_counter()
    done = subprocess.run(  # noqa: S603 # ourselves
        [sys.executable, *arguments], capture_output=True, text=True
    )
    seconds, after = time.perf_counter() - began, os.times()
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: {done.stdout}{done.stderr}")
    cpu = after.children_user - before.children_user
    return Run(seconds, cpu + after.children_system - before.children_system, done.stdout)


if __name__ == "__main__":
    main()
