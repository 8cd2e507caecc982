"""The instances on disk. A VM exists because its directory does; there is no registry that could disagree."""

from __future__ import annotations

import errno
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec

from vm_manager.diagnostics.errors import StateCorrupt, StateForeign, VmError, VmNotFound
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.diagnostics.subject import Subject
from vm_manager.domain.instance import RECORD_SCHEMA, InstanceRecord, VmState
from vm_manager.domain.names import closest, is_vm_name
from vm_manager.domain.owners import read_own, require_own_directory, require_own_place, require_plain
from vm_manager.domain.path_text import not_utf8
from vm_manager.state.decoding import convert, decode
from vm_manager.state.files import TEMPORARY, exchange, make_dir, sync_directory, write_atomically
from vm_manager.state.layout import LEAVING, PREPARING, DataDir, InstanceFiles
from vm_manager.state.lock import holder, locked
from vm_manager.state.migrations import migrate

# A record takes some 3 KiB; what is much larger is none.
_RECORD_BYTES = 1024 * 1024
# As JSON writes it, and not a backslash with `u0000` behind it.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)


@dataclass(frozen=True)
class _Version:
    """What can be read of every record, whatever version wrote it."""

    schema: int = 1


class InstanceStore:
    """Reads and writes instance records below a data directory. Readers never lock, never wait and never write."""

    def __init__(self, data: DataDir) -> None:
        self._data = data

    @cached_property
    def data(self) -> DataDir:
        """The data directory, which has been seen to be this user's alone. Raises: `state::untrusted`."""
        require_own_place(self._data.root)
        for directory in (self._data.vms, self._data.locks, self._data.images, self._data.crashes):
            require_own_directory(directory)
        return self._data

    def names(self) -> tuple[str, ...]:
        """The names of all instances, sorted."""
        return tuple(name for name in self._directories() if self._is_ours(name) is True)

    def foreign(self) -> tuple[str, ...]:
        """The names of the directories beside the instances that hold none: another program's, mostly."""
        return tuple(name for name in self._directories() if self._is_ours(name) is False)

    def _directories(self) -> list[str]:
        with os_errors(self.data.vms):
            try:
                with os.scandir(self.data.vms) as entries:
                    return sorted(entry.name for entry in entries if is_vm_name(entry.name) and entry.is_dir())
            except FileNotFoundError:
                return []

    def _is_ours(self, name: str) -> bool | None:
        """Whether a directory has a record, or had one as its journal shows; None when there is no directory.

        A VM's directory appears complete and leaves by a rename: one that has neither, and is still there, was never a VM's.
        """
        home, files = self.data.home(name), self.files(name)
        while True:
            try:
                directory = os.open(home, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            except (FileNotFoundError, NotADirectoryError):
                return None
            try:
                if any(_is_there(path) for path in (files.record, files.record_backup, files.journal)):
                    return True
                # No other directory has its number while it is held open.
                if os.path.samestat(os.fstat(directory), os.stat(home)):
                    return False
            except FileNotFoundError:
                return None
            finally:
                os.close(directory)

    def unnamed(self) -> tuple[Path, ...]:
        """The directories of VMs that are being made or removed."""
        with os_errors(self.data.vms):
            try:
                with os.scandir(self.data.vms) as entries:
                    return tuple(Path(entry.path) for entry in entries if entry.name.startswith(".") and entry.is_dir())
            except FileNotFoundError:
                return ()

    def exists(self, name: str) -> bool:
        """Whether there is an instance of that name. Raises: `state::untrusted`, `state::foreign`."""
        if not is_vm_name(name) or not self.data.home(name).is_dir():
            return False
        # Before anything in it is looked at, or another made in its place.
        require_own_directory(self.data.home(name))
        ours = self._is_ours(name)
        if ours is False:
            raise self.foreign_error((name,))
        return ours is True

    def files(self, name: str) -> InstanceFiles:
        """The files of an instance."""
        return InstanceFiles(self.data.home(name))

    def leftovers(self) -> tuple[str, ...]:
        """The names of which there is no instance, but one that is being made or removed, or was when a command was killed."""
        found = set()
        with os_errors(self.data.vms):
            try:
                for entry in os.listdir(self.data.vms):
                    name = entry.removeprefix(PREPARING).removeprefix(LEAVING)
                    if name != entry and is_vm_name(name) and not self.data.home(name).is_dir():
                        found.add(name)
            except FileNotFoundError:
                return ()
        return tuple(sorted(found))

    def read_leftovers(self, name: str) -> tuple[InstanceRecord, Path, VmState]:
        """The record of an instance that is being made or removed, its directory, and which of these it is.

        FAILED: it was being made when the command was killed. Raises: `vm::not_found`.
        """
        staging, leaving = self.data.staging(name), self.data.leaving(name)
        making = VmState.PREPARING if self.holder(name) else VmState.FAILED
        for home, state in ((staging, making), (leaving, VmState.DESTROYED)):
            with suppress(OSError, VmError, *_UNREADABLE):
                record = decode(read_own(InstanceFiles(home).record, _RECORD_BYTES), InstanceRecord)
                return record, home, state
        raise self._not_found(name)

    def require(self, name: str, *, or_leftovers: bool = False) -> None:
        """Refuse a name that no instance has. or_leftovers: what is left of an instance will do.

        Raises: `vm::not_found`, with the name that was probably meant, `state::foreign`, `state::untrusted`.
        """
        if not self.exists(name) and not (or_leftovers and name in self.leftovers()):
            raise self._not_found(name)

    def read(self, name: str) -> InstanceRecord:
        """The record of an instance. Raises: `vm::not_found`, `state::corrupt`, `state::untrusted`, `state::foreign`."""
        self.require_plain(name)
        path = self.files(name).record
        with os_errors(path):
            try:
                content = read_own(path, _RECORD_BYTES)
            except FileNotFoundError as error:
                raise self.corrupt(name, "the record {path} is missing") from error
            except OSError as error:
                if error.errno not in (errno.EFBIG, errno.EISDIR):
                    raise
                raise self.corrupt(name, "the record {path} is not readable") from error
        try:
            record = self._decode(name, content)
        except _UNREADABLE as error:
            raise self.corrupt(name, "the record {path} is not readable") from error
        if record.name != name:
            # A copied directory: writing this record would overwrite the other VM's.
            raise self.corrupt(name, "the record {path} belongs to another VM")
        return record

    def require_plain(self, name: str) -> None:
        """Refuse an instance in whose directory somebody put links or pipes. Raises: `vm::not_found`, `state::untrusted`."""
        self.require(name)
        require_plain(self.data.home(name))

    def _decode(self, name: str, content: bytes) -> InstanceRecord:
        if _NUL.search(content):
            raise ValueError("a string in it contains NUL, which paths and command lines cannot")
        schema = decode(content, _Version).schema
        if schema > RECORD_SCHEMA:
            raise self._newer(name)
        if schema == RECORD_SCHEMA:
            return decode(content, InstanceRecord)
        return convert(migrate(decode(content, dict)), InstanceRecord)

    def read_backup(self, name: str) -> InstanceRecord | None:
        """The record as it was written last, where the record itself is damaged; None when that is no better."""
        with suppress(OSError, VmError, *_UNREADABLE):
            record = self._decode(name, read_own(self.files(name).record_backup, _RECORD_BYTES))
            return record if record.name == name else None
        return None

    def write(self, record: InstanceRecord) -> None:
        """Replace the record of an instance that exists; the caller holds its lock.

        Raises: `host::disk_full`, `host::permission_denied`, `io`.
        """
        self._write(record, self.files(record.name))

    def heal(self, name: str) -> Iterator[str]:
        """Clear away what killed commands left behind of an instance; the caller holds its lock. Yields a line for each finding.

        Raises: `host::permission_denied`, `io`.
        """
        for leftover, what in (
            (self.data.staging(name), "removed what an interrupted command had left unfinished"),
            (self.data.leaving(name), "finished the interrupted removal of a VM"),
        ):
            with os_errors(leftover):
                if leftover.exists():
                    shutil.rmtree(leftover)
                    yield what
        home = self.data.home(name)
        with os_errors(home):
            for path in home.glob(TEMPORARY):
                path.unlink(missing_ok=True)

    def lock(self, name: str, command: str) -> AbstractContextManager[None]:
        """Hold the lock of a name, whether or not the instance exists.

        Raises: `state::locked`, `state::untrusted`, `state::foreign`.
        """
        if not is_vm_name(name):
            self.require(name)
        self.exists(name)  # or what is there is nothing to work on
        return locked(self.data.locks, name, command)

    def holder(self, name: str) -> tuple[int, str] | None:
        """Pid and command of who works on an instance now, as far as it can be told without touching the lock."""
        found = holder(self.data.locks, name)
        return found if found and Path(f"/proc/{found[0]}").exists() else None

    def console_lock(self, name: str, command: str) -> AbstractContextManager[None]:
        """Hold an instance's console, which serves one at a time. Raises: `state::locked`."""
        return locked(self.data.console_locks, name, command, "is connected to the console of VM '{name}'")

    @contextmanager
    def creating(self, name: str, *, replacing: bool = False) -> Iterator[Path]:
        """A directory to make an instance in; it appears under its name, complete, when the block has ended.

        replacing: it takes the place of an instance, which the block must have ended; that is then gone.
        An exception, or a crash, leaves things as they were. The caller holds the lock.
        """
        with self.staging(name) as staging:
            yield staging
            if replacing:
                with os_errors(staging):
                    self._take_place(name, staging)
                    sync_directory(self.data.vms)
                    shutil.rmtree(staging)
            else:
                self.appear(name)

    @contextmanager
    def staging(self, name: str) -> Iterator[Path]:
        """A directory to make an instance in; removed when the block fails. The caller holds the lock."""
        staging = self.data.staging(name)
        with os_errors(staging):
            shutil.rmtree(staging, ignore_errors=True)
        make_dir(staging)
        try:
            yield staging
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise

    def appear(self, name: str) -> None:
        """Let what was made in `staging` appear under its name, in one step. Raises: `host::disk_full`, `io`."""
        with os_errors(self.data.vms):
            self.data.staging(name).rename(self.data.home(name))
            sync_directory(self.data.vms)

    def _take_place(self, name: str, staging: Path) -> None:
        """Let the new instance and the old one change places; where that cannot be done in one step, the old one leaves first."""
        home, leaving = self.data.home(name), self.data.leaving(name)
        try:
            exchange(staging, home)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS):
                raise
            home.rename(leaving)
            staging.rename(home)
            leaving.rename(staging)

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
        try:
            content = msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"
        except UnicodeEncodeError as error:
            raise not_utf8(Path(error.object)) from None
        write_atomically(files.record, content)
        # The record itself has reached the disk: its backup costs no waiting.
        write_atomically(files.record_backup, content, durable=False)

    def corrupt(self, name: str, template: str) -> StateCorrupt:
        """The failure of an instance whose record is damaged. template: with `{path}` for the record."""
        files = self.files(name)
        if self.read_backup(name) is not None:
            mend: tuple[str, ...] = (
                f"restore it as vmctl wrote it last: `cp {_quoted(files.record_backup)} {_quoted(files.record)}`",
            )
        else:
            mend = (
                f"restore {files.record} from a backup of yours",
                f"or, once it is stopped, set the VM aside with its disk: `mv {_quoted(files.home)} {name}.lost`",
            )
        return StateCorrupt(template, {"path": str(files.record)}, help=mend, subject=Subject(vm=name))

    def _newer(self, name: str) -> StateCorrupt:
        return StateCorrupt(
            "the record {path} was written by a newer vmctl",
            {"path": str(self.files(name).record)},
            help=("update vmctl to the version that wrote it, or a later one; the VM and its disk are as they were",),
            subject=Subject(vm=name),
        )

    def foreign_error(self, names: tuple[str, ...]) -> StateForeign:
        """What there is to say about directories that hold no VM of vmctl's."""
        notes: tuple[str, ...] = ("vmctl neither changes nor removes them",)
        if os.path.lexists(self.data.original_registry):
            notes = (
                f"{self.data.original_registry} is the registry of the Rust project vm-manager: they are its VMs",
                *notes,
            )
        return StateForeign(
            "no VM of vmctl's: {names} in {path}",
            {"names": ", ".join(names), "path": str(self.data.vms)},
            notes=notes,
            help=(
                "choose another name, or keep vmctl's VMs elsewhere: `export XDG_DATA_HOME=~/.local/share/vmctl-python`",
            ),
            subject=Subject(vm=names[0]) if len(names) == 1 else Subject(),
        )

    def _not_found(self, name: str) -> VmNotFound:
        near = closest(name, self.names())
        meant = (f"did you mean '{near}'?",) if near else ()
        return VmNotFound(
            "no VM is named '{name}'",
            {"name": name},
            help=(*meant, "run `vmctl list` to see all VMs"),
            subject=Subject(vm=name),
        )


def _is_there(path: Path) -> bool:
    """Whether a name exists; where nobody may look, it has to be reckoned with: reading it says why."""
    try:
        path.lstat()
    except PermissionError:
        return True
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def keep_drives(old: InstanceFiles, staging: Path) -> None:
    """Let a VM that takes an old one's place have its drives: under a second name, so that there is no moment without.

    Raises: `host::disk_full`, `io`.
    """
    with os_errors(old.drives):
        if not old.drives.is_dir():
            return
        make_dir(InstanceFiles(staging).drives)
        for path in old.drives.iterdir():
            os.link(path, InstanceFiles(staging).drives / path.name, follow_symlinks=False)


def _stop_first(name: str) -> str:
    return f"if the VM still runs, stop it first, which needs no record: `vmctl stop {name}`"


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
