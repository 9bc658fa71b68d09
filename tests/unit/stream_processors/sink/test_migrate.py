"""Migrations are split, ordered and checked before anything is applied; the files themselves can be repeated."""

import re
from pathlib import Path

import pytest

from stream_processors.sink.migrate import (
    FILES,
    Migration,
    MigrationError,
    not_applied,
    read_migrations,
    split_statements,
)


def test_semicolons_in_strings_names_and_comments_do_not_split() -> None:
    text = """
-- one; two
CREATE TABLE a (b String DEFAULT 'x;\\';--y'); /* c; 'd */
SELECT "e;f", `g;h`, 'it''s;'; -- the end;
"""
    assert split_statements(text) == [
        "CREATE TABLE a (b String DEFAULT 'x;\\';--y')",
        """SELECT "e;f", `g;h`, 'it''s;'""",
    ]


def test_nothing_but_comments_is_no_statement() -> None:
    assert split_statements("-- a;\n/* b; */ ;; ") == []


def test_every_statement_of_ours_can_be_repeated() -> None:
    repeatable = re.compile(
        r"CREATE (TABLE|MATERIALIZED VIEW) IF NOT EXISTS |CREATE OR REPLACE VIEW "
        r"|ALTER TABLE \w+ (MODIFY SETTING|ADD (COLUMN|PROJECTION) IF NOT EXISTS|MATERIALIZE PROJECTION)\s"
    )
    statements = [text for one in read_migrations(FILES, "UTC") for text in split_statements(one.text)]
    assert len(statements) > 10
    assert [text for text in statements if not repeatable.match(text)] == []


def test_the_zone_is_put_in_and_belongs_to_the_checksum(tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_text("SELECT '{zone}'")
    [utc], [paris] = read_migrations(tmp_path, "UTC"), read_migrations(tmp_path, "Europe/Paris")
    assert utc.text == "SELECT 'UTC'"
    assert utc.sha256 != paris.sha256


def test_a_number_used_twice_is_named(tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_text("")
    (tmp_path / "0001_b.sql").write_text("")
    with pytest.raises(MigrationError, match="0001_b: its number is also that of 0001_a"):
        read_migrations(tmp_path, "UTC")


ONE, TWO, THREE = (Migration(number, f"000{number}_x", f"SELECT {number}") for number in (1, 2, 3))


def record(migration: Migration) -> dict[int, tuple[str, str]]:
    return {migration.number: (migration.name, migration.sha256)}


def test_what_is_missing_is_applied_in_order() -> None:
    assert not_applied([ONE, TWO, THREE], record(ONE)) == [TWO, THREE]
    assert not_applied([ONE], record(ONE)) == []


@pytest.mark.parametrize(
    ("files", "applied", "message"),
    [
        ([Migration(1, "0001_x", "SELECT 9")], record(ONE), "0001_x: the file or the calendar's zone has changed"),
        ([ONE, TWO], record(TWO), "0001_x: later ones have been applied"),
        ([ONE], record(ONE) | record(TWO), "0002_x: was applied, and there is no such file"),
    ],
)
def test_what_cannot_be_mended_is_refused(
    files: list[Migration], applied: dict[int, tuple[str, str]], message: str
) -> None:
    with pytest.raises(MigrationError, match=message):
        not_applied(files, applied)
