"""Programs that vmctl runs: where they are, and which package brings them when they are not there."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

from vm_manager.diagnostics.errors import MissingTool, VmError
from vm_manager.diagnostics.model import Evidence

# The package that has the program, by the ID or ID_LIKE of os-release(5), and by the name of the system elsewhere.
_PACKAGES = {
    "qemu-system-x86_64": {
        "debian": "qemu-system-x86",
        "fedora": "qemu-system-x86-core",
        "arch": "qemu-system-x86",
        "alpine": "qemu-system-x86_64",
        "darwin": "qemu",
    },
    "qemu-system-aarch64": {
        "debian": "qemu-system-arm",
        "fedora": "qemu-system-aarch64-core",
        "arch": "qemu-system-aarch64",
        "alpine": "qemu-system-aarch64",
        "darwin": "qemu",
    },
    "qemu-img": {
        "debian": "qemu-utils",
        "fedora": "qemu-img",
        "arch": "qemu-img",
        "alpine": "qemu-img",
        "darwin": "qemu",
    },
    "ssh": {
        "debian": "openssh-client",
        "fedora": "openssh-clients",
        "arch": "openssh",
        "alpine": "openssh-client",
        "darwin": "openssh",
    },
    "qemu-bridge-helper": {
        "debian": "qemu-system-common",
        "fedora": "qemu-common",
        "arch": "qemu-common",
        "alpine": "qemu-bridge-helper",
    },
    "ovmf": {"debian": "ovmf", "fedora": "edk2-ovmf", "arch": "edk2-ovmf", "alpine": "ovmf", "darwin": "qemu"},
    "aavmf": {
        "debian": "qemu-efi-aarch64",
        "fedora": "edk2-aarch64",
        "arch": "edk2-aarch64",
        "alpine": "aavmf",
        "darwin": "qemu",
    },
}
# Where packages put programs. Source: the Filesystem Hierarchy Standard, and Homebrew's manual.
_USUAL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/homebrew/bin"
_INSTALL = {
    "debian": "apt-get install",
    "fedora": "dnf install",
    "arch": "pacman -S",
    "alpine": "apk add",
    "darwin": "brew install",
}


def find_tool(name: str) -> Path:
    """The program `name` on PATH. Raises: `host::missing_tool`, with the package that has it on this system.

    One that is installed, but not where PATH leads, is the argument `elsewhere` of that failure.
    """
    found = shutil.which(name)
    if found is not None:
        return Path(found)
    elsewhere = shutil.which(name, path=_USUAL_PATH) or ""
    here = os.path.dirname(elsewhere)
    raise MissingTool(
        "{tool} is not on PATH",
        {"tool": name, "elsewhere": elsewhere},
        help=(f'add its directory to PATH: `export PATH="${{PATH:+$PATH:}}{here}"`' if here else how_to_install(name),),
        evidence=(Evidence("probe", f"{name} on PATH", (elsewhere or "not found", f"PATH={_path()}")),),
    )


def missing(program: str, error: VmError) -> str:
    """Why a program was not found, in a few words. program: as people call it."""
    return f"{program} is not on PATH" if error.diagnostic.args.get("elsewhere") else f"{program} is not installed"


def _path() -> str:
    found = os.environ.get("PATH")
    return "(not set)" if found is None else found or "(empty)"


def how_to_install(name: str) -> str:
    """The command that installs a program, or what else stands in the table, on this system."""
    system = _system()
    package = _PACKAGES.get(name, {}).get(system or "")
    if not system or not package:
        return f"install the package that has `{name}`"
    return f"install it with `{_INSTALL[system]} {package}`"


def _system() -> str | None:
    if platform.system() == "Darwin":
        return "darwin"
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return None
    kinds = [release.get("ID", ""), *release.get("ID_LIKE", "").split()]
    return next((kind for kind in kinds if kind in _INSTALL), None)
