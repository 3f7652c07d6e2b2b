"""Names for the choices a Producer offers, and our version. No logic."""

from typing import Final

VERSION: Final = "0.1.0"

GZIP: Final = "gzip"
SNAPPY: Final = "snappy"
LZ4: Final = "lz4"
ZSTD: Final = "zstd"
