"""The fault point of the notifier, for tests: it does nothing unless `TOLLBOOK_FAULT` names it."""

import os


def crash(name: str) -> None:
    """Dies as by kill -9 when the named fault is to happen."""
    if os.environ.get("TOLLBOOK_FAULT") == name:
        os._exit(9)
