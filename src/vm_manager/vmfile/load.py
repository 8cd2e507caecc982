"""From a path to specs: finding the VMFile, reading it, and all that is wrong with it at once."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vm_manager.diagnostics.errors import VmFileError, VmFileNotFound, VmFileParseFailed, VmNotFound
from vm_manager.diagnostics.model import Diagnostic, Label, Subject
from vm_manager.diagnostics.spans import Source, Span
from vm_manager.domain.names import closest
from vm_manager.domain.platform import Platform
from vm_manager.domain.spec import VmSpec
from vm_manager.vmfile.blocks import Later
from vm_manager.vmfile.decode import decode
from vm_manager.vmfile.find import find, no_file
from vm_manager.vmfile.input_files import UnfitFile, read_input
from vm_manager.vmfile.other_languages import language_of
from vm_manager.vmfile.parse import parse
from vm_manager.vmfile.pending import reject_unsupported, unsupported_in
from vm_manager.vmfile.problems import Problems
from vm_manager.vmfile.resolve import resolve
from vm_manager.vmfile.rules import check
from vm_manager.vmfile.rules.setting import Setting
from vm_manager.vmfile.secrets import quotable
from vm_manager.vmfile.typography import foreign_mark

_MAX_BYTES = 1024 * 1024
# Source: the Unicode standard, section 23.8; the longer one first, as it begins with the other.
_ENCODINGS = (
    (b"\xff\xfe\0\0", "UTF-32"),
    (b"\0\0\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)


@dataclass(frozen=True)
class Project:
    """A VMFile and the VMs that it defines.

    path: its real path, which VMs that were made from it keep as their origin.
    source: its text without the values of environment variables, which may be secrets.
    in_parent_directory: whether it was found in a parent of the working directory.
    warnings: what is allowed, but probably not what is wanted, in the order of the file.
    later: by VM, what it uses that this version cannot run yet.
    """

    path: Path
    source: Source
    specs: tuple[VmSpec, ...]
    in_parent_directory: bool = False
    warnings: tuple[Diagnostic, ...] = ()
    later: Mapping[str, tuple[Later, ...]] = field(default_factory=dict)

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

    def with_dependencies(self, names: Sequence[str]) -> tuple[VmSpec, ...]:
        """The VMs of these names and all that they depend on, in the file's order, or all when no name is given.

        Raises: `vm::not_found`.
        """
        found = {spec.name for spec in self.select(names)}
        specs = {spec.name: spec for spec in self.specs}
        pending = list(found)
        while pending:
            new = set(specs[pending.pop()].depends_on) - found
            found |= new
            pending += new
        return tuple(spec for spec in self.specs if spec.name in found)

    def require_runnable(self, names: Sequence[str]) -> None:
        """Refuse what this version of vmctl cannot run yet, in all VMs of these names at once.

        Raises: `vm::not_found`, `vmfile::validation`.
        """
        problems = Problems(self.source)
        for spec in self.select(names):
            reject_unsupported(self.later.get(spec.name, ()), problems)
        problems.raise_if_any()


def load(file: Path | None = None, *, directory: Path | None = None, platform: Platform | None = None) -> Project:
    """The project of a VMFile.

    file: the VMFile, whoever wrote it; None: the caller's own `VMFile.kdl` in `directory` (default: the working directory) or
    in the nearest parent.
    platform: what its VMs are to run on; None: nothing is said about that.
    Raises: `vmfile::not_found`, `vmfile::untrusted`, `vmfile::parse_failed`, `vmfile::validation`.
    """
    start = directory or _working_directory()
    path = file if file is not None else find(start)
    whole = Source(_shown(path, start), _read(path))
    if (language := language_of(whole.text)) is not None:
        raise VmFileParseFailed(
            "{file} is {language}, not a VMFile", {"file": whole.name, "language": language}, help=(_KDL,)
        )
    source = _quotable(whole)
    problems = Problems(source)
    real = path.resolve()
    try:
        vms = decode(parse(whole, source), problems)
        check(vms, Setting(problems, real.parent, platform))
        problems.raise_if_any()
    except VmFileError as error:
        _require_merged(source)
        if typographic := foreign_mark(error, whole, source):
            raise typographic from None
        raise
    return Project(
        path=real,
        source=source,
        specs=resolve(vms, real.parent),
        in_parent_directory=file is None and real.parent != start.resolve(),
        warnings=problems.warnings,
        later={vm.text: tuple(unsupported_in(vm)) for vm in vms},
    )


_KDL = 'a VMFile is KDL: write vm "web" { image "disk.qcow2" }, or pass another file with `--file PATH`'


def _quotable(source: Source) -> Source:
    """The source as diagnostics may quote it; nothing is said about the lines of a file that is no VMFile."""
    found = quotable(source)
    if found is None:
        raise VmFileParseFailed(
            "{file} does not look like a VMFile: it has no vm block",
            {"file": source.name},
            help=('add a block: vm "web" { image "disk.qcow2" }, or use another file with --file',),
        )
    return found


def _working_directory() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise VmFileNotFound("the working directory no longer exists", help=("change to another directory",)) from error


def _read(path: Path) -> str:
    name = {"path": str(path)}
    try:
        content = read_input(path, _MAX_BYTES)
    except UnfitFile as error:
        help = ("use a VMFile: a text file of at most 1 MiB",)
        raise VmFileParseFailed("{path} {problem}", {**name, "problem": error.problem}, help=help) from None
    except (FileNotFoundError, IsADirectoryError):
        raise no_file(path) from None
    except OSError as error:
        raise VmFileParseFailed("{path} cannot be read", name, help=("use a file that you can read",)) from error
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise VmFileParseFailed("{path} is not UTF-8", name, help=(_as_utf8(path, content),)) from None
    if "\0" in text:
        raise VmFileParseFailed("{path} is a binary file", name, help=("use a VMFile, which is a text file",))
    return text


def _as_utf8(path: Path, content: bytes) -> str:
    """How a text of another encoding becomes one of ours; a file that is no text at all does not."""
    encoding = next((name for mark, name in _ENCODINGS if content.startswith(mark)), None)
    if encoding is None and b"\0" in content:
        return "it is a binary file: use a VMFile, which is a text file"
    source, target = shlex.quote(str(path)), shlex.quote(f"{path}.utf-8")
    return f"save it as UTF-8, as with `iconv -f {encoding or 'WINDOWS-1252'} -t UTF-8 {source} > {target}`"


def _shown(path: Path, start: Path) -> str:
    try:
        return str(path.relative_to(start))
    except ValueError:
        return str(path)


_CONFLICT = (
    re.compile(r"^<{7} ", re.MULTILINE),
    re.compile(r"^={7}$", re.MULTILINE),
    re.compile(r"^>{7} ", re.MULTILINE),
)


def _require_merged(source: Source) -> None:
    """Of a VMFile that is wrong, in the words of git's marks in it. Raises: `vmfile::parse_failed`, at the first of them."""
    marks: list[int] = []
    for mark in _CONFLICT:
        found = mark.search(source.text, marks[-1] if marks else 0)
        if found is None:
            return
        marks.append(found.start())
    raise VmFileParseFailed(
        "{file} has an unresolved merge conflict",
        {"file": source.name},
        labels=(Label(source, Span(marks[0], marks[0] + 7), "begins here"),),
        help=("keep one of the two sides, and remove the lines that begin with <<<<<<<, ======= and >>>>>>>",),
    )
