"""What a virtual machine is: the record kept of it, and what a look at it shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from vm_manager.domain.capabilities import Feature
from vm_manager.domain.network import Forward
from vm_manager.domain.share import ShareType
from vm_manager.domain.spec import Accelerator, VmSpec

if TYPE_CHECKING:
    import os

    from vm_manager.diagnostics.errors import VmError
    from vm_manager.diagnostics.model import Evidence

#: The version of the record's form; a record with a higher one was written by a newer vmctl.
RECORD_SCHEMA = 4

#: The "operation" of failures that came while no command was at work: the guest ran.
INCIDENT = "run"

#: What `Snapshot.without` calls the disks that are no drives.
ROOT_DISK, UEFI_VARIABLES = "the present root disk", "the UEFI variables"

#: The origin of a VM that was made by `vmctl create`; others have the path of their VMFile.
CREATED_BY_HAND = "create"


class VmState(StrEnum):
    """The states of an instance, derived from what is true, never from a stored word alone.

    PREPARING: being made. PREPARED: never started. SUSPENDED: its vCPUs are paused, or it is saved to disk. FAILED: made or
    started incompletely, stopped by QEMU after an error, or without a process that can run. DESTROYED: its rest is being removed.
    """

    PREPARING = "preparing"
    PREPARED = "prepared"
    RUNNING = "running"
    SUSPENDED = "suspended"
    STOPPED = "stopped"
    FAILED = "failed"
    DESTROYED = "destroyed"


@dataclass(frozen=True, kw_only=True)
class BaseImage:
    """The image an overlay stands on, as it was when the overlay was made.

    digest: `sha256:…` or `sha512:…` of the file as it was served; None for a file of this host.
    format: raw or qcow2; None where nothing reads it, and in the records of an early vmctl, which let QEMU guess.
    inode, ctime_ns: change also when the size and the time of the last change are made to look the same; None as above.
    content: `sha256:…` of the file itself; None as long as nobody had the time for it.
    """

    path: str
    size_bytes: int
    mtime_ns: int
    digest: str | None = None
    format: str | None = None
    inode: int | None = None
    ctime_ns: int | None = None
    content: str | None = None

    def looks_like(self, status: os.stat_result) -> bool:
        """Whether a file has the size and the time of the last change that the image had."""
        return (status.st_size, status.st_mtime_ns) == (self.size_bytes, self.mtime_ns)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far `up` has come.

    started: it has run at least once.
    ready: it has been ready since its last start.
    reached: it has been ready at least once, so that a later start can be expected to get there, too.
    host_key_verified: its SSH host key has been seen to be the pinned one, or was pinned at first sight.
    mounted: its guest has lines for shared directories in its fstab.
    done: the identities of the provisioners that have succeeded since its last start, in order, from the first on without a gap.
    once_done: the identities of provisioners that run once and have succeeded since the VM was made.
    """

    started: bool = False
    ready: bool = False
    reached: bool = False
    host_key_verified: bool = False
    mounted: bool = False
    done: tuple[str, ...] = ()
    once_done: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class InstanceRecord:
    """The record of an instance, `vm.json`.

    origin: the real path of the VMFile it came from, or `CREATED_BY_HAND`.
    instance_id: unique per creation; cloud-init runs its first-boot modules once per instance id.
    created_at: UTC, ISO 8601.
    seeded: whether it was made with a cloud-init seed. inputs: the SHA-256 of each file that went into it, by its word in the
    VMFile.
    backend_data: the backend's own versioned section.
    """

    name: str
    origin: str
    instance_id: str
    created_at: str
    spec: VmSpec
    base_image: BaseImage
    backend: str
    seeded: bool = False
    inputs: Mapping[str, str] = field(default_factory=dict)
    backend_data: Mapping[str, object] = field(default_factory=dict)
    progress: Progress = Progress()
    schema: int = RECORD_SCHEMA

    @property
    def has_login(self) -> bool:
        """Whether there is a guest's login that can be waited for; without one a VM is ready as soon as it runs."""
        return self.spec.is_reachable and bool(self.seeded or self.spec.ssh)


@dataclass(frozen=True)
class Endpoint:
    """Where the guest's sshd is reached from this host. host: a name, or an address, with its link where it is link-local."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Observation:
    """What a backend sees when it looks at an instance.

    alive: whether the machine is powered on, be its vCPUs running or not.
    pid: of the hypervisor's process, where there is one.
    resumable: whether a failed one that is alive can go on once its trouble is mended, such as a full disk;
    a backend without `Feature.SUSPEND` has neither that nor machines that are alive and SUSPENDED.
    ssh: where the guest's sshd is reached: at a port that the backend forwards, or at an address of the guest's own.
    forwards: the other ports of this host that lead into it.
    saved: whether it is powered off with its state saved to disk.
    detail: the hypervisor's own word for the state, why it could not be asked, or how it came to be off.
    answers: whether the hypervisor of one that is alive could be asked; where its process cannot run, the state is FAILED.
    """

    state: VmState
    alive: bool = False
    pid: int | None = None
    ssh: Endpoint | None = None
    detail: str | None = None
    resumable: bool = False
    saved: bool = False
    answers: bool = True
    forwards: tuple[Forward, ...] = ()


@dataclass(frozen=True)
class Vitals:
    """What shows whether a guest gets anywhere, counted since power-on.

    disk_operations: reads, writes and flushes of its disks; disk_writes: the writes among them. resets: how often it restarted.
    waited_s: for how many seconds it was ready to run and this host had no CPU for it; that is nothing that the guest does, and
    takes no part in comparisons.
    """

    disk_operations: int
    resets: int
    disk_writes: int = 0
    waited_s: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class Execution:
    """Where a machine's vCPUs are at one moment.

    addresses: of the instruction of each. in_system: whether one of them is in an operating system, its kernel or a program, and
    no longer in firmware or a boot loader. idle: whether all of them are halted until something happens.
    """

    addresses: tuple[int, ...]
    in_system: bool
    idle: bool = False


@dataclass(frozen=True)
class Acceleration:
    """What has executed a machine's code since its last start, and why that."""

    accelerator: Accelerator
    reason: str


class SandboxKind(StrEnum):
    """What keeps a hypervisor from the user's files. LANDLOCK: the kernel's Landlock. NONE: nothing."""

    LANDLOCK = "landlock"
    NONE = "none"


@dataclass(frozen=True)
class Confinement:
    """The sandbox of a machine's hypervisor since its last start; reason: how far it goes, or why there is none."""

    sandbox: SandboxKind
    reason: str


@dataclass(frozen=True)
class Incident:
    """What befell a machine that no command was at work on.

    time: when, UTC, ISO 8601; where that is not known, of the last sign of life.
    passing: it holds as long as it is seen, and leaves nothing to be told of afterwards.
    """

    time: str
    error: VmError
    passing: bool = False


@dataclass(frozen=True)
class LastFailure:
    """The last failure of an instance that still counts.

    time: UTC, ISO 8601. operation: the step that failed, or `INCIDENT`.
    """

    time: str
    operation: str
    code: str
    message: str
    help: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True)
class Instance:
    """An instance as a look at it shows: its record, what its backend sees, and its last failure.

    features: what its backend has; see `Capabilities`.
    drives: the sizes in bytes of the disks that there are for drives, attached or not, by the drives' names.
    macs: of its cards, in their order; empty where they are not known.
    share_type: how its directories have been shared since its last start.
    """

    record: InstanceRecord
    observation: Observation
    home: str
    last_failure: LastFailure | None = None
    acceleration: Acceleration | None = None
    confinement: Confinement | None = None
    features: frozenset[Feature] = frozenset(Feature)
    drives: Mapping[str, int] = field(default_factory=dict)
    macs: tuple[str, ...] = ()
    share_type: ShareType | None = None

    @property
    def name(self) -> str:
        """Its name, which is also its directory's."""
        return self.record.name

    @property
    def state(self) -> VmState:
        """Its state as the backend sees it; failed when its last start did not succeed."""
        if not self.alive and not self.saved and self.last_failure and self.last_failure.operation == "start":
            return VmState.FAILED
        return self.observation.state

    @property
    def alive(self) -> bool:
        """Whether the machine is powered on, be its vCPUs running or not."""
        return self.observation.alive

    @property
    def ports(self) -> tuple[Forward, ...]:
        """The ports of this host that lead into it now, that of its sshd first."""
        own, ssh = self.record.spec.ssh_forward, self.observation.ssh
        others = self.observation.forwards
        if ssh is None or self.record.spec.has_own_address or own in self.record.spec.forwards:
            return others
        return (Forward(guest=own.guest, host=ssh.port, address=ssh.host), *others)

    @property
    def saved(self) -> bool:
        """Whether it is powered off with its state saved to disk."""
        return self.observation.saved

    @property
    def stopped_by_error(self) -> bool:
        """Whether it is powered on, but a panic, a full disk or the like has stopped its vCPUs."""
        return self.alive and self.observation.state is VmState.FAILED

    @property
    def ready(self) -> bool:
        """Whether its guest is ready, as far as vmctl knows; one that is suspended is not, until it is resumed."""
        return self.alive and self.observation.state is VmState.RUNNING and self.record.progress.ready


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A state of a VM that can be gone back to.

    created_at: UTC, ISO 8601.
    memory_bytes: the size of the machine's memory and devices in it; 0: it holds the disks only.
    without: the disks of the VM that are not in it, in words, such as `drive 'data'`. detached: those that are in it, and are not
    attached now. With any of them, it cannot be gone back to.
    """

    tag: str
    created_at: str
    memory_bytes: int
    without: tuple[str, ...] = ()
    detached: tuple[str, ...] = ()

    @property
    def trouble(self) -> str:
        """Why it cannot be gone back to, as a clause; empty when it can."""
        parts = [f"without {' and '.join(self.without)}"] if self.without else []
        if self.detached:
            parts.append(f"with {' and '.join(self.detached)}, not attached now")
        return f"was taken {' and '.join(parts)}" if parts else ""
