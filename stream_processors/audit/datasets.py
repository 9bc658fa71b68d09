"""The dashboard's datasets: what their SQL and metrics say, against the rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml
from clickhouse_connect.driver.exceptions import DatabaseError

from schemas.arrow import MEASURES
from stream_processors.audit.compare import SUMS, amount_of, amount_text, parse_amount
from stream_processors.audit.model import Check, Difference, Value
from stream_processors.audit.queries import Ledger

ASSETS = Path(__file__).resolve().parents[2] / "superset" / "assets" / "datasets"
#: Metrics that are plain sums of usage, and the unit in which they are one.
UNITS = {"cost_usd": "cost", "cost_usd_exact": "cost", "tokens": "tokens"} | {name: name for name in MEASURES}

#: What the rows say: by organization and department as the dashboard names it, `compare.SUMS`.
Totals = Mapping[tuple[str, str], Sequence[int | Decimal]]


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset as the dashboard has it: a table or a query in brackets and, by name, its metrics' expressions."""

    name: str
    source: str
    metrics: Mapping[str, str]

    @property
    def sums(self) -> dict[str, str]:
        """The metrics that can be compared with rows."""
        return {name: expression for name, expression in self.metrics.items() if name in UNITS}


def datasets_from_files(zone: str, folder: Path = ASSETS) -> list[Dataset]:
    """The datasets as they would be imported. Raises ValueError for a file that is none."""
    return [_dataset(path, zone) for path in sorted(folder.rglob("*.yaml"))]


def _dataset(path: Path, zone: str) -> Dataset:
    try:
        fields: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        source = source_of(fields["table_name"], fields.get("sql"))
        metrics = {metric["metric_name"]: metric["expression"] for metric in fields["metrics"]}
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a dataset: {error!r}") from error
    return Dataset(fields["table_name"], source.replace("{zone}", zone), metrics)


def source_of(table_name: str, sql: str | None) -> str:
    """What a dataset reads: its own query, else its table."""
    return f"(\n{sql}\n)" if sql else f"`{table_name}`"


def read_totals(ledger: Ledger) -> Totals:
    """What the rows add up to."""
    return {(row["organization"], row["department_name"]): row["sums"] for row in ledger.ask("usage_totals")}


def check_datasets(ledger: Ledger, datasets: Sequence[Dataset]) -> Check:
    """Every metric that is a sum of usage, per organization and department and in all; `checked` counts numbers."""
    check = Check("datasets")
    totals = read_totals(ledger)
    for dataset in datasets:
        if dataset.sums:
            try:
                metrics = ", ".join(f"toString({expression}) AS `{name}`" for name, expression in dataset.sums.items())
                rows = ledger.ask("dataset", metrics=metrics, source=dataset.source)
            except DatabaseError as error:
                check.add([_broken(dataset, str(error).partition("\n")[0])])
                continue
            found = {(row["organization"], row["department"]): row for row in rows}
            check.checked += len(dataset.sums) * (len(totals) + 1)
            check.add(list(dataset_differences(dataset, totals, found)))
    if not check.checked and not check.differing:
        check.undecided = "no dataset has a metric that is a sum of usage"
    return check


def dataset_differences(
    dataset: Dataset, totals: Totals, found: Mapping[tuple[str, str], Mapping[str, str]]
) -> Iterator[Difference]:
    """Metrics whose value is not that of the rows. Pure; the key ("", "") is the total."""
    overall = tuple(sum(column) for column in zip(*totals.values(), strict=True)) or (0,) * len(SUMS)
    expected = dict(totals) | {("", ""): overall}
    for organization, department in sorted(expected.keys() | found.keys()):
        sums = expected.get((organization, department), (0,) * len(SUMS))
        row = found.get((organization, department), {})
        scope = f"{organization} department:{department}" if organization else "everything"
        for metric in dataset.sums:
            unit = UNITS[metric]
            want = amount_of(unit, sums)
            have: Value = row.get(metric, "0")
            if parse_amount(unit, str(have)) != want:
                place = {"dataset": dataset.name}
                yield Difference(f"dataset {dataset.name}", scope, "all", metric, amount_text(unit, want), have, place)


def _broken(dataset: Dataset, error: str) -> Difference:
    return Difference(f"dataset {dataset.name}", "everything", "all", "query", "an answer", error)
