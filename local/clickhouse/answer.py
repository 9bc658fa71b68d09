"""Answers as a ClickHouse server words them: headers, whole results, streamed results, failures."""

import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO

from aiohttp import web

from local.clickhouse.compression import Encoder, chosen_encoding, encoder
from local.clickhouse.engine import Answer
from local.clickhouse.errors import ClickHouseError
from local.clickhouse.request import Request
from local.clickhouse.stream import PipedResult

_MEMORY_BYTES_MAX = 32 << 20  # of a result that waits for its end; more goes to disk
_CHUNK_BYTES = 1 << 18
_CONTENT_TYPES = {
    "JSON": "application/json; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "CSVWithNames": "text/csv; charset=UTF-8; header=present",
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "Native": "application/octet-stream",
    "Parquet": "application/octet-stream",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
}


def _headers(query_id: str, output_format: str | None, counts: Answer | None) -> dict[str, str]:
    headers = {
        "X-ClickHouse-Query-Id": query_id,
        "X-ClickHouse-Server-Display-Name": "tollbook",
        "X-ClickHouse-Timezone": "UTC",
        "X-ClickHouse-Summary": json.dumps(_summary(counts)),
        "Content-Type": _CONTENT_TYPES.get(output_format or "", "text/plain; charset=UTF-8"),
    }
    if output_format:
        headers["X-ClickHouse-Format"] = output_format
    return headers


def _summary(counts: Answer | None) -> dict[str, str]:
    if counts is None:
        return {}
    return {
        "read_rows": str(counts.read_rows),
        "read_bytes": str(counts.read_bytes),
        "written_rows": str(counts.written_rows),
        "written_bytes": str(counts.written_bytes),
        "elapsed_ns": str(counts.elapsed_ns),
    }


def failure(error: ClickHouseError, query_id: str) -> web.Response:
    """The status, code and text of an error."""
    headers = _headers(query_id, None, None) | {"X-ClickHouse-Exception-Code": str(error.code)}
    return web.Response(status=error.status, text=f"{error}\n", headers=headers)


def whole(asked: Request, counts: Answer, output_format: str | None) -> web.Response:
    """The answer to a statement whose output is in hand; `output_format` None when it gives no rows."""
    return web.Response(body=counts.output, headers=_headers(asked.query_id, output_format, counts))


async def streamed(
    http: web.Request, asked: Request, result: PipedResult, output_format: str, spool: Path
) -> web.StreamResponse:
    """Sends a result as it comes. What fits the buffer, or must wait for the end, is sent when the query has succeeded.

    Raises ClickHouseError as long as nothing has been sent; later the error stands at the end of the broken answer.
    """
    with SpooledTemporaryFile(_MEMORY_BYTES_MAX, dir=str(spool)) as held:
        chunks = result.chunks()
        ended = await _hold(chunks, held, None if asked.wait_end_of_query else asked.buffer_bytes)
        counts = await result.answer() if ended else None
        response = web.StreamResponse(headers=_headers(asked.query_id, output_format, counts))
        tag = secrets.token_hex(8)
        response.headers["X-ClickHouse-Exception-Tag"] = tag
        encode = _encoder(http, asked, response)
        await response.prepare(http)
        held.seek(0)
        while chunk := held.read(_CHUNK_BYTES):
            await response.write(encode.compress(chunk) if encode else chunk)
        if not ended:
            await _rest(http, response, result, chunks, encode, tag)
        elif encode:
            await response.write(encode.flush())
        return response


async def _hold(chunks: AsyncIterator[bytes], held: IO[bytes], limit: int | None) -> bool:
    """Holds chunks back up to `limit` bytes; true when the result ended before."""
    async for chunk in chunks:
        held.write(chunk)
        if limit is not None and held.tell() > limit:
            return False
    return True


async def _rest(
    http: web.Request,
    response: web.StreamResponse,
    result: PipedResult,
    chunks: AsyncIterator[bytes],
    encode: Encoder | None,
    tag: str,
) -> None:
    async for chunk in chunks:
        await response.write(encode.compress(chunk) if encode else chunk)
    try:
        await result.answer()
    except ClickHouseError as error:
        message = _late_error(error, tag)
        await response.write(encode.compress(message) if encode else message)
    if encode:
        await response.write(encode.flush())
    if result.failed and http.transport is not None:
        http.transport.close()  # without the last chunk's mark: no client takes this for a whole result


def _late_error(error: ClickHouseError, tag: str) -> bytes:
    text = str(error).encode()
    return b"\r\n__exception__\r\n%b\r\n%b\n%d %b\r\n__exception__\r\n" % (
        tag.encode(),
        text,
        len(text) + 1,
        tag.encode(),
    )


def _encoder(http: web.Request, asked: Request, response: web.StreamResponse) -> Encoder | None:
    encoding = chosen_encoding(http.headers.get("Accept-Encoding", "")) if asked.compressed_answer else None
    if encoding is None:
        return None
    response.headers["Content-Encoding"] = encoding
    return encoder(encoding)
