"""The JSON of a log record from its parts, for records that need no care.

In Python here; the same in C where the accelerator is there (``kiel_logging/_accelerator.c``).
"""

from collections.abc import Callable, Container
from itertools import islice
from types import NoneType
from typing import Any, Final

import orjson

from kiel_logging.handler.conversion.log_record import rfc3339
from kiel_logging.handler.conversion.plain import plain_if_simple

_ATOMS: Final = frozenset({str, int, bool, NoneType})


def compose_in_python(
    created: float,
    head: bytes,
    message: str,
    tail: bytes,
    own: dict[str, Any],
    skipped: int,
    more: dict[str, Any],
    taken: Container[str],
    dump: Callable[[Any], bytes | None],
    end: bytes,
) -> bytes | None:
    """Return ``{"time": created, head message tail, own, more end`` as bytes.

    Args:
        created: seconds since the epoch.
        head: what stands between the time and the message.
        message: the text.
        tail: what stands behind it.
        own: fields of which all but the first ``skipped`` are written.
        skipped: how many.
        more: fields that are written behind them.
        taken: names that no field may have.
        dump: makes JSON of values that are no str, int, bool or None.
        end: what stands behind the fields, the last brace included.

    Returns:
        None, or an exception is raised, when the record needs care.
    """
    del dump  # orjson is asked once, for all of them
    if type(created) is not float or type(message) is not str or created < 0:
        return None
    fields = {**dict(islice(own.items(), skipped, None)), **more}
    for name, value in fields.items():
        if type(name) is not str or name in taken:
            return None
        if type(value) not in _ATOMS:
            fields[name] = plain_if_simple(value)
    return b"".join(
        (
            b'{"time":"',
            rfc3339(created).encode(),
            head,
            orjson.dumps(message),
            tail,
            b"," + orjson.dumps(fields)[1:-1] if fields else b"",
            end,
        )
    )


def dump_if_simple(value: object) -> bytes | None:
    """Return ``value`` as JSON; None, or an exception is raised, when it needs care."""
    return orjson.dumps(plain_if_simple(value))


def dump_float(value: object) -> bytes | None:
    """Return a finite float as JSON; None for all else, whose ``__str__`` might run anything."""
    return orjson.dumps(value) if type(value) is float else None


try:
    from kiel_logging._accelerator import compose as compose_in_c
except ImportError:  # there was no C compiler
    compose: Callable[..., bytes | None] = compose_in_python
else:
    compose = compose_in_c
