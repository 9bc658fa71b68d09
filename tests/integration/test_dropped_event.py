"""A rating agent that drops an event: blocks, windows and rows agree without it; the deep audit does not."""

import json
import subprocess
from collections.abc import Callable

Environment = dict[str, str]
RunTollbook = Callable[..., "subprocess.CompletedProcess[str]"]


def test_an_event_that_rating_dropped_is_named(
    new_stack_environment: Callable[[], Environment], run_tollbook: RunTollbook
) -> None:
    environment = new_stack_environment() | {"TOLLBOOK_FAULT": "rating.drop_row"}
    try:
        for command in (
            ("up", "--detach", "--without", "superset"),
            ("simulate", "--events", "500", "--seed", "1", "--duplicates", "0"),
            ("wait", "--timeout", "120"),
            ("audit",),
        ):
            done = run_tollbook(environment, *command)
            assert done.returncode == 0, done.stdout + done.stderr
        for _ in range(2):  # the second finds the same, and says nothing more
            deep = run_tollbook(environment, "audit", "--deep", "--alert", "--json")
        assert deep.returncode == 1, deep.stdout + deep.stderr
        [difference] = json.loads(deep.stdout)["differences"]
        assert (difference["table"], difference["measure"]) == ("usage", "entry")
        assert (difference["expected"], difference["found"]) == ("row", None)
        place = difference["position"]["src_partition"], difference["position"]["src_offset"]
        tail = run_tollbook(environment, "tail", "usage.events", "--from-beginning").stdout.splitlines()
        [dropped] = [line["value"] for line in map(json.loads, tail) if (line["partition"], line["offset"]) == place]
        assert difference["scope"] == f"{dropped['organization']} department:{dropped['department']}"
        assert difference["window"] == f"offset {difference['position']['src_offset']}"
        printed = run_tollbook(environment, "tail", "usage.alerts", "--from-beginning").stdout.splitlines()
        [said] = [alert for alert in (json.loads(line)["value"] for line in printed) if alert["scope_kind"] == "check"]
        assert (said["type"], said["severity"], said["scope"]) == ("pipeline", "critical", "deep")
        assert said["detail"].startswith(
            f"The audit found 1 difference in deep: entry of {difference['scope']} in offset"
        )
    finally:
        run_tollbook(environment, "down")
