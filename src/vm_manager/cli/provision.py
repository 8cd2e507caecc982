"""`vmctl provision`."""

from __future__ import annotations

from vm_manager.cli.session import FileOption, NameOption, NamesArgument, finish, load_project, manager, selected


def provision(names: NamesArgument = None, file: FileOption = None, name: NameOption = None) -> None:
    """Run the provisioners of running VMs again."""
    with manager() as vms:
        project = load_project(vms, file)
        outcomes = vms.provision(project, selected(names, name))
    finish(outcomes)
