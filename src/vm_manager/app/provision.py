"""Running the provisioners of a VM that is ready."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from vm_manager.app.fleet import on_each
from vm_manager.app.holding import Vm, hold, vms
from vm_manager.app.inputs import with_contents
from vm_manager.app.ownership import require_own
from vm_manager.app.places import user_labels
from vm_manager.app.reach import credentials, endpoint_of, open_session, require_working, wait_for_guest
from vm_manager.app.services import Services
from vm_manager.app.steps import step
from vm_manager.diagnostics.errors import (
    Interrupted,
    NoShell,
    ProvisionFailed,
    SshFailed,
    Usage,
    VmError,
)
from vm_manager.diagnostics.model import Label
from vm_manager.domain.deadline import Deadline
from vm_manager.domain.instance import Progress
from vm_manager.domain.outcome import Done, Outcome
from vm_manager.domain.plan import Action
from vm_manager.domain.spec import VmSpec
from vm_manager.guest.boot import Phase, probe
from vm_manager.guest.login_shell import require_shell
from vm_manager.guest.progress import Console
from vm_manager.guest.provision import Provisioning
from vm_manager.guest.ssh import SshSession
from vm_manager.planning.steps import after_step, steps_to_do
from vm_manager.planning.table import Verb
from vm_manager.vmfile.load import Project

# So long may a guest that shuts down take from the end of its logins to its own, and so long may its console be silent then;
# one whose sshd goes on answering for a while does not shut down.
_SHUTDOWN_S, _SILENT_S, _SETTLED_S = 120.0, 15.0, 5.0
_LOOK_S = 0.2


def provision(
    services: Services, project: Project, names: Sequence[str], *, number: int | None = None
) -> tuple[Outcome, ...]:
    """Run the provisioners of running VMs again, but for those that run once and have succeeded.

    number: of the only step to run, from 1, whether or not it runs once; for a single VM.
    Raises: `vm::not_found`, `vm::foreign`, `vm::invalid_state`, `state::locked`, `vmctl::usage` for a step that does not
    exist, `vmfile::validation` for what cannot be run yet; failures of the steps are in the outcomes.
    """
    project.require_runnable(names)
    specs = {spec.name: with_contents(spec) for spec in project.select(names)}
    if number is not None:
        _require_step(tuple(specs.values()), number)
    with hold(services, specs, "vmctl provision") as held:
        for name in (name for name in specs if name not in held.failures):
            held.of(services, name)
        require_own(held.instances.values(), project.path)
        for instance in held.instances.values():
            require_working(services, instance, Verb.PROVISION)
        there = vms(services, held.instances)

        def work(vm: str) -> tuple[Done, ...]:
            spec = specs[vm]
            progress = there[vm].record.progress
            anew = replace(progress, done=()) if number is None else progress
            chosen = steps_to_do(spec, anew) if number is None else (number - 1,)
            if not spec.provisioners:
                return (Done(Action.PROVISION),)
            done = run_steps(services, there[vm], spec, project, chosen, anew)
            left_out = len(spec.provisioners) - len(chosen) if number is None else 0
            return (replace(done, steps_left_out=left_out),)

        return on_each(services, tuple(there), work, held.failures)


def _require_step(specs: Sequence[VmSpec], number: int) -> None:
    if len(specs) != 1:
        raise Usage(
            "a single step needs a single VM, but {count} are selected",
            {"count": len(specs)},
            help=(f"name it, as in `vmctl provision {specs[0].name}`",),
        )
    count = len(specs[0].provisioners)
    if not 1 <= number <= count:
        known = f"its last one is step {count}" if count else "it has none: add a `provision` block to the VMFile"
        raise Usage("VM '{name}' has no step {number}", {"name": specs[0].name, "number": number}, help=(known,))


def run_steps(
    services: Services, vm: Vm, spec: VmSpec, project: Project, chosen: Sequence[int], progress: Progress
) -> Done:
    """Run the provisioners of `spec` with these indexes; how far they came is in the record at every moment.

    progress: what counts as done from the moment of a successful login on.
    Raises: `provision::failed`, labelled with the step in the VMFile, `ssh::failed`, `qemu::exited`.
    """
    left, done = list(chosen), Done(Action.PROVISION, steps=len(chosen))
    with step(services, vm.name, "provision", done) as current:

        def ended(index: int) -> None:
            vm.note(after_step(spec, vm.record.progress, index))
            left.remove(index)

        watch = _Watch(services, vm, lambda: left[0] + 1 if left else len(spec.provisioners))
        try:
            with _session(services, vm, spec) as session:
                user = credentials(services, vm.record).user
                _require_shell_of(
                    project,
                    spec,
                    partial(
                        require_shell, session, vm.name, user, Deadline(None, services.cancel), watch.require_alive
                    ),
                )
                # Not before: whoever cannot even log in has undone nothing.
                known = replace(vm.record.spec, provisioners=spec.provisioners)
                vm.write(replace(vm.record, spec=known, progress=progress))
                run = Provisioning(
                    name=vm.name,
                    session=session,
                    log=vm.files.provision_log,
                    emit=services.emit,
                    deadline=Deadline(None, services.cancel),
                    require_alive=watch.require_alive,
                    require_shell=lambda: require_shell(
                        session, vm.name, user, Deadline(None, services.cancel), watch.require_alive
                    ),
                    shares=vm.record.spec.mounts,
                )
                run.run(spec.provisioners, chosen, ended)
        except VmError as error:
            failure = watch.behind(error) if isinstance(error, SshFailed) else error
            span = spec.provisioners[left[0]].span if left else None
            if span and not failure.diagnostic.labels and not isinstance(failure, Interrupted):
                failure.enrich(labels=(Label(project.source, span, "this step"),))
            raise failure from (error.__cause__ if failure is error else error)
    return current.done


def _require_shell_of(project: Project, spec: VmSpec, require: Callable[[], None]) -> None:
    """Point at the user in the VMFile when that user's login runs no commands, before any step could have changed it."""
    try:
        require()
    except NoShell as error:
        raise error.enrich(labels=user_labels(project, spec)) from error.__cause__


def _session(services: Services, vm: Vm, spec: VmSpec) -> SshSession:
    """A session in a guest that has been ready; it may be rebooting by now, and is waited for. Raises: see `wait_until_ready`."""
    endpoint = endpoint_of(services, vm.record)
    if endpoint is None or probe(endpoint) is not Phase.LOGIN:
        wait_for_guest(services, vm.record, spec.boot_timeout_s, login_only=True)
    return open_session(services, vm.record)


class _Watch:
    """Sees what befalls a guest while its steps run. number: tells the step that does."""

    def __init__(self, services: Services, vm: Vm, number: Callable[[], int]) -> None:
        self._services, self._vm, self._machine, self._number = services, vm, vm.machine, number
        self._restarts = self._machine.restarts()

    def require_alive(self) -> None:
        """Raises: `provision::failed` when the guest has restarted; as `Machine.require_alive`."""
        self._machine.require_alive()
        if self._machine.restarts() > self._restarts:
            self._vm.note(replace(self._vm.record.progress, ready=False))
            raise self._rebooted()

    def behind(self, lost: SshFailed) -> VmError:
        """What a lost connection was the first sign of: an orderly shutdown closes it before anything else is to be seen."""
        number, name = self._number(), self._vm.name
        try:
            phase = self._await_end()
        except VmError as deeper:
            return deeper.enrich(notes=lost.diagnostic.notes)
        state, way = _STILL_THERE[phase]
        return SshFailed(
            "the SSH connection was lost during provisioning step {number}: {state}",
            {"number": number, "state": state},
            help=(way.format(name=name), f"run `vmctl up` to continue from step {number}"),
            notes=lost.diagnostic.notes,
            retryable=True,
        )

    def _await_end(self) -> Phase:
        """How the guest can be reached when it has neither ended nor restarted."""
        console = Console(self._vm.files.console_log)
        limit, settled, silent = (self._within(seconds) for seconds in (_SHUTDOWN_S, _SETTLED_S, _SILENT_S))
        while True:
            self.require_alive()
            endpoint = self._machine.observe().ssh
            phase = probe(endpoint) if endpoint else Phase.BOOT
            if limit.expired or silent.expired or (settled.expired and phase is Phase.LOGIN):
                return phase
            if console.read() and phase is not Phase.LOGIN:
                silent = self._within(_SILENT_S)
            limit.pause(_LOOK_S)

    def _within(self, seconds: float) -> Deadline:
        return Deadline(seconds, self._services.cancel)

    def _rebooted(self) -> ProvisionFailed:
        number, name = self._number(), self._vm.name
        return ProvisionFailed(
            "the guest rebooted during provisioning step {number}",
            {"number": number},
            help=(
                f"run `vmctl up`: it waits for the guest and continues from step {number}",
                f"if it was not meant to, its console shows what happened before: `vmctl log {name}`",
            ),
            evidence=tuple(shown for shown in self._machine.evidence() if shown.kind == "console"),
        )


_STILL_THERE = {
    Phase.LOGIN: (
        "the guest runs, and its sshd answers",
        "if the step restarts sshd or the network, let it do so in the background, as its last command",
    ),
    Phase.SSHD: (
        "the guest runs, but nothing listens on its SSH port any more",
        "start sshd again, through the guest's console: `vmctl console {name}`",
    ),
    Phase.BOOT: (
        "the guest runs, but its network no longer answers",
        "if the step cut the network, change it to leave the network card and port 22 alone; the guest's serial console works "
        "without one, `vmctl console {name}`",
    ),
}
