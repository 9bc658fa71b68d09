"""Superset's assets hold together: the importer would drop a broken reference without a word."""

from pathlib import Path
from typing import Any

import pytest
import yaml

ASSETS = Path(__file__).parents[2] / "superset" / "assets"


def _load(kind: str) -> dict[str, dict[str, Any]]:
    return {path.stem: yaml.safe_load(path.read_text()) for path in sorted((ASSETS / kind).rglob("*.yaml"))}


DATABASES, DATASETS, CHARTS, DASHBOARDS = map(_load, ("databases", "datasets", "charts", "dashboards"))


def _uuids(assets: dict[str, dict[str, Any]]) -> set[str]:
    return {asset["uuid"] for asset in assets.values()}


def test_identities_are_ours_and_unique() -> None:
    uuids = [asset["uuid"] for kind in (DATABASES, DATASETS, CHARTS, DASHBOARDS) for asset in kind.values()]
    assert len(set(uuids)) == len(uuids)
    assert all(uuid.startswith("7011b00c-") for uuid in uuids)  # provision.py removes its own by this prefix


def test_every_dataset_is_in_the_database() -> None:
    assert {dataset["database_uuid"] for dataset in DATASETS.values()} == _uuids(DATABASES)


@pytest.mark.parametrize("name", sorted(CHARTS))
def test_chart_uses_what_its_dataset_has(name: str) -> None:
    params = CHARTS[name]["params"]
    dataset = next(each for each in DATASETS.values() if each["uuid"] == CHARTS[name]["dataset_uuid"])
    columns = {column["column_name"] for column in dataset["columns"]}
    metrics = {metric["metric_name"] for metric in dataset["metrics"]}
    axis = [params["x_axis"]] if "x_axis" in params else []
    assert {*axis, *params.get("groupby", []), *params.get("all_columns", [])} <= columns
    assert {*params.get("metrics", []), *([params["metric"]] if "metric" in params else [])} <= metrics
    assert dataset["main_dttm_col"] not in axis  # an alias of that name would bend the time filter


@pytest.mark.parametrize("name", sorted(set(CHARTS) - {"budgets"}))
def test_chart_obeys_the_time_filter(name: str) -> None:
    """Without this filter of its own a chart ignores the dashboard's; budgets speak of now."""
    dataset = next(each for each in DATASETS.values() if each["uuid"] == CHARTS[name]["dataset_uuid"])
    filters = {(each["subject"], each["operator"]) for each in CHARTS[name]["params"]["adhoc_filters"]}
    assert (dataset["main_dttm_col"], "TEMPORAL_RANGE") in filters


def test_dashboard_shows_every_chart_once_and_rows_are_full() -> None:
    position = DASHBOARDS["usage"]["position"]
    shown = [node["meta"] for node in position.values() if isinstance(node, dict) and node["type"] == "CHART"]
    assert sorted(meta["uuid"] for meta in shown) == sorted(_uuids(CHARTS))
    assert len({meta["chartId"] for meta in shown}) == len(shown)
    rows = [node["children"] for node in position.values() if isinstance(node, dict) and node["type"] == "ROW"]
    assert {sum(position[child]["meta"]["width"] for child in row) for row in rows} == {12}


def test_filters_leave_out_only_charts_that_are_there() -> None:
    dashboard = DASHBOARDS["usage"]
    known = {node["meta"]["chartId"] for node in dashboard["position"].values() if "chartId" in _meta(node)}
    for each in dashboard["metadata"]["native_filter_configuration"]:
        assert set(each["scope"]["excluded"]) <= known
        assert {target["datasetUuid"] for target in each["targets"] if target} <= _uuids(DATASETS)


def _meta(node: Any) -> dict[str, Any]:
    return node.get("meta", {}) if isinstance(node, dict) else {}
