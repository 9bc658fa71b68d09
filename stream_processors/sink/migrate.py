"""Brings the tables of ClickHouse up to date: `python -m stream_processors.sink.migrate`.

Applies `clickhouse/migrations/NNNN_name.sql` in the order of their numbers and records each in table `migrations`.
ClickHouse has no transaction around such statements, so every statement of a file must be repeatable (IF NOT
EXISTS, OR REPLACE): a run that ended half-way in a file is mended by the next. `{zone}` stands for the calendar's
zone. A file that has been applied must not change any more. Exit 0 done, 1 refused, 3 ClickHouse is away.
"""

import hashlib
import itertools
import logging
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from schemas.calendar import load_calendar
from schemas.settings import Settings
from stream_processors.core.price_book import PriceBook
from stream_processors.core.price_list import price_rows
from stream_processors.sink.warehouse import AwayError, RefusedError, Warehouse

FILES = Path(__file__).parents[2] / "clickhouse" / "migrations"
DEADLINE_S = 60.0
RETRY_S = 0.25
_NAME = re.compile(r"(\d{4})_(\w+)\.sql")
_TOKEN = re.compile(
    r"""'(?:\\.|[^'\\])*' | "(?:\\.|[^"\\])*" | `(?:\\.|[^`\\])*` | --[^\n]* | /\*.*?\*/ | ;""", re.VERBOSE | re.DOTALL
)
_LOG = """
CREATE TABLE IF NOT EXISTS migrations
(
    number Int32,
    name String,
    sha256 String,
    applied_at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = ReplacingMergeTree
ORDER BY number
"""
log = logging.getLogger("tollbook.migrate")


class MigrationError(Exception):
    """The files and the database do not fit; the message names the file."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file, its zone put in."""

    number: int
    name: str
    text: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def migrate(settings: Settings, files: Path = FILES, deadline_s: float = DEADLINE_S) -> list[str]:
    """Applies what is missing; the names of what was applied.

    Raises MigrationError (a changed or unordered file), RefusedError (a statement that ClickHouse does not take),
    AwayError when ClickHouse has not answered for `deadline_s` seconds.
    """
    migrations = read_migrations(files, load_calendar(settings.calendar).zone)
    warehouse = Warehouse(settings)
    wait_for(warehouse, deadline_s)
    warehouse.run(f"CREATE DATABASE IF NOT EXISTS `{settings.clickhouse_database}`", database="default")
    warehouse.run(_LOG)
    missing = not_applied(migrations, _applied(warehouse))
    for migration in missing:
        for statement in split_statements(migration.text):
            warehouse.run(statement)
        warehouse.insert("migrations", _record(migration))
        log.info("migration %s: applied", migration.name)
    return [migration.name for migration in missing]


def read_migrations(files: Path, zone: str) -> list[Migration]:
    """The files by number; MigrationError for a wrong name or a number used twice."""
    found = []
    for path in sorted(files.glob("*.sql")):
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise MigrationError(f"{path.name}: a migration is called NNNN_name.sql")
        found.append(Migration(int(match[1]), path.stem, path.read_text().replace("{zone}", zone)))
    for before, after in itertools.pairwise(found):
        if before.number == after.number:
            raise MigrationError(f"{after.name}: its number is also that of {before.name}")
    return found


def not_applied(migrations: list[Migration], applied: dict[int, tuple[str, str]]) -> list[Migration]:
    """Those without a record; `applied` holds name and sha256 by number. MigrationError for what cannot be mended."""
    for number, (name, _) in applied.items():
        if number not in {migration.number for migration in migrations}:
            raise MigrationError(f"{name}: was applied, and there is no such file: an older version of the ledger?")
    for migration in migrations:
        record = applied.get(migration.number)
        if record and record != (migration.name, migration.sha256):
            raise MigrationError(
                f"{migration.name}: the file or the calendar's zone has changed since it was applied; "
                "put the change into a migration of its own"
            )
        if record is None and migration.number < max(applied, default=0):
            raise MigrationError(f"{migration.name}: later ones have been applied; give it the next number")
    return [migration for migration in migrations if migration.number not in applied]


def split_statements(text: str) -> list[str]:
    """The statements between semicolons that are not in a string, a quoted name or a comment; comments removed."""
    statements, current, at = [], "", 0
    for token in _TOKEN.finditer(text):
        current += text[at : token.start()]
        at = token.end()
        if token[0] == ";":
            statements.append(current)
            current = ""
        elif not token[0].startswith(("--", "/*")):
            current += token[0]
    statements.append(current + text[at:])
    return [statement.strip() for statement in statements if statement.strip()]


def wait_for(warehouse: Warehouse, deadline_s: float) -> None:
    """Returns when ClickHouse answers; raises AwayError when it has not within `deadline_s` seconds."""
    deadline = time.monotonic() + deadline_s
    while True:
        try:
            warehouse.run("SELECT 1", database="default")
        except AwayError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(RETRY_S)
        else:
            return


def _applied(warehouse: Warehouse) -> dict[int, tuple[str, str]]:
    rows = warehouse.select("SELECT number, name, sha256 FROM migrations FINAL ORDER BY number").to_pylist()
    return {row["number"]: (row["name"], row["sha256"]) for row in rows}


def _record(migration: Migration) -> pa.RecordBatch:
    row = {"number": migration.number, "name": migration.name, "sha256": migration.sha256}
    return pa.RecordBatch.from_pylist([row])


def list_prices(settings: Settings) -> int:
    """Puts the price book that rating uses into table `prices`, once a version; how many prices were new."""
    warehouse, book = Warehouse(settings), PriceBook.compiled()
    known = warehouse.select(
        "SELECT count() AS n FROM prices WHERE price_version = {version:String}", version=book.version
    )
    if known.column("n")[0].as_py():
        return 0
    rows = price_rows(book)
    warehouse.insert("prices", rows)
    return int(rows.num_rows)


def main() -> int:
    """The command; failures are one line on standard error."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        applied = migrate(Settings())
        listed = list_prices(Settings())
    except (MigrationError, RefusedError) as error:
        log.error("migrations: %s", error)
        return 1
    except AwayError as error:
        log.error("migrations: %s", error)
        return 3
    log.info("migrations: %s", f"{len(applied)} applied" if applied else "nothing to do")
    log.info("prices: %s", f"{listed} new" if listed else "nothing to do")
    return 0


if __name__ == "__main__":
    sys.exit(main())
