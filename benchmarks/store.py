"""`benchmarks/results.json`: every figure that was measured, with what it was measured on; nothing else writes it."""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results.json")


class Section:
    """The results of one command. What was measured under another commit or other parameters is not continued, and
    what failed is forgotten, so that it is tried again.
    """

    def __init__(self, name: str, head: dict[str, Any], parameters: dict[str, Any], path: Path = RESULTS) -> None:
        self._path = path
        self._name = name
        kept = read(path).get(name, {})
        same = kept.get("parameters") == parameters and kept.get("head", {}).get("commit") == head["commit"]
        self._content: dict[str, Any] = kept if same else {"head": head, "parameters": parameters, "results": []}
        self._content["results"] = [each for each in self._content["results"] if "failed" not in each]

    def has(self, **key: Any) -> bool:
        """Whether there is a result with these values."""
        return any(key.items() <= result.items() for result in self._content["results"])

    def add(self, **result: Any) -> None:
        """Keeps a result, on disk before this returns."""
        self._content["results"].append(result)
        everything = read(self._path) | {self._name: self._content}
        scratch = self._path.with_suffix(".new")
        scratch.write_text(json.dumps(everything, indent=1, sort_keys=True) + "\n")
        scratch.replace(self._path)


def read(path: Path = RESULTS) -> dict[str, Any]:
    """All sections; empty before the first measurement."""
    if not path.exists():
        return {}
    everything: dict[str, Any] = json.loads(path.read_text())
    return everything
