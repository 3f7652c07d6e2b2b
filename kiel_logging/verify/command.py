"""The options of ``kiel-logging verify``. Imports nothing that the extra ``verify`` brings."""

import argparse
import sys
from dataclasses import fields
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from kiel_logging.arguments import add_connection, moment, require, seconds, whole
from kiel_logging.config.credentials import Secret
from kiel_logging.errors import ConfigurationError
from kiel_logging.output import CannotRun
from kiel_logging.printable import printable
from kiel_logging.proof.chain import SHORTEST_KEY, Chain
from kiel_logging.proof.timestamps import PACKAGE, Authority
from kiel_logging.verify import pages
from kiel_logging.verify.options import VerifyOptions
from kiel_logging.verify.threats import table

_DOES_NOT_HOLD: Final = 1
_NOT_CHECKED: Final = 2
_MIB: Final = 1024 * 1024

DESCRIPTION: Final = """\
Reads topics that were written by kiel_logging.KafkaHandler from end to end and reports whether
every record is there, once, in order and as it was sent. It goes by the numbers, and where the
handler has chain=True by the digests, that the records bear in their headers. It writes nothing
and commits no offsets.

Numbers show losses on the way. Digests without a key show them too, and damage; against people
who can write to the topic they prove nothing. Digests with a key are evidence against everybody
without it, and signed checkpoints against everybody who can't change the place where they were put,
as far as the table at the end goes.
"""

EPILOG: Final = f"""\
exit status:
  0  complete: nothing speaks against it that each record which was sent is
     there, as it was sent. The last line says what that stands on, and the
     table below who could deceive it
  1  incomplete or damaged
  2  it could not be checked, or not all of it

who can do what, and what is found of it:
{table()}
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to ``parser``."""
    add = parser.add_argument
    subject = parser.add_mutually_exclusive_group(required=True).add_argument
    subject("--topic", action="append", metavar="NAME", help="may be given repeatedly")
    subject(
        "--proof",
        metavar="FILE",
        help="check the proof of one record, which `kiel-logging prove` has made, in place of a "
        "topic; needs no Kafka",
    )
    add_connection(parser)
    add(
        "--key-file",
        action="append",
        default=[],
        metavar="FILE",
        help="the key of the digests; repeat it where streams have different keys, or have changed "
        "theirs",
    )
    add(
        "--key-env",
        action="append",
        default=[],
        metavar="NAME",
        help="the variable that has it; may be given repeatedly",
    )
    add(
        "--checkpoints",
        action="append",
        default=[],
        metavar="TOPIC|FILE",
        help="signed checkpoints from elsewhere: the checkpoint_topic of the handler, or its "
        "anchor file; may be given repeatedly",
    )
    add(
        "--trust",
        action="append",
        default=[],
        metavar="KEY.pub",
        help="the public key, in PEM form, of the key that endorses instances (endorse_key); "
        "checkpoints of others then count for nothing; may be given repeatedly",
    )
    add(
        "--tsa",
        action="append",
        default=[],
        metavar="ROOT.pem",
        help="the root certificate of a timestamp authority (RFC 3161): checkpoints in files then "
        "count only if it has stamped them within an hour of their time; may be given repeatedly",
    )
    add(
        "--origin",
        metavar="NAME",
        help="the topic that the records were sent to, if this is a mirror of it under another "
        "name, or with other partitions; what is in which order is not checked then",
    )
    _add_scope_options(parser)
    _add_watch_options(parser)
    add(
        "--strict",
        action="store_true",
        help="repeats, strangers and doubts are failures too",
    )
    add("--json", action="store_true", help="the whole verdict as one JSON document")
    add(
        "--memory",
        type=whole(1, 1_000_000),
        default=pages.DEFAULT // _MIB,
        metavar="MIB",
        help="most memory for notes on records; about 40 MiB for a million (%(default)s)",
    )


def _add_scope_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what is read").add_argument
    add("--since", type=moment, metavar="TIME", help="records of that time or later (ISO 8601)")
    add("--until", type=moment, metavar="TIME", help="records before; UTC if no zone is given")
    add(
        "--running",
        action="store_true",
        help="programs still write: no end records are expected of them",
    )
    add(
        "--grace",
        type=seconds,
        default=10.0,
        metavar="SECONDS",
        help="with --running: how long numbers may be on their way, when later ones have arrived "
        "(%(default)g)",
    )
    add("--uncommitted", action="store_true", help="read what open transactions have written too")


def _add_watch_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("more than once").add_argument
    add(
        "--state",
        type=Path,
        metavar="FILE",
        help="continue where the last run with this file ended, and find what changed behind it; "
        "only the verifier may write to it",
    )
    add("--watch", action="store_true", help="verify for ever, with --running; report what is new")
    add(
        "--interval",
        type=seconds,
        default=60.0,
        metavar="SECONDS",
        help="with --watch: seconds between two rounds (%(default)g)",
    )
    add(
        "--metrics",
        type=_address,
        metavar="HOST:PORT",
        help="with --watch: serve figures for Prometheus",
    )
    add("--exit", action="store_true", help="with --watch: end with status 1 or 2 on findings")


def run(arguments: argparse.Namespace) -> int:
    """Verify the topics and return the exit status."""
    if arguments.proof is not None:
        require("verify", "cryptography")
        return _check_proof(arguments)
    require("verify", "confluent_kafka", "cryptography", "rich")
    from kiel_logging.verify.verification import verify

    return verify(options_of(arguments))


def _check_proof(arguments: argparse.Namespace) -> int:
    """Report whether the proof of a record holds; return the exit status."""
    import json

    from kiel_logging.verify.proofs import check

    try:
        content = json.loads(_read("--proof", arguments.proof))
    except (ValueError, RecursionError):
        content = None
    try:
        proved = check(content, list(map(_public_key, arguments.trust)))
    except ValueError as error:
        sys.stdout.write(f"the proof does NOT hold: {printable(error)}\n")
        return _DOES_NOT_HOLD
    one = proved.checkpoint
    signed_at = datetime.fromtimestamp(one.time / 1000, UTC).isoformat(timespec="milliseconds")
    sys.stdout.write(
        f"the record has number {proved.sequence} of instance {one.instance} in topic {one.topic}, "
        f"which had it when it signed number {one.sequence} at {signed_at}\n"
        f"value: {printable((proved.record.value or b'').decode(errors='replace'))}\n"
    )
    if proved.trusted:
        return 0
    sys.stdout.write(
        "NOT checked: whose key it is. Nothing in --trust has endorsed the key "
        f"{proved.public.hex()}\n"
    )
    return _NOT_CHECKED


def options_of(arguments: argparse.Namespace) -> VerifyOptions:
    """Return the parsed arguments with their types.

    Raises:
        CannotRun: the key can't be read.
    """
    if (arguments.state or arguments.watch) and (arguments.since or arguments.until):
        raise CannotRun("--state and --watch read all that is new: leave --since, --until out")
    given = vars(arguments)
    options = {one.name: given[one.name] for one in fields(VerifyOptions) if one.name in given}
    options |= {
        "topics": tuple(dict.fromkeys(arguments.topic)),
        "chains": _chains(arguments),
        "trusted": tuple(map(_public_key, arguments.trust)),
        "checkpoints": tuple(dict.fromkeys(arguments.checkpoints)),
        "authority": _authority(arguments.tsa) if arguments.tsa else None,
        "running": arguments.running or arguments.watch,
        "memory": arguments.memory * _MIB,
    }
    return VerifyOptions(**options)


def _chains(arguments: argparse.Namespace) -> tuple[Chain, ...]:
    files = [("--key-file", {"file": str(Path(file))}) for file in arguments.key_file]
    variables = [("--key-env", {"env": name}) for name in arguments.key_env]
    return tuple(dict.fromkeys(_chain(*source) for source in (*files, *variables)))


def _chain(option: str, source: dict[str, str]) -> Chain:
    """Return the chain of a key, which is not kept."""
    try:
        key = Secret(option, source).read_bytes()
    except ConfigurationError as error:
        raise CannotRun(str(error)) from error
    if len(key) >= SHORTEST_KEY:
        return Chain.of(key)
    size = len(key)
    del key
    raise CannotRun(
        f"{option}: a key of {size} bytes; the shortest that a handler takes has {SHORTEST_KEY}"
    )


def _read(option: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise CannotRun(f"{option}: {path} can't be read: {error.strerror}") from error


def _public_key(path: str) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    pem = _read("--trust", path)
    try:
        key = load_pem_public_key(pem)
    except Exception:  # what is no key makes it raise errors of many kinds
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise CannotRun(
            f"--trust: {path} is no Ed25519 public key in PEM form: "
            "`openssl pkey -in KEY.pem -pubout` makes one of a private key"
        )
    return key.public_bytes_raw()


def _authority(paths: list[str]) -> Authority:
    if find_spec(PACKAGE) is None:
        raise CannotRun(
            "--tsa needs the package rfc3161-client: pip install 'kiel_logging[verify]'"
        )
    pems = [_read("--tsa", path) for path in paths]
    try:
        return Authority.of(pems)
    except ValueError as error:
        raise CannotRun(
            f"--tsa: {', '.join(paths)}: no root certificate in PEM form: {error}"
        ) from error


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)
