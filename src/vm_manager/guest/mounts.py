"""Shared directories, mounted in a guest over SSH, and in its /etc/fstab for the times when it restarts by itself.

Sources: fstab(5), proc_pid_mountinfo(5) for how both write a space; the kernel's filesystems/virtiofs and filesystems/9p.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vm_manager.diagnostics.errors import MountFailed
from vm_manager.diagnostics.model import Evidence
from vm_manager.diagnostics.safe_text import safe_lines
from vm_manager.domain.deadline import Deadline
from vm_manager.domain.share import Mount, ShareType
from vm_manager.guest.as_root import as_root
from vm_manager.guest.ssh import Captured, SshSession

_log = logging.getLogger(__name__)

_LIMIT_S = 120.0
_CHARS = 64 * 1024
_NOT_ROOT, _NO_TYPE, _NOT_MOUNTED = 90, 91, 92
_MARK = "# vmctl"
_QUOTED_LINES = 6
# 9p: the protocol of Linux, and as much with one message as is usual today; the kernel's own default is slow.
_OPTIONS = {ShareType.VIRTIOFS: "", ShareType.NINE_P: ",trans=virtio,version=9p2000.L,msize=262144"}
_OTHER_KERNEL = {
    ShareType.VIRTIOFS: "use an image with Linux 5.4 or newer that has the module virtiofs",
    ShareType.NINE_P: "use an image whose kernel has 9p, such as Debian's generic one instead of its cloud kernel; "
    "to use virtiofs instead, see why this host does not: `share_reason` in `vmctl status {name} --json`",
}

# The lines that it reads are the new ones of the fstab. What is mounted where its line says stays as it is, but for ro and rw.
# Where a line is gone, so is the directory's device; something may hold on to it all the same.
_SETTLE = f"not_root={_NOT_ROOT} no_type={_NO_TYPE} not_mounted={_NOT_MOUNTED}"
_SETTLE += r"""
[ "$(id -u)" = 0 ] || exit $not_root
new=$(mktemp) && old=$(mktemp) || exit 1
trap 'rm -f "$new" "$old"' EXIT
wanted=$(cat)
touch /etc/fstab
grep ' # vmctl$' /etc/fstab >"$old"
{ grep -v ' # vmctl$' /etc/fstab; [ -z "$wanted" ] || printf '%s\n' "$wanted"; } >"$new"
if ! cmp -s "$new" /etc/fstab; then
    cat "$new" >/etc/fstab || exit 1
    ! [ -d /run/systemd/system ] || systemctl daemon-reload 2>/dev/null
fi
plain() { printf "$(printf %s "$1" | sed 's/%/%%/g')"; }
while read -r tag place type rest; do
    case $wanted in *"$tag $place "*) continue ;; esac
    while grep -q "^$tag " /proc/mounts; do umount -- "$(plain "$place")" || umount -l -- "$(plain "$place")" || break; done
done <"$old"
[ -n "$wanted" ] || exit 0
printf '%s\n' "$wanted" >"$new"
read -r tag place type rest <"$new"
grep -qw "$type" /proc/filesystems || modprobe "$type"
[ "$type" != 9p ] || modprobe 9pnet_virtio 2>/dev/null
grep -qw "$type" /proc/filesystems || exit $no_type
while read -r tag place type options rest; do
    access=${options%%,*}
    mounted=$(awk -v tag="$tag" '$1 == tag { print substr($4, 1, 2) }' /proc/mounts | tail -n 1)
    [ "$mounted" != "$access" ] || continue
    directory=$(plain "$place")
    [ -z "$mounted" ] || umount -- "$directory"
    # What only systemd understands is left out.
    if ! { mkdir -p -- "$directory" && mount -t "$type" -o "${options%,nofail}" "$tag" "$directory"; }; then
        printf '%s\n' "$directory"
        exit $not_mounted
    fi
done <"$new"
"""


@dataclass(frozen=True)
class GuestMounts:
    """What a guest is to have mounted. type: by which file system; None: nothing any more."""

    mounts: Sequence[Mount]
    type: ShareType | None


def settle_mounts(
    session: SshSession, name: str, wanted: GuestMounts, deadline: Deadline, tick: Callable[[], None]
) -> None:
    """Mount the shared directories of a guest, over whatever is there, and let go of those that are none any more.

    name: the VM's. tick: called while it waits.
    Raises: `guest::mount_failed`, `ssh::failed`, `TimeoutError`, and what `tick` does.
    """
    kind = wanted.type
    # The outer one first: it would hide the inner one.
    mounts = sorted(wanted.mounts, key=lambda it: it.target) if kind else []
    lines = "".join(f"{_line(mount, kind)}\n" for mount in mounts if kind)
    limit = Deadline(deadline.within(_LIMIT_S), deadline.cancel)
    done = session.capture(as_root(_SETTLE), limit, tick, [lines.encode()], most_chars=_CHARS)
    if done.status == 0:
        return
    if not mounts:
        _log.info("what was mounted before is still in the guest's fstab: %s", done.stderr)
        return
    raise _failure(name, kind or ShareType.VIRTIOFS, mounts[0], done)


def _line(mount: Mount, kind: ShareType) -> str:
    access = "ro" if mount.read_only else "rw"
    return f"{mount.tag} {_escaped(mount.target)} {kind} {access}{_OPTIONS[kind]},nofail 0 0 {_MARK}"


def _escaped(path: str) -> str:
    return re.sub(r"[\s\\]", lambda found: "".join(f"\\{byte:03o}" for byte in found[0].encode()), path)


def _failure(name: str, kind: ShareType, first: Mount, done: Captured) -> MountFailed:
    said = tuple(line for line in safe_lines(done.stderr) if line.strip())[-_QUOTED_LINES:]
    evidence = (Evidence("guest", "the guest", said),) if said else ()
    by_hand = f"to mount it by hand: `mount -t {kind} {first.tag} {first.target}`"
    match done.status:
        case _ if done.status == _NO_TYPE:
            return MountFailed(
                "the guest's kernel has no {type}, which the shared directories need",
                {"type": kind},
                help=(
                    _OTHER_KERNEL[kind].format(name=name),
                    f"or remove the `mount` lines from the VMFile, and `vmctl restart {name}`",
                ),
                evidence=evidence,
            )
        case _ if done.status == _NOT_MOUNTED:
            return MountFailed(
                "the guest could not mount {target}",
                {"target": (done.stdout.strip().splitlines() or ["a shared directory"])[-1]},
                help=(f"see what is there in the guest: `vmctl ssh {name}`", f"then run `vmctl up {name}` again"),
                evidence=evidence,
            )
        case _ if "sudo" in done.stderr or done.status == _NOT_ROOT:
            return MountFailed(
                "the guest's user may not mount the shared directories: that takes root",
                help=("give the user sudo without a password in the guest, or log in as root", by_hand),
                evidence=evidence,
            )
    return MountFailed("the shared directories could not be mounted in the guest", help=(by_hand,), evidence=evidence)
