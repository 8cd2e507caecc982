"""The files in a VM's directory that QEMU and this backend alone know of."""

from __future__ import annotations

from pathlib import Path

from vm_manager.state.layout import InstanceFiles

#: In the environment of a QEMU: the directory that it was started in, wherever that is moved.
HOME_VARIABLE = "VMCTL_HOME"


class QemuFiles(InstanceFiles):
    """The files of a VM that QEMU runs. Its sockets: `sockets`."""

    @property
    def qemu_log(self) -> Path:
        """What QEMU wrote to its standard output and error."""
        return self.home / "qemu.log"

    @property
    def events_log(self) -> Path:
        """QEMU's trace of the events it announced, with their times."""
        return self.home / "events.log"

    @property
    def machine_logs(self) -> tuple[Path, ...]:
        """The logs that QEMU writes while the guest runs."""
        return (self.console_log, self.qemu_log, self.events_log)

    @property
    def pid(self) -> Path:
        """QEMU's pid file, which QEMU keeps locked while it lives."""
        return self.home / "pid"

    @property
    def life_line(self) -> Path:
        """Empty; locked from before QEMU's first instruction until its end."""
        return self.home / "life-line"

    @property
    def end(self) -> Path:
        """When QEMU ended, in seconds since the epoch, by its keeper; empty before."""
        return self.home / "end"

    @property
    def shares_log(self) -> Path:
        """What the virtiofsds of its shared directories wrote to their standard error."""
        return self.home / "virtiofsd.log"

    @property
    def shares_note(self) -> Path:
        """A line for each virtiofsd that ended before its QEMU; locked as long as they have a keeper."""
        return self.home / "shares-end"

    @property
    def saved_state_part(self) -> Path:
        """The saved state while it is being written; what a killed command leaves of it is cleared away."""
        return self.home / ".saved-state.tmp"

    @property
    def saved_state_used(self) -> Path:
        """The saved state once a machine goes on from it: never to be loaded again."""
        return self.home / ".saved-state.used.tmp"

    @property
    def saved_state_needs(self) -> Path:
        """What the saved state needs to be loaded."""
        return self.home / "saved-state.json"


#: The same by their names alone: QEMU runs in the VM's directory.
NAMES = QemuFiles(Path())
