"""The picture on a guest's screen, as a PNG file. Source: `add-fd` and `screendump` in QEMU's QAPI.

QEMU writes to a file in memory that it is handed: its sandbox lets it make none, and a QEMU that a guest has taken over shall
neither fill a disk nor keep us waiting.
"""

from __future__ import annotations

import os
from pathlib import Path

from vm_manager.backends.qemu.short_session import Refused, ShortSession, short_session
from vm_manager.diagnostics.errors import QmpCommandFailed, QmpConnectFailed
from vm_manager.diagnostics.model import Evidence
from vm_manager.domain.file_kinds import PNG_SIGNATURE

# A screen of 4096 by 2160 without any compression has 35 MB.
_MOST_BYTES = 64 * 1024**2
_TIMEOUT_S = 15.0
_ANSWER_BYTES = 64 * 1024
# Of the file that QEMU is given, which is another one in each connection: they are numbered by QEMU.
_OPAQUE = "vmctl screenshot"
_END = b"IEND\xaeB`\x82"


def picture(name: str, home: Path) -> bytes:
    """The screen as PNG. Raises: `qemu::qmp_connect_failed`, `qemu::qmp_command_failed`."""
    memory = os.memfd_create("screenshot", os.MFD_CLOEXEC)
    try:
        _dump(name, home, memory)
        found = os.pread(memory, _MOST_BYTES, 0)
    finally:
        os.close(memory)
    if not found.startswith(PNG_SIGNATURE) or not found.endswith(_END):
        raise QmpCommandFailed("QEMU's picture of the screen of VM '{name}' is not a PNG file", {"name": name})
    return found


def _dump(name: str, home: Path, memory: int) -> None:
    try:
        with short_session(home, timeout_s=_TIMEOUT_S, most_bytes=_ANSWER_BYTES) as session:
            number = _add_file(session, memory)
            try:
                session.execute("screendump", {"filename": f"/dev/fdset/{number}", "format": "png"})
            finally:
                session.execute("remove-fd", {"fdset-id": number})
    except Refused as error:
        raise QmpCommandFailed(
            "QEMU did not take a picture of the screen of VM '{name}'",
            {"name": name},
            evidence=(Evidence("qmp", "QEMU's answer", (str(error),)),),
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise QmpConnectFailed("QEMU's monitor did not answer, or not as it should", retryable=True) from error


def _add_file(session: ShortSession, memory: int) -> int:
    """The number of a set with this file. It is opened anew: QEMU demands one that is for writing only."""
    writer = os.open(f"/proc/self/fd/{memory}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        found = session.execute("add-fd", {"opaque": _OPAQUE}, file=writer)
    finally:
        os.close(writer)
    if not isinstance(found, dict) or not isinstance(found["fdset-id"], int):
        raise TypeError("not the number of a set of files")
    return int(found["fdset-id"])
