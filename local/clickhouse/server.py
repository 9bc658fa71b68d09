"""ClickHouse's HTTP interface over the engine: from the request's body to the last byte of the answer."""

import asyncio
import logging
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from aiohttp import web

from local.clickhouse import answer, body, sql
from local.clickhouse.auth import Account, authenticate
from local.clickhouse.engine import Answer, Engine
from local.clickhouse.errors import NOT_IMPLEMENTED, ClickHouseError, refusal
from local.clickhouse.execute import Work, checked, for_reader
from local.clickhouse.request import Request, read
from local.clickhouse.stream import PipedResult

_log = logging.getLogger(__name__)
T = TypeVar("T")
_QUERIES_AT_ONCE = 24  # of each account: dashboards never hold up an insert
_FORM_BYTES_MAX = 64 << 20
_WITHOUT_ROWS = {
    *("SET", "USE", "INSERT", "CREATE", "DROP", "ALTER", "RENAME", "TRUNCATE", "OPTIMIZE", "ATTACH", "DETACH"),
    *("EXCHANGE", "DELETE", "UPDATE", "SYSTEM"),
}


class Front:
    """The handlers of the interface, over one engine and its users."""

    def __init__(self, engine: Engine, accounts: tuple[Account, ...]) -> None:
        self._engine = engine
        self._accounts = accounts
        self._threads = {
            account.name: ThreadPoolExecutor(_QUERIES_AT_ONCE, thread_name_prefix=account.name) for account in accounts
        }

    def application(self) -> web.Application:
        app = web.Application(client_max_size=_FORM_BYTES_MAX)
        app.router.add_get("/ping", _ok)
        app.router.add_get("/replicas_status", _ok)
        app.router.add_route("*", "/", self._handle)
        app.on_cleanup.append(self._close)
        return app

    async def _close(self, _: web.Application) -> None:
        for threads in self._threads.values():
            threads.shutdown()
        self._engine.close()

    async def _handle(self, http: web.Request) -> web.StreamResponse:
        if http.method in ("GET", "HEAD") and not http.query_string:
            return await _ok(http)  # as a server does: somebody looks whether it is there
        query_id = http.query.get("query_id") or str(uuid.uuid4())
        try:
            account = authenticate(self._accounts, http.headers, http.query)
            arguments = [*http.query.items(), *await _form(http)]
            asked = read(arguments, http.headers, query_id)
            _refuse_native_blocks(asked)
            return await self._answered(http, account, asked)
        except ClickHouseError as error:
            if error.status >= 500:
                _log.warning("query %s failed: %s", query_id, error)
            return answer.failure(error, query_id)

    async def _answered(self, http: web.Request, account: Account, asked: Request) -> web.StreamResponse:
        rows = self._engine.new_spool_path()
        try:
            text, insert = await body.read_statement(asked.query, body.decoded(http), rows)
            if account.readonly:
                asked, text = await self._in_thread(account, partial(for_reader, self._engine, asked, text))
            work = Work(self._engine, account, asked, text)
            if insert is not None and not account.readonly:
                return await self._insert(http, work, partial(work.insert, insert, rows))
            statement = checked(text, http.method in ("GET", "HEAD"))
            if statement.is_select:
                return await self._select(http, work, statement)
            if statement.keyword == "INSERT":
                return await self._insert(http, work, partial(work.run, statement))
            counts = await self._in_thread(account, partial(work.run, statement))
            return answer.whole(asked, counts, _output_format(statement, asked))
        finally:
            rows.unlink(missing_ok=True)

    async def _insert(self, http: web.Request, work: Work, run: Callable[[], Answer]) -> web.StreamResponse:
        return answer.whole(work.asked, await self._in_thread(work.account, run), None)

    async def _select(self, http: web.Request, work: Work, statement: sql.Statement) -> web.StreamResponse:
        pipe = self._engine.new_spool_path()
        run, kill = partial(work.run_into, statement, pipe), partial(self._engine.kill, pipe.name)
        result = PipedResult(pipe, run, kill, self._threads[work.account.name])
        try:
            await result.start()
            output_format = statement.format or work.asked.default_format
            return await answer.streamed(http, work.asked, result, output_format, self._engine.spool)
        finally:
            await asyncio.shield(result.close())

    async def _in_thread(self, account: Account, run: Callable[[], T]) -> T:
        """The outcome of `run`; once begun it is finished, whether or not the client waits for it."""
        future = asyncio.get_running_loop().run_in_executor(self._threads[account.name], run)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            raise


async def _ok(_: web.Request) -> web.Response:
    return web.Response(text="Ok.\n")


async def _form(http: web.Request) -> list[tuple[str, str]]:
    """The arguments of a multipart form, which clients use for parameters too long for a URL."""
    if http.content_type != "multipart/form-data":
        return []
    arguments: list[tuple[str, str]] = []
    for name, value in (await http.post()).items():
        if not isinstance(value, str):
            raise refusal(NOT_IMPLEMENTED, f"External data ({name}) is not supported", "NOT_IMPLEMENTED")
        arguments.append((name, value))
    return arguments


def _refuse_native_blocks(asked: Request) -> None:
    if asked.compressed_blocks_in or asked.compressed_blocks_out:
        reason = "compress=1 and decompress=1 are not supported, use Content-Encoding and enable_http_compression=1"
        raise refusal(NOT_IMPLEMENTED, reason, "NOT_IMPLEMENTED")


def _output_format(statement: sql.Statement, asked: Request) -> str | None:
    return None if statement.keyword in _WITHOUT_ROWS else statement.format or asked.default_format
