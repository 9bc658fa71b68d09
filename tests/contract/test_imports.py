"""One way: schemas <- producers, stream_processors; local starts commands and imports none; core is pure."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas", "producers", "stream_processors", "notifiers", "reports", "local")
MAY_IMPORT = {
    "schemas": {"schemas"},
    "producers": {"producers", "schemas"},
    "stream_processors": {"stream_processors", "schemas"},
    "notifiers": {"notifiers", "schemas"},
    "reports": {"reports", "schemas", "stream_processors.core"},
    "local": {"local"},
}
# What core/ may use: values in, values out. Neither files, sockets, processes nor a clock.
CORE_MAY_IMPORT = {
    *("bisect", "collections", "csv", "dataclasses", "decimal", "enum", "fractions", "functools", "hashlib", "heapq"),
    *("itertools", "json", "math", "operator", "re", "struct", "tomllib", "typing", "zoneinfo", "datetime"),
    "importlib.metadata",  # the version of the price data, which is part of a price's name
    *("numpy", "pyarrow", "orjson", "xxhash", "fastavro", "pyruhvro", "genai_prices", "pydantic", "zlib"),
    "urllib.parse",  # quoting
}
CLOCKS = {
    "now",
    "utcnow",
    "today",
    "time_ns",
    "monotonic",
    "monotonic_ns",
    "perf_counter",
}  # `time` is no import of core
FILES = {"read_text", "read_bytes", "write_text", "write_bytes"}
BUILT_IN = {"open", "print", "input"}
FAUST = {"connections.py", "transport.py", "app.py"}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Dotted names of what a module imports; relative ones do not occur here."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_one_way(package: str) -> None:
    allowed = MAY_IMPORT[package]
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in modules(package)
        for name in imports(path)
        if name.split(".")[0] in PACKAGES
        and not any(name == prefix or name.startswith(f"{prefix}.") for prefix in allowed)
    ]
    assert wrong == []


def test_command_line_mounts_and_imports_nothing_of_ours() -> None:
    assert {name.split(".")[0] for name in imports(ROOT / "tollbook.py")} <= {"collections", "importlib", "os", "click"}


@pytest.mark.parametrize("path", modules("stream_processors/core"), ids=lambda path: path.name)
def test_core_imports_nothing_that_reads_or_writes(path: Path) -> None:
    ours = ("schemas", "stream_processors.core")
    wrong = {
        name
        for name in imports(path)
        if not name.startswith(ours) and not {name.split(".")[0], name.rpartition(".")[0]} & CORE_MAY_IMPORT
    }
    assert wrong == set()


@pytest.mark.parametrize("path", modules("stream_processors/core"), ids=lambda path: path.name)
def test_core_reads_no_clock_and_no_file(path: Path) -> None:
    calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    assert {call.attr for call in calls if isinstance(call, ast.Attribute)} & (CLOCKS | FILES) == set()
    assert {call.id for call in calls if isinstance(call, ast.Name)} & BUILT_IN == set()


def test_faust_is_imported_by_transport_app_and_agents_only() -> None:
    users = {
        path.relative_to(ROOT / "stream_processors").as_posix()
        for package in PACKAGES
        for path in modules(package)
        if {"faust", "mode", "aiokafka"} & {name.split(".")[0] for name in imports(path)}
    }
    assert users <= FAUST | {f"agents/{path.name}" for path in modules("stream_processors/agents")}
    assert users >= FAUST


@pytest.mark.parametrize("folder", ["clickhouse", "superset"])
def test_folders_named_like_installed_packages_are_no_packages(folder: str) -> None:
    assert list((ROOT / folder).rglob("__init__.py")) == []


def test_our_packages_hide_no_module_of_python() -> None:
    assert set(PACKAGES) & sys.stdlib_module_names == set()
