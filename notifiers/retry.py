"""When to try again: exponential back-off with jitter, for a week. Time and chance are passed in."""

FIRST_S = 5
LONGEST_S = 3_600
GIVE_UP_S = 7 * 86_400
SECOND_US = 1_000_000


def next_attempt(attempts: int, first_tried_at: int, now: int, chance: float) -> int | None:
    """When the next attempt is due after `attempts` (>= 1) that failed; None when a week has been long enough.

    Instants are microseconds UTC, `chance` is in [0, 1). The pause doubles from 5 s to an hour; of each pause the
    second half is left to chance ("equal jitter": Brooker, Exponential Backoff And Jitter), so that deliveries that
    failed together do not come back together.
    """
    if now - first_tried_at >= GIVE_UP_S * SECOND_US:
        return None
    pause_s = min(LONGEST_S, FIRST_S * 2 ** min(attempts - 1, 20))
    return now + int(pause_s * SECOND_US * (0.5 + chance / 2))
