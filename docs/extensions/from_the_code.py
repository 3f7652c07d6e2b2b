"""Directives whose content is read from the code, so that the pages can't contradict it.

``options``
    a table of options, from the rows that also make their checks; see ``OptionsDirective``.
``findings``
    what ``kiel-logging verify`` may find.
``threats``
    who can do what to a topic, and what of it ``verify`` finds.
``unfound``
    those of them that it does not find, and with what.
``answers``
    what the producer does upon each error of Kafka's.
``requests``
    the requests of Kafka's protocol that are spoken, and their versions.
``metrics``
    those of handlers, for Prometheus.
``error-tree``
    every error, below those that it is one of.
``command-help``
    what ``kiel-logging COMMAND --help`` prints.
"""

import os
from collections.abc import Iterable, Iterator
from typing import Any, Final

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.logging import getLogger

from kiel_logging import cli, errors
from kiel_logging.config.options import PRODUCER
from kiel_logging.config.table import INT32, REQUIRED, Option, meanings
from kiel_logging.delivery.retry import OUTCOMES
from kiel_logging.handler.options import AUDIT, HANDLER
from kiel_logging.handler.record_options import SPOOLED
from kiel_logging.metrics import METRICS
from kiel_logging.verify.names import FINDINGS
from kiel_logging.verify.threats import COLUMNS, THREATS, unfound
from kiel_logging.wire.versions import SUPPORTED

logger: Final = getLogger(__name__)

_UNITS: Final = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))
_FIRST: Final = "0.1.0"
_TABLES: Final = {"handler": HANDLER, "audit": AUDIT, "producer": PRODUCER, "spooled": SPOOLED}


def _shown(default: Any) -> str:
    if default is REQUIRED:
        return "required"
    if default == INT32:
        return "no limit"
    if isinstance(default, bool) or not isinstance(default, int | float):
        return f"``{default!r}``".replace("'", '"')
    for size, unit in _UNITS:
        if default >= size and default % size == 0:
            return f"{default // size} {unit}"
    return f"{default:,g}" if isinstance(default, float) else f"{default:,}"


def _row(name: str, option: Option, meaning: str) -> tuple[str, str, str]:
    since = "" if option.since == _FIRST else f" Since {option.since}."
    meaning = f"{meaning} Must be {option.kind.description}.{since}"
    return f"``{name}``", _shown(option.default), meaning


class FromTheCode(Directive):
    """A directive that makes reStructuredText."""

    has_content = True
    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the nodes of that text."""
        node = nodes.container()
        lines = StringList(list(self.lines()), source=f"<{self.name}>")
        self.state.nested_parse(lines, self.content_offset, node)
        return node.children

    def lines(self) -> Iterator[str]:
        """Yield its lines."""
        raise NotImplementedError


class OptionsDirective(FromTheCode):
    """A table of the options that are named in the content; of all without any.

    The argument is "handler", "audit", "producer" or "spooled". A build fails when an option of the
    handler is in no table.
    """

    def lines(self) -> Iterator[str]:
        """Yield the lines of a table."""
        [kind] = self.arguments
        known = _TABLES[kind]
        names = " ".join(self.content).split() or list(known)
        if unknown := [name for name in names if name not in known]:
            raise self.error(f"there is no option {', '.join(unknown)}")
        shown = self.state.document.settings.env.domaindata.setdefault("kiel_options", {})
        shown.setdefault(kind, set()).update(names)
        texts = meanings(known)
        rows = (_row(name, known[name], texts[name]) for name in names)
        yield from _table(("option", "default", "meaning"), rows, (22, 15, 63))


class FindingsDirective(FromTheCode):
    """The findings of ``kiel-logging verify``."""

    def lines(self) -> Iterator[str]:
        """Yield the lines of a table."""
        rows = (
            (f"``{name}``", one.unit, one.meaning, _WEIGHTS[one.weight.name])
            for name, one in FINDINGS.items()
        )
        yield from _table(("finding", "counts", "meaning", "fails"), rows, (16, 13, 51, 20))


_WEIGHTS: Final = {
    "FAILS": "always",
    "KEYED": "with a key, or ``--strict``",
    "STRICT": "with ``--strict``",
    "UNCHECKED": "counts as not checked",
    "NOTED": "never",
}


class ThreatsDirective(FromTheCode):
    """Deeds against a topic, and what is found of them."""

    def lines(self) -> Iterator[str]:
        """Yield the lines of a table."""
        head = ("who", "does what", *COLUMNS.values())
        yield from _table(head, THREATS, (12, 24, 16, 16, 16, 16))


class UnfoundDirective(FromTheCode):
    """Deeds against a topic of which nothing, or not all, is found."""

    def lines(self) -> Iterator[str]:
        """Yield the lines of a table."""
        rows = ((one.who, one.does, "; ".join(unfound(one))) for one in THREATS if unfound(one))
        yield from _table(("who", "does what", "not found with"), rows, (20, 40, 40))


class AnswersDirective(FromTheCode):
    """The outcome of each error of Kafka's for a batch of records."""

    def lines(self) -> Iterator[str]:
        """Yield the lines of a table."""
        rows = ((f"``{error.name.upper()}``", one.value) for error, one in OUTCOMES.items())
        yield from _table(("Kafka's error", "the batch is"), rows, (40, 60))


class RequestsDirective(FromTheCode):
    """The requests of Kafka's protocol that are spoken."""

    def lines(self) -> Iterator[str]:
        """Yield the lines of a table."""
        rows = (
            (api.name.replace("_", " ").title().replace(" ", ""), f"{lowest} to {highest}")
            for api, (lowest, highest) in SUPPORTED.items()
        )
        yield from _table(("request", "versions"), rows, (60, 40))


class MetricsDirective(FromTheCode):
    """The metrics of handlers."""

    def lines(self) -> Iterator[str]:
        """Yield the lines of a table."""
        rows = (
            (
                f"``{one.exposed_name}``",
                one.kind,
                f"{one.text} By {' and '.join(f'``{label}``' for label in one.labels)}."
                if one.labels
                else one.text,
            )
            for one in METRICS
        )
        yield from _table(("metric", "type", "meaning"), rows, (40, 10, 50))


def _table(
    head: Iterable[str], rows: Iterable[Iterable[str]], widths: Iterable[int]
) -> Iterator[str]:
    yield from (".. list-table::", "   :header-rows: 1", "   :class: from-the-code")
    yield from (f"   :widths: {' '.join(map(str, widths))}", "")
    for row in (head, *rows):
        for number, cell in enumerate(row):
            yield f"   {' ' if number else '*'} - {cell}"


class CommandHelpDirective(Directive):
    """The help of ``kiel-logging`` and its argument."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return a literal block."""
        before = os.environ.get("COLUMNS")
        os.environ["COLUMNS"] = "80"
        try:
            text = _help(self.arguments)
        finally:
            del os.environ["COLUMNS"]
            if before is not None:
                os.environ["COLUMNS"] = before
        return [nodes.literal_block(text, text, language="text")]


class ErrorTreeDirective(Directive):
    """Every error, indented below its kind."""

    def run(self) -> list[nodes.Node]:
        """Return a literal block."""
        text = "\n".join(_tree(errors.KielError, ""))
        return [nodes.literal_block(text, text, language="text")]


def _tree(error: type[errors.KielError], indent: str) -> Iterator[str]:
    yield f"{indent}{error.__name__}"
    for one in vars(errors).values():
        if isinstance(one, type) and error in one.__bases__:
            yield from _tree(one, f"{indent}    ")


def _help(command: list[str]) -> str:
    parser = cli._parser(command)
    if not command:
        return parser.format_help()
    [commands] = [one.choices for one in parser._actions if isinstance(one.choices, dict)]
    found: str = commands[command[0]].format_help()
    return found


def _check_that_all_are_shown(_app: Sphinx, env: BuildEnvironment) -> None:
    shown_of = env.domaindata.get("kiel_options", {})
    shown_of.get("audit", set()).update(shown_of.get("handler", ()))
    for kind, shown in shown_of.items():
        if missing := [name for name in _TABLES[kind] if name not in shown]:
            logger.warning("no table shows these options of the %s: %s", kind, ", ".join(missing))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("options", OptionsDirective)
    app.add_directive("findings", FindingsDirective)
    app.add_directive("threats", ThreatsDirective)
    app.add_directive("unfound", UnfoundDirective)
    app.add_directive("answers", AnswersDirective)
    app.add_directive("requests", RequestsDirective)
    app.add_directive("metrics", MetricsDirective)
    app.add_directive("command-help", CommandHelpDirective)
    app.add_directive("error-tree", ErrorTreeDirective)
    app.connect("env-check-consistency", _check_that_all_are_shown)
    return {"parallel_read_safe": False}
