"""What provisioning runs in the guest: shell texts for every POSIX shell, BusyBox's included.

Nothing of the user's is ever part of a command line, which the login shell would read by its own rules, and which others in
the guest can see in its list of processes: the texts go over the connection's input, into a directory that only the user may
enter. Within them every value is quoted.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

Env = Sequence[tuple[str, str]]

_TEMPLATE = "/tmp/vmctl.XXXXXXXXXX"
_DIRECTORY = re.compile(r"^vmctl:(/tmp/vmctl\.[A-Za-z0-9]{6,})$", re.MULTILINE)

#: Saves its input as `content` in a fresh directory and prints which; `directory_of` finds it in what is printed.
SAVE = (
    f'sh -c \'d=$(mktemp -d {_TEMPLATE}) && {{ cat >"$d/content" && echo "vmctl:$d" || {{ rm -rf "$d"; exit 1; }}; }}\''
)
#: Runs its input as a script, whose own input is then at its end.
RUN = f'sh -c \'d=$(mktemp -d {_TEMPLATE}) && cat >"$d/content" && exec sh "$d/content"\''


def directory_of(printed: str) -> str | None:
    """The directory that `SAVE` has made, whatever the login shell's own files print besides; None when there is none."""
    found = _DIRECTORY.findall(printed)
    return found[-1] if found else None


def run_in(directory: str) -> str:
    """Runs its input as a script, as `RUN` does, beside the content that is saved there."""
    return f"sh -c 'cat >{directory}/step && exec sh {directory}/step'"


def run_content(directory: str) -> str:
    """Runs the content that is saved there; its input is the script's."""
    return f"sh {directory}/content"


def remove(directory: str) -> str:
    """Removes the directory."""
    return f"rm -rf {directory}"


def inline_script(command: str, env: Env) -> str:
    """For `RUN`: the command line in the user's shell, with these environment variables. Its directory is gone before."""
    # The shell as a positional parameter: variables may be named like anything.
    return f'rm -rf "${{0%/*}}"\nset -- "${{SHELL:-/bin/sh}}"\n{_exports(env)}exec "$1" -c {shlex.quote(command)}\n'


def file_script(name: str, env: Env) -> str:
    """For `run_in`: the saved content as a program of that name, with these environment variables."""
    program = f'"$1"/{shlex.quote(name)}'
    rename = "" if name == "content" else f'mv "$1/content" {program} && '
    prepare = f'set -- "${{0%/*}}"\nrm -f "$0"\n{rename}chmod 700 {program} || exit\n'
    return f"{prepare}{_BY_ITS_INTERPRETER.format(program=program)}{_exports(env)}exec $by {program}\n"


# Hardened guests mount /tmp with noexec: nothing there can be executed, but what it is written for can read it. `[ -x` of
# BusyBox does not see that: it is tried.
_BY_ITS_INTERPRETER = """\
by=
printf '#!/bin/sh\\n' >"$1/.try" && chmod 700 "$1/.try"
if ! "$1/.try" 2>/dev/null; then
    set -f
    IFS= read -r first <{program}
    case $first in
    '#!'*) by=${{first#??}} ;;
    *ELF*) echo "/tmp in the guest is mounted with noexec, and this program is no script" >&2 ;;
    *) by=sh ;;
    esac
fi
rm -f "$1/.try"
"""


def _exports(env: Env) -> str:
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in env)


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where an upload goes. destination: an absolute path without a slash at its end; owner: `user` or `user:group`."""

    destination: str
    owner: str | None = None

    @property
    def parent(self) -> str:
        """The directory that it is put into."""
        return posixpath.dirname(self.destination)


def place_file(placement: Placement, size_bytes: int, mode: int) -> str:
    """Content for `SAVE` that puts its input into place as a file.

    It is written beside its destination and moved there in one step, when all of it has come: a connection that is lost in
    the middle leaves what was there before.
    """
    return _as_whoever_may(placement, size_bytes, _FILE.format(size=size_bytes, mode=f"{mode:04o}"))


def place_directory(placement: Placement, size_bytes: int) -> str:
    """Content for `SAVE` that puts its input, a tar archive that ends with the member `END_MARK`, into place as a directory.

    size_bytes: of all files in it. A directory that is there already keeps what the archive does not bring; each file is
    replaced in one step, and none before all have come.
    """
    return _as_whoever_may(placement, size_bytes, _DIRECTORY_INTO_PLACE)


#: The last member of an archive: tar(1) takes one that breaks off between two members for a whole one.
END_MARK = ".vmctl-end"


def _as_whoever_may(placement: Placement, size_bytes: int, install: str) -> str:
    """As the user, or through sudo(8) where that is needed to write there or to give it away."""
    values = {
        "destination": placement.destination,
        "parent": placement.parent,
        "owner": placement.owner or "",
        "needed": str(size_bytes // 1024),
    }
    settings = "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())
    return f'rm -rf "${{0%/*}}"\n{settings}{_WHO}exec $run sh -c {shlex.quote(settings + _ROOM + install)}\n'


_WHO = """\
run=
if [ "$(id -u)" -ne 0 ]; then
    user=$(id -un)
    if ! mkdir -p "$parent" 2>/dev/null || ! [ -w "$parent" ] || ! [ -x "$parent" ]; then run='sudo -n'; fi
    case $owner in '' | "$user" | "$user:$(id -gn)") ;; *) run='sudo -n' ;; esac
    if [ "$run" ] && ! command -v sudo >/dev/null; then
        echo "user $user cannot write to $parent, and sudo is not installed in the guest" >&2
        exit 1
    fi
fi
"""

# Before gigabytes are sent in vain. What a file system keeps for root counts as free; where df(1) says nothing, so do we.
_ROOM = """\
mkdir -p "$parent" || exit
df -Pk "$parent" 2>/dev/null | {
    read -r _
    read -r _ total used _
    case $total$used in
    '' | 0* | *[!0-9]*) ;;
    *)
        if [ $((total - used)) -lt "$needed" ]; then
            room="$((needed / 1024)) MiB are needed, $(((total - used) / 1024)) MiB are free"
            echo "$parent: No space left on device: $room" >&2
            exit 1
        fi
        ;;
    esac
} || exit
"""

# When the connection is lost nobody reads what is said either, and a shell that a signal ends clears nothing away: so
# PIPE is ignored. mv(1) within one directory is rename(2), so nobody sees half a file. chown(1) takes
# set-user-ID away: chmod(1) comes after.
_FILE = """\
new=
trap 'rm -f "$new"' EXIT
trap 'exit 1' HUP INT TERM
trap '' PIPE
if [ -d "$destination" ]; then
    echo "$destination is a directory; to copy the file into it, add a trailing slash" >&2
    exit 1
fi
new=$(mktemp "$parent/.vmctl.XXXXXXXXXX") || exit
cat >"$new" || exit
if [ "$(wc -c <"$new")" -ne {size} ]; then
    echo 'the file was not received completely' >&2
    exit 1
fi
if [ "$owner" ]; then chown "$owner" "$new" || exit; fi
chmod {mode} "$new" && mv -f "$new" "$destination"
"""

_DIRECTORY_INTO_PLACE = f"""\
new=
trap 'rm -rf "$new"' EXIT
trap 'exit 1' HUP INT TERM
trap '' PIPE
if [ -e "$destination" ] && ! [ -d "$destination" ]; then
    echo "$destination is not a directory" >&2
    exit 1
fi
new=$(mktemp -d "$parent/.vmctl.XXXXXXXXXX") || exit
tar -x -p -m -f - -C "$new" || exit
if ! rm "$new/{END_MARK}" 2>/dev/null; then
    echo 'the directory was not received completely' >&2
    exit 1
fi
if [ "$owner" ]; then chown -R -h "$owner" "$new" || exit; fi
if ! [ -e "$destination" ] && ! [ -L "$destination" ]; then
    mv "$new" "$destination"
    exit
fi
cd "$new" || exit
find . -type d -exec sh -c '! [ -e "$0/$1" ] && ! [ -L "$0/$1" ] && mv "$1" "$0/$1"' "$destination" {{}} \\; -prune
find . ! -type d -exec sh -c '
    for file; do
        if [ -d "$0/$file" ] && ! [ -L "$0/$file" ]; then
            echo "$0/$file is a directory" >&2
        else
            mv -f "$file" "$0/$file"
        fi
    done' "$destination" {{}} +
[ -z "$(find . ! -type d)" ]
"""
