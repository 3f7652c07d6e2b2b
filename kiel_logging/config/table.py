"""The table of options: how a row looks, and the kinds of values that options take.

The rows stand in TypedDicts, which editors and type checkers read as keyword arguments (PEP 692).
A row has a name, a type, a default and a kind, perhaps the first version that has it, and a
docstring with the meaning, and the unit::

    class SomeKeywords(TypedDict, total=False):
        linger_ms: Annotated[float, 50.0, milliseconds(0)]
        '''Milliseconds after which records are sent although the batch isn't full.'''

``rows()`` has the same for the running program: for checks, ``help()`` and the documentation.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from kiel_logging.errors import ConfigurationError

if TYPE_CHECKING:
    import inspect

C = TypeVar("C")

INT32: Final = 2**31 - 1
"""The most that Kafka's protocol holds of milliseconds and bytes."""

REQUIRED: Final = object()
"""The default of an option that has to be given."""


class Kind(NamedTuple):
    """A kind of values, as errors and the documentation describe it: "must be ...".

    Attributes:
        description: which values there are.
        fits: whether a value is one of them.
        names: those that have names; a misspelt one gets a hint.
    """

    description: str
    fits: Callable[[Any], bool] = lambda _value: True
    names: Iterable[str] = ()

    def check(self, option: str, value: Any) -> Any:
        """Return ``value``.

        Raises:
            ConfigurationError: it is none of this kind.
        """
        if self.fits(value):
            return value
        raise ConfigurationError(
            f"{option}={value!r} must be {self.description}{did_you_mean(value, self.names)}"
        )


class Option(NamedTuple):
    """A row of the table.

    Attributes:
        default: the value of an option that is not given, or REQUIRED.
        kind: the values that it takes; the part of the package that reads it may check more.
        home: the TypedDict that it stands in.
        since: the first version that has it.
    """

    default: Any
    kind: Kind
    home: Any
    since: str = "0.1.0"


def rows(*keywords: Any) -> dict[str, Option]:
    """Return the options of some TypedDicts by name; each comes after its bases."""
    table: dict[str, Option] = {}
    for home in keywords:
        for name, row in home.__annotations__.items():
            if name not in table:
                default, kind, *since = row.__metadata__
                table[name] = Option(default, kind, home, *since)
    return table


def meanings(table: Mapping[str, Option]) -> dict[str, str]:
    """Return what each option means, as its docstring says; empty where there are no sources."""
    texts = {home: _docstrings(home) for home in {row.home for row in table.values()}}
    return {name: texts[row.home].get(name, "") for name, row in table.items()}


def _docstrings(home: type) -> dict[str, str]:
    import ast
    import inspect

    try:
        body = ast.parse(inspect.getsource(home)).body[0].body  # type: ignore[attr-defined]
    except OSError:  # the program was packed without its sources
        return {}
    return {
        ast.unparse(row.target): " ".join(text.value.value.split())
        for row, text in pairwise(body)
        if isinstance(row, ast.AnnAssign)
    }


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return the end of an error about a name that is not ``known``: the nearest one, if any."""
    from difflib import get_close_matches  # only errors need it

    nearest = get_close_matches(name, list(known), n=1) if isinstance(name, str) else []
    return f": did you mean {nearest[0]!r}?" if nearest else ""


def checked(table: Mapping[str, Option], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of all options in ``table``: the given ones, checked, and the defaults.

    Raises:
        ConfigurationError: a value is not of its option's kind.
    """
    return {
        name: row.kind.check(name, given[name]) if name in given else row.default
        for name, row in table.items()
    }


def seconds(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the times in ``values``, in seconds, by their names without ``_ms``."""
    return {
        name.removesuffix("_ms"): value / 1000
        for name, value in values.items()
        if name.endswith("_ms")
    }


OTHER_NAMES: Final = {
    "acks": "required_acks",
    "additional_fields": "fields",
    "bootstrap_servers": "brokers",
    "compression_type": "compression",
    "enable_idempotence": "idempotence",
    "hosts_list": "brokers",
    "sasl_plain_password": "sasl_password",
    "sasl_plain_username": "sasl_username",
    "sasl_oauth_token_provider": "sasl_token_provider",
    "value_serializer": "serializer",
}
"""Names that other clients have for our options."""

_NEEDLESS: Final = {
    "api_version": "the versions are negotiated with each broker",
    "retries": "retries continue until delivery_timeout_ms",
    "max_block_ms": "only overflow='block' lets callers wait, for block_timeout_ms",
}
"""Options of other clients, and why there are none here."""


def refuse_unknown(owner: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Check that ``owner`` has all options that are ``given``.

    Raises:
        ConfigurationError: it lacks one; says which option was probably meant.
    """
    known = list(known)
    for name in given:
        if name in known:
            continue
        if name in _NEEDLESS:
            hint = f": leave it out, for {_NEEDLESS[name]}"
        elif OTHER_NAMES.get(name) in known:
            hint = f": did you mean {OTHER_NAMES[name]!r}?"
        else:
            hint = did_you_mean(name, known)
        raise ConfigurationError(f"{owner} has no option {name!r}{hint}")


# -- for help(), editors and the documentation -----------------------------------------------------


class _MadeWhenRead:
    """A class attribute that is computed when it is read; a subclass with another ``__init__``
    does not have it."""

    def __init__(self, owner: type, make: Callable[[], Any]) -> None:
        self._init = vars(owner)["__init__"]
        self._make = make

    def __get__(self, instance: object, owner: type) -> Any:
        if owner.__init__ is not self._init:  # type: ignore[misc]
            raise AttributeError
        return self._make()


def takes(table: Mapping[str, Option]) -> Callable[[type[C]], type[C]]:
    """Have ``help()`` and ``inspect.signature()`` show all options in ``table``.

    The docstring of the class has a line ``Args: ...`` for them.
    """

    def decorate(owner: type[C]) -> type[C]:
        written = owner.__doc__ or ""
        owner.__doc__ = _MadeWhenRead(owner, lambda: written.replace("Args: ...", _args(table)))  # type: ignore[assignment]
        owner.__signature__ = _MadeWhenRead(owner, lambda: _signature(owner, table))  # type: ignore[attr-defined]
        return owner

    return decorate


def _args(table: Mapping[str, Option]) -> str:
    from textwrap import fill

    texts = meanings(table)
    lines = (
        fill(
            f"{name}: {texts[name]} Must be {row.kind.description}.",
            width=100,
            break_on_hyphens=False,
            initial_indent=" " * 8,
            subsequent_indent=" " * 12,
        )
        for name, row in table.items()
    )
    return "\n".join(("Args:", *lines))


def _signature(owner: type, table: Mapping[str, Option]) -> "inspect.Signature":
    import inspect

    [_self, *positional, _options] = inspect.signature(vars(owner)["__init__"]).parameters.values()
    names = {one.name for one in positional}
    more = (
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=row.default)
        for name, row in table.items()
        if name not in names
    )
    return inspect.Signature([*positional, *more])


# -- kinds of values -------------------------------------------------------------------------------


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def whole(least: int, most: int = INT32) -> Kind:
    """Whole numbers within bounds."""
    return Kind(
        f"a whole number from {least} to {most}",
        lambda value: _is_number(value) and isinstance(value, int) and least <= value <= most,
    )


def milliseconds(least: int) -> Kind:
    """Times; fractions are as good as whole numbers."""
    return Kind(
        f"a number of milliseconds, {least} or more",
        lambda value: _is_number(value) and least <= value <= INT32,
    )


def one_of(*names: str) -> Kind:
    """Some names."""
    listed = ", ".join(map(repr, names))
    return Kind(f"one of {listed}", lambda value: isinstance(value, str) and value in names, names)


def or_none(description: str, kind: Kind) -> Kind:
    """None, and another kind of values."""
    return Kind(description, lambda value: value is None or kind.fits(value), kind.names)


POSITIVE_MILLISECONDS: Final = Kind(
    "a number of milliseconds above 0", lambda value: _is_number(value) and 0 < value <= INT32
)
AUTOMATIC: Final = "automatic"
AUTOMATIC_LINGER_MS: Final = 50.0
"""The most that records wait: twenty requests a second cost little."""


def or_automatic(kind: Kind) -> Kind:
    """Another kind of values, or "automatic"."""
    return Kind(
        f'{kind.description}, or "{AUTOMATIC}"',
        lambda value: value == AUTOMATIC or kind.fits(value),
        (AUTOMATIC,),
    )


FLAG: Final = Kind("True or False", lambda value: isinstance(value, bool))
FLAG_OR_NONE: Final = or_none("True, False or None", FLAG)
TEXT: Final = Kind("a str that is not empty", lambda value: isinstance(value, str) and value != "")
FUNCTION: Final = Kind(
    "callable, or None for the default; in a dictConfig a function is written "
    "'ext://module.function'",
    lambda value: value is None or callable(value),
)


# -- mappings and lists, which a dictConfig may have written ---------------------------------------


def given_mapping(option: str, value: Any, what: str) -> dict[str, Any]:
    """Return a copy of the mapping that an option is, with its references resolved.

    Args:
        option: its name, for the message.
        value: as it was given; None is an empty mapping.
        what: its names and values, with an example, for the message.

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
    """Check that ``name`` can be that of a field or a header.

    Raises:
        ConfigurationError: it is not a str, or empty.
    """
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"{option} has {name!r}: each name must be a str, and not empty")


def _resolved(option: str, value: Any) -> Any:
    try:
        return _resolve(value)
    except Exception as error:  # resolving imports modules of the program, which may raise anything
        raise ConfigurationError(f"{option}={value!r} can't be resolved: {error}") from error


def _resolve(value: Any) -> Any:
    # logging.config wraps containers of a dictConfig, and resolves 'ext://' and 'cfg://' when an
    # item is asked for by its key or index: not in values(), and not while a list is walked.
    # (Recognised by its attribute: importing logging.config takes 20 ms.)
    if not isinstance(value, dict | list | tuple) or not hasattr(value, "configurator"):
        return value
    if isinstance(value, dict):
        return {name: _resolve(value[name]) for name in value}
    return [_resolve(value[index]) for index in range(len(value))]
