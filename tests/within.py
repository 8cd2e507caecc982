"""How much an attack may cost whom it is made on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MIB = 1024


@contextmanager
def within(seconds: float, mebibytes: int = 200) -> Iterator[None]:
    """The block takes no longer, and this process's memory grows by no more meanwhile. The peer's share is in it."""
    # "5" sets the peak back to what is used now; see proc_pid_clear_refs(5).
    Path("/proc/self/clear_refs").write_text("5")
    before, started = _peak_kib(), time.monotonic()
    yield
    assert time.monotonic() - started < seconds
    assert _peak_kib() - before < mebibytes * _MIB


def _peak_kib() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
