"""docs/cli.md is what the commands say of themselves."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_page_of_commands_is_their_help() -> None:
    printed = subprocess.run(
        [sys.executable, "docs/cli_page.py"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert (ROOT / "docs/cli.md").read_text() == printed, "docs/cli.md is old: make docs"
