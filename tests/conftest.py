"""Says at the end of a run how many tests each suite ran, so that a suite that ran none is seen."""

from collections import Counter
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Counts outcomes by the folder under tests/ that the test lies in."""
    counts: dict[str, Counter[str]] = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            if getattr(report, "when", "call") == "call" or outcome != "passed":
                counts.setdefault(_suite(config, report.nodeid), Counter())[outcome] += 1
    terminalreporter.section("tests by suite")
    for suite, outcomes in sorted(counts.items()):
        terminalreporter.line(f"{suite}: " + ", ".join(f"{count} {name}" for name, count in outcomes.items()))


def _suite(config: pytest.Config, nodeid: str) -> str:
    path = config.rootpath / nodeid.split("::")[0]
    return path.relative_to(TESTS).parts[0] if path.is_relative_to(TESTS) else path.name
