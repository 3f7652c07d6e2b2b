"""The format "text": the line, or lines, that a logging.Formatter makes of a record."""

import copy
import logging
from typing import Any, Final

from kiel_logging.record.log_record import EXTRA, OUR_FIELDS, RESERVED, show
from kiel_logging.record.trace_ids import TRACE_FIELDS

DEFAULT: Final = logging.Formatter(logging.BASIC_FORMAT)
"""``WARNING:shop.cart:hello``, as ``logging.basicConfig()`` has it; Kafka keeps the time."""


def text_value(
    fields: dict[str, Any], record: logging.LogRecord, formatter: logging.Formatter | None
) -> str:
    """Return the whole text that ``formatter`` makes: message, traceback and stack.

    It is the text that another handler with this formatter writes, as long as no option changes
    the fields. ``formatter`` is ``DEFAULT`` where it is None. It is given a copy of ``record``,
    which other handlers share. Context and static fields are attributes of it:
    ``%(request_id)s``. Extras that were left out, renamed or redacted are as the options have it.

    A formatter that raises does not cost the record: its text then says why, and all the rest.
    """
    try:
        text = (formatter or DEFAULT).format(_copy(fields, record))
    except Exception as error:
        return _without_formatter(fields, record, error)
    return text if isinstance(text, str) else show(text)


def _copy(fields: dict[str, Any], record: logging.LogRecord) -> logging.LogRecord:
    """Return ``record`` with what is logging's own as it was, and the rest as ``fields`` has it."""
    copied = copy.copy(record)
    if copied.exc_info:
        copied.exc_text = None  # another handler's Formatter left its own in the record
    own = copied.__dict__.copy()
    given = {name: value for name, value in fields.items() if _is_given(name, value, own)}
    if isinstance(moved := fields.get(EXTRA), dict):  # extras by the names of our fields
        given |= {name: value for name, value in moved.items() if name in own}
    copied.__dict__.clear()
    copied.__dict__.update({name: value for name, value in own.items() if name in RESERVED})
    for name in (*filter(given.__contains__, own), *given):  # extras in their order
        if name not in RESERVED and not hasattr(type(copied), name):
            copied.__dict__[name] = given[name]
    return copied


def _is_given(name: str, value: Any, own: dict[str, Any]) -> bool:
    """Whether a field is an extra, or an option's; the others are the handler's own."""
    if name in OUR_FIELDS:
        return name in own and own[name] is value  # an extra, where there is none of ours
    return name not in TRACE_FIELDS or name in own


def _without_formatter(fields: dict[str, Any], record: logging.LogRecord, error: Exception) -> str:
    message = fields.get("message")
    if message is None:
        arguments = f" [arguments {show(record.args)}]" if record.args else ""
        message = f"{show(record.msg)}{arguments}"
    why = f"{type(error).__name__}: {show(error)}"
    lines = [f"{record.levelname}:{record.name}:{show(message)} [the formatter failed: {why}]"]
    exception = fields.get("exception")
    trace = exception.get("traceback") if isinstance(exception, dict) else None
    lines += [show(part).rstrip("\n") for part in (trace, fields.get("stack")) if part]
    return "\n".join(lines)
