"""A result on its way: the engine writes it into a pipe, the event loop reads it, nothing else holds it."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from pathlib import Path

from local.clickhouse.engine import Answer

_READ_BYTES = 1 << 18


class PipedResult:
    """The output of one query that writes to the named pipe `path`.

    `run` blocks until the query is over and gives its counts; `kill` cancels it from another thread.
    """

    def __init__(self, path: Path, run: Callable[[], Answer], kill: Callable[[], None], executor: Executor) -> None:
        self._path, self._run, self._kill, self._executor = path, run, kill, executor
        self._reader = asyncio.StreamReader(limit=_READ_BYTES)
        self._answer: asyncio.Future[Answer] | None = None
        self._transport: asyncio.ReadTransport | None = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        os.mkfifo(self._path, 0o600)
        pipe = os.fdopen(os.open(self._path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0)
        writer = os.open(self._path, os.O_WRONLY)  # keeps the pipe open until the query is over, output or not
        protocol = asyncio.StreamReaderProtocol(self._reader)
        self._transport, _ = await loop.connect_read_pipe(lambda: protocol, pipe)
        self._answer = loop.run_in_executor(self._executor, self._run)
        self._answer.add_done_callback(lambda _: os.close(writer))

    async def chunks(self) -> AsyncIterator[bytes]:
        """The output as it comes; ends when the query is over, however it ended."""
        while chunk := await self._reader.read(_READ_BYTES):
            yield chunk

    async def answer(self) -> Answer:
        """The query's counts, after the last chunk. Raises ClickHouseError when the query failed."""
        assert self._answer is not None, "start comes first"
        return await self._answer

    @property
    def failed(self) -> bool:
        """Whether the query is over and gave an error."""
        return self._answer is not None and self._answer.done() and self._answer.exception() is not None

    async def close(self) -> None:
        """Ends the query if it still runs, and removes the pipe. Kills until it is dead: it may start late."""
        if self._answer is not None and not self._answer.done():
            drain = asyncio.ensure_future(self._drain())
            while not self._answer.done():
                await asyncio.get_running_loop().run_in_executor(None, self._kill)
                await asyncio.wait([self._answer], timeout=0.1)
            drain.cancel()
        if self._answer is not None:
            self._answer.exception()  # whoever asked for the answer has got it; nobody is left to tell
        if self._transport is not None:
            self._transport.close()
        self._path.unlink(missing_ok=True)

    async def _drain(self) -> None:
        while await self._reader.read(_READ_BYTES):
            pass
