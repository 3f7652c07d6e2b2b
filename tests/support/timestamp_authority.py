"""A timestamp authority (RFC 3161): OpenSSL's command line, served by HTTP on loopback."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

_CONFIG = """
[req]
distinguished_name = name
[name]
[root]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign
subjectKeyIdentifier = hash
[signer]
basicConstraints = CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,timeStamping
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[tsa]
default_tsa = authority
[authority]
serial = {directory}/serial
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""


class TimestampAuthority:
    """Answers in the time of OpenSSL's clock.

    Attributes:
        root: the certificate that `verify --tsa` takes.
        url: where it listens.
        is_away: whether it answers nothing but errors.
        asked: how often it was asked.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root = directory / "root.pem"
        self.url = ""
        self.is_away = False
        self.asked = 0
        (directory / "openssl.cnf").write_text(_CONFIG.format(directory=directory))
        (directory / "serial").write_text("01\n")
        key = ("-newkey", "rsa:2048", "-nodes", "-config", "openssl.cnf")
        self.openssl(
            *("req", "-x509", *key, "-keyout", "root.key", "-out", "root.pem", "-days", "2"),
            *("-subj", "/CN=root", "-extensions", "root"),
        )
        self.openssl("req", *key, "-keyout", "tsa.key", "-out", "tsa.csr", "-subj", "/CN=tsa")
        self.openssl(
            *("x509", "-req", "-in", "tsa.csr", "-CA", "root.pem", "-CAkey", "root.key"),
            *("-CAcreateserial", "-days", "2", "-extfile", "openssl.cnf", "-extensions", "signer"),
            *("-out", "tsa.pem"),
        )

    def openssl(self, *words: str) -> str:
        """Run OpenSSL's command line in the authority's directory; return what it writes."""
        command = shutil.which("openssl")
        if command is None:
            pytest.skip("there is no openssl")
        done = subprocess.run(
            [command, *words], cwd=self.directory, capture_output=True, text=True, check=True
        )
        return done.stdout

    def answer(self, question: bytes) -> bytes:
        """Return the answer to the body of a request."""
        self.asked += 1
        (self.directory / "question").write_bytes(question)
        self.openssl(
            *("ts", "-reply", "-queryfile", "question", "-signer", "tsa.pem", "-inkey", "tsa.key"),
            *("-config", "openssl.cnf", "-section", "authority", "-out", "answer"),
        )
        return (self.directory / "answer").read_bytes()

    def takes(self, answer: bytes, note: str) -> bool:
        """Whether OpenSSL's command line takes a timestamp of a note."""
        (self.directory / "stamped").write_bytes(answer)
        (self.directory / "note").write_text(note)
        words = ("ts", "-verify", "-in", "stamped", "-data", "note", "-CAfile", "root.pem")
        try:
            return "OK" in self.openssl(*words)
        except subprocess.CalledProcessError:
            return False


@contextmanager
def timestamp_authority(directory: Path) -> Iterator[TimestampAuthority]:
    """Have one listen, with new keys."""
    authority = TimestampAuthority(directory)

    class Page(BaseHTTPRequestHandler):
        """Answers one question."""

        def do_POST(self) -> None:  # the base's name
            question = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.headers["Content-Type"] == "application/timestamp-query"
            body = b"" if authority.is_away else authority.answer(question)
            self.send_response(503 if authority.is_away else 200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Write nothing."""

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            authority.url = f"http://127.0.0.1:{server.server_address[1]}/"
            yield authority
        finally:
            server.shutdown()
            thread.join()
