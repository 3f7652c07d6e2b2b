"""From LogRecord to Item, step by step, on the thread that logs.

Log arguments are mutable: converted any later, they might differ from what was logged.
"""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from kiel_logging.config.table import given_mapping, given_names
from kiel_logging.errors import ConfigurationError, ValueTypeError
from kiel_logging.record.fast_way import fast_options
from kiel_logging.record.fields import (
    add_fields,
    context_choice,
    field_changes,
    to_fields,
    trace_ids,
)
from kiel_logging.record.item import Item, level_of, make_item
from kiel_logging.record.plain import entries, make_plain, show
from kiel_logging.record.redaction import Redaction, redaction
from kiel_logging.record.route import header_choice, is_name, key_choice, shortened, topic_choice
from kiel_logging.record.strict_json import note_replaced
from kiel_logging.record.value import FORMATS, value_choice
from kiel_logging.records import Record
from kiel_logging.serializers import encode_key
from kiel_logging.wire.sizes import BATCH_OVERHEAD, record_size

Step: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]


class LeftOut(Exception):
    """``before_send`` leaves the record out."""


class Conversion:
    """Makes Items as the options say; see KafkaHandler for what they mean.

    Args:
        max_size: most bytes that a record may take in a request.
        keep_source: whether items keep their LogRecord, for a fallback.

    Attributes:
        topic: LogRecord -> topic name; raises InvalidTopic.
        fast: the arguments of a FastWay, but for those that say where its items go; None where
            compiled code can't do with the options.

    Raises:
        ConfigurationError: names the option, the value and what is allowed.
    """

    def __init__(
        self,
        *,
        topic: Any,
        key_field: Any,
        key_maker: Any,
        headers: Any,
        format: Any,  # noqa: A002
        serializer: Any,
        context: Any,
        fields: Any,
        rename: Any,
        exclude: Any,
        redact: Any,
        max_size: int,
        keep_source: bool,
        before_send: Any = None,
    ) -> None:
        self.topic = topic_choice(topic)
        self._key = key_choice(key_field, key_maker)
        self._headers = header_choice(headers)
        most = max_size - BATCH_OVERHEAD
        self._redact = redaction(redact, most)
        for option, name in (("key_field", key_field), *_named("headers", headers)):
            _check_is_shown(self._redact, rename, option, name)
        self._context = context_choice(context)
        self._before_send = before_send
        self._steps = _steps(fields, rename, exclude, self._redact)
        self._value = value_choice(format, serializer)
        self._most = most
        self._keep_source = keep_source
        self.fast: dict[str, Any] | None = None
        if (
            isinstance(format, str)
            and format in FORMATS
            and not any((serializer, key_maker, before_send))
            and _are_listed(exclude, redact)
        ):
            self.fast = fast_options(
                layout=FORMATS[format](),
                topic=topic if is_name(topic) else lambda record: self.topic(record),
                key_field=key_field,
                headers=given_mapping("headers", headers, "names"),
                fields=given_mapping("fields", fields, "values"),
                rename=given_mapping("rename", rename, "names"),
                exclude=given_names("exclude", exclude, "names"),
                redact=self._redact,
                context=self._context,
                most=most,
                keeps_source=keep_source,
            )

    def convert(
        self,
        record: logging.LogRecord,
        formatter: logging.Formatter | None,
        topic: str | None = None,
        spare: int = 0,
    ) -> Item:
        """Return ``record`` as an item, for ``topic`` if given; the record is not changed.

        ``spare`` is how many bytes fewer than else it may take in a request.

        Raises:
            LeftOut: ``before_send`` returned None for it.
            Exception: whatever the user's own topic, key maker, format, serializer or before_send
                raised, and what encoding their results raises.
        """
        shown, fields = self._fields(record, formatter)
        if self._context is not None:
            self._add(fields, self._context())
        if ids := trace_ids():
            add_fields(fields, ids)
        for step in self._steps:
            fields = step(fields)
        if self._before_send is not None and topic is None:  # else it is the handler's own
            fields = self._look_last(fields)
        key = self._key(fields, shown)
        headers = self._headers(fields, shown)
        created = milliseconds(record.created)

        def stored() -> Record:
            envelope = Record(encode_key(key), None, headers, created)
            room = self._most - spare - record_size(envelope)
            return envelope._replace(value=self._value(fields, shown, formatter, room))

        made = stored()
        if record_size(made) > self._most - spare:  # the value can't be cut that far
            cut = shortened(key, headers, self._most // (2 + 2 * len(headers)))
            if cut != (key, headers):
                key, headers = cut
                made = stored()
        return make_item(
            self.topic(record) if topic is None else topic,
            key,
            made,
            level_of(record),
            record if self._keep_source else None,
        )

    def _look_last(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return what ``before_send`` makes of the fields, without what ``redact`` hides."""
        note_replaced(fields, make_plain(fields, self._most).replaced)
        made = self._before_send(fields)
        if made is None:
            raise LeftOut
        if not isinstance(made, Mapping):
            raise ValueTypeError(
                f"before_send returned {type(made).__name__}: it must return the fields, or None"
            )
        fields = {show(name): value for name, value in entries(made)}
        if self._redact is None:
            return fields
        note_replaced(fields, self._redact.make_plain(fields))
        return self._redact(fields)

    def _fields(
        self, record: logging.LogRecord, formatter: logging.Formatter | None
    ) -> tuple[logging.LogRecord, dict[str, Any]]:
        """Return the record as it may be seen, and its fields."""
        if self._redact is None:
            return record, to_fields(record, formatter)
        concealed = self._redact.conceal(record)
        fields = to_fields(concealed.record, formatter)
        if concealed.exception is not None:
            fields["exception"] = concealed.exception
        note_replaced(fields, concealed.replaced)
        return concealed.record, fields

    def _add(self, fields: dict[str, Any], more: Mapping[str, Any]) -> None:
        replaced = []
        if self._redact is not None:
            more = dict(more)
            replaced = self._redact.make_plain(more)
        add_fields(fields, more)
        note_replaced(fields, replaced)

    def as_seen(self, record: logging.LogRecord) -> logging.LogRecord:
        """Return a copy of ``record`` without what ``redact`` hides; itself without that option."""
        if self._redact is None:
            return record
        try:
            return self._redact.conceal(record).record
        except Exception as error:  # of a record of the program's own kind
            return logging.makeLogRecord({"msg": f"<a record that can't be shown: {show(error)}>"})


def _are_listed(*options: Any) -> bool:
    """Whether these can be read more than once."""
    return all(one is None or isinstance(one, list | tuple | set | frozenset) for one in options)


def _named(option: str, names: Any) -> list[tuple[str, Any]]:
    return [(option, name) for name in (names or {}).values()]


def _steps(fields: Any, rename: Any, exclude: Any, redact: Redaction | None) -> tuple[Step, ...]:
    change = field_changes(fields=fields, rename=rename, exclude=exclude)
    if redact is None or change is None:
        return tuple(step for step in (redact, change) if step is not None)

    def make_plain(fields: dict[str, Any]) -> dict[str, Any]:
        note_replaced(fields, redact.make_plain(fields))
        return fields

    # A renamed field must not show a value that its old or its new name hides.
    return (redact, change, make_plain, redact) if fields else (redact, change, redact)


def _check_is_shown(redact: Redaction | None, rename: Any, option: str, name: Any) -> None:
    """Refuse a key or a header that is looked up where nothing is hidden: in the LogRecord."""
    if redact is None or not isinstance(name, str):
        return
    if any(map(redact.hides, (name, *name.split("."), (rename or {}).get(name, name)))):
        raise ConfigurationError(
            f"{option} has {name!r}, which redact hides: a key or a header would show it"
        )


def milliseconds(created: float) -> int:
    """Return when a record was made, in milliseconds since 1970; now, for a made-up time."""
    try:
        moment = int(created * 1000)
    except (OverflowError, TypeError, ValueError):  # infinite, no number, NaN
        moment = -1
    return moment if 0 <= moment < 2**63 else time.time_ns() // 1_000_000
