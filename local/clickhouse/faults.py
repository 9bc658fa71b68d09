"""A front whose inserts can be made to fail, for tests only: runs when TOLLBOOK_FAULT is `front`.

`POST /fault?mode=M&count=N` by the owner: the next N inserts (default 1) fail in the way of M; `mode=none` ends it.
"""

import asyncio
from collections.abc import Callable

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

_MODES = {"none", "error500", "disk_full", "stall", "cut_after_commit"}


class FaultyFront(Front):
    """A front that can be told to fail: `error500` and `disk_full` insert nothing, `stall` waits for the next switch,
    `cut_after_commit` inserts and closes the connection without an answer."""

    def application(self) -> web.Application:
        app = super().application()
        app.router.add_post("/fault", self._switch)
        self._mode, self._left = "none", 0
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
        self._mode, self._left = mode, int(count)
        self._changed.set()
        self._changed = asyncio.Event()
        return web.Response(text="Ok.\n")

    async def _insert(self, http: web.Request, work: Work, run: Callable[[], Answer]) -> web.StreamResponse:
        mode = self._next_mode()
        if mode == "error500":
            raise refusal(UNKNOWN_EXCEPTION, "Fault asked for", "UNKNOWN_EXCEPTION")
        if mode == "disk_full":
            raise refusal(NOT_ENOUGH_SPACE, "Cannot reserve 1.00 MiB, not enough space", "NOT_ENOUGH_SPACE")
        if mode == "stall":
            await self._changed.wait()
        response = await super()._insert(http, work, run)
        if mode == "cut_after_commit" and http.transport is not None:
            http.transport.abort()
        return response

    def _next_mode(self) -> str:
        if self._left == 0:
            return "none"
        self._left -= 1
        return self._mode
