"""The engine in this process: connections, sessions, and one request's settings that never outlive it."""

import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import chdb

from local.clickhouse.errors import (
    BAD_ARGUMENTS,
    SESSION_IS_LOCKED,
    SESSION_NOT_FOUND,
    from_engine,
    refusal,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a statement gave: its output (empty when it went to a pipe) and its counts."""

    output: bytes
    read_rows: int
    read_bytes: int
    written_rows: int
    written_bytes: int
    elapsed_ns: int


class Connection:
    """A connection of the engine with a session's own `SET` and `USE` statements, and nothing of single requests."""

    def __init__(self, path: Path) -> None:
        self._engine = chdb.connect(str(path))
        self._kept: list[str] = []

    def query(self, sql: str, output_format: str = "TabSeparated", params: Mapping[str, str] | None = None) -> Answer:
        """Runs one statement (bytes beyond UTF-8 as surrogates). Raises ClickHouseError with the engine's code."""
        started_ns = time.monotonic_ns()
        try:
            encoded: Any = sql.encode(errors="surrogateescape")  # the engine takes bytes, whatever its annotation says
            result = self._engine.query(encoded, output_format, params=dict(params or {}))
        except RuntimeError as error:
            raise from_engine(error) from error
        return _answer(result, time.monotonic_ns() - started_ns)

    def keep(self, sql: str) -> None:
        """Remembers a `SET` or `USE` that has run, so that it outlives requests with settings of their own."""
        self._kept = [*(one for one in self._kept if one != sql), sql]

    @contextmanager
    def request(self, database: str, settings: Mapping[str, str], readonly: bool) -> Iterator[None]:
        """One request's database and settings: applied before, and taken back to what the session itself has set."""
        try:
            if database:
                self.query(f"USE {quoted_name(database)}")
            self._set({name: quoted(value) for name, value in settings.items()})
            if readonly:
                self.query("SET readonly = 1")
            yield
        finally:
            if not readonly:  # a reader's connection ends with its request
                self._set(dict.fromkeys(settings, "DEFAULT"))
                if database:
                    self.query("USE default")
                if database or settings:
                    self._restore()

    def _set(self, literals: Mapping[str, str]) -> None:
        if literals:
            self.query("SET " + ", ".join(f"{name} = {value}" for name, value in literals.items()))

    def _restore(self) -> None:
        for statement in self._kept:
            self.query(statement)

    def close(self) -> None:
        self._engine.close()


def _answer(result: Any, elapsed_ns: int) -> Answer:
    return Answer(
        output=bytes(result.bytes() or b""),
        read_rows=result.rows_read(),
        read_bytes=result.bytes_read(),
        written_rows=result.rows_written(),
        written_bytes=result.bytes_written(),
        elapsed_ns=elapsed_ns,
    )


def quoted(value: str) -> str:
    """A string literal."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def quoted_name(name: str) -> str:
    """An identifier, whatever is in it."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


@dataclass(slots=True)
class _Session:
    connection: Connection
    deadline: float
    timeout_s: int
    busy: bool = True


@dataclass(slots=True)
class Sessions:
    """Named sessions: one connection each, one request at a time, closed when unused for their time-out.

    `clock` gives monotonic seconds.
    """

    connect: Callable[[], Connection]
    clock: Callable[[], float] = time.monotonic
    _by_key: dict[tuple[str, str], _Session] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def acquire(self, user: str, session_id: str, timeout_s: int, must_exist: bool) -> Connection:
        """Raises ClickHouseError: 373 when another request holds the session, 372 when it must exist and does not."""
        with self._lock:
            self._expire()
            session = self._by_key.get((user, session_id))
            if session is None:
                if must_exist:
                    raise refusal(SESSION_NOT_FOUND, f"Session {session_id} not found", "SESSION_NOT_FOUND")
                session = _Session(self.connect(), 0.0, timeout_s)
                self._by_key[user, session_id] = session
            elif session.busy:
                reason = f"Session {session_id} is locked by a concurrent client"
                raise refusal(SESSION_IS_LOCKED, reason, "SESSION_IS_LOCKED")
            session.busy, session.timeout_s = True, timeout_s
            return session.connection

    def release(self, user: str, session_id: str) -> None:
        with self._lock:
            session = self._by_key[user, session_id]
            session.busy, session.deadline = False, self.clock() + session.timeout_s
            self._expire()

    def close(self) -> None:
        with self._lock:
            for session in self._by_key.values():
                session.connection.close()
            self._by_key.clear()

    def _expire(self) -> None:
        now = self.clock()
        for key in [key for key, one in self._by_key.items() if not one.busy and one.deadline < now]:
            self._by_key.pop(key).connection.close()


class Engine:
    """The engine on one directory: `data/` is the engine's, `spool/` holds bodies and pipes of running requests."""

    def __init__(self, path: Path) -> None:
        """Raises ClickHouseError (36) when another process has the directory."""
        path = path.resolve()  # the engine reads relative names of files from elsewhere
        self._data, self.spool = path / "data", path / "spool"
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            self._anchor = Connection(self._data)  # the engine lives as long as one connection does
        except RuntimeError as error:
            reason = f"{self._data} is open in another process, or is not a directory of the engine: {error}"
            raise refusal(BAD_ARGUMENTS, reason, "BAD_ARGUMENTS") from error
        shutil.rmtree(self.spool, ignore_errors=True)  # what a killed process left, now that it is ours
        self.spool.mkdir(mode=0o700)
        self.sessions = Sessions(self.connect)

    def connect(self) -> Connection:
        """A connection of its own settings and temporary tables; a third of a millisecond."""
        return Connection(self._data)

    @contextmanager
    def leased(self, user: str, session_id: str, timeout_s: int, must_exist: bool) -> Iterator[Connection]:
        """The session's connection, or one for this request alone when it names no session."""
        if session_id:
            connection = self.sessions.acquire(user, session_id, timeout_s, must_exist)
            try:
                yield connection
            finally:
                self.sessions.release(user, session_id)
        else:
            connection = self.connect()
            try:
                yield connection
            finally:
                connection.close()

    def new_spool_path(self) -> Path:
        return self.spool / uuid.uuid4().hex

    def canonical(self, statement: str) -> bytes:
        """The one statement as the engine's parser prints it. Raises ClickHouseError (62) for none or several."""
        connection = self.connect()
        try:
            return connection.query(f"SELECT formatQuerySingleLine({quoted(statement)})", "TSVRaw").output
        finally:
            connection.close()

    @cached_property
    def table_functions(self) -> frozenset[str]:
        """The names of all table functions, in lower case."""
        return frozenset(self._anchor.query("SELECT lower(name) FROM system.table_functions").output.decode().split())

    def kill(self, marker: str) -> None:
        """Cancels the queries whose text contains `marker`."""
        connection = self.connect()
        try:
            parts = f"{quoted(marker[:1])}, {quoted(marker[1:])}"  # so that this query does not find itself
            connection.query(f"KILL QUERY WHERE position(query, concat({parts})) > 0")
        finally:
            connection.close()

    def close(self) -> None:
        self.sessions.close()
        self._anchor.close()
