"""The command ``kiel-logging check``: its options, its output and its exit status."""

import argparse
import asyncio
import json
import sys
from collections import Counter
from typing import Any, Final

from kiel_logging.check.judge import Finding, Verdict
from kiel_logging.check.probe import probe
from kiel_logging.check.target import Target, target
from kiel_logging.errors import KielError
from kiel_logging.printable import counted, printable

_GOOD, _BAD, _CANNOT_CHECK = range(3)

_DESCRIPTION: Final = """\
Checks whether log records can get from this machine to Kafka: host names, connections, TLS, SASL,
versions, the addresses that the brokers advertise, a producer id, the topic with its replicas and
settings against a handler's options, permissions, clocks, and the spool directory. Each finding is
one line: ok, warn or fail, the last two with what to do.

It writes no record unless --send is given, and creates no topic.
"""

_EPILOG: Final = """\
The file of --dictconfig is JSON, TOML or YAML, with the dictConfig at the top or under "logging".
The handler is not made. Run it as the program's user, with its environment and PYTHONPATH.

exit status:
  0    nothing fails; there may be warnings
  1    something fails
  2    wrong options
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to ``parser``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, parser.epilog = _DESCRIPTION, _EPILOG
    add = parser.add_argument
    add("--brokers", metavar="HOST:PORT,...", help="the cluster")
    add(
        "--config",
        metavar="FILE",
        help="properties of a librdkafka or Java client: brokers, TLS, SASL ...",
    )
    add(
        "--dictconfig",
        metavar="FILE:HANDLER",
        help="the options of a handler in a logging configuration, in place of the others",
    )
    add("--topic", metavar="NAME", help="the topic; by default the handler's")
    add("--spool-dir", metavar="DIR", help="the handler's spool_dir")
    add("--send", action="store_true", help="write one record to the topic, and read it back")
    add("--json", action="store_true", help="the findings as one JSON document")
    add(
        "--timeout",
        type=_seconds,
        default=10.0,
        metavar="SECONDS",
        help="for each step (%(default)g)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Check, print the findings, and return the exit status."""
    try:
        chosen = target(
            brokers=arguments.brokers,
            config=arguments.config,
            dictconfig=arguments.dictconfig,
            topic=arguments.topic,
            spool_dir=arguments.spool_dir,
        )
    except KielError as error:
        sys.stderr.write(f"kiel-logging check: {printable(error)}\n")
        return _CANNOT_CHECK
    findings = asyncio.run(_check(chosen, arguments))
    worst = {one.verdict for one in findings}
    if arguments.json:
        sys.stdout.write(json.dumps(_document(findings), indent=2) + "\n")
    else:
        sys.stdout.write(f"{_summary(findings)}\n")
    return _BAD if Verdict.FAIL in worst else _GOOD


async def _check(chosen: Target, arguments: argparse.Namespace) -> list[Finding]:
    findings = []

    def report(finding: Finding) -> None:
        findings.append(finding)
        if not arguments.json:
            sys.stdout.write(_line(finding))
            sys.stdout.flush()

    await probe(chosen, report, send=arguments.send, timeout=arguments.timeout)
    return findings


def _line(finding: Finding) -> str:
    advice = f"{'':19}-> {finding.advice}\n" if finding.advice else ""
    return f"{finding.verdict:<6}{finding.check:<13}{finding.text}\n{advice}"


def _summary(findings: list[Finding]) -> str:
    counts = Counter(one.verdict for one in findings)
    warnings = counted(counts[Verdict.WARN], "warnings")
    return f"{counts[Verdict.OK]} ok, {warnings}, {counted(counts[Verdict.FAIL], 'failures')}"


def _document(findings: list[Finding]) -> dict[str, Any]:
    counts = Counter(one.verdict for one in findings)
    return {
        **{str(verdict): counts[verdict] for verdict in Verdict},
        "findings": [{**one._asdict(), "verdict": str(one.verdict)} for one in findings],
    }


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds
