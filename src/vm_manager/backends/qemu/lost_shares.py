"""A shared directory that is served no more while the guest runs: QEMU does not say so, and the guest waits for ever."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from vm_manager.backends.qemu.files import QemuFiles
from vm_manager.backends.qemu.pid_file import is_held
from vm_manager.diagnostics.errors import ShareLost
from vm_manager.diagnostics.model import Evidence
from vm_manager.domain.instance import Incident
from vm_manager.host.process import describe_status
from vm_manager.host.text import quoted_log


def lost_share(files: QemuFiles) -> tuple[float, str] | None:
    """Since when, and how, a directory of a QEMU that lives is served no more; None: all are. Never fails."""
    try:
        said = files.shares_note.read_text()
        if said:
            when, target, status = json.loads(said.splitlines()[0])
            return float(when), f"the virtiofsd for {target} {describe_status(int(status))}"
        if is_held(files.shares_note):
            return None
        return files.shares_note.stat().st_mtime, "the virtiofsds of its shared directories are gone"
    except (OSError, ValueError, TypeError):
        return None


def shares_evidence(files: QemuFiles) -> tuple[Evidence, ...]:
    """The end of the virtiofsds' log."""
    log = quoted_log(files.shares_log, kind="virtiofsd_log", title="virtiofsd's log")
    return (log,) if log else ()


def share_lost(name: str, files: QemuFiles) -> Incident | None:
    """The same as what befell the machine."""
    found = lost_share(files)
    if found is None:
        return None
    error = ShareLost(
        "{what}: the guest waits for ever where it uses the directory",
        {"what": found[1]},
        help=(f"`vmctl restart {name}` starts it anew; files that the guest had open may be incomplete",),
        evidence=shares_evidence(files),
    )
    return Incident(datetime.fromtimestamp(found[0], UTC).isoformat(timespec="milliseconds"), error)
