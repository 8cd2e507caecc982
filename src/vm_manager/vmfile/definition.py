"""A VMFile as it was written: typed, but with nothing filled in and nothing looked up; every value knows its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from vm_manager.diagnostics.spans import Span
from vm_manager.domain.spec import Accelerator, NetworkMode, ProvisionerKind

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Located(Generic[T_co]):
    """A value and where it stands."""

    value: T_co
    span: Span


Text = Located[str]


@dataclass(frozen=True, kw_only=True)
class CloudInitDefinition:
    """A cloud-init block."""

    hostname: Text | None = None
    ssh_key: Text | None = None
    user_data: Text | None = None


@dataclass(frozen=True, kw_only=True)
class SshDefinition:
    """An ssh block."""

    user: Text | None = None
    private_key: Text | None = None
    port: Located[int] | None = None


@dataclass(frozen=True, kw_only=True)
class ProvisionDefinition:
    """A provision block; span: its first line."""

    kind: Located[ProvisionerKind]
    span: Span
    inline: Text | None = None
    script: Text | None = None
    source: Text | None = None
    destination: Text | None = None


@dataclass(frozen=True, kw_only=True)
class VmDefinition:
    """A vm block. memory_mib in MiB, disk_bytes in bytes, boot_timeout_s in seconds; span: its first line.

    has_image: whether an image was given at all, be it wrong.
    """

    name: Text
    span: Span
    has_image: bool = False
    image: Text | None = None
    image_url: Text | None = None
    vcpus: Located[int] | None = None
    memory_mib: Located[int] | None = None
    disk_bytes: Located[int] | None = None
    accelerator: Located[Accelerator] | None = None
    cpu: Text | None = None
    boot_timeout_s: Located[int] | None = None
    network: Located[NetworkMode] | None = None
    cloud_init: CloudInitDefinition | None = None
    ssh: SshDefinition | None = None
    provisioners: tuple[ProvisionDefinition, ...] = ()
