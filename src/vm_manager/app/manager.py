"""The library's front door: one object per data directory, one method per thing that can be done.

The modules behind the methods are imported when they are called: listing VMs must not cost what creating one does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from vm_manager.app.arguments import Names, StrPath, path_of, words
from vm_manager.app.errors import ErrorHandler, ErrorReporter
from vm_manager.app.looking import look
from vm_manager.app.services import Services
from vm_manager.backends.registry import DEFAULT_BACKEND
from vm_manager.diagnostics.errors import VmError
from vm_manager.domain.deadline import CancelToken
from vm_manager.domain.instance import Instance
from vm_manager.host.paths import data_home
from vm_manager.state.layout import DataDir
from vm_manager.state.store import InstanceStore

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from vm_manager.app.images import Pruned, Pulled
    from vm_manager.app.log import LogLine, Silence
    from vm_manager.app.options import NewVm
    from vm_manager.app.up import UpOptions
    from vm_manager.diagnostics.model import Diagnostic
    from vm_manager.domain.events import Event, EventSink
    from vm_manager.domain.image import CachedImage, ImageReport
    from vm_manager.domain.instance import Snapshot
    from vm_manager.domain.network import Forward
    from vm_manager.domain.outcome import Outcome
    from vm_manager.domain.plan import Plan
    from vm_manager.domain.spec import Accelerator
    from vm_manager.vmfile.load import Project


def _ignore(event: Event) -> None:
    """For callers that do not want events."""


def _accelerator(word: str) -> Accelerator:
    from vm_manager.domain.spec import Accelerator

    return Accelerator(word)


class Manager:
    """Virtual machines below one data directory.

    Methods that take a project work on the VMs of its VMFile: all of them, or those named. Where several names are taken, one may
    be given alone; where a path is taken, it may be a text.

    data: default `$XDG_DATA_HOME/vmctl`.
    backend: for new VMs, `qemu` or `noop`.
    accelerator: for the machines that are started, whatever their specs say; None: as these say.
    max_image_bytes: how large an image may be, as a file and as a disk; None: 64 GiB as a file, 2 TiB as a disk.
    emit: receives events as they happen, from several threads.
    cancel: ends every wait when it is set.
    """

    def __init__(
        self,
        data: StrPath | None = None,
        *,
        backend: str = DEFAULT_BACKEND,
        emit: EventSink = _ignore,
        cancel: CancelToken | None = None,
        accelerator: Accelerator | str | None = None,
        max_image_bytes: int | None = None,
    ) -> None:
        # Absolute from the start: the working directory may change.
        root = (path_of(data) or data_home()).absolute()
        store = InstanceStore(DataDir(root))
        chosen = _accelerator(accelerator) if accelerator else None
        self._services = Services(store, backend, emit, cancel or CancelToken(), chosen, max_image_bytes)
        self._errors = ErrorReporter(str(root))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the connections to hypervisors; VMs go on, and a later call connects again. Idempotent.

        The end of a `with` block does it, too.
        """
        self._services.close()

    def on_error(self, handler: ErrorHandler) -> Callable[[], None]:
        """Call `handler` for every failure of this manager, as it is recorded; returns a function that unregisters the handler.

        It is called in the thread of the call that fails; for one VM of several, while the others are still worked on.
        """
        return self._errors.on_error(handler)

    def last_error(self) -> VmError | None:
        """The failure of the last call in this thread or asyncio task, or None when it succeeded."""
        return self._errors.last

    def reset_last_error(self) -> None:
        """Forget the last failure of this thread or asyncio task."""
        self._errors.forget()

    def load(self, file: StrPath | None = None) -> Project:
        """Read a VMFile; its warnings are in the project.

        Raises: `vmfile::not_found`, `vmfile::untrusted` for one that is found and not named, `vmfile::parse_failed`,
        `vmfile::validation`, `backend::not_available`.
        """
        from vm_manager.vmfile.load import load

        with self._errors.boundary():
            return load(path_of(file), platform=self._services.platform())

    def refusals(self, project: Project) -> tuple[Diagnostic, ...]:
        """Warnings of what `up` would refuse, as far as a look tells it: local images by their headers, bridges of this host.

        Raises: `backend::not_available`.
        """
        from vm_manager.app.foresight import refusals

        with self._errors.boundary():
            return tuple(found.as_warning() for found in refusals(self._services, project, project.specs))

    def up(self, project: Project, names: Names = (), options: UpOptions | None = None) -> tuple[Outcome, ...]:
        """Create, start, wait and provision, in the order of what depends on what.

        Raises: `vm::not_found`, `vm::foreign`, `state::locked`, `vmctl::usage` for provisioners and dependants that would not
        be waited for, `vmfile::validation` for what cannot be run yet and drives that would be made smaller.
        """
        from vm_manager.app.up import UpOptions, up

        with self._errors.boundary():
            return self._reported(up(self._services, project, words(names), options or UpOptions()))

    def reload(self, project: Project, names: Names = (), options: UpOptions | None = None) -> tuple[Outcome, ...]:
        """Replace VMs by new ones, each made completely before the old one is ended. Raises: as `up`."""
        from vm_manager.app.up import UpOptions, reload

        with self._errors.boundary():
            return self._reported(reload(self._services, project, words(names), options or UpOptions()))

    def plan(self, project: Project, names: Names = (), options: UpOptions | None = None) -> Plan:
        """What `up` would do; nothing is locked or changed. Raises: as `up`, and the failure of a VM that cannot be read."""
        from vm_manager.app.up import UpOptions, plan

        with self._errors.boundary():
            return plan(self._services, project, words(names), options or UpOptions())

    def down(
        self,
        project: Project,
        names: Names = (),
        *,
        destroy: bool = False,
        with_orphans: bool = False,
        timeout_s: float = 30.0,
    ) -> tuple[Outcome, ...]:
        """Stop, and with `destroy` remove. with_orphans: also what the VMFile made and defines no more.

        Raises: `vm::not_found`, `vm::foreign`, `state::locked`.
        """
        from vm_manager.app.down import down

        with self._errors.boundary():
            return self._reported(
                down(
                    self._services,
                    project,
                    words(names),
                    destroy=destroy,
                    with_orphans=with_orphans,
                    timeout_s=timeout_s,
                )
            )

    def provision(self, project: Project, names: Names = (), *, number: int | None = None) -> tuple[Outcome, ...]:
        """Run the provisioners of running VMs again, or only the one of a single VM with this number, from 1.

        Raises: `vm::not_found`, `vm::foreign`, `vm::invalid_state`, `state::locked`, `vmctl::usage` for a step that does not
        exist, `vmfile::validation` for what cannot be run yet.
        """
        from vm_manager.app.provision import provision

        with self._errors.boundary():
            return self._reported(provision(self._services, project, words(names), number=number))

    def create(self, new: NewVm, *, start: bool = False) -> tuple[Outcome, ...]:
        """Make one VM without a VMFile, and with `start` bring it up.

        Raises: `vmctl::create::invalid_vcpus`, `vmctl::create::invalid_memory`, `vmctl::create::no_image`,
        `vmctl::create::image_not_found`, `vmctl::create::name_exists`, `vmctl::usage`, `state::locked`.
        """
        from vm_manager.app.options import create

        with self._errors.boundary():
            return self._reported(create(self._services, new, start=start))

    def start(
        self,
        names: Names,
        *,
        timeout_s: float | None = None,
        discard_saved_state: bool = False,
        accept_base: bool = False,
    ) -> tuple[Outcome, ...]:
        """Power on, or let a suspended VM go on, and wait for as much as it has reached before.

        discard_saved_state: boot one that was saved to disk without what it had in memory.
        timeout_s: how long the guest may take to get ready; None: what its spec says, else what its accelerator makes reasonable.
        accept_base: take the image below a VM's disk for the one it was made on, whatever it looks like.
        Raises: `vm::not_found`, `state::locked`; `vm::invalid_state` is in the outcome of its VM, here and below.
        """
        verb = "start --discard-saved-state" if discard_saved_state else "start"
        return self._lifecycle(verb, names, timeout_s, accept_base=accept_base)

    def stop(self, names: Names, *, timeout_s: float = 30.0) -> tuple[Outcome, ...]:
        """Power off; timeout_s: for the guest to do that itself. Raises: `vm::not_found`, `state::locked`."""
        return self._lifecycle("stop", names, timeout_s)

    def restart(self, names: Names, *, timeout_s: float = 30.0) -> tuple[Outcome, ...]:
        """Stop and start; timeout_s: for the guest to shut down by itself. Raises: `vm::not_found`, `state::locked`."""
        return self._lifecycle("restart", names, timeout_s)

    def suspend(self, names: Names, *, to_disk: bool = False) -> tuple[Outcome, ...]:
        """Pause the vCPUs; to_disk: save the machine and power it off. Raises: `vm::not_found`, `state::locked`."""
        return self._lifecycle("suspend --to-disk" if to_disk else "suspend", names)

    def resume(self, names: Names) -> tuple[Outcome, ...]:
        """Undo `suspend`. Raises: `vm::not_found`, `state::locked`."""
        return self._lifecycle("resume", names)

    def migrate(self, name: str, to: StrPath) -> tuple[Outcome, ...]:
        """Move a running VM to another data directory of this host, without stopping it.

        to: the directory, or its `file:` URL.
        Raises: `vm::not_found`, `vmctl::usage`, `state::locked`; `vm::invalid_state` and `qemu::migration_failed` are in the
        outcome.
        """
        from vm_manager.app.migrate import migrate

        with self._errors.boundary():
            return self._reported(migrate(self._services, name, os.fspath(to)))

    def snapshots(self, name: str) -> tuple[Snapshot, ...]:
        """The snapshots of a VM, oldest first. Raises: `vm::not_found`, `state::corrupt`, `image::format_detection_failed`."""
        from vm_manager.app.snapshots import list_snapshots

        with self._errors.boundary():
            return list_snapshots(self._services, name)

    def create_snapshot(self, name: str, tag: str | None = None) -> tuple[Outcome, ...]:
        """Keep the disks of a VM, and while it is powered on its memory. tag: None: made from the time.

        Raises: `vm::not_found`, `vmctl::usage`, `state::locked`; `vm::invalid_state` is in the outcome, here and below.
        """
        return self._change_snapshots("snapshot create", name, tag)

    def restore_snapshot(self, name: str, tag: str) -> tuple[Outcome, ...]:
        """Go back to a snapshot; one with memory runs on from there. Raises: as `create_snapshot`."""
        return self._change_snapshots("snapshot restore", name, tag)

    def delete_snapshot(self, name: str, tag: str) -> tuple[Outcome, ...]:
        """Remove a snapshot. Raises: as `create_snapshot`."""
        return self._change_snapshots("snapshot delete", name, tag)

    def destroy(self, names: Names) -> tuple[Outcome, ...]:
        """Remove VMs in any state, wherever they came from. Raises: `vm::not_found`, `state::locked`."""
        return self._lifecycle("destroy", names)

    def names(self) -> tuple[str, ...]:
        """The names of all VMs, also of those that are being made or removed."""
        with self._errors.boundary():
            store = self._services.store
            return tuple(sorted((*store.names(), *store.leftovers())))

    def foreign(self) -> VmError | None:
        """What there is to say about directories among the VMs' that hold no VM of vmctl's; None where there are none."""
        with self._errors.boundary():
            store = self._services.store
            names = store.foreign()
            return store.foreign_error(names) if names else None

    def strays(self) -> tuple[VmError, ...]:
        """What there is to say about VMs that run, but whose directory, record or pid file is gone."""
        from vm_manager.app.strays import stray_error, strays

        with self._errors.boundary():
            found = strays(self._services)
            return tuple(stray_error(self._services, stray) for name in sorted(found) for stray in found[name])

    def status(self, name: str) -> Instance:
        """A VM as it is now. Raises: `vm::not_found`, `state::corrupt`."""
        with self._errors.boundary():
            return look(self._services, name)

    def login_command(
        self,
        name: str,
        command: Names = (),
        *,
        user: str | None = None,
        key: StrPath | None = None,
        forwards: Sequence[Forward] = (),
    ) -> list[str]:
        """OpenSSH's command line into a VM. forwards: ports of this host that it shall lead there, instead of a command.

        Raises: `vm::not_found`, `vm::invalid_state`, `ssh::failed`.
        """
        from vm_manager.app.login import login_command

        with self._errors.boundary():
            return login_command(self._services, name, words(command), user=user, key=path_of(key), forwards=forwards)

    def check_login(self, name: str, *, user: str | None = None, key: StrPath | None = None) -> None:
        """Log in to a VM once. Raises: `ssh::auth_failed`, `ssh::host_key_mismatch`, `ssh::no_key`, `ssh::failed`."""
        from vm_manager.app.login import check_login

        with self._errors.boundary():
            check_login(self._services, name, user=user, key=path_of(key))

    def why_ssh_failed(self, name: str, *, user: str | None = None, key: StrPath | None = None) -> VmError:
        """Why OpenSSH, run by `login_command`, has ended with 255: what became of the VM, or what a new login says.

        Raises: `vmctl::interrupted`.
        """
        from vm_manager.app.after_ssh import why_ssh_failed

        with self._errors.boundary():
            return why_ssh_failed(self._services, name, user=user, key=path_of(key))

    def pull_image(
        self, url: StrPath, *, name: str = "", sha256: str | None = None, sha512: str | None = None
    ) -> Pulled:
        """Put an image into the cache, from a URL or the path of a file.

        Raises: `image::download_failed`, `oci::pull_failed`, `image::checksum_mismatch`, `image::refused`, `image::too_large`,
        `vmctl::usage`.
        """
        from vm_manager.app.images import pull

        with self._errors.boundary():
            return pull(self._services, os.fspath(url), name=name, sha256=sha256, sha512=sha512)

    def images(self) -> tuple[tuple[CachedImage, ...], tuple[VmError, ...]]:
        """The images of the cache, and why VMs that may use them could not be looked at."""
        from vm_manager.app.images import listed

        with self._errors.boundary():
            return listed(self._services)

    def inspect_image(self, reference: StrPath) -> ImageReport:
        """What an image is: a file, or a URL, name or digest of the cache.

        Raises: `vmctl::create::image_not_found`, `image::format_detection_failed`.
        """
        from vm_manager.app.images import inspect

        with self._errors.boundary():
            return inspect(self._services, os.fspath(reference))

    def convert_image(
        self, reference: StrPath, target: StrPath, *, format: str = "qcow2", compress: bool = False
    ) -> ImageReport:
        """Write an image as a new file of another format.

        Raises: `image::conversion_failed`, `image::refused`, `image::format_detection_failed`, `host::disk_full`,
        `vmctl::create::image_not_found`, `vmctl::usage` for a target that exists.
        """
        from vm_manager.app.images import convert_image

        with self._errors.boundary():
            return convert_image(
                self._services, os.fspath(reference), path_of(target), format=format, compress=compress
            )

    def remove_images(self, references: Names) -> tuple[CachedImage, ...]:
        """Remove images from the cache, all or none. Raises: `vmctl::create::image_not_found`, `vm::invalid_state`."""
        from vm_manager.app.images import remove

        with self._errors.boundary():
            return remove(self._services, words(references))

    def prune_images(self, *, dry_run: bool = False) -> Pruned:
        """Remove the images that no VM's disk stands on. Raises: `state::corrupt`, `image::format_detection_failed`."""
        from vm_manager.app.images import prune

        with self._errors.boundary():
            return prune(self._services, dry_run=dry_run)

    @contextmanager
    def console(self, name: str) -> Iterator[Callable[[], socket.socket]]:
        """Hold a VM's serial console; the block is given what connects to it.

        Raises: `vm::not_found`, `vm::invalid_state`, `state::locked`, `backend::not_available`.
        """
        from vm_manager.app.console import console

        with self._errors.boundary(), console(self._services, name) as connect:
            yield connect

    def picture(self, name: str) -> bytes:
        """What a VM's screen shows now, as a PNG file, also while another command works on the VM.

        Raises: `vm::not_found`, `vm::invalid_state`, `backend::not_available`, `qemu::qmp_connect_failed`,
        `qemu::qmp_command_failed`.
        """
        from vm_manager.app.screen import picture

        with self._errors.boundary():
            return picture(self._services, name)

    def vnc_socket(self, name: str) -> Path:
        """The UNIX socket at which a VM's screen, keyboard and mouse are served by VNC (RFC 6143).

        Raises: `vm::not_found`, `vm::invalid_state`, `backend::not_available`.
        """
        from vm_manager.app.screen import vnc_socket

        with self._errors.boundary():
            return vnc_socket(self._services, name)

    def log(
        self, name: str, logs: Names, *, lines: int | None = None, follow: bool = False
    ) -> Iterator[LogLine | Silence]:
        """The lines of a VM's logs, of those that have none a `Silence`.

        logs: see `Log`, and those of its backend, such as "qemu". lines: of each, its last ones only.
        follow: go on with what is added, until the VM is removed.
        Raises: `vm::not_found`, `backend::not_available` for a log that its backend does not have, `vmctl::interrupted`.
        """
        from vm_manager.app.log import read_logs

        with self._errors.boundary():
            yield from read_logs(self._services, name, words(logs), lines=lines, follow=follow)

    def _change_snapshots(self, verb: str, name: str, tag: str | None) -> tuple[Outcome, ...]:
        from vm_manager.app.snapshots import change_snapshots
        from vm_manager.planning.table import Verb

        with self._errors.boundary():
            return self._reported(change_snapshots(self._services, Verb(verb), name, tag))

    def _lifecycle(
        self, verb: str, names: Names, timeout_s: float | None = None, *, accept_base: bool = False
    ) -> tuple[Outcome, ...]:
        from vm_manager.app.lifecycle import lifecycle
        from vm_manager.planning.table import Verb

        with self._errors.boundary():
            done = lifecycle(self._services, Verb(verb), words(names), timeout_s=timeout_s, accept_base=accept_base)
            return self._reported(done)

    def _reported(self, outcomes: tuple[Outcome, ...]) -> tuple[Outcome, ...]:
        """Failures of single VMs are in their outcomes and are not raised; they count all the same.

        Most have been reported when they happened, and none is told twice.
        """
        for outcome in outcomes:
            if outcome.error is not None:
                self._errors.report(outcome.error)
        return outcomes
