"""A few of the records as they came back, for the eye."""

import json
from collections.abc import Iterator
from typing import Any, Final

import orjson
from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from kiel_logging.demo.logging_setup import APP, AUDIT, ERRORS, TOPICS
from kiel_logging.demo.outcome import Outcome
from kiel_logging.demo.tally import Arrival
from kiel_logging.printable import printable

_SHOWN: Final = (APP, AUDIT, ERRORS)


def sample_panels(outcome: Outcome) -> Iterator[Panel]:
    """Yield one record of each of the most telling topics."""
    for short, name in zip(TOPICS, outcome.cluster.topics, strict=True):
        topic = outcome.tally.topics.get(name)
        if short in _SHOWN and topic is not None and topic.sample is not None:
            yield _panel(topic.sample)


def _panel(arrival: Arrival) -> Panel:
    fields = Table.grid(padding=(0, 2))
    fields.add_column(style="cyan", no_wrap=True)
    fields.add_column(overflow="fold")
    for name, value in orjson.loads(arrival.value).items():
        fields.add_row(Text(printable(name)), _shown(value))
    key = "none" if arrival.key is None else printable(arrival.key.decode(errors="replace"))
    title = Text(f"{arrival.partition} offset {arrival.offset}, key {key}")
    return Panel(fields, title=title, title_align="left", box=box.ROUNDED, expand=False)


def _shown(value: Any) -> RenderableType:
    if not isinstance(value, dict):
        return Text(_text(value))
    lines = (
        Text.assemble((f"{printable(name)}: ", "cyan"), "\n" * _is_long(part), _text(part))
        for name, part in value.items()
    )
    return Group(*lines)


def _text(value: Any) -> str:
    text = value.rstrip() if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "\n".join(map(printable, text.split("\n")))


def _is_long(value: Any) -> bool:
    return isinstance(value, str) and "\n" in value  # a traceback keeps its lines
