"""OpenSSH's side: the pinned host keys, and the command line of `ssh`. Sources: sshd(8), ssh(1), ssh_config(5)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from vm_manager.domain.instance import Endpoint
from vm_manager.domain.network import Forward
from vm_manager.guest.credentials import Credentials


def known_hosts_text(alias: str, public_keys: Iterable[str]) -> str:
    """A known_hosts file that pins the keys under an alias, so that a changed port needs no change here."""
    return "".join(f"{alias} {' '.join(key.split()[:2])}\n" for key in public_keys)


def ssh_argv(
    ssh: Path,
    *,
    alias: str,
    endpoint: Endpoint,
    credentials: Credentials,
    known_hosts: Path,
    command: Sequence[str] = (),
    forwards: Sequence[Forward] = (),
) -> list[str]:
    """The command line that opens a shell in the guest, runs a command in it, or forwards ports into it until it is ended.

    command: its words, which the guest's shell gets joined by spaces, as with ssh(1). Empty: an interactive shell.
    forwards: by TCP, from a port of their own each, instead of a shell or a command.
    """
    return [
        str(ssh),
        "-F", "none",  # the user's own configuration could redirect or weaken the connection
        "-p", str(endpoint.port),
        "-l", credentials.user,
        *_options(alias, credentials, known_hosts, "INFO" if forwards else "ERROR"),
        *(["-N", "-o", "ExitOnForwardFailure=yes"] if forwards else []),
        *(word for it in forwards for word in ("-L", f"{it.address}:{it.host}:127.0.0.1:{it.guest}")),
        endpoint.host,
        *(["--", *command] if command else []),
    ]  # fmt: skip


def _options(alias: str, credentials: Credentials, known_hosts: Path, log_level: str) -> list[str]:
    options = [
        f"HostKeyAlias={alias}",
        f"UserKnownHostsFile={_quoted(known_hosts)}",
        "GlobalKnownHostsFile=none",
        "StrictHostKeyChecking=yes",
        "UpdateHostKeys=no",
        "PasswordAuthentication=no",
        "KbdInteractiveAuthentication=no",
        f"LogLevel={log_level}",
        "ConnectTimeout=10",
        "ServerAliveInterval=15",
    ]
    if not credentials.agent:
        options += ["IdentitiesOnly=yes", "IdentityAgent=none"]
    options += [f"IdentityFile={_quoted(key)}" for key in credentials.keys]
    return [word for option in options for word in ("-o", option)]


def _quoted(path: Path) -> str:
    # Options are split at white space, and % is expanded in them: see ssh_config(5), TOKENS.
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'
