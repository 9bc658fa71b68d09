"""Starting and ending processes so that none is left: each leads a group of its own and dies with its parent."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

WRAPPER = Path(__file__).with_name("child.py")


def start(
    command: Sequence[str],
    environment: Mapping[str, str],
    output: IO[bytes] | int | None,
    death_signal: signal.Signals = signal.SIGKILL,
) -> subprocess.Popen[bytes]:
    """Starts a command in a session of its own; it gets `death_signal` when this process dies.

    Call it from the main thread: the kernel watches the thread, not the process. Raises OSError.
    """
    wrapper = (sys.executable, "-I", "-S", str(WRAPPER), str(int(death_signal)), str(os.getpid()))
    return subprocess.Popen(
        [*wrapper, *command],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def signal_group(pid: int, signum: signal.Signals) -> None:
    """Sends a signal to a process and all it started; nothing happens when they are gone."""
    try:
        os.killpg(pid, signum)
    except ProcessLookupError:
        return


def reap(popen: subprocess.Popen[bytes]) -> int | None:
    """The exit status of an ended process, None while it runs. What it started and left behind is killed."""
    # Look first, without reaping: as long as the dead leader is there, its group's number cannot be another's.
    if os.waitid(os.P_PID, popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        return None
    signal_group(popen.pid, signal.SIGKILL)
    return popen.wait()


def created_s(pid: int) -> float:
    """When the kernel made the process, in seconds since 1970; with the pid it names one process for good."""
    return psutil.Process(pid).create_time()


def is_alive(pid: int, started_at: float) -> bool:
    """Whether this very process still runs, given what `created_s` said of it."""
    try:
        process = psutil.Process(pid)
        # The kernel counts from boot, and when that was is known to the second.
        return abs(process.create_time() - started_at) < 2 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def resident_bytes(pid: int) -> int:
    """Memory a process and all its descendants hold, in bytes; 0 when it is gone."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return sum(member.memory_info().rss for member in family)
    except psutil.NoSuchProcess:
        return 0
