"""Reaching a guest: where its sshd is, who logs in, and whether it is ready."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

from vm_manager.app.looking import incident_of
from vm_manager.app.services import Services
from vm_manager.diagnostics.errors import AuthFailed, IpDiscoveryTimeout
from vm_manager.diagnostics.model import Label
from vm_manager.diagnostics.subject import Subject
from vm_manager.domain.deadline import Deadline
from vm_manager.domain.instance import Endpoint, Instance, InstanceRecord
from vm_manager.domain.share import ShareType
from vm_manager.domain.spec import Accelerator, OnError
from vm_manager.guest.boot import Guest, no_address, wait_until_ready
from vm_manager.guest.cloud_init_watch import CloudInitWatch
from vm_manager.guest.credentials import Credentials, credentials_for
from vm_manager.guest.mounts import GuestMounts
from vm_manager.guest.ssh import KeysNotAccepted, SshSession
from vm_manager.host.console_log import refused_logins
from vm_manager.planning.table import Verb, cell

_ADDRESS_TIMEOUT_S = 10.0
_ACCEPTED_BEFORE = (
    "the guest accepted this key before: something in it, such as a step, has changed the user, its shell, its ~/.ssh or "
    "sshd's configuration; its serial console is `vmctl console {name}`"
)


def require_working(services: Services, instance: Instance, verb: Verb) -> None:
    """Raises: `vm::invalid_state` when the VM does not run; where an error has stopped its machine, that."""
    if incident := incident_of(services, instance):
        raise incident
    cell(verb, instance)


def endpoint_of(services: Services, record: InstanceRecord) -> Endpoint | None:
    """Where the guest's sshd is reached right now, or None when it has no address."""
    return services.machine(record).locate()[0]


def require_endpoint(services: Services, record: InstanceRecord) -> Endpoint:
    """Raises: `network::ip_discovery_timeout`."""
    deadline = Deadline(_ADDRESS_TIMEOUT_S, services.cancel)
    while (found := services.machine(record).locate())[0] is None:
        if record.spec.has_own_address and deadline.expired:
            raise no_address(record.name, "runs", found[1], _ADDRESS_TIMEOUT_S).enrich(subject=Subject(vm=record.name))
        if deadline.expired or not record.spec.is_reachable:
            network = f'network "{record.spec.network_words}"'
            raise IpDiscoveryTimeout(
                "VM '{name}' has no address ({network})",
                {"name": record.name, "network": network},
                subject=Subject(vm=record.name),
                timeout_s=_ADDRESS_TIMEOUT_S,
            )
        deadline.pause(0.2)
    return found[0]


def credentials(
    services: Services, record: InstanceRecord, *, user: str | None = None, key: Path | None = None
) -> Credentials:
    """Who logs in, and with what."""
    return credentials_for(record.spec, services.store.files(record.name), user=user, key=key)


def open_session(
    services: Services, record: InstanceRecord, *, user: str | None = None, key: Path | None = None
) -> SshSession:
    """A verified SSH session. Raises: `ssh::failed`, `ssh::auth_failed`, `ssh::host_key_mismatch`, `ssh::no_key`."""
    try:
        return SshSession.connect(
            require_endpoint(services, record),
            alias=record.name,
            credentials=credentials(services, record, user=user, key=key),
            known_hosts=services.store.files(record.name).known_hosts,
            deadline=Deadline(None, services.cancel),
        )
    except KeysNotAccepted:
        raise  # it says itself what to do
    except AuthFailed as refused:
        refused.enrich(evidence=refused_logins(services.store.files(record.name).console_log))
        if record.progress.host_key_verified and not (user or key):
            refused.enrich(help=(_ACCEPTED_BEFORE.format(name=record.name),))
        raise


def wait_for_guest(
    services: Services, record: InstanceRecord, timeout_s: float | None, *, on_error: OnError = OnError.FAIL,
    login_only: bool = False, stall_limit_s: float | None = None, booting: bool = False, slept: bool = False,
) -> None:  # fmt: skip
    """Return when the guest is ready.

    timeout_s, stall_limit_s: altogether, and without any progress; None: as long as the accelerator makes reasonable, and at
    least `timeout_s` without progress.
    on_error: what a failure of cloud-init is. login_only: return when a login works. booting: whether it was started just now,
    so that nothing would be lost by starting it once more. slept: whether it was suspended or saved until now.
    Raises: see `wait_until_ready`.
    """
    machine, files = services.machine(record), services.store.files(record.name)
    deadline = Deadline(timeout_s or machine.boot_timeout_s(), services.cancel)
    waits = record.seeded and not login_only
    acceleration = machine.acceleration()
    guest = Guest(
        name=record.name,
        machine=machine,
        credentials=credentials(services, record),
        known_hosts=files.known_hosts,
        console_log=files.console_log,
        cloud_init=CloudInitWatch(on_error, partial(_in_user_data, record), record.progress.reached) if waits else None,
        needs_cloud_init=waits and (record.spec.cloud_init is not None or record.spec.access.private_key is None),
        host_key_verified=record.progress.host_key_verified,
        stall_limit_s=stall_limit_s or longest_stall_s(machine.stall_limit_s(), timeout_s),
        slept=slept,
        own_address=record.spec.has_own_address,
        arch=record.spec.arch,
        port=record.spec.access.port,
        peers=record.spec.peers if record.spec.private_cards else None,
        mounts=_mounts(record, machine.share_type()),
        accelerated=booting and acceleration is not None and acceleration.accelerator is Accelerator.KVM,
    )
    wait_until_ready(guest, deadline, services.emit)


def _mounts(record: InstanceRecord, type: ShareType | None) -> GuestMounts | None:
    """What is to be mounted; where something was before, that it is no more."""
    return GuestMounts(record.spec.mounts, type) if record.spec.mounts or record.progress.mounted else None


def longest_stall_s(usual_s: float, timeout_s: float | None) -> float:
    """How long a guest may go without progress. timeout_s: what was demanded: whoever sets it knows that the guest is slow."""
    return max(usual_s, timeout_s or 0)


def _in_user_data(record: InstanceRecord, keys: Sequence[str], said: str) -> tuple[Label, ...]:
    """These keys in the raw user-data, as long as that is what the VM was made with; said: see `find_keys`."""
    from vm_manager.vmfile.user_data import find_keys  # YAML takes long to import

    path = Path((record.spec.cloud_init and record.spec.cloud_init.user_data) or "")
    try:
        if path.stat().st_mtime >= datetime.fromisoformat(record.created_at).timestamp() + 1:
            return ()
        return find_keys(path.read_bytes(), str(path), keys, said)
    except OSError:
        return ()
