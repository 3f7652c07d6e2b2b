"""Texts from brokers, records and files, made fit for a terminal, a log or an error message.

Such a text may have anything in it: escape sequences that clear a screen or write to a clipboard,
line breaks that forge a log line, marks that turn the reading direction, megabytes. Every module
may use these functions; they use no other module of the package.
"""

from typing import Final

MOST: Final = 2_000
"""Characters of an error message: longer ones hide what they say."""

_INDENT: Final = "    "
_CUT: Final = "…"


def printable(text: object, most: int = MOST) -> str:
    """Return ``str(text)`` as one line of at most ``most`` characters, for people to read.

    Control characters (C0, C1, escape, line breaks), marks that are not seen, among them those
    that turn the reading direction, and lone surrogates are shown as Python would write them in a
    string: ``\\x1b``, ``\\n``, ``\\u202e``. A text that is cut ends with an ellipsis.
    """
    text = str(text)
    cut = text[: most + 1]  # first, so that the rest costs nothing
    if not cut.isprintable():
        cut = "".join(each if each.isprintable() else _escaped(each) for each in cut)
    return cut if len(cut) <= most else cut[: most - 1] + _CUT


def printable_lines(text: str, most: int) -> str:
    """Return ``text`` as ``printable`` does, but with its lines: a traceback needs them.

    All lines but the first are indented, so that none of them looks like another message.
    """
    lines = text[: most + 1].replace("\t", _INDENT).split("\n")
    shown = f"\n{_INDENT}".join(printable(line.removesuffix("\r"), most) for line in lines)
    return shown if len(shown) <= most else shown[: most - 1] + _CUT


def counted(count: int, things: str) -> str:
    """Return a number with what is counted: 1 record, 2,000 records; ``things`` is the plural."""
    return f"{count:,} {things.removesuffix('s') if count == 1 else things}"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
