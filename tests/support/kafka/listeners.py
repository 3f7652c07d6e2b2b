"""The secured listeners: what each of them is for, and how a broker is told of it.

A listener is configured under its own prefix alone (`listener.name.<name>.`), so that none
changes what another does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HOST: Final = "127.0.0.1"
MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
ONLY: Final = "SCRAM-SHA-256"
_SESSION_MS: Final = 5000
_MODULES: Final = "org.apache.kafka.common.security"
_SCRAM_LOGIN: Final = f"{_MODULES}.scram.ScramLoginModule required;"


@dataclass(frozen=True, slots=True)
class Listener:
    """One kind of listener, and what distinguishes it from others of its protocol."""

    protocol: str
    settings: Mapping[str, str]

    @property
    def mechanisms(self) -> Sequence[str]:
        """What it offers of SASL."""
        offered = self.settings.get("sasl.enabled.mechanisms", ",".join(MECHANISMS))
        return offered.split(",") if self.sasl else ()

    @property
    def tls(self) -> bool:
        """Whether it speaks TLS."""
        return self.protocol.endswith("SSL")

    @property
    def sasl(self) -> bool:
        """Whether it asks who is there by SASL."""
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
        ca_file: who signs for clients.
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
        # Its default is what takes unsecured tokens: OAuthBearerUnsecuredValidatorCallbackHandler.
        "OAUTHBEARER": f"{_MODULES}.oauthbearer.OAuthBearerLoginModule required;",
    }
    return {
        "sasl.enabled.mechanisms": ",".join(MECHANISMS),
        **{f"{name.lower()}.sasl.jaas.config": logins[name] for name in MECHANISMS},
    }
