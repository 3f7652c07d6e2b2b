"""Who can do what to a topic, and what of it ``verify`` finds. The one table of it.

``--help`` prints it, and the documentation's page about proof is made of it.
"""

import textwrap
from typing import Final, NamedTuple


class Threat(NamedTuple):
    """A deed, and the findings that it causes.

    Attributes:
        who: the kind of person.
        does: the deed.
        without_key: found without a key or signatures.
        with_key: found with the key of the digests.
        endorsed: found without that key, with signed checkpoints in the topic and --trust.
        elsewhere: found without that key, with signed checkpoints that this person can't change:
            those of another topic, or an anchor's.
    """

    who: str
    does: str
    without_key: str
    with_key: str
    endorsed: str
    elsewhere: str


_WRITER: Final = "a producer's ACL"
_ADMIN: Final = "a topic's administrator"
_BROKER: Final = "root on a broker"
_HOST: Final = "root on the host, from time t on"
_OWNER: Final = "an owner of the key, such as a verifier"

NOT_FOUND: Final = "not found"
_UP_TO: Final = "up to the last checkpoint; what is behind it is unsigned"

COLUMNS: Final = {
    "without_key": "no key",
    "with_key": "a key",
    "endorsed": "--trust",
    "elsewhere": "checkpoints elsewhere",
}
"""The headings of a row's cells."""

THREATS: Final = (
    Threat(
        _WRITER,
        "writes records without kiel- headers",
        "unmarked, with --strict",
        "unmarked",
        "unmarked",
        "unmarked",
    ),
    Threat(
        _WRITER,
        "writes records of made-up instances",
        NOT_FOUND,
        "altered, unsigned or unchained",
        "unsigned",
        "unsigned",
    ),
    Threat(
        _WRITER,
        "writes records under the id of an instance",
        "conflict or broken, where a number is taken; behind the last number not found",
        "altered",
        "conflict or broken; behind the last checkpoint unsigned",
        "conflict or broken; behind the last checkpoint unsigned",
    ),
    Threat(_WRITER, "repeats records", *["repeated, with --strict"] * 4),
    Threat(
        _WRITER,
        "writes millions of records, or records that are hard to read",
        "uncounted, above --memory",
        "altered, unsigned or unchained; or uncounted above --memory",
        "unsigned, or uncounted above --memory",
        "unsigned, or uncounted above --memory",
    ),
    Threat(
        _ADMIN,
        "deletes the oldest records of a stream that is younger than the topic's retention",
        *["purged"] * 4,
    ),
    Threat(
        _ADMIN,
        "deletes the oldest records, younger than the retention, of an older stream",
        *["purged, where a lower number is left; else undated, with --strict"] * 4,
    ),
    Threat(
        _ADMIN,
        "deletes what is older than the retention, or lowers that and leaves it so",
        *[NOT_FOUND + " (expired)"] * 4,
    ),
    Threat(
        _ADMIN,
        "makes the topic anew with records removed, altered or in another order",
        NOT_FOUND,
        "removed, altered, swapped or unfinished; not where the topic is also made to begin "
        "late, timestamps are changed to before its retention, and the stream is as old",
        "forked, " + _UP_TO,
        "forked, " + _UP_TO,
    ),
    Threat(
        _ADMIN,
        "makes the topic anew with the end of a stream cut off",
        "not found, if a new end is made",
        "unfinished; not found of a program that still runs",
        "unfinished, or silent after three minutes if the program still runs",
        "truncated",
    ),
    Threat(
        _ADMIN,
        "removes every record of an instance",
        NOT_FOUND,
        NOT_FOUND + ", unless a recovery record names it",
        NOT_FOUND + ", unless a recovery record names it",
        "vanished",
    ),
    Threat(
        _ADMIN,
        "puts the stream of another topic in the place of this one's",
        "renamed; not found, if digests are made anew",
        "renamed",
        "renamed, or unsigned",
        "renamed, or vanished",
    ),
    Threat(
        _ADMIN,
        "changes timestamps, or partitions such that the order within each stays",
        *[NOT_FOUND] * 4,
    ),
    Threat(
        _BROKER,
        "edits records on disk",
        NOT_FOUND,
        "removed, altered, swapped or unfinished",
        "forked, " + _UP_TO,
        "forked, " + _UP_TO,
    ),
    Threat(
        _BROKER,
        "acknowledges records and does not store them",
        "removed or unfinished",
        "removed or unfinished",
        "removed or unfinished",
        "removed, truncated or unfinished",
    ),
    Threat(_BROKER, "shows other readers another topic", *[NOT_FOUND] * 4),
    Threat(
        _HOST,
        "reads the key of the digests, and forges records of before t",
        NOT_FOUND,
        NOT_FOUND,
        "forked or unsigned: the signing keys of before t are gone; not found, if endorse_key can "
        "be read too",
        "forked",
    ),
    Threat(
        _HOST,
        "forges records of before t, and the file of the anchor with them",
        NOT_FOUND,
        NOT_FOUND,
        "forked or unsigned; not found, if endorse_key can be read too",
        "unsigned with --tsa: no timestamp is of the time that they claim; without it not found",
    ),
    Threat(_HOST, "forges records of after t, in running programs", *[NOT_FOUND] * 4),
    Threat(_HOST, "keeps the program from logging", *[NOT_FOUND] * 4),
    Threat(
        _HOST,
        "kills the program, or cuts it off from Kafka",
        "unfinished, unless a recovery record has its end; nothing with --running",
        "unfinished, unless a recovery record has its end; nothing with --running",
        "unfinished; silent after three minutes with --running",
        "unfinished; silent after three minutes with --running",
    ),
    Threat(
        _OWNER,
        "forges records, or whole streams",
        NOT_FOUND,
        NOT_FOUND,
        "forked or unsigned",
        "forked or unsigned",
    ),
)


def unfound(threat: Threat) -> list[str]:
    """Return the headings under which a deed is not found, or not always."""
    return [
        f"{heading} (in part)" if not cell.startswith(NOT_FOUND) else heading
        for heading, cell in zip(COLUMNS.values(), threat[2:], strict=True)
        if "not found" in cell or "not where" in cell or "nothing with" in cell
    ]


def table(width: int = 78) -> str:
    """Return the table as text for a terminal."""
    lines: list[str] = []
    who = ""
    for threat in THREATS:
        if threat.who != who:
            who = threat.who
            lines.append(f"  {who}")
        lines += _wrapped(threat.does, "    ", "      ", width)
        for heading, cell in zip(COLUMNS.values(), threat[2:], strict=True):
            lines += _wrapped(f"{heading}: {cell}", "        ", "            ", width)
    return "\n".join(lines)


def _wrapped(text: str, first: str, others: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=others)
