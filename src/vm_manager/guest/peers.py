"""The names of the other VMs of a private network, in a guest's /etc/hosts: no name server knows them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from vm_manager.diagnostics.errors import SshFailed
from vm_manager.domain.deadline import Deadline
from vm_manager.domain.network import Peer
from vm_manager.guest.as_root import as_root
from vm_manager.guest.ssh import SshSession

_log = logging.getLogger(__name__)

_LIMIT_S = 60.0
_CHARS = 4096
_MARK = "# vmctl"
# The file itself stays, with its mode and labels: it may be mounted, and SELinux knows it by them.
_WRITE = (
    'new=$(mktemp) && { grep -v " # vmctl$" /etc/hosts; cat; } >"$new" && '
    '{ cmp -s "$new" /etc/hosts || cat "$new" >/etc/hosts; }; done=$?; rm -f "$new"; exit $done'
)


def name_peers(session: SshSession, peers: Sequence[Peer], deadline: Deadline, tick: Callable[[], None]) -> bool:
    """Let a guest know its peers by name, and forget those that are none any more. Returns whether that was possible.

    It takes root or sudo without a password. tick: called while it waits. Raises nothing but what that does, and
    `vmctl::interrupted`.
    """
    lines = "".join(f"{peer.address} {peer.name} {_MARK}\n" for peer in peers)
    limit = Deadline(deadline.within(_LIMIT_S), deadline.cancel)
    try:
        return session.capture(as_root(_WRITE), limit, tick, [lines.encode()], most_chars=_CHARS).status == 0
    except (SshFailed, TimeoutError) as error:
        _log.info("the names of the other VMs were not written: %s", error)
        return False
