"""TLS: the context that connections are made with, and the meaning of its failures.

The files are read again when they changed, so that renewed certificates take effect. Certificates
and host names are verified unless an option says otherwise.
"""

import logging
import os
import re
import socket
import ssl
from pathlib import Path
from typing import Any, Final, NamedTuple

from kiel_logging.config.options import Address
from kiel_logging.config.security import TlsOptions
from kiel_logging.diagnostics import report
from kiel_logging.errors import (
    BrokerError,
    CertificateExpired,
    CertificateRejected,
    ClientCertificateRefused,
    ConfigurationError,
    ListenerMismatch,
    SecurityError,
    UnknownAuthority,
    WrongHostName,
)

# OpenSSL's X509_V_ERR_*.
_EXPIRED: Final = (9, 10)  # not yet valid, expired
_UNKNOWN: Final = (2, 18, 19, 20, 21)  # no issuer, self-signed (in chain), no local issuer, no leaf
_HOST: Final = (62, 64)  # host name, IP address

_HASHED: Final = re.compile(r"[0-9a-f]{8}\.[0-9]+")
"""How OpenSSL finds an authority in a directory: by the hash of its name."""


class Tls:
    """Makes contexts as the options say."""

    def __init__(self, options: TlsOptions) -> None:
        self._options = options
        self._made: ssl.SSLContext | None = None
        self._made_from: tuple[object, ...] | None = None
        self._warned = False

    def context(self) -> ssl.SSLContext:
        """Return the context for the next connection.

        Raises:
            ConfigurationError: a file is not there, or not what it should be.
        """
        options = self._options
        context = options.context
        if context is None:
            files = tuple(map(_stamp, (options.cafile, options.certfile, options.keyfile)))
            if self._made is None or files != self._made_from:
                self._made, self._made_from = self._make(), files
            context = self._made
        if not self._warned:
            self._warned = True
            _warn_of(context, given=options.context is not None)
        return context

    def _make(self) -> ssl.SSLContext:
        options = self._options
        context = trusting(options.cafile)
        if not (options.check_hostname and options.verify_certificate):
            context.check_hostname = False
        if not options.verify_certificate:
            context.verify_mode = ssl.CERT_NONE
        if options.certfile is not None:
            _identify(context, options)
        return context


def _warn_of(context: ssl.SSLContext, *, given: bool) -> None:
    """Warn of a context that does not verify all, whether it was ``given`` or made here."""
    if context.verify_mode != ssl.CERT_REQUIRED:
        option = "ssl_context without CERT_REQUIRED" if given else "ssl_verify_certificate=False"
        what = "anybody can pose as a broker and read everything"
    elif not context.check_hostname:
        option = "ssl_context without check_hostname" if given else "ssl_check_hostname=False"
        what = "whoever has any certificate can pose as a broker"
    else:
        return
    report(logging.WARNING, "%s: %s", option, what)


def trusting(authorities: str | None, option: str = "ssl_cafile") -> ssl.SSLContext:
    """Return a context that verifies certificates by ``authorities``, a file or a directory of PEM.

    None are the system's. TLS is at least 1.2, whatever the system allows beside it.

    Raises:
        ConfigurationError: there are none; names the ``option``.
    """
    directory = None
    try:
        if authorities is not None and Path(authorities).is_dir():
            directory = authorities
            if not any(_HASHED.fullmatch(each.name) for each in Path(directory).iterdir()):
                raise ConfigurationError(
                    f"{option}={directory!r} is a directory without the names that OpenSSL looks "
                    "for (9d66eef0.0): run `openssl rehash` on it, or give one PEM file"
                )
        context = ssl.create_default_context(
            cafile=authorities if directory is None else None, capath=directory
        )
    except OSError as error:
        raise ConfigurationError(
            f"{option}={authorities!r} can't be used: {_reason(error)}; it must be a PEM file with "
            "the certificates of authorities"
        ) from None
    context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
    return context


def _identify(context: ssl.SSLContext, options: TlsOptions) -> None:
    assert options.certfile is not None
    # Without any, OpenSSL would ask for a password on the terminal.
    password = "" if options.password is None else options.password.read()
    try:
        context.load_cert_chain(options.certfile, options.keyfile, password=password)
    except (OSError, ValueError) as error:  # ValueError: a password that no key can have
        raise ConfigurationError(
            f"ssl_certfile={options.certfile!r} and ssl_keyfile={options.keyfile!r} can't be used: "
            f"{_reason(error)}; they must be a PEM certificate and its key, and ssl_password the "
            "key's if it is encrypted"
        ) from None


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or str(error)
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return "ssl_password is too long, or no text"  # its own text may have it


def _stamp(path: str | None) -> object:
    if path is None:
        return None
    try:
        state = os.stat(path)  # noqa: PTH116 # no more than its time and size
    except OSError:
        return None
    return path, state.st_mtime_ns, state.st_size


class Peer(NamedTuple):
    """The outcome of a handshake: what is spoken, and the broker's certificate.

    ``ends`` is in seconds since 1970. A certificate that is not verified is not known: then there
    are no names, and ``ends`` is None.
    """

    protocol: str
    names: tuple[str, ...]
    issuer: str
    ends: float | None


def peer_of(connected: socket.socket) -> Peer | None:
    """Return what the handshake on a socket led to; None where there was none."""
    if not isinstance(connected, ssl.SSLSocket):
        return None
    certificate: dict[str, Any] = connected.getpeercert() or {}
    issuer = dict(pair for name in certificate.get("issuer", ()) for pair in name)
    ends = certificate.get("notAfter")
    return Peer(
        protocol=connected.version() or "no TLS",
        names=tuple(name for _, name in certificate.get("subjectAltName", ())),
        issuer=issuer.get("commonName") or issuer.get("organizationName") or "",
        ends=None if ends is None else ssl.cert_time_to_seconds(ends),
    )


def translate(error: BaseException | None, address: Address) -> BrokerError | None:
    """Return what a failed TLS handshake means; None when it has nothing to do with TLS."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _certificate(error, address)
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError | ConnectionResetError):
        return ListenerMismatch(
            f"{address} hung up during the TLS handshake: is that port one for plaintext, or does "
            "it want a client's certificate (ssl_certfile)?"
        )
    if isinstance(error, ssl.SSLError):
        return _alert(error, address)
    return None


def _certificate(error: ssl.SSLCertVerificationError, address: Address) -> CertificateRejected:
    code, what = error.verify_code, error.verify_message
    if code in _EXPIRED:
        return CertificateExpired(
            f"the certificate of {address} is out of date ({what}): renew it on the broker, or set "
            "the clock here"
        )
    if code in _HOST:
        return WrongHostName(
            f"the certificate of {address} is for another host ({what}): name the broker as its "
            "certificate does, in brokers and in its advertised.listeners"
        )
    if code in _UNKNOWN:
        return UnknownAuthority(
            f"the certificate of {address} is signed by nobody that is trusted here ({what}): "
            "give the authority's certificate as ssl_cafile"
        )
    return CertificateRejected(f"the certificate of {address} is not accepted: {what}")


def _alert(error: ssl.SSLError, address: Address) -> SecurityError:
    reason = error.reason or str(error)
    if "WRONG_VERSION_NUMBER" in reason or "HTTP_REQUEST" in reason or "PACKET_LENGTH" in reason:
        return ListenerMismatch(f"{address} does not speak TLS there: check the port ({reason})")
    if "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason):
        return ClientCertificateRefused(
            f"{address} does not accept our certificate, or wants one ({reason}): check "
            "ssl_certfile, and that the broker trusts its authority"
        )
    hint = ""
    if "HANDSHAKE_FAILURE" in reason:  # what OpenSSL says in TLS 1.2 to whom has no certificate
        hint = ": no cipher is in common, or it wants a client's certificate (ssl_certfile)"
    return SecurityError(f"the TLS handshake with {address} failed: {reason}{hint}")
