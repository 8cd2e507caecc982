"""Starting QEMU: from the spec to a process whose monitor answers."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vm_manager.backends.qemu.accelerator import (
    Believe,
    Choice,
    Processor,
    acceleration,
    choose,
    distrust,
    emulation,
    kvm_finding,
)
from vm_manager.backends.qemu.command import command_line
from vm_manager.backends.qemu.confinement import qemu_sandbox
from vm_manager.backends.qemu.disks import base_disk, require_root_disk, settle_drives, settle_firmware
from vm_manager.backends.qemu.evidence import qemu_log
from vm_manager.backends.qemu.files import QemuFiles
from vm_manager.backends.qemu.firmware import find_firmware
from vm_manager.backends.qemu.forwards import wanted_forwards
from vm_manager.backends.qemu.lost_shares import shares_evidence
from vm_manager.backends.qemu.monitor import Monitor
from vm_manager.backends.qemu.pid_file import lock_owner
from vm_manager.backends.qemu.private import make_ports, networks_of
from vm_manager.backends.qemu.probes import probe_start, require_files
from vm_manager.backends.qemu.process import spawn, spawn_keeper
from vm_manager.backends.qemu.query import forwards_in, host_port
from vm_manager.backends.qemu.section import QemuData
from vm_manager.backends.qemu.shares import Sharing, confine, serving, sharing
from vm_manager.backends.qemu.sockets import QMP_SOCKET
from vm_manager.backends.qemu.tap import open_taps, with_taps
from vm_manager.backends.qemu.targets import TARGETS
from vm_manager.diagnostics.errors import HostError, KvmUnusable, QemuSpawnFailed, VmError
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.domain.architecture import Architecture, is_foreign
from vm_manager.domain.deadline import CancelToken, Deadline
from vm_manager.domain.instance import InstanceRecord
from vm_manager.domain.network import Forward
from vm_manager.domain.spec import Accelerator, Firmware, VmSpec
from vm_manager.host.ports import first_refused
from vm_manager.host.process import describe_status
from vm_manager.host.sandbox import Sandbox, confinement, sandbox_finding
from vm_manager.host.tools import find_tool, missing
from vm_manager.state.files import write_private
from vm_manager.state.log_rotation import rotate

_log = logging.getLogger(__name__)

_START_TIMEOUT_S = 30.0
_POLL_S = 0.02
_END_S = 5.0
_QUOTED_LINES = 6

#: Is handed a QEMU that has just been started.
Keep = Callable[[subprocess.Popen[bytes], Sequence[subprocess.Popen[bytes]]], None]


def require_qemu(arch: Architecture) -> Path:
    """The QEMU program for guests of an architecture. Raises: `qemu::spawn_failed`, caused by `host::missing_tool`."""
    try:
        return find_tool(TARGETS[arch].program)
    except HostError as error:
        what = f"QEMU for {arch} guests" if is_foreign(arch) else "QEMU"
        raise QemuSpawnFailed(missing(what, error), help=error.diagnostic.help) from error


def accelerator_findings(specs: Sequence[VmSpec]) -> tuple[KvmUnusable, ...]:
    """Why some of these VMs will be emulated although KVM was allowed. Raises: `host::kvm_unusable`."""
    wanted = {(spec.accelerator, _processor(spec)) for spec in specs}
    refusals = [choose(accelerator, processor).refused for accelerator, processor in wanted]
    return tuple(refusal for refusal in refusals if refusal)


def _processor(spec: VmSpec) -> Processor:
    """Raises: as `require_qemu`."""
    return Processor(spec.arch, spec.cpu, require_qemu(spec.arch))


@dataclass(frozen=True)
class Composed:
    """A VM's command line, the accelerator that was chosen for it, and what it may do to this host."""

    argv: tuple[str, ...]
    choice: Choice
    sandbox: Sandbox
    sharing: Sharing | None = None


def compose(
    record: InstanceRecord, files: QemuFiles, choice: Choice | None = None, *, on_any_ports: bool = False
) -> Composed:
    """The command line that a VM would be started with now.

    choice: of the accelerator; default: as the VM's spec wants it.
    on_any_ports: another QEMU still listens on its ports: it takes others for now; see `forwards.take_over`.
    Raises: `qemu::spawn_failed`, `host::kvm_unusable`, `host::missing_firmware`, `image::base_changed`, `image::refused`,
    `image::format_detection_failed`; `io` when the root disk is missing, or a directory that is shared.
    """
    require_root_disk(record, files)
    data, processor = QemuData.of(record), _processor(record.spec)
    choice = choice or choose(record.spec.accelerator, processor)
    wanted, base = wanted_forwards(record.spec, data), base_disk(record.base_image)
    forwards = tuple(replace(forward, host=None) for forward in wanted) if on_any_ports else wanted
    firmware = find_firmware(record.spec.arch) if record.spec.firmware is Firmware.UEFI else None
    shared = sharing(record.spec, files)
    argv = command_line(
        record.spec,
        base=base,
        qemu=processor.qemu,
        choice=choice,
        uuid=data.uuid,
        firmware=firmware,
        macs=data.macs(record.spec),
        forwards=forwards,
        networks=networks_of(record),
        sharing=shared,
        with_seed=files.seed.exists(),
    )
    sandbox = qemu_sandbox(record, files, wanted, base.file, ports_at=make_ports(record, files))
    if firmware:
        sandbox = replace(sandbox, read=(*sandbox.read, firmware.code))
    return Composed(tuple(argv), choice, confine(sandbox, record.spec, shared), shared)


def compose_as_before(record: InstanceRecord, files: QemuFiles, *, on_any_ports: bool = False) -> Composed:
    """The same with the accelerator of the last start, whether or not that works now: a machine's state goes with no other.

    Raises: as `compose`.
    """
    data, processor, choice = QemuData.of(record), _processor(record.spec), None
    match data.accelerator:
        case Accelerator.KVM:
            choice = acceleration(processor, data.accelerator_reason)
        case Accelerator.TCG:
            choice = emulation(processor, data.accelerator_reason)
    return compose(record, files, choice, on_any_ports=on_any_ports)


def require_accelerator(record: InstanceRecord) -> None:
    """Raises: `host::kvm_unusable` when the last start was under KVM, and that does not work any more."""
    if QemuData.of(record).accelerator is Accelerator.KVM:
        finding = kvm_finding(_processor(record.spec), Believe.SUCCESS)
        if finding is not None:
            raise finding


def distrust_kvm(record: InstanceRecord, finding: KvmUnusable) -> None:
    """Remember that KVM did not boot a guest, whatever the probe says of it."""
    shown = [line for evidence in finding.diagnostic.evidence for line in evidence.lines]
    lines = (finding.diagnostic.message, *shown[:_QUOTED_LINES])
    distrust(_processor(record.spec), record.name, lines)


def start(
    record: InstanceRecord, files: QemuFiles, cancel: CancelToken, keep: Keep, warn: Callable[[HostError], None]
) -> QemuData:
    """Start QEMU for a machine that boots. Where KVM may be done without, what it turns out not to run is emulated.

    warn: is told why KVM was not taken although it was allowed, and that there is no sandbox. Raises: as `launch`.
    """
    if (unconfined := sandbox_finding()) is not None:
        warn(unconfined)
    settle_firmware(record.spec, files)
    settle_drives(record.spec, QemuData.of(record).drives, files)
    composed = compose(record, files)
    if composed.choice.refused is not None:
        warn(composed.choice.refused)
    try:
        return _launch_on_its_ports(record, files, cancel, keep, composed=composed)
    except QemuSpawnFailed as failure:
        if composed.choice.accelerator is not Accelerator.KVM:
            raise
        return _start_without_kvm(record, files, cancel, keep, warn, failure)


def _launch_on_its_ports(
    record: InstanceRecord, files: QemuFiles, cancel: CancelToken, keep: Keep, *, composed: Composed
) -> QemuData:
    """Start QEMU, once more when a port that nobody demanded was taken since it was found free. Raises: as `launch`."""
    try:
        return launch(record, files, cancel, keep, composed=composed)
    except QemuSpawnFailed:
        again = compose(record, files, composed.choice)
        if again.argv == composed.argv:
            raise
        return launch(record, files, cancel, keep, composed=again)


def _start_without_kvm(
    record: InstanceRecord,
    files: QemuFiles,
    cancel: CancelToken,
    keep: Keep,
    warn: Callable[[HostError], None],
    failure: QemuSpawnFailed,
) -> QemuData:
    """QEMU has ended at once under KVM: whether that is the reason is asked anew, and then tried.

    Raises: `host::kvm_unusable` where KVM is demanded and does not work; else, when emulation does not start either, `failure`.
    """
    processor = _processor(record.spec)
    finding = kvm_finding(processor, Believe.NONE)
    if finding is None:
        # What has ended it may be over: a port that was taken meanwhile, a lock on an image.
        try:
            return launch(record, files, cancel, keep, composed=compose(record, files))
        except QemuSpawnFailed as again:
            failure = again
    if record.spec.accelerator is Accelerator.KVM:
        if finding is None:
            raise failure
        raise finding.enrich(evidence=failure.diagnostic.evidence) from failure
    finding = finding or KvmUnusable("QEMU does not start this VM with KVM")
    finding.enrich(evidence=failure.diagnostic.evidence)
    choice = emulation(processor, finding.diagnostic.message, finding)
    try:
        data = launch(record, files, cancel, keep, composed=compose(record, files, choice))
    except QemuSpawnFailed:
        raise failure from None
    warn(finding)
    return data


def launch(
    record: InstanceRecord,
    files: QemuFiles,
    cancel: CancelToken,
    keep: Keep,
    *,
    composed: Composed,
    waiting: Sequence[str] = (),
) -> QemuData:
    """Start QEMU and return when its monitor answers.

    keep: is handed the process and its keepers, which are our children.
    waiting: options for this start only, with which the vCPUs do not run yet.
    Raises: `host::exhausted`, `qemu::spawn_failed`, `network::port_in_use`, `network::bridge_missing`, `host::permission_denied`,
    `host::missing_tool`, `qemu::qmp_connect_failed`, `vmctl::interrupted`; no process is left then.
    """
    require_files()
    _fresh_logs(files)
    with (
        open_taps(record.spec.bridges) as taps,
        os_errors(files.home),
        serving(record.spec, files, composed.sharing) as shares,
    ):
        argv = with_taps([*composed.argv, *waiting], taps)
        child = spawn(argv, files, composed.sandbox, descriptors=(*taps.values(), *shares.held))
    keepers = shares.keepers
    try:
        with os_errors(files.home):
            keepers = (spawn_keeper(child, files, networks_of(record).values()), *keepers)
        forwards = _until_it_answers(record, files, child, Deadline(_START_TIMEOUT_S, cancel))
    except BaseException:
        # Not handed over: nothing else knows of this process yet.
        child.kill()
        child.wait()
        files.pid.unlink(missing_ok=True)
        for keeper in keepers:
            keeper.wait()
        raise
    keep(child, keepers)
    confined = confinement(composed.sandbox)
    return replace(
        QemuData.of(record),
        ssh_port=host_port(forwards, record.spec.ssh_forward),
        forwarded=tuple(replace(it, host=it.host or host_port(forwards, it), span=None) for it in record.spec.forwards),
        accelerator=composed.choice.accelerator,
        accelerator_reason=composed.choice.reason,
        sandbox=confined.sandbox,
        sandbox_reason=confined.reason,
        drives=tuple(drive.name for drive in record.spec.drives),
        share_type=composed.sharing.type if composed.sharing else None,
        share_reason=composed.sharing.reason if composed.sharing else "",
        argv=composed.argv,
    )


def _until_it_answers(
    record: InstanceRecord, files: QemuFiles, child: subprocess.Popen[bytes], deadline: Deadline
) -> tuple[Forward, ...]:
    """Wait for the monitor; the ports of this host that lead into the guest."""
    while child.poll() is None and not deadline.expired:
        if (files.home / QMP_SOCKET).exists() and lock_owner(files.pid) == child.pid:
            try:
                return _ask_for_forwards(files)
            except VmError:
                if _ends(child):
                    # It is silent because it has ended.
                    raise _spawn_failed(record, files, child) from None
                raise
        deadline.pause(_POLL_S)
    raise _spawn_failed(record, files, child)


def _ends(child: subprocess.Popen[bytes]) -> bool:
    """Whether QEMU has ended, or is just about to: its sockets are closed a moment before its process is gone."""
    try:
        child.wait(_END_S)
    except subprocess.TimeoutExpired:
        return False
    return True


def _ask_for_forwards(files: QemuFiles) -> tuple[Forward, ...]:
    with Monitor(files.home) as monitor:
        monitor.execute("query-status")
        usernet = monitor.execute("human-monitor-command", {"command-line": "info usernet"})
    return forwards_in(str(usernet))


def _spawn_failed(record: InstanceRecord, files: QemuFiles, child: subprocess.Popen[bytes]) -> VmError:
    status = child.poll()
    if status is not None and (refusal := first_refused(record.spec.forwards, lambda forward: None)):
        return refusal
    qemu, log = require_qemu(record.spec.arch), qemu_log(files)
    found = probe_start(record.spec, files, qemu, Path(record.base_image.path))
    return QemuSpawnFailed(
        "QEMU {how} before its monitor answered",
        {"how": describe_status(status) if status is not None else "was too slow", "status": status or 0},
        help=found.help
        or (_where_it_says_why(files) if log else f"it wrote no message: see whether `{qemu} --version` runs",),
        evidence=(*log, *(shares_evidence(files) if record.spec.mounts else ()), found.evidence),
    )


def _where_it_says_why(files: QemuFiles) -> str:
    return f"QEMU's own message is quoted above; the full log is {files.qemu_log}"


def _fresh_logs(files: QemuFiles) -> None:
    """Keep the logs of the runs before, and make the new ones private before QEMU opens them."""
    with os_errors(files.home):
        for log in files.machine_logs:
            rotate(str(log))
            write_private(log, b"")
        # A stale socket of a QEMU that was killed must not be taken for the new one's.
        (files.home / QMP_SOCKET).unlink(missing_ok=True)
