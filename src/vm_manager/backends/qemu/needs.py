"""What a saved state needs to be loaded: the same QEMU with the same command line.

QEMU itself finds out little of that: another CPU model or one more device loads without complaint.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from vm_manager.backends.qemu.answers import mapping
from vm_manager.backends.qemu.command import BASE_NODE
from vm_manager.backends.qemu.files import QemuFiles
from vm_manager.backends.qemu.monitor import Monitor
from vm_manager.diagnostics.errors import MigrationFailed, StateCorrupt
from vm_manager.diagnostics.model import Evidence
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.domain.bounded_json import Unreadable, parse
from vm_manager.domain.owners import read_own
from vm_manager.state.decoding import decode
from vm_manager.state.files import write_atomically

_READ_BYTES = 1024 * 1024
_WORD_CHARS = 64 * 1024
# The ports on this host are no part of the machine, and others may be free next time; nor are the numbers of descriptors.
_FORWARDS = re.compile(r",hostfwd=[^,]*")
_DESCRIPTOR = re.compile(r"^(tap,id=net\d+),fd=\w+$")


@dataclass(frozen=True, kw_only=True)
class Needs:
    """qemu: major and minor version. argv: see `normalised`. size_bytes, sha256: of the state's file."""

    qemu: str
    argv: tuple[str, ...]
    size_bytes: int
    sha256: str
    version: int = 1

    @classmethod
    def of_running(cls, monitor: Monitor, pid: int | None, size_bytes: int, sha256: str) -> Needs:
        """What the state of a running QEMU needs; its own word counts, not what was meant to be started."""
        with os_errors(f"/proc/{pid}/cmdline"), Path(f"/proc/{pid}/cmdline").open("rb") as file:
            words = file.read(_READ_BYTES).decode(errors="surrogateescape").split("\0")[:-1]
        return cls(qemu=version(monitor), argv=normalised(words), size_bytes=size_bytes, sha256=sha256)


def normalised(argv: Sequence[str]) -> tuple[str, ...]:
    """A command line without what may differ from start to start.

    That is the port on this host, the number of a descriptor, how the vCPUs are held back, and what is below the disk: another
    check sees to that, the guest sees none of it, and an early vmctl did not name it.
    """
    words = [_without_base(word) for word in argv]
    for base in [at for at, word in enumerate(words) if word == ""][::-1]:
        del words[base - 1 : base + 1]
    if "-incoming" in words:
        at = words.index("-incoming")
        del words[at : at + 2]
    return tuple(_DESCRIPTOR.sub(r"\1", _FORWARDS.sub("", word)) for word in words if word != "-S")


def _without_base(word: str) -> str:
    """A block device's option as it is without the base; empty for the base's own."""
    if not word.startswith("{"):
        return word
    try:
        options = parse(word, most_bytes=_WORD_CHARS)
    except Unreadable:
        return word
    if not isinstance(options, dict):
        return word
    if options.get("node-name") in (BASE_NODE, f"{BASE_NODE}-file"):
        return ""
    if options.get("backing") != BASE_NODE:
        return word
    del options["backing"]
    return json.dumps(options)


def version(monitor: Monitor) -> str:
    """QEMU's major and minor version: those with the same load each other's states."""
    numbers = mapping(mapping(monitor.execute("query-version")).get("qemu"))
    return f"{numbers.get('major')}.{numbers.get('minor')}"


def write_needs(files: QemuFiles, needs: Needs) -> None:
    """Raises: `host::disk_full`, `io`."""
    write_atomically(files.saved_state_needs, msgspec.json.format(msgspec.json.encode(needs), indent=2) + b"\n")


def read_needs(files: QemuFiles) -> Needs:
    """Raises: `state::corrupt`."""
    path = files.saved_state_needs
    try:
        return decode(read_own(path, _READ_BYTES), Needs)
    except (OSError, msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise StateCorrupt(
            "{path}, which says what the saved state needs, is not readable",
            {"path": str(path)},
            help=(f"to boot without the saved state: `vmctl start {files.home.name} --discard-saved-state`",),
        ) from error


def require_same_command_line(needs: Needs, argv: Sequence[str]) -> None:
    """Raises: `qemu::migration_failed`, with what differs."""
    # An early vmctl kept a part of the forwards.
    now, then = normalised(argv), tuple(_FORWARDS.sub("", word) for word in needs.argv)
    if now == then:
        return
    lines = [f"saved under: {word}" for word in then if word not in now]
    lines += [f"would be now: {word}" for word in now if word not in then]
    raise MigrationFailed(
        "the state was saved under another QEMU command line",
        evidence=(Evidence("probe", "what differs", tuple(lines) or ("the order of the options",)),),
    )


def require_same_version(needs: Needs, monitor: Monitor) -> None:
    """Raises: `qemu::migration_failed`."""
    now = version(monitor)
    if now != needs.qemu:
        raise MigrationFailed(
            "the state was saved by QEMU {saved}, and this is QEMU {now}", {"saved": needs.qemu, "now": now}
        )
