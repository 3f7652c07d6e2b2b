"""Amazon MSK's IAM tokens, up to the token: nothing here asks Amazon."""

from __future__ import annotations

import base64
import importlib.util
import time
from pathlib import Path
from types import ModuleType
from urllib.parse import parse_qs, urlsplit

import pytest

from kiel_logging import KafkaHandler
from kiel_logging.network.sasl import oauthbearer

EXAMPLE = Path(__file__).parents[2] / "examples" / "aws_msk_iam.py"
KEY_ID = "AKIDEXAMPLEOFNOBODY"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the example, with invented credentials in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-nobody")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    specification = importlib.util.spec_from_file_location("aws_msk_iam", EXAMPLE)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_token_is_a_signed_request_to_connect(example: ModuleType) -> None:
    """It is a presigned URL for kafka-cluster:Connect, in base64, that ends within the hour."""
    token = example.token()
    padded = token.value + "=" * (-len(token.value) % 4)
    url = urlsplit(base64.urlsafe_b64decode(padded).decode())
    query = parse_qs(url.query)
    assert url.hostname == "kafka.eu-central-1.amazonaws.com"
    assert query["Action"] == ["kafka-cluster:Connect"]
    assert query["X-Amz-Credential"][0].startswith(KEY_ID)
    assert 0 < token.expires_at - time.time() <= 3600


def test_the_token_is_what_the_broker_is_sent(example: ModuleType) -> None:
    """In the words of OAUTHBEARER (RFC 7628)."""
    token = example.token()
    sent = next(oauthbearer(token.value, token.extensions))
    assert sent == b"n,,\1auth=Bearer " + token.value.encode() + b"\1\1"


def test_the_configuration_is_accepted(example: ModuleType) -> None:
    """Every option is one of the handler's, and nothing shows the token."""
    options = dict(example.CONFIG["handlers"]["kafka"])
    del options["class"]
    handler = KafkaHandler(**options)
    handler.close()
    assert example.token().value not in repr(handler)
