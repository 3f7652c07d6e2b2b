"""Signed notes, beside a reader that was written from their specification alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.proof import notes
from tests.support import c2sp

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()
NAME = "kiel-logging/test"
TEXT = "one\n\ntwo\n"
NOTE = notes.signed(TEXT, NAME, PUBLIC, KEY.sign)

EXAMPLE = (
    "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n\n"
    "— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQ"
    "U0xMcXxj99ihAQwaqP3ZekRwNtIc=\n"
)
"""The one of the specification."""


def test_openssl_and_a_reader_from_the_specification_take_what_we_sign(tmp_path: Path) -> None:
    """The text comes back, signed by the key and by no other."""
    assert c2sp.signed_text(NOTE.encode(), NAME, PUBLIC, tmp_path) == TEXT.encode()
    with pytest.raises(c2sp.NotANote):
        c2sp.signed_text(NOTE.encode(), NAME, OTHER, tmp_path)
    with pytest.raises(c2sp.NotANote):
        c2sp.signed_text(NOTE.replace("one", "eno").encode(), NAME, PUBLIC, tmp_path)


def test_only_the_key_under_its_name_has_signed() -> None:
    """Another key, name or text is not signed."""
    note = notes.read(NOTE)
    assert note.text == TEXT
    assert notes.is_signed_by(note, NAME, PUBLIC)
    assert not notes.is_signed_by(note, NAME, OTHER)
    assert not notes.is_signed_by(note, "kiel-logging/other", PUBLIC)
    assert not notes.is_signed_by(notes.read(NOTE.replace("one", "eno")), NAME, PUBLIC)


def test_signatures_of_unknown_keys_are_ignored_and_wrong_ones_of_known_keys_are_not() -> None:
    """A note may have many signatures; one that fails under a known key spoils it."""
    stranger = EXAMPLE.splitlines(keepends=True)[-1]
    assert notes.is_signed_by(notes.read(NOTE + stranger), NAME, PUBLIC)
    wrong = notes.signed("another text\n", NAME, PUBLIC, KEY.sign).splitlines(keepends=True)[-1]
    assert not notes.is_signed_by(notes.read(NOTE + wrong), NAME, PUBLIC)


def test_the_example_of_the_specification() -> None:
    """Its text has an empty line, and the last one separates."""
    note = notes.read(EXAMPLE)
    assert note.text.endswith("sole:\n\ned è subito sera.\n")
    assert [(one.name, one.key_id.hex()) for one in note.signatures] == [
        ("quasimodo.example/salvatore", "367ba04b")
    ]


BROKEN = {
    "no empty line": NOTE.replace("\n\n", "\n"),
    "no newline at the end": NOTE[:-1],
    "no text": "\n\n" + NOTE.rpartition("\n\n")[2],
    "a control character": NOTE.replace("one", "o\te"),
    "a hyphen for the dash": NOTE.replace("—", "-"),
    "a plus in the name": NOTE.replace(NAME, "a+b"),
    "a space in the name": NOTE.replace(NAME, "a\u2003b"),
    "no name": NOTE.replace(NAME, ""),
    "no base64": NOTE.replace("= \n", "\n").replace("==\n", "=\n")[:-3] + "*\n",
    "no signature": f"{TEXT}\n— {NAME} AAAAAA==\n",
    "nothing": "",
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_text_that_is_no_note_is_refused(broken: str) -> None:
    """By us, and by the reader from the specification."""
    with pytest.raises(ValueError):  # noqa: PT011 # of any text
        notes.read(broken)
    if broken != BROKEN["no text"]:  # the specification has notes without a text
        with pytest.raises(c2sp.NotANote):
            c2sp.parse(broken.encode())


def test_a_long_note_is_refused() -> None:
    """Readers bound their memory."""
    with pytest.raises(ValueError, match="too long"):
        notes.read("x" * notes.MOST_BYTES + NOTE)


@given(
    st.text(max_size=300)
    | st.builds(
        lambda at, c: NOTE[:at] + c + NOTE[at + 1 :], st.integers(0, len(NOTE)), st.characters()
    )
)
def test_whatever_is_read_as_a_note_is_one(content: str) -> None:
    """Text that we take the specification's reader takes, with the same parts."""
    try:
        note = notes.read(content)
    except ValueError:
        return
    text, signatures = c2sp.parse(content.encode())
    assert (note.text.encode(), [tuple(one) for one in note.signatures]) == (text, signatures)
