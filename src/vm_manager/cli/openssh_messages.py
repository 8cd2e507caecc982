"""What OpenSSH says while it forwards ports, in vmctl's words, and each thing once in a while, however many connections meet it.

A page in a browser makes a dozen connections at once. Sources: `channel_input_open_failure` in OpenSSH's channels.c;
RFC 4254, section 5.1. The reason comes from the guest and is untrusted.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from typing import IO

from vm_manager.diagnostics.safe_text import safe_line

_FAILED = re.compile(r"channel \d+: open failed: (?P<kind>[a-z ]{1,40})(?:: (?P<why>.*))?")
_REFUSED = "Connection refused"
_AGAIN_S = 60.0
_MOST_CHARS, _MOST_SHOWN, _MOST_TEXTS = 4096, 200, 20


class OpenSshMessages:
    """A thread that reads them. name: of the VM; ports: the guest's; tell: is given a line for the terminal."""

    def __init__(self, stream: IO[bytes], *, name: str, ports: Sequence[int], tell: Callable[[str], None]) -> None:
        self._stream, self._name, self._ports, self._tell = stream, name, ports, tell
        self._told: dict[str, float] = {}
        self._thread = threading.Thread(target=self._read, name="openssh-messages", daemon=True)
        self._thread.start()

    def finish(self, limit_s: float) -> None:
        """Wait until all has been told that OpenSSH, which has ended, has said."""
        self._thread.join(limit_s)

    def _read(self) -> None:
        while line := self._stream.readline(_MOST_CHARS):
            text = self._in_our_words(safe_line(line.decode(errors="replace").strip()[:_MOST_SHOWN]))
            now = time.monotonic()
            known = text in self._told or len(self._told) < _MOST_TEXTS
            if known and now - self._told.get(text, -_AGAIN_S) >= _AGAIN_S:
                self._told[text] = now
                self._tell(text)

    def _in_our_words(self, line: str) -> str:
        found = _FAILED.fullmatch(line)
        if found is None:
            return line
        port = (
            f"port {self._ports[0]}"
            if len(self._ports) == 1
            else f"one of the ports {', '.join(map(str, self._ports))}"
        )
        if found["why"] == _REFUSED:
            listeners = f"`vmctl ssh {self._name} -- 'ss -tln || netstat -tln'`"
            return f"nothing in VM '{self._name}' listens on {port}: {listeners} shows what does"
        if found["kind"] == "administratively prohibited":
            return f"sshd in VM '{self._name}' does not forward to {port}: its configuration forbids it (AllowTcpForwarding)"
        return f"VM '{self._name}' did not connect to {port}: {found['why'] or found['kind']}"
