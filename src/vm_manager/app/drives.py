"""The drives that a VMFile asks for, against the disks that are there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vm_manager.domain.instance import Instance
from vm_manager.domain.sizes import exact_size
from vm_manager.domain.spec import VmSpec
from vm_manager.planning.changes import smaller_drives
from vm_manager.vmfile.load import Project
from vm_manager.vmfile.problems import Problems


def require_no_smaller_drives(project: Project, specs: Iterable[VmSpec], instances: Mapping[str, Instance]) -> None:
    """Raises: `vmfile::validation` where the disk of a drive is larger than its VMFile says, for all of them at once."""
    problems = Problems(project.source)
    for spec in specs:
        for drive, size_bytes in smaller_drives(instances[spec.name], spec) if spec.name in instances else ():
            assert drive.span is not None, "a VMFile's drive has a place in it"
            size = exact_size(size_bytes)
            written = f'"{size.replace(" ", "")}"'
            problems.add(
                drive.span, f"drive '{drive.name}' has {size} and cannot be made smaller", "smaller than its disk",
                f"write `size={written}`, or give the new drive another name", instead=written,
            )  # fmt: skip
    problems.raise_if_any()
