"""When a process that ended is started again. Pure: time is passed in."""

DELAYS_S = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
STABLE_S = 30.0
LIMIT = 5  # failed starts in a row after which a process counts as one that cannot start


def delay_s(failures: int) -> float:
    """Seconds to wait after the n-th end in a row (n >= 1): quick at first, never longer than 15 s."""
    return DELAYS_S[min(failures, len(DELAYS_S)) - 1]


def failures_after(failures: int, served_s: float) -> int:
    """The count of ends in a row, after one more that came when the process had been ready for `served_s`.

    A process that served for a while starts counting anew.
    """
    return 1 if served_s >= STABLE_S else failures + 1


def cannot_start(failures: int) -> bool:
    """Whether so many ends in a row mean that trying again will hardly help."""
    return failures >= LIMIT
