"""Programs that vmctl runs: where they are, and which package brings them when they are not there."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

from vm_manager.diagnostics.errors import MissingTool
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
}
_INSTALL = {
    "debian": "apt-get install",
    "fedora": "dnf install",
    "arch": "pacman -S",
    "alpine": "apk add",
    "darwin": "brew install",
}


def find_tool(name: str) -> Path:
    """The program `name` on PATH. Raises: `host::missing_tool`, with the package that has it on this system."""
    found = shutil.which(name)
    if found is None:
        raise MissingTool(
            "{tool} is not on PATH",
            {"tool": name},
            help=(_how_to_install(name),),
            evidence=(Evidence("probe", f"{name} on PATH", ("not found",)),),
        )
    return Path(found)


def _how_to_install(name: str) -> str:
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
