"""The request's body: read as it comes, decoded, and either a statement or rows spooled to a file."""

from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web

from local.clickhouse import sql
from local.clickhouse.compression import Decoder
from local.clickhouse.errors import QUERY_IS_TOO_LARGE, refusal

_HEAD_BYTES_MAX = 1 << 20  # an INSERT's head ends within this
_STATEMENT_BYTES_MAX = 256 << 20


async def decoded(request: web.Request) -> AsyncIterator[bytes]:
    """The body's chunks without their Content-Encoding. Raises ClickHouseError (271) for a broken encoding."""
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding in ("identity", ""):
        async for chunk in request.content.iter_any():
            yield chunk
        return
    decoder = Decoder(encoding)
    async for chunk in request.content.iter_any():
        yield decoder.decode(chunk)
    decoder.finish()


async def read_statement(
    query: str, chunks: AsyncIterator[bytes], spool: Path
) -> tuple[bytes, sql.InsertWithData | None]:
    """The statement, `query` from the URL with the body behind it; for an INSERT with data also where it splits.

    The data is then in the file `spool`, complete; a body that breaks off raises before anything is inserted.
    """
    text = bytearray(query.encode() + b"\n" if query else b"")
    insert = _complete_head(text, ended=False)
    async for chunk in chunks:
        text += chunk
        insert = _complete_head(text, ended=False) if len(text) <= _HEAD_BYTES_MAX else None
        if insert:
            break
        if len(text) > _STATEMENT_BYTES_MAX:
            raise refusal(QUERY_IS_TOO_LARGE, f"Statement exceeds {_STATEMENT_BYTES_MAX} bytes", "QUERY_IS_TOO_LARGE")
    insert = insert or _complete_head(text, ended=True)
    if insert is None:
        return bytes(text), None
    with spool.open("xb", buffering=0) as file:
        file.write(memoryview(text)[insert.data_start :])
        async for chunk in chunks:
            file.write(chunk)
    return bytes(text[: insert.data_start]), insert


def _complete_head(text: bytearray, ended: bool) -> sql.InsertWithData | None:
    """The split, once the format's name is certainly whole: something follows it, or nothing more will come."""
    insert = sql.insert_with_data(bytes(text[:_HEAD_BYTES_MAX]))
    if insert and not ended and insert.data_start >= len(text):
        return None
    return insert
