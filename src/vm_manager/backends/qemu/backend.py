"""The QEMU backend: guests on q35 with virtio devices, under KVM or TCG."""

from __future__ import annotations

import logging
import secrets
import socket
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import msgspec

from vm_manager.backends.qemu.accelerator import choose
from vm_manager.backends.qemu.command import QMP_SOCKET, command_line
from vm_manager.backends.qemu.monitor import Monitor
from vm_manager.backends.qemu.process import lock_owner, spawn
from vm_manager.backends.qemu.query import ask, forwarded_port
from vm_manager.backends.qemu.shutdown import end_at_once, shut_down
from vm_manager.diagnostics.errors import HostError, QemuExited, QemuSpawnFailed, VmError
from vm_manager.diagnostics.model import Evidence
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.domain.backend import BackendData, Capabilities, Context
from vm_manager.domain.deadline import Deadline
from vm_manager.domain.events import Warned
from vm_manager.domain.instance import BaseImage, Endpoint, InstanceRecord, Observation, VmState
from vm_manager.domain.spec import Accelerator, VmSpec
from vm_manager.host.process import describe_status
from vm_manager.host.qemu_img import create_overlay, image_info, require_qemu_img
from vm_manager.host.text import tail
from vm_manager.host.tools import find_tool
from vm_manager.state.files import write_private
from vm_manager.state.layout import InstanceFiles

_log = logging.getLogger(__name__)

_BINARY = "qemu-system-x86_64"
_START_TIMEOUT_S = 30.0
_POLL_S = 0.02
_LOOPBACK = "127.0.0.1"
_BOOT_TIMEOUT_S = {Accelerator.KVM: 600, Accelerator.TCG: 1800}
# RunStates of QEMU's QAPI in which the vCPUs do not run, and what vmctl calls the instance then.
_STATES = {
    "paused": VmState.SUSPENDED,
    "suspended": VmState.SUSPENDED,
    "guest-panicked": VmState.FAILED,
    "io-error": VmState.FAILED,
    "internal-error": VmState.FAILED,
}


@dataclass(frozen=True, kw_only=True)
class QemuData:
    """The backend's section of the record.

    ssh_port: on 127.0.0.1, of the last start; preferred at the next.
    argv: of the last start.
    """

    uuid: str
    mac: str
    ssh_port: int | None = None
    accelerator: Accelerator | None = None
    argv: tuple[str, ...] = ()
    version: int = 1


class QemuBackend:
    """See `Backend` for the contract of each method."""

    name = "qemu"

    def __init__(self) -> None:
        # QEMUs that this process has started: their exit status is known to their parent only.
        self._children: dict[Path, subprocess.Popen[bytes]] = {}

    def capabilities(self) -> Capabilities:
        return Capabilities(guests=True)

    def check_host(self) -> None:
        _require_qemu()
        require_qemu_img()

    def prepare(self, spec: VmSpec, base: BaseImage, home: Path) -> BackendData:
        info = image_info(Path(base.path))
        create_overlay(InstanceFiles(home).overlay, Path(base.path), info.format, spec.disk_bytes)
        InstanceFiles(home).overlay.chmod(0o600)
        return _section(QemuData(uuid=str(uuid.uuid4()), mac=_new_mac()))

    def start(self, record: InstanceRecord, home: Path, context: Context) -> BackendData:
        data, files, qemu = _data(record), InstanceFiles(home), _require_qemu()
        choice = choose(record.spec.accelerator, record.spec.cpu, qemu)
        if choice.refused is not None:
            refused = choice.refused.enrich(
                notes=("guests are emulated in software (TCG): slower, otherwise the same",)
            )
            context.emit(Warned(None, refused.as_warning()))
        argv = command_line(
            record.spec,
            qemu=qemu,
            choice=choice,
            uuid=data.uuid,
            mac=data.mac,
            ssh_port=_free_or_any(data.ssh_port),
            with_seed=files.seed.exists(),
        )
        _fresh_logs(files)
        with os_errors(home):
            child = spawn(argv, files)
        self._children[home] = child
        try:
            port = self._wait_until_it_answers(record, files, child, Deadline(_START_TIMEOUT_S, context.cancel))
        except BaseException:
            # Not handed over: nothing else knows of this process yet.
            child.kill()
            child.wait()
            raise
        return _section(
            QemuData(uuid=data.uuid, mac=data.mac, ssh_port=port, accelerator=choice.accelerator, argv=tuple(argv))
        )

    def stop(self, record: InstanceRecord, home: Path, deadline: Deadline, context: Context) -> None:
        shut_down(home, record.name, deadline, context.emit)
        self._reap(home)

    def resume(self, record: InstanceRecord, home: Path) -> None:
        with Monitor(home) as monitor:
            monitor.execute("cont")

    def destroy(self, home: Path) -> None:
        end_at_once(home)
        self._reap(home)

    def observe(self, record: InstanceRecord, home: Path) -> Observation:
        files = InstanceFiles(home)
        pid = lock_owner(files.pid)
        if pid is None:
            return Observation(VmState.STOPPED if record.progress.started else VmState.PREPARED)
        answer = ask(home, record.spec.access.port)
        if answer is None:
            # A busy socket does not make a guest suspended: say what is certain.
            return Observation(
                VmState.RUNNING, True, pid, _endpoint(_data(record).ssh_port), "its monitor does not answer"
            )
        state = _STATES.get(answer.status, VmState.RUNNING)
        return Observation(state, True, pid, _endpoint(answer.ssh_port), answer.status)

    def require_alive(self, record: InstanceRecord, home: Path) -> None:
        if lock_owner(InstanceFiles(home).pid) is not None:
            return
        child = self._children.get(home)
        status = child.wait() if child else None
        how = describe_status(status) if child else "is gone"
        raise QemuExited("QEMU {how}", {"how": how}, evidence=self.evidence(record, home))

    def boot_timeout_s(self, record: InstanceRecord) -> int:
        return _BOOT_TIMEOUT_S[_data(record).accelerator or Accelerator.TCG]

    def evidence(self, record: InstanceRecord, home: Path) -> tuple[Evidence, ...]:
        files = InstanceFiles(home)
        found = (
            tail(files.qemu_log, kind="qemu_log", title="QEMU's log"),
            tail(files.console_log, kind="console", title="the guest's console"),
        )
        return tuple(evidence for evidence in found if evidence)

    def _wait_until_it_answers(
        self, record: InstanceRecord, files: InstanceFiles, child: subprocess.Popen[bytes], deadline: Deadline
    ) -> int | None:
        while not (files.home / QMP_SOCKET).exists() or lock_owner(files.pid) != child.pid:
            if child.poll() is not None or deadline.expired:
                raise self._spawn_failed(record, files, child)
            deadline.pause(_POLL_S)
        try:
            with Monitor(files.home) as monitor:
                monitor.execute("query-status")
                usernet = monitor.execute("human-monitor-command", {"command-line": "info usernet"})
        except VmError as error:
            if child.poll() is not None:
                raise self._spawn_failed(record, files, child) from error
            raise error.enrich(evidence=self.evidence(record, files.home)) from error.__cause__
        return forwarded_port(str(usernet), record.spec.access.port)

    def _spawn_failed(
        self, record: InstanceRecord, files: InstanceFiles, child: subprocess.Popen[bytes]
    ) -> QemuSpawnFailed:
        status = child.poll()
        log = tail(files.qemu_log, kind="qemu_log", title="QEMU's log")
        return QemuSpawnFailed(
            "QEMU {how} before its monitor answered",
            {"how": describe_status(status) if status is not None else "was too slow"},
            help=(f"its reason is quoted above; the whole of it is in {files.qemu_log}",),
            evidence=(log,) if log else (),
        )

    def _reap(self, home: Path) -> None:
        child = self._children.pop(home, None)
        if child is not None:
            child.wait()


def factory() -> QemuBackend:
    """The backend, for the registry."""
    return QemuBackend()


def _require_qemu() -> Path:
    try:
        return find_tool(_BINARY)
    except HostError as error:
        raise QemuSpawnFailed("QEMU is not installed", help=error.diagnostic.help) from error


def _data(record: InstanceRecord) -> QemuData:
    return msgspec.convert(record.backend_data, QemuData)


def _section(data: QemuData) -> BackendData:
    return cast(BackendData, msgspec.to_builtins(data))


def _new_mac() -> str:
    # 52:54:00 is QEMU's own prefix: locally administered, unicast.
    return "52:54:00:" + ":".join(f"{byte:02x}" for byte in secrets.token_bytes(3))


def _endpoint(port: int | None) -> Endpoint | None:
    return Endpoint(_LOOPBACK, port) if port else None


def _free_or_any(preferred: int | None) -> int:
    """The preferred port if it can be bound now, else 0. Should it be taken in between, the next start picks another."""
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
    """Keep the logs of the run before as `.1`; and make the new ones private before QEMU opens them."""
    with os_errors(files.home):
        for log in (files.console_log, files.qemu_log, files.events_log):
            if log.exists():
                log.rename(log.with_name(f"{log.name}.1"))
            write_private(log, b"")
        # A stale socket of a QEMU that was killed must not be taken for the new one's.
        (files.home / QMP_SOCKET).unlink(missing_ok=True)
