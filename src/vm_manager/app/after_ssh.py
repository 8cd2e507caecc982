"""Why an SSH session ended that OpenSSH calls failed: first what became of the VM, and only then what a new login says."""

from __future__ import annotations

from pathlib import Path

from vm_manager.app.login import check_login
from vm_manager.app.looking import incident_of, look
from vm_manager.app.reach import endpoint_of
from vm_manager.app.services import Services
from vm_manager.diagnostics.errors import SshFailed, VmError, VmNotFound
from vm_manager.diagnostics.subject import Subject
from vm_manager.domain.deadline import Deadline
from vm_manager.domain.instance import Instance
from vm_manager.planning.situations import WAYS_OUT, Situation, situation
from vm_manager.planning.table import predicate

# The connection is gone as soon as a guest begins to shut down; its machine, some seconds later.
_SETTLES_S = 15.0
_POLL_S = 0.5


def why_ssh_failed(services: Services, name: str, *, user: str | None = None, key: Path | None = None) -> VmError:
    """Why `login_command`'s OpenSSH has ended with 255. Raises: `vmctl::interrupted`."""
    deadline, last = Deadline(_SETTLES_S, services.cancel), None
    while not deadline.expired:
        try:
            instance = look(services, name)
        except VmNotFound:
            return _ended(name, "no longer exists", "`vmctl list` shows the VMs that do")
        if failure := incident_of(services, instance) or _is_down(instance):
            return failure
        if endpoint_of(services, instance.record) is not None:
            try:
                check_login(services, name, user=user, key=key)
            except SshFailed as error:
                last = error
            except VmError as error:
                return error
            else:
                return _login_works(name)
        deadline.pause(_POLL_S)
    lost = SshFailed(
        "the SSH connection was lost, and the guest does not answer any more",
        help=(f"it may be rebooting or shutting down: `vmctl log {name}` shows its console",),
        subject=Subject(vm=name),
        retryable=True,
    )
    lost.__cause__ = last
    return lost


def _is_down(instance: Instance) -> SshFailed | None:
    where = situation(instance)
    if where is Situation.RUNNING:
        return None
    is_now = "is saved to disk" if where is Situation.SAVED else predicate(instance.state)
    return _ended(instance.name, is_now, WAYS_OUT[where].format(name=instance.name))


def _ended(name: str, is_now: str, help: str) -> SshFailed:
    return SshFailed(
        "the SSH session ended because VM '{name}' {is}",
        {"name": name, "is": is_now},
        help=(help,),
        subject=Subject(vm=name),
    )


def _login_works(name: str) -> SshFailed:
    return SshFailed(
        "OpenSSH exited with 255, but a new login works: the command itself exited with 255, or the connection was lost",
        help=(f"run it again; `vmctl log {name}` shows whether the guest rebooted",),
        subject=Subject(vm=name),
    )
