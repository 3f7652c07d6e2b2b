"""Secrets: where they come from, and that nothing shows them."""

from __future__ import annotations

import copy
import logging
import pickle
import traceback
from pathlib import Path
from typing import Any

import pytest

from kiel_logging.config.credentials import Secret, hidden
from kiel_logging.errors import ConfigurationError
from tests.support.what_is_shown import all_of

SECRET = "s3cr3t-und-geheim"


def test_a_str_is_the_secret() -> None:
    """As it is, the spaces around it included."""
    assert Secret("sasl_password", f" {SECRET} ").read() == f" {SECRET} "


def test_a_variable_is_read_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new value counts from then on."""
    monkeypatch.setenv("KAFKA_PASSWORD", "old")
    secret = Secret("sasl_password", {"env": "KAFKA_PASSWORD"})
    assert secret.read() == "old"
    monkeypatch.setenv("KAFKA_PASSWORD", "new")
    assert secret.read() == "new"


def test_a_file_is_read_each_time(tmp_path: Path) -> None:
    """Without the newline that editors put at its end; what else is in it belongs to the secret."""
    path = tmp_path / "password"
    secret = Secret("sasl_password", {"file": str(path)})
    for content, expected in [("old\n", "old"), ("new\r\n", "new"), (" ä b \n", " ä b ")]:
        path.write_bytes(content.encode())
        assert secret.read() == expected


def test_a_secret_as_bytes() -> None:
    """In UTF-8, or an error that doesn't show it."""
    assert Secret("chain_key", "sésame").read_bytes() == "sésame".encode()
    with pytest.raises(ConfigurationError, match=r"^chain_key has no UTF-8 form$") as failure:
        Secret("chain_key", f"{SECRET}\ud800").read_bytes()
    assert SECRET not in all_of(failure.value)


def test_none_is_no_secret() -> None:
    """An option that is left out stays out."""
    options = hidden({"sasl_password": None, "sasl_username": ""})
    assert options["sasl_password"] is None
    assert isinstance(options["sasl_username"], Secret)


def test_only_secrets_are_hidden_and_once() -> None:
    """Whatever their type; other options stay what they are."""
    given = {"sasl_password": b"tea", "ssl_password": {"env": "A"}, "linger_ms": 5}
    options = hidden(given)
    assert options == {
        "sasl_password": Secret("sasl_password", b"tea"),
        "ssl_password": Secret("ssl_password", {"env": "A"}),
        "linger_ms": 5,
    }
    again = hidden(options)
    assert all(again[name] is options[name] for name in options)


def test_values_of_unknown_names_are_hidden() -> None:
    """They may be secrets whose names are misspelt."""
    options = hidden({"sasl_pasword": "tea", "linger_ms": 5, "x": None}, known={"linger_ms"})
    assert options == {"sasl_pasword": Secret("sasl_pasword", "tea"), "linger_ms": 5, "x": None}


@pytest.mark.parametrize(
    "value",
    [
        1234567,
        1.5,
        True,
        b"s3cr3t-und-geheim",
        [SECRET],
        {},
        {"env": ""},
        {"env": 7},
        {"vault": SECRET},
        {"env": "A", "file": SECRET},
        ...,
    ],
    ids=repr,
)
def test_what_is_none_of_the_forms(value: Any) -> None:
    """The error names the option and the forms, never the value."""
    with pytest.raises(ConfigurationError) as failure:
        Secret("sasl_password", value).check()
    text = str(failure.value)
    assert text.startswith("sasl_password must be a str, {'env': 'NAME'} or {'file': '/path'}")
    assert text.endswith(f"not {type(value).__name__}")
    assert SECRET not in text
    assert "1234567" not in text


def test_a_variable_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named, with the option that wants it."""
    monkeypatch.delenv("NO_SUCH_VARIABLE", raising=False)
    secret = Secret("sasl_password", {"env": "NO_SUCH_VARIABLE"})
    with pytest.raises(ConfigurationError, match=r"sasl_password: .*NO_SUCH_VARIABLE is not set"):
        secret.read()


@pytest.mark.parametrize("kind", ["missing", "directory", "binary", "no path"])
def test_a_file_that_cannot_be_read(tmp_path: Path, kind: str) -> None:
    """The error has the path and the reason, not the content."""
    path = str(tmp_path / "password")
    if kind == "directory":
        path = str(tmp_path)
    elif kind == "binary":
        Path(path).write_bytes(SECRET.encode() + b"\xff")
    elif kind == "no path":
        path += "\0"
    with pytest.raises(ConfigurationError, match=r"sasl_password: .* can't be read: ") as failure:
        Secret("sasl_password", {"file": path}).read()
    assert SECRET not in "".join(traceback.format_exception(failure.value))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (SECRET, "<Secret sasl_password=...>"),
        ({"env": "KAFKA"}, "<Secret sasl_password of $KAFKA>"),
        ({"file": "/run/kafka"}, "<Secret sasl_password in /run/kafka>"),
    ],
)
def test_repr(value: Any, shown: str) -> None:
    """It shows where the secret is, and not the secret."""
    secret = Secret("sasl_password", value)
    assert repr(secret) == str(secret) == f"{secret}" == shown
    assert "%s" % [secret] == f"[{shown}]"


def test_it_cannot_be_copied_into_bytes() -> None:
    """A pickle would show it."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="can't be pickled"):
            pickle.dumps(Secret("sasl_password", SECRET), protocol)
    with pytest.raises(TypeError, match="can't be pickled"):
        copy.copy(Secret("sasl_password", SECRET))


def test_it_has_no_dict_to_look_into() -> None:
    """Tools that show objects by their attributes find none with the secret."""
    secret = Secret("sasl_password", SECRET)
    assert not hasattr(secret, "__dict__")
    shown = [repr(getattr(secret, name)) for name in dir(secret) if not name.startswith("__")]
    assert not any(SECRET in text for text in shown)


def test_it_can_be_logged(caplog: pytest.LogCaptureFixture) -> None:
    """By mistake: nothing comes out."""
    logging.getLogger("test").warning("options %r", {"password": Secret("p", SECRET)})
    assert SECRET not in caplog.text
    assert "<Secret p=...>" in caplog.text
