"""The files that a VM's seed is made from and that its provisioners use: whether they have been edited since."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from vm_manager.diagnostics.errors import VmError
from vm_manager.domain.instance import InstanceRecord
from vm_manager.domain.spec import Provisioner, VmSpec
from vm_manager.vmfile.input_files import USER_DATA_BYTES, UnfitFile, read_input


def digests(spec: VmSpec) -> dict[str, str]:
    """The SHA-256 of each file that the cloud-init block names, by its word in the VMFile; without those that cannot be read."""
    named = spec.cloud_init
    if named is None:
        return {}
    words = {"ssh-key": named.ssh_key, "user-data": named.user_data, "network-config": named.network_config}
    found = {}
    for word, path in words.items():
        with suppress(OSError, UnfitFile):
            if path is not None:
                found[word] = sha256(read_input(Path(path), USER_DATA_BYTES)).hexdigest()
    return found


def edited(record: InstanceRecord, spec: VmSpec) -> tuple[str, ...]:
    """The words whose files hold something else than when the VM was made."""
    now = digests(spec)
    return tuple(word for word, digest in record.inputs.items() if word in now and now[word] != digest)


def with_contents(spec: VmSpec) -> VmSpec:
    """The spec with what the files of its provisioners hold now: a step whose file is edited is another step."""
    return replace(spec, provisioners=tuple(map(_with_content, spec.provisioners)))


def _with_content(step: Provisioner) -> Provisioner:
    path = step.script or step.source
    if path is None:
        return step
    from vm_manager.guest.sources import fingerprint  # tarfile takes long to import, and most steps have no file

    # What cannot be read fails when it is sent, with the reason.
    with suppress(OSError, VmError):
        return replace(step, content=fingerprint(Path(path), modes=step.script is None))
    return step
