"""The format "text": the line, or lines, that a logging.Formatter makes of a record."""

import copy
import logging
from typing import Any, Final

from kiel_logging.handler.conversion.log_record import RESERVED, show

DEFAULT: Final = logging.Formatter(logging.BASIC_FORMAT)
"""``WARNING:shop.cart:hello``, as ``logging.basicConfig()`` has it; Kafka keeps the time."""


def text_value(
    fields: dict[str, Any], record: logging.LogRecord, formatter: logging.Formatter | None
) -> str:
    """Return the whole text that ``formatter`` makes: message, traceback and stack.

    ``formatter`` is ``DEFAULT`` where it is None. It is given a copy of ``record``, which other
    handlers share; in place of the extras the copy has ``fields``: ``%(request_id)s`` may be a
    context value, and ``%(host)s`` is the host's name.

    A formatter that raises does not cost the record: its text then says why, and all the rest.
    """
    try:
        text = (formatter or DEFAULT).format(_copy(fields, record))
    except Exception as error:
        return _without_formatter(fields, record, error)
    return text if isinstance(text, str) else show(text)


def _copy(fields: dict[str, Any], record: logging.LogRecord) -> logging.LogRecord:
    """Return ``record`` with what is logging's own as it was, and the rest as ``fields`` has it.

    So an extra that was left out, renamed or redacted is not in the text either.
    """
    copied = copy.copy(record)
    if copied.exc_info:
        copied.exc_text = None  # another handler's Formatter left its own in the record
    kept = {name: value for name, value in copied.__dict__.items() if name in RESERVED}
    given = {name: value for name, value in fields.items() if not hasattr(type(copied), name)}
    copied.__dict__.clear()
    copied.__dict__.update({**given, **kept})
    return copied


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
