"""Which fields a record has in the end: static ones added, some left out, some renamed.

Pure. A record's dict is ours and may be changed; what is nested in it is the program's, and is
copied on the way to what is left out.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

from kiel_logging.config.table import check_name, given_mapping, given_names
from kiel_logging.errors import ConfigurationError
from kiel_logging.record.log_record import EXTRA, beside, to_fields
from kiel_logging.record.notes import NOTES

Change: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]

_FIELDS: Final = "names to values, such as {'environment': 'production'}"
_RENAME: Final = "names of fields to new names, such as {'message': 'msg'}"
_EXCLUDE: Final = "['thread', 'user.address']"


def field_changes(
    *,
    fields: Mapping[str, Any] | None,
    rename: Mapping[str, str] | None,
    exclude: Iterable[str] | None,
) -> Change | None:
    """Return a function that makes these changes to a record's dict; None when there are none.

    Args:
        fields: added to each record. A record that has a field of that name already, an extra
            say, keeps its own.
        rename: from the names of fields to those they get; not paths. The order stays. A field
            that had the new name moves under ``extra``, where ``to_fields`` puts extras whose names
            are taken.
        exclude: names of fields that are left out, before any is renamed; a dotted path reaches
            into nested dicts.

    Raises:
        ConfigurationError: an option is of the wrong type, has a name that can't be one, or two
            of them contradict each other.
    """
    static = given_mapping("fields", fields, _FIELDS)
    check_names_are_free("fields", static)
    excluded = given_names("exclude", exclude, _EXCLUDE)
    renamed = given_mapping("rename", rename, _RENAME)
    _check_renames(renamed, excluded)
    steps = [
        *([_adding(static)] if static else []),
        *([_excluding(excluded)] if excluded else []),
        *([_renaming(renamed)] if renamed else []),
    ]
    return _one_after_another(steps) if steps else None


def check_names_are_free(option: str, names: Iterable[str]) -> None:
    """Check that none of ``names`` is that of a field which every record has.

    The record's own field would win, and the option would never be seen.

    Raises:
        ConfigurationError: one is.
    """
    taken = {*to_fields(logging.makeLogRecord({}), None), EXTRA, NOTES}
    taken.discard("task")  # this record has it only if the handler is made in a task
    for name in names:
        if name in taken:
            raise ConfigurationError(
                f"{option} has {name!r}: that is a field of the record's own, choose another name"
            )


def _one_after_another(steps: list[Change]) -> Change:
    def change(fields: dict[str, Any]) -> dict[str, Any]:
        for step in steps:
            fields = step(fields)
        return fields

    return change


def _adding(static: dict[str, Any]) -> Change:
    def add(fields: dict[str, Any]) -> dict[str, Any]:
        for name, value in static.items():
            fields.setdefault(name, value)
        return fields

    return add


# -- left out --------------------------------------------------------------------------------------


def _excluding(names: tuple[str, ...]) -> Change:
    paths = [(first, rest) for first, dot, rest in (name.partition(".") for name in names) if dot]

    def exclude(fields: dict[str, Any]) -> dict[str, Any]:
        for name in names:
            fields.pop(name, None)
        for first, rest in paths:
            if isinstance(inner := fields.get(first), dict):
                fields[first] = _without(inner, rest)
        return fields

    return exclude


def _without(fields: dict[str, Any], name: str) -> dict[str, Any]:
    """Return ``fields`` without what is at ``name``: a dict itself where nothing is."""
    if type(fields) is not dict:
        fields = dict(dict.items(fields))  # by no methods of the program's: they may raise
    if name in fields:
        fields = {other: value for other, value in fields.items() if other != name}
    first, dot, rest = name.partition(".")
    inner = fields.get(first) if dot else None
    if isinstance(inner, dict) and (left := _without(inner, rest)) is not inner:
        fields = {**fields, first: left}
    return fields


# -- renamed ---------------------------------------------------------------------------------------


def _check_renames(rename: dict[str, Any], excluded: tuple[str, ...]) -> None:
    targets = set()
    for name, target in rename.items():
        check_name("rename", target)
        if target in (EXTRA, NOTES):
            raise ConfigurationError(f"rename has {target!r}: that is a field of the handler's own")
        if target in targets:
            raise ConfigurationError(f"rename={rename!r} gives two fields the name {target!r}")
        if name in excluded:
            raise ConfigurationError(f"exclude and rename both have {name!r}: choose one")
        targets.add(target)


def _renaming(rename: dict[str, str]) -> Change:
    # ``extra`` comes last: what the others move under it may be why a record has it.
    pairs = sorted(rename.items(), key=lambda pair: pair[0] == EXTRA)

    def change(fields: dict[str, Any]) -> dict[str, Any]:
        for name, target in pairs:
            if name in fields and target in fields and target not in rename:
                _put_aside(fields, target)
        return {rename.get(name, name): value for name, value in fields.items()}

    return change


def _put_aside(fields: dict[str, Any], name: str) -> None:
    fields[EXTRA] = beside(fields.get(EXTRA, {}), name, fields.pop(name))
