"""What `vmctl up` has to do: wanted VMs against what there is. All decisions are here; whoever applies a plan takes none."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from vm_manager.domain.instance import Instance, VmState
from vm_manager.domain.plan import Action, Operation, Plan
from vm_manager.domain.spec import VmSpec
from vm_manager.planning.changes import changed_at_creation, changed_at_start


def plan_up(
    specs: Iterable[VmSpec],
    instances: Mapping[str, Instance],
    cached_urls: Collection[str],
    *,
    guests: bool = True,
    provision: bool = True,
) -> Plan:
    """The operations that make every VM of `specs` exist, run, be ready and be provisioned.

    instances: what there is, by name.
    cached_urls: the image URLs that need no download.
    guests: whether the backend runs guests that can be waited for and provisioned.
    provision: False leaves out the provisioners.
    """
    operations: list[Operation] = []
    for spec in specs:
        instance = instances.get(spec.name)
        if instance is None:
            if spec.image.url and spec.image.url not in cached_urls:
                operations.append(_operation(spec, Action.FETCH, "the image is not in the cache"))
            operations.append(_operation(spec, Action.CREATE, "does not exist"))
        todo = [*_run(spec, instance), *(_reach(spec, instance, provision) if guests else ())]
        operations += todo or [_operation(spec, Action.NOTHING, _already_running(spec, instance))]
    return Plan(tuple(operations))


def _run(spec: VmSpec, instance: Instance | None) -> Iterable[Operation]:
    """Power on."""
    if instance is None:
        yield _operation(spec, Action.START, "is new")
    elif not instance.alive:
        yield _operation(spec, Action.START, f"{_why_start(instance)}{_kept(spec, instance)}")
    elif instance.state is VmState.SUSPENDED:
        yield _operation(spec, Action.RESUME, "is suspended")


def _why_start(instance: Instance) -> str:
    return "could not be started before" if instance.state is VmState.FAILED else f"is {instance.state}"


def _reach(spec: VmSpec, instance: Instance | None, provision: bool) -> Iterable[Operation]:
    """Wait and provision, as far as each is still to be done since the last start."""
    progress = instance.record.progress if instance and instance.alive else None
    if not (progress and progress.ready) and spec.has_seed and spec.is_reachable:
        yield _operation(spec, Action.WAIT, "is not ready yet" if progress else "is being started")
    done = progress.steps_done if progress else 0
    if provision and done < len(spec.provisioners):
        cause = f"{len(spec.provisioners) - done} of {len(spec.provisioners)} steps to do"
        yield _operation(spec, Action.PROVISION, cause, first_step=done)


def _already_running(spec: VmSpec, instance: Instance | None) -> str:
    if instance is None:
        return "already running"
    changed = changed_at_start(instance.record.spec, spec)
    restart = f"; {', '.join(changed)} changed: takes effect after `vmctl down`" if changed else ""
    return f"already running{restart}{_kept(spec, instance)}"


def _kept(spec: VmSpec, instance: Instance) -> str:
    changed = changed_at_creation(instance.record.spec, spec)
    return f"; {', '.join(changed)} changed: takes effect after `vmctl down --destroy`" if changed else ""


def _operation(spec: VmSpec, action: Action, cause: str, first_step: int = 0) -> Operation:
    return Operation(spec.name, action, cause, first_step, spec.span)
