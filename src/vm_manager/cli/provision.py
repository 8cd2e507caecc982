"""`vmctl provision`."""

from __future__ import annotations

from vm_manager.cli.session import (
    FileOption,
    JsonOption,
    NameOption,
    NamesArgument,
    load_project,
    selected,
    work,
)


def provision(
    names: NamesArgument = None, file: FileOption = None, name: NameOption = None, json: JsonOption = False
) -> None:
    """Run the provisioners of running VMs again."""
    with work(json=json) as command:
        project = load_project(command.vms, file)
        command.done(command.vms.provision(project, selected(names, name)))
