"""The QEMU backend's own section of the instance record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import msgspec

from vm_manager.domain.backend import BackendData
from vm_manager.domain.instance import InstanceRecord, SandboxKind
from vm_manager.domain.spec import Accelerator


@dataclass(frozen=True, kw_only=True)
class QemuData:
    """What the backend must remember of a VM.

    ssh_port: on 127.0.0.1, of the last start; preferred at the next.
    argv: of the last start. accelerator: of the last start, and why that one. sandbox: of the last start, and how far it goes.
    """

    uuid: str
    mac: str
    ssh_port: int | None = None
    accelerator: Accelerator | None = None
    accelerator_reason: str = ""
    sandbox: SandboxKind | None = None
    sandbox_reason: str = ""
    argv: tuple[str, ...] = ()
    version: int = 1

    @classmethod
    def of(cls, record: InstanceRecord) -> QemuData:
        """The section of a record."""
        return msgspec.convert(record.backend_data, cls)

    def plain(self) -> BackendData:
        """The section as plain data, for the record."""
        return cast("BackendData", msgspec.to_builtins(self))
