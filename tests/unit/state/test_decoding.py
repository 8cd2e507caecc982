"""Types that several threads use for the first time at the same moment."""

from __future__ import annotations

import subprocess
import sys

_TOGETHER = """
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import make_dataclass
from threading import Barrier

from vm_manager.state.decoding import convert, decode

sys.setswitchinterval(1e-6)
for number in range(60):
    kind = make_dataclass(f"Inner{number}", [("a", int)])
    for depth in range(8):
        kind = make_dataclass(f"Outer{number}_{depth}", [("x", kind | None), ("y", tuple[kind, ...]), ("z", int)])
    start = Barrier(4)

    def read(even):
        start.wait()
        return decode('{"x": null, "y": [], "z": 1}', kind) if even else convert({"x": None, "y": [], "z": 1}, kind)

    with ThreadPoolExecutor(4) as threads:
        assert all(it.z == 1 for it in threads.map(read, [True, False, True, False]))
print("done")
"""


def test_threads_that_use_a_type_for_the_first_time_at_once_do_not_kill_the_process() -> None:
    """msgspec alone dies with SIGSEGV in the first of these rounds."""
    done = subprocess.run([sys.executable, "-c", _TOGETHER], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
