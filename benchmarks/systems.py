"""The systems that are compared: this one, and the peers in `benchmarks/peers/`, each in a virtualenv of its own."""

import hashlib
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

PEERS_DIR = Path(__file__).parent / "peers"
UV = str(Path(sys.executable).with_name("uv"))
TOLLBOOK = "tollbook"


@dataclass(frozen=True, slots=True)
class System:
    """One system. `share`: its part of the run's events, so that a slow one does not take an hour."""

    name: str
    title: str
    link: str
    share: float

    @property
    def folder(self) -> Path:
        """Where a peer's program and requirements are."""
        return PEERS_DIR / self.name


def systems() -> list[System]:
    """This one first, then every folder of `peers/`, the fastest first."""
    found = [_read(path) for path in PEERS_DIR.glob("*/peer.toml")]
    return [
        System(TOLLBOOK, "Tollbook", "docs/design.md", 1.0),
        *sorted(found, key=lambda system: (-system.share, system.name)),
    ]


def _read(path: Path) -> System:
    return System(name=path.parent.name, **tomllib.loads(path.read_text()))


def python_of(system: System) -> Path:
    """The peer's interpreter; makes its virtualenv when its lock is not the one that is installed."""
    lock = system.folder / "requirements.lock"
    home = system.folder / ".venv"
    installed = home / "installed.sha256"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    if not installed.exists() or installed.read_text() != digest:
        _run(UV, "venv", "--quiet", "--clear", "--python", sys.executable, str(home))
        python = str(home / "bin/python")
        _run(
            *(UV, "pip", "install", "--quiet", "--python", python),
            *("--compile-bytecode", "--require-hashes", "-r", str(lock)),
        )
        installed.write_text(digest)
    return home / "bin/python"


def versions(system: System) -> dict[str, str]:
    """The locked version of what the peer asks for by name."""
    wanted = {line.partition("[")[0].partition(">")[0].strip() for line in _lines(system.folder / "requirements.in")}
    pins = (line.split()[0].split("==") for line in _lines(system.folder / "requirements.lock") if "==" in line)
    return {name: version for name, version in pins if name in wanted}


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line and not line.startswith((" ", "#"))]


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
