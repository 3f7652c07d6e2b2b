"""Secrets that can be named instead of written down, and that nothing ever shows.

``{"env": "KAFKA_PASSWORD"}`` and ``{"file": "/run/secrets/kafka"}`` let a configuration be
committed. They are read each time that they are needed, so that a new password takes effect
without a restart.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from kiel_logging.errors import ConfigurationError

Secretive: TypeAlias = str | Mapping[str, str]
"""What callers may give: the secret, ``{"env": name}`` or ``{"file": path}``."""

_FORMS: Final = "a str, {'env': 'NAME'} or {'file': '/path'}"


class Secret:
    """A secret, or where it is to be found. ``read()`` is the only way to see it.

    Raises:
        ConfigurationError: ``value`` is none of the forms; names the option, never the value.
    """

    __slots__ = ("_read", "_where")

    def __init__(self, option: str, value: object) -> None:
        self._where, self._read = _reader(option, value)

    def __repr__(self) -> str:
        return f"<Secret {self._where}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise TypeError("a Secret can't be pickled: it would be shown")

    def read(self) -> str:
        """Return the secret as it is now.

        Raises:
            ConfigurationError: the variable or the file is not there, or can't be read.
        """
        return self._read()


def _reader(option: str, value: object) -> tuple[str, Callable[[], str]]:
    if isinstance(value, str):
        return f"{option}=...", lambda: value
    if isinstance(value, Mapping) and len(value) == 1:
        ((kind, place),) = value.items()
        if isinstance(place, str) and place:
            if kind == "env":
                return f"{option} of ${place}", lambda: _from_environment(option, place)
            if kind == "file":
                return f"{option} in {place}", lambda: _from_file(option, place)
    raise ConfigurationError(f"{option} must be {_FORMS}, not {type(value).__name__}")


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
        raise ConfigurationError(f"{option}: {path} can't be read: {why}") from None


def secret_or_none(option: str, value: object) -> Secret | None:
    """Return ``value`` as a Secret; None stays None."""
    return None if value is None else Secret(option, value)
