"""`vmctl forward`."""

from __future__ import annotations

import logging
import shlex
import socket
import subprocess
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Annotated

import typer

from vm_manager.app.manager import Manager
from vm_manager.cli.openssh_messages import OpenSshMessages
from vm_manager.cli.session import VmArgument
from vm_manager.cli.settings import current
from vm_manager.diagnostics.errors import Usage
from vm_manager.domain.network import LOOPBACK, Forward, Transport, forward_of
from vm_manager.host.environment import SSH, clean_environment
from vm_manager.host.listeners import listener
from vm_manager.host.ports import is_listened_on

_log = logging.getLogger(__name__)

_POLL_S = 0.1
_LAST_WORDS_S = 1.0


def forward(
    name: VmArgument,
    ports: Annotated[
        list[str],
        typer.Argument(metavar="[HOST:]GUEST...", help="A port of 127.0.0.1, or a free one, and one of the guest."),
    ],
) -> None:
    """Forward ports of this host into a running VM.

    `vmctl forward web 8080:80` leads from 127.0.0.1:8080 to port 80 of the
    guest, by SSH and until Ctrl-C. For a port that is to stay, or one of UDP,
    write `forward` in the VMFile.
    """
    forwards = _with_free_ports(name, [_parsed(word) for word in ports])
    argv = Manager().login_command(name, forwards=forwards)
    _log.info("$ %s", shlex.join(argv))
    program = subprocess.Popen(argv, env=clean_environment(SSH), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert program.stderr is not None
    guest_ports = [it.guest for it in forwards]
    messages = OpenSshMessages(program.stderr, name=name, ports=guest_ports, tell=current.terminal.tell)
    try:
        with suppress(KeyboardInterrupt):
            _until_it_listens(program, forwards)
            if program.poll() is None and not current.quiet:
                for it in forwards:
                    current.terminal.say(f"127.0.0.1:{it.host} -> {name}:{it.guest}")
                current.terminal.tell("press Ctrl-C to end this")
            if program.wait() != 0:
                messages.finish(_LAST_WORDS_S)
                raise Manager().why_ssh_failed(name)
    finally:
        program.terminate()
        program.wait()


def _parsed(word: str) -> Forward:
    found = forward_of(word)
    if found is None or found.transport is not Transport.TCP or found.address != LOOPBACK:
        raise Usage(
            "'{word}' is not a forward",
            {"word": word},
            help=(
                "write `8080:80` for port 8080 of this host and 80 of the guest, or `80` for a free one of this host",
            ),
        )
    return found


def _with_free_ports(name: str, wanted: list[Forward]) -> list[Forward]:
    """Each with a port of its own that can be listened on now. Raises: `network::port_unavailable`."""
    with ExitStack() as taken:
        return [
            replace(it, host=taken.enter_context(_listener(name, it)).getsockname()[1])
            # Those that are named first: a free one shall be none of them.
            for it in sorted(wanted, key=lambda it: it.host is None)
        ]


def _listener(name: str, wanted: Forward) -> socket.socket:
    return listener(wanted.host or 0, f"vmctl forward {name} {wanted.guest}")


def _until_it_listens(program: subprocess.Popen[bytes], forwards: list[Forward]) -> None:
    while program.poll() is None and not all(map(is_listened_on, forwards)):
        time.sleep(_POLL_S)
