"""What holds for every tracked file, and for the project's own papers."""

import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Put together here, so that this file does not contain what it looks for.
REGISTRIES = [
    *("pypi" + ".org", "python" + "hosted.org", "registry.npm" + "js.org", "repo1.maven" + ".org", "crates" + ".io"),
    *("repo.maven." + "apache.org", "proxy.golang" + ".org", "deb.debian" + ".org"),
]
PLACES = [re.escape(f"/{name}/") for name in ("ro" + "ot", "wo" + "rk", "ho" + "me", "t" + "mp")]
MAKING = [
    r"\bA" + r"I[- ]generated\b",
    r"\bCo-" + r"Authored-By\b",
    r"\bCla" + r"ude Code\b",
    r"\bcoding ag" + r"ent\b",
]


@cache
def tracked() -> dict[str, str]:
    """Every text file that git knows, by its path."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    texts = {}
    for name in names.split("\0"):
        path = ROOT / name
        if name and path.is_file():
            content = path.read_bytes()
            if b"\0" not in content:
                texts[name] = content.decode()
    return texts


def matches(patterns: list[str]) -> list[str]:
    found = re.compile("|".join(patterns), re.IGNORECASE)
    return [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in tracked().items()
        for number, line in enumerate(text.splitlines(), start=1)
        if found.search(line)
    ]


def test_the_search_finds_what_is_there() -> None:
    assert any(line.startswith("LICENSE:") for line in matches(["apache license"]))


def test_no_file_names_a_package_registry() -> None:
    assert matches([re.escape(host) for host in REGISTRIES]) == []


def test_no_file_names_a_path_of_one_machine() -> None:
    assert matches([rf"(?<![\w.}}$-]){place}" for place in PLACES]) == []


def test_files_speak_of_the_project_alone() -> None:
    assert matches(MAKING) == []


def test_no_secret_is_tracked() -> None:
    assert not {".env", "stack.toml"} & {Path(name).name for name in tracked()}
    private_key = "-----BEGIN " + "[A-Z ]*PRIVATE KEY"
    assert matches([private_key]) == []


def test_every_lint_exception_says_why() -> None:
    """In pyproject.toml: a comment on the line, or on the first of a group that shares it."""
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("ignore = ["))
    codes = lines[start + 1 : lines.index("]", start)]
    families = {"TC001": "TC", "TC002": "TC", "TC003": "TC"}
    explained = {line.strip()[1:5] for line in codes if "#" in line}
    for line in codes:
        code = line.strip()[1:].partition('"')[0]
        assert "#" in line or families.get(code, code) in {each[:2] for each in explained}, line


def test_every_exception_in_code_names_its_rule() -> None:
    bare = re.compile(r"#\s*(noqa|type:\s*ignore)(?![:\[])")
    code = {name: text for name, text in tracked().items() if name.endswith(".py")}
    assert [name for name, text in code.items() if bare.search(text)] == []


def test_no_test_is_skipped() -> None:
    skipping = re.compile(r"pytest\.(skip|importorskip|xfail)\(|mark\.(skip|skipif|xfail)\b")
    tests = {name: text for name, text in tracked().items() if re.match(r"tests/.*\.py$", name)}
    assert [name for name, text in tests.items() if skipping.search(text)] == []


def test_migrations_are_numbered_without_a_gap() -> None:
    names = sorted(path.name for path in (ROOT / "clickhouse/migrations").glob("*"))
    assert [name[:5] for name in names] == [f"{number:04}_" for number in range(1, len(names) + 1)]
    assert all(re.fullmatch(r"\d{4}_[a-z_]+\.sql", name) for name in names)


def test_changelog_has_a_place_for_what_comes_next() -> None:
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", heading) for heading in headings[1:])


def test_license_is_the_one_that_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (ROOT / "LICENSE").read_text()
    assert project["license"] == "Apache-2.0"
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "CONTRIBUTING.md",
        "docs/operations.md",
        "docs/design.md",
        "docs/cli.md",
        "docs/notifications.md",
        "docs/guard.md",
        "docs/collector.md",
        "docs/console.md",
        "docs/budgets.md",
    ],
)
def test_links_between_papers_lead_somewhere(name: str) -> None:
    path = ROOT / name
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text())
    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_every_make_target_that_papers_name_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    papers = "".join(tracked().get(name, "") for name in ("README.md", "CONTRIBUTING.md", "docs/operations.md"))
    named = set(re.findall(r"`make ([a-z-]+)", papers)) | set(re.findall(r"^ {4}make ([a-z-]+)", papers, re.MULTILINE))
    assert named <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


def test_no_two_files_of_tests_have_one_name() -> None:
    """A run of them all could import only one."""
    names = [Path(name).name for name in tracked() if name.startswith("tests/") and Path(name).name.startswith("test_")]
    assert sorted(names) == sorted(set(names))
