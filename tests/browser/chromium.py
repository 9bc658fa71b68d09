"""Which browser the tests drive: one that is there, else one that can be had on this machine."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",  # test machines run as root, where the sandbox refuses to start; only our own pages are opened
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_chromium(playwright: Playwright) -> str:
    """The path of a Chromium: the system's, else playwright's own, else installed now.

    Raises RuntimeError, saying what to install, when there is none and none can be had.
    """
    found = _present(playwright)
    if found is None:
        _install()
        found = _present(playwright)
    if found is None:
        raise RuntimeError("There is no Chromium: install the package `chromium`, or run `playwright install chromium`")
    return found


def _present(playwright: Playwright) -> str | None:
    own = playwright.chromium.executable_path
    candidates = [shutil.which(name) for name in NAMES] + [own if Path(own).exists() else None]
    return next((path for path in candidates if path), None)


def _install() -> None:
    if os.geteuid() == 0 and shutil.which("apt-get"):
        commands = [["apt-get", "update"], ["apt-get", "install", "--yes", "chromium"]]
    else:
        commands = [[sys.executable, "-m", "playwright", "install", "chromium"]]
    for command in commands:
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True, timeout=600)
