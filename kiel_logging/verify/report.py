"""The verdict: for people as a table and lines for findings and topics, for programs as JSON."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kiel_logging.printable import counted, printable
from kiel_logging.verify import names
from kiel_logging.verify.names import Example, Found, Proof, State, StreamVerdict, TopicVerdict

_ROWS: Final = 50
"""Of instances, those that are not complete first; thousands would hide what matters."""
_EXAMPLES: Final = 10
"""Of each finding in a topic."""
_WIDE: Final = 110
_SHORT: Final = 12
_MOST_SHOWN: Final = 250
"""Characters of what a record says, or a topic is called."""

_STYLES: Final = {
    State.COMPLETE: "bold green",
    State.INCOMPLETE: "bold red",
    State.UNCHECKED: "bold yellow",
}

_WORDS: Final = {
    State.COMPLETE: "complete",
    State.INCOMPLETE: "NOT complete",
    State.UNCHECKED: "not checked",
}


_PROOFS: Final = {
    Proof.KEY: "all sealed with a key",
    Proof.SIGNED: "all signed, as checkpoints from elsewhere show",
    Proof.DIGESTS: "as far as digests without a key can show: anybody who can write to the topic "
    "can make such digests",
    Proof.NUMBERS: "as far as numbers can show, without digests",
    Proof.NOTHING: "",
}


def report(console: Console, verdicts: Iterable[TopicVerdict], *, strict: bool) -> None:
    """Print everything, the verdict of each topic last."""
    for verdict in verdicts:
        console.print(f"[bold]{_shown(verdict.topic)}[/bold]")
        if verdict.streams:
            console.print(_table(verdict, strict=strict, width=console.width))
        for line in (*_lines(verdict, strict=strict), _last_line(verdict, strict)):
            console.print(line, soft_wrap=True)
        console.print()


def _table(verdict: TopicVerdict, *, strict: bool, width: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("instance", "of", "chain"):
        table.add_column(name, no_wrap=name != "of")
    for name in ("records", "numbers"):
        table.add_column(name, justify="right")
    table.add_column("findings")
    keyed = verdict.keyed
    streams = sorted(verdict.streams, key=lambda one: not one.failures(strict=strict, keyed=keyed))
    for stream in streams[:_ROWS]:
        table.add_row(*_cells(stream, strict=strict, keyed=keyed, width=width))
    if len(streams) > _ROWS:
        table.add_row(f"{len(streams) - _ROWS:,} more")
    return table


def _cells(stream: StreamVerdict, *, strict: bool, keyed: bool, width: int) -> Iterator[str]:
    yield stream.instance if width >= _WIDE else stream.instance[:_SHORT] + "…"
    start = stream.start
    parts = (start.host, start.handler, f"({start.process})") if start else ()
    yield " ".join(_shown(part) for part in parts if part)
    kinds = [] if stream.chained else ["none"]
    if stream.chained and (stream.keyed or not stream.signed):
        kinds.append("keyed" if stream.keyed else "no key")
    yield ", ".join([*kinds, *(["signed"] if stream.signed else [])])
    yield f"{stream.records:,}"
    yield f"{stream.first:,}-{stream.last:,}" if stream.last else ""
    yield _summary(stream, strict=strict, keyed=keyed)


def _summary(stream: StreamVerdict, *, strict: bool, keyed: bool) -> str:
    if not stream.findings:
        return "[green]complete[/green]"
    return ", ".join(
        f"[red]{text}[/red]" if names.fails(name, strict=strict, keyed=keyed) else text
        for name, found in stream.findings.items()
        for text in [f"{name} {found.count:,}"]
    )


def _lines(verdict: TopicVerdict, *, strict: bool) -> Iterator[str]:
    by_owner: list[tuple[str, Mapping[str, Found]]] = [("", verdict.findings)]
    by_owner += [(stream.instance, stream.findings) for stream in verdict.streams]
    for name, finding in names.FINDINGS.items():
        count = verdict.counts()[name]
        if not count:
            continue
        style = "red" if names.fails(name, strict=strict, keyed=verdict.keyed) else "yellow"
        yield f"[{style}]{name}[/{style}]: {counted(count, finding.unit)}, {finding.meaning}"
        yield from _examples(name, by_owner)


def _examples(name: str, by_owner: Iterable[tuple[str, Mapping[str, Found]]]) -> Iterator[str]:
    shown = 0
    for owner, findings in by_owner:
        for example in findings[name].examples if name in findings else ():
            if shown == _EXAMPLES:
                yield "    ..."
                return
            shown += 1
            yield f"    {_where(owner, example)}"


def _where(owner: str, example: Example) -> str:
    words = [owner] if owner else []
    if example.first is not None and example.last is not None:
        last = example.last
        words.append(
            f"number {last:,}" if example.first == last else f"numbers {example.first:,}-{last:,}"
        )
    if example.partition is not None:
        words.append(f"partition {example.partition} offset {example.offset:,}")
    return ", ".join(words)


def _last_line(verdict: TopicVerdict, strict: bool) -> str:
    state = verdict.state(strict=strict)
    style = _STYLES[state]
    opening = f"[{style}]{_shown(verdict.topic)} is {_WORDS[state]}[/{style}]"
    return f"{opening}: {_because(verdict, state, strict)}"


def _because(verdict: TopicVerdict, state: State, strict: bool) -> str:
    counts = verdict.counts()
    if state is State.INCOMPLETE:
        found = (f"{name} {counts[name]:,}" for name in verdict.failures(strict=strict))
        return ", ".join(found)
    if verdict.wrong_key:
        return "not one digest matches; which key were they made with? --key-file"
    if not verdict.streams:
        return f"no number in {counted(verdict.records, 'records')}"
    if state is State.UNCHECKED:
        return ", ".join(
            f"{name} {count:,}"
            for name, count in counts.items()
            if names.FINDINGS[name].weight is names.Weight.UNCHECKED
        )
    records = verdict.records - counts.get(names.REPEATED, 0)
    instances = len(verdict.streams)
    return (
        f"{counted(records, 'records')} of {counted(instances, 'instances')}, "
        f"{_PROOFS[verdict.proof]}"
    )


def _shown(text: str) -> str:
    """Return a text from a record or a broker such that the terminal only shows it."""
    return escape(printable(text, _MOST_SHOWN))


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
