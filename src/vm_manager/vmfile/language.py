"""The language of VMFiles, described once: decoding, did-you-mean and the reference page are made from this."""

from __future__ import annotations

from vm_manager.domain.architecture import Architecture
from vm_manager.domain.network import BRIDGE, Forward, Network, NetworkMode, Transport
from vm_manager.domain.share import Mount
from vm_manager.domain.spec import (
    BOOT_TIMEOUT_S,
    Accelerator,
    CloudInit,
    Firmware,
    OnError,
    ProvisionerKind,
    SshAccess,
    VmSpec,
)
from vm_manager.vmfile import forms
from vm_manager.vmfile.grammar import (
    Argument,
    Choice,
    Complaint,
    Entry,
    Flag,
    Idiom,
    Number,
    Size,
    Text,
    Type,
    Word,
    Written,
)
from vm_manager.vmfile.idioms import forward_idiom, mount_idiom, provision_idiom, variable_idiom

KIB = 1024
MIB = KIB**2
GIB = KIB**3
_PORT = Number(low=1, high=65535)
DISK = Size(unit_bytes=GIB, low=MIB, high=64 * KIB * GIB, few=1, many=4 * KIB)
VCPUS = Number(low=1, high=512)
#: Hardly a guest boots in less than 64 MiB.
MEMORY = Size(unit_bytes=MIB, low=16 * MIB, high=16 * KIB * GIB, few=64, many=KIB * KIB)
#: Instead of a port of the host.
AUTO = "auto"
#: Of a step's `run`; by default a step is run always.
RUN_ONCE = "once"
_BOOT_TIMEOUT = f"{BOOT_TIMEOUT_S[Accelerator.KVM]} under KVM, {BOOT_TIMEOUT_S[Accelerator.TCG]} under TCG"
_FIRMWARE = f'"{Firmware.BIOS}", or "{Firmware.UEFI}" on {Architecture.AARCH64}'
_ONE_TOO_MANY = "one too many"
_LIKE_THIS = "write it like this: {value}"


def _one(kind: Type, name: str = "value") -> tuple[Argument, ...]:
    return (Argument(name=name, type=kind),)


def _default(value: str | int | bool) -> str:
    """A default as it would be written."""
    match value:
        case bool():
            return "#true" if value else "#false"
        case int():
            return str(value)
    return f'"{value}"'


def _property(
    name: str, kind: Type, help: str, *, required: bool = False, default: str = "", only: tuple[str, ...] = ()
) -> Entry:
    return Entry(
        name=name,
        help=help,
        arguments=_one(kind),
        written=Written.PROPERTY,
        required=required,
        default=default,
        only=only,
    )


IMAGE_URL = Entry(
    name="image-url",
    help="the VM's base image, downloaded once into the cache",
    arguments=_one(Text(form=forms.IMAGE_URL), "url"),
    also=("url", "image-uri", "box"),
    entries=(
        Entry(name="sha256", help="SHA-256 checksum of the file", arguments=_one(Text(form=forms.SHA256)),
              written=Written.PROPERTY, also=("checksum",)),
        Entry(name="sha512", help="SHA-512 checksum of the file", arguments=_one(Text(form=forms.SHA512)),
              written=Written.PROPERTY),
        Entry(name="checksum-url", help="URL of a list of checksums: SHA256SUMS, SHA512SUMS, CHECKSUM",
              arguments=_one(Text(form=forms.WEB_URL)), written=Written.PROPERTY),
    ),
)  # fmt: skip

FORWARD = Entry(
    name="forward",
    help="forward a host port to the guest",
    many=True,
    only=(NetworkMode.USER,),
    also=("port", "ports", "publish", "forwarded-port", "hostfwd"),
    idiom=Idiom(
        read=forward_idiom, complaint=Complaint("`forward` without `host` and `guest`", "neither is given", _LIKE_THIS)
    ),
    entries=(
        _property("host", Number(low=1, high=65535, word=AUTO), 'host port; "auto" picks a free one', required=True),
        _property("guest", _PORT, "guest port", required=True),
        _property("protocol", Word(words=tuple(Transport)), "protocol", default=_default(Forward.transport)),
        _property("address", Text(form=forms.ADDRESS), "host address to listen on", default=_default(Forward.address)),
    ),
)

#: What other tools call them.
_NETWORKS = {
    **dict.fromkeys(("nat", "default", "slirp", "usernet"), NetworkMode.USER),
    **dict.fromkeys(("bridge", "bridged", "public-network"), NetworkMode.TAP),
    **dict.fromkeys(("hostonly", "host-only", "internal", "private-network"), NetworkMode.PRIVATE),
}

NETWORK = Entry(
    name="network",
    help="a network card; with \"user\", the guest reaches the host's 127.0.0.1 as 10.0.2.2; with \"private\", other VMs "
    "of the VMFile, by name; with \"tap\", a bridge of the host",
    arguments=(
        Argument(
            name="mode",
            type=Word(words=tuple(NetworkMode), later=frozenset({NetworkMode.VNIC}), also=_NETWORKS),
            default=Network.mode,
        ),
    ),
    many=True,
    default=_default(Network.mode),
    also=("net", "nic", "networks", "interface"),
    entries=(
        FORWARD,
        _property("isolated", Flag(), "block the guest's access to the host and the internet; SSH into it still works",
                  default=_default(VmSpec.isolated), only=(NetworkMode.USER,)),
        Entry(name="bridge", help="host bridge", arguments=_one(Text(form=forms.INTERFACE)),
              written=Written.EITHER, only=(NetworkMode.TAP,), default=_default(BRIDGE)),
        Entry(name="name", help="name of the private network, or of the VNIC", arguments=_one(Text(form=forms.INTERFACE)),
              written=Written.EITHER, only=(NetworkMode.PRIVATE, NetworkMode.VNIC), required=True),
        _property("address", Text(form=forms.CARD_ADDRESS), "IPv4 address of the card on the private network",
                  default="generated", only=(NetworkMode.PRIVATE,)),
        Entry(name="mac", help="MAC address of the card", arguments=_one(Text(form=forms.MAC)),
              written=Written.EITHER, only=(NetworkMode.USER, NetworkMode.PRIVATE, NetworkMode.TAP, NetworkMode.VNIC),
              default="generated"),
    ),
)  # fmt: skip

DRIVE = Entry(
    name="drive",
    help="an extra disk, kept by reload and removed by destroy",
    arguments=_one(Text(form=forms.DRIVE_NAME), "name"),
    many=True,
    also=("volume", "volumes", "data-disk"),
    idiom=Idiom(read=mount_idiom, complaint=Complaint("`drive` takes a name", "a directory to mount", _LIKE_THIS)),
    entries=(_property("size", DISK, "size of the disk", required=True),),
)

MOUNT = Entry(
    name="mount",
    help="mount a host directory in the guest, through virtiofs or else 9p",
    arguments=(Argument(name="source", type=Text()), Argument(name="target", type=Text(form=forms.GUEST_PATH))),
    many=True,
    also=("share", "mounts", "shared-folder", "synced-folder"),
    idiom=Idiom(read=mount_idiom, complaint=Complaint("`mount` takes two paths", "not two strings", _LIKE_THIS)),
    entries=(_property("read-only", Flag(), "mount read-only", default=_default(Mount.read_only)),),
)

CLOUD_INIT = Entry(
    name="cloud-init",
    help="configuration for the guest's first boot",
    entries=(
        Entry(name="hostname", help="host name of the guest", arguments=_one(Text(form=forms.HOSTNAME)),
              default="the VM's name"),
        Entry(name="ssh-key", help="public key allowed to log in", arguments=_one(Text(), "file"),
              default="a generated key pair", also=("public-key", "authorized-key", "authorized-keys", "ssh-keys")),
        Entry(name="user-data", help="raw user-data to use instead of vmctl's", arguments=_one(Text(), "file")),
        Entry(name="network-config", help="network configuration for cloud-init", arguments=_one(Text(), "file")),
        Entry(name="on-error", help="what `up` does when a cloud-init module fails",
              arguments=_one(Word(words=tuple(OnError))), default=_default(CloudInit.on_error)),
    ),
)  # fmt: skip

SSH = Entry(
    name="ssh",
    help="how to log in to the guest",
    entries=(
        Entry(name="user", help="user to log in as, created by cloud-init", arguments=_one(Text(form=forms.USER)),
              default=_default(SshAccess.user), also=("username", "login")),
        Entry(name="private-key", help="private key to log in with", arguments=_one(Text(), "file"),
              default="the generated key", also=("identity", "identity-file")),
        Entry(name="port", help="SSH port of the guest", arguments=_one(_PORT), default=_default(SshAccess.port)),
    ),
)  # fmt: skip

_SHELL, _FILE = (ProvisionerKind.SHELL,), (ProvisionerKind.FILE,)
PROVISION = Entry(
    name="provision",
    help="a step to run in the guest after cloud-init",
    idiom=Idiom(read=provision_idiom, complaint=Complaint("`provision` without a block", "its step is not in one", _LIKE_THIS)),
    arguments=(Argument(name="kind", type=Word(words=tuple(ProvisionerKind)), default=ProvisionerKind.SHELL),),
    many=True,
    entries=(
        Entry(name="inline", help="a command line", arguments=_one(Text()), only=_SHELL, also=("command", "commands", "cmd")),
        Entry(name="script", help="a script on the host", arguments=_one(Text(), "file"), only=_SHELL, also=("path",)),
        Entry(name="env", help="an environment variable for the step", only=_SHELL, many=True, also=("environment", "envs"),
              idiom=Idiom(read=variable_idiom,
                          complaint=Complaint("`env` takes a name and a value", "not two strings", _LIKE_THIS)),
              arguments=(Argument(name="name", type=Text(form=forms.VARIABLE)),
                         Argument(name="value", type=Text(empty=True)))),
        Entry(name="run", help="run the step again after each start of the VM, or only until it has succeeded once", only=_SHELL,
              arguments=_one(Word(words=("always", RUN_ONCE))), default='"always"'),
        Entry(name="source", help="a file or directory on the host", arguments=_one(Text(), "file"), only=_FILE, required=True,
              also=("src",)),
        Entry(name="destination", help="target path in the guest", arguments=_one(Text(form=forms.GUEST_PATH)),
              only=_FILE, required=True, also=("dest", "dst", "target")),
        Entry(name="mode", help="mode of the file, or of the files in the directory", only=_FILE,
              arguments=_one(Text(form=forms.MODE)), default="as the source"),
        Entry(name="owner", help="owner of the target", arguments=_one(Text(form=forms.OWNER)), only=_FILE,
              default="the user if it can write there, else root"),
    ),
    choices=(
        Choice(
            names=("inline", "script"), only=_SHELL,
            none=Complaint("a shell provisioner without anything to run", "neither inline nor script",
                           'add a line: inline "command", or: script "setup.sh"'),
            several=Complaint("a shell provisioner with both inline and script", _ONE_TOO_MANY,
                              "split it into two provision blocks"),
        ),
    ),
)  # fmt: skip

VM = Entry(
    name="vm",
    help="a virtual machine; its name must be unique in the file",
    arguments=_one(Text(form=forms.VM_NAME), "name"),
    many=True,
    required=True,
    body=True,
    also=("machine", "guest", "domain"),
    entries=(
        Entry(name="image", help="the VM's base image; it is never written to",
              arguments=_one(Text(), "file")),
        IMAGE_URL,
        Entry(name="arch", help="architecture of the guest; a foreign one runs under TCG",
              arguments=_one(Word(words=tuple(Architecture))), default="the host's"),
        Entry(name="vcpus", help="number of virtual CPUs", arguments=_one(VCPUS), default=_default(VmSpec.vcpus),
              also=("cpus", "cores", "smp")),
        Entry(name="memory", help="memory", default=_default(VmSpec.memory_mib), also=("ram", "mem"),
              arguments=_one(MEMORY)),
        Entry(name="disk", help="size of a new VM's disk, not smaller than the image", arguments=_one(DISK),
              default="size of the image"),
        Entry(name="firmware", help="firmware of the guest",
              arguments=_one(Word(words=tuple(Firmware))), default=_FIRMWARE),
        Entry(name="accel", help="accelerator for the guest", arguments=_one(Word(words=tuple(Accelerator))),
              default=_default(VmSpec.accelerator), also=("accelerator",)),
        Entry(name="cpu", help="CPU model, as named by QEMU", arguments=_one(Text()),
              default='"host" under KVM, "max" under TCG'),
        Entry(name="boot-timeout", help="time limit for the guest to become ready",
              arguments=_one(Number(low=1, high=24 * 3600, unit="seconds")), default=_BOOT_TIMEOUT),
        Entry(name="depends-on", help="VMs that must be ready before this one starts", many=True,
              arguments=(Argument(name="vm", type=Text(), many=True),), also=("depends", "needs", "after", "requires")),
        NETWORK, DRIVE, MOUNT, CLOUD_INIT, SSH, PROVISION,
    ),
    choices=(
        Choice(
            names=("image", "image-url"),
            none=Complaint("a VM without an image", "neither image nor image-url",
                           'add a line: image "disk.qcow2", or: image-url "https://…"'),
            several=Complaint("a VM with both image and image-url", _ONE_TOO_MANY, "remove one of the two"),
        ),
    ),
)  # fmt: skip

#: What may stand at the top of a VMFile.
DOCUMENT = Entry(name="", help="a VMFile", entries=(VM,))
