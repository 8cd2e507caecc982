"""The processes that this process has started: only a parent is told how they ended."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from vm_manager.backends.qemu.launch import Keep


class Children:
    """The processes that this process has started, by the directory of their machine: only a parent is told an exit status."""

    def __init__(self) -> None:
        self._qemus: dict[Path, subprocess.Popen[bytes]] = {}
        self._keepers: dict[Path, Sequence[subprocess.Popen[bytes]]] = {}

    def keeper_of(self, home: Path) -> Keep:
        """What notes the QEMU of a machine, and its keepers."""

        def keep(child: subprocess.Popen[bytes], keepers: Sequence[subprocess.Popen[bytes]]) -> None:
            self._qemus[home], self._keepers[home] = child, keepers

        return keep

    def qemu(self, home: Path) -> subprocess.Popen[bytes] | None:
        """The QEMU of a machine, if it is a child of this process."""
        return self._qemus.get(home)

    @contextmanager
    def dropping_ended(self, home: Path) -> Iterator[None]:
        """After a failure, forget a QEMU that ended with it."""
        try:
            yield
        except BaseException:
            child = self._qemus.get(home)
            if child is not None and child.poll() is not None:
                del self._qemus[home]
            raise

    def reap(self, home: Path) -> None:
        """Wait for the processes of a machine that has ended."""
        qemu = self._qemus.pop(home, None)
        for child in (*((qemu,) if qemu else ()), *self._keepers.pop(home, ())):
            child.wait()
