"""Java's properties files: comments, continuations, separators and escapes.

Source: java.util.Properties.load().
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

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
