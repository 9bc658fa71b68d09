"""Becomes another program that dies with its parent: `child.py SIGNAL PARENT_PID COMMAND...`.

Run by path with `python -I -S`: it needs nothing but the standard library and starts in milliseconds. The kernel
sends SIGNAL when the parent's *thread* that started this process ends, so start it from the main thread.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Asks for SIGNAL at the parent's death, restores what the parent changed of signals, and becomes COMMAND.

    Raises OSError when the kernel refuses or the command cannot be started.
    """
    death_signal, parent, command = int(arguments[0]), int(arguments[1]), arguments[2:]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, death_signal) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        sys.exit("the parent is gone already")
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.execvp(command[0], command)  # noqa: S606 (no shell is what is wanted)


if __name__ == "__main__":
    main(sys.argv[1:])
