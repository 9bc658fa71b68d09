"""Fault points for tests: places where a process may be told to fail. They do nothing unless `TOLLBOOK_FAULT` is set.

`TOLLBOOK_FAULT=name` acts at the first passage, `name:N` at the N-th.
"""

import os
from collections import Counter

_passages: Counter[str] = Counter()


def reached(name: str) -> bool:
    """Whether the named fault is to happen now."""
    wanted = os.environ.get("TOLLBOOK_FAULT", "")
    if wanted.partition(":")[0] != name:
        return False
    _passages[name] += 1
    return _passages[name] == int(wanted.partition(":")[2] or 1)


def crash(name: str) -> None:
    """Die as by kill -9 when the named fault is to happen."""
    if reached(name):
        os._exit(9)
