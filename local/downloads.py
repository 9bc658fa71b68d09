"""Fetches pinned files from Maven Central into the user's cache, each checked against its SHA-256."""

import hashlib
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from jgo.maven import MavenContext

TIMEOUT_S = 60
PARALLEL = 8


class DownloadError(Exception):
    """A file could not be fetched or is not the one that was pinned; try again, or look at the network."""


@dataclass(frozen=True)
class Artifact:
    """One pinned file: Maven coordinates and the SHA-256 it must have."""

    group: str
    name: str
    version: str
    classifier: str
    packaging: str
    sha256: str

    @property
    def filename(self) -> str:
        """The file's name, as Maven builds it."""
        classifier = f"-{self.classifier}" if self.classifier else ""
        return f"{self.name}-{self.version}{classifier}.{self.packaging}"


def read_lock(path: Path) -> list[Artifact]:
    """The artifacts a lock file names, in its order.

    A line is `group:artifact:version[:classifier:type] sha256`; `#` starts a comment.
    """
    lines = (line.strip() for line in path.read_text().splitlines())
    return [_parse(line) for line in lines if line and not line.startswith("#")]


def _parse(line: str) -> Artifact:
    coordinates, sha256 = line.split()
    group, name, version, *rest = coordinates.split(":")
    classifier, packaging = rest or ("", "jar")
    return Artifact(group, name, version, classifier, packaging, sha256)


def cached(artifact: Artifact, cache_dir: Path) -> Path:
    """Where the artifact lies once fetched; it is there only when its content was checked."""
    return cache_dir / "maven" / artifact.filename


def fetch_all(artifacts: list[Artifact], cache_dir: Path) -> Iterator[Path]:
    """Yields each artifact's path in the cache, as it gets there.

    Raises DownloadError when one cannot be fetched or has another content than pinned.
    """
    with ThreadPoolExecutor(PARALLEL) as pool:
        yield from pool.map(lambda artifact: _fetch(artifact, cache_dir), artifacts)


def _fetch(artifact: Artifact, cache_dir: Path) -> Path:
    path = cached(artifact, cache_dir)
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    # A repository of its own, so that a cut download never lies under the final name.
    with tempfile.TemporaryDirectory(dir=cache_dir, prefix="download-") as repository:
        found = _download(artifact, Path(repository))
        check_content(artifact, found)
        found.replace(path)
    return path


def check_content(artifact: Artifact, found: Path) -> None:
    """Raises DownloadError unless the file is the one that was pinned."""
    digest = hashlib.sha256(found.read_bytes()).hexdigest()
    if digest != artifact.sha256:
        raise DownloadError(f"{artifact.filename}: SHA-256 is {digest}, pinned is {artifact.sha256}")


def _download(artifact: Artifact, repository: Path) -> Path:
    context = MavenContext(repo_cache=repository, timeout=TIMEOUT_S)
    component = context.project(artifact.group, artifact.name).at_version(artifact.version)
    try:
        return Path(component.artifact(artifact.classifier, artifact.packaging).resolve())
    except (OSError, RuntimeError) as error:
        raise DownloadError(f"{artifact.filename}: cannot be fetched from Maven Central: {error}") from error


def unpack(archive: Path, into: Path) -> Path:
    """Unpacks a tar archive into the directory `into`, whole or not at all; does nothing when it is there."""
    if into.exists():
        return into
    with tempfile.TemporaryDirectory(dir=into.parent, prefix="unpack-") as scratch:
        unpacked = Path(scratch) / "content"
        with tarfile.open(archive) as tar:
            tar.extractall(unpacked, filter="data")
        try:
            unpacked.rename(into)
        except OSError:
            if not into.exists():  # another start was quicker otherwise
                raise
            shutil.rmtree(unpacked)
    return into
