"""`vmctl create`: one VM from options instead of a VMFile."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vm_manager.app.apply import Run, RunOptions, check_host
from vm_manager.app.arguments import StrPath, path_of
from vm_manager.app.create import cached_urls
from vm_manager.app.fleet import on_each
from vm_manager.app.hardware_options import drives_from, forwards_from, mounts_from, networks_from
from vm_manager.app.holding import hold
from vm_manager.app.images import image_from
from vm_manager.app.services import Services
from vm_manager.app.strays import stray_error
from vm_manager.diagnostics.errors import (
    CreateImageNotFound,
    CreateInvalidMemory,
    CreateInvalidVcpus,
    CreateNameExists,
    CreateNoImage,
    Usage,
)
from vm_manager.diagnostics.model import Subject
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.diagnostics.urls import cut_url
from vm_manager.domain.architecture import DEFAULT_ARCHITECTURE, Architecture, is_foreign
from vm_manager.domain.names import is_vm_name
from vm_manager.domain.outcome import Outcome
from vm_manager.domain.spec import Accelerator, CloudInit, Firmware, ImageSource, SshAccess, VmSpec, usual_firmware
from vm_manager.host.regular_file import require_image_file
from vm_manager.planning.create import plan_create
from vm_manager.vmfile.flaws import Flaw
from vm_manager.vmfile.grammar import Size
from vm_manager.vmfile.input_files import KEY_BYTES, USER_DATA_BYTES, UnfitFile, read_input
from vm_manager.vmfile.key_files import check_public_key
from vm_manager.vmfile.language import DISK, MEMORY, VCPUS
from vm_manager.vmfile.user_data import check_user_data
from vm_manager.vmfile.values import meant_size, shown_size, size_with_unit

_MIB = 1024 * 1024
_NUMBER = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, kw_only=True)
class NewVm:
    """What `create` is asked for.

    image: a disk image on this host; image_url: one to fetch; exactly one of them. sha256, sha512: what a fetched one must
    have, hexadecimal.
    vcpus: a whole number. memory: MiB, or a size such as "2GiB". disk: GiB, or such a size; None: as large as the image.
    user_data: a file that replaces vmctl's own user-data. ssh_key: a public key file; without one a pair is generated.
    uefi: whether it starts with UEFI firmware. accelerator: what executes the guest.
    forwards: ports of this host that lead into it: `[[ADDRESS:]HOST:]GUEST[/udp]`. mac: of its network card.
    bridge: of this host, that the card is on; None: QEMU's own network.
    drives: extra disks: `NAME=SIZE`. mounts: directories of this host in the guest: `SOURCE:TARGET[:ro]`.
    arch: of the guest, by default the host's; another one is emulated.
    """

    name: str
    image: StrPath | None = None
    image_url: str | None = None
    sha256: str | None = None
    sha512: str | None = None
    vcpus: int | str = VmSpec.vcpus
    memory: int | str = VmSpec.memory_mib
    disk: int | str | None = None
    user_data: StrPath | None = None
    ssh_key: StrPath | None = None
    user: str = SshAccess.user
    uefi: bool = False
    accelerator: Accelerator | str = VmSpec.accelerator
    forwards: Sequence[str] = ()
    mac: str | None = None
    bridge: str | None = None
    drives: Sequence[str] = ()
    mounts: Sequence[str] = ()
    arch: Architecture | str = DEFAULT_ARCHITECTURE


def create(services: Services, new: NewVm, *, start: bool = False) -> tuple[Outcome, ...]:
    """Make a VM, and with `start` bring it up.

    Raises: `vmctl::create::invalid_vcpus`, `vmctl::create::invalid_memory`, `vmctl::create::no_image`,
    `vmctl::create::image_not_found`, `vmctl::create::name_exists`, `vmctl::usage`, `state::locked`; what fails later is in the
    outcome.
    """
    spec = _spec(new)
    _check_file(path_of(new.user_data), "the user-data", USER_DATA_BYTES, check_user_data)
    _check_file(path_of(new.ssh_key), "the public key", KEY_BYTES, check_public_key)
    with hold(services, (spec.name,), "vmctl create") as held:
        for stray in held.strays.get(spec.name, ()):
            raise stray_error(services, stray)
        if services.store.exists(spec.name):
            raise CreateNameExists(
                "VM '{name}' already exists",
                {"name": spec.name},
                help=(f"choose another name, or use that VM: `vmctl start {spec.name}`",),
                subject=Subject(vm=spec.name),
            )
        guests = services.backend().capabilities().guests
        plan = plan_create(spec, cached_urls(services, (spec,)), start=start, guests=guests)
        for warning in check_host(services, plan):
            services.emit(warning)
        run = Run(services, spec.name, None, RunOptions())
        return on_each(services, plan.vms, lambda _: run.apply(plan.operations))


def _spec(new: NewVm) -> VmSpec:
    if not is_vm_name(new.name):
        raise Usage(
            "'{name}' cannot be the name of a VM",
            {"name": new.name},
            help=("use up to 63 letters, digits and hyphens, without a hyphen at either end",),
        )
    number = str(new.vcpus)
    vcpus = int(number) if _NUMBER.fullmatch(number) else None
    if vcpus is None or not VCPUS.low <= vcpus <= VCPUS.high:
        raise CreateInvalidVcpus(
            "'{vcpus}' is not a valid number of virtual CPUs",
            {"vcpus": number},
            help=(f"give a whole number from {VCPUS.low} to {VCPUS.high}: `--vcpus 2`",),
        )
    memory = _size(new.memory, MEMORY)
    if memory is None:
        raise CreateInvalidMemory(
            "'{memory}' is not a valid memory size",
            {"memory": str(new.memory)},
            help=(
                f"give a number of MiB, or a size, from {_bounds(MEMORY)}: "
                f"`--memory {meant_size(str(new.memory), MEMORY) or '2GiB'}`",
            ),
        )
    disk = None if new.disk is None else _size(new.disk, DISK)
    if new.disk is not None and disk is None:
        raise Usage(
            "'{disk}' is not a valid disk size",
            {"disk": str(new.disk)},
            help=(
                f"give a number of GiB, or a size, from {_bounds(DISK)}: "
                f"`--disk {meant_size(str(new.disk), DISK) or 20}`",
            ),
        )
    arch = Architecture(new.arch)
    return VmSpec(
        name=new.name,
        image=replace(_image(new), architecture=arch if is_foreign(arch) else None),
        arch=arch,
        vcpus=vcpus,
        memory_mib=memory // _MIB,
        disk_bytes=disk,
        firmware=Firmware.UEFI if new.uefi else usual_firmware(arch),
        cloud_init=CloudInit(hostname=new.name, ssh_key=_absolute(new.ssh_key), user_data=_absolute(new.user_data)),
        ssh=SshAccess(user=new.user),
        accelerator=Accelerator(new.accelerator),
        forwards=forwards_from(new.forwards),
        networks=networks_from(new.mac, new.bridge, new.forwards),
        drives=drives_from(new.drives),
        mounts=mounts_from(new.mounts, new.user),
    )


def _size(wanted: int | str, kind: Size) -> int | None:
    """The bytes that are meant, or None when it is no size that is allowed."""
    text = str(wanted)
    size = int(text) * kind.unit_bytes if _NUMBER.fullmatch(text) else size_with_unit(text)
    return size if size is not None and kind.low <= size <= kind.high else None


def _bounds(kind: Size) -> str:
    return f"{shown_size(kind.low)} to {shown_size(kind.high)}"


def _image(new: NewVm) -> ImageSource:
    if new.image and new.image_url:
        raise Usage("a VM has one image", help=("give either `--image` or `--image-url`",))
    if new.image_url:
        return image_from(new.image_url, new.sha256, new.sha512)
    if new.sha256 or new.sha512:
        raise Usage("a checksum needs an image URL", help=("give it together with `--image-url`",))
    if new.image is None:
        raise CreateNoImage("no image was given for the VM")
    image = path_of(new.image)
    if not image.exists():
        raise _no_image(str(image))
    require_image_file(image)
    return ImageSource(path=_absolute(image))


def _no_image(path: str) -> CreateImageNotFound:
    # A path has lost the second slash of a URL, and with it what tells its secrets.
    if ":/" not in path:
        return CreateImageNotFound("the image {path} does not exist", {"path": path})
    url = cut_url(path.replace(":/", "://", 1))
    return CreateImageNotFound(
        "the image {path} is a URL, not a path", {"path": url}, help=("to download it, use `--image-url`",)
    )


def _absolute(path: StrPath | None) -> str | None:
    return str(path_of(path).absolute()) if path else None


def _check_file(path: Path | None, what: str, most_bytes: int, check: Callable[[bytes, str], list[Flaw]]) -> None:
    if path is None:
        return
    try:
        with os_errors(path):
            flaws = check(read_input(path, most_bytes), str(path))
    except UnfitFile as error:
        flaws = [Flaw(problem=error.problem, help=f"use another file than {path}")]
    for flaw in flaws:
        if not flaw.warning:
            raise Usage(
                "{what} {problem}",
                {"what": "`--ssh-key`" if flaw.of_word else what, "problem": flaw.problem},
                help=(flaw.help or f"check what is in {path}",),
                labels=(flaw.place,) if flaw.place else (),
            )
