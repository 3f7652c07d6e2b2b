"""Who can do what to a topic, and what of it ``verify`` finds. The one table of it.

``--help`` prints it, and the documentation's page about proof is made of it.
"""

import textwrap
from typing import Final, NamedTuple


class Threat(NamedTuple):
    """One thing that somebody does; what is found of it without a key, and with one."""

    who: str
    does: str
    without_key: str
    with_key: str


_WRITER: Final = "a producer's ACL"
_ADMIN: Final = "a topic's administrator"
_BROKER: Final = "root on a broker"
_HOST: Final = "root on the host, from time t on"
_OWNER: Final = "an owner of the key, such as a verifier"

NOT_FOUND: Final = "not found"

THREATS: Final = (
    Threat(_WRITER, "writes records without kiel- headers", "unmarked, with --strict", "unmarked"),
    Threat(
        _WRITER,
        "writes records of made-up instances",
        NOT_FOUND,
        "altered, unsigned or unchained",
    ),
    Threat(
        _WRITER,
        "writes records under the id of an instance",
        "conflict or broken, where a number is taken; behind the last number not found",
        "altered",
    ),
    Threat(_WRITER, "repeats records", "repeated, with --strict", "repeated, with --strict"),
    Threat(
        _WRITER,
        "writes millions of records, or records that are hard to read",
        "uncounted, above --memory",
        "altered; memory stays bounded",
    ),
    Threat(
        _ADMIN,
        "deletes the oldest records of a stream that is younger than the topic's retention",
        "purged",
        "purged",
    ),
    Threat(
        _ADMIN,
        "deletes the oldest records, younger than the retention, of an older stream",
        "purged, where a lower number is left; else undated, with --strict",
        "purged, where a lower number is left; else undated, with --strict",
    ),
    Threat(
        _ADMIN,
        "deletes what is older than the retention, or lowers that and leaves it so",
        NOT_FOUND + " (expired)",
        NOT_FOUND + " (expired)",
    ),
    Threat(
        _ADMIN,
        "makes the topic anew with records removed, altered or in another order",
        NOT_FOUND,
        "removed, altered, swapped or unfinished; not where the topic is also made to begin "
        "late, timestamps are changed to before its retention, and the stream is as old",
    ),
    Threat(
        _ADMIN,
        "makes the topic anew with the end of a stream cut off",
        "not found, if a new end is made",
        "unfinished; not found of a program that still runs",
    ),
    Threat(
        _ADMIN,
        "removes every record of an instance",
        NOT_FOUND,
        NOT_FOUND + ", unless a recovery record names it",
    ),
    Threat(
        _ADMIN,
        "puts the stream of another topic in the place of this one's",
        "renamed; not found, if digests are made anew",
        "renamed",
    ),
    Threat(
        _ADMIN,
        "changes timestamps, or partitions such that the order within each stays",
        NOT_FOUND,
        NOT_FOUND,
    ),
    Threat(_BROKER, "edits records on disk", NOT_FOUND, "removed, altered, swapped or unfinished"),
    Threat(
        _BROKER,
        "acknowledges records and does not store them",
        "removed or unfinished",
        "removed or unfinished",
    ),
    Threat(_BROKER, "shows other readers another topic", NOT_FOUND, NOT_FOUND),
    Threat(
        _HOST,
        "reads the key, and forges records of before t and after",
        NOT_FOUND,
        NOT_FOUND,
    ),
    Threat(_HOST, "keeps the program from logging", NOT_FOUND, NOT_FOUND),
    Threat(
        _HOST,
        "kills the program",
        "unfinished, unless a recovery record has its end",
        "unfinished, unless a recovery record has its end",
    ),
    Threat(_OWNER, "forges records, or whole streams", NOT_FOUND, NOT_FOUND),
)


def table(width: int = 78) -> str:
    """Return the table as text for a terminal."""
    lines: list[str] = []
    who = ""
    for threat in THREATS:
        if threat.who != who:
            who = threat.who
            lines.append(f"  {who}")
        lines += _wrapped(threat.does, "    ", "      ", width)
        lines += _wrapped(f"no key: {threat.without_key}", "        ", "            ", width)
        lines += _wrapped(f"a key:  {threat.with_key}", "        ", "            ", width)
    return "\n".join(lines)


def _wrapped(text: str, first: str, others: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=others)
