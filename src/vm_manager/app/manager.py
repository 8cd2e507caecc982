"""The library's front door: one object per data directory, one method per thing that can be done.

The modules behind the methods are imported when they are called: listing VMs must not cost what creating one does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vm_manager.app.errors import ErrorHandler, ErrorReporter
from vm_manager.app.services import Services
from vm_manager.backends.registry import DEFAULT_BACKEND
from vm_manager.diagnostics.errors import VmError
from vm_manager.domain.deadline import CancelToken
from vm_manager.domain.instance import Instance
from vm_manager.host.paths import data_home
from vm_manager.state.layout import DataDir
from vm_manager.state.store import InstanceStore

if TYPE_CHECKING:
    from vm_manager.app.fleet import Outcome
    from vm_manager.app.options import NewVm
    from vm_manager.domain.events import Event, EventSink
    from vm_manager.domain.instance import Snapshot
    from vm_manager.vmfile.load import Project


def _ignore(event: Event) -> None:
    """For callers that do not want to be told."""


class Manager:
    """Virtual machines below one data directory.

    data: default `$XDG_DATA_HOME/vmctl`.
    backend: for new VMs, `qemu` or `noop`.
    emit: is told what happens while it happens, from several threads.
    cancel: ends every wait when it is set.
    Methods that take a project work on the VMs of its VMFile: all of them, or those named.
    """

    def __init__(
        self,
        data: Path | None = None,
        *,
        backend: str = DEFAULT_BACKEND,
        emit: EventSink = _ignore,
        cancel: CancelToken | None = None,
    ) -> None:
        store = InstanceStore(DataDir(data or data_home()))
        self._services = Services(store, backend, emit, cancel or CancelToken())
        self._errors = ErrorReporter()

    def on_error(self, handler: ErrorHandler) -> Callable[[], None]:
        """Be told of every failure of this manager, as it is recorded; returns a function that unregisters the handler."""
        return self._errors.on_error(handler)

    def last_error(self) -> VmError | None:
        """The failure of the last call, or None when it succeeded."""
        return self._errors.last

    def reset_last_error(self) -> None:
        """Forget the last failure."""
        self._errors.last = None

    def load(self, file: Path | None = None) -> Project:
        """Read a VMFile; its warnings are in the project.

        Raises: `vmfile::not_found`, `vmfile::parse_failed`, `vmfile::validation`, `backend::not_available`.
        """
        from vm_manager.vmfile.load import load

        with self._errors.boundary():
            return load(file, platform=self._services.platform())

    def up(
        self, project: Project, names: Sequence[str] = (), *, provision: bool = True, adopting: bool = False
    ) -> tuple[Outcome, ...]:
        """Create, start, wait and provision. adopting: take over VMs that were made elsewhere.

        Raises: `vm::not_found`, `vm::foreign`, `state::locked`, `vmfile::validation` for what cannot be run yet.
        """
        from vm_manager.app.up import up

        with self._errors.boundary():
            return self._reported(up(self._services, project, names, provision=provision, adopting=adopting))

    def reload(
        self, project: Project, names: Sequence[str] = (), *, provision: bool = True, stop_timeout_s: float = 30.0
    ) -> tuple[Outcome, ...]:
        """Replace VMs by new ones. Raises: as `up`."""
        from vm_manager.app.up import reload

        with self._errors.boundary():
            return self._reported(
                reload(self._services, project, names, provision=provision, stop_timeout_s=stop_timeout_s)
            )

    def down(
        self,
        project: Project,
        names: Sequence[str] = (),
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
                down(self._services, project, names, destroy=destroy, with_orphans=with_orphans, timeout_s=timeout_s)
            )

    def provision(self, project: Project, names: Sequence[str] = ()) -> tuple[Outcome, ...]:
        """Run the provisioners of running VMs again.

        Raises: `vm::not_found`, `vm::foreign`, `vm::invalid_state`, `vmfile::validation` for what cannot be run yet.
        """
        from vm_manager.app.provision import provision

        with self._errors.boundary():
            return self._reported(provision(self._services, project, names))

    def create(self, new: NewVm, *, start: bool = False) -> tuple[Outcome, ...]:
        """Make one VM without a VMFile, and with `start` bring it up.

        Raises: `vmctl::create::invalid_vcpus`, `vmctl::create::invalid_memory`, `vmctl::create::no_image`,
        `vmctl::create::image_not_found`, `vmctl::create::name_exists`, `vmctl::usage`, `state::locked`.
        """
        from vm_manager.app.options import create

        with self._errors.boundary():
            return self._reported(create(self._services, new, start=start))

    def start(
        self, names: Sequence[str], *, timeout_s: float | None = None, discard_saved_state: bool = False
    ) -> tuple[Outcome, ...]:
        """Power on, or let a suspended VM go on, and wait for as much as it has reached before.

        discard_saved_state: boot one that was saved to disk without what it had in memory.
        timeout_s: how long the guest may take to get ready; None: what its spec says, else what its accelerator makes reasonable.
        Raises: `vm::not_found`, `state::locked`; `vm::invalid_state` is in the outcome of its VM, here and below.
        """
        return self._lifecycle("start --discard-saved-state" if discard_saved_state else "start", names, timeout_s)

    def stop(self, names: Sequence[str], *, timeout_s: float = 30.0) -> tuple[Outcome, ...]:
        """Power off; timeout_s: for the guest to do that itself. Raises: `vm::not_found`, `state::locked`."""
        return self._lifecycle("stop", names, timeout_s)

    def restart(self, names: Sequence[str], *, timeout_s: float = 30.0) -> tuple[Outcome, ...]:
        """Stop and start; timeout_s: for the guest to shut down by itself. Raises: `vm::not_found`, `state::locked`."""
        return self._lifecycle("restart", names, timeout_s)

    def suspend(self, names: Sequence[str], *, to_disk: bool = False) -> tuple[Outcome, ...]:
        """Pause the vCPUs; to_disk: save the machine and power it off. Raises: `vm::not_found`, `state::locked`."""
        return self._lifecycle("suspend --to-disk" if to_disk else "suspend", names)

    def resume(self, names: Sequence[str]) -> tuple[Outcome, ...]:
        """Undo `suspend`. Raises: `vm::not_found`, `state::locked`."""
        return self._lifecycle("resume", names)

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

    def destroy(self, names: Sequence[str]) -> tuple[Outcome, ...]:
        """Remove VMs in any state, wherever they came from. Raises: `vm::not_found`, `state::locked`."""
        return self._lifecycle("destroy", names)

    def names(self) -> tuple[str, ...]:
        """The names of all VMs, also of those that are being made or removed."""
        with self._errors.boundary():
            store = self._services.store
            return tuple(sorted((*store.names(), *store.rests())))

    def status(self, name: str) -> Instance:
        """A VM as it is now. Raises: `vm::not_found`, `state::corrupt`."""
        with self._errors.boundary():
            return self._services.look(name)

    def login_command(
        self, name: str, command: Sequence[str] = (), *, user: str | None = None, key: Path | None = None
    ) -> list[str]:
        """OpenSSH's command line into a VM. Raises: `vm::not_found`, `vm::invalid_state`, `ssh::failed`."""
        from vm_manager.app.login import login_command

        with self._errors.boundary():
            return login_command(self._services, name, command, user=user, key=key)

    def _change_snapshots(self, verb: str, name: str, tag: str | None) -> tuple[Outcome, ...]:
        from vm_manager.app.snapshots import change_snapshots
        from vm_manager.planning.snapshots import SnapshotVerb

        with self._errors.boundary():
            return self._reported(change_snapshots(self._services, SnapshotVerb(verb), name, tag))

    def _lifecycle(self, verb: str, names: Sequence[str], timeout_s: float | None = None) -> tuple[Outcome, ...]:
        from vm_manager.app.lifecycle import lifecycle
        from vm_manager.planning.lifecycle import Verb

        with self._errors.boundary():
            return self._reported(lifecycle(self._services, Verb(verb), names, timeout_s=timeout_s))

    def _reported(self, outcomes: tuple[Outcome, ...]) -> tuple[Outcome, ...]:
        """Failures of single VMs are in their outcomes and are not raised; they count all the same."""
        for outcome in outcomes:
            if outcome.error is not None:
                self._errors.report(outcome.error)
        return outcomes
