"""The network card and the drives of a VM that is made from options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vm_manager.diagnostics.errors import Usage
from vm_manager.domain.network import Forward, Network, NetworkMode, forward_of
from vm_manager.domain.share import Mount
from vm_manager.domain.spec import Drive
from vm_manager.vmfile import forms
from vm_manager.vmfile.input_files import UnfitFile, require_input
from vm_manager.vmfile.language import DISK
from vm_manager.vmfile.mount_places import unfit_place
from vm_manager.vmfile.paths import guest_path, real
from vm_manager.vmfile.values import meant_size, shown_size, size_with_unit


def forwards_from(words: Sequence[str]) -> tuple[Forward, ...]:
    """The forwards that `[[ADDRESS:]HOST:]GUEST[/udp]` ask for. Raises: `vmctl::usage`."""
    found: list[Forward] = []
    for word in words:
        wanted = forward_of(word)
        if wanted is None or not forms.ADDRESS.check(wanted.address):
            raise Usage(
                "'{word}' is not a forward",
                {"word": word},
                help=(
                    "write HOST:GUEST: `--forward 8080:80`, `--forward 5353:53/udp`, or `--forward 80` for a free port",
                ),
            )
        if any(_collide(wanted, other) for other in found):
            raise Usage(
                "the host port of '{word}' is forwarded twice", {"word": word}, help=("choose another host port",)
            )
        found.append(wanted)
    return tuple(found)


def _collide(one: Forward, other: Forward) -> bool:
    if one.host is None or other.host is None:
        return one.leads_as(other)
    return one.host_port == other.host_port and one.listens_beside(other)


def drives_from(words: Sequence[str]) -> tuple[Drive, ...]:
    """The drives that `NAME=SIZE` ask for. Raises: `vmctl::usage`."""
    found: dict[str, Drive] = {}
    for word in words:
        name, _, size = word.partition("=")
        size_bytes = size_with_unit(size)
        if not forms.DRIVE_NAME.check(name):
            raise Usage(
                "'{name}' cannot be the name of a drive",
                {"name": name},
                help=("use at most 20 letters, digits and inner hyphens: `--drive data=10GiB`",),
            )
        if size_bytes is None or not DISK.low <= size_bytes <= DISK.high:
            raise Usage(
                "'{word}' is not a drive with a valid size",
                {"word": word},
                help=(
                    f"give a size from {shown_size(DISK.low)} to {shown_size(DISK.high)}: "
                    f"`--drive {name}={meant_size(size, DISK) or '10GiB'}`",
                ),
            )
        if name in found:
            raise Usage(
                "the drive '{name}' is given twice", {"name": name}, help=("choose another name for one of them",)
            )
        found[name] = Drive(name=name, size_bytes=size_bytes)
    return tuple(found.values())


def mounts_from(words: Sequence[str], user: str) -> tuple[Mount, ...]:
    """The mounts that `SOURCE:TARGET[:ro]` ask for. user: who logs in. Raises: `vmctl::usage`."""
    found: dict[str, Mount] = {}
    for word in words:
        mount = _mount(word, user)
        if mount.target in found:
            raise Usage(
                "two directories are mounted on {target}",
                {"target": mount.target},
                help=("mount one of them elsewhere",),
            )
        found[mount.target] = mount
    return tuple(found.values())


def _mount(word: str, user: str) -> Mount:
    rest, read_only = (word.removesuffix(":ro"), True) if word.endswith(":ro") else (word, False)
    source, _, target = rest.rpartition(":")
    if not source or not forms.GUEST_PATH.check(target):
        raise Usage(
            "'{word}' is not a mount",
            {"word": word},
            help=("write DIRECTORY:PATH, with an absolute path in the guest: `--mount ./src:/srv/src`",
                  "append `:ro` to mount it read-only"),
        )  # fmt: skip
    if unfit := unfit_place(guest_path(target), user):
        raise Usage(unfit.message, help=(unfit.help,), notes=(unfit.what,))
    return Mount(source=str(_directory(source)), target=guest_path(target), read_only=read_only)


def _directory(source: str) -> Path:
    path = Path(source)
    try:
        path = real(source, Path.cwd())
        require_input(path)
        problem = "does not exist" if not path.exists() else "is not a directory"
        if path.is_dir():
            problem = "is the root directory" if path == Path("/") else ""
    except RuntimeError:
        problem = "is in the home directory of a user who does not exist"
    except UnfitFile as unfit:
        problem = unfit.problem
    if not problem:
        return path
    raise Usage(
        "the directory to mount {problem}: {path}",
        {"problem": problem, "path": str(path)},
        help=("give a directory of this host: `--mount ./src:/srv/src`",),
    )


def networks_from(mac: str | None, bridge: str | None, forwards: Sequence[str]) -> tuple[Network, ...]:
    """The usual card, or one on a bridge of the host, with a MAC address of the user's. Raises: `vmctl::usage`."""
    if mac is not None and not forms.MAC.check(mac):
        raise Usage(
            "'{mac}' is not the MAC address of a card",
            {"mac": mac},
            help=("write six hex pairs: `--mac 52:54:00:12:34:56`",),
        )
    address = mac.lower() if mac else None
    if bridge is None:
        return (Network(mac=address),)
    if not forms.INTERFACE.check(bridge):
        raise Usage(
            "'{bridge}' cannot be the name of a bridge",
            {"bridge": bridge},
            help=("give the name of a network interface: `--bridge br0`",),
        )
    if forwards:
        raise Usage(
            "`--forward` together with `--bridge`: no port of this host leads to a guest on a bridge",
            help=("remove one of the two; on a bridge, the guest is reached at its own address",),
        )
    return (Network(mode=NetworkMode.TAP, mac=address, bridge=bridge),)
