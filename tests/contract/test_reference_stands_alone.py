"""The second opinion shares no code with the engine."""

import subprocess
import sys

LOADED = """
import sys
import stream_processors.reference
ours = {name for name in sys.modules if name.split(".")[0] in ("stream_processors", "producers", "local")}
print(*sorted(ours - {f"stream_processors{part}" for part in ("", ".reference", ".reference_prices")}))
"""


def test_the_reference_imports_nothing_of_the_engine() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
