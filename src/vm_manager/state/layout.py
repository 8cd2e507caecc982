"""Every file name of the data directory, in one place; those that a hypervisor alone knows are its backend's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

#: What precedes a VM's name while it is made, and while it is removed.
PREPARING, LEAVING = ".preparing-", ".destroying-"


@dataclass(frozen=True)
class DataDir:
    """The root: `$XDG_DATA_HOME/vmctl`."""

    root: Path

    @property
    def vms(self) -> Path:
        """A directory per VM; names that begin with a dot are VMs being made or removed."""
        return self.root / "vms"

    @property
    def locks(self) -> Path:
        """A lock file per VM name. Outside the VM's directory, so that this may be replaced while the lock is held."""
        return self.root / "locks"

    @property
    def console_locks(self) -> Path:
        """A lock file per VM name, held by whoever is at its console."""
        return self.locks / "console"

    @property
    def images(self) -> Path:
        """The image cache."""
        return self.root / "images"

    @property
    def original_registry(self) -> Path:
        """The registry of the Rust project vm-manager, which keeps its VMs in the same place."""
        return self.root / "vms.json"

    @property
    def crashes(self) -> Path:
        """Crash reports of vmctl itself."""
        return self.root / "crashes"

    def home(self, name: str) -> Path:
        """The directory of a VM."""
        return self.vms / name

    def staging(self, name: str) -> Path:
        """Where a VM is made before it appears under its name."""
        return self.vms / f"{PREPARING}{name}"

    def leaving(self, name: str) -> Path:
        """Where a VM is moved before its files are removed."""
        return self.vms / f"{LEAVING}{name}"


@dataclass(frozen=True)
class ImageFiles:
    """The image cache: what URLs lead to, and images by what is in them."""

    root: Path

    @property
    def lock(self) -> Path:
        """Shared by whoever makes a disk on an image, held alone by whoever removes images."""
        return self.root / "lock"

    @property
    def by_url(self) -> Path:
        """A directory per URL, named by the URL's SHA-256: `meta.json`, `lock`, and what is being fetched."""
        return self.root / "by-url"

    @property
    def by_digest(self) -> Path:
        """A directory per image, named by the digest of the file as it was served: `data`, `meta.json`."""
        return self.root / "by-digest"


@dataclass(frozen=True)
class InstanceFiles:
    """The files in a VM's directory."""

    home: Path

    @property
    def record(self) -> Path:
        """The record."""
        return self.home / "vm.json"

    @property
    def record_backup(self) -> Path:
        """The record once more, as it was written last: for when that is damaged."""
        return self.home / "vm.json.bak"

    @property
    def journal(self) -> Path:
        """One line for each success and failure of an operation."""
        return self.home / "journal.jsonl"

    @property
    def overlay(self) -> Path:
        """The root disk: a qcow2 overlay on the base image."""
        return self.home / "overlay.qcow2"

    @property
    def efi_variables(self) -> Path:
        """The variable store of UEFI firmware, as qcow2: snapshots take no other."""
        return self.home / "efivars.qcow2"

    @property
    def drives(self) -> Path:
        """The directory of the VM's other disks, which are kept when the VM is replaced."""
        return self.home / "drives"

    def drive(self, name: str) -> Path:
        """One of them."""
        return self.drives / f"{name}.qcow2"

    @property
    def seed(self) -> Path:
        """The cloud-init seed."""
        return self.home / "seed.iso"

    @property
    def user_key(self) -> Path:
        """The generated private key that opens the guest; its public half has `.pub` behind it."""
        return self.home / "id_ed25519_generated"

    @property
    def host_key(self) -> Path:
        """The guest's own SSH host key, which the seed carries into it."""
        return self.home / "ssh_host_ed25519_key"

    @property
    def known_hosts(self) -> Path:
        """The pinned host keys, under the VM's name as host key alias."""
        return self.home / "known_hosts"

    @property
    def console_log(self) -> Path:
        """What the guest wrote to its serial console."""
        return self.home / "console.log"

    @property
    def provision_log(self) -> Path:
        """What the provisioners wrote."""
        return self.home / "provision.log"

    @property
    def saved_state(self) -> Path:
        """The memory and devices of a machine that was saved; while it stands here, that machine has not run since."""
        return self.home / "saved-state"
