"""Which values of the surroundings a log record gets: the request, the tenant, the user.

They are taken on the thread that logs, where they are those of the code that logs. A record is not
lost because they could not be had: it says so in its NOTES.
"""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final, TypeAlias

from kiel_logging.config.table import given_mapping
from kiel_logging.errors import ConfigurationError
from kiel_logging.record.field_changes import check_names_are_free
from kiel_logging.record.log_record import show
from kiel_logging.record.notes import NOTES

Context: TypeAlias = Callable[[], Mapping[str, Any]] | Mapping[str, ContextVar[Any]]
ContextChoice: TypeAlias = Callable[[], Mapping[str, Any]]

_WHAT: Final = (
    "names of fields to ContextVars, or a callable that returns a mapping; in a dictConfig "
    "either is written 'ext://module.name'"
)


def context_choice(context: Context | None) -> ContextChoice | None:
    """Return a function that takes no arguments and returns the fields of the surroundings.

    ``context`` is a callable that returns them (``structlog.contextvars.get_contextvars`` is
    one), or a mapping from the name of a field to the ContextVar with its value. A ContextVar that
    has no value, nor a default, is left out. None when there is nothing to take.

    Raises:
        ConfigurationError: it is neither, or a name is empty or that of a field every record has.
    """
    if callable(context):
        return _by_call(context)
    variables = given_mapping("context", context, _WHAT)
    check_names_are_free("context", variables)
    for name, variable in variables.items():
        if not isinstance(variable, ContextVar):
            raise ConfigurationError(
                f"context has {name!r}: {variable!r}, which is no ContextVar; in a dictConfig one "
                "is written 'ext://module.name'"
            )
    return _by_variables(list(variables.items())) if variables else None


def _by_variables(variables: list[tuple[str, ContextVar[Any]]]) -> ContextChoice:
    def take() -> Mapping[str, Any]:
        values = {}
        for name, variable in variables:
            try:
                values[name] = variable.get()  # with a default of ours, its own would be lost
            except LookupError:
                continue
        return values

    return take


def _by_call(context: Callable[[], Mapping[str, Any]]) -> ContextChoice:
    def take() -> Mapping[str, Any]:
        try:
            values: object = context()
            if isinstance(values, Mapping):
                return {show(name): value for name, value in values.items()}
        except Exception as error:
            return _note(f"{type(error).__name__}: {show(error)}")
        return _note(f"{type(values).__name__} returned: it must be a mapping")

    return take


def _note(what: str) -> Mapping[str, Any]:
    return {NOTES: {"context": what}}
