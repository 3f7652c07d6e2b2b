"""Secrets that can be named instead of written down, and that nothing ever shows.

``{"env": "KAFKA_PASSWORD"}`` and ``{"file": "/run/secrets/kafka"}`` let a configuration be
committed. They are read each time that they are needed, so that a new password takes effect
without a restart.
"""

import os
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any, Final, Self, TypeAlias

from kiel_logging.errors import ConfigurationError

Secretive: TypeAlias = str | Mapping[str, str]
"""The forms of a secret: itself, ``{"env": name}`` or ``{"file": path}``."""

FORMS: Final = "a str, {'env': 'NAME'} or {'file': '/path'}"

_SECRETIVE: Final = (
    "ssl_certfile",  # these two: a key by mistake, instead of where it is
    "ssl_keyfile",
    "ssl_password",
    "sasl_username",
    "sasl_password",
    "sasl_token_provider",  # a partial shows its arguments
    "chain_key",
    "endorse_key",
)
"""The options that may have a secret in them."""


class Secret:
    """A secret, or where it is to be found. Nothing shows it but ``read()`` and ``reveal()``.

    It is made of whatever was given, before anything can go wrong: from then on no local variable
    has the value, which some tools show with a traceback. ``check()`` says whether it will do.
    """

    __slots__ = ("_given", "_option")

    def __init__(self, option: str, value: object) -> None:
        self._option = option
        # A closure: what shows an object's attributes does not look into it.
        self._given: Callable[[], Any] = lambda: value

    def __repr__(self) -> str:
        match self._place():
            case "env", name:
                return f"<Secret {self._option} of ${name}>"
            case "file", path:
                return f"<Secret {self._option} in {path}>"
        return f"<Secret {self._option}=...>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._given() == other._given()

    __hash__ = None  # type: ignore[assignment] # it may be a dict

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise TypeError("a Secret can't be pickled: it would be shown")

    def reveal(self) -> Any:
        """Return what it was made of."""
        return self._given()

    def check(self) -> Self:
        """Return itself.

        Raises:
            ConfigurationError: it is none of the forms; names the option, never the value.
        """
        if isinstance(self._given(), str) or self._place() is not None:
            return self
        kind = type(self._given()).__name__
        raise ConfigurationError(f"{self._option} must be {FORMS}, not {kind}")

    def each(self) -> "list[Secret]":
        """Return the secrets of a list, or itself if it was made of none."""
        given = self._given()
        if isinstance(given, list | tuple):
            return [Secret(self._option, one) for one in given]
        return [self]

    def read(self) -> str:
        """Return the secret as it is now.

        Raises:
            ConfigurationError: the variable or the file is not there, or can't be read.
        """
        place = self.check()._place()
        if place is None:
            return str(self._given())
        kind, name = place
        return _READERS[kind](self._option, name)

    def read_bytes(self) -> bytes:
        """As ``read()``, in UTF-8.

        Raises:
            ConfigurationError: as there, or it has no UTF-8 form.
        """
        try:
            return self.read().encode()
        except UnicodeEncodeError:
            pass  # it has the secret in it, and must not be the context of the next error
        raise ConfigurationError(f"{self._option} has no UTF-8 form")

    def _place(self) -> tuple[str, str] | None:
        """Return where it is, as a kind of place and its name; None when it was given itself."""
        given = self._given()
        if isinstance(given, Mapping) and len(given) == 1:
            ((kind, name),) = given.items()
            if kind in _READERS and isinstance(name, str) and name:
                return kind, name
        return None


def _from_environment(option: str, name: str) -> str:
    try:
        return os.environ[name]
    except KeyError:
        raise ConfigurationError(f"{option}: the environment variable {name} is not set") from None


def _from_file(option: str, path: str) -> str:
    try:
        # Editors and `echo` end a file with a newline, which no password has.
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a NUL in the path
        why = getattr(error, "strerror", None) or "it is not UTF-8 text, or that is no path"
    # Out here: what failed has all that was read, and would be its context.
    raise ConfigurationError(f"{option}: {path} can't be read: {why}")


_READERS: Final = {"env": _from_environment, "file": _from_file}


def hidden(options: Mapping[str, Any], known: Container[str] | None = None) -> dict[str, Any]:
    """Return ``options`` with a Secret in place of each value that has one in it.

    Args:
        options: names and values.
        known: the names that there are. The value of any other is hidden as well, for it may be
            that of a secret whose name is misspelt; None takes all names for known.
    """
    return {
        name: Secret(name, value)
        if _to_be_hidden(name, known) and value is not None and not isinstance(value, Secret)
        else value
        for name, value in options.items()
    }


def _to_be_hidden(name: str, known: Container[str] | None) -> bool:
    return name in _SECRETIVE or (known is not None and name not in known)


def revealed(value: object) -> Any:
    """Undo ``hidden`` for one value."""
    return value.reveal() if isinstance(value, Secret) else value
