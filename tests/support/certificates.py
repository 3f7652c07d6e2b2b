"""Authorities and certificates for one test run.

The keys are on P-256, where one takes a millisecond. The certificates pass OpenSSL's strict checks
(`ssl.VERIFY_X509_STRICT`): they have all of RFC 5280's key identifiers and usages, so that a
refusal has the one reason that its test wants.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY: Final = timedelta(days=1)
_USAGES: Final = x509.ExtendedKeyUsage(
    [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and the private key that belongs to it."""

    x509: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        """The certificate alone."""
        return self.x509.public_bytes(Encoding.PEM)

    def key_pem(self, password: str | None = None) -> bytes:
        """Return the key in PKCS#8, encrypted when there is a password."""
        encryption: KeySerializationEncryption = NoEncryption()
        if password is not None:
            encryption = BestAvailableEncryption(password.encode())
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


@dataclass(frozen=True, slots=True)
class Authority(Certificate):
    """A certificate authority: a root that signs for hosts and for clients."""

    @classmethod
    def make(cls, name: str) -> Self:
        """Make an authority; two of one name are still two, with different keys."""
        key = ec.generate_private_key(ec.SECP256R1())
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        builder = _builder(name, name, key.public_key(), datetime.now(UTC) + DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        builder = builder.add_extension(_key_usage(signs=True), True)
        builder = builder.add_extension(identifier, False)
        return cls(builder.sign(key, hashes.SHA256()), key)

    def issue(
        self, name: str, hosts: Sequence[str] = (), *, ends: datetime | None = None
    ) -> Certificate:
        """Sign a new key.

        Args:
            name: the common name, which is the whole subject.
            hosts: names and IP addresses that a server with it may be reached at.
            ends: when it expires, in a day by default. It began a day before that, or yesterday.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        public, own = key.public_key(), self.key.public_key()
        builder = _builder(self.name, name, public, ends or datetime.now(UTC) + DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        builder = builder.add_extension(_key_usage(signs=False), True)
        builder = builder.add_extension(_USAGES, False)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(own)
        builder = builder.add_extension(authority, False)
        if hosts:
            names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
            builder = builder.add_extension(names, False)
        return Certificate(builder.sign(self.key, hashes.SHA256()), key)

    @property
    def name(self) -> str:
        """The common name."""
        [attribute] = self.x509.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(attribute.value)


def _builder(
    issuer: str, subject: str, key: ec.EllipticCurvePublicKey, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .issuer_name(_common_name(issuer))
        .subject_name(_common_name(subject))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(ends, datetime.now(UTC)) - DAY)
        .not_valid_after(ends)
    )


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_usage(*, signs: bool) -> x509.KeyUsage:
    """The usages of an authority's key, or of any other."""
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )
