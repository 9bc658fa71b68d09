"""Lock files and unpacking."""

import tarfile
from pathlib import Path

import pytest

from local import kafka, registry
from local.downloads import Artifact, DownloadError, check_content, read_lock, unpack


def test_lock_line_is_a_jar_unless_it_says_otherwise(tmp_path: Path) -> None:
    lock = tmp_path / "some.lock"
    lock.write_text("# why\n\ng:plain:1.0 aa\ng:app:2.0:all:tar.gz bb\n")
    plain, archive = read_lock(lock)
    assert plain == Artifact("g", "plain", "1.0", "", "jar", "aa")
    assert (plain.filename, archive.filename) == ("plain-1.0.jar", "app-2.0-all.tar.gz")


@pytest.mark.parametrize("artifact", [*kafka.JARS, registry.ARCHIVE], ids=lambda artifact: artifact.filename)
def test_every_artifact_is_pinned_by_content(artifact: Artifact) -> None:
    assert len(bytes.fromhex(artifact.sha256)) == 32


def test_other_content_than_pinned_is_refused(tmp_path: Path) -> None:
    found = tmp_path / "plain-1.0.jar"
    found.write_bytes(b"something else")
    with pytest.raises(DownloadError, match=r"plain-1\.0\.jar: SHA-256 is .*, pinned is aa"):
        check_content(Artifact("g", "plain", "1.0", "", "jar", "aa"), found)


def test_unpacking_again_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("first")
    archive = tmp_path / "archive.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "file", "file")
    into = unpack(archive, tmp_path / "unpacked")
    (into / "file").write_text("second")
    assert (unpack(archive, into) / "file").read_text() == "second"
