"""`vmctl list`."""

from __future__ import annotations

from vm_manager.app.manager import Manager
from vm_manager.cli.session import JsonOption
from vm_manager.cli.settings import current
from vm_manager.diagnostics.errors import NotFoundError, VmError
from vm_manager.domain.instance import Instance
from vm_manager.ui.tables import list_lines


def list_vms(json: JsonOption = False) -> None:
    """List all VMs. With --quiet, names only."""
    vms, terminal = Manager(), current.terminal
    if current.quiet and not json:
        for name in vms.names():
            terminal.say(name)
        return
    instances, failures = _look_at_all(vms)
    if json:
        from vm_manager.ui.documents import diagnostic_items, document, list_item

        diagnostics = diagnostic_items(failure.diagnostic for failure in failures)
        terminal.say_raw(document(vms=[list_item(instance) for instance in instances], diagnostics=diagnostics))
    else:
        for line in list_lines(instances):
            terminal.say(line)
    for failure in failures:
        terminal.show(failure.as_warning())


def _look_at_all(vms: Manager) -> tuple[list[Instance], list[VmError]]:
    """One VM that cannot be read must not hide the others."""
    instances, failures = [], []
    for name in vms.names():
        try:
            instances.append(vms.status(name))
        except NotFoundError:
            continue  # destroyed while we looked
        except VmError as error:
            failures.append(error)
    if (foreign := vms.foreign()) is not None:
        failures.append(foreign)
    failures += vms.strays()
    return instances, failures
