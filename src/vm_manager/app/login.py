"""What `vmctl ssh` needs: which VM, and the OpenSSH command line that reaches it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vm_manager.app.reach import credentials, require_endpoint, require_running
from vm_manager.app.services import Services
from vm_manager.diagnostics.errors import HostError, SshFailed, Usage
from vm_manager.domain.deadline import Deadline
from vm_manager.guest.boot import Phase, probe
from vm_manager.guest.openssh import ssh_argv
from vm_manager.host.tools import find_tool
from vm_manager.vmfile.load import Project

_RETRY_S = 30.0


def login_command(
    services: Services, name: str, command: Sequence[str], *, user: str | None = None, key: Path | None = None
) -> list[str]:
    """The command line that logs in to a VM; waits up to 30 s for its sshd to answer.

    command: what to run there; empty: a shell.
    Raises: `vm::not_found`, `vm::invalid_state`, `ssh::failed`.
    """
    instance = services.look(name)
    require_running(instance, "`vmctl ssh`")
    try:
        program = find_tool("ssh")
    except HostError as error:
        raise SshFailed("OpenSSH's client is not installed", help=error.diagnostic.help) from error
    endpoint = require_endpoint(services, instance.record)
    deadline = Deadline(_RETRY_S, services.cancel)
    while (phase := probe(endpoint)) is not Phase.LOGIN and not deadline.expired:
        deadline.pause(0.5)
    if phase is not Phase.LOGIN:
        raise SshFailed(
            "the guest's sshd does not answer: still waiting for {what}",
            {"what": phase.waiting_for},
            help=(phase.hint,),
            evidence=services.backend(instance.record.backend).evidence(instance.record, services.home(name)),
            timeout_s=_RETRY_S,
        )
    return ssh_argv(
        program,
        alias=name,
        endpoint=endpoint,
        credentials=credentials(services, instance.record, user=user, key=key),
        known_hosts=services.store.files(name).known_hosts,
        command=command,
    )


def infer_vm(project: Project) -> str:
    """The VM that is meant when none is named: the VMFile's only one. Raises: `vmctl::usage`."""
    names = [spec.name for spec in project.specs]
    if len(names) != 1:
        raise Usage(
            "{file} defines several VMs: say which one",
            {"file": project.path.name},
            help=(f"name one: {', '.join(f'`vmctl ssh {name}`' for name in names)}",),
        )
    return names[0]
