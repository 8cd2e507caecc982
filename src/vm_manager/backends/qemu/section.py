"""The QEMU backend's own section of the instance record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, cast

import msgspec

from vm_manager.domain.capabilities import BackendData
from vm_manager.domain.instance import InstanceRecord, SandboxKind
from vm_manager.domain.network import Forward
from vm_manager.domain.share import ShareType
from vm_manager.domain.spec import Accelerator, VmSpec
from vm_manager.state.decoding import convert

_Uuid = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")]
_Mac = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$")]
_Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]


@dataclass(frozen=True, kw_only=True)
class QemuData:
    """What the backend must remember of a VM.

    mac: of the first card. ssh_port: on 127.0.0.1, of the last start; preferred at the next.
    forwarded: the forwards of the VMFile at the last start, with the ports that were picked; preferred at the next.
    drives: the names of those of the last start. share_type: of its shared directories at the last start; share_reason: why that.
    argv: of the last start. accelerator: of the last start, and why that one. sandbox: of the last start, and how far it goes.
    """

    uuid: _Uuid
    mac: _Mac
    ssh_port: _Port | None = None
    forwarded: tuple[Forward, ...] = ()
    accelerator: Accelerator | None = None
    accelerator_reason: str = ""
    sandbox: SandboxKind | None = None
    sandbox_reason: str = ""
    drives: tuple[str, ...] = ()
    share_type: ShareType | None = None
    share_reason: str = ""
    argv: tuple[str, ...] = ()
    version: Literal[1] = 1

    @classmethod
    def of(cls, record: InstanceRecord) -> QemuData:
        """The section of a record. Raises: `ValueError` where it is damaged."""
        try:
            return convert(record.backend_data, cls)
        except msgspec.ValidationError as error:
            raise ValueError(f"backend_data: {error}") from error

    def macs(self, spec: VmSpec) -> tuple[str, ...]:
        """The MAC addresses of a machine's cards, in their order: given, or made from its uuid and so always the same."""
        generated = (self.mac, *(_made_from(f"{self.uuid} {number}") for number in range(1, len(spec.networks))))
        return tuple(card.mac or mac for card, mac in zip(spec.networks, generated, strict=False))

    def plain(self) -> BackendData:
        """The section as plain data, for the record."""
        return cast("BackendData", msgspec.to_builtins(self))


def _made_from(text: str) -> str:
    """A MAC address below QEMU's prefix, which is locally administered."""
    import hashlib  # `vmctl list` does without

    return ":".join(("52", "54", "00", *(f"{byte:02x}" for byte in hashlib.sha256(text.encode()).digest()[:3])))
