"""What the console takes and refuses, and who may ask, without a broker."""

import stat
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp.test_utils import TestClient, TestServer

from schemas.settings import Settings
from stream_processors.console.__main__ import application
from stream_processors.console.people import person_of, token_of
from stream_processors.console.requests import InvalidRequestError, parse_tables
from stream_processors.core.budget_forms import build_budgets, parse_budgets, to_table

BUDGET: dict[str, Any] = {"id": "b", "scope": "user:*", "period": "month", "unit": "cost", "limit": "1.50"}


def faults(body: Any, budget_id: str | None = None) -> list[dict[str, Any]]:
    with pytest.raises(InvalidRequestError) as refused:
        parse_tables(body if isinstance(body, bytes) else orjson.dumps(body), budget_id)
    return refused.value.faults


def test_what_is_sent_is_the_budget_that_the_same_file_holds() -> None:
    text = '[[budget]]\nid = "b"\nscope = "user:*"\nperiod = "month"\nunit = "cost"\nlimit = "1.50"\n'
    from_file = parse_budgets(text, "budgets.toml")
    assert build_budgets(parse_tables(orjson.dumps([BUDGET]), None)) == from_file
    assert build_budgets(parse_tables(orjson.dumps(BUDGET), None)) == from_file
    without_id = {name: value for name, value in BUDGET.items() if name != "id"}
    assert build_budgets(parse_tables(orjson.dumps(without_id), "b")) == from_file
    assert build_budgets(parse_tables(orjson.dumps(to_table(from_file[0])), "b")) == from_file


def test_every_fault_is_told_with_its_budget_field_and_value() -> None:
    told = faults([BUDGET, BUDGET | {"limit": 1.5, "periods": "day"}])
    assert [(fault["budget"], fault["field"], fault["value"]) for fault in told] == [
        (1, "periods", "day"),
        (1, "limit", 1.5),
        (1, "id", "b"),
    ]
    assert told[1]["rule"].startswith("must be positive")


@pytest.mark.parametrize("body", [b"", b"{", b"null", b"7", b"[1]", b'"b"'])
def test_what_is_no_budget_is_refused(body: bytes) -> None:
    assert [fault["field"] for fault in faults(body)] == ["body"]


def test_the_path_names_the_budget() -> None:
    assert [fault["field"] for fault in faults(BUDGET, "other")] == ["id"]
    assert [fault["field"] for fault in faults([BUDGET], "b")] == ["body"]


def test_each_person_has_a_token_and_loses_the_right_with_it(tmp_path: Path) -> None:
    mia, tom = token_of(tmp_path, "mia"), token_of(tmp_path, "tom@example.com")
    assert token_of(tmp_path, "mia") == mia != tom
    assert stat.S_IMODE((tmp_path / "mia.token").stat().st_mode) == 0o600
    assert (person_of(tmp_path, mia), person_of(tmp_path, tom)) == ("mia", "tom@example.com")
    (tmp_path / "mia.token").unlink()
    assert person_of(tmp_path, mia) is None
    (tmp_path / "empty.token").write_text("\n")
    assert [person_of(tmp_path, given) for given in ("", "wrong", "\udcff")] == [None, None, None]


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "../mia", "a b", "x" * 65, "mia\n"])
def test_a_name_is_no_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="name = "):
        token_of(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


async def test_without_a_person_s_token_nothing_is_told(tmp_path: Path) -> None:
    token = token_of(tmp_path, "mia")
    async with TestClient(TestServer(application(Settings(), tmp_path))) as client:
        assert (await client.get("/health")).status == 200
        for header in ("", "Bearer", "Bearer wrong", token, f"Basic {token}"):
            for path in ("/v1/budgets", "/v1/budgets/b", "/v1/nowhere"):
                assert (await client.get(path, headers={"Authorization": header})).status == 401
            assert (await client.post("/v1/topups", json={}, headers={"Authorization": header})).status == 401


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", "/v1/topups", {"budget": "b"}, "amount"),
        ("POST", "/v1/topups", {"budget": "b", "amount": 1.5}, "amount.str"),
        ("POST", "/v1/topups", {"budget": "b", "amount": "1", "author": "tom"}, "author"),
        ("POST", "/v1/resume", {}, "budget"),
        ("POST", "/v1/resume", [], ""),
        ("PUT", "/v1/budgets?prune=yes", [BUDGET], "prune"),
        ("PUT", "/v1/budgets/b?prune=true", BUDGET, "prune"),
    ],
)
async def test_a_wrong_request_names_its_field(tmp_path: Path, method: str, path: str, body: Any, field: str) -> None:
    headers = {"Authorization": f"Bearer {token_of(tmp_path, 'mia')}"}
    async with TestClient(TestServer(application(Settings(), tmp_path))) as client:
        answer = await client.request(method, path, json=body, headers=headers)
        told = await answer.json()
        assert answer.status == 400
        assert told["faults"][0]["field"] == field
        assert told["faults"][0]["rule"]
