"""A front whose inserts can be made to fail, for tests only: runs when TOLLBOOK_FAULT is `front`.

`POST /fault?mode=M&count=N` by the owner: the next N inserts (default 1) fail in the way of M; `mode=none` ends it.
`&table=T`: of those inserts that bring rows, only the ones into T. `GET /fault` says how many are still to come.
`mode=space&count=N`: the disk has room for N more bytes of rows, and is full for what is larger than the room left.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from aiohttp import web

from local.clickhouse import answer
from local.clickhouse.auth import authenticate
from local.clickhouse.engine import Answer
from local.clickhouse.errors import (
    ACCESS_DENIED,
    BAD_ARGUMENTS,
    NOT_ENOUGH_SPACE,
    UNKNOWN_EXCEPTION,
    ClickHouseError,
    refusal,
)
from local.clickhouse.execute import Work
from local.clickhouse.server import Front
from local.clickhouse.sql import InsertWithData

_MODES = {"none", "error500", "disk_full", "space", "stall", "cut_after_commit", "cut_between_parts"}


class FaultyFront(Front):
    """A front that can be told to fail: `error500` and `disk_full` insert nothing, `stall` waits for the next switch,
    `cut_after_commit` inserts and closes the connection without an answer, `cut_between_parts` inserts the rows
    of one month, as a crash between two parts of an insert does, and closes it."""

    def application(self) -> web.Application:
        app = super().application()
        app.router.add_post("/fault", self._switch)
        app.router.add_get("/fault", self._to_come)
        self._mode, self._left, self._table = "none", 0, ""
        self._changed = asyncio.Event()
        return app

    async def _switch(self, http: web.Request) -> web.Response:
        try:
            if authenticate(self._accounts, http.headers, http.query).readonly:
                raise refusal(ACCESS_DENIED, "Only the owner makes faults", "ACCESS_DENIED")
            mode, count = http.query.get("mode", ""), http.query.get("count", "1")
            if mode not in _MODES or not (count.isascii() and count.isdigit()):
                reason = f"mode is {mode!r}: one of {', '.join(sorted(_MODES))}; count is {count!r}: a whole number"
                raise refusal(BAD_ARGUMENTS, reason, "BAD_ARGUMENTS")
        except ClickHouseError as error:
            return answer.failure(error, "")
        self._mode, self._left, self._table = mode, int(count), http.query.get("table", "")
        self._changed.set()
        self._changed = asyncio.Event()
        return web.Response(text="Ok.\n")

    async def _to_come(self, _: web.Request) -> web.Response:
        return web.Response(text=f"{self._left}\n")

    async def _insert(self, http: web.Request, work: Work, run: Callable[[], Answer]) -> web.StreamResponse:
        mode = self._next_mode(run)
        if mode == "error500":
            raise refusal(UNKNOWN_EXCEPTION, "Fault asked for", "UNKNOWN_EXCEPTION")
        if mode == "disk_full":
            raise refusal(NOT_ENOUGH_SPACE, "Cannot reserve 1.00 MiB, not enough space", "NOT_ENOUGH_SPACE")
        if mode == "stall":
            await self._changed.wait()
        if mode == "cut_between_parts":
            _keep_one_month(run)
        response = await super()._insert(http, work, run)
        if mode in ("cut_after_commit", "cut_between_parts") and http.transport is not None:
            http.transport.abort()
        return response

    def _next_mode(self, run: Callable[[], Answer]) -> str:
        if self._mode == "space":
            size = _bytes_of(run)
            if size > self._left:
                return "disk_full"
            self._left -= size
            return "none"
        if self._left == 0 or not _is_into(self._table, run):
            return "none"
        self._left -= 1
        return self._mode


def _bytes_of(run: Callable[[], Answer]) -> int:
    """Of the rows that an insert brings."""
    return Path(str(run.args[1])).stat().st_size if isinstance(run, partial) and len(run.args) > 1 else 0


def _is_into(table: str, run: Callable[[], Answer]) -> bool:
    """Whether it brings rows for the table; for '' whatever it does."""
    if not table:
        return True
    insert = run.args[0] if isinstance(run, partial) else None
    return (
        isinstance(insert, InsertWithData)
        and insert.target.partition(b"(")[0].split()[-1].strip(b"`") == table.encode()
    )


def _keep_one_month(run: Callable[[], Answer]) -> None:
    """Leaves in the file of an insert's rows only those that make its first part, where a month is a part."""
    if not isinstance(run, partial) or len(run.args) < 2:
        return  # INSERT ... SELECT: no rows in hand
    path = run.args[1]
    with pa.OSFile(str(path)) as file:
        rows = pa.ipc.open_stream(file).read_all()
    if "occurred_at" not in rows.schema.names:
        return
    months = pc.strftime(rows.column("occurred_at"), "%Y-%m")
    kept = rows.filter(pc.equal(months, months[0]))
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, kept.schema) as stream:
        stream.write_batch(kept.combine_chunks().to_batches()[0])
