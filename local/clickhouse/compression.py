"""HTTP content encodings, streamed both ways: gzip, deflate, lz4, zstd in; the same out."""

import zlib
from collections.abc import Callable
from typing import Protocol

import lz4.frame
import zstandard

from local.clickhouse.errors import CANNOT_DECOMPRESS, refusal


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes | None: ...
    def decompress(self, data: bytes, /) -> bytes: ...


_DECOMPRESSORS: dict[str, Callable[[], _Decompressor]] = {
    "gzip": lambda: zlib.decompressobj(31),
    "x-gzip": lambda: zlib.decompressobj(31),
    "deflate": zlib.decompressobj,
    "lz4": lz4.frame.LZ4FrameDecompressor,
    "zstd": lambda: zstandard.ZstdDecompressor().decompressobj(),
}


class Decoder:
    """Undoes one Content-Encoding; a body may be several frames one after another, as clickhouse-connect sends."""

    def __init__(self, encoding: str) -> None:
        """Raises ClickHouseError (271) for an encoding it does not know."""
        if encoding not in _DECOMPRESSORS:
            known = ", ".join(sorted(_DECOMPRESSORS))
            reason = f"Content-Encoding {encoding!r} is not supported, use one of: {known}"
            raise refusal(CANNOT_DECOMPRESS, reason, "CANNOT_DECOMPRESS")
        self._encoding = encoding
        self._frame: _Decompressor | None = None

    def decode(self, data: bytes) -> bytes:
        """Raises ClickHouseError (271) for bytes that are not of the encoding."""
        parts = []
        try:
            while data:
                if self._frame is None:
                    self._frame = _DECOMPRESSORS[self._encoding]()
                parts.append(self._frame.decompress(data))
                data = b""
                if self._frame.eof:
                    data, self._frame = self._frame.unused_data or b"", None
        except (zlib.error, RuntimeError, zstandard.ZstdError) as error:
            reason = f"Body is not {self._encoding}: {error}"
            raise refusal(CANNOT_DECOMPRESS, reason, "CANNOT_DECOMPRESS") from error
        return b"".join(parts)

    def finish(self) -> None:
        """Raises ClickHouseError (271) when the body ended inside a frame."""
        if self._frame is not None:
            raise refusal(CANNOT_DECOMPRESS, f"Body ends inside a {self._encoding} frame", "CANNOT_DECOMPRESS")


class Encoder(Protocol):
    """Compresses an answer chunk by chunk."""

    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class _Lz4Encoder:
    def __init__(self) -> None:
        self._frame = lz4.frame.LZ4FrameCompressor()
        self._header: bytes = self._frame.begin()

    def compress(self, data: bytes) -> bytes:
        header, self._header = self._header, b""
        return header + bytes(self._frame.compress(data))

    def flush(self) -> bytes:
        return self._header + bytes(self._frame.flush())


_ENCODERS: dict[str, Callable[[], Encoder]] = {
    "lz4": _Lz4Encoder,
    "zstd": lambda: zstandard.ZstdCompressor(level=1).compressobj(),
    "gzip": lambda: zlib.compressobj(3, wbits=31),
    "deflate": lambda: zlib.compressobj(3),
}


def chosen_encoding(accept: str) -> str | None:
    """The first encoding of an Accept-Encoding header that can be made here."""
    offered = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    return next((name for name in offered if name in _ENCODERS), None)


def encoder(encoding: str) -> Encoder:
    """An encoder for a name that `chosen_encoding` returned."""
    return _ENCODERS[encoding]()
