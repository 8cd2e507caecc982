"""The clock of a guest that has stood still: suspended, or saved to disk. Without an agent or NTP nobody puts it right.

Where it stays behind, certificates are not valid yet and packages come from the future.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from vm_manager.diagnostics.errors import SshFailed
from vm_manager.domain.deadline import Deadline
from vm_manager.guest.as_root import as_root
from vm_manager.guest.ssh import SshSession

_log = logging.getLogger(__name__)

# What a slow login alone may take is no reason to touch a clock.
_TOLERATED_S = 5
_LIMIT_S = 60.0
_CHARS = 4096
# In coreutils, busybox and toybox alike.
_SET, _ASK = "date -s @{now} >/dev/null 2>&1", "date +%s"


def correct_clock(name: str, session: SshSession, deadline: Deadline, tick: Callable[[], None]) -> str | None:
    """Set a guest's clock that is behind this host's. Returns what is to be told of it, or None.

    name: of the VM. tick: called while it waits. Raises nothing but what that does, and `vmctl::interrupted`.
    """
    limit = Deadline(deadline.within(_LIMIT_S), deadline.cancel)
    behind = _behind_s(session, _ASK, limit, tick)
    if behind is None or behind <= _TOLERATED_S:
        return None
    left = _behind_s(session, f"{as_root(_SET.format(now=round(time.time())))}; {_ASK}", limit, tick)
    if left is not None and left <= _TOLERATED_S:
        return f"set the guest's clock, which was {behind} s behind"
    return f'the guest\'s clock is {behind} s behind: `vmctl ssh {name} sudo date -s "@$(date +%s)"`'


def _behind_s(session: SshSession, command: str, deadline: Deadline, tick: Callable[[], None]) -> int | None:
    """By how many seconds what the guest prints is behind the moment at which it was asked."""
    asked = time.time()
    try:
        said = session.capture(command, deadline, tick, most_chars=_CHARS).stdout.split()
        return round(asked) - int(said[-1])
    except (SshFailed, TimeoutError, ValueError, IndexError) as error:
        _log.info("the guest's clock is not known: %s", error)
        return None
