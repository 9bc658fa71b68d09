"""Renders `benchmarks/RESULTS.md` from `results.json`, whole, by program: no figure in it is written by hand."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import store, targets
from benchmarks.figures import spread
from local.config import REPOSITORY

RESULTS_MD = Path(__file__).with_name("RESULTS.md")
LIMITS_MD = Path(__file__).with_name("limits.md")  # what stands between a missed target and its figure
README = REPOSITORY / "README.md"
Results = list[dict[str, Any]]
INTRODUCTION = """\
# Results

Written by `make bench` from `results.json`; no figure of a table is typed by hand. Each section says on what, with what
and at which commit it was measured (`+`: with changes that were not committed). Ratios hold on other machines;
absolutes are this one's.
"""
TARGET_COLUMNS = ("figure", "target", "measured", "")
BEGIN, END = "<!-- figures of make bench -->\n", "<!-- end of figures -->\n"
WRONGS = ("row_sums_wrong", "windows_wrong", "alerts_wrong", "alerts_repeated")
PEERS = """\
The same job for every system: decode Avro in Confluent framing, price each token class at event time, hourly windows
per department and user, an alert for each threshold of a department's monthly budget, every column of the event landed
in ClickHouse. Six hours of event time; 20 departments, 2 000 users, 100 projects, 12 models, 5 features. Broker and
ClickHouse share the processors with the system; one system at a time, in turn, each on a fresh copy of the topic.
A slow system gets fewer events of the same kind. Events/s: from the first row visible to the last row and window
(Tollbook: from its first priced block, so that no stage has a head start). Beyond the job, Tollbook also keeps day and
month windows per organization, project and model, two rollups, limits, and drops duplicates.
"""


SPEED_COLUMNS = (
    *("system", "events/s", "spread", "Tollbook is", "runs", "events", "totals"),
    *("CPU us/event", "peak MB", "B/event"),
)


def write() -> None:
    """Renders what has been measured so far, and the short form in the README."""
    measured = store.read()
    RESULTS_MD.write_text(render(measured))
    README.write_text(with_figures(README.read_text(), measured))


def with_figures(page: str, measured: Mapping[str, Any]) -> str:
    """The page with the table of targets in its place. ValueError when it has none."""
    return between(page, BEGIN, table(TARGET_COLUMNS, targets.rows(measured)))


def between(page: str, begin: str, text: str) -> str:
    """The page with `text` between the line `begin` and END. ValueError when it has no such place."""
    before, _, rest = page.partition(begin)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"no line {begin.strip()!r} with a line {END.strip()!r} after it")
    return f"{before}{begin}{text}{END}{after}"


def render(measured: Mapping[str, Any]) -> str:
    """The page for the content of `results.json`."""
    sections = [
        section_of(measured[name]) for name, section_of in RENDERERS.items() if measured.get(name, {}).get("results")
    ]
    aimed = f"## Targets\n\n{table(TARGET_COLUMNS, targets.rows(measured))}"
    return "\n".join([INTRODUCTION, aimed, LIMITS_MD.read_text(), *sections])


def section(title: str, content: dict[str, Any], *parts: str) -> str:
    """A section with what it was measured on below its title."""
    head = content["head"]
    packages = ", ".join(f"{name} {version}" for name, version in head["packages"].items())
    given = ", ".join(f"{name} {value}" for name, value in sorted(content["parameters"].items()))
    where = (
        f"{head['cpu']}, {head['cores']} processors, {head['memory_gb']} GB, {head['system']}, "
        f"Python {head['python']}, Kafka {head['kafka']}; {packages}. Commit {head['commit']}, {head['at']}; {given}."
    )
    return "\n".join([f"## {title}\n", f"{where}\n", *parts])


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; numbers with thin thousands."""
    lines = [columns, ["---"] * len(columns), *([_cell(value) for value in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", " ")
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _peers(content: dict[str, Any]) -> str:
    results = content["results"]
    names = list(dict.fromkeys(result["system"] for result in results))
    speed = {name: [r for r in results if r["system"] == name and r["kind"] == "speed"] for name in names}
    survival = {name: [r for r in results if r["system"] == name and r["kind"] == "survival"] for name in names}
    measured = {name: [r for r in runs if "failed" not in r] for name, runs in speed.items()}
    ours = _median(measured.get("tollbook", []), "events_per_s")
    return section(
        "Against its peers",
        content,
        PEERS,
        table(
            SPEED_COLUMNS,
            (_speed_row(speed[name], measured[name], ours) for name in names if speed[name]),
        ),
        "\nCPU microseconds an event (equally CPU seconds per million), by process:\n",
        table(("system", "process", "us/event"), _cpu_rows(measured)),
        "\nAfter `kill -9` in the middle (every worker at once), with one event in a hundred sent twice:\n",
        table(
            ("system", "events", "lost", "doubled", "copies kept", "windows wrong", "alerts wrong", "alerts repeated"),
            (_survival_row(runs[-1]) for runs in survival.values() if runs),
        ),
        "".join(_failures(results)),
    )


def _speed_row(runs: Results, measured: Results, ours: float) -> list[object]:
    named = f"[{runs[0]['title']}]({_link(runs[0]['link'])}) {_versions(runs[0]['versions'])}".strip()
    if not measured:
        return [named, "failed", *[""] * 8]
    rates = [run["events_per_s"] for run in measured]
    return [
        named,
        round(median(rates)),
        f"{spread(rates):.0%}",
        f"{ours / median(rates):.2f}x" if ours else "",
        f"{len(measured)} of {len(runs)}",
        measured[0]["events"],
        "exact" if all(map(_is_exact, measured)) else f"**wrong**: {_wrongs(measured)}",
        round(median(sum(run["cpu_us_per_event"].values()) for run in measured), 1),
        round(median(sum(run["peak_mb"].values()) for run in measured)),
        _median(measured, "bytes_per_event"),
    ]


def _is_exact(run: dict[str, Any]) -> bool:
    return not any(run[name] for name in WRONGS)


def _wrongs(runs: Results) -> str:
    worst = {name: max(run[name] for run in runs) for name in WRONGS}
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in worst.items() if count)


def _cpu_rows(measured: dict[str, Results]) -> Iterable[list[object]]:
    for name, runs in measured.items():
        for process in runs[0]["cpu_us_per_event"] if runs else ():
            yield [name, process, float(median(run["cpu_us_per_event"].get(process, 0.0) for run in runs))]


def _survival_row(run: dict[str, Any]) -> list[object]:
    if "failed" in run:
        return [run["title"], "failed", *[""] * 6]
    copies = f"{run['copies_kept']} of {run['sent_again']}"
    wrongs = [run[name] for name in WRONGS[1:]]
    return [run["title"], run["events"], run["lost"], run["doubled"], copies, *wrongs]


def _failures(results: Results) -> Iterable[str]:
    for result in results:
        if "failed" in result:
            reason = result["failed"].strip().splitlines()
            yield f"\n{result['system']}, {result['kind']} run {result['run']}: {reason[0]} … {reason[-1]}\n"


def _link(link: str) -> str:
    return link if link.startswith("https:") else f"../{link}"


def _versions(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _median(runs: Results, name: str) -> float:
    return float(median(run[name] for run in runs)) if runs else 0.0


LATENCY = """\
A probe is an event of its own user under a budget of one request. Milliseconds from the call that sends it until its
alert is received from the topic, is taken by a mail server and by a webhook on this machine, and until a query returns
its row.
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
    return section("Event to alert, event to row", content, LATENCY, table(columns, rows))


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
        f"With {_cell(keys)} windows open and {_cell(ids)} events rated before; seconds from `kill -9` under traffic "
        "until every partition of the worker moved again, and what it holds then:\n"
    )
    return section("Recovery", content, said, table(("worker", "round", "s", "MB"), rows))


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
        ["decode, check, price, drop duplicates", result["stage_us"]],
        ["price alone", result["price_us"]],
        ["a loop over `genai-prices`", result["loop_us"]],
    ]
    said = (
        f"Microseconds an event, one process, no broker; pricing is {result['times_faster']} times the loop's pace:\n"
    )
    return section("Rating alone", content, said, table(("what", "us/event"), rows))


RENDERERS: dict[str, Callable[[dict[str, Any]], str]] = {
    "peers": _peers,
    "latency": _latency,
    "recovery": _recovery,
    "memory": _memory,
    "idle": _idle,
    "queries": _queries,
    "rating": _rating,
}
