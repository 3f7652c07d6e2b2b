"""The state that a run of ``verify`` leaves for the next one: all that judging needs, as JSON.

Numbers up to which a stream is whole take no room in it, so it grows with what is missing or wrong
and by some bytes for each checkpoint, and not with the topic. Anybody who can write it can make
``verify`` say anything: keep it where only the verifier writes.
"""

import json
import os
from base64 import b64decode, b64encode
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any, Final

from kiel_logging.output import CannotRun
from kiel_logging.records import TopicPartition
from kiel_logging.verify import pages
from kiel_logging.verify.audit import Audit, Unverified
from kiel_logging.verify.events import Claim
from kiel_logging.verify.evidence import Registry, Signed
from kiel_logging.verify.pages import Page
from kiel_logging.verify.reader import Newest, Read
from kiel_logging.verify.stream import Course, Recovery, Span, Start, Stream

_FORMAT: Final = "kiel-verify-3"
_COUNTS: Final = ("records", "unmarked", "unreadable", "uncounted", "unlisted")


def save(path: Path, audits: Mapping[str, Audit], registry: Registry, read: Read) -> None:
    """Write the state, in place of what is there.

    Raises:
        CannotRun: the file can't be written.
    """
    content = {
        "format": _FORMAT,
        "read": [[*at, *newest] for at, newest in read.items()],
        "audits": {name: _of_audit(audit) for name, audit in audits.items()},
        "registry": _of_registry(registry),
    }
    new = path.with_name(path.name + ".new")
    try:
        with new.open("w", encoding="utf-8") as file:
            json.dump(content, file, separators=(",", ":"))
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        raise CannotRun(f"--state: {path} can't be written: {error.strerror}") from error


def load(path: Path, audits: Mapping[str, Audit], registry: Registry, read: Read) -> None:
    """Continue with the state in ``path``, if there is any.

    Raises:
        CannotRun: it can't be read, is no state, or is one of other topics or keys.
    """
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return
    except OSError as error:
        raise CannotRun(f"--state: {path} can't be read: {error.strerror}") from error
    except ValueError:
        content = None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise CannotRun(f"--state: {path} is no state of this release: remove it to read all")
    if content["audits"].keys() != audits.keys() or not all(
        _fits(one, audits[name].key_ids) for name, one in content["audits"].items()
    ):
        raise CannotRun(
            f"--state: {path} is of other topics, checkpoints or keys: name another file for these"
        )
    for topic, partition, *newest in content["read"]:
        read[TopicPartition(topic, partition)] = Newest(*newest)
    for name, one in content["audits"].items():
        _into_audit(audits[name], one)
    _into_registry(registry, content["registry"])


def _fits(content: Mapping[str, Any], key_ids: Set[str]) -> bool:
    """Whether a state is of these keys, or of some of them and of no record that others may have
    sealed: a key may be added before it is used."""
    known = set(content["keys"])
    return known == key_ids or (known < key_ids and not content["unverified"])


def settle(audits: Mapping[str, Audit]) -> None:
    """Forget what is whole of all streams."""
    for audit in audits.values():
        for stream in audit.streams():
            stream.settle()


def _of_audit(audit: Audit) -> dict[str, Any]:
    return {
        "keys": sorted(audit.key_ids),
        "counts": [getattr(audit, name) for name in _COUNTS],
        "unmarked_at": list(audit.unmarked_at.items()),
        "unreadable_at": list(audit.unreadable_at.items()),
        "unverified": [
            [
                instance.decode(),
                found.count,
                sorted(found.numbers),
                list(found.places.items()),
                sorted(found.claims),
                found.renamed,
            ]
            for instance, found in audit.unverified.items()
        ],
        "streams": [[kind, _of_stream(stream)] for kind, stream in audit.by_kind()],
    }


def _into_audit(audit: Audit, content: Mapping[str, Any]) -> None:
    for name, count in zip(_COUNTS, content["counts"], strict=True):
        setattr(audit, name, count)
    audit.unmarked_at.update(map(_pair, content["unmarked_at"]))
    audit.unreadable_at.update(map(_pair, content["unreadable_at"]))
    for instance, count, numbers, places, claims, renamed in content["unverified"]:
        found = audit.unverified[instance.encode()] = Unverified()
        found.count, found.renamed = count, renamed
        found.numbers.update(numbers)
        found.places.update(map(_pair, places))
        found.claims.update(Claim(*one) for one in claims)
    for kind, stream in content["streams"]:
        restored = audit.restore(kind, stream["instance"])
        _into_stream(restored, stream)
        if restored.keyed and not restored.spans and len(audit.key_ids) > len(content["keys"]):
            (key_id,) = content["keys"]  # with one key nothing else was noted
            restored.spans[key_id] = Span(restored.first, restored.last, restored.intact)


def _pair(pair: tuple[int, list[int]]) -> tuple[int, list[int]]:
    partition, places = pair
    return partition, places


def _of_stream(stream: Stream) -> dict[str, Any]:
    return {
        "instance": stream.instance,
        "counts": [stream.intact, stream.repeats, stream.uncounted],
        "settled": [stream.settled, *stream.settled_link],
        "pages": [[index, *_of_page(page)] for index, page in stream.pages.items()],
        "courses": [
            [partition, one.bottom, one.top, one.previous, one.descents]
            for partition, one in stream.courses.items()
        ],
        "variants": [
            [number, [[*link, place] for link, place in links.items()]]
            for number, links in stream.variants.items()
        ],
        "repeated": list(stream.repeated.items()),
        "drops": list(stream.drops.items()),
        "omissions": list(stream.omissions.items()),
        "lost": sorted(stream.lost),
        "ends": [[number, sorted(map(bytes.hex, keys))] for number, keys in stream.ends.items()],
        "recoveries": sorted(stream.recoveries),
        "rotations": [[number, *keys] for number, keys in stream.rotations.items()],
        "spans": [[key, one.low, one.high, one.records] for key, one in stream.spans.items()],
        "start": stream.start,
        "public": stream.public and stream.public.hex(),
    }


def _into_stream(stream: Stream, content: Mapping[str, Any]) -> None:
    stream.intact, stream.repeats, stream.uncounted = content["counts"]
    stream.settled, *link = content["settled"]
    stream.settled_link = link[0], link[1]
    for index, *page in content["pages"]:
        stream.pages[index] = _page(page)
        stream.room.take(pages.PAGE)
    for partition, bottom, top, previous, descents in content["courses"]:
        course = stream.courses[partition] = Course(bottom)
        course.top, course.previous, course.descents = top, previous, descents
    for number, links in content["variants"]:
        stream.variants[number] = {(prev, digest): place for prev, digest, place in links}
    stream.repeated.update(content["repeated"])
    stream.drops.update(content["drops"])
    stream.omissions.update(content["omissions"])
    stream.lost.update((first, last) for first, last in content["lost"])
    for number, keys in content["ends"]:
        stream.ends[number] = set(map(bytes.fromhex, keys))
    for dead, number, last, complete, lost in content["recoveries"]:
        stream.recoveries.add(Recovery(dead, number, last, complete, tuple(map(tuple, lost))))
    for number, old, new in content["rotations"]:
        stream.rotations[number] = old, new
    for key, *span in content["spans"]:
        stream.spans[key] = Span(*span)
    stream.start = content["start"] and Start(*content["start"])
    stream.public = content["public"] and bytes.fromhex(content["public"])


def _of_page(page: Page) -> list[str]:
    return [b64encode(one).decode() for one in (page.flags, page.entries)]


def _page(content: list[str]) -> Page:
    page = Page()
    page.flags, page.entries = map(bytearray, map(b64decode, content))
    return page


def _of_registry(registry: Registry) -> list[Any]:
    return [
        [*stream, public.hex(), key.endorsed, key.outside, sorted(key.signed)]
        for stream, keys in registry.streams.items()
        for public, key in keys.items()
    ]


def _into_registry(registry: Registry, content: list[Any]) -> None:
    for topic, instance, public, endorsed, outside, signed in content:
        registry.restore(
            (topic, instance),
            bytes.fromhex(public),
            [Signed(*one) for one in signed],
            endorsed=endorsed,
            outside=outside,
        )
