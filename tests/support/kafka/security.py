"""The secured listeners of a cluster: their properties, and the credentials for them.

A listener is configured under its own prefix alone (`listener.name.<name>.`), so that none changes
another. Keys, certificates and passwords are made for each cluster and live in its directory.
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

HOST: Final = "127.0.0.1"
MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
ONLY: Final = "SCRAM-SHA-256"
_SESSION_MS: Final = 5000
_MODULES: Final = "org.apache.kafka.common.security"
_SCRAM_LOGIN: Final = f"{_MODULES}.scram.ScramLoginModule required;"


@dataclass(frozen=True, slots=True)
class Listener:
    """One kind of listener: its protocol and the settings that others of it don't have."""

    protocol: str
    settings: Mapping[str, str]

    @property
    def mechanisms(self) -> Sequence[str]:
        """The SASL mechanisms that it offers."""
        offered = self.settings.get("sasl.enabled.mechanisms", ",".join(MECHANISMS))
        return offered.split(",") if self.sasl else ()

    @property
    def tls(self) -> bool:
        """Whether it speaks TLS."""
        return self.protocol.endswith("SSL")

    @property
    def sasl(self) -> bool:
        """Whether clients authenticate by SASL."""
        return self.protocol.startswith("SASL")


LISTENERS: Final = {
    "SSL": Listener("SSL", {}),
    "MTLS": Listener(
        "SSL",
        {
            "ssl.client.auth": "required",
            "ssl.principal.mapping.rules": "RULE:^CN=(.*)$/$1/",  # User:dora, not User:CN=dora
        },
    ),
    "SASL_PLAINTEXT": Listener("SASL_PLAINTEXT", {}),
    "SASL_SSL": Listener("SASL_SSL", {}),
    "EXPIRED": Listener("SSL", {}),
    "WRONG_HOST": Listener("SSL", {}),
    "ONE_MECHANISM": Listener("SASL_SSL", {"sasl.enabled.mechanisms": ONLY}),
    # A session ends after this and has to be authenticated anew (KIP-368).
    "SHORT": Listener("SASL_SSL", {"connections.max.reauth.ms": str(_SESSION_MS)}),
}
"""By name; EXPIRED and WRONG_HOST have no fault but their certificates."""


def listener_properties(
    name: str, *, keystore: Path | None, ca_file: Path, users: Mapping[str, str]
) -> dict[str, str]:
    """Return the properties of one listener.

    Args:
        name: one of LISTENERS.
        keystore: a PEM file with the key and the certificate; None without TLS.
        ca_file: the authority that signs for clients.
        users: the passwords for PLAIN. Those for SCRAM are in the cluster's metadata.
    """
    listener = LISTENERS[name]
    settings = {
        **(_tls(keystore, ca_file) if keystore is not None else {}),
        **(_sasl(users) if listener.sasl else {}),
        **listener.settings,
    }
    return {f"listener.name.{name.lower()}.{key}": value for key, value in settings.items()}


def _tls(keystore: Path, ca_file: Path) -> dict[str, str]:
    return {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(keystore),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(ca_file),
    }


def _sasl(users: Mapping[str, str]) -> dict[str, str]:
    known = " ".join(f'user_{name}="{password}"' for name, password in users.items())
    logins = {
        "PLAIN": f"{_MODULES}.plain.PlainLoginModule required {known};",
        "SCRAM-SHA-256": _SCRAM_LOGIN,
        "SCRAM-SHA-512": _SCRAM_LOGIN,
        # Its default handler takes unsecured tokens.
        "OAUTHBEARER": f"{_MODULES}.oauthbearer.OAuthBearerLoginModule required;",
    }
    return {
        "sasl.enabled.mechanisms": ",".join(MECHANISMS),
        **{f"{name.lower()}.sasl.jaas.config": logins[name] for name in MECHANISMS},
    }


USERS: Final = ("alice", "bob", "carol")
CLIENT: Final = "dora"
_OURS: Final = ("localhost", HOST)
_NOT_OURS: Final = ("broker.example",)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCertificate:
    """The certificate with which a client is `user` on MTLS."""

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
    """Of an authority that no broker trusts."""
    client_certificate: ClientCertificate
    other_client_certificate: ClientCertificate
    """For the same user, signed by the authority that no broker trusts."""
    users: Mapping[str, str]
    """Passwords by name, for PLAIN and both SCRAM mechanisms alike."""
    keystores: Mapping[str, Path]
    """The keys and certificates of the brokers, by TLS listener."""

    def bootstrap(self, listener: str, host: str = HOST) -> list[str]:
        """Return every broker's address of a listener.

        Args:
            listener: one of LISTENERS.
            host: `localhost` for the same by name. The brokers advertise 127.0.0.1 anyway; the
                certificates are for both.
        """
        return [f"{host}:{port}" for port in self.ports[listener].values()]

    def address(self, listener: str, broker_id: int) -> str:
        """Return one broker's address of a listener."""
        return f"{HOST}:{self.ports[listener][broker_id]}"


def make_security(directory: Path, node_ids: Sequence[int], ports: Iterator[int]) -> Security:
    """Make keys, certificates and passwords, and write the files into `directory`."""
    directory.mkdir()
    ours, other = Authority.make("kiel test authority"), Authority.make("another authority")
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
        subject: the user whose it is.
        seconds: until it expires; a negative number makes it expired.
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
