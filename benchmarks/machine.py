"""What a result was measured on and with: it stands beside every figure."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from local.downloads import read_lock

ROOT = Path(__file__).parent.parent
PACKAGES = ("faust-streaming", "aiokafka", "confluent-kafka", "pyruhvro", "pyarrow", "chdb-core", "genai-prices")


def described() -> dict[str, Any]:
    """Machine, versions, commit and time of a measurement that begins now."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": names[0].partition(":")[2].strip() if names else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "kafka": next(each.version for each in read_lock(ROOT / "local/kafka.lock") if each.name == "kafka_2.13"),
        "packages": {name: version(name) for name in PACKAGES},
        "commit": commit(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def commit() -> str:
    """The commit that is measured; `+` when files differ from it, the results' own aside."""
    head = _git("rev-parse", "--short=12", "HEAD")
    written = [
        f":!{folder}/{name}" for folder in ("benchmarks", "tests/faults") for name in ("RESULTS.md", "results.json")
    ]
    changed = _git("status", "--porcelain", "--", ".", ":!README.md", *written)
    return head + ("+" if changed else "")


def pin(cpus: int) -> None:
    """Keeps this process, and all that it will start, to the first `cpus` processors it may use."""
    allowed = sorted(os.sched_getaffinity(0))
    if cpus > len(allowed):
        raise ValueError(f"cpus = {cpus}: this machine offers {len(allowed)}")
    os.sched_setaffinity(0, allowed[:cpus])


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
