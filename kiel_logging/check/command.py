"""The command ``kiel-logging check``: its options, its output and its exit status."""

import argparse
import asyncio
import json
import sys
from collections import Counter
from typing import Any, Final

from kiel_logging.arguments import add_connection
from kiel_logging.check.judge import Finding, Verdict
from kiel_logging.check.probe import probe
from kiel_logging.check.target import Target, target
from kiel_logging.printable import counted

DESCRIPTION: Final = """\
Checks whether log records can get from this machine to Kafka: host names, connections, TLS, SASL,
versions, the addresses that the brokers advertise, a producer id, the topic with its replicas and
settings against a handler's options, permissions, clocks, and the spool directory. Each finding is
one line: ok, warn or fail, the last two with what to do.

It writes no record unless --send is given, and creates no topic.
"""

EPILOG: Final = """\
The file of --dictconfig is JSON, TOML or YAML, with the dictConfig at the top or under "logging".
The handler is not made. Run it as the program's user, with its environment and PYTHONPATH.

exit status:
  0    nothing fails; there may be warnings
  1    something fails
  2    wrong options
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to ``parser``."""
    add = parser.add_argument
    add_connection(parser, timeout=10.0, meaning="for each step")
    add(
        "--dictconfig",
        metavar="FILE:HANDLER",
        help="the options of a handler in a logging configuration, in place of the others",
    )
    add("--topic", metavar="NAME", help="the topic; by default the handler's")
    add("--spool-dir", metavar="DIR", help="the handler's spool_dir")
    add("--send", action="store_true", help="write one record to the topic, and read it back")
    add("--json", action="store_true", help="the findings as one JSON document")


def run(arguments: argparse.Namespace) -> int:
    """Check, print the findings, and return the exit status."""
    chosen = target(
        brokers=arguments.brokers,
        config=arguments.config,
        dictconfig=arguments.dictconfig,
        topic=arguments.topic,
        spool_dir=arguments.spool_dir,
    )
    findings = asyncio.run(_check(chosen, arguments))
    if arguments.json:
        sys.stdout.write(json.dumps(_document(findings), indent=2) + "\n")
    else:
        sys.stdout.write(f"{_summary(findings)}\n")
    return int(any(one.verdict is Verdict.FAIL for one in findings))


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
