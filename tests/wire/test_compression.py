"""Codecs by name and level, and what they do to bytes."""

from __future__ import annotations

import gzip
import sys
from typing import Any

import lz4.frame
import pytest
import snappy
import zstandard

from kiel_logging import constants
from kiel_logging.errors import ConfigurationError
from kiel_logging.wire.compression import NONE, codec

DATA = b"".join(b"the same again, number %d; " % (number * number) for number in range(300))

BITS = {constants.GZIP: 1, constants.SNAPPY: 2, constants.LZ4: 3, constants.ZSTD: 4}
READERS: dict[str, Any] = {
    constants.GZIP: gzip.decompress,
    constants.SNAPPY: snappy.uncompress,
    constants.LZ4: lz4.frame.decompress,
    constants.ZSTD: zstandard.decompress,
}
LEVELS = {constants.GZIP: (1, 9), constants.LZ4: (0, 16), constants.ZSTD: (-7, 22)}


@pytest.mark.parametrize("name", [None, "none"])
def test_no_compression_has_two_names(name: str | None) -> None:
    """None, and the "none" of a config file, leave the records as they are."""
    assert codec(name) is NONE
    assert NONE.compress(DATA) == DATA


@pytest.mark.parametrize("name", BITS)
def test_a_codec_has_the_bits_that_kafka_gives_it(name: str) -> None:
    """The lowest three bits of a batch's attributes."""
    assert (codec(name).name, codec(name).bits) == (name, BITS[name])


@pytest.mark.parametrize("name", READERS)
def test_another_library_s_call_reads_it(name: str) -> None:
    """And there was something to gain."""
    compressed = codec(name).compress(DATA)
    assert READERS[name](compressed) == DATA
    assert len(compressed) < len(DATA) / 2


@pytest.mark.parametrize(
    ("name", "level"), [(name, level) for name, levels in LEVELS.items() for level in levels]
)
def test_every_level_is_read_back(name: str, level: int) -> None:
    """The lowest and the highest that are allowed."""
    assert READERS[name](codec(name, level).compress(DATA)) == DATA


@pytest.mark.parametrize("name", LEVELS)
def test_more_effort_makes_fewer_bytes(name: str) -> None:
    """Otherwise the level would not reach the codec."""
    least, most = (len(codec(name, level).compress(DATA)) for level in LEVELS[name])
    assert most < least


def test_gzip_has_no_time_inside() -> None:
    """A batch that is sent again is the same to the byte: the header's four time bytes are 0."""
    assert codec("gzip").compress(DATA)[4:8] == bytes(4)


def test_snappy_is_one_raw_block() -> None:
    """As librdkafka writes it; Java's consumers read that and their own framing."""
    assert not codec("snappy").compress(DATA).startswith(b"\x82SNAPPY\x00")


def test_lz4_blocks_do_not_depend_on_each_other() -> None:
    """Java reads no others, and does not want the content size."""
    assert lz4.frame.get_frame_info(codec("lz4").compress(DATA * 40))["block_linked"] is False


@pytest.mark.parametrize("name", ["lz5", "GZIP", "", 3, ["gzip"], b"gzip"])
def test_an_unknown_codec_is_refused(name: Any) -> None:
    """The message has the option, the value and every name that is allowed."""
    with pytest.raises(ConfigurationError) as refused:
        codec(name)
    message = str(refused.value)
    assert f"compression={name!r}" in message
    assert all(repr(known) in message for known in BITS)


@pytest.mark.parametrize(
    ("name", "level", "message"),
    [
        ("gzip", 0, "compression_level=0 must be a whole number from 1 to 9"),
        ("gzip", 10, "compression_level=10 must be a whole number from 1 to 9"),
        ("gzip", 1.5, "compression_level=1.5 must be a whole number from 1 to 9"),
        ("gzip", "9", "compression_level='9' must be a whole number from 1 to 9"),
        ("gzip", True, "compression_level=True must be a whole number from 1 to 9"),
        ("lz4", 17, "compression_level=17 must be a whole number from 0 to 16"),
        ("zstd", 23, "compression_level=23 must be a whole number from -7 to 22"),
        ("snappy", 1, "compression_level=1: compression='snappy' has no levels"),
        (None, 1, "compression_level=1: compression=None has no levels"),
    ],
)
def test_a_level_that_the_codec_does_not_have(name: str | None, level: Any, message: str) -> None:
    """The message has both options, and what is allowed."""
    with pytest.raises(ConfigurationError) as refused:
        codec(name, level)
    assert message in str(refused.value)


@pytest.mark.parametrize(("name", "module"), [("lz4", "lz4.frame"), ("zstd", "zstandard")])
def test_a_codec_that_is_not_installed(
    name: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says what to install."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError) as refused:
        codec(name)
    assert f"pip install 'kiel_logging[{name}]'" in str(refused.value)
