"""What the page says of results that are written out here."""

from typing import Any

import pytest

from benchmarks import store
from benchmarks.report import FLOORS, README, RENDERERS, render, with_figures
from benchmarks.targets import TARGETS

HEAD = {
    "cpu": "a processor", "cores": 2, "memory_gb": 24, "system": "Linux", "python": "3.11", "kafka": "4.1",
    "packages": {"chdb-core": "26"}, "commit": "abc", "at": "2026-01-01T00:00:00+00:00",
}  # fmt: skip


def section(**results: Any) -> dict[str, Any]:
    return {"head": HEAD, "parameters": {"seed": 1}, "results": [results]}


def speed(system: str, run: int, events_per_s: int, windows_wrong: int = 0) -> dict[str, Any]:
    return {
        "kind": "speed", "system": system, "run": run, "title": system, "link": "https://example.org/page",
        "events": 1_000, "events_per_s": events_per_s, "cpu_us_per_event": {"kafka": 1.0, system: 4.0},
        "peak_mb": {"kafka": 100, system: 200}, "bytes_per_event": 48.0,
        "versions": {}, "row_sums_wrong": 0, "windows_wrong": windows_wrong, "alerts_wrong": 0, "alerts_repeated": 0,
    }  # fmt: skip


def peers() -> dict[str, Any]:
    runs = [speed("tollbook", n, pace) for n, pace in enumerate((110_000, 100_000, 120_000))]
    runs += [speed("slow", 0, 11_000), speed("wrong", 0, 55_000, windows_wrong=7)]
    failed = {
        "failed": "RuntimeError: no row\nfor long",
        "kind": "speed",
        "system": "broken",
        "run": 0,
        "title": "broken",
    }
    survived = {"lost": 0, "doubled": 3, "copies_kept": 2, "sent_again": 10}
    return section() | {
        "results": [
            *runs,
            failed | {"link": "https://example.org/page", "versions": {}},
            runs[0] | survived | {"kind": "survival"},
        ]
    }


def row(page: str, system: str) -> list[str]:
    [line] = [line for line in page.splitlines() if line.startswith(f"| [{system}]")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_peers_are_compared_by_their_medians() -> None:
    page = render({"peers": peers()})
    assert row(page, "tollbook")[1:5] == ["110 000", "18%", "1.00x", "3 of 3"]  # (120 - 100) / 110
    assert row(page, "slow")[1:5] == ["11 000", "0%", "10.00x", "1 of 1"]
    assert row(page, "slow")[6:] == ["exact", "5.00", "300", "48.00"]


def test_stages_stand_beside_their_floor() -> None:
    ours = speed("tollbook", 0, 100_000) | {
        "cpu_us_per_event": {"kafka": 2.0, "rating": 5.0, "windows": 3.0, "sink": 2.0, "clickhouse": 8.0}
    }
    floor = speed("reference", 0, 300_000) | {"cpu_us_per_event": {"kafka": 1.0, "reference": 3.0, "clickhouse": 2.5}}
    page = render({"peers": section() | {"results": [ours, floor]}})
    assert "| rating | 5.00 |  | 200 000 |" in page
    assert "| rating, windows and sink | 10.00 | 3.00 | 100 000 |" in page
    assert "| together | 20.00 | 6.50 | 50 000 |" in page


def test_a_wrong_system_is_reported_as_wrong_and_a_failed_one_with_its_reason() -> None:
    page = render({"peers": peers()})
    assert row(page, "wrong")[6] == "**wrong**: 7 windows wrong"
    assert row(page, "broken")[1] == "failed"
    assert "broken, speed run 0: RuntimeError: no row … for long" in page
    assert "| tollbook | 1 000 | 0 | 3 | 2 of 10 | 0 | 0 | 0 |" in page


def test_every_section_is_rendered_with_what_it_was_measured_on() -> None:
    latencies = {f"{what}_p{p}_ms": 1.5 for what in ("alert", "mail", "webhook", "row") for p in (50, 95, 99)}
    measured = {
        "peers": peers(),
        "latency": section(
            rate=1_000,
            rate_reached=990,
            probes=200,
            alerts=200,
            rows=200,
            cpu_percent={"kafka": 10.0, "sink": 5.5},
            **latencies,
        ),
        "guard": section(
            rate=10_000,
            rate_reached=9_990,
            check_p50_us=2.5,
            check_p99_us=3.5,
            staleness_p50_ms=400.0,
            staleness_p99_ms=900.0,
        ),
        "recovery": section(worker="rating", round=0, seconds=7.5, mb=300)
        | {"parameters": {"keys": 1_000_000, "ids": 3_000_000}},
        "memory": section(
            minutes=2.0,
            rate_reached=5_000,
            cpu_us_per_event={"sink": 1.0},
            end_mb={"sink": 200},
            growth={"sink": 0.01},
            changelog_records_per_event=0.1,
            changelog_bytes_per_event=30.5,
        ),
        "idle": section(cpu_percent={"kafka": 2.5}, total_percent=2.5),
        "rerate": section(
            rows=1_000_000,
            entries=999_000,
            rerate_s=30.5,
            wait_s=2.0,
            audit_s=6.5,
            seconds=39.0,
            cpu_us_per_row={"sink": 2.5},
        ),
        "queries": section(rows=10_000_000, chart="Cost by model", p50_ms=10.0, p95_ms=20.0),
        "rating": section(
            price_us=0.1,
            loop_us=20.0,
            times_faster=200,
            stages={stage: {"us": 0.5, "floor_us": 0.25} for stage in FLOORS},
        ),
    }
    assert measured.keys() == RENDERERS.keys()
    page = render(measured)
    assert page.count("Commit abc") == len(measured)
    assert "| sink | 1.00 | 200 | +1.0% |" in page
    assert "| 0.50 | read blocks, write them out as they are | 0.25 |" in page
    assert "| chart | p50 at 10M rows | p95 at 10M rows |" in page
    assert "| Cost by model | 10.00 | 20.00 |" in page
    assert "| 10 000 | 9 990 | 2.50 | 3.50 | 400.00 | 900.00 |" in page
    assert "| 1 000 000 | 999 000 | 30.50 | 2.00 | 6.50 | 39.00 |" in page
    assert "| rating | 0 | 7.50 | 300 |" in page
    assert "| together | 15.50 |" in page
    assert "0.1 records and 30.5 bytes an event" in page


def test_what_was_not_measured_is_left_out() -> None:
    page = render({})
    assert [line for line in page.splitlines() if line.startswith("## ")] == ["## Targets", "## What limits it"]
    assert page.count("not measured") == len(TARGETS)


def test_a_target_is_met_or_missed() -> None:
    measured = {"peers": peers(), "idle": section(total_percent=2.5)}
    rows = {name: rest for name, *rest in (target.row(measured) for target in TARGETS)}
    pace = "end to end, the whole stack on the same processors"
    assert rows[pace] == ["at least 120 000 events/s", "110 000 events/s", "**missed**"]
    assert rows["idle CPU of the stack"] == ["at most 8 % of a core", "2.5 % of a core", "met"]


def test_the_readme_has_the_figures_that_were_measured() -> None:
    page = README.read_text()
    assert with_figures(page, store.read()) == page
    changed = with_figures(page, {"idle": section(total_percent=0.125)})
    assert "| 0.125 % of a core | met |" in changed
    assert with_figures(changed, store.read()) == page
    with pytest.raises(ValueError, match="no line"):
        with_figures("a page", {})
