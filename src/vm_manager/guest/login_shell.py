"""Whether a login runs commands: not every account's shell does, and a key may be bound to a command of its own.

What such a login does with a command is anybody's guess: one that prints it and ends with 0 passes for success.
Sources: nologin(8); sshd(8), `command="…"`, by which cloud images tell root's visitors to log in as another user.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from vm_manager.diagnostics.errors import NoShell
from vm_manager.diagnostics.excerpt import excerpt
from vm_manager.diagnostics.model import Evidence
from vm_manager.domain.deadline import Deadline
from vm_manager.guest.ssh import SshSession

# The answer is in no part of the question: a login that only repeats it is found out.
_QUESTION = "sh -c 'echo vmctl:$((6 * 7))'"
_ANSWER = re.compile(r"^vmctl:42\r?$", re.MULTILINE)
# An emulated guest that is busy was seen to take half of it until a process was started.
_LIMIT_S = 90.0
# OpenSSH's own words, in session.c, for logins without a terminal; PAM's before it are in the guest's language.
_EXPIRED = "Password change required but no TTY available"
_LINES, _CHARS = 10, 16 * 1024


def require_shell(session: SshSession, name: str, user: str, deadline: Deadline, tick: Callable[[], None]) -> None:
    """Make sure that a login runs commands, by one that says so.

    name: of the VM. tick: called while it waits. Raises: `ssh::no_shell`, `ssh::failed`, `TimeoutError` at the deadline.
    """
    limit = Deadline(deadline.within(_LIMIT_S), deadline.cancel)
    try:
        said = session.capture(_QUESTION, limit, tick, most_chars=_CHARS)
    except TimeoutError:
        if deadline.expired:
            raise
        raise _no_shell(name, user, f"it had not answered after {round(_LIMIT_S)} s", ()) from None
    if _ANSWER.search(said.stdout):
        return
    printed = excerpt(f"{said.stdout}\n{said.stderr}".splitlines(), _LINES)
    how = "it printed too much" if said.status is None else f"it ended with status {said.status}"
    raise _no_shell(name, user, how, (Evidence("guest", "what the login printed", printed),) if any(printed) else ())


def _no_shell(name: str, user: str, how: str, evidence: tuple[Evidence, ...]) -> NoShell:
    notes = (f"asked to run a command, {how}",)
    if any(_EXPIRED in line for shown in evidence for line in shown.lines):
        return NoShell(
            "user '{user}' can log in to the guest, but cannot run commands: the password has expired",
            {"user": user},
            help=(
                f"set a new password at its console, `vmctl console {name}`, where the login asks for it",
                "user-data whose `chpasswd` sets it needs `expire: false` there, which takes effect in a new VM",
            ),
            notes=notes,
            evidence=evidence,
        )
    files = f"if `vmctl ssh {name}` opens a shell, look for `exit` or `exec` in the user's start-up files, such as ~/.bashrc"
    return NoShell(
        "user '{user}' can log in to the guest, but cannot run commands",
        {"user": user},
        help=(
            *(() if evidence else (files,)),
            f"give '{user}' a shell such as /bin/sh, and a key without `command=`, at its console: `vmctl console {name}`",
            "or set another `user` in the `ssh` block of the VMFile, which takes effect in a new VM",
        ),
        notes=notes,
        evidence=evidence,
    )
