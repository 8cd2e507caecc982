"""`list` and `status` for people: aligned columns, the same on a terminal and in a pipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vm_manager.domain.instance import INCIDENT, Instance, Snapshot, VmState
from vm_manager.domain.sizes import exact_size

if TYPE_CHECKING:
    from vm_manager.diagnostics.model import Evidence
    from vm_manager.domain.instance import Endpoint

_COLUMNS = ("NAME", "STATE", "BACKEND", "VCPUS", "MEM", "NETWORK", "PID", "SSH")
_NUMBERS = ("VCPUS", "MEM", "PID")


def list_lines(instances: Sequence[Instance]) -> list[str]:
    """The table of `vmctl list`; a VM whose last failure still counts is marked with `!` behind its state."""
    rows = [_COLUMNS, *(_row(instance) for instance in instances)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = ["  ".join(_cell(*cell) for cell in zip(_COLUMNS, row, widths, strict=True)).rstrip() for row in rows]
    failed = [instance.name for instance in instances if instance.last_failure]
    if failed:
        which = failed[0] if len(failed) == 1 else "NAME"
        lines += ["", f"! marks a failure: see `vmctl status {which}`"]
    return lines


def port_lines(instance: Instance) -> list[str]:
    """The lines of `vmctl port`: `80/tcp -> 127.0.0.1:8080`."""
    return [f"{port.guest}/{port.transport} -> {port.address}:{port.host}" for port in instance.ports]


def snapshot_lines(snapshots: Sequence[Snapshot]) -> list[str]:
    """The table of `vmctl snapshot list`; a snapshot that the VM cannot go back to as it is now is marked with `!`."""
    rows = [("TAG", "CREATED", "MEMORY")]
    rows += [
        (
            f"{kept.tag}{'!' if kept.trouble else ''}",
            kept.created_at,
            f"{kept.memory_bytes // 1024**2} MiB" if kept.memory_bytes else "-",
        )
        for kept in snapshots
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    notes = [f"! '{kept.tag}' {kept.trouble}" for kept in snapshots if kept.trouble]
    return [*lines, "", *notes] if notes else lines


def status_lines(instance: Instance) -> list[str]:
    """Everything known of a VM, a line each."""
    record, observation = instance.record, instance.observation
    spec, progress = record.spec, record.progress
    endpoint, detail = observation.ssh, observation.detail
    facts = [
        ("Name", instance.name),
        ("State", f"{instance.state} ({detail})" if detail and detail != instance.state else str(instance.state)),
        ("Ready", _readiness(instance)),
        ("Backend", record.backend),
        ("Accelerator", _accelerator(instance)),
        ("Sandbox", _sandbox(instance)),
        ("Architecture", str(spec.arch)),
        ("VCPUs", str(spec.vcpus)),
        ("Memory", f"{spec.memory_mib} MiB"),
        ("Disk", exact_size(spec.disk_bytes) if spec.disk_bytes else "size of the image"),
        ("Firmware", str(spec.firmware)),
        ("Drives", ", ".join(f"{it.name} {_drive_size(instance, it.name)}" for it in spec.drives) or "-"),
        *(("Mount", line) for line in _mounts(instance)),
        ("Image", record.base_image.path),
        ("Network", _networks(instance)),
        ("Forwards", ", ".join(map(str, observation.forwards or spec.forwards)) or "-"),
        ("SSH", f"{spec.access.user}@{endpoint}" if endpoint else "-"),
        ("PID", str(observation.pid or "-")),
        ("Provisioned", f"{len(progress.done)} of {len(spec.provisioners)} steps"),
        ("Origin", record.origin),
        ("Created", record.created_at),
        ("Instance id", record.instance_id),
        ("Directory", instance.home),
    ]
    failure = instance.last_failure
    if failure:
        facts += [
            ("Last failure", f"{_during(failure.operation)} at {failure.time}"),
            ("", f"{failure.code}: {failure.message}"),
            *(("", f"help: {advice}") for advice in failure.help),
            *(("", line) for evidence in failure.evidence for line in _shown(evidence)),
        ]
    return [f"{f'{name}:' if name else '':<13} {value}" for name, value in facts]


def _networks(instance: Instance) -> str:
    spec, macs = instance.record.spec, instance.macs
    # On a bridge it is what others know the card by, such as a DHCP server.
    known = [card.address or (card.bridge and macs and macs[at]) for at, card in enumerate(spec.networks)]
    cards = [f"{card.words} ({it})" if it else card.words for card, it in zip(spec.networks, known, strict=True)]
    return ", ".join((*(cards or [spec.network_words]), *(("isolated",) if spec.isolated else ())))


def _row(instance: Instance) -> tuple[str, ...]:
    spec, observation = instance.record.spec, instance.observation
    return (
        instance.name,
        f"{instance.state}{'!' if instance.last_failure else ''}",
        instance.record.backend,
        str(spec.vcpus),
        str(spec.memory_mib),
        spec.network_words,
        str(observation.pid or "-"),
        _ssh(observation.ssh, own_address=spec.has_own_address),
    )


def _ssh(endpoint: Endpoint | None, *, own_address: bool) -> str:
    """A port of this host, or the guest's address."""
    if endpoint is None:
        return "-"
    return str(endpoint) if own_address else str(endpoint.port)


def _cell(column: str, text: str, width: int) -> str:
    return f"{text:>{width}}" if column in _NUMBERS else f"{text:<{width}}"


def _drive_size(instance: Instance, name: str) -> str:
    """Of its disk, whatever the VMFile asked for."""
    return exact_size(instance.drives[name]) if name in instance.drives else "(no readable disk)"


def _mounts(instance: Instance) -> list[str]:
    kind = f"{instance.share_type}, " if instance.share_type else ""
    return [f"{mount.words}: {kind}tag {mount.tag}" for mount in instance.record.spec.mounts]


def _readiness(instance: Instance) -> str:
    if instance.ready:
        return "yes"
    match instance.state:
        case VmState.RUNNING:
            return "not yet"
        case VmState.SUSPENDED if instance.record.progress.ready:
            return "no, until resumed"
    return "no"


def _during(operation: str) -> str:
    return "while running," if operation == INCIDENT else operation


def _shown(evidence: Evidence) -> list[str]:
    """A piece of evidence, a line each; its text is safe since it was made."""
    head = f"evidence: {evidence.title}{f' ({evidence.path})' if evidence.path else ''}"
    lines = [f"| {line}" for line in evidence.lines]
    return [head, *lines, *([f"| not available: {evidence.error}"] if evidence.error else [])]


def _accelerator(instance: Instance) -> str:
    found = instance.acceleration
    if found is None:
        return "-"
    return f"{found.accelerator} ({found.reason})" if found.reason else str(found.accelerator)


def _sandbox(instance: Instance) -> str:
    found = instance.confinement
    return f"{found.sandbox} ({found.reason})" if found else "-"
