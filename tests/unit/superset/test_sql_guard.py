"""What a dashboard's SQL may call. The script is loaded by path: `superset/` is no package of ours."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

SUPERSET = Path(__file__).parents[3] / "superset"


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sql_guard", SUPERSET / "sql_guard.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


guard = _load()


@pytest.mark.parametrize("path", sorted((SUPERSET / "assets" / "datasets").rglob("*.yaml")), ids=lambda path: path.stem)
def test_our_own_queries_pass(path: Path) -> None:
    asset = yaml.safe_load(path.read_text())
    for metric in asset["metrics"]:
        assert guard.refusal(f"SELECT {metric['expression']} FROM ({asset['sql']}) AS virtual_table") is None


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT file('/etc/passwd')",
        "SELECT FILE ('/etc/passwd')",
        "SELECT `file`('/etc/passwd')",
        "SELECT \"file\"('/etc/passwd')",
        "SELECT file/**/('/etc/passwd')",
        "SELECT 1 -- ' \n, file('/etc/passwd') --'",
        "SELECT '\\\\', file('/etc/passwd')",
        "SELECT $$'$$, file('/etc/passwd'), $$'$$",
        "SELECT \u2018'\u2019, file('/etc/passwd'), \u2018'\u2019",
        "SELECT * FROM url('http://127.0.0.1', CSV)",
        "SELECT * FROM remote('elsewhere', system.one)",
        "SELECT * FROM executable('id', CSV)",
        "SELECT dictGet('d', 'a', 1)",
        "SELECT 1 INTO OUTFILE 'rows.csv'",
        "SELECT 1 SETTINGS readonly = 0",
        "SELECT {x:String}",
        "INSERT INTO usage VALUES (1)",
        "DROP TABLE usage",
        "",
    ],
)
def test_what_reaches_out_is_refused(sql: str) -> None:
    assert guard.refusal(sql)


@given(st.text())
def test_text_in_quotes_is_only_text(value: str) -> None:
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    assert guard.refusal(f"SELECT count() FROM usage WHERE department = '{quoted}'") is None


@given(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True))
def test_a_call_passes_only_when_its_name_is_on_the_list(name: str) -> None:
    known = name.lower() in guard.FUNCTIONS | guard.SYNTAX
    assert (guard.refusal(f"SELECT {name}(1)") is None) == known
