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
    since: the version that has it first.
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


_EXPECTED, _FAILURE, _BUG = Kind.EXPECTED, Kind.FAILURE, Kind.BUG

# 1 to 20 are vm-manager's, in its order. Codes whose feature is still to come have their number already.
_TABLE = (
    Code("vm_manager::qemu::spawn_failed", 1, 7, _FAILURE, Fault.HOST,
         "QEMU could not be started, or ended before its monitor answered.",
         (
          "QEMU is not installed or not on PATH",
          "the CPU model or a device is unknown to this QEMU",
          "there is not enough memory for the guest",
          "the disk is locked by another QEMU",
         ),
         "install QEMU so that `qemu-system-x86_64` is on PATH, and see what `vmctl status` quotes of its log"),
    Code("vm_manager::qemu::qmp_connect_failed", 2, 7, _FAILURE, Fault.HOST,
         "QEMU runs, but its monitor socket gives no usable answer.",
         (
          "another program holds the VM's qmp.sock",
          "QEMU is stopped (SIGSTOP) or hangs",
          "the host is so busy that QEMU does not get to answer",
         ),
         "QEMU may hang or may have ended at start: look at qemu.log in the VM's directory, then `vmctl down`"),
    Code("vm_manager::qemu::qmp_command_failed", 3, 7, _FAILURE, Fault.HOST,
         "QEMU refused a monitor command.",
         (
          "the VM is in a state in which the command is not possible",
          "a file that QEMU needs for it is missing, locked or full",
         ),
         "QEMU's own answer is the evidence; `vmctl status` shows the state the VM is in now"),
    Code("vm_manager::image::overlay_creation_failed", 4, 8, _FAILURE, Fault.HOST,
         "The qcow2 overlay on top of the base image could not be created.",
         (
          "qemu-img is not installed or not on PATH",
          "the base image is missing or may not be read",
          "the wanted disk is smaller than the image",
         ),
         "install qemu-img and check that the base image exists and is readable"),
    Code("vm_manager::network::ip_discovery_timeout", 5, 10, _FAILURE, Fault.GUEST,
         "The guest has no address that vmctl could find.",
         (
          "the VM has `network \"none\"`",
          "the guest has no DHCP lease",
          "cloud-init did not configure the network",
         ),
         "the guest may have no DHCP lease: check the network block and the guest's cloud-init"),
    Code("vm_manager::propolis::unreachable", 6, 9, _FAILURE, Fault.REMOTE,
         "propolis-server does not answer.",
         (
          "propolis-server is not running",
          "it listens on another address",
         ),
         "start propolis-server and check the address it listens on"),
    Code("vm_manager::cloudinit::iso_failed", 7, 13, _FAILURE, Fault.HOST,
         "The cloud-init seed image could not be written.",
         (
          "the file system of the data directory is full",
          "the data directory is not writable",
         ),
         "check that the data directory is writable and has space"),
    Code("vm_manager::ssh::failed", 8, 11, _FAILURE, Fault.GUEST,
         "An SSH connection could not be made, or was lost.",
         (
          "the guest has ended or is rebooting",
          "sshd is not running in the guest",
          "OpenSSH's client is not installed on this host",
         ),
         "check that the guest runs and that sshd listens in it"),
    Code("vm_manager::ssh::keygen_failed", 9, 70, _BUG, Fault.VMCTL,
         "An Ed25519 key pair could not be generated.",
         (
          "the cryptography library is broken or was built without Ed25519",
         ),
         "this is an internal error: please report it"),
    Code("vm_manager::image::download_failed", 10, 9, _FAILURE, Fault.REMOTE,
         "The image could not be downloaded completely.",
         (
          "the URL is wrong or the file is gone",
          "the server cannot be reached, or needs a proxy",
          "the connection broke off",
         ),
         "check the URL and the network connection, then run the command again"),
    Code("vm_manager::image::format_detection_failed", 11, 8, _FAILURE, Fault.CONFIG,
         "The file is no sound disk image.",
         (
          "the file is damaged or was cut off",
          "it is compressed, or something else altogether",
          "checking it took more memory or time than an image may take",
         ),
         "compare the file's checksum with the one that the image's publisher gives, and fetch it once more"),
    Code("vm_manager::image::conversion_failed", 12, 8, _FAILURE, Fault.HOST,
         "An image could not be converted to another format.",
         (
          "qemu-img is not installed",
          "the file system is full",
          "the image is damaged",
         ),
         "install qemu-img and check that there is enough disk space"),
    Code("vm_manager::vm::not_found", 13, 4, _EXPECTED, Fault.USAGE,
         "There is no VM of that name.",
         (
          "the name has a typing mistake",
          "the VM was destroyed, or never created",
          "another data directory is in use: XDG_DATA_HOME",
         ),
         "run `vmctl list` to see the VMs there are"),
    Code("vm_manager::vm::invalid_state", 14, 5, _EXPECTED, Fault.USAGE,
         "The operation is not possible in the state the VM is in.",
         (
          "the VM is stopped and would have to run",
         ),
         "run `vmctl list` to see the state the VM is in"),
    Code("vm_manager::backend::not_available", 15, 6, _EXPECTED, Fault.HOST,
         "The backend does not exist or does not work on this platform.",
         (
          "--backend or VMCTL_BACKEND has a typing mistake",
          "the backend belongs to another operating system",
          "the VM's backend cannot do what was asked: noop VMs have no console",
         ),
         "choose another backend with `--backend`, for example `--backend qemu`"),
    Code("vm_manager::vmfile::not_found", 16, 3, _EXPECTED, Fault.USAGE,
         "There is no VMFile.kdl here or above, or not where --file says.",
         (
          "the command was run in another directory",
          "the file has another name",
         ),
         "create a VMFile.kdl in this directory, or name one with `--file PATH`"),
    Code("vm_manager::vmfile::parse_failed", 17, 3, _EXPECTED, Fault.CONFIG,
         "The VMFile is not readable as KDL.",
         (
          "a quote or brace is missing",
          "the file is no UTF-8 text",
         ),
         "correct the syntax; https://kdl.dev describes the language"),
    Code("vm_manager::vmfile::validation", 18, 3, _EXPECTED, Fault.CONFIG,
         "The VMFile is KDL, but does not describe VMs that vmctl could make.",
         (
          "a word has a typing mistake",
          "a value is missing or out of range",
          "a file that is named does not exist",
         ),
         "correct what is marked in the VMFile"),
    Code("vm_manager::provision::failed", 19, 12, _EXPECTED, Fault.GUEST,
         "A provisioning step did not succeed.",
         (
          "the command exited with another status than 0",
          "the destination cannot be written",
          "QEMU ended while the step ran",
         ),
         "correct the step, then run `vmctl up` to go on from it"),
    Code("vm_manager::io", 20, 14, _FAILURE, Fault.HOST,
         "A file of vmctl's own could not be read or written.",
         (
          "something else stands where a file or directory is expected",
          "the file system has a fault",
         ),
         "check the rights, the space and the health of the file system that is named"),
    Code("vmctl::usage", 21, 2, _EXPECTED, Fault.USAGE,
         "The command line was not understood.",
         (
          "a command or option has a typing mistake",
          "an argument is missing",
         ),
         "run `vmctl --help`, or `--help` behind the command"),
    Code("vmctl::partial", 22, 1, _FAILURE, Fault.VMCTL,
         "Several VMs failed, for different reasons.",
         (
          "each VM's own diagnostic says why",
         ),
         "see the diagnostic of each VM"),
    Code("vmctl::interrupted", 23, 130, _EXPECTED, Fault.USAGE,
         "Ctrl-C or a termination signal ended the command.",
         (
          "somebody pressed Ctrl-C",
          "a time limit of the caller's ended the command",
         ),
         "run the command again to go on from where it stopped"),
    Code("vmctl::bug", 24, 70, _BUG, Fault.VMCTL,
         "vmctl itself is at fault.",
         (
          "something happened that vmctl's authors did not think of",
         ),
         "please report it, with the crash report"),
    Code("vm_manager::vm::foreign", 25, 5, _EXPECTED, Fault.USAGE,
         "A VM of that name exists, but it was made from another VMFile.",
         (
          "two VMFiles use the same name",
          "the VMFile was moved or copied",
         ),
         "rename the VM in one of the two VMFiles"),
    Code("vm_manager::state::locked", 26, 5, _EXPECTED, Fault.USAGE,
         "Another vmctl command is working on the VM, or is at its console.",
         (
          "the same command runs in another terminal",
         ),
         "wait until the other command has ended, then run this one again"),
    Code("vm_manager::state::corrupt", 27, 14, _FAILURE, Fault.HOST,
         "The record of a VM cannot be read.",
         (
          "the file was edited or damaged",
          "a newer vmctl wrote it",
          "the VM's directory was copied by hand",
         ),
         "a VM that runs can still be stopped with `vmctl stop`; then restore its record, `vm.json`, "
         "from `vm.json.bak` beside it, or update vmctl when a newer one has written it"),
    Code("vm_manager::host::missing_tool", 28, 6, _EXPECTED, Fault.HOST,
         "A program that vmctl needs is not installed.",
         (
          "the package is not installed",
          "the program is not on PATH",
         ),
         "install the program that is named"),
    Code("vm_manager::host::kvm_unusable", 29, 6, _EXPECTED, Fault.HOST,
         "Hardware acceleration (KVM) is absent, not allowed, or does not boot guests.",
         (
          "the user may not open /dev/kvm",
          "virtualisation is off in the firmware, or the module kvm_intel or kvm_amd is not loaded",
          "another hypervisor has the processor's virtualisation",
          "this host is itself a virtual machine, and nested virtualisation is missing or works only in part",
         ),
         "to do without KVM, use `accel \"tcg\"` in the VMFile, the option `--accel tcg`, or VMCTL_ACCEL=tcg in the environment"),
    Code("vm_manager::host::disk_full", 30, 6, _FAILURE, Fault.HOST,
         "The host's file system is full.",
         (
          "there is no space left",
          "a quota is used up",
         ),
         "free space on the file system that is named"),
    Code("vm_manager::host::permission_denied", 31, 6, _FAILURE, Fault.HOST,
         "The operating system does not allow access to a file.",
         (
          "the file belongs to another user, often to root after a command with sudo",
          "the file system is mounted read-only",
         ),
         "change the rights or the owner of the file that is named"),
    Code("vm_manager::qemu::exited", 32, 7, _FAILURE, Fault.HOST,
         "QEMU ended although no command asked it to.",
         (
          "the guest shut down while a command waited for it",
          "the kernel killed it for lack of memory; the kernel's log is the evidence then",
          "somebody killed it: SIGTERM is in QEMU's log, SIGKILL leaves nothing but the time",
          "QEMU crashed",
          "the host was started anew",
         ),
         "QEMU's log shows why; `vmctl up` starts the VM again"),
    Code("vm_manager::guest::boot_timeout", 33, 10, _FAILURE, Fault.GUEST,
         "The guest was not ready in time, or made no progress for too long.",
         (
          "the guest hangs: neither its console nor its disk moved for two minutes (five without KVM)",
          "the guest does not boot, or has no network",
          "nothing listens on its SSH port, or what does hangs up",
          "cloud-init still works",
          "emulation without KVM is slow",
         ),
         "the console log shows how far it came; `boot-timeout` in the VMFile gives it longer"),
    Code("vm_manager::cloudinit::failed", 34, 10, _FAILURE, Fault.GUEST,
         "cloud-init reported errors inside the guest.",
         (
          "a command or module of the user-data failed",
          "the image lacks what a module needs",
          "the user-data, or a part of it, is not YAML that cloud-init can read",
          "cloud-init did not find the seed: it is not told to look for NoCloud, or its kernel has no driver for it",
         ),
         "correct the user-data, then create the VM anew with `vmctl down --destroy` and `vmctl up`"),
    Code("vm_manager::ssh::auth_failed", 35, 11, _FAILURE, Fault.GUEST,
         "The guest refused the SSH key.",
         (
          "the user of the ssh block does not exist in the guest",
          "raw user-data does not install the key",
          "cloud-init did not find its seed",
         ),
         "check the user and the key of the ssh block against what the image or the user-data allow"),
    Code("vm_manager::ssh::host_key_mismatch", 36, 11, _FAILURE, Fault.GUEST,
         "The guest's SSH host key is not the one that vmctl gave it.",
         (
          "the guest was reinstalled or made a new key",
          "another machine answers at the guest's address",
         ),
         "if the guest was rebuilt on purpose, create the VM anew; otherwise somebody else answers at its address"),
    Code("vm_manager::ssh::no_key", 37, 11, _EXPECTED, Fault.CONFIG,
         "There is no private key to log in with.",
         (
          "the file that --key or private-key names does not exist",
          "the key has a passphrase and no agent holds it",
         ),
         "name one with `private-key` in the ssh block, or leave out `ssh-key` so that vmctl makes a pair"),
    Code("vm_manager::image::refused", 38, 8, _EXPECTED, Fault.CONFIG,
         "The image is no disk of its own, or in a format that may name other files.",
         (
          "a qcow2 image names a backing or data file, which could be any file of this host",
          "the image is in a format other than qcow2 and raw, such as a VMDK that names the files with its data",
          "the image is encrypted",
          "the file is something else, such as a web page",
          "the path is a pipe, a device, a directory, or below /proc or /sys",
         ),
         "use a whole disk image: qcow2 without backing file, or raw with a partition table or file system"),
    Code("vm_manager::image::base_missing", 39, 8, _EXPECTED, Fault.HOST,
         "The image that a VM's disk stands on is gone.",
         (
          "the image was deleted or moved",
          "its file system is not mounted",
         ),
         "put the image back where it was, or create the VM anew"),
    Code("vm_manager::image::base_changed", 40, 8, _EXPECTED, Fault.HOST,
         "The image that a VM's disk stands on is not the same as when the disk was made.",
         (
          "the image was replaced by a newer one",
          "the image was written to",
         ),
         "put the old image back, or create the VM anew; the disk would be damaged on another base"),
    Code("vm_manager::oci::pull_failed", 41, 9, _FAILURE, Fault.REMOTE,
         "An image could not be pulled from an OCI registry.",
         (
          "there is no such repository or tag",
          "the registry wants credentials",
          "the registry cannot be reached",
         ),
         "check the reference, and the credentials for the registry"),
    Code("vmctl::create::invalid_vcpus", 42, 2, _EXPECTED, Fault.USAGE,
         "The number of vCPUs is no whole number of at least 1.",
         (
          "--vcpus has a typing mistake",
         ),
         "give `--vcpus` a whole number of at least 1"),
    Code("vmctl::create::invalid_memory", 43, 2, _EXPECTED, Fault.USAGE,
         "The memory size cannot be understood.",
         (
          "--memory has a typing mistake or an unknown unit",
         ),
         "give `--memory` a number of MiB, or a size such as 2GiB"),
    Code("vmctl::create::no_image", 44, 2, _EXPECTED, Fault.USAGE,
         "Neither --image nor --image-url was given.",
         (
          "the option is missing",
         ),
         "name an image with `--image` or `--image-url`"),
    Code("vmctl::create::image_not_found", 45, 4, _EXPECTED, Fault.USAGE,
         "The file that --image names does not exist.",
         (
          "the path has a typing mistake",
         ),
         "check the path that `--image` names"),
    Code("vmctl::create::name_exists", 46, 5, _EXPECTED, Fault.USAGE,
         "A VM of that name exists already.",
         (
          "the VM was created before",
         ),
         "choose another name, or destroy the VM that has it"),
    Code("vm_manager::host::missing_firmware", 47, 6, _EXPECTED, Fault.HOST,
         "UEFI firmware for guests is not installed.",
         (
          "the package with OVMF is not installed",
         ),
         "install the package that is named"),
    Code("vm_manager::network::port_in_use", 48, 6, _EXPECTED, Fault.HOST,
         "A port of this host that a VM wants is taken.",
         (
          "another program, or another VM, listens on it",
         ),
         "choose another port, or end what holds this one"),
    Code("vm_manager::network::bridge_missing", 49, 6, _EXPECTED, Fault.HOST,
         "The bridge that a VM is to be attached to does not exist.",
         (
          "the bridge was not created, or has another name",
         ),
         "create the bridge, or name another one in the network block"),
    Code("vm_manager::qemu::job_failed", 50, 7, _FAILURE, Fault.HOST,
         "A job of QEMU's, such as a snapshot, failed after it had been started.",
         (
          "a disk cannot keep snapshots: raw disks cannot",
          "the snapshot was made by a machine with other memory or devices",
          "the host's disk does not answer any more",
         ),
         "mend what QEMU names as its reason; the VM itself is as it was"),
    Code("vm_manager::qemu::migration_failed", 51, 7, _FAILURE, Fault.HOST,
         "Saving, restoring or moving a running machine failed.",
         (
          "the saved state was damaged or cut off",
          "QEMU, the accelerator or the VM's definition is another than when the VM was saved or started",
          "the host's disk does not answer any more",
         ),
         "mend what QEMU names as its reason; a VM that was being saved or moved goes on, "
         "a saved state that was being loaded is kept"),
    Code("vm_manager::qemu::io_error", 52, 7, _FAILURE, Fault.HOST,
         "The guest was paused because its disk could not be written or read; nothing of it is lost.",
         (
          "the host's file system is full",
          "the disk's file system has a fault",
         ),
         "make space on the host, then let the guest go on with `vmctl resume`"),
    Code("vm_manager::image::checksum_mismatch", 53, 8, _FAILURE, Fault.REMOTE,
         "A downloaded image has another checksum than the expected one.",
         (
          "the image was replaced on the server",
          "the checksum in the VMFile is old",
          "somebody tampered with the image",
         ),
         "compare the checksum with the one that the image's publisher gives"),
    Code("vm_manager::propolis::request_failed", 54, 9, _FAILURE, Fault.REMOTE,
         "propolis-server refused a request.",
         (
          "its own answer is the evidence",
         ),
         "its own answer is the evidence"),
    Code("vm_manager::guest::boot_failed", 55, 10, _FAILURE, Fault.GUEST,
         "The guest stopped booting at a place from which it does not go on.",
         (
          "the disk is not bootable, or not for the guest's firmware",
          "the boot loader does not find its configuration or a kernel, and waits at its prompt",
          "the root file system was not found or mounted, and the boot ended in an emergency shell",
          "the guest restarts again and again",
         ),
         "the console or the screen, which are the evidence, show where it stopped"),
    Code("vm_manager::guest::panicked", 56, 10, _FAILURE, Fault.GUEST,
         "The guest's kernel panicked.",
         (
          "the kernel found no root file system, or no program to start",
          "a driver or the kernel has a fault",
          "the guest ran out of memory and is set to panic then",
         ),
         "the console shows the panic; the machine is kept as it is, to be looked at, until `vmctl restart`"),
    Code("vm_manager::qemu::internal_error", 57, 7, _FAILURE, Fault.HOST,
         "QEMU stopped the machine, because it could not go on executing the guest.",
         (
          "KVM did not know an instruction of the guest, as happens on hosts that are virtual machines themselves",
          "the guest runs into a fault of KVM or QEMU",
         ),
         "boot the VM again with `vmctl restart`; with `--accel tcg` it does without KVM"),
    Code("vm_manager::host::no_sandbox", 58, 6, _EXPECTED, Fault.HOST,
         "There is no sandbox for QEMU and qemu-img on this host.",
         (
          "the kernel is older than 5.13, or was built or started without Landlock",
          "a container forbids the system calls of Landlock",
         ),
         "use a kernel with Landlock; "
         "without `VMCTL_SANDBOX=require` it is a warning, and with `VMCTL_SANDBOX=off` nothing is said"),
    Code("vm_manager::image::too_large", 59, 8, _EXPECTED, Fault.CONFIG,
         "The image, or the disk in it, is larger than an image may be.",
         (
          "the image is really that large",
          "a small file was made to become a very large one when it is decompressed",
         ),
         "if you trust it, allow more with `--max-size` or VMCTL_MAX_IMAGE_SIZE"),
    Code("vm_manager::vmfile::untrusted", 60, 3, _EXPECTED, Fault.USAGE,
         "A VMFile was found that another user owns or may write, and it is not obeyed unless it is named.",
         (
          "the command was run in another user's directory, or in a shared one such as /tmp",
          "somebody has put a VMFile.kdl where the search for yours comes past",
          "the VMFile or its directory is writable by a group or by everybody",
          "the command runs as root, and the VMFile is yours",
         ),
         "read it, and if you trust who wrote it name it with `--file PATH`"),
    Code("vm_manager::state::untrusted", 61, 14, _EXPECTED, Fault.HOST,
         "What stands in the place of vmctl's own files belongs to another user, may be written by others, or is no plain file.",
         (
          "vmctl was run with sudo, and HOME or XDG_DATA_HOME is still another user's",
          "the directory is writable by others",
          "a link, a pipe or a device was put where a file of vmctl's belongs",
         ),
         "use a data directory of your own, which no one else may write"),
    Code("vm_manager::state::foreign", 62, 14, _EXPECTED, Fault.HOST,
         "A directory among those of the VMs holds no VM of vmctl's; vmctl leaves it alone.",
         (
          "the Rust project vm-manager keeps its VMs in the same place",
          "the directory was copied there, or its record and the record's backup were removed by hand",
         ),
         "choose another name for the VM, or another data directory with XDG_DATA_HOME"),
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
