"""The runner against the real engine: once, again, after a crash half-way, and with a file that was changed."""

from pathlib import Path

import pytest

from schemas.settings import Settings
from stream_processors.sink.migrate import FILES, MigrationError, migrate
from stream_processors.sink.warehouse import RefusedError, Warehouse

from .conftest import Ledger


@pytest.fixture
def other(ledger: Ledger, request: pytest.FixtureRequest) -> Settings:
    """The settings of a database that does not exist yet."""
    return ledger.settings.model_copy(update={"clickhouse_database": f"other_{abs(hash(request.node.name))}"})


def test_ours_apply_once(other: Settings) -> None:
    assert migrate(other) == sorted(path.stem for path in FILES.glob("*.sql"))
    assert migrate(other) == []


def test_a_file_that_failed_half_way_is_applied_again(other: Settings, tmp_path: Path) -> None:
    file = tmp_path / "0001_a.sql"
    file.write_text("CREATE TABLE IF NOT EXISTS a (x Int8) ENGINE = Log; CREATE TABLE b (x Nonsense) ENGINE = Log;")
    with pytest.raises(RefusedError, match="Nonsense"):
        migrate(other, tmp_path)
    file.write_text(file.read_text().replace("Nonsense", "Int8"))
    assert migrate(other, tmp_path) == ["0001_a"]
    assert Warehouse(other).run("SELECT count() FROM b") == b"0\n"


def test_a_changed_file_is_refused_by_name(other: Settings, tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_text("CREATE TABLE IF NOT EXISTS a (x Int8) ENGINE = Log")
    migrate(other, tmp_path)
    (tmp_path / "0001_a.sql").write_text("CREATE TABLE IF NOT EXISTS a (x Int16) ENGINE = Log")
    with pytest.raises(MigrationError, match="0001_a"):
        migrate(other, tmp_path)
