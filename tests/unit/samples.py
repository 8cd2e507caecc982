"""Specs, records and instances to test with: a complete one each, and whatever differs by keyword."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vm_manager.domain.instance import (
    Acceleration,
    BaseImage,
    Instance,
    InstanceRecord,
    LastFailure,
    Observation,
    Progress,
    VmState,
)
from vm_manager.domain.spec import CloudInit, ImageSource, Provisioner, ProvisionerKind, SshAccess, VmSpec

SHELL = Provisioner(kind=ProvisionerKind.SHELL, inline="true")


def spec(name: str = "web", **changes: Any) -> VmSpec:
    """A VM with a path for its image and an ssh block."""
    return replace(
        VmSpec(name=name, image=ImageSource(path="/images/base.qcow2"), ssh=SshAccess(user="debian")), **changes
    )


def full_spec() -> VmSpec:
    """A VM with something in every block."""
    return spec(
        vcpus=2,
        memory_mib=2048,
        disk_bytes=20 * 1024**3,
        cpu="max",
        boot_timeout_s=900,
        cloud_init=CloudInit(hostname="shop", ssh_key="/keys/id.pub"),
        ssh=SshAccess(user="debian", private_key="/keys/id", port=2222),
        provisioners=(
            SHELL,
            Provisioner(kind=ProvisionerKind.FILE, source="/srv/a", destination="/etc/a"),
        ),
    )


def record(wanted: VmSpec | None = None, **changes: Any) -> InstanceRecord:
    """The record of a VM that was made with the noop backend and has never run."""
    wanted = wanted or spec()
    made = InstanceRecord(
        name=wanted.name,
        origin="/project/VMFile.kdl",
        instance_id="11111111-2222-3333-4444-555555555555",
        created_at="2026-01-02T03:04:05+00:00",
        spec=wanted,
        base_image=BaseImage(path="/images/base.qcow2", size_bytes=10, mtime_ns=20),
        backend="noop",
        backend_data={"version": 1},
    )
    return replace(made, **changes)


def instance(
    wanted: VmSpec | None = None,
    observed: Observation | VmState = VmState.RUNNING,
    *,
    progress: Progress | None = None,
    failure: LastFailure | None = None,
    acceleration: Acceleration | None = None,
    **changes: Any,
) -> Instance:
    """An instance in a state; one that runs is alive and, unless said otherwise, ready."""
    if isinstance(observed, VmState):
        observed = Observation(observed, alive=observed in (VmState.RUNNING, VmState.SUSPENDED))
    progress = progress or Progress(started=True, ready=observed.alive)
    return Instance(record(wanted, progress=progress, **changes), observed, "/data/vms/web", failure, acceleration)
