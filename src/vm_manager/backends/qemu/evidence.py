"""What QEMU has said of a failure."""

from __future__ import annotations

from vm_manager.backends.qemu.files import QemuFiles
from vm_manager.diagnostics.model import Evidence
from vm_manager.host.text import quoted_log


def qemu_log(files: QemuFiles, title: str = "QEMU's log") -> tuple[Evidence, ...]:
    """What is in QEMU's log; empty when there is nothing in it."""
    log = quoted_log(files.qemu_log, kind="qemu_log", title=title)
    return (log,) if log else ()


def reason(text: object) -> tuple[Evidence, ...]:
    """What QEMU answers for a reason; empty when it gives none."""
    return (Evidence("qmp", "QEMU's reason", (str(text),)),) if text else ()
