"""Renders `benchmarks/RESULTS.md` and `limits.md`: no figure of a table is written by hand."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import store, targets
from benchmarks.page import between, cell, section, table
from benchmarks.peers_page import peers
from local.config import REPOSITORY

RESULTS_MD = Path(__file__).with_name("RESULTS.md")
LIMITS_MD = Path(__file__).with_name("limits.md")  # what stands between a missed target and its figure
README = REPOSITORY / "README.md"
INTRODUCTION = """\
# Results

Written by `make bench`: every table from `results.json`, by program; only "What limits it" is somebody's reading of
them and of profiles. Each section says on what, with what
and at which commit it was measured (`+`: with changes that were not committed). Ratios hold on other machines;
absolutes are this one's.
"""
TARGET_COLUMNS = ("figure", "target", "measured", "")
BEGIN = "<!-- figures of make bench -->\n"


def write() -> None:
    """Renders what has been measured so far, and the short form in the README."""
    measured = store.read()
    RESULTS_MD.write_text(render(measured))
    README.write_text(with_figures(README.read_text(), measured))


def with_figures(page: str, measured: Mapping[str, Any]) -> str:
    """The page with the table of targets in its place. ValueError when it has none."""
    return between(page, BEGIN, table(TARGET_COLUMNS, targets.rows(measured)))


def render(measured: Mapping[str, Any]) -> str:
    """The page for the content of `results.json`."""
    sections = [
        section_of(measured[name]) for name, section_of in RENDERERS.items() if measured.get(name, {}).get("results")
    ]
    aimed = f"## Targets\n\n{table(TARGET_COLUMNS, targets.rows(measured))}"
    return "\n".join([INTRODUCTION, aimed, LIMITS_MD.read_text(), *sections])


LATENCY = """\
A probe is an event of its own user under a budget of one request. Milliseconds from the call that sends it until its
alert is received from the topic, is taken by a mail server and by a webhook on this machine, and until a query returns
its row. The first ten are not counted: a fresh stack has connections to make.
"""

BUSY = """\
CPU of each process meanwhile, in percent of one core. What makes the traffic, sends the probes, takes mail and webhooks
and asks for the rows is on the same processors:
"""


def _latency(content: dict[str, Any]) -> str:
    names = [f"{what}_p{percent}_ms" for what in ("alert", "mail", "webhook", "row") for percent in (50, 95, 99)]
    results = sorted(content["results"], key=lambda each: int(each["rate"]))
    rows = [
        [each["rate"], each["rate_reached"], each["probes"], each["alerts"], each["rows"]]
        + [each.get(name, "") for name in names]
        for each in results
    ]
    columns = ("events/s", "reached", "probes", "alerts", "rows", *(name.replace("_", " ") for name in names))
    processes = dict.fromkeys(name for each in results for name in each["cpu_percent"])
    used = [[name, *(float(each["cpu_percent"].get(name, 0)) for each in results)] for name in processes]
    used.append(["together", *(float(sum(each["cpu_percent"].values())) for each in results)])
    shares = table(("process", *(f"at {cell(each['rate'])}/s" for each in results)), used)
    return section("Event to alert, event to row", content, LATENCY, table(columns, rows), f"\n{BUSY}\n{shares}")


def _guard(content: dict[str, Any]) -> str:
    names = ("check_p50_us", "check_p99_us", "staleness_p50_ms", "staleness_p99_ms")
    rows = [[each["rate"], each["rate_reached"], *(float(each[name]) for name in names)] for each in content["results"]]
    said = "A check and its release in one thread, means of a thousand; the age of the answers while events flow:\n"
    columns = ("events/s", "reached", *(name.replace("_", " ") for name in names))
    return section("Guard", content, said, table(columns, rows))


def _idle(content: dict[str, Any]) -> str:
    [result] = content["results"]
    rows = [*result["cpu_percent"].items(), ("together", result["total_percent"])]
    return section(
        "Idle", content, "CPU in percent of one core, while no event comes:\n", table(("process", "%"), rows)
    )


def _memory(content: dict[str, Any]) -> str:
    [result] = content["results"]
    rows = [
        [name, result["cpu_us_per_event"].get(name, 0.0), end, f"{result['growth'].get(name, 0.0):+.1%}"]
        for name, end in result["end_mb"].items()
    ]
    said = (
        f"{result['minutes']} minutes at {result['rate_reached']} events/s; growth from the second tenth to the last:\n"
    )
    logged = (
        f"\nChangelog of the windows: {result['changelog_records_per_event']} records and "
        f"{result['changelog_bytes_per_event']} bytes an event.\n"
    )
    return section("A steady run", content, said, table(("process", "CPU us/event", "MB", "growth"), rows), logged)


def _recovery(content: dict[str, Any]) -> str:
    rows = [[each["worker"], each["round"], float(each["seconds"]), each["mb"]] for each in content["results"]]
    keys, ids = content["parameters"]["keys"], content["parameters"]["ids"]
    said = (
        f"With {cell(keys)} windows open and {cell(ids)} events rated before; seconds from `kill -9` under traffic "
        "until every partition of the worker moved again, and what it holds then:\n"
    )
    return section("Recovery", content, said, table(("worker", "round", "s", "MB"), rows))


def _rerate(content: dict[str, Any]) -> str:
    [result] = content["results"]
    steps = ("rerate_s", "wait_s", "audit_s", "seconds")
    rows = [[result["rows"], result["entries"], *(float(result[name]) for name in steps)]]
    columns = ("rows", "entries", "`rerate` s", "`wait` s", "`audit` s", "together s")
    used = table(("process", "CPU us/row"), result["cpu_us_per_row"].items())
    return section("Re-rating", content, "From the command to a passing audit:\n", table(columns, rows), f"\n{used}")


def _queries(content: dict[str, Any]) -> str:
    sizes = sorted({each["rows"] for each in content["results"]})
    found = {(each["chart"], each["rows"]): each for each in content["results"]}
    charts = list(dict.fromkeys(each["chart"] for each in content["results"]))
    rows = [
        [chart, *(found.get((chart, size), {}).get(name, "") for size in sizes for name in ("p50_ms", "p95_ms"))]
        for chart in charts
    ]
    columns = ["chart", *(f"{name} at {size // 10**6}M rows" for size in sizes for name in ("p50", "p95"))]
    said = "The dashboard's questions over HTTP, its 30 days chosen out of 400, milliseconds:\n"
    return section("Dashboard", content, said, table(columns, rows))


def _rating(content: dict[str, Any]) -> str:
    [result] = content["results"]
    rows = [
        ["price alone", result["price_us"]],
        ["a loop over `genai-prices`", result["loop_us"]],
    ]
    said = (
        f"Microseconds an event, one process, no broker; pricing is {result['times_faster']} times the loop's pace:\n"
    )
    stages = table(("stage", "what it does", "us/event", "its floor", "us/event"), _stage_rows(result["stages"]))
    return section("Rating alone", content, said, table(("what", "us/event"), rows), f"\n{STAGES}\n{stages}")


STAGES = """\
What a stage computes, alone, beside the least that any program in its place has to; of three times the best. Not in it,
for a stage is more than that ("Against its peers" has the whole): Kafka's records; of windows budgets and changelog; of
the sink HTTP, commits and all other tables. What it writes goes to nowhere.
"""
FLOORS = {
    "rating": ("decode, check, price, drop duplicates, write a block", "decode Avro into columns"),
    "windows": ("read a block, add up, write for budgets", "read the block, add up each scope's rows with Arrow"),
    "sink": ("read blocks, join and type them, write them out", "read blocks, write them out as they are"),
}


def _stage_rows(measured: Mapping[str, Mapping[str, float]]) -> list[list[object]]:
    return [
        [stage, does, measured[stage]["us"], least, measured[stage]["floor_us"]]
        for stage, (does, least) in FLOORS.items()
    ]


RENDERERS: dict[str, Callable[[dict[str, Any]], str]] = {
    "peers": peers,
    "latency": _latency,
    "guard": _guard,
    "recovery": _recovery,
    "memory": _memory,
    "idle": _idle,
    "rerate": _rerate,
    "queries": _queries,
    "rating": _rating,
}
