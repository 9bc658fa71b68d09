"""The whole path on real input: events in, rows, windows and the dashboard's dataset out, the same numbers."""

import csv
import json
import re
import secrets
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import Producer

from producers.simulate import Simulation, simulate
from schemas.codec import encode
from schemas.registry import Registry
from schemas.settings import Settings
from schemas.topics import EVENTS
from stream_processors import warehouse
from stream_processors.logs import LogReader
from stream_processors.reference import read_event
from stream_processors.reference_prices import price_pico
from tests.conftest import Environment, RunTollbook

ROOT = Path(__file__).parents[2]
TRACES = sorted((ROOT.parent / "shared" / "data").glob("AzureLLMInferenceTrace_*.csv"))
ORGANIZATIONS = "scope_kind = 'organization' AND window_kind = 'month'"
Totals = tuple[int, int, int, Decimal]


def _ask(settings: Settings, query: str) -> Totals:
    [row] = warehouse.ask(settings, query)
    return row["requests"], row["input_tokens"], row["output_tokens"], row["cost_usd"] or Decimal(0)


def _sums(settings: Settings, table: str, where: str = "1") -> Totals:
    sums = ", ".join(f"sum({name}) AS {name}" for name in ("requests", "input_tokens", "output_tokens", "cost_usd"))
    return _ask(settings, f"SELECT {sums} FROM {table} WHERE {where}")


def _dataset(settings: Settings) -> Totals:
    """What the dashboard asks: the dataset's SQL and metrics as they stand in its file."""
    [path] = (ROOT / "superset" / "assets" / "datasets").rglob("usage.yaml")
    dataset = yaml.safe_load(path.read_text())
    expressions = {metric["metric_name"]: metric["expression"] for metric in dataset["metrics"]}
    names = ("requests", "input_tokens", "output_tokens", "cost_usd")
    metrics = ", ".join(f"{expressions[name]} AS metric_{name}" for name in names)
    sql = dataset["sql"].replace("{zone}", "UTC")
    [row] = warehouse.ask(settings, f"SELECT {metrics} FROM ({sql}) AS dataset")
    requests, input_tokens, output_tokens, cost = (row[f"metric_{name}"] for name in names)
    return int(requests), int(input_tokens), int(output_tokens), Decimal(str(cost or 0))


def _difference(after: Totals, before: Totals) -> Totals:
    return tuple(a - b for a, b in zip(after, before, strict=True))  # type: ignore[return-value]


def _wait(stack: Environment, run_tollbook: RunTollbook) -> None:
    waited = run_tollbook(stack, "wait", "--timeout", "120")
    assert waited.returncode == 0, waited.stdout + waited.stderr


def _everywhere(settings: Settings) -> dict[str, Totals]:
    return {
        "usage": _sums(settings, "usage"),
        "windows": _sums(settings, "windows", ORGANIZATIONS),
        "dataset": _dataset(settings),
    }


def test_azure_traces_are_the_same_numbers_everywhere(
    stack: Environment, settings: Settings, run_tollbook: RunTollbook
) -> None:
    rows = [row for trace in TRACES for row in csv.DictReader(trace.open())]
    expected = (
        len(rows),
        sum(int(row["ContextTokens"]) for row in rows),
        sum(int(row["GeneratedTokens"]) for row in rows),
    )
    assert expected == (28_185, 40_421_844, 4_334_561)
    _wait(stack, run_tollbook)
    before = _everywhere(settings)
    with LogReader(settings.kafka) as reader:
        ends = [reader.bounds(EVENTS, partition)[1] for partition in range(settings.partitions)]
    seed = secrets.randbits(31)  # a ledger that has seen the traces before counts them again under another seed
    replayed = run_tollbook(stack, "replay", *map(str, TRACES), "--seed", str(seed), "--json")
    assert replayed.returncode == 0, replayed.stderr
    assert json.loads(replayed.stdout)["acknowledged"] == len(rows)
    _wait(stack, run_tollbook)
    after = _everywhere(settings)

    prices_pico = list(_priced_again(settings, ends))
    assert len(prices_pico) == len(rows)
    cost = Decimal(sum(prices_pico)).scaleb(-12)
    for place in after:
        assert _difference(after[place], before[place]) == (*expected, cost), place


def _priced_again(settings: Settings, starts: list[int]) -> Iterator[int]:
    """Each event on the topic from `starts` on, in Decimal from genai-prices' own data: nothing of the engine."""
    with LogReader(settings.kafka) as reader, closing(Registry(settings.registry)) as registry:
        for partition, start in enumerate(starts):
            for message in reader.read(EVENTS, partition, start):
                event = read_event(message.value() or b"", registry.schema_text)
                price = price_pico(event)
                assert price is not None, event
                yield price


def test_a_malformed_event_leaves_its_neighbours_alone(
    stack: Environment, settings: Settings, run_tollbook: RunTollbook
) -> None:
    schema_id = Registry(settings.registry).schema_id(EVENTS)
    [batch] = simulate(
        Simulation(secrets.randbits(31), 3, 1_700_000_000_000_000, 1_700_000_100_000_000, duplicates=0.0, late=0.0)
    )
    source = f"neighbours-{secrets.token_hex(4)}"
    good = [encode(event | {"source": source}, "usage_event.v1", schema_id) for event in _avro(batch.events)]
    poison = good[1][:-3]
    producer = Producer({"bootstrap.servers": settings.kafka, "linger.ms": 200})
    for value in (good[0], poison, good[2]):
        producer.produce(EVENTS, value, partition=0)
    assert producer.flush(30) == 0
    _wait(stack, run_tollbook)

    counted = warehouse.ask(settings, f"SELECT src_offset FROM usage WHERE source = '{source}' ORDER BY src_offset")
    [rejected] = warehouse.ask(settings, f"SELECT * FROM rejected WHERE hex(value) = '{poison.hex().upper()}'")
    first, last = (row["src_offset"] for row in counted)
    assert (first + 1, last) == (rejected["src_offset"], rejected["src_offset"] + 1)
    assert rejected["reason"] == "decode"
    assert rejected["detail"]
    listed = run_tollbook(stack, "rejected", "list", "--json")
    assert re.search(r'"reason": ?"decode"', listed.stdout)


def _avro(events: Any) -> list[dict[str, Any]]:
    return [
        {
            name: dict(value) if name.endswith("_parts") or name in ("tags", "units") else value
            for name, value in e.items()
        }
        for e in events.to_pylist()
    ]


def test_prices_are_listed_for_sql(settings: Settings) -> None:
    rows = warehouse.ask(
        settings,
        "SELECT usd_per_million, price_version FROM prices "
        "WHERE provider = 'openai' AND model = 'gpt-4o' AND class = 'output_tokens' AND service_tier = 'default'",
    )
    assert [row["usd_per_million"] for row in rows] == [Decimal(10)]


@pytest.mark.timeout(600)
def test_a_restart_loses_nothing_and_alerts_nothing_again(
    stack: Environment, settings: Settings, run_tollbook: RunTollbook, tmp_path: Path
) -> None:
    budgets = tmp_path / "budgets.toml"
    budgets.write_text(
        '[[budget]]\nid = "restart"\nscope = "department:*"\nperiod = "day"\nunit = "requests"\n'
        "limit = 100\nthresholds = [50, 100]\n"
    )
    assert run_tollbook(stack, "budgets", "apply", str(budgets)).returncode == 0
    sent = run_tollbook(stack, "simulate", "--events", "20000", "--days", "0.5")
    assert sent.returncode == 0, sent.stderr
    _wait(stack, run_tollbook)
    numbers, alerts = _everywhere(settings), _alerts(settings)
    assert alerts

    assert run_tollbook(stack, "down").returncode == 0
    started = run_tollbook(stack, "up", "--detach", "--without", "superset")
    assert started.returncode == 0, started.stdout + started.stderr
    assert _everywhere(settings) == numbers
    assert _alerts(settings) == alerts
    sent = run_tollbook(stack, "simulate", "--events", "20000", "--days", "0.5", "--to", "2026-01-01")
    assert sent.returncode == 0, sent.stderr
    _wait(stack, run_tollbook)

    audited = run_tollbook(stack, "audit", "--json")
    assert audited.returncode == 0, audited.stdout
    assert _everywhere(settings)["usage"][0] > numbers["usage"][0]
    again = _alerts(settings)
    assert len(again) == len(set(again))
    assert set(alerts) <= set(again)
    assert all(start.startswith(("2025-12", "2026-01")) for _, start in set(again) - set(alerts))


def _alerts(settings: Settings) -> list[tuple[str, str]]:
    rows = warehouse.ask(settings, "SELECT alert_id, window_start FROM alert_entries WHERE budget_id = 'restart'")
    return sorted((row["alert_id"], str(row["window_start"])) for row in rows)
