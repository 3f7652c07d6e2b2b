"""Access tokens from an authorization server, by OAuth's client-credentials grant.

``fetch`` blocks, and so runs on a thread beside the loop. Time and size of the server's answer are
bounded. The client secret goes to that server only, and into no error.

Source: RFC 6749 (2.3.1, 4.4, 5), KIP-768, KIP-1025.
"""

import base64
import io
import ipaddress
import json
import logging
import socket
import ssl
import time
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, Final
from urllib.error import URLError
from urllib.parse import quote_plus, urlencode, urlsplit
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request

from kiel_logging.config.security import ClientCredentials, Token
from kiel_logging.constants import VERSION
from kiel_logging.diagnostics import report
from kiel_logging.errors import AuthenticationFailed, ConfigurationError
from kiel_logging.native import monotonic
from kiel_logging.network.tls import trusting

_PATIENCE: Final = 10.0
"""Seconds to connect, to encrypt, and for the whole answer."""

_LONGEST: Final = 1024 * 1024
"""Bytes of an answer. Brokers take no token of more than half of that."""

_REASONS: Final = {
    "invalid_client": "check client id and secret",
    "invalid_grant": "check client id and secret",
    "invalid_scope": "check the scope (sasl.oauthbearer.scope)",
    "invalid_request": "does it want a scope (sasl.oauthbearer.scope)?",
    "unauthorized_client": "allow this client the client-credentials grant there",
    "unsupported_grant_type": "allow this client the client-credentials grant there",
}
"""RFC 6749's error codes, and what to do. No other text of the server's is shown."""


def fetch(credentials: ClientCredentials) -> Token:
    """Return a fresh token.

    Raises:
        AuthenticationFailed: there is none; says why and what to do, without a secret.
        ConfigurationError: id, secret or authorities can't be read.
    """
    endpoint = urlsplit(credentials.endpoint)
    where = f"the token endpoint {endpoint.scheme}://{endpoint.netloc}{endpoint.path}"
    plain = endpoint.scheme == "http"
    if plain and not _is_loopback(endpoint.hostname or ""):
        report(
            logging.WARNING,
            "%s is not https: the client secret goes over the network as it is",
            where,
        )
    context = None if plain else trusting(credentials.cafile, "https.ca.location")
    answer = _ask(credentials, context)
    if isinstance(answer, Token):
        return answer
    raise AuthenticationFailed(f"{where} {answer}")


def _ask(credentials: ClientCredentials, context: ssl.SSLContext | None) -> Token | str:
    """Return a token, or why there is none.

    Only an unreadable secret raises: frames from here have the secret, and an answer that may
    repeat it.
    """
    try:
        status, body = _post(_request(credentials), context)
    except ConfigurationError:
        raise
    except (OSError, HTTPException, ValueError) as error:
        return _unreachable(error)
    return _token(body, credentials) if status == 200 else _refusal(status, body)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# The request.


def _request(credentials: ClientCredentials) -> Request:
    login = [each.read_bytes() for each in (credentials.client_id, credentials.client_secret)]
    if credentials.urlencode:
        login = [quote_plus(part).encode() for part in login]
    form = {"grant_type": "client_credentials"}
    if credentials.scope:
        form["scope"] = credentials.scope
    return Request(  # noqa: S310 # the scheme was checked
        credentials.endpoint,
        data=urlencode(form).encode(),
        headers={
            "Authorization": f"Basic {base64.b64encode(b':'.join(login)).decode()}",
            "Accept": "application/json",
            "User-Agent": f"kiel-logging/{VERSION}",
        },
        method="POST",
    )


def _post(request: Request, context: ssl.SSLContext | None) -> tuple[int, bytes]:
    # By hand, for what is not there: redirects, which the secret would follow, and other schemes.
    opener = OpenerDirector()
    for handler in (ProxyHandler(), _Http(), _Https(context)):
        opener.add_handler(handler)
    with opener.open(request, timeout=_PATIENCE) as response:
        body: bytes = response.read(_LONGEST + 1)
        return response.status, body


class _Http(HTTPHandler):
    def http_open(self, req: Request) -> HTTPResponse:
        return self.do_open(_patient(HTTPConnection), req)


class _Https(HTTPSHandler):
    def __init__(self, context: ssl.SSLContext | None) -> None:
        super().__init__()
        self._trusting = context

    def https_open(self, req: Request) -> HTTPResponse:
        return self.do_open(_patient(HTTPSConnection), req, context=self._trusting)


def _patient(kind: type[HTTPConnection]) -> Any:
    def make(*args: Any, **options: Any) -> HTTPConnection:
        connection = kind(*args, **options)
        connection.response_class = _Response
        return connection

    return make


class _Response(HTTPResponse):
    """A response that must be complete within ``_PATIENCE`` seconds.

    The timeout of a socket holds for each read: without this, a server that sends a byte now and
    then would keep the thread for ever.
    """

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp = io.BufferedReader(_InTime(sock, self.fp.detach()))


class _InTime(io.RawIOBase):
    def __init__(self, sock: socket.socket, raw: io.RawIOBase) -> None:
        self._sock = sock
        self._raw = raw
        self._until = monotonic() + _PATIENCE

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._until - monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


# The answer.


def _token(body: bytes, credentials: ClientCredentials) -> Token | str:
    document = _read(body)
    value = document.get("access_token")
    if not isinstance(value, str) or not value:
        return "answered without an access_token: is that the URL of a token endpoint?"
    return Token(value, _end(document.get("expires_in")), credentials.extensions)


def _read(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body) if len(body) <= _LONGEST else None
    except (ValueError, RecursionError):
        document = None
    return document if isinstance(document, dict) else {}


def _end(expires_in: object) -> float | None:
    """Return when a token ends; a JWT says so by itself."""
    try:
        seconds = float(expires_in)  # type: ignore[arg-type] # whatever it is
    except (TypeError, ValueError, OverflowError):
        return None
    return time.time() + seconds if 0 < seconds < float("inf") else None


def _refusal(status: int, body: bytes) -> str:
    code = _read(body).get("error")
    if isinstance(code, str) and code in _REASONS:
        return f"refuses this client (HTTP {status}, {code}): {_REASONS[code]}"
    if 300 <= status < 400:
        return f"redirects (HTTP {status}), and the secret does not follow: give the final URL"
    if status in (401, 403):
        return f"refuses this client (HTTP {status}): check client id and secret"
    if status in (404, 405):
        return f"is none (HTTP {status}): check the URL (sasl.oauthbearer.token.endpoint.url)"
    return f"answered HTTP {status}; it is asked again"


def _unreachable(error: Exception) -> str:
    if isinstance(error, URLError) and isinstance(error.reason, Exception):
        error = error.reason
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"has a certificate that is not accepted ({error.verify_message}): give its authority "
            "as https.ca.location, or as cafile of ClientCredentials"
        )
    if isinstance(error, TimeoutError):
        return f"did not answer within {_PATIENCE:.0f} s: can it be reached from here?"
    if isinstance(error, socket.gaierror):
        return "can't be found: its host name does not resolve"
    if isinstance(error, ssl.SSLError):
        return f"can't be reached by TLS ({error.reason or type(error).__name__}): check the URL"
    if isinstance(error, OSError) and error.strerror:
        return f"can't be reached ({error.strerror}): is it up, and is this its URL?"
    return f"does not speak HTTP as it should ({type(error).__name__}): check the URL"
