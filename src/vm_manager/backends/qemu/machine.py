"""A QEMU and its directory. Looking at a VM must be quick: what starts, stops and talks to QEMU is imported when needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_manager.backends.qemu.files import QemuFiles
from vm_manager.backends.qemu.pid_file import lock_owner
from vm_manager.backends.qemu.section import QemuData
from vm_manager.domain.instance import Acceleration, Confinement, Endpoint, Observation, SandboxKind, Vitals, VmState
from vm_manager.domain.share import ShareType
from vm_manager.domain.spec import BOOT_TIMEOUT_S, Accelerator

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping
    from pathlib import Path

    from vm_manager.backends.qemu.children import Children
    from vm_manager.backends.qemu.groups import QemuMigration, QemuSavedState, QemuSnapshots
    from vm_manager.backends.qemu.warnings import Warnings
    from vm_manager.diagnostics.errors import HostError, KvmUnusable
    from vm_manager.diagnostics.model import Evidence
    from vm_manager.domain.capabilities import BackendData
    from vm_manager.domain.deadline import CancelToken, Deadline
    from vm_manager.domain.events import EventSink
    from vm_manager.domain.instance import Execution, Incident, InstanceRecord
    from vm_manager.domain.network import Forward

_STOPS_AGAIN_S = 2.0
# For the guest's agent to say its addresses, where nobody else knows any.
_AGENT_S = 5.0
_STALL_LIMIT_S = {Accelerator.KVM: 120, Accelerator.TCG: 300}
# RunStates of QEMU's QAPI in which the vCPUs do not run, and what vmctl calls the instance then.
_STATES = {
    "paused": VmState.SUSPENDED,
    "suspended": VmState.SUSPENDED,
    "postmigrate": VmState.SUSPENDED,
    "finish-migrate": VmState.SUSPENDED,
    "inmigrate": VmState.SUSPENDED,
    "prelaunch": VmState.SUSPENDED,
    "restore-vm": VmState.SUSPENDED,
    "save-vm": VmState.SUSPENDED,
    "guest-panicked": VmState.FAILED,
    "io-error": VmState.FAILED,
    "internal-error": VmState.FAILED,
    "watchdog": VmState.FAILED,
    "debug": VmState.FAILED,
    "colo": VmState.FAILED,
}


class QemuRemnant:
    """See `Remnant` for the contract of each method."""

    def __init__(self, name: str, home: Path, children: Children) -> None:
        self._name, self._home, self._files, self._children = name, home, QemuFiles(home), children

    def is_alive(self) -> bool:
        return lock_owner(self._files.pid) is not None

    def stop(self, deadline: Deadline, emit: EventSink) -> None:
        from vm_manager.backends.qemu.shutdown import shut_down

        shut_down(self._home, self._name, deadline, emit)
        self._children.reap(self._home)

    def destroy(self) -> None:
        from vm_manager.backends.qemu.private import remove_ports
        from vm_manager.backends.qemu.shutdown import end_at_once

        end_at_once(self._home)
        self._children.reap(self._home)
        remove_ports(self._name, self._home)

    def heal(self) -> tuple[str, ...]:
        from vm_manager.backends.qemu.process import clear_leftovers, settle

        told = tuple[str, ...]()
        if self._files.saved_state.exists():
            from vm_manager.backends.qemu.saved_state import end_leftover

            settle(self._files)
            told = end_leftover(self._files)
            self._children.reap(self._home)
        return (*told, *clear_leftovers(self._files))

    def logs(self) -> dict[str, Path]:
        return {"qemu": self._files.qemu_log}


class QemuMachine(QemuRemnant):
    """See `Machine` for the contract of each method."""

    def __init__(self, record: InstanceRecord, home: Path, children: Children, warnings: Warnings) -> None:
        super().__init__(record.name, home, children)
        self._record, self._warnings = record, warnings

    def placed(self) -> None:
        return

    def start(self, cancel: CancelToken, emit: EventSink) -> BackendData:
        from vm_manager.backends.qemu.launch import start
        from vm_manager.domain.events import Warned

        def warn(finding: HostError) -> None:
            for warning in self._warnings.once(finding):
                emit(Warned(self._name, warning))

        return start(self._record, self._files, cancel, self._children.keeper_of(self._home), warn).plain()

    def suspend(self) -> None:
        from vm_manager.backends.qemu.monitor import Monitor

        with Monitor(self._home) as monitor:
            monitor.execute("stop")

    def resume(self) -> None:
        from vm_manager.backends.qemu.agent import correct_clock
        from vm_manager.backends.qemu.migration import abandon_migration
        from vm_manager.backends.qemu.monitor import Monitor

        with Monitor(self._home) as monitor, monitor.listening("STOP") as next_event:
            abandon_migration(monitor)
            troubled = monitor.run_state() == "io-error"
            monitor.execute("cont")
            # It does at once what it could not do before, and is stopped again where that is still so.
            if troubled and next_event(_STOPS_AGAIN_S):
                self.require_alive()
            correct_clock(self._home, monitor)

    def reset(self) -> None:
        from vm_manager.backends.qemu.monitor import Monitor

        with Monitor(self._home) as monitor:
            monitor.execute("system_reset")
            monitor.execute("cont")

    def observe(self) -> Observation:
        pid = lock_owner(self._files.pid)
        if pid is None:
            return self._off()

        from vm_manager.backends.qemu.query import ask, host_port

        answer = ask(self._home)
        if answer is None:
            return self._silent(pid)
        own = self._record.spec.ssh_forward
        # Its agent is not asked by those who only look: one that is left before it has answered slows the guest's shutdown.
        away = self._record.spec.has_own_address
        ssh = self._sight(None)[0] if away else self._endpoint(host_port(answer.forwards, own))
        state, detail = _STATES.get(answer.status, VmState.RUNNING), answer.status
        if state is not VmState.FAILED and (lost := self._lost_share()):
            state, detail = VmState.FAILED, lost
        return Observation(
            state,
            True,
            pid,
            ssh,
            detail,
            resumable=answer.status == "io-error",
            forwards=self._shown(answer.forwards),
        )

    def _endpoint(self, port: int | None) -> Endpoint | None:
        return Endpoint(self._record.spec.ssh_forward.reached_at, port) if port else None

    def _sight(self, agent_s: float | None) -> tuple[Endpoint | None, tuple[Evidence, ...]]:
        from vm_manager.backends.qemu.addresses import sight

        found = sight(self._record, self._home, agent_s=agent_s)
        return found.endpoint, (found.evidence,)

    def locate(self) -> tuple[Endpoint | None, tuple[Evidence, ...]]:
        if not self._record.spec.has_own_address or lock_owner(self._files.pid) is None:
            return self.observe().ssh, ()
        return self._sight(_AGENT_S)

    def macs(self) -> tuple[str, ...]:
        return QemuData.of(self._record).macs(self._record.spec)

    def _shown(self, forwards: tuple[Forward, ...]) -> tuple[Forward, ...]:
        """Without the one that vmctl makes for itself."""
        own = self._record.spec.ssh_forward
        return tuple(forward for forward in forwards if own in self._record.spec.forwards or not forward.leads_as(own))

    def _silent(self, pid: int) -> Observation:
        from vm_manager.backends.qemu.standstill import standstill

        data = QemuData.of(self._record)
        # A busy socket does not make a guest suspended: say what is certain.
        state, detail = VmState.RUNNING, "its monitor does not answer"
        if held := standstill(self._home):
            state, detail = VmState.FAILED, f"its process {held.why}"
        endpoint = self._endpoint(data.ssh_port)
        return Observation(state, True, pid, endpoint, detail, answers=False, forwards=data.forwarded)

    def _lost_share(self) -> str | None:
        """How a shared directory is served no more; a VM without is not looked at."""
        if self.share_type() is not ShareType.VIRTIOFS:
            return None
        from vm_manager.backends.qemu.lost_shares import lost_share

        found = lost_share(self._files)
        return found[1] if found else None

    def require_answer(self) -> None:
        from vm_manager.backends.qemu.monitor import Monitor

        with Monitor(self._home) as monitor:
            monitor.run_state()

    def _off(self) -> Observation:
        if self._files.saved_state.exists():
            return Observation(VmState.SUSPENDED, saved=True, detail="saved to disk")
        if not self._record.progress.started:
            return Observation(VmState.PREPARED)
        from vm_manager.backends.qemu.history import own_end

        return Observation(VmState.STOPPED, detail=own_end(self._files.events_log))

    def require_alive(self) -> None:
        from vm_manager.backends.qemu.incidents import exited, living_incident

        if lock_owner(self._files.pid) is None:
            child = self._children.qemu(self._home)
            raise exited(self._name, self._files, child.wait() if child else None)
        if incident := living_incident(self._name, self._files) or self._share_lost():
            raise incident.error

    def _share_lost(self) -> Incident | None:
        if self.share_type() is not ShareType.VIRTIOFS:
            return None
        from vm_manager.backends.qemu.lost_shares import share_lost

        return share_lost(self._name, self._files)

    def incident(self) -> Incident | None:
        from vm_manager.backends.qemu.incidents import ending, held_up, living_incident

        if lock_owner(self._files.pid) is not None:
            return living_incident(self._name, self._files) or self._share_lost() or held_up(self._home)
        if not self._record.progress.started:
            return None
        child = self._children.qemu(self._home)
        return ending(self._name, self._files, child.poll() if child else None)

    def vitals(self) -> Vitals | None:
        from vm_manager.backends.qemu.query import disk_operations
        from vm_manager.host.scheduling import waited_for_cpu_s

        found = disk_operations(self._home)
        if found is None:
            return None
        operations, writes = found
        return Vitals(operations, self.restarts(), writes, waited_for_cpu_s(lock_owner(self._files.pid)))

    def restarts(self) -> int:
        from vm_manager.backends.qemu.history import read_history

        return read_history(self._files.events_log).resets

    def execution(self) -> Execution | None:
        from vm_manager.backends.qemu.execution import execution_of
        from vm_manager.backends.qemu.query import registers

        return execution_of(registers(self._home) or "")

    def screen(self) -> tuple[str, ...]:
        from vm_manager.backends.qemu.screen import read_screen
        from vm_manager.backends.qemu.targets import TARGETS

        return read_screen(self._home) if TARGETS[self._record.spec.arch].has_vga else ()

    def evidence(self) -> tuple[Evidence, ...]:
        from vm_manager.backends.qemu.incidents import log_evidence

        return log_evidence(self._files)

    def drives(self) -> Mapping[str, int]:
        if not self._files.drives.is_dir():
            return {}

        from vm_manager.backends.qemu.drive_sizes import drive_sizes

        return drive_sizes(self._files)

    def acceleration(self) -> Acceleration | None:
        # For every line of `list`, also where the section is damaged.
        word, reason = self._said("accelerator")
        known = next((accelerator for accelerator in Accelerator if accelerator == word), None)
        return Acceleration(known, reason) if known else None

    def share_type(self) -> ShareType | None:
        # As above, for every line of `list`.
        word = self._record.backend_data.get("share_type")
        return next((kind for kind in ShareType if kind == word), None)

    def confinement(self) -> Confinement | None:
        # As above, for every line of `list`.
        word, reason = self._said("sandbox")
        known = next((kind for kind in SandboxKind if kind == word), None)
        return Confinement(known, reason) if known else None

    def _said(self, what: str) -> tuple[object, str]:
        """A word of the record's section, and the reason beside it."""
        reason = self._record.backend_data.get(f"{what}_reason")
        return self._record.backend_data.get(what), reason if isinstance(reason, str) else ""

    def distrust(self, finding: KvmUnusable) -> None:
        from vm_manager.backends.qemu.launch import distrust_kvm

        distrust_kvm(self._record, finding)

    def stall_limit_s(self) -> int:
        return _STALL_LIMIT_S[QemuData.of(self._record).accelerator or Accelerator.TCG]

    def boot_timeout_s(self) -> int:
        return BOOT_TIMEOUT_S[QemuData.of(self._record).accelerator or Accelerator.TCG]

    def check_section(self) -> None:
        QemuData.of(self._record)

    def saved_state(self) -> QemuSavedState:
        from vm_manager.backends.qemu.groups import QemuSavedState

        return QemuSavedState(self._record, self._home, self._children)

    def snapshots(self) -> QemuSnapshots:
        from vm_manager.backends.qemu.groups import QemuSnapshots

        return QemuSnapshots(self._record, self._home, self._children)

    def migration(self) -> QemuMigration:
        from vm_manager.backends.qemu.groups import QemuMigration

        return QemuMigration(self._record, self._home, self._children)

    def connect_console(self) -> socket.socket:
        from vm_manager.backends.qemu.console import connect_console

        return connect_console(self._name, self._home)

    def picture(self) -> bytes:
        from vm_manager.backends.qemu.picture import picture

        return picture(self._name, self._home)

    def vnc_socket(self) -> Path:
        from vm_manager.backends.qemu.sockets import VNC_SOCKET

        return self._home / VNC_SOCKET
