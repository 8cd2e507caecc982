"""The instances on disk. A VM exists because its directory does; there is no registry that could disagree."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from vm_manager.diagnostics.errors import StateCorrupt, VmNotFound
from vm_manager.diagnostics.model import Subject
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.domain.instance import RECORD_SCHEMA, InstanceRecord
from vm_manager.domain.names import closest, is_vm_name
from vm_manager.state.files import make_dir, sync_directory, write_atomically
from vm_manager.state.layout import DataDir, InstanceFiles
from vm_manager.state.lock import locked


@dataclass(frozen=True)
class _Version:
    """What can be read of every record, whatever version wrote it."""

    schema: int = RECORD_SCHEMA


class InstanceStore:
    """Reads and writes instance records below a data directory. Readers never lock, never wait and never write."""

    def __init__(self, data: DataDir) -> None:
        self.data = data

    def names(self) -> tuple[str, ...]:
        """The names of all instances, sorted."""
        with os_errors(self.data.vms):
            try:
                with os.scandir(self.data.vms) as entries:
                    return tuple(sorted(entry.name for entry in entries if is_vm_name(entry.name) and entry.is_dir()))
            except FileNotFoundError:
                return ()

    def exists(self, name: str) -> bool:
        """Whether there is an instance of that name."""
        return is_vm_name(name) and self.data.home(name).is_dir()

    def files(self, name: str) -> InstanceFiles:
        """The files of an instance."""
        return InstanceFiles(self.data.home(name))

    def require(self, name: str) -> None:
        """Raises: `vm::not_found`, with the name that was probably meant."""
        if not self.exists(name):
            near = closest(name, self.names())
            meant = (f"did you mean '{near}'?",) if near else ()
            raise VmNotFound(
                "no VM is named '{name}'",
                {"name": name},
                help=(*meant, "run `vmctl list` to see the VMs there are"),
                subject=Subject(vm=name),
            )

    def read(self, name: str) -> InstanceRecord:
        """The record of an instance. Raises: `vm::not_found`, `state::corrupt`."""
        self.require(name)
        path = self.files(name).record
        with os_errors(path):
            try:
                content = path.read_bytes()
            except FileNotFoundError as error:
                raise self._corrupt(name, "the record {path} is missing") from error
        try:
            if msgspec.json.decode(content, type=_Version).schema > RECORD_SCHEMA:
                raise self._corrupt(name, "the record {path} was written by a newer vmctl")
            record = msgspec.json.decode(content, type=InstanceRecord)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise self._corrupt(name, "the record {path} is not readable") from error
        if record.name != name:
            # A copied directory: writing this record would overwrite the other VM's.
            raise self._corrupt(name, "the record {path} is another VM's")
        return record

    def write(self, record: InstanceRecord) -> None:
        """Replace the record of an instance that exists; the caller holds its lock.

        Raises: `host::disk_full`, `host::permission_denied`, `io`.
        """
        self._write(record, self.files(record.name))

    def lock(self, name: str, command: str) -> AbstractContextManager[None]:
        """Hold the lock of a name, whether or not the instance exists. Raises: `state::locked`."""
        if not is_vm_name(name):
            self.require(name)
        return locked(self.data.locks, name, command)

    def console_lock(self, name: str, command: str) -> AbstractContextManager[None]:
        """Hold an instance's console, which serves one at a time. Raises: `state::locked`."""
        return locked(self.data.console_locks, name, command, "is at the console of VM '{name}'")

    @contextmanager
    def creating(self, name: str) -> Iterator[Path]:
        """A directory to make an instance in; it appears under its name, complete, when `finish` has been written there.

        The block writes everything, the record by `write_new` last. An exception, or a crash, leaves no instance: what is
        left of an earlier attempt is cleared away first. The caller holds the lock.
        """
        staging = self.data.staging(name)
        make_dir(self.data.vms)
        with os_errors(staging):
            shutil.rmtree(staging, ignore_errors=True)
            make_dir(staging)
        try:
            yield staging
            with os_errors(staging):
                staging.rename(self.data.home(name))
                sync_directory(self.data.vms)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise

    def write_new(self, record: InstanceRecord, staging: Path) -> None:
        """Write the record of an instance that is being made."""
        self._write(record, InstanceFiles(staging))

    def remove(self, name: str) -> None:
        """Remove an instance and all its files; gone at once, whatever happens while the files are deleted. Idempotent."""
        leaving = self.data.leaving(name)
        with os_errors(leaving):
            shutil.rmtree(leaving, ignore_errors=True)
            try:
                self.data.home(name).rename(leaving)
            except FileNotFoundError:
                return
            sync_directory(self.data.vms)
            shutil.rmtree(leaving)

    def _write(self, record: InstanceRecord, files: InstanceFiles) -> None:
        write_atomically(files.record, msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")

    def _corrupt(self, name: str, template: str) -> StateCorrupt:
        return StateCorrupt(
            template,
            {"path": str(self.files(name).record)},
            help=(f"`vmctl destroy {name}` removes the VM; its disk is {self.files(name).overlay}",),
            subject=Subject(vm=name),
        )
