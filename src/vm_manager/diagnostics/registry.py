"""Every code that vmctl can end with: one table that the classes, the help texts and the tests are made from.

Numbers are frozen and only ever appended. The exit codes group the codes by what a script would do about them.
"""

from __future__ import annotations

from dataclasses import dataclass

from vm_manager.diagnostics.model import Fault, Kind


@dataclass(frozen=True)
class Code:
    """One code of the table.

    meaning: when it is raised, as a sentence.
    help: what to do, said when the failure itself knows nothing better about this host.
    """

    code: str
    number: int
    exit_code: int
    kind: Kind
    fault: Fault
    meaning: str
    help: str


_EXPECTED, _FAILURE, _BUG = Kind.EXPECTED, Kind.FAILURE, Kind.BUG

_TABLE = (
    # The twenty of vm-manager, in its order.
    Code("vm_manager::qemu::spawn_failed", 1, 7, _FAILURE, Fault.HOST,
         "QEMU could not be started, or ended before its monitor answered.",
         "install QEMU so that `qemu-system-x86_64` is on PATH, and see what `vmctl status` quotes of its log"),
    Code("vm_manager::qemu::qmp_connect_failed", 2, 7, _FAILURE, Fault.HOST,
         "QEMU runs, but its monitor socket gives no usable answer.",
         "QEMU may hang or may have ended at start: look at qemu.log in the VM's directory, then `vmctl down`"),
    Code("vm_manager::qemu::qmp_command_failed", 3, 7, _FAILURE, Fault.HOST,
         "QEMU refused a monitor command.",
         "QEMU's own answer is the evidence; `vmctl status` shows the state the VM is in now"),
    Code("vm_manager::image::overlay_creation_failed", 4, 8, _FAILURE, Fault.HOST,
         "The qcow2 overlay on top of the base image could not be created.",
         "install qemu-img and check that the base image exists and is readable"),
    Code("vm_manager::network::ip_discovery_timeout", 5, 10, _FAILURE, Fault.GUEST,
         "The guest has no address that vmctl could find.",
         "the guest may have no DHCP lease: check the network block and the guest's cloud-init"),
    Code("vm_manager::propolis::unreachable", 6, 9, _FAILURE, Fault.REMOTE,
         "propolis-server does not answer.",
         "start propolis-server and check the address it listens on"),
    Code("vm_manager::cloudinit::iso_failed", 7, 13, _FAILURE, Fault.HOST,
         "The cloud-init seed image could not be written.",
         "check that the data directory is writable and has space"),
    Code("vm_manager::ssh::failed", 8, 11, _FAILURE, Fault.GUEST,
         "An SSH connection could not be made, or was lost.",
         "check that the guest runs and that sshd listens in it"),
    Code("vm_manager::ssh::keygen_failed", 9, 70, _BUG, Fault.VMCTL,
         "An Ed25519 key pair could not be generated.",
         "this is an internal error: please report it"),
    Code("vm_manager::image::download_failed", 10, 9, _FAILURE, Fault.REMOTE,
         "The image could not be downloaded completely.",
         "check the URL and the network connection, then run the command again"),
    Code("vm_manager::image::format_detection_failed", 11, 8, _FAILURE, Fault.CONFIG,
         "The file is no disk image that qemu-img can read.",
         "check with `qemu-img info` that the file is a complete disk image"),
    Code("vm_manager::image::conversion_failed", 12, 8, _FAILURE, Fault.HOST,
         "An image could not be converted to another format.",
         "install qemu-img and check that there is enough disk space"),
    Code("vm_manager::vm::not_found", 13, 4, _EXPECTED, Fault.USAGE,
         "There is no VM of that name.",
         "run `vmctl list` to see the VMs there are"),
    Code("vm_manager::vm::invalid_state", 14, 5, _EXPECTED, Fault.USAGE,
         "The operation is not possible in the state the VM is in.",
         "run `vmctl list` to see the state the VM is in"),
    Code("vm_manager::backend::not_available", 15, 6, _EXPECTED, Fault.HOST,
         "The backend does not exist or does not work on this platform.",
         "choose another backend with `--backend`, for example `--backend qemu`"),
    Code("vm_manager::vmfile::not_found", 16, 3, _EXPECTED, Fault.USAGE,
         "There is no VMFile.kdl here or above, or not where --file says.",
         "create a VMFile.kdl in this directory, or name one with `--file PATH`"),
    Code("vm_manager::vmfile::parse_failed", 17, 3, _EXPECTED, Fault.CONFIG,
         "The VMFile is not readable as KDL.",
         "correct the syntax; https://kdl.dev describes the language"),
    Code("vm_manager::vmfile::validation", 18, 3, _EXPECTED, Fault.CONFIG,
         "The VMFile is KDL, but does not describe VMs that vmctl could make.",
         "correct what is marked in the VMFile"),
    Code("vm_manager::provision::failed", 19, 12, _EXPECTED, Fault.GUEST,
         "A provisioning step did not succeed.",
         "correct the step, then run `vmctl up` to go on from it"),
    Code("vm_manager::io", 20, 14, _FAILURE, Fault.HOST,
         "A file of vmctl's own could not be read or written.",
         "check the rights, the space and the health of the file system that is named"),
    # Ours.
    Code("vmctl::usage", 21, 2, _EXPECTED, Fault.USAGE,
         "The command line was not understood.",
         "run `vmctl --help`, or `--help` behind the command"),
    Code("vmctl::partial", 22, 1, _FAILURE, Fault.VMCTL,
         "Several VMs failed, for different reasons.",
         "see the diagnostic of each VM"),
    Code("vmctl::interrupted", 23, 130, _EXPECTED, Fault.USAGE,
         "Ctrl-C or a termination signal ended the command.",
         "run the command again to go on from where it stopped"),
    Code("vmctl::bug", 24, 70, _BUG, Fault.VMCTL,
         "vmctl itself is at fault.",
         "please report it, with the crash report"),
    Code("vm_manager::vm::foreign", 25, 5, _EXPECTED, Fault.USAGE,
         "A VM of that name exists, but it was made from another VMFile.",
         "rename the VM in one of the two VMFiles"),
    Code("vm_manager::state::locked", 26, 5, _EXPECTED, Fault.USAGE,
         "Another vmctl command is working on the VM.",
         "wait until the other command has ended, then run this one again"),
    Code("vm_manager::state::corrupt", 27, 14, _FAILURE, Fault.HOST,
         "The record of a VM cannot be read.",
         "destroy the VM and create it again; its disk is still in the directory that is named"),
    Code("vm_manager::host::missing_tool", 28, 6, _EXPECTED, Fault.HOST,
         "A program that vmctl needs is not installed.",
         "install the program that is named"),
    Code("vm_manager::host::kvm_unusable", 29, 6, _EXPECTED, Fault.HOST,
         "Hardware acceleration (KVM) is absent, not allowed, or does not execute guests.",
         "use `accel \"auto\"` or `accel \"tcg\"` in the VMFile; TCG is slower but works everywhere"),
    Code("vm_manager::host::disk_full", 30, 6, _FAILURE, Fault.HOST,
         "The host's file system is full.",
         "free space on the file system that is named"),
    Code("vm_manager::host::permission_denied", 31, 6, _FAILURE, Fault.HOST,
         "The operating system does not allow access to a file.",
         "change the rights or the owner of the file that is named"),
    Code("vm_manager::qemu::exited", 32, 7, _FAILURE, Fault.HOST,
         "QEMU ended although nobody asked it to.",
         "QEMU's log shows why; `vmctl up` starts the VM again"),
    Code("vm_manager::guest::boot_timeout", 33, 10, _FAILURE, Fault.GUEST,
         "The guest was not ready in time.",
         "the console log shows how far it came; `boot-timeout` in the VMFile gives it longer"),
    Code("vm_manager::cloudinit::failed", 34, 10, _FAILURE, Fault.GUEST,
         "cloud-init reported errors inside the guest.",
         "correct the user-data, then create the VM anew with `vmctl down --destroy` and `vmctl up`"),
    Code("vm_manager::ssh::auth_failed", 35, 11, _FAILURE, Fault.GUEST,
         "The guest refused the SSH key.",
         "check the user and the key of the ssh block against what the image or the user-data allow"),
    Code("vm_manager::ssh::host_key_mismatch", 36, 11, _FAILURE, Fault.GUEST,
         "The guest's SSH host key is not the one that vmctl gave it.",
         "if the guest was rebuilt on purpose, create the VM anew; otherwise somebody else answers at its address"),
    Code("vm_manager::ssh::no_key", 37, 11, _EXPECTED, Fault.CONFIG,
         "There is no private key to log in with.",
         "name one with `private-key` in the ssh block, or leave out `ssh-key` so that vmctl makes a pair"),
    Code("vm_manager::image::refused", 38, 8, _EXPECTED, Fault.CONFIG,
         "The image would be readable, but is no disk of its own.",
         "use a whole disk image: qcow2 without backing file, or raw with a partition table or file system"),
)  # fmt: skip

CODES: dict[str, Code] = {entry.code: entry for entry in _TABLE}
