"""Every code that vmctl can end with: one table that the classes, the help texts, the pages and the tests are made from.

Numbers are frozen and only ever appended. The exit codes group the codes by what a script would do about them. A program that
embeds vmctl can register codes of its own beside them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from vm_manager.diagnostics.model import Fault, Kind


@dataclass(frozen=True)
class Code:
    """One code of the table.

    meaning: when it is raised, as a sentence.
    causes: what is usually behind it, in the order in which to look.
    help: what to do, said when the failure itself knows nothing better about this host.
    since: the version that has it first. awaits: the feature that it is for, which is still to come; empty: it is there.
    """

    code: str
    number: int
    exit_code: int
    kind: Kind
    fault: Fault
    meaning: str
    causes: tuple[str, ...]
    help: str
    since: str = "0.1.0"
    awaits: str = ""


_EXPECTED, _FAILURE, _BUG = Kind.EXPECTED, Kind.FAILURE, Kind.BUG

# 1 to 20 are vm-manager's, in its order. Codes whose feature is still to come have their number already.
_TABLE = (
    Code("vm_manager::qemu::spawn_failed", 1, 7, _FAILURE, Fault.HOST,
         "QEMU could not be started, or exited before its monitor answered.",
         (
          "QEMU is not installed or not on PATH",
          "the CPU model or a device is unknown to this QEMU",
          "the host does not have enough memory for the guest",
          "another QEMU has locked the disk",
         ),
         "make sure that `qemu-system-x86_64` is installed and on PATH; `vmctl status` shows the end of QEMU's log"),
    Code("vm_manager::qemu::qmp_connect_failed", 2, 7, _FAILURE, Fault.HOST,
         "QEMU is running, but its monitor socket does not respond properly.",
         (
          "another program is connected to the VM's qmp.sock",
          "QEMU's process is stopped (SIGSTOP), frozen with its cgroup, or in a debugger",
          "QEMU waits for a disk or a network share, or hangs",
          "the host is too busy for QEMU to answer in time",
         ),
         "`vmctl status` shows what QEMU's process is doing, and `vmctl log --qemu` its log; if it hangs, `vmctl stop` ends it"),
    Code("vm_manager::qemu::qmp_command_failed", 3, 7, _FAILURE, Fault.HOST,
         "QEMU rejected a monitor command.",
         (
          "the command is not possible in the VM's current state",
          "a file that the command needs is missing or locked, or its disk is full",
         ),
         "the evidence shows QEMU's answer; `vmctl status` shows the current state of the VM"),
    Code("vm_manager::image::overlay_creation_failed", 4, 8, _FAILURE, Fault.HOST,
         "The qcow2 overlay on top of the base image could not be created.",
         (
          "qemu-img is not installed or not on PATH",
          "the base image is missing or unreadable",
          "the requested disk size is smaller than the image",
         ),
         "install qemu-img and check that the base image exists and is readable"),
    Code("vm_manager::network::ip_discovery_timeout", 5, 10, _FAILURE, Fault.GUEST,
         "vmctl could not find the guest's IP address.",
         (
          "the VM has `network \"none\"`",
          "the guest has no DHCP lease",
          "with `network \"tap\"`, the DHCP server is another machine and the guest runs no qemu-guest-agent",
          "cloud-init did not configure the network",
         ),
         "the guest may have no DHCP lease: check the network block and the guest's cloud-init"),
    Code("vm_manager::propolis::unreachable", 6, 9, _FAILURE, Fault.REMOTE,
         "propolis-server does not answer.",
         (
          "propolis-server is not running",
          "it listens on a different address",
         ),
         "start propolis-server and check its listen address",
         awaits="the Propolis backend"),
    Code("vm_manager::cloudinit::iso_failed", 7, 13, _FAILURE, Fault.HOST,
         "The cloud-init seed image could not be written.",
         (
          "the file system of the data directory is full",
          "the data directory is not writable",
         ),
         "check that the data directory is writable and has free space"),
    Code("vm_manager::ssh::failed", 8, 11, _FAILURE, Fault.GUEST,
         "An SSH connection failed or was lost.",
         (
          "the guest has shut down or is rebooting",
          "sshd is not running in the guest",
          "the OpenSSH client is not installed on this host",
         ),
         "check that the guest is running and that sshd is listening in it"),
    Code("vm_manager::ssh::keygen_failed", 9, 70, _BUG, Fault.VMCTL,
         "An Ed25519 key pair could not be generated.",
         (
          "the cryptography library is broken or was built without Ed25519",
         ),
         "this is an internal error: please report it"),
    Code("vm_manager::image::download_failed", 10, 9, _FAILURE, Fault.REMOTE,
         "The image download failed or was incomplete.",
         (
          "the URL is wrong or the file no longer exists",
          "the server is unreachable, or requires a proxy",
          "the connection was lost",
         ),
         "check the URL and the network connection, then run the command again"),
    Code("vm_manager::image::format_detection_failed", 11, 8, _FAILURE, Fault.CONFIG,
         "The file is not a valid disk image.",
         (
          "the file is damaged or truncated",
          "it is compressed, or not a disk image at all",
          "checking it exceeded the limits on memory or time",
         ),
         "check the file against the publisher's checksum and download it again"),
    Code("vm_manager::image::conversion_failed", 12, 8, _FAILURE, Fault.HOST,
         "An image could not be converted to another format.",
         (
          "qemu-img is not installed",
          "the file system is full",
          "the image is damaged",
         ),
         "install qemu-img and check for free disk space"),
    Code("vm_manager::vm::not_found", 13, 4, _EXPECTED, Fault.USAGE,
         "No VM has that name.",
         (
          "the name is misspelled",
          "the VM was destroyed, or never created",
          "the data directory is a different one: see XDG_DATA_HOME",
         ),
         "run `vmctl list` to see all VMs"),
    Code("vm_manager::vm::invalid_state", 14, 5, _EXPECTED, Fault.USAGE,
         "The operation is not possible in the VM's current state.",
         (
          "the VM is stopped but has to be running",
         ),
         "run `vmctl list` to see the state of the VM"),
    Code("vm_manager::backend::not_available", 15, 6, _EXPECTED, Fault.HOST,
         "The backend does not exist or does not work on this platform.",
         (
          "--backend or VMCTL_BACKEND is misspelled",
          "the backend is for a different operating system",
          "the VM's backend does not support the operation: noop VMs have no console",
         ),
         "choose another backend with `--backend`, for example `--backend qemu`"),
    Code("vm_manager::vmfile::not_found", 16, 3, _EXPECTED, Fault.USAGE,
         "No VMFile.kdl was found in this or a parent directory, or at the path given by --file.",
         (
          "the command was run in the wrong directory",
          "the file has a different name",
         ),
         "create a VMFile.kdl in this directory, or pass one with `--file PATH`"),
    Code("vm_manager::vmfile::parse_failed", 17, 3, _EXPECTED, Fault.CONFIG,
         "The VMFile is not valid KDL.",
         (
          "a quote or brace is missing",
          "the file is not UTF-8 text",
         ),
         "fix the syntax; see https://kdl.dev"),
    Code("vm_manager::vmfile::validation", 18, 3, _EXPECTED, Fault.CONFIG,
         "The VMFile is valid KDL, but has errors.",
         (
          "a keyword is misspelled",
          "a value is missing or out of range",
          "a file that it refers to does not exist",
         ),
         "fix the marked lines of the VMFile"),
    Code("vm_manager::provision::failed", 19, 12, _EXPECTED, Fault.GUEST,
         "A provisioning step failed.",
         (
          "the command exited with a nonzero status",
          "the destination is not writable",
          "QEMU exited while the step was running",
         ),
         "fix the step, then run `vmctl up` to continue from it"),
    Code("vm_manager::io", 20, 14, _FAILURE, Fault.HOST,
         "vmctl could not read or write one of its own files.",
         (
          "something else is in the place of a file or directory",
          "the file system has errors",
         ),
         "check the file's permissions, and the free space and health of its file system"),
    Code("vmctl::usage", 21, 2, _EXPECTED, Fault.USAGE,
         "The command line is invalid.",
         (
          "a command or option is misspelled",
          "an argument is missing",
         ),
         "run `vmctl --help`, or the command with `--help`"),
    Code("vmctl::partial", 22, 1, _FAILURE, Fault.VMCTL,
         "Several VMs failed, for different reasons.",
         (
          "see the diagnostic of each VM",
         ),
         "see the diagnostic of each VM"),
    Code("vmctl::interrupted", 23, 130, _EXPECTED, Fault.USAGE,
         "The command was interrupted by Ctrl-C or a termination signal.",
         (
          "somebody pressed Ctrl-C",
          "the caller's time limit ended the command",
         ),
         "run the command again to continue where it stopped"),
    Code("vmctl::bug", 24, 70, _BUG, Fault.VMCTL,
         "Internal error: a bug in vmctl.",
         (
          "vmctl ran into a case that it does not handle",
         ),
         "please report it and attach the crash report"),
    Code("vm_manager::vm::foreign", 25, 5, _EXPECTED, Fault.USAGE,
         "A VM with that name exists, but belongs to another VMFile.",
         (
          "two VMFiles use the same name",
          "the VMFile was moved or copied",
         ),
         "rename the VM in one of the two VMFiles"),
    Code("vm_manager::state::locked", 26, 5, _EXPECTED, Fault.USAGE,
         "Another vmctl command is using the VM or its console.",
         (
          "the same command is running in another terminal",
         ),
         "wait for the other command to finish, then try again"),
    Code("vm_manager::state::corrupt", 27, 14, _FAILURE, Fault.HOST,
         "The record of a VM is unreadable.",
         (
          "the file was edited or damaged",
          "a newer vmctl wrote it",
          "the VM's directory was copied by hand",
         ),
         "you can still stop the VM with `vmctl stop`; then restore its record, `vm.json`, "
         "from `vm.json.bak` next to it, or upgrade vmctl if a newer version wrote it"),
    Code("vm_manager::host::missing_tool", 28, 6, _EXPECTED, Fault.HOST,
         "A program that vmctl needs is not installed.",
         (
          "the package is not installed",
          "the program is not on PATH",
         ),
         "install the missing program"),
    Code("vm_manager::host::kvm_unusable", 29, 6, _EXPECTED, Fault.HOST,
         "Hardware acceleration (KVM) is missing, not permitted, or does not boot guests.",
         (
          "the user has no access to /dev/kvm",
          "virtualization is disabled in the firmware, or the kvm_intel or kvm_amd module is not loaded",
          "another hypervisor is using the CPU's virtualization",
          "this host is itself a VM, and nested virtualization is missing or incomplete",
         ),
         "to run without KVM, set `accel \"tcg\"` in the VMFile, pass `--accel tcg`, or set VMCTL_ACCEL=tcg"),
    Code("vm_manager::host::disk_full", 30, 6, _FAILURE, Fault.HOST,
         "The host's file system is full.",
         (
          "no space is left",
          "a quota is exceeded",
         ),
         "free up space on that file system"),
    Code("vm_manager::host::permission_denied", 31, 6, _FAILURE, Fault.HOST,
         "The operating system denied access to a file or a device.",
         (
          "the file belongs to another user, often to root after a command with sudo",
          "the file system is mounted read-only",
          "with `network \"tap\"`, only root, or qemu-bridge-helper where it is set up, attaches cards to bridges",
         ),
         "change the permissions or the owner of that file"),
    Code("vm_manager::qemu::exited", 32, 7, _FAILURE, Fault.HOST,
         "QEMU exited unexpectedly.",
         (
          "the guest shut down while a command was waiting for it",
          "the kernel killed it for lack of memory; the evidence then shows the kernel's log",
          "it was killed: QEMU logs a SIGTERM, while a SIGKILL leaves no trace",
          "QEMU crashed",
          "the host was rebooted",
         ),
         "see QEMU's log for the reason; `vmctl up` starts the VM again"),
    Code("vm_manager::guest::boot_timeout", 33, 10, _FAILURE, Fault.GUEST,
         "The guest was not ready in time, or stopped making progress.",
         (
          "the guest hung: nothing new on its console, and hardly any disk activity, for two minutes (five without KVM)",
          "the guest does not boot, or has no network",
          "nothing listens on its SSH port, or the connection is closed at once",
          "cloud-init is still running",
          "emulation without KVM is slow",
         ),
         "the console log shows how far it got; `boot-timeout` in the VMFile raises the limit"),
    Code("vm_manager::cloudinit::failed", 34, 10, _FAILURE, Fault.GUEST,
         "cloud-init reported errors inside the guest.",
         (
          "a command or module of the user-data failed",
          "the image lacks what a module needs",
          "the user-data, or part of it, is not valid YAML for cloud-init",
          "cloud-init did not find the seed: NoCloud is not enabled in it, or the kernel lacks a driver",
         ),
         "fix the user-data, then replace the VM with `vmctl reload`"),
    Code("vm_manager::ssh::auth_failed", 35, 11, _FAILURE, Fault.GUEST,
         "The guest rejected the SSH key.",
         (
          "the user in the ssh block does not exist in the guest, or its login shell does not",
          "the raw user-data does not install the key",
          "the guest's SSH server accepts passwords only",
          "cloud-init did not find its seed",
         ),
         "check that the image or the user-data set up the user and key of the ssh block"),
    Code("vm_manager::ssh::host_key_mismatch", 36, 11, _FAILURE, Fault.GUEST,
         "The guest's SSH host key is not the one that vmctl gave it.",
         (
          "the guest was reinstalled or generated a new key",
          "another machine answered at the guest's address",
         ),
         "see at the guest's console whether it has a new key; if it has not, another machine answers at its address"),
    Code("vm_manager::ssh::no_key", 37, 11, _EXPECTED, Fault.CONFIG,
         "No private key is available to log in with.",
         (
          "the file given by --key or private-key does not exist",
          "the key has a passphrase and no agent holds it",
         ),
         "set `private-key` in the ssh block, or remove `ssh-key` so that vmctl generates a key pair"),
    Code("vm_manager::image::refused", 38, 8, _EXPECTED, Fault.CONFIG,
         "The image is not self-contained, or its format can refer to other files.",
         (
          "a qcow2 image refers to a backing or data file, which could be any file on this host",
          "the format is not qcow2 or raw, such as a VMDK that refers to other files",
          "the image is encrypted",
          "the file is not an image, but for example a web page",
          "the path is a pipe, a device, a directory, or below /proc or /sys",
         ),
         "use a self-contained disk image: qcow2 without a backing file, or raw with a partition table or file system"),
    Code("vm_manager::image::base_missing", 39, 8, _EXPECTED, Fault.HOST,
         "The base image of a VM's disk is missing.",
         (
          "the image was deleted or moved",
          "its file system is not mounted",
         ),
         "put the image back, or a link to where it is now: the VM's disk is kept, and holds only what differs from it"),
    Code("vm_manager::image::base_changed", 40, 8, _EXPECTED, Fault.HOST,
         "The base image of a VM's disk has changed since the disk was created.",
         (
          "the image was replaced by a newer one",
          "the image was written to",
         ),
         "put the original image back: the VM's disk is kept, and holds only what differs from it"),
    Code("vm_manager::oci::pull_failed", 41, 9, _FAILURE, Fault.REMOTE,
         "An image could not be pulled from an OCI registry.",
         (
          "the repository or tag does not exist",
          "the registry requires credentials",
          "the registry is unreachable",
         ),
         "check the image reference and your credentials for the registry"),
    Code("vmctl::create::invalid_vcpus", 42, 2, _EXPECTED, Fault.USAGE,
         "The number of vCPUs is not a positive whole number.",
         (
          "--vcpus is mistyped",
         ),
         "set `--vcpus` to a positive whole number"),
    Code("vmctl::create::invalid_memory", 43, 2, _EXPECTED, Fault.USAGE,
         "The memory size is invalid.",
         (
          "--memory is mistyped or has an unknown unit",
         ),
         "set `--memory` to a number of MiB, or to a size such as 2GiB"),
    Code("vmctl::create::no_image", 44, 2, _EXPECTED, Fault.USAGE,
         "Neither --image nor --image-url was given.",
         (
          "the option is missing",
         ),
         "choose an image with `--image` or `--image-url`"),
    Code("vmctl::create::image_not_found", 45, 4, _EXPECTED, Fault.USAGE,
         "The file given by --image does not exist.",
         (
          "the path is misspelled",
         ),
         "check the path given to `--image`"),
    Code("vmctl::create::name_exists", 46, 5, _EXPECTED, Fault.USAGE,
         "A VM with that name already exists.",
         (
          "the VM was created earlier",
         ),
         "choose another name, or destroy the existing VM"),
    Code("vm_manager::host::missing_firmware", 47, 6, _EXPECTED, Fault.HOST,
         "UEFI firmware for guests is not installed.",
         (
          "the OVMF package is not installed",
         ),
         "install the missing package"),
    Code("vm_manager::network::port_in_use", 48, 6, _EXPECTED, Fault.HOST,
         "A host port that a VM needs is already in use.",
         (
          "another program or VM is listening on it",
         ),
         "choose another port, or stop the program that uses this one"),
    Code("vm_manager::network::bridge_missing", 49, 6, _EXPECTED, Fault.HOST,
         "The bridge for a VM does not exist.",
         (
          "the bridge was not created, or has a different name",
         ),
         "create the bridge, or use another one in the network block"),
    Code("vm_manager::qemu::job_failed", 50, 7, _FAILURE, Fault.HOST,
         "A QEMU job, such as a snapshot, failed.",
         (
          "a disk does not support snapshots: raw disks do not",
          "the snapshot was taken with different memory or devices",
          "the host's disk has stopped responding",
         ),
         "fix the problem that QEMU reports; the VM itself is unchanged"),
    Code("vm_manager::qemu::migration_failed", 51, 7, _FAILURE, Fault.HOST,
         "Saving, restoring or moving a running machine failed.",
         (
          "the saved state is damaged or truncated",
          "QEMU, the accelerator or the VM's definition has changed since the VM was saved or started",
          "the host's disk has stopped responding",
         ),
         "fix the problem that QEMU reports; a VM that was being saved or moved keeps running, "
         "and a saved state that was being loaded is kept"),
    Code("vm_manager::qemu::io_error", 52, 7, _FAILURE, Fault.HOST,
         "The guest was paused by a disk I/O error; no data is lost.",
         (
          "the host's file system is full",
          "the disk's file system has errors",
         ),
         "free up space on the host, then resume the guest with `vmctl resume`"),
    Code("vm_manager::image::checksum_mismatch", 53, 8, _FAILURE, Fault.REMOTE,
         "A downloaded image does not match the expected checksum.",
         (
          "the image was replaced on the server",
          "the checksum in the VMFile is outdated",
          "the image was tampered with",
         ),
         "compare the checksum with the publisher's"),
    Code("vm_manager::propolis::request_failed", 54, 9, _FAILURE, Fault.REMOTE,
         "propolis-server rejected a request.",
         (
          "see its answer in the evidence",
         ),
         "see its answer in the evidence",
         awaits="the Propolis backend"),
    Code("vm_manager::guest::boot_failed", 55, 10, _FAILURE, Fault.GUEST,
         "The guest got stuck while booting.",
         (
          "the disk is not bootable with the guest's firmware",
          "the boot loader found no configuration or kernel, and is waiting at its prompt",
          "a file system could not be mounted, and the guest is in an emergency shell or systemd's emergency mode",
          "the guest booted, but has no network card, no address or no sshd, or cloud-init is disabled in it",
          "the guest keeps rebooting",
         ),
         "see where it stopped in the console or screen output in the evidence"),
    Code("vm_manager::guest::panicked", 56, 10, _FAILURE, Fault.GUEST,
         "The guest's kernel panicked.",
         (
          "the kernel found no root file system or init program",
          "a driver or the kernel has a bug",
          "the guest ran out of memory and is configured to panic on that",
         ),
         "see the panic on the console; the machine is kept for inspection until `vmctl restart`"),
    Code("vm_manager::qemu::internal_error", 57, 7, _FAILURE, Fault.HOST,
         "QEMU stopped the machine because of an internal error.",
         (
          "KVM could not emulate an instruction of the guest, as can happen on a host that is itself a VM",
          "the guest triggered a bug in KVM or QEMU",
         ),
         "reboot the VM with `vmctl restart`; add `--accel tcg` to run without KVM"),
    Code("vm_manager::host::no_sandbox", 58, 6, _EXPECTED, Fault.HOST,
         "This host cannot sandbox QEMU and qemu-img.",
         (
          "the kernel is older than 5.13, or has Landlock disabled",
          "a container blocks the Landlock system calls",
         ),
         "use a kernel with Landlock; "
         "without `VMCTL_SANDBOX=require` this is only a warning, and `VMCTL_SANDBOX=off` silences it"),
    Code("vm_manager::image::too_large", 59, 8, _EXPECTED, Fault.CONFIG,
         "The image, or the disk in it, exceeds the size limit.",
         (
          "the image really is that large",
          "a small file decompresses to a very large one",
         ),
         "if you trust the image, raise the limit with `--max-size` or VMCTL_MAX_IMAGE_SIZE"),
    Code("vm_manager::vmfile::untrusted", 60, 3, _EXPECTED, Fault.USAGE,
         "The VMFile that was found is owned or writable by another user; it must be passed explicitly.",
         (
          "the command was run in another user's directory, or in a shared one such as /tmp",
          "someone else has put a VMFile.kdl in a parent directory",
          "the VMFile or its directory is writable by a group or by everyone",
          "the command runs as root, but the VMFile belongs to you",
         ),
         "read it; if you trust its author, pass it with `--file PATH`"),
    Code("vm_manager::state::untrusted", 61, 14, _EXPECTED, Fault.HOST,
         "A file or directory of vmctl's is owned or writable by another user, or is not a regular one.",
         (
          "vmctl was run with sudo, and HOME or XDG_DATA_HOME still belongs to another user",
          "the directory is writable by others",
          "a link, a pipe or a device is in the place of one of vmctl's files",
         ),
         "use a data directory that only you can write to"),
    Code("vm_manager::state::foreign", 62, 14, _EXPECTED, Fault.HOST,
         "A directory in the data directory is not a VM of vmctl's; vmctl does not touch it.",
         (
          "the Rust project vm-manager stores its VMs in the same place",
          "the directory was copied there, or its record and the record's backup were removed by hand",
         ),
         "choose another name for the VM, or another data directory through XDG_DATA_HOME"),
    Code("vm_manager::ssh::no_shell", 63, 11, _EXPECTED, Fault.GUEST,
         "A login to the guest works, but runs no commands.",
         (
          "the user's shell is /usr/sbin/nologin, /bin/false or another program that is no shell",
          "the key is bound to a command of its own in authorized_keys, as root's is in many cloud images",
          "the user's password has expired, as those that cloud-init's chpasswd sets do unless it says `expire: false`",
         ),
         "log in as another user, or give this one a shell in the guest"),
    Code("vm_manager::vm::stray", 64, 5, _EXPECTED, Fault.HOST,
         "A VM is running, but its directory, its record or its pid file is gone.",
         (
          "the VM's directory, or the whole data directory, was deleted or moved while the VM was running",
          "files in the VM's directory were deleted by hand",
         ),
         "stop it with `vmctl stop NAME`; if its disk was deleted, copy that before, as the help of the error shows"),
    Code("vm_manager::host::exhausted", 65, 6, _FAILURE, Fault.HOST,
         "This host, or a limit on this process, has no more open files, processes, threads or memory.",
         (
          "a limit of the shell, the service or the container is low: see `ulimit -a`",
          "other programs have taken them all",
         ),
         "end other programs, or raise the limit: `ulimit -a` shows those of this shell"),
    Code("vm_manager::network::port_unavailable", 66, 6, _EXPECTED, Fault.HOST,
         "This user or this host cannot listen on a port that a VM needs.",
         (
          "the forward names an address that this host does not have",
          "the port is reserved for root",
         ),
         "choose another address or port for the forward"),
    Code("vm_manager::guest::mount_failed", 67, 10, _FAILURE, Fault.GUEST,
         "A shared directory could not be mounted in the guest.",
         (
          "the guest's kernel has no virtiofs, or no 9p where this host has no virtiofsd: Debian's cloud kernel has no 9p",
          "the guest's user has neither root's rights nor sudo without a password",
          "a file is where the directory should be mounted",
         ),
         "the guest's own message is in the evidence; `vmctl ssh` leads into the guest"),
    Code("vm_manager::qemu::share_lost", 68, 7, _FAILURE, Fault.HOST,
         "The virtiofsd of a shared directory ended while the guest was running.",
         (
          "somebody, or the kernel because memory ran out, killed virtiofsd",
          "virtiofsd has a bug that the guest triggered",
         ),
         "the guest waits for ever where it uses the directory: restart it with `vmctl restart`"),
)  # fmt: skip

CODES: dict[str, Code] = {entry.code: entry for entry in _TABLE}
NUMBERS: dict[int, Code] = {entry.number: entry for entry in _TABLE}

# Where the numbers of codes begin that are not vmctl's own.
OWN_NUMBERS = 10_000
_OWN_CODE = re.compile(r"[a-z0-9_]+(::[a-z0-9_]+)+")
_RESERVED = ("vm_manager", "vmctl")
# A shell has its own meanings for 126 and above.
_EXIT_CODES = range(1, 126)


def register_code(entry: Code) -> Callable[[], None]:
    """Add a code of a program that embeds vmctl; a subclass of `VmError` with this `code` is a failure like any other.

    entry: its code is in a domain of the program's own, such as "acme::licence::missing"; its number is 10000 or above; its
    exit code is from 1 to 125. To register the same one again does nothing.

    Returns a function that takes it away again; calling that again does nothing. What it refuses is a ValueError.
    """
    if CODES.get(entry.code) == entry:
        return lambda: None
    if problem := _problem(entry):
        raise ValueError(f"{entry.code}: {problem}")
    CODES[entry.code] = NUMBERS[entry.number] = entry

    def unregister() -> None:
        if CODES.get(entry.code) is entry:
            del CODES[entry.code], NUMBERS[entry.number]

    return _once(unregister)


def _problem(entry: Code) -> str | None:
    """Why a code cannot be registered."""
    if not _OWN_CODE.fullmatch(entry.code):
        return "a code is made of lower-case words with :: between them"
    if entry.code.partition("::")[0] in _RESERVED:
        return "the domains vm_manager:: and vmctl:: are vmctl's own"
    if entry.number < OWN_NUMBERS:
        return f"the numbers of other programs' codes are from {OWN_NUMBERS} on"
    if entry.exit_code not in _EXIT_CODES:
        return "an exit code is from 1 to 125"
    if not entry.help.strip():
        return "a code needs a help: what to do about it"
    if entry.code in CODES or entry.number in NUMBERS:
        return f"the code or its number {entry.number} is taken"
    return None


def _once(function: Callable[[], None]) -> Callable[[], None]:
    todo = [function]

    def call() -> None:
        if todo:
            todo.pop()()

    return call
