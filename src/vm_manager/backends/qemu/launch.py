"""Starting QEMU: from the spec to a process whose monitor answers."""

from __future__ import annotations

import logging
import socket
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vm_manager.backends.qemu.accelerator import choose
from vm_manager.backends.qemu.command import command_line
from vm_manager.backends.qemu.monitor import Monitor
from vm_manager.backends.qemu.pid_file import lock_owner
from vm_manager.backends.qemu.probes import probe_start
from vm_manager.backends.qemu.process import spawn, spawn_keeper
from vm_manager.backends.qemu.query import forwarded_port
from vm_manager.backends.qemu.section import QemuData
from vm_manager.backends.qemu.sockets import QMP_SOCKET
from vm_manager.diagnostics.errors import HostError, QemuSpawnFailed, VmError
from vm_manager.diagnostics.model import Diagnostic
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.domain.deadline import CancelToken, Deadline
from vm_manager.domain.instance import InstanceRecord
from vm_manager.domain.spec import Accelerator, VmSpec
from vm_manager.host.process import describe_status
from vm_manager.host.text import tail
from vm_manager.host.tools import find_tool
from vm_manager.state.files import write_private
from vm_manager.state.layout import InstanceFiles
from vm_manager.state.log_rotation import rotate

_log = logging.getLogger(__name__)

_BINARY = "qemu-system-x86_64"
_START_TIMEOUT_S = 30.0
_POLL_S = 0.02
_END_S = 5.0
_LOOPBACK = "127.0.0.1"

#: Is handed a QEMU that has just been started.
Keep = Callable[[subprocess.Popen[bytes], subprocess.Popen[bytes]], None]


def require_qemu() -> Path:
    """The QEMU program. Raises: `qemu::spawn_failed`, caused by `host::missing_tool`."""
    try:
        return find_tool(_BINARY)
    except HostError as error:
        raise QemuSpawnFailed("QEMU is not installed", help=error.diagnostic.help) from error


def accelerator_warnings(specs: Sequence[VmSpec]) -> tuple[Diagnostic, ...]:
    """Why some of these VMs will be emulated although KVM was allowed. Raises: `host::kvm_unusable`."""
    qemu = require_qemu()
    refusals = [choose(accelerator, cpu, qemu).refused for accelerator, cpu in {(s.accelerator, s.cpu) for s in specs}]
    note = "guests are emulated in software (TCG): slower, otherwise the same"
    warnings = [refusal.enrich(notes=(note,)).as_warning() for refusal in refusals if refusal]
    return tuple({warning.message: warning for warning in warnings}.values())


@dataclass(frozen=True)
class Composed:
    """A VM's command line, and the accelerator that was chosen for it."""

    argv: tuple[str, ...]
    accelerator: Accelerator


def compose(record: InstanceRecord, files: InstanceFiles) -> Composed:
    """The command line that a VM would be started with now. Raises: `qemu::spawn_failed`, `host::kvm_unusable`."""
    data, qemu = QemuData.of(record), require_qemu()
    choice = choose(record.spec.accelerator, record.spec.cpu, qemu)
    argv = command_line(
        record.spec,
        qemu=qemu,
        choice=choice,
        uuid=data.uuid,
        mac=data.mac,
        ssh_port=_free_or_any(data.ssh_port),
        with_seed=files.seed.exists(),
    )
    return Composed(tuple(argv), choice.accelerator)


def launch(
    record: InstanceRecord,
    files: InstanceFiles,
    cancel: CancelToken,
    keep: Keep,
    *,
    composed: Composed | None = None,
    waiting: Sequence[str] = (),
) -> QemuData:
    """Start QEMU and return when its monitor answers.

    keep: is handed the process and its logs' keeper, which are our children.
    composed: default: as `compose` makes it. waiting: options for this start only, with which the vCPUs do not run yet.
    Raises: `qemu::spawn_failed`, `qemu::qmp_connect_failed`, `host::kvm_unusable`, `vmctl::interrupted`; no process is
    left then.
    """
    composed = composed or compose(record, files)
    _fresh_logs(files)
    with os_errors(files.home):
        child = spawn([*composed.argv, *waiting], files)
    keeper = None
    try:
        with os_errors(files.home):
            keeper = spawn_keeper(child, files)
        port = _until_it_answers(record, files, child, Deadline(_START_TIMEOUT_S, cancel))
    except BaseException:
        # Not handed over: nothing else knows of this process yet.
        child.kill()
        child.wait()
        if keeper is not None:
            keeper.wait()
        raise
    keep(child, keeper)
    return replace(QemuData.of(record), ssh_port=port, accelerator=composed.accelerator, argv=composed.argv)


def _until_it_answers(
    record: InstanceRecord, files: InstanceFiles, child: subprocess.Popen[bytes], deadline: Deadline
) -> int | None:
    """Wait for the monitor; the port on which the guest's sshd is reached."""
    while child.poll() is None and not deadline.expired:
        if (files.home / QMP_SOCKET).exists() and lock_owner(files.pid) == child.pid:
            try:
                return _ask_for_port(record, files)
            except VmError as error:
                if not error.diagnostic.retryable:
                    if _ends(child):
                        raise _spawn_failed(record.spec, files, child) from error
                    raise
        deadline.pause(_POLL_S)
    raise _spawn_failed(record.spec, files, child)


def _ends(child: subprocess.Popen[bytes]) -> bool:
    """Whether QEMU has ended, or is just about to: its sockets are closed a moment before its process is gone."""
    try:
        child.wait(_END_S)
    except subprocess.TimeoutExpired:
        return False
    return True


def _ask_for_port(record: InstanceRecord, files: InstanceFiles) -> int | None:
    with Monitor(files.home) as monitor:
        monitor.execute("query-status")
        usernet = monitor.execute("human-monitor-command", {"command-line": "info usernet"})
    return forwarded_port(str(usernet), record.spec.access.port)


def _spawn_failed(spec: VmSpec, files: InstanceFiles, child: subprocess.Popen[bytes]) -> QemuSpawnFailed:
    status = child.poll()
    log = tail(files.qemu_log, kind="qemu_log", title="QEMU's log")
    found = probe_start(spec, files)
    return QemuSpawnFailed(
        "QEMU {how} before its monitor answered",
        {"how": describe_status(status) if status is not None else "was too slow", "status": status or 0},
        help=found.help or (f"its own reason is quoted above; the whole of it is in {files.qemu_log}",),
        evidence=(*((log,) if log else ()), found.evidence),
    )


def _free_or_any(preferred: int | None) -> int:
    """The preferred port if it can be bound now, else 0: QEMU picks one."""
    if preferred is None:
        return 0
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, preferred))
        except OSError as error:
            _log.info("port %s is taken (%s): QEMU picks another", preferred, error.strerror)
            return 0
    return preferred


def _fresh_logs(files: InstanceFiles) -> None:
    """Keep the logs of the runs before, and make the new ones private before QEMU opens them."""
    with os_errors(files.home):
        for log in files.machine_logs:
            rotate(str(log))
            write_private(log, b"")
        # A stale socket of a QEMU that was killed must not be taken for the new one's.
        (files.home / QMP_SOCKET).unlink(missing_ok=True)
