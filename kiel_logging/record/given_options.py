"""Options that are mappings and lists: checked, and resolved when they come from a dictConfig.

Pure. What is returned is ours: a caller that changes its own mapping afterwards changes nothing.
"""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from kiel_logging.errors import ConfigurationError
from kiel_logging.record.log_record import EXTRA, to_fields
from kiel_logging.record.notes import NOTES


def given_mapping(option: str, value: Any, what: str) -> dict[str, Any]:
    """Return the mapping that an option is, with its references resolved; None is an empty one.

    Args:
        option: its name, for the message.
        value: what was given.
        what: what its names and values are, with an example, for the message.

    Raises:
        ConfigurationError: it is no mapping, a name is not a str or is empty, or a reference
            can't be resolved.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{option}={value!r} must be a mapping of {what}")
    for name in value:
        check_name(option, name)
    return dict(_resolved(option, value))


def given_names(option: str, value: Iterable[str] | None, example: str) -> tuple[str, ...]:
    """Return the names that an option lists; None is an empty list.

    Raises:
        ConfigurationError: it is one str, a mapping, or nothing that can be listed; or a name is
            not a str or is empty.
    """
    if value is None:
        return ()
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise ConfigurationError(
            f"{option}={value!r} must be a list of names of fields, such as {example}"
        )
    names = tuple(_resolved(option, value))
    for name in names:
        check_name(option, name)
    return names


def check_name(option: str, name: object) -> None:
    """Raise ConfigurationError unless ``name`` can be that of a field or a header."""
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"{option} has {name!r}: each name must be a str, and not empty")


def check_names_are_free(option: str, names: Iterable[str]) -> None:
    """Raise ConfigurationError where one of ``names`` is that of a field every record has.

    It would never be seen: what a record says of itself stays.
    """
    taken = {*to_fields(logging.makeLogRecord({}), None), EXTRA, NOTES}
    taken.discard("task")  # which only this record has, when the handler is made in one
    for name in names:
        if name in taken:
            raise ConfigurationError(
                f"{option} has {name!r}: that is a field of the record's own, choose another name"
            )


def _resolved(option: str, value: Any) -> Any:
    try:
        return _resolve(value)
    except Exception as error:  # what is referred to is imported, and may raise anything
        raise ConfigurationError(f"{option}={value!r} can't be resolved: {error}") from error


def _resolve(value: Any) -> Any:
    # logging.config wraps what is in a dictConfig, and resolves 'ext://' and 'cfg://' when an item
    # is asked for by its key or index: not in values(), nor while a list is walked.
    # (Known by its attribute: importing logging.config takes 20 ms.)
    if not isinstance(value, dict | list | tuple) or not hasattr(value, "configurator"):
        return value
    if isinstance(value, dict):
        return {name: _resolve(value[name]) for name in value}
    return [_resolve(value[index]) for index in range(len(value))]
