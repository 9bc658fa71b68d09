"""Runs one request's statement in a thread of its own: what goes around the engine's call, and back."""

from dataclasses import dataclass, replace
from pathlib import Path

from local.clickhouse import readonly, sql
from local.clickhouse.auth import Account
from local.clickhouse.engine import Answer, Engine, quoted
from local.clickhouse.errors import INTO_OUTFILE_NOT_ALLOWED, READONLY, refusal
from local.clickhouse.request import Request

_LOOKING = {"SELECT", "SHOW", "DESCRIBE", "DESC", "EXISTS", "EXPLAIN", "USE", "SET", "CHECK"}


@dataclass(frozen=True, slots=True)
class Work:
    """A statement with everything that decides how it runs; its methods block, each a whole request's engine work."""

    engine: Engine
    account: Account
    asked: Request
    text: bytes

    def run(self, statement: sql.Statement) -> Answer:
        """Any statement whose result is small or none."""
        default_format = statement.format or self.asked.default_format
        keep = statement.keyword in ("SET", "USE")
        return self._in_session(_text(statement.head + statement.tail), default_format, keep)

    def run_into(self, statement: sql.Statement, pipe: Path) -> Answer:
        """A SELECT whose result goes into `pipe`."""
        outfile = f"\nINTO OUTFILE {quoted(str(pipe))} APPEND\n"
        tail = _text(statement.tail) or f"FORMAT {self.asked.default_format}"
        return self._in_session(_text(statement.head) + outfile + tail, "TabSeparated")

    def insert(self, insert: sql.InsertWithData, rows: Path) -> Answer:
        """An INSERT whose data stands in the file `rows`: one call, so that one batch is one block."""
        target, settings = _text(insert.target), _text(insert.settings)
        text = f"{target}\nFROM INFILE {quoted(str(rows))}\n{settings}\nFORMAT {insert.format}"
        return self._in_session(text, "TabSeparated")

    def _in_session(self, text: str, output_format: str, keep: bool = False) -> Answer:
        asked, is_reader = self.asked, self.account.readonly
        session_id = "" if is_reader else asked.session_id  # a reader's session has no state to keep
        lease = self.engine.leased(self.account.name, session_id, asked.session_timeout_s, asked.session_must_exist)
        with lease as connection, connection.request(asked.database, asked.settings, is_reader):
            answer = connection.query(text, output_format, asked.params)
            if keep:
                connection.keep(text)
            return answer


def _text(statement: bytes) -> str:
    return statement.decode("utf-8", errors="surrogateescape")


def for_reader(engine: Engine, asked: Request, text: bytes) -> tuple[Request, bytes]:
    """A reader's request as it may run: judged, in the engine's own wording, away from the database of files.

    Raises ClickHouseError (497) for what a reader may not do, (62) for what is not one statement.
    """
    readonly.check_settings(asked.database, asked.settings)
    canonical = engine.canonical(_text(text))
    readonly.check_statement(canonical, engine.table_functions)
    return replace(asked, database=asked.database or "information_schema"), canonical


def checked(text: bytes, over_get: bool) -> sql.Statement:
    """The statement, if a server would take it over HTTP.

    Raises ClickHouseError: 62 for none or several, 294 for INTO OUTFILE, 164 for a change asked for by GET.
    """
    statement = sql.parse(text)
    if statement.keyword != "INSERT" and sql.writes_outfile(text):
        raise refusal(INTO_OUTFILE_NOT_ALLOWED, "INTO OUTFILE is not allowed", "INTO_OUTFILE_NOT_ALLOWED")
    if over_get and statement.keyword not in _LOOKING:
        reason = "Cannot execute query in readonly mode. For queries over HTTP, method GET implies readonly"
        raise refusal(READONLY, reason, "READONLY")
    return statement
