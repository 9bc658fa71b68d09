"""Superset in a virtualenv of its own: its dependencies and the pipeline's cannot share one."""

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from local.config import HOST, REPOSITORY, Config

SCRIPTS = REPOSITORY / "superset"
LOCK_FILE = SCRIPTS / "requirements.lock"
PYTHON_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


class SupersetError(Exception):
    """Superset's virtualenv could not be made; the message holds what the installer said."""


def environment(config: Config, values: Mapping[str, str]) -> dict[str, str]:
    """Its settings. The repository's root stays off its path: the folder `superset/` would shadow the package."""
    names = [name for name in values if name.startswith("superset")]
    return {f"TOLLBOOK_{name.upper()}": values[name] for name in (*names, "clickhouse", "console")} | {
        "SUPERSET_CONFIG_PATH": str(SCRIPTS / "superset_config.py"),
        "SUPERSET_HOME": str(home(config)),
        "TOLLBOOK_STATE_DIR": str(config.state_dir),
        **config.calendar_variable,
    }


def command(config: Config) -> tuple[str, ...]:
    """The command that serves the dashboards in the foreground."""
    serve = ("-w", "1", "-k", "gthread", "--threads", "4", "--timeout", "120")
    # gunicorn puts its folder on the import path: not the user's, which may hold a folder `superset`.
    place = ("--chdir", str(home(config)), "-b", f"{HOST}:{config.ports.superset}")
    return (str(_python(config)), "-P", "-m", "gunicorn", *serve, *place, "superset.app:create_app()")


def provision_command(config: Config) -> tuple[str, ...]:
    """The command that brings database, users and dashboards to what the repository says."""
    return (str(_python(config)), str(SCRIPTS / "provision.py"))


def prepare(config: Config) -> None:
    """Makes the home directory and, once per content of the lock file, the virtualenv.

    Raises SupersetError when the packages cannot be installed.
    """
    home(config).mkdir(parents=True, exist_ok=True)
    config.cache_dir.mkdir(parents=True, exist_ok=True)
    virtualenv = _virtualenv(config)
    with Path(f"{virtualenv}.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)  # two starts at once: the second waits and finds it made
        if not is_prepared(config):
            shutil.rmtree(virtualenv, ignore_errors=True)
            _install(config, virtualenv)
            _mark(config).touch()


def is_prepared(config: Config) -> bool:
    """Whether the virtualenv for the present lock file is complete."""
    return _mark(config).exists()


def home(config: Config) -> Path:
    """Where Superset keeps its own database."""
    return config.state_dir / "superset"


def _install(config: Config, virtualenv: Path) -> None:
    uv = str(Path(sys.executable).with_name("uv"))
    python = str(_python(config))
    _run(config, [uv, "venv", "--python", sys.executable, str(virtualenv)])
    _run(
        config,
        [uv, "pip", "install", "--python", python, "--compile-bytecode", "--require-hashes", "-r", str(LOCK_FILE)],
    )


def _run(config: Config, arguments: list[str]) -> None:
    log = config.logs_dir / "superset-install.log"
    with log.open("a") as output:
        run = subprocess.run(arguments, stdout=output, stderr=subprocess.STDOUT, check=False)
    if run.returncode:
        said = "".join(log.read_text(errors="replace").splitlines(keepends=True)[-20:])
        raise SupersetError(f"Superset cannot be installed ({arguments[1]} ended with {run.returncode}):\n{said}")


def _virtualenv(config: Config) -> Path:
    digest = hashlib.sha256(LOCK_FILE.read_bytes() + PYTHON_VERSION.encode()).hexdigest()
    return config.cache_dir / f"superset-{digest[:12]}"


def _mark(config: Config) -> Path:
    return _virtualenv(config) / ".complete"


def _python(config: Config) -> Path:
    return _virtualenv(config) / "bin" / "python"
