"""What programs say when they fail, in English, where it is plain what to do about it: the last lines of a step's output.

They are untrusted: they are matched, and what is quoted of them is short. Sources: strerror(3); the messages of dash, bash, zsh,
BusyBox, coreutils, apt and glibc's resolver.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable, Iterator

from vm_manager.domain.share import Mount
from vm_manager.domain.spec import ProvisionerKind
from vm_manager.guest.findings import Failed, Finding

# A program that fails may be followed by the one that ran it: make, apt.
_LINES = 3
_IN_OTHER_STEP = "in a step before this one"
_INSTALL = f"install it {_IN_OTHER_STEP}, or write its full path if it is not on the user's PATH"
_NAME = r"[‘'\"`]?(?P<name>[^‘’'\"`:\s]{1,100})[’'\"`]?"
_PATH = r"[‘'\"`]?(?P<path>[^‘’'\"`:\s]{0,100}/[^‘’'\"`:\s]{0,100})[’'\"`]?"
_NOT_FOUND = re.compile(
    rf"(?::|^env:) {_NAME}: (?:command )?not found$|: command not found: {_NAME.replace('name', 'last')}$"
)
_NO_ENV = re.compile(rf"^(?:/usr/bin/)?env: {_NAME}: No such file or directory$")
_NOT_EXECUTABLE = re.compile(rf": {_PATH}: Permission denied$")
_DENIED = re.compile(
    r"(?:: |\(13: )Permission denied\)?$|\bare you root\?$|\bmust be (?:run as )?root\b", re.IGNORECASE
)
_MISSING = re.compile(rf"(?:^|[\s:])(?:{_PATH}|{_NAME}): No such file or directory$")
_DIRECTORY = re.compile(rf"(?:^|[\s:]){_PATH}: Is a directory$")
_NO_USER = re.compile(r"^chown: .*(?:unknown|invalid) (?:user|group)\b")
_NO_PACKAGE = re.compile(rf"^E: Unable to locate package {_NAME}$")
_LOCKED = re.compile(r"^E: Could not get lock |^E: .*\bis another process using it\?$")
_UNRESOLVED = re.compile(
    r"Temporary failure (?:in name resolution|resolving)|Could not resolve (?:host|')|: bad address '|Name or service not known"
)


def read_last_words(failed: Failed, user: str) -> Finding | None:
    """What the end of a step's output says, or None. user: as whom it ran, or empty."""
    looks = _OF_FILES if failed.step.kind is ProvisionerKind.FILE else _OF_COMMANDS
    lines = [line.strip() for line in failed.last if line.strip()][-_LINES:]
    return next(_findings(looks, lines[::-1], failed, user), None)


_Look = Callable[[str, Failed, str], Finding | None]


def _findings(looks: tuple[_Look, ...], lines: list[str], failed: Failed, user: str) -> Iterator[Finding]:
    for line in lines:
        for look in looks:
            if finding := look(line, failed, user):
                yield finding


# Commands


def _not_found(line: str, failed: Failed, user: str) -> Finding | None:
    found = _NOT_FOUND.search(line) or _NO_ENV.search(line)
    if not found or failed.status != 127:
        return None
    name = found["name"] or found["last"]
    return Finding(
        f"the guest has no command {name}",
        (_INSTALL,),
    )


def _not_executable(line: str, failed: Failed, user: str) -> Finding | None:
    found = _NOT_EXECUTABLE.search(line) if failed.status == 126 else None
    path = found and found["path"]
    help = f"make it executable, `chmod +x`, {_IN_OTHER_STEP}, or run it with its interpreter, as in `sh FILE`"
    return Finding(f"{path} in the guest is not executable", (help,)) if path else None


def _denied(line: str, failed: Failed, user: str) -> Finding | None:
    if not _DENIED.search(line) or user in ("", "root"):
        return None
    return Finding(
        f"user '{user}' lacks the permission",
        (f"steps run as '{user}': if the command needs root, put `sudo` before it",),
    )


def _missing(line: str, failed: Failed, user: str) -> Finding | None:
    found = _MISSING.search(line)
    if not found:
        return None
    path = found["path"] or found["name"]
    if (mount := _share_of(path, failed)) is not None:
        return _not_in_share(path, mount, failed)
    if failed.status == 127:
        return Finding(f"the guest has no {path}", (_INSTALL,))
    whole = path.startswith("/")
    return Finding(
        f"the guest has no {path}" if whole else f"there is no {path} where the step looks for it",
        (
            'steps see the guest\'s files: to bring one from this host, add a `provision "file"` block before this one',
            "if it should be there already, correct the path"
            + ("" if whole else ": a step begins in the home directory"),
        ),
    )


def _share_of(path: str, failed: Failed) -> Mount | None:
    """The shared directory that a path of the guest leads into."""
    return next((it for it in failed.shares if path == it.target or path.startswith(f"{it.target}/")), None)


def _not_in_share(path: str, mount: Mount, failed: Failed) -> Finding:
    here = posixpath.normpath(f"{mount.source}/{path.removeprefix(mount.target)}")
    if here.startswith(f"{mount.source}/") and os.path.lexists(here):
        return Finding(
            f"the guest does not see {here}: the directory was replaced after the VM was started",
            (f"give the guest the new one: `vmctl restart {failed.name}`",),
        )
    return Finding(
        f"{path} is in a shared directory, and this host has no {here}",
        ("create it on this host, or correct the path",),
    )


def _directory(line: str, failed: Failed, user: str) -> Finding | None:
    found = _DIRECTORY.search(line)
    return Finding(f"{found['path']} is a directory in the guest", ("name a file in it",)) if found else None


def _no_package(line: str, failed: Failed, user: str) -> Finding | None:
    found = _NO_PACKAGE.search(line)
    if not found:
        return None
    return Finding(
        f"the guest's package lists have no {found['name']}",
        ("run `sudo apt-get update` first, in the same step", "if that is done, correct the package's name"),
    )


def _locked(line: str, failed: Failed, user: str) -> Finding | None:
    if not _LOCKED.search(line):
        return None
    return Finding(
        "another program in the guest is installing packages",
        ("have apt-get wait for it: `sudo apt-get -o DPkg::Lock::Timeout=300 …`",),
    )


def _unresolved(line: str, failed: Failed, user: str) -> Finding | None:
    if not _UNRESOLVED.search(line):
        return None
    return Finding(
        "the guest could not resolve the name of a server",
        (
            'check that this host has a network, and that the VM\'s is not `isolated` and has a card with `network "user"`',
        ),
    )


# Files


def _onto_a_directory(line: str, failed: Failed, user: str) -> Finding | None:
    destination = (failed.step.destination or "").rstrip("/")
    if not line.startswith(f"{destination} is a directory;"):
        return None
    whole = posixpath.join(destination, posixpath.basename(failed.step.source or ""))
    return Finding(
        "it is a directory",
        (f'to copy the file into it, write destination "{destination}/"', f'or name the file: destination "{whole}"'),
    )


def _no_owner(line: str, failed: Failed, user: str) -> Finding | None:
    if not failed.step.owner or not _NO_USER.search(line):
        return None
    return Finding(
        f"the guest has no owner '{failed.step.owner}'", (f"create the user {_IN_OTHER_STEP}, or change `owner`",)
    )


def _below_a_file(line: str, failed: Failed, user: str) -> Finding | None:
    if not re.search(r"^mkdir: .* (?:exists|Not a directory)$|^/.* is not a directory$", line):
        return None
    return Finding(
        "there is a file where a directory is needed", (f"remove that file {_IN_OTHER_STEP}, or change `destination`",)
    )


def _without_sudo(line: str, failed: Failed, user: str) -> Finding | None:
    if not line.endswith(", and sudo is not installed in the guest"):
        return None
    return Finding(
        f"user '{user}' may not write there, and the guest has no sudo",
        (
            f"choose a `destination` in a directory of '{user}', and move it as root by other means",
            "or install sudo in the image",
        ),
    )


_OF_COMMANDS: tuple[_Look, ...] = (
    *(_not_found, _not_executable, _no_package, _locked, _unresolved, _denied, _missing, _directory),
)
_OF_FILES: tuple[_Look, ...] = (_onto_a_directory, _no_owner, _below_a_file, _without_sudo)
