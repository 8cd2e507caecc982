"""A tiny guest on a file system of its own, and a save caught while QEMU writes."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driver import LIMIT_S, Vmctl, qemu_processes


@dataclass(frozen=True)
class Saver:
    """A project with the tiny guest, whose data directory is a small file system."""

    vmctl: Vmctl

    @property
    def home(self) -> Path:
        """The VM's directory."""
        return self.vmctl.home("tiny")

    @property
    def saved(self) -> Path:
        """The saved state."""
        return self.home / "saved-state"

    def vm(self) -> dict[str, Any]:
        """The VM in `status --json`."""
        found: dict[str, Any] = self.vmctl("status", "tiny", "--json").json["vm"]
        return found

    def run(self, command: str) -> str:
        """What a command in the guest prints."""
        return self.vmctl("ssh", "tiny", "--", command).stdout

    def rests(self) -> list[str]:
        """What a save has left."""
        return [path.name for path in self.home.iterdir() if "saved-state" in path.name]

    @contextmanager
    def caught_saving(self) -> Iterator[tuple[int, subprocess.Popen[str]]]:
        """QEMU stopped in the middle of writing, and the command that waits for it.

        QEMU may have been faster than we are: then it is all done again.
        """
        part = self.home / ".saved-state.tmp"
        for _ in range(50):
            (qemu,) = qemu_processes(self.vmctl.data)
            command = self.vmctl.start("suspend", "--to-disk", "tiny", start_new_session=True)
            while command.poll() is None and not part.exists():
                time.sleep(0.0005)
            try:
                os.kill(qemu, signal.SIGSTOP)
                time.sleep(0.3)  # what vmctl still can do without QEMU it does now
                if command.poll() is None and part.exists():
                    yield qemu, command
                    return
                os.kill(qemu, signal.SIGCONT)
            except ProcessLookupError:
                pass
            command.communicate(timeout=LIMIT_S)
            self.vmctl("resume", "tiny")
        raise AssertionError("QEMU was always faster")
