"""What `vmctl ssh` needs: which VM, and the OpenSSH command line that reaches it."""

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence
from pathlib import Path

from vm_manager.app.looking import look
from vm_manager.app.reach import credentials, endpoint_of, open_session, require_endpoint, require_working
from vm_manager.app.services import Services
from vm_manager.diagnostics.errors import AuthFailed, HostError, HostKeyMismatch, NoKey, SshFailed, Usage, VmError
from vm_manager.diagnostics.model import Evidence
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.domain.deadline import Deadline
from vm_manager.domain.instance import Endpoint, Instance
from vm_manager.domain.network import Forward
from vm_manager.domain.private_keys import loose_mode, restrict
from vm_manager.domain.spec import Accelerator
from vm_manager.guest.boot import Phase, probe
from vm_manager.guest.openssh import ssh_argv
from vm_manager.host.tools import find_tool
from vm_manager.planning.table import Verb
from vm_manager.vmfile.load import Project

_RETRY_S = 30.0
# An emulated guest beside other work was seen to take more than 30 s until its sshd had started a process for a connection.
_RETRY_EMULATED_S = 90.0


def login_command(
    services: Services,
    name: str,
    command: Sequence[str],
    *,
    user: str | None = None,
    key: Path | None = None,
    forwards: Sequence[Forward] = (),
) -> list[str]:
    """The command line that logs in to a VM; waits up to 30 s for its sshd to answer, 90 s without KVM.

    command: what to run there; empty: a shell. forwards: instead of either, ports of this host that lead into it.
    Raises: `vm::not_found`, `vm::invalid_state`, `ssh::failed`.
    """
    instance = look(services, name)
    require_working(services, instance, Verb.FORWARD if forwards else Verb.SSH)
    try:
        program = find_tool("ssh")
    except HostError as error:
        raise SshFailed("OpenSSH's client is not installed", help=error.diagnostic.help) from error
    _require_user()
    who = credentials(services, instance.record, user=user, key=key)
    endpoint = _await_sshd(services, instance)
    if not instance.record.progress.host_key_verified:
        _require_known_key(services, instance, user=user, key=key)
    return ssh_argv(
        program,
        alias=name,
        endpoint=endpoint,
        credentials=who,
        known_hosts=services.store.files(name).known_hosts,
        command=command,
        forwards=forwards,
    )


def _require_known_key(services: Services, instance: Instance, *, user: str | None, key: Path | None) -> None:
    """Before anybody has logged in the guest may show a key of its own, which `up` pins when it gets there.

    OpenSSH would warn of an attack. Raises: `ssh::failed`, `ssh::host_key_mismatch`, `ssh::no_key`.
    """
    try:
        open_session(services, instance.record, user=user, key=key).close()
    except HostKeyMismatch as mismatch:
        if busy := services.store.holder(instance.name):
            pid, command = busy
            raise SshFailed(
                "the guest's SSH host key is not known yet: `{command}` (pid {pid}) is still waiting for VM '{name}'",
                {"command": command, "pid": pid, "name": instance.name},
                help=("try again when it is ready",),
                subject=services.subject(instance.name),
                retryable=True,
            ) from None
        raise mismatch.enrich(subject=services.subject(instance.name)) from mismatch.__cause__
    except (SshFailed, AuthFailed):
        return  # OpenSSH says so


def check_login(services: Services, name: str, *, user: str | None = None, key: Path | None = None) -> None:
    """Log in once, as `login_command` would. Raises: `ssh::auth_failed`, `ssh::host_key_mismatch`, `ssh::no_key`."""
    record = look(services, name).record
    try:
        _require_private(credentials(services, record, user=user, key=key).keys)
        open_session(services, record, user=user, key=key).close()
    except VmError as error:
        error.enrich(subject=services.subject(name))
        raise


def _require_private(keys: Sequence[Path]) -> None:
    """paramiko uses keys that OpenSSH refuses. Raises: `ssh::no_key`."""
    for path in keys:
        with os_errors(path):
            mode = loose_mode(path)
        if mode is not None:
            raise NoKey(
                "OpenSSH does not use the private key {path}: others can read it (mode {mode})",
                {"path": str(path), "mode": f"{mode:04o}"},
                help=(f"make it private: {restrict(str(path))}",),
            )


def _require_user() -> None:
    """OpenSSH wants a name for whoever starts it, as containers do not always have. Raises: `ssh::failed`."""
    number = os.getuid()
    try:
        pwd.getpwuid(number)
    except KeyError:
        raise SshFailed(
            "OpenSSH does not run for a user without an entry in /etc/passwd (uid {uid})",
            {"uid": number},
            help=(f"add one, as root: `echo 'user{number}:x:{number}:{os.getgid()}::/:/bin/sh' >>/etc/passwd`",),
        ) from None


def _await_sshd(services: Services, instance: Instance) -> Endpoint:
    """Where the guest's sshd answers, which is looked for at each attempt: the guest may have got another address."""
    acceleration = services.machine(instance.record).acceleration()
    emulated = acceleration is not None and acceleration.accelerator is Accelerator.TCG
    limit_s = _RETRY_EMULATED_S if emulated else _RETRY_S
    deadline = Deadline(limit_s, services.cancel)
    endpoint = require_endpoint(services, instance.record)
    while (phase := probe(endpoint)) is not Phase.LOGIN:
        if deadline.expired:
            seen = phase.seen_at(endpoint, forwarded=not instance.record.spec.has_own_address)
            tried = Evidence("probe", f"a connection to {endpoint}", (seen,))
            raise SshFailed(
                "the guest's sshd does not answer: still waiting for {what}",
                {"what": phase.waiting_for},
                help=(phase.hint,),
                evidence=(tried, *services.machine(instance.record).evidence()),
                subject=services.subject(instance.name),
                timeout_s=limit_s,
            )
        deadline.pause(0.5)
        endpoint = endpoint_of(services, instance.record) or endpoint
    return endpoint


def infer_vm(project: Project) -> str:
    """The VM that is meant when none is named: the VMFile's only one. Raises: `vmctl::usage`."""
    names = [spec.name for spec in project.specs]
    if len(names) != 1:
        raise Usage(
            "{file} defines several VMs: say which one",
            {"file": project.path.name},
            help=(f"choose one: {', '.join(f'`vmctl ssh {name}`' for name in names)}",),
        )
    return names[0]
