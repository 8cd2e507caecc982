"""From a path to specs: finding the VMFile, reading it, and all that is wrong with it at once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vm_manager.diagnostics.errors import VmFileNotFound, VmFileParseFailed, VmNotFound
from vm_manager.diagnostics.model import Subject
from vm_manager.diagnostics.spans import Source
from vm_manager.domain.names import closest
from vm_manager.domain.spec import VmSpec
from vm_manager.vmfile.decode import decode
from vm_manager.vmfile.parse import parse
from vm_manager.vmfile.problems import Problems
from vm_manager.vmfile.resolve import resolve

FILE_NAME = "VMFile.kdl"
_MAX_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Project:
    """A VMFile and the VMs that it defines.

    path: its real path, which VMs that were made from it keep as their origin.
    found_above: whether it was found in a parent of the working directory.
    """

    path: Path
    source: Source
    specs: tuple[VmSpec, ...]
    found_above: bool = False

    def select(self, names: Sequence[str]) -> tuple[VmSpec, ...]:
        """The VMs of these names in the file's order, or all when no name is given. Raises: `vm::not_found`."""
        known = tuple(spec.name for spec in self.specs)
        for name in names:
            if name not in known:
                near = closest(name, known)
                meant = f"did you mean '{near}'?" if near else f"it defines {', '.join(known)}"
                raise VmNotFound(
                    "{file} defines no VM '{name}'",
                    {"file": self.path.name, "name": name},
                    help=(meant,),
                    subject=Subject(vm=name),
                )
        return tuple(spec for spec in self.specs if not names or spec.name in names)


def load(file: Path | None = None, *, directory: Path | None = None) -> Project:
    """The project of a VMFile.

    file: the VMFile; None: `VMFile.kdl` in `directory` (default: the working directory) or in the nearest parent.
    Raises: `vmfile::not_found`, `vmfile::parse_failed`, `vmfile::validation`.
    """
    start = directory or _working_directory()
    path = file if file is not None else _find(start)
    source = Source(_shown(path, start), _read(path))
    problems = Problems(source)
    real = path.resolve()
    definitions = decode(parse(source), problems)
    specs = [resolve(definition, real.parent, problems) for definition in definitions]
    problems.raise_if_any()
    return Project(real, source, tuple(spec for spec in specs if spec), file is None and real.parent != start.resolve())


def _working_directory() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise VmFileNotFound(
            "the working directory does not exist any more", help=("change to another one",)
        ) from error


def _find(start: Path) -> Path:
    for directory in (start, *start.resolve().parents):
        if os.path.isfile(directory / FILE_NAME):
            return directory / FILE_NAME
    raise VmFileNotFound("there is no {file} in {directory} or above", {"file": FILE_NAME, "directory": str(start)})


def _read(path: Path) -> str:
    name = {"path": str(path)}
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise VmFileNotFound("{path} does not exist", name) from error
    except OSError as error:
        raise VmFileParseFailed("{path} cannot be read", name, help=("name a file that you may read",)) from error
    if len(content) > _MAX_BYTES:
        raise VmFileParseFailed("{path} is larger than 1 MiB", name, help=("name a VMFile, not a disk image",))
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise VmFileParseFailed("{path} is not UTF-8", name, help=("save it as UTF-8",)) from error


def _shown(path: Path, start: Path) -> str:
    try:
        return str(path.relative_to(start))
    except ValueError:
        return str(path)
