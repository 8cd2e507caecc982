"""What a virtual machine shall be: the resolved form of one `vm` block, with every default filled in and every path absolute.

A spec is what plans, backends and guests work from, and what the instance record keeps. Spans point into the VMFile it came
from; they take no part in comparisons, so that moving a block in the file changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from vm_manager.diagnostics.spans import Span
from vm_manager.domain.architecture import Architecture
from vm_manager.domain.network import Forward, Network, NetworkMode, Peer, Transport
from vm_manager.domain.share import Mount

_TITLE_CHARS = 72


class Accelerator(StrEnum):
    """How guest code is executed. AUTO: KVM where it works, else TCG."""

    AUTO = "auto"
    KVM = "kvm"
    TCG = "tcg"


#: How long a guest may take to be ready where its VMFile does not say, in seconds.
BOOT_TIMEOUT_S = {Accelerator.KVM: 600, Accelerator.TCG: 1800}


@dataclass(frozen=True, kw_only=True)
class Drive:
    """A disk beside the root disk. name: unique in the VM; the guest finds it by that, as its serial number.

    span: of the size in the VMFile.
    """

    name: str
    size_bytes: int
    span: Span | None = field(default=None, compare=False)


class ProvisionerKind(StrEnum):
    """SHELL: run a command or a script in the guest. FILE: put a file into it."""

    SHELL = "shell"
    FILE = "file"


class Firmware(StrEnum):
    """What a machine starts with. BIOS: SeaBIOS. UEFI: what this host has of it, with a variable store of the machine's own."""

    BIOS = "bios"
    UEFI = "uefi"


def usual_firmware(architecture: Architecture) -> Firmware:
    """What a machine starts with where nothing is said of it: there is no BIOS but x86's."""
    return Firmware.BIOS if architecture is Architecture.X86_64 else Firmware.UEFI


class OnError(StrEnum):
    """What a failure of cloud-init is. FAIL: one of `up`; WARN: a warning, for images that always complain."""

    FAIL = "fail"
    WARN = "warn"


@dataclass(frozen=True, kw_only=True)
class ImageSource:
    """The base image: an absolute `path`, or a `url` that is fetched into the cache; exactly one of them.

    sha256, sha512: what the file at the URL must have, hexadecimal. checksum_url: where a list has one of the two.
    They say how the image is checked, not which it is, and take no part in comparisons. span: of it in the VMFile.
    architecture: which of a registry's images under one name, where it is not the host's.
    """

    path: str | None = None
    url: str | None = None
    sha256: str | None = field(default=None, compare=False)
    sha512: str | None = field(default=None, compare=False)
    checksum_url: str | None = field(default=None, compare=False)
    architecture: Architecture | None = None
    span: Span | None = field(default=None, compare=False)

    @property
    def digests(self) -> tuple[str, ...]:
        """The checksums with their algorithms: `sha256:…`, `sha512:…`."""
        given = (("sha256", self.sha256), ("sha512", self.sha512))
        return tuple(f"{algorithm}:{value.lower()}" for algorithm, value in given if value)


@dataclass(frozen=True, kw_only=True)
class CloudInit:
    """What the guest is told at its first boot.

    ssh_key: absolute path of the public key that may log in, or None: a pair is generated.
    user_data: absolute path of raw user-data that replaces vmctl's own, or None.
    network_config: absolute path of cloud-init's network configuration, or None.
    on_error: what a module that fails does to `up`; nothing of the VM itself, so it takes no part in comparisons.
    """

    hostname: str
    ssh_key: str | None = None
    user_data: str | None = None
    network_config: str | None = None
    on_error: OnError = field(default=OnError.FAIL, compare=False)


@dataclass(frozen=True, kw_only=True)
class SshAccess:
    """How the guest is reached. private_key: absolute path, or None to look in the usual places; port: in the guest.

    span: of the user in the VMFile.
    """

    user: str = "vm"
    private_key: str | None = None
    port: int = 22
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True, kw_only=True)
class Provisioner:
    """One provisioning step.

    shell: exactly one of `inline` (a command line) and `script` (an absolute path); env: names and values; once: not run
    again after it has succeeded.
    file: `source` (the absolute path of a file or directory) and `destination` (an absolute path in the guest); mode: None
    for the source's; owner: `user` or `user:group`, None for whoever writes it.
    content: a digest of what the script or source holds, where somebody has looked; like `span`, it takes no part in comparisons.
    span: the step in the VMFile.
    """

    kind: ProvisionerKind
    inline: str | None = None
    script: str | None = None
    source: str | None = None
    destination: str | None = None
    env: tuple[tuple[str, str], ...] = ()
    once: bool = False
    mode: int | None = None
    owner: str | None = None
    content: str | None = field(default=None, compare=False)
    span: Span | None = field(default=None, compare=False)

    @property
    def title(self) -> str:
        """The step in a few words, for displays."""
        if self.kind is ProvisionerKind.FILE:
            return f"file {self.destination}"
        if self.script:
            return f"script {self.script}"
        command = " ".join((self.inline or "").split())
        return f"shell {command if len(command) <= _TITLE_CHARS else f'{command[:_TITLE_CHARS]}…'}"

    @property
    def identity(self) -> str:
        """What tells it from other steps, wherever it stands: a step that is written anew, or whose file is, is another one."""
        return f"{self._words}:{self.content}" if self.content else self._words

    def is_known_as(self, identity: str) -> bool:
        """Whether an identity is this step's. Where either does not tell the content of its file, the words decide."""
        words, _, content = identity.partition(":")
        return words == self._words and (not content or not self.content or content == self.content)

    @property
    def _words(self) -> str:
        file = self.kind is ProvisionerKind.FILE
        words = (self.source, self.destination, self.mode, self.owner) if file else (self.inline, self.script, self.env)
        import hashlib  # `vmctl list` does without

        return hashlib.sha256(repr(words).encode()).hexdigest()[:16]


class Effect(StrEnum):
    """When a changed field of a `VmSpec` takes effect on a VM that exists.

    AT_CREATION: with a new VM. AT_START: when its machine is started. AT_ONCE: with the next command.
    """

    AT_CREATION = "at creation"
    AT_START = "at start"
    AT_ONCE = "at once"


def _takes(effect: Effect, word: str) -> dict[str, Any]:
    """The metadata of a field of `VmSpec`. word: what the VMFile calls it."""
    return {"effect": effect, "word": word}


@dataclass(frozen=True, kw_only=True)
class VmSpec:
    """One virtual machine.

    memory_mib, disk_bytes (None: as large as the image), boot_timeout_s (None: by accelerator).
    networks: its cards; at most one of them is NetworkMode.USER. forwards: ports of this host that lead through that one.
    peers: the other VMs on its private networks.
    isolated: with NetworkMode.USER: nothing but its forwards is reached through the network, and nothing from the guest.
    drives: made at the first start, grown at a later one, never made smaller, and kept when the VM is replaced.
    mounts: directories of this host in the guest.
    cpu: QEMU's name of a CPU model, or None for the accelerator's default.
    depends_on: names of VMs of the same VMFile that must be ready before this one starts.
    Each field says when a change takes effect; see `planning.changes`.
    """

    name: str = field(metadata=_takes(Effect.AT_CREATION, "vm"))
    image: ImageSource = field(metadata=_takes(Effect.AT_CREATION, "image"))
    arch: Architecture = field(default=Architecture.X86_64, metadata=_takes(Effect.AT_CREATION, "arch"))
    vcpus: int = field(default=1, metadata=_takes(Effect.AT_START, "vcpus"))
    memory_mib: int = field(default=1024, metadata=_takes(Effect.AT_START, "memory"))
    disk_bytes: int | None = field(default=None, metadata=_takes(Effect.AT_CREATION, "disk"))
    accelerator: Accelerator = field(default=Accelerator.AUTO, metadata=_takes(Effect.AT_START, "accel"))
    cpu: str | None = field(default=None, metadata=_takes(Effect.AT_START, "cpu"))
    boot_timeout_s: int | None = field(default=None, metadata=_takes(Effect.AT_ONCE, "boot-timeout"))
    networks: tuple[Network, ...] = field(default=(Network(),), metadata=_takes(Effect.AT_CREATION, "network"))
    forwards: tuple[Forward, ...] = field(default=(), metadata=_takes(Effect.AT_START, "forward"))
    peers: tuple[Peer, ...] = field(default=(), metadata=_takes(Effect.AT_START, "the VMs on its private network"))
    isolated: bool = field(default=False, metadata=_takes(Effect.AT_START, "isolated"))
    firmware: Firmware = field(default=Firmware.BIOS, metadata=_takes(Effect.AT_START, "firmware"))
    drives: tuple[Drive, ...] = field(default=(), metadata=_takes(Effect.AT_START, "drive"))
    mounts: tuple[Mount, ...] = field(default=(), metadata=_takes(Effect.AT_START, "mount"))
    cloud_init: CloudInit | None = field(default=None, metadata=_takes(Effect.AT_CREATION, "cloud-init"))
    ssh: SshAccess | None = field(default=None, metadata=_takes(Effect.AT_CREATION, "ssh"))
    provisioners: tuple[Provisioner, ...] = field(default=(), metadata=_takes(Effect.AT_ONCE, "provision"))
    depends_on: tuple[str, ...] = field(default=(), metadata=_takes(Effect.AT_ONCE, "depends-on"))
    span: Span | None = field(default=None, compare=False, metadata=_takes(Effect.AT_ONCE, ""))

    @property
    def has_seed(self) -> bool:
        """Whether the guest gets a cloud-init seed: with a cloud-init, ssh or provision block."""
        return bool(self.cloud_init or self.ssh or self.provisioners)

    @property
    def is_reachable(self) -> bool:
        """Whether there is a network to wait for, log in and provision through."""
        return any(card.mode is not NetworkMode.PRIVATE for card in self.networks)

    @property
    def user_network(self) -> int | None:
        """Which card is on QEMU's own network; None: none."""
        return next((number for number, card in enumerate(self.networks) if card.mode is NetworkMode.USER), None)

    @property
    def bridges(self) -> dict[int, str]:
        """The bridges of the host that its cards are on, by the numbers of the cards."""
        return {number: card.bridge for number, card in enumerate(self.networks) if card.bridge}

    @property
    def has_own_address(self) -> bool:
        """Whether its guest is reached at an address of its own, which has to be found out: no port of this host leads to it."""
        return self.user_network is None and bool(self.bridges)

    @property
    def private_cards(self) -> tuple[Network, ...]:
        """Its cards on private networks."""
        return tuple(card for card in self.networks if card.mode is NetworkMode.PRIVATE)

    @property
    def network_words(self) -> str:
        """Its networks, for displays."""
        return ", ".join(card.words for card in self.networks) or NetworkMode.NONE

    @property
    def access(self) -> SshAccess:
        """How the guest is reached, with the defaults where there is no ssh block."""
        return self.ssh or SshAccess()

    @property
    def ssh_forward(self) -> Forward:
        """What leads to the guest's sshd: a forward of the VMFile that does, or one of vmctl's own."""
        own = Forward(guest=self.access.port)
        declared = (forward for forward in self.forwards if forward.transport is Transport.TCP)
        return next((forward for forward in declared if forward.guest == own.guest), own)

    @property
    def hostname(self) -> str:
        """The guest's host name."""
        return self.cloud_init.hostname if self.cloud_init else self.name
