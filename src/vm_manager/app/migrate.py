"""`vmctl migrate`: a running VM goes on below another data directory of this host."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from vm_manager.app.base_image import require_base
from vm_manager.app.fleet import on_each
from vm_manager.app.holding import hold
from vm_manager.app.looking import look, require_possible
from vm_manager.app.moving import below, finish, leaving, mark_arriving
from vm_manager.app.services import Services
from vm_manager.app.steps import step
from vm_manager.app.strays import require
from vm_manager.diagnostics.errors import CreateNameExists, InvalidState, Usage
from vm_manager.diagnostics.model import Subject
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.domain.capabilities import BackendData, Feature
from vm_manager.domain.events import Warned
from vm_manager.domain.instance import BaseImage, Instance, InstanceRecord
from vm_manager.domain.outcome import Done, Outcome
from vm_manager.domain.plan import Action
from vm_manager.images.cache import ImageCache
from vm_manager.planning.migrate import require_movable
from vm_manager.planning.table import Verb
from vm_manager.state.files import private, sync_directory
from vm_manager.state.journal import record_success

_COMMAND = "vmctl migrate"


def migrate(services: Services, name: str, to: str) -> tuple[Outcome, ...]:
    """Move one running VM to another data directory of this host.

    to: its path, or that as a `file:` URL.
    Raises: `vm::not_found`, `vmctl::usage`, `state::locked`; what else fails, such as `vm::invalid_state` and
    `qemu::migration_failed`, is in the outcome.
    """
    target = below(services, data_directory(to))
    require(services, name)
    if target.store.data.root.samefile(services.store.data.root):
        raise Usage("the VM is already in {path}", {"path": to}, help=("use another data directory",))
    with hold(services, [name], _COMMAND) as held, hold(target, [name], _COMMAND):
        return on_each(services, [name], lambda vm: _move(services, target, held.of(services, vm)))


def data_directory(to: str) -> Path:
    """The directory that `--to` means, as an absolute path. Raises: `vmctl::usage`."""
    url = urlsplit(to)
    if (url.scheme and url.scheme != "file") or url.netloc not in ("", "localhost"):
        raise Usage(
            "'{to}' is not a data directory on this host",
            {"to": to},
            help=("use another data directory on this host, as `file:///srv/vmctl` or `/srv/vmctl`",),
        )
    path = Path(unquote(url.path) if url.scheme else to)
    if not path.is_dir():
        there = path.exists()
        make = f"create it first: `mkdir -p -m 700 {shlex.quote(str(path))}`"
        raise Usage(
            "{path} is not a directory" if there else "no such directory: {path}",
            {"path": str(path)},
            help=("use another data directory on this host" if there else make,),
        )
    return path.resolve()


def _move(services: Services, target: Services, instance: Instance) -> tuple[Done, ...]:
    record, vm = instance.record, instance.name
    machine = services.machine(record)
    require_possible(services, instance, Verb.MIGRATE)
    _require_movable(services, instance)
    if target.store.exists(vm):
        raise CreateNameExists(
            "VM '{name}' already exists in {path}",
            {"name": vm, "path": str(target.store.data.root)},
            help=("destroy the one there first, with a vmctl that uses that directory",),
            subject=Subject(vm=vm),
        )
    accelerated = machine.acceleration()
    spec = replace(record.spec, accelerator=accelerated.accelerator) if accelerated else record.spec
    for warning in services.backend(record.backend).check_host((spec,)):
        services.emit(Warned(vm, warning))
    root = target.store.data.root
    with step(services, vm, "migrate", Done(Action.MIGRATE, to=str(root))) as current:
        record = replace(record, base_image=require_base(services, record))
        with leaving(services, target, record), target.store.staging(vm) as staging:
            arriving = _copy(services, target, record, staging)

            @contextmanager
            def switch(data: BackendData) -> Iterator[None]:
                target.store.write_new(replace(arriving, backend_data=data), staging)
                try:
                    target.store.appear(vm)
                    yield
                except BaseException:
                    if target.home(vm).exists():
                        with os_errors(staging):
                            target.home(vm).rename(staging)
                            sync_directory(staging.parent)
                    raise

            machine.migration().move(arriving, staging, switch, services.cancel, services.emit)
        finish(services, target, record)
        current.done = replace(current.done, ssh=look(target, vm).observation.ssh)
    record_success(target.store.files(vm).journal, "migrate")
    return (current.done,)


def _require_movable(services: Services, instance: Instance) -> None:
    has_snapshots = Feature.SNAPSHOTS in instance.features
    require_movable(instance, services.machine(instance.record).snapshots().all() if has_snapshots else ())


def _copy(services: Services, target: Services, record: InstanceRecord, staging: Path) -> InstanceRecord:
    """What the VM has beside its disk; the record that it will have in the target."""
    old = services.store.files(record.name)
    # First of all, so that whoever looks meanwhile sees what is on its way.
    target.store.write_new(record, staging)
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
            open(staging / path.name, "xb", opener=private) as copy,
        ):
            shutil.copyfileobj(source, copy)
    mark_arriving(services, staging)
    arriving = replace(record, base_image=_base_in(services, target, record))
    target.store.write_new(arriving, staging)
    return arriving


def _base_in(services: Services, target: Services, record: InstanceRecord) -> BaseImage:
    """The image below the disk: a file of this host's stays where it is, one of the cache here is put into the cache there, too.

    The cache here may drop it as soon as no VM here stands on it.
    """
    base, cache = record.base_image, services.store.data.images
    if not Path(base.path).is_relative_to(cache):
        return base
    if base.digest is None:
        raise InvalidState(
            "the image of VM '{name}' was downloaded by an early vmctl and cannot be shared",
            {"name": record.name},
            help=("`vmctl image inspect` shows where it came from; create the VM again from there",),
            subject=Subject(vm=record.name),
        )
    path = ImageCache(target.store.data.images).take_over(ImageCache(cache), base.digest, services.cancel)
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
