"""The section of RESULTS.md that compares the systems."""

from collections.abc import Iterable
from statistics import median
from typing import Any

from benchmarks.figures import WRONGS, is_exact, spread
from benchmarks.page import Results, median_of, section, table
from benchmarks.systems import TOLLBOOK

REFERENCE = "reference"  # the peer that is the floor
PEERS = """\
The same job for every system: decode Avro in Confluent framing, price each token class at event time, hourly windows
per department and user, an alert for each threshold of a department's monthly budget, every column of the event landed
in ClickHouse. Six hours of event time; 20 departments, 2 000 users, 100 projects, 12 models, 5 features. Broker and
ClickHouse share the processors with the system; one system at a time, in turn, each on a fresh copy of the topic.
A slow system gets fewer events of the same kind. A system (of Tollbook rating, its first stage) starts when all else
is ready. Events/s: from the first row visible to the last row and window (Tollbook: from its first priced block, so
that no stage has a head start). Beyond the job, Tollbook also keeps day and
month windows per organization, project and model, two rollups, limits, and drops duplicates.
"""
STAGES = """
What a stage of ours costs, and its floor: the hardware reference decodes, prices, sums and inserts the same events
once, in one process, with no state to save, no block to append and read back, no rollup, and nothing proven. The
floors of single stages are below, under "Rating alone".
"""
SPEED_COLUMNS = (
    *("system", "events/s", "spread", "Tollbook is", "runs", "events", "totals"),
    *("CPU us/event", "peak MB", "B/event"),
)


def peers(content: dict[str, Any]) -> str:
    """Speeds, costs, survival and failures, of the section of results.json."""
    results = content["results"]
    names = list(dict.fromkeys(result["system"] for result in results))
    speed = {name: [r for r in results if r["system"] == name and r["kind"] == "speed"] for name in names}
    survival = {name: [r for r in results if r["system"] == name and r["kind"] == "survival"] for name in names}
    measured = {name: [r for r in runs if "failed" not in r] for name, runs in speed.items()}
    ours = median_of(measured.get("tollbook", []), "events_per_s")
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
        STAGES,
        table(("stage", "us/event", "floor, us/event", "events/s of one core"), _stage_rows(measured)),
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
        "exact" if all(map(is_exact, measured)) else f"**wrong**: {_wrongs(measured)}",
        round(median(sum(run["cpu_us_per_event"].values()) for run in measured), 1),
        round(median(sum(run["peak_mb"].values()) for run in measured)),
        median_of(measured, "bytes_per_event"),
    ]


def _wrongs(runs: Results) -> str:
    worst = {name: max(run[name] for run in runs) for name in WRONGS}
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in worst.items() if count)


def _cpu_rows(measured: dict[str, Results]) -> Iterable[list[object]]:
    for name, runs in measured.items():
        for process in runs[0]["cpu_us_per_event"] if runs else ():
            yield [name, process, float(median(run["cpu_us_per_event"].get(process, 0.0) for run in runs))]


def _stage_rows(measured: dict[str, Results]) -> Iterable[list[object]]:
    """Ours beside the reference's; nothing until both have run."""
    ours, floor = (measured.get(name, []) for name in (TOLLBOOK, REFERENCE))
    if not ours or not floor:
        return
    for stage, processes, floor_processes in (
        ("broker", ("kafka",), ("kafka",)),
        ("rating", ("rating",), ()),
        ("windows", ("windows",), ()),
        ("sink", ("sink",), ()),
        ("rating, windows and sink", ("rating", "windows", "sink"), (REFERENCE,)),
        ("ClickHouse", ("clickhouse",), ("clickhouse",)),
        ("together", ("kafka", "rating", "windows", "sink", "clickhouse"), ("kafka", REFERENCE, "clickhouse")),
    ):
        spent = _cpu_us(ours, processes)
        least = _cpu_us(floor, floor_processes) if floor_processes else ""
        yield [stage, spent, least, round(1e6 / spent) if spent else ""]


def _cpu_us(runs: Results, processes: Iterable[str]) -> float:
    return float(median(sum(run["cpu_us_per_event"].get(each, 0.0) for each in processes) for run in runs))


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
