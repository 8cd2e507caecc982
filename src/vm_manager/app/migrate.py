"""`vmctl migrate`: a running VM goes on below another data directory; and what a killed move has left is settled.

At every moment one of the two directories is the VM: the one here until the other appears under its name, which is one
rename(2), and that one from then on. What stands in `moving-to` and `moved-from` says where the other is to be looked for.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from vm_manager.app.base_image import require_base
from vm_manager.app.fleet import Outcome, on_each
from vm_manager.app.services import Services
from vm_manager.app.steps import step
from vm_manager.diagnostics.errors import CreateNameExists, InvalidState, IoFailed, StateLocked, Usage
from vm_manager.diagnostics.model import Subject
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.domain.backend import BackendData
from vm_manager.domain.events import Warned
from vm_manager.domain.instance import BaseImage, InstanceRecord
from vm_manager.domain.owners import read_own
from vm_manager.images.cache import ImageCache
from vm_manager.planning.migrate import require_movable
from vm_manager.state.files import private, write_atomically
from vm_manager.state.journal import record_success
from vm_manager.state.layout import InstanceFiles

_COMMAND = "vmctl migrate"
_PATH_BYTES = 4096


def migrate(services: Services, name: str, to: str) -> tuple[Outcome, ...]:
    """Move one running VM to another data directory of this host.

    to: its path, or that as a `file:` URL.
    Raises: `vm::not_found`, `vmctl::usage`, `state::locked`; what else fails, such as `vm::invalid_state` and
    `qemu::migration_failed`, is in the outcome.
    """
    there = services.at(data_directory(to))
    services.store.require(name)
    if there.store.data.root.samefile(services.store.data.root):
        raise Usage("the VM is in {path} already", {"path": to}, help=("give another data directory",))
    with services.locked([name], _COMMAND), there.locked([name], _COMMAND):
        return on_each(services, [name], lambda vm: _move(services, there, vm))


def data_directory(to: str) -> Path:
    """The directory that `--to` means, as an absolute path. Raises: `vmctl::usage`."""
    url = urlsplit(to)
    if (url.scheme and url.scheme != "file") or url.netloc not in ("", "localhost"):
        raise Usage(
            "'{to}' is nowhere a VM could be moved to",
            {"to": to},
            help=("give another data directory of this host, as `file:///srv/vmctl` or `/srv/vmctl`",),
        )
    path = Path(unquote(url.path) if url.scheme else to)
    if not path.is_dir():
        raise Usage(
            "there is no directory {path}",
            {"path": str(path)},
            help=(f"it is the data directory of another vmctl; make a new one with `mkdir -m 700 '{path}'`",),
        )
    return path.resolve()


def _move(services: Services, there: Services, vm: str) -> str:
    instance = services.look(vm)
    record, files = instance.record, services.store.files(vm)
    backend = services.backend(record.backend)
    require_movable(instance, backend.snapshots(record, files.home))
    if there.store.exists(vm):
        raise CreateNameExists(
            "there is a VM '{name}' already below {path}",
            {"name": vm, "path": str(there.store.data.root)},
            help=("destroy the one there first, with a vmctl that uses that directory",),
            subject=Subject(vm=vm),
        )
    accelerated = backend.acceleration(record)
    spec = replace(record.spec, accelerator=accelerated.accelerator) if accelerated else record.spec
    for warning in backend.check_host((spec,)):
        services.emit(Warned(vm, warning))
    root = there.store.data.root
    with step(services, vm, "migrate", f"moving to {root}", "moved") as told:
        require_base(record)
        with _leaving(services, there, record), there.store.staging(vm) as staging:
            arriving = _copy(services, there, record, staging)

            @contextmanager
            def switch(data: BackendData) -> Iterator[None]:
                there.store.write_new(replace(arriving, backend_data=data), staging)
                there.store.appear(vm)
                try:
                    yield
                except BaseException:
                    there.store.take_back(vm)
                    raise

            backend.migrate(record, files.home, arriving, staging, switch, services.cancel, services.emit)
        _finish(services, there, vm)
        told.outcome = f"moved to {root}{_where(there, vm)}"
    record_success(there.store.files(vm).journal, "migrate")
    return told.outcome


@contextmanager
def _leaving(services: Services, there: Services, record: InstanceRecord) -> Iterator[None]:
    """While the VM may be in either directory that is written down here."""
    marker = services.store.files(record.name).moving_to
    write_atomically(marker, bytes(there.store.data.root))
    try:
        yield
    except BaseException:
        if not _has_arrived(there, record):
            with os_errors(marker):
                marker.unlink(missing_ok=True)
        raise


def _copy(services: Services, there: Services, record: InstanceRecord, staging: Path) -> InstanceRecord:
    """What the VM has beside its disk; the record that it will have there."""
    old, new = services.store.files(record.name), InstanceFiles(staging)
    # First of all, so that whoever looks meanwhile sees what is on its way.
    there.store.write_new(record, staging)
    public = old.user_key.with_suffix(".pub")
    names = (
        old.seed,
        old.user_key,
        public,
        old.host_key,
        old.known_hosts,
        old.journal,
        old.provision_log,
        old.console_log,
    )
    for path in names:
        with (
            os_errors(staging),
            suppress(FileNotFoundError),
            path.open("rb") as source,
            open(staging / path.name, "xb", opener=private) as target,
        ):
            shutil.copyfileobj(source, target)
    write_atomically(new.moved_from, bytes(services.store.data.root))
    arriving = replace(record, base_image=_base_there(services, there, record))
    there.store.write_new(arriving, staging)
    return arriving


def _base_there(services: Services, there: Services, record: InstanceRecord) -> BaseImage:
    """The image below the disk: a file of this host's stays where it is, one of the cache here is in the cache there, too.

    The cache here may drop it as soon as no VM here stands on it.
    """
    base, cache = record.base_image, services.store.data.images
    if not Path(base.path).is_relative_to(cache):
        return base
    if base.digest is None:
        raise InvalidState(
            "the image of VM '{name}' was fetched by an early vmctl, and cannot be shared",
            {"name": record.name},
            help=("`vmctl image inspect` shows where it came from; make the VM anew from there",),
            subject=Subject(vm=record.name),
        )
    path = ImageCache(there.store.data.images).take_over(ImageCache(cache), base.digest, services.cancel)
    with os_errors(path):
        status = path.stat()
    return replace(
        base,
        path=str(path),
        size_bytes=status.st_size,
        mtime_ns=status.st_mtime_ns,
        inode=status.st_ino,
        ctime_ns=status.st_ctime_ns,
    )


def _where(there: Services, vm: str) -> str:
    endpoint = there.look(vm).observation.ssh
    return f", SSH on {endpoint.host}:{endpoint.port}" if endpoint else ""


def _has_arrived(there: Services, record: InstanceRecord) -> bool:
    """Whether the VM is there. Raises: `state::corrupt`: then nobody can tell."""
    name = record.name
    return there.store.exists(name) and there.store.read(name).instance_id == record.instance_id


def _finish(services: Services, there: Services, vm: str) -> None:
    """Remove what is left here of a VM that is there."""
    record, files = services.store.read(vm), services.store.files(vm)
    services.backend(record.backend).destroy(files.home)
    services.store.remove(vm)
    moved_from = there.store.files(vm).moved_from
    with os_errors(moved_from):
        moved_from.unlink(missing_ok=True)


def settle(services: Services, vm: str) -> Iterator[str]:
    """Finish or undo a move that a killed command has left; the caller holds the VM's lock. Yields a line for each finding.

    Raises: `io` when the other data directory is not there: nobody can tell then which of the two is the VM.
    """
    files = services.store.files(vm)
    if (root := _read(files.moving_to)) is not None:
        yield _settle_leaving(services, services.at(root), vm)
    elif (root := _read(files.moved_from)) is not None and root.is_dir():
        _settle_arrived(services.at(root), services, vm)


def _settle_leaving(services: Services, there: Services, vm: str) -> str:
    record, files, root = services.store.read(vm), services.store.files(vm), there.store.data.root
    if not root.is_dir():
        raise IoFailed(
            "{path}, to which the VM was being moved, is not there",
            {"path": str(root)},
            help=(f"mount it; if it is gone for good and the VM shall be the one here: `rm '{files.moving_to}'`",),
            subject=Subject(vm=vm),
        )
    # Ends the QEMU that waits there, unless somebody is just now working on a VM of that name.
    with suppress(StateLocked), there.locked([vm], _COMMAND):
        pass
    if _has_arrived(there, record):
        _finish(services, there, vm)
        return f"removed what was left of it after a move to {root} that had been interrupted at its end"
    services.backend(record.backend).abandon_migration(record, files.home)
    with os_errors(files.moving_to):
        files.moving_to.unlink()
    return f"gave up a move to {root} that had been interrupted; the VM is still here"


def _settle_arrived(services: Services, there: Services, vm: str) -> None:
    """services: where it came from; there: where it is."""
    moved_from = there.store.files(vm).moved_from
    try:
        # Settles what is left there, and clears away what was being removed.
        with services.locked([vm], _COMMAND), os_errors(moved_from):
            moved_from.unlink(missing_ok=True)
    except StateLocked:
        return  # whoever works on it there settles it


def _read(marker: Path) -> Path | None:
    try:
        return Path(os.fsdecode(read_own(marker, _PATH_BYTES)))
    except FileNotFoundError:
        return None
