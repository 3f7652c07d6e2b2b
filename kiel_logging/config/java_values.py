"""Java's ways of writing values down: properties files, and placeholders for what is elsewhere.

``${env:NAME}``, ``${file:/path:key}`` of a properties file, ``${directory:/path:name}`` of a file.

Source: java.util.Properties.load(); Kafka's KIP-297, KIP-421 and KIP-887 (ConfigTransformer,
EnvVarConfigProvider and its like).
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from kiel_logging.config.credentials import Secret, Secretive
from kiel_logging.errors import ConfigurationError

_ESCAPES: Final = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|.)")
_KEY: Final = re.compile(r"((?:[^\\\s:=]|\\.)*)[ \t\f]*[:=]?[ \t\f]*(.*)", re.DOTALL)


def read_properties(path: Path) -> dict[str, str]:
    """Return the keys and values in a file.

    Raises:
        ConfigurationError: it can't be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a NUL in the path
        why = getattr(error, "strerror", None) or "it is not UTF-8 text, or that is no path"
        raise ConfigurationError(f"properties: {path} can't be read: {why}") from None
    pairs = (_KEY.fullmatch(line) for line in _logical_lines(text))
    return {_unescape(pair[1]): _unescape(pair[2]) for pair in pairs if pair is not None}


def _logical_lines(text: str) -> Iterator[str]:
    """Yield lines without comments; one that ends in a backslash continues in the next."""
    whole = ""
    for line in re.split(r"\r\n|\r|\n", text):
        part = line.lstrip(" \t\f")
        if not whole and (not part or part[0] in "#!"):
            continue
        if (len(part) - len(part.rstrip("\\"))) % 2:
            whole += part[:-1]
            continue
        yield whole + part
        whole = ""
    if whole:
        yield whole


def unescaped(match: re.Match[str]) -> str:
    """Return what an escape stands for; its first group is what follows the backslash."""
    code = match[1]
    return chr(int(code[1:], 16)) if len(code) == 5 else _ESCAPES.get(code, code)


def _unescape(text: str) -> str:
    # Java writes what is beyond U+FFFF as two escapes, the halves of one character.
    halves = _ESCAPE.sub(unescaped, text).encode("utf-16-le", "surrogatepass")
    return halves.decode("utf-16-le", "replace")


# -- placeholders ----------------------------------------------------------------------------------


_PLACEHOLDER: Final = re.compile(r"\$\{([^}:]*):(?:([^}:]*):)?([^}]*)\}")
_WHOLE: Final = re.compile(r"\$\{[^{}]*\}")
_KINDS: Final = {
    "EnvVarConfigProvider": "env",
    "FileConfigProvider": "file",
    "DirectoryConfigProvider": "directory",
}
_NAMES: Final = "config.providers"


class ConfigProviders:
    """The providers of one configuration: those of ``config.providers``, and the usual three.

    Args:
        given: all of its properties.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._kinds: dict[str, str | None] = {kind: kind for kind in _KINDS.values()}
        for name in str(given.get(_NAMES, "")).split(","):
            java_class = str(given.get(f"{_NAMES}.{name.strip()}.class", "")).strip()
            if java_class:
                self._kinds[name.strip()] = _KINDS.get(java_class.rpartition(".")[2])

    def takes(self, key: str) -> bool:
        """Whether ``key`` says which providers there are."""
        return key == _NAMES or (key.startswith(f"{_NAMES}.") and key.endswith(".class"))

    def text(self, key: str, value: Any) -> Any:
        """Return ``value``; of a str, with what its placeholders stand for.

        Raises:
            ConfigurationError: a placeholder stands for nothing, or for what is not known here;
                does not show the value.
        """
        place = self.place(key, value)
        return Secret(key, place).read() if isinstance(value, str) else value

    def place(self, key: str, value: Any) -> Any:
        """Return ``value`` as ``text`` does, or where it is to be read each time that it is needed.

        Raises:
            ConfigurationError: as ``text``.
        """
        if not isinstance(value, str):
            return value
        if whole := _PLACEHOLDER.fullmatch(value.strip()):
            return self._place(key, whole)
        if _WHOLE.fullmatch(value.strip()):
            raise _unknown(key)
        return _PLACEHOLDER.sub(lambda match: Secret(key, self._place(key, match)).read(), value)

    def _place(self, key: str, match: re.Match[str]) -> Secretive:
        provider, path, name = match.groups()
        match self._kinds.get(provider):
            case "env":
                return {"env": name}
            case "file" if path:
                return _property(key, path, name)
            case "directory" if path:
                return {"file": f"{path}/{name}"}
        raise _unknown(key)


def _property(key: str, path: str, name: str) -> str:
    try:
        return read_properties(Path(path))[name]
    except KeyError:
        pass  # which has nothing to do with what is raised
    raise ConfigurationError(f"{key}: {path} has no property of the name in its placeholder")


def _unknown(key: str) -> ConfigurationError:
    return ConfigurationError(
        f"{key} has a placeholder that is not read here: ${{env:NAME}}, ${{file:/path:key}} and "
        f"${{directory:/path:name}} are; or give the option beside the properties, which wins"
    )
