"""Who may come in where: what tests need to know of a secured cluster, and what it is made of.

Keys, certificates and passwords are made anew for every cluster and live in its directory.
"""

import base64
import json
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tests.support.certificates import DAY, Authority, Certificate

from .listeners import HOST, LISTENERS

USERS: Final = ("alice", "bob", "carol")
CLIENT: Final = "dora"
_OURS: Final = ("localhost", HOST)
_NOT_OURS: Final = ("broker.example",)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCertificate:
    """What a client shows on MTLS, where it comes in as `user`."""

    user: str
    cert_file: Path
    key_file: Path
    encrypted_key_file: Path
    key_password: str
    """Of `encrypted_key_file`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """The secured listeners of a cluster, and the credentials for them; all files are PEM."""

    ports: Mapping[str, Mapping[int, int]]
    """By listener, then by broker."""
    ca_file: Path
    """Of the authority that signed every broker's certificate."""
    other_ca_file: Path
    """Of an authority that nobody trusts."""
    client_certificate: ClientCertificate
    other_client_certificate: ClientCertificate
    """For the same user, signed by the authority that nobody trusts."""
    users: Mapping[str, str]
    """Passwords by name, for PLAIN and both SCRAM mechanisms alike."""
    keystores: Mapping[str, Path]
    """What the brokers show, by TLS listener."""

    def bootstrap(self, listener: str, host: str = HOST) -> list[str]:
        """Return every broker's address of a listener.

        Args:
            listener: one of LISTENERS.
            host: `localhost` for the same by name. The brokers tell clients 127.0.0.1 anyway;
                certificates are for both.
        """
        return [f"{host}:{port}" for port in self.ports[listener].values()]

    def address(self, listener: str, broker_id: int) -> str:
        """Return one broker's address of a listener."""
        return f"{HOST}:{self.ports[listener][broker_id]}"


def make_security(directory: Path, node_ids: Sequence[int], ports: Iterator[int]) -> Security:
    """Make keys, certificates and passwords, and write into `directory` what is read from files."""
    directory.mkdir()
    ours, other = Authority.make("kiel test authority"), Authority.make("nobody's authority")
    return Security(
        ports={name: {node_id: next(ports) for node_id in node_ids} for name in LISTENERS},
        ca_file=_write(directory / "ca.pem", ours.pem),
        other_ca_file=_write(directory / "other-ca.pem", other.pem),
        client_certificate=_client(directory, "client", ours),
        other_client_certificate=_client(directory, "other-client", other),
        users={user: secrets.token_hex(16) for user in USERS},
        keystores=_keystores(directory, ours),
    )


def unsecured_token(subject: str, seconds: float) -> str:
    """Return an unsecured JWS (RFC 7515, appendix A.5), which the brokers take for OAUTHBEARER.

    Args:
        subject: who comes in with it.
        seconds: how long from now it is good for; a negative number makes it expired.
    """
    now = time.time()
    issued = min(now, now + seconds) - 1
    claims = {"sub": subject, "iat": issued, "exp": now + seconds}
    return ".".join((_segment({"alg": "none"}), _segment(claims), ""))


def _segment(content: Mapping[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def _keystores(directory: Path, authority: Authority) -> dict[str, Path]:
    expired = authority.issue("expired", _OURS, ends=datetime.now(UTC) - DAY)
    own = {
        "EXPIRED": _keystore(directory / "expired.pem", expired),
        "WRONG_HOST": _keystore(directory / "wrong.pem", authority.issue("wrong", _NOT_OURS)),
    }
    usual = _keystore(directory / "broker.pem", authority.issue("broker", _OURS))
    return {name: own.get(name, usual) for name, each in LISTENERS.items() if each.tls}


def _client(directory: Path, name: str, authority: Authority) -> ClientCertificate:
    issued = authority.issue(CLIENT)
    password = secrets.token_hex(16)
    encrypted = issued.key_pem(password)
    return ClientCertificate(
        user=CLIENT,
        cert_file=_write(directory / f"{name}.pem", issued.pem),
        key_file=_write(directory / f"{name}-key.pem", issued.key_pem()),
        encrypted_key_file=_write(directory / f"{name}-encrypted-key.pem", encrypted),
        key_password=password,
    )


def _keystore(path: Path, certificate: Certificate) -> Path:
    return _write(path, certificate.key_pem() + certificate.pem)


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
