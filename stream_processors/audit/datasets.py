"""The dashboard's datasets: what their SQL and metrics say, against the rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import yaml
from clickhouse_connect.driver.exceptions import DatabaseError

from stream_processors.audit.model import Check, Difference
from stream_processors.audit.queries import Ledger
from stream_processors.audit.shown import INSTANTS, MEMBERS, METRICS, SHOWN, Shown

ASSETS = Path(__file__).resolve().parents[2] / "superset" / "assets" / "datasets"


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset as the dashboard has it: a table or a query in brackets, its columns, its metrics' expressions."""

    name: str
    source: str
    columns: Sequence[str]
    metrics: Mapping[str, str]

    @property
    def sums(self) -> dict[str, str]:
        """The metrics that can be compared with rows of usage."""
        return {name: expression for name, expression in self.metrics.items() if name in METRICS}


def datasets_from_files(zone: str, folder: Path = ASSETS) -> list[Dataset]:
    """The datasets as they would be imported. Raises ValueError for a file that is none."""
    return [_dataset(path, zone) for path in sorted(folder.rglob("*.yaml"))]


def _dataset(path: Path, zone: str) -> Dataset:
    try:
        fields: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        source = source_of(fields["table_name"], fields.get("sql"))
        return dataset_of(fields, source.replace("{zone}", zone))
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a dataset: {error!r}") from error


def dataset_of(fields: Mapping[str, Any], source: str) -> Dataset:
    """From the fields that Superset's files and its API have in common."""
    return Dataset(
        name=fields["table_name"],
        source=source,
        columns=[column["column_name"] for column in fields["columns"]],
        metrics={metric["metric_name"]: metric["expression"] for metric in fields["metrics"]},
    )


def source_of(table_name: str, sql: str | None) -> str:
    """What a dataset reads: its own query, else its table."""
    return f"(\n{sql}\n)" if sql else f"`{table_name}`"


def check_datasets(ledger: Ledger, datasets: Sequence[Dataset]) -> Check:
    """Every metric that is a sum of usage, in all and by each column that groups it; every row that is shown as such.

    `checked` counts numbers and rows. A dataset of which nothing can be compared is named in a note.
    """
    check = Check("datasets")
    for dataset in datasets:
        try:
            if dataset.sums:
                _check_sums(check, ledger, dataset)
            elif dataset.name in SHOWN:
                _check_rows(check, ledger, dataset, SHOWN[dataset.name])
            else:
                check.notes.append(f"dataset {dataset.name}: nothing in it that the audit knows")
        except DatabaseError as error:
            reason = str(error).partition("\n")[0]
            check.add([Difference(f"dataset {dataset.name}", "everything", "all", "query", "an answer", reason)])
    if not check.checked and not check.differing:
        check.undecided = "no dataset has a metric that is a sum of usage"
    return check


def _check_sums(check: Check, ledger: Ledger, dataset: Dataset) -> None:
    """In all, and of each organization by each column."""
    groups = [("", "''", "''", "''")]
    for name in (name for name in dataset.columns if name in MEMBERS):
        form = "formatDateTime({}, '%F %R', 'UTC')" if name in INSTANTS else "{}"
        groups.append((name, "organization", form.format(name), form.format(MEMBERS[name])))
    for column, organization, member, row_member in groups:
        answer = ledger.ask_one(
            "dataset",
            organization=organization,
            member=member,
            row_member=row_member,
            shown_texts=_texts(dataset.sums.values()),
            row_texts=_texts(METRICS[name] for name in dataset.sums),
            source=dataset.source,
            count=str(len(dataset.sums)),
        )
        check.checked += answer["compared"] * len(dataset.sums)
        for group_organization, group_member, expected, found in answer["named"]:
            scope = f"{group_organization} {column}:{group_member}" if column else "everything"
            check.add(list(metric_differences(dataset, scope, expected, found)))
        check.differing += answer["differing"] - len(answer["named"])


def metric_differences(
    dataset: Dataset, scope: str, expected: Sequence[str], found: Sequence[str]
) -> Iterator[Difference]:
    """The metrics of a group that are not those of the rows. Pure."""
    for name, want, have in zip(dataset.sums, expected, found, strict=True):
        if want != have:
            table, position = f"dataset {dataset.name}", {"dataset": dataset.name}
            yield Difference(table, scope, "all", name, _shown(name, want), _shown(name, have), position)


def _check_rows(check: Check, ledger: Ledger, dataset: Dataset, shown: Shown) -> None:
    columns = [name for name in dataset.columns if name in shown.columns]
    answer = ledger.ask_one(
        "dataset_rows",
        shown_texts=_texts(columns),
        row_texts=_texts(shown.columns[name] for name in columns),
        source=dataset.source,
        table=shown.table,
    )
    check.checked += answer["compared"]
    table, position = f"dataset {dataset.name}", {"dataset": dataset.name}
    named = [
        Difference(table, ", ".join(filter(None, texts)), "all", "times shown", expected, found, position)
        for texts, expected, found in answer["named"]
    ]
    check.add(named, answer["differing"])


def _texts(expressions: Any) -> str:
    """SQL of the texts of expressions: numbers would meet as floats."""
    return ", ".join(f"ifNull(toString({expression}), '')" for expression in expressions)


def _shown(metric: str, text: str) -> str:
    """Dollars with 12 decimals, as everywhere in a report."""
    try:
        return f"{Decimal(text):.12f}" if metric.startswith("cost_usd") else text
    except InvalidOperation:
        return text or "none"
