"""The parts of a page of results: sections that say what they were measured on, and tables."""

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

Results = list[dict[str, Any]]
END = "<!-- end of figures -->\n"


def between(page: str, begin: str, text: str) -> str:
    """The page with `text` between the line `begin` and END. ValueError when it has no such place."""
    before, _, rest = page.partition(begin)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"no line {begin.strip()!r} with a line {END.strip()!r} after it")
    return f"{before}{begin}{text}{END}{after}"


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
    lines = [columns, ["---"] * len(columns), *([cell(value) for value in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", " ")
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def median_of(runs: Results, name: str) -> float:
    return float(median(run[name] for run in runs)) if runs else 0.0
