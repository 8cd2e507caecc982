"""Why QEMU did not start, found out by looking at this host: never by reading what QEMU said."""

from __future__ import annotations

import re
import resource
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vm_manager.backends.qemu.confinement import probe_sandbox
from vm_manager.diagnostics.errors import HostExhausted, VmError
from vm_manager.diagnostics.model import Evidence
from vm_manager.diagnostics.os_errors import free_space_help, limit_help
from vm_manager.domain.instance import SandboxKind
from vm_manager.domain.names import closest
from vm_manager.domain.spec import VmSpec
from vm_manager.host.disk_space import free_bytes
from vm_manager.host.image_lock import is_in_use, is_written_to, users
from vm_manager.host.process import ProcessFailed, run
from vm_manager.host.sandbox import confinement
from vm_manager.state.layout import InstanceFiles

_MIB = 1024 * 1024
_LITTLE_BYTES = 16 * _MIB
_TIMEOUT_S = 10
# QEMU alone has some 40 files open, and 2 GiB of addresses; the emulator's buffer is another GiB at the most.
_REQUIRED_FILES, _LEAST_FILES = 64, 128
_OWN_MEMORY_BYTES = 3 * 1024 * _MIB
# Debian 12's: vmctl is tested with no older one.
_OLDEST = (7, 2)


@dataclass(frozen=True)
class Findings:
    """What was looked at, and the help that follows from it, most telling first."""

    evidence: Evidence
    help: tuple[str, ...]


def probe_start(spec: VmSpec, files: InstanceFiles, qemu: Path, base: Path) -> Findings:
    """Look at what a QEMU needs to start. Never fails.

    That it runs at all, memory, space, limits, the disk to itself, and nobody who writes to its image.
    """
    lines: list[str] = []
    help: list[str] = []
    _probe_program(spec, qemu, lines, help)
    available_mib = _available_memory_mib()
    if available_mib is not None:
        lines.append(f"memory: the guest gets {spec.memory_mib} MiB, {available_mib} MiB are available")
        if available_mib < spec.memory_mib:
            help.append(
                f"free memory on this host, or give the VM less than {available_mib} MiB: `memory` in the VMFile"
            )
    free = free_bytes(files.home)
    if free is not None:
        lines.append(f"space: {free // _MIB} MiB are free where the VM's disk is")
        if free < _LITTLE_BYTES:
            help.append(free_space_help(files.home))
    for what, path, asked in (("disk", files.overlay, is_in_use), ("image", base, is_written_to)):
        with suppress(OSError):  # what cannot be opened at all is another finding
            who = _who(path) if asked(path) else ""
            lines.append(f"{what}: {who or 'nobody else'} has it open")
            if who:
                help.append(f"stop {who}, which has the {what} {path} open")
    for limit, advice in _low_limits(spec):
        lines.append(f"limit: {limit} for each process")
        help.append(advice)
    if (confined := confinement()).sandbox is not SandboxKind.NONE:
        lines.append(
            f"sandbox: {confined.sandbox}: QEMU may open the VM's disk, logs and image; VMCTL_SANDBOX=off turns it off"
        )
    return Findings(Evidence("probe", "this host", tuple(lines)), tuple(help))


def require_files() -> None:
    """Refuse to start a QEMU that could not open enough: it would break later. Raises: `host::exhausted`."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if most < _REQUIRED_FILES:
        raise HostExhausted(
            "QEMU needs at least {needed} open files, and a process in this shell may have {most}",
            {"needed": _REQUIRED_FILES, "most": most},
            help=(limit_help(resource.RLIMIT_NOFILE),),
        )


def _probe_program(spec: VmSpec, qemu: Path, lines: list[str], help: list[str]) -> None:
    version = _version(qemu)
    lines.append(f"QEMU: {'.'.join(map(str, version)) if version else f'`{qemu} --version` does not say'}")
    if version is None:
        help.append(f"reinstall QEMU, or take a broken one out of PATH: `{qemu} --version` fails, too")
    elif version < _OLDEST:
        help.append(f"install QEMU {'.'.join(map(str, _OLDEST))} or newer: vmctl is not made for older ones")
    models = _cpu_models(qemu) if spec.cpu and version else ()
    if models and spec.cpu and spec.cpu.split(",")[0] not in models:
        near = closest(spec.cpu, models)
        meant = f"did you mean `{near}`? " if near else ""
        help.append(f"{meant}`{qemu.name} -cpu help` lists the models that this QEMU has: `cpu` in the VMFile")


def _version(qemu: Path) -> tuple[int, int] | None:
    found = re.search(r"version (\d+)\.(\d+)", _said(qemu, "--version"))
    return (int(found[1]), int(found[2])) if found else None


def _cpu_models(qemu: Path) -> tuple[str, ...]:
    # `x86 486                   (alias configured by machine type)`, and `host` among them.
    return tuple(re.findall(r"^\s*x86 (\S+)", _said(qemu, "-cpu", "help"), re.MULTILINE))


def _said(qemu: Path, *options: str) -> str:
    try:
        return run([str(qemu), *options], timeout_s=_TIMEOUT_S, sandbox=probe_sandbox()).stdout
    except (VmError, ProcessFailed, OSError):
        return ""


def _who(path: Path) -> str:
    return ", ".join(users(path)) or "a process of another user"


def _available_memory_mib() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) // 1024
    except (OSError, ValueError):
        return None
    return None


def _low_limits(spec: VmSpec) -> Iterator[tuple[str, str]]:
    """Limits on this process that QEMU inherits and that are too low for it, each with what lifts it."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if files < _LEAST_FILES:
        yield f"{files} open files", limit_help(resource.RLIMIT_NOFILE)
    memory = resource.getrlimit(resource.RLIMIT_AS)[0]
    if memory != resource.RLIM_INFINITY and memory < spec.memory_mib * _MIB + _OWN_MEMORY_BYTES:
        yield f"{memory // _MIB} MiB of memory", limit_help(resource.RLIMIT_AS)
