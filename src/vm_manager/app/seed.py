"""The cloud-init seed of a VM: made with it, and made again, as it was, when somebody has removed it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vm_manager.app.inputs import digests
from vm_manager.diagnostics.errors import IoFailed, SeedIsoFailed
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.domain.instance import InstanceRecord
from vm_manager.domain.spec import VmSpec
from vm_manager.guest.openssh import known_hosts_text
from vm_manager.state.files import write_private
from vm_manager.state.layout import InstanceFiles
from vm_manager.vmfile.input_files import KEY_BYTES, USER_DATA_BYTES, UnfitFile, read_input


def make_seed(spec: VmSpec, files: InstanceFiles, instance_id: str, macs: Sequence[str]) -> None:
    """Write the seed of a new VM, and the keys that are in it. macs: of its cards, in their order.

    Raises: `cloudinit::iso_failed`, `ssh::keygen_failed`, `io`.
    """
    from vm_manager.guest.keys import generate_key_pair
    from vm_manager.vmfile.user_data import host_keys_of

    host = generate_key_pair(spec.name)
    user_data = _user_data(spec)
    if user_data is None and not _named_key(spec):
        pair = generate_key_pair(f"vmctl-{spec.name}")
        with os_errors(files.home):
            write_private(files.user_key, pair.private.encode())
            write_private(_public(files), f"{pair.public}\n".encode())
    _write(spec, files, instance_id, (host.private, host.public), macs, files.seed)
    pinned = host_keys_of(user_data) or (host.public,)
    with os_errors(files.home):
        write_private(files.host_key, host.private.encode())
        write_private(files.known_hosts, known_hosts_text(spec.name, pinned).encode())


def restore_seed(record: InstanceRecord, files: InstanceFiles, macs: Sequence[str]) -> bool:
    """Make the seed of a VM again when it is gone: without it the guest takes itself for another one, with other keys.

    macs: of its cards, in their order.
    Returns whether it was gone. Raises: `cloudinit::iso_failed` when what it was made from is not there as it was.
    """
    if not record.seeded or files.seed.exists():
        return False
    now = digests(record.spec)
    changed = [word for word, digest in record.inputs.items() if now.get(word) != digest]
    if changed:
        raise _lost(files, f"`{changed[0]}` has changed since it was made", "put back that file as it was")
    from vm_manager.guest.keys import load_key_pair

    part = files.home / ".seed.tmp"
    try:
        host = load_key_pair(files.host_key.read_text(), record.name)
        _write(record.spec, files, record.instance_id, (host.private, host.public), macs, part)
        part.replace(files.seed)
    except (FileNotFoundError, ValueError) as error:
        raise _lost(files, "so are the keys that were in it", f"put back the files of {files.home}") from error
    return True


def _lost(files: InstanceFiles, why: str, what: str) -> SeedIsoFailed:
    return SeedIsoFailed(
        "the seed {path} is missing, and {why}",
        {"path": str(files.seed), "why": why},
        help=(f"{what}, or the seed, from a backup: the VM's disk is kept",),
    )


def _write(
    spec: VmSpec,
    files: InstanceFiles,
    instance_id: str,
    host_key: tuple[str, str],
    macs: Sequence[str],
    path: Path,
) -> None:
    from vm_manager.guest.cloud_init import seed_documents
    from vm_manager.guest.seed_iso import write_seed

    named, user_data = spec.cloud_init, _user_data(spec)
    documents = seed_documents(
        spec,
        instance_id=instance_id,
        host_key=host_key,
        macs=macs,
        login_key=_login_key(spec, files) if user_data is None else "",
        user_data=user_data,
        network_config=_read(named.network_config, USER_DATA_BYTES) if named and named.network_config else None,
    )
    write_seed(path, documents.files())


def _user_data(spec: VmSpec) -> bytes | None:
    named = spec.cloud_init
    return _read(named.user_data, USER_DATA_BYTES) if named and named.user_data else None


def _named_key(spec: VmSpec) -> str | None:
    return spec.cloud_init.ssh_key if spec.cloud_init else None


def _login_key(spec: VmSpec, files: InstanceFiles) -> str:
    """The public key that may log in: the one that is named, else the VM's own."""
    if named := _named_key(spec):
        return _read(named, KEY_BYTES).decode(errors="replace").strip()
    return _public(files).read_text().strip()


def _public(files: InstanceFiles) -> Path:
    return files.user_key.with_suffix(".pub")


def _read(path: str, most_bytes: int) -> bytes:
    try:
        with os_errors(path):
            return read_input(Path(path), most_bytes)
    except UnfitFile as error:
        raise IoFailed("{path} {problem}", {"path": path, "problem": error.problem}) from None
