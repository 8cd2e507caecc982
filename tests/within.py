"""How much an attack may cost whom it is made on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

_T = TypeVar("_T")
_MIB = 1024
_MAX_S = 2.0


def quickly(work: Callable[[], _T]) -> _T:
    """What a piece of work returns or raises, which takes no more than two seconds of processor time.

    It is done once more where it took longer: of a hundred thousand pieces one meets the collector of garbage, which looks at all
    that the tests have kept.
    """
    started = time.process_time()
    try:
        return work()
    finally:
        if time.process_time() - started >= _MAX_S:
            started = time.process_time()
            with suppress(Exception):  # it has been raised already
                work()
        assert time.process_time() - started < _MAX_S


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
