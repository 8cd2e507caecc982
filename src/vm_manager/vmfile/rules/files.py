"""Files and directories that a VMFile names: that they are there, can be read and can serve."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vm_manager.domain.path_text import no_path
from vm_manager.domain.private_keys import loose_mode, restrict
from vm_manager.vmfile.blocks import Block, Located
from vm_manager.vmfile.flaws import Flaw
from vm_manager.vmfile.input_files import (
    KEY_BYTES,
    SCRIPT_BYTES,
    USER_DATA_BYTES,
    UnfitFile,
    read_input,
    require_input,
)
from vm_manager.vmfile.key_files import check_private_key, check_public_key
from vm_manager.vmfile.paths import absolute
from vm_manager.vmfile.rules.setting import Setting

# What validate reads has a limit in all: each of a thousand VMs may name files of its own.
_MOST_PARSED_BYTES = 2 * 1024 * 1024


# As in docker and Vagrant: debian:12, ubuntu, debian/bookworm64.
_IMAGE_NAME = re.compile(r"[a-z][a-z0-9-]{0,60}(?:/[a-z0-9-]{1,60})?(?::[\w.-]{1,60})?")
_NO_CATALOG = 'vmctl has no catalog of images: write image-url "https://…" with the URL of a cloud image'
_UNEXPANDED = "variables are not expanded: write the path itself; `~` at its beginning is your home directory"
_UNIX_ENDINGS = "save it with Unix line endings: the shell would take each carriage return for a part of the command"


def _user_data(content: bytes, name: str) -> list[Flaw]:
    from vm_manager.vmfile.user_data import check_user_data  # YAML takes longer to import than most VMFiles to read

    return check_user_data(content, name)


def _network_config(content: bytes, name: str) -> list[Flaw]:
    from vm_manager.vmfile.user_data import check_network_config

    return check_network_config(content, name)


def _script(content: bytes, name: str) -> list[Flaw]:
    first = content.split(b"\n", 1)[0]
    if b"\r\n" not in content or b"\0" in content:
        return []
    if first.startswith(b"#!"):
        if not first.endswith(b"\r"):
            return [Flaw(problem="has Windows line endings in part", help=_UNIX_ENDINGS, warning=True)]
        help_text = "save it with Unix line endings: a carriage return would become part of the interpreter's name"
        return [Flaw(problem="has Windows line endings", help=help_text)]
    return [Flaw(problem="has Windows line endings", help=_UNIX_ENDINGS, warning=True)]


@dataclass(frozen=True)
class FileRule:
    """The entry `name` of the blocks `block` (empty: the vm) names a file; what: as messages call it; example: of its path.

    check: finds what is wrong with its content; most_bytes: how large that may be. file, directory: whether it may be one.
    private: whether nobody else may read it.
    """

    block: str
    name: str
    what: str
    example: str
    check: Callable[[bytes, str], list[Flaw]] | None = None
    most_bytes: int = USER_DATA_BYTES
    file: bool = True
    directory: bool = False
    private: bool = False

    def __call__(self, vm: Block, setting: Setting) -> None:
        """Look at each file of that kind which a VM names."""
        if setting.problems.is_full:
            return  # what is wrong with further files would not be told
        for block in vm.all(self.block) if self.block else (vm,):
            found = block.get(self.name, str) if self.name != self.block else _first(block)
            if found and (what := no_path(found.value)):
                _report_text(setting, self, found, what)
            elif found:
                for flaw, path in self._flaws(found.value, setting):
                    _report(setting, f"`{self.name}`" if flaw.of_word else self.what, found, flaw, path)

    def _flaws(self, text: str, setting: Setting) -> list[tuple[Flaw, Path]]:
        try:
            path = absolute(text, setting.directory)
        except RuntimeError:
            return [(Flaw(problem="is in the home directory of a user who does not exist"), Path(text))]
        key = (self.name, _file_of(path))
        if key not in setting.seen:
            setting.seen[key] = self._look(path, text, setting)
        return [(flaw, path) for flaw in setting.seen[key]]

    def _look(self, path: Path, text: str, setting: Setting) -> list[Flaw]:
        try:
            problem = self._missing(path)
            if problem is None and not os.access(path, os.R_OK):
                problem = "is not readable"
            if problem or self.check is None:
                help = _UNEXPANDED if "$" in text else None
                if self.name == "image" and _IMAGE_NAME.fullmatch(text) and not path.exists():
                    help = f"{_NO_CATALOG}; or check the path, which starts at {setting.directory}"
                return [Flaw(problem=problem, help=help)] if problem else []
            content = read_input(path, self.most_bytes)
            if self.most_bytes == USER_DATA_BYTES:
                setting.read_bytes += len(content)
                if setting.read_bytes > _MOST_PARSED_BYTES:
                    return [
                        Flaw(
                            problem="is more YAML than vmctl accepts", help="the limit is 2 MiB for all files together"
                        )
                    ]
        except UnfitFile as error:
            return [Flaw(problem=error.problem, help="use a regular file on a disk; docs/vmfile.md lists the limits")]
        except (OSError, ValueError) as error:
            return [Flaw(problem=(getattr(error, "strerror", None) or "cannot be read").lower())]
        return self.check(content, text) or (_loose(path) if self.private else [])

    def _missing(self, path: Path) -> str | None:
        require_input(path)
        if path.is_dir():
            return None if self.directory else "is a directory"
        if path.is_file():
            return None if self.file else "is not a directory"
        if path.exists():
            return "is not a regular file"
        return "does not exist"


def _loose(path: Path) -> list[Flaw]:
    if (mode := loose_mode(path)) is None:
        return []
    problem = f"can be read by others (mode {mode:04o}), so that `vmctl ssh` cannot use it"
    return [Flaw(problem=problem, help=f"make it private: {restrict(str(path))}", warning=True)]


def _file_of(path: Path) -> object:
    """What is the same for one file by whatever path, through links, too."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return path
    return status.st_dev, status.st_ino


def _first(block: Block) -> Located[str] | None:
    """The first argument of the block itself."""
    value = block.values[0] if block.values else None
    return Located(value.value, value.span) if value and isinstance(value.value, str) else None


def _report_text(setting: Setting, rule: FileRule, found: Located[str], what: str) -> None:
    """Nothing of what was written is quoted: it may be secret."""
    if what != "a URL":
        help = f'save it to a file, and write its path: {rule.name} "{rule.example}"'
    elif rule.name == "image":
        help = 'to download an image, write: image-url "https://…"'
    else:
        help = f'download it, and write its path: {rule.name} "{rule.example}"'
    setting.problems.add(found.span, f"`{rule.name}` takes a path, not {what}", "a path belongs here", help)


def _report(setting: Setting, what: str, found: Located[str], flaw: Flaw, path: Path) -> None:
    note = setting.problems.warn if flaw.warning else setting.problems.add
    note(
        found.span, f"{what} {flaw.problem}", f"→ {path}",
        flaw.help or f"check the path; relative paths start at {setting.directory}",
        elsewhere=(flaw.place,) if flaw.place else (),
    )  # fmt: skip


FILE_RULES = (
    FileRule("", "image", "the image", "disk.qcow2"),
    FileRule("mount", "mount", "the directory to mount", "shared", file=False, directory=True),
    FileRule("cloud-init", "ssh-key", "the public key", "~/.ssh/id_ed25519.pub", check_public_key, KEY_BYTES),
    FileRule("cloud-init", "user-data", "the user-data", "user-data.yaml", _user_data),
    FileRule("cloud-init", "network-config", "the network configuration", "network-config.yaml", _network_config),
    FileRule("ssh", "private-key", "the private key", "~/.ssh/id_ed25519", check_private_key, KEY_BYTES, private=True),
    FileRule("provision", "script", "the script", "setup.sh", _script, SCRIPT_BYTES),
    FileRule("provision", "source", "the source", "files", directory=True),
)
