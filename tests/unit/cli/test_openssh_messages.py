"""What OpenSSH says while it forwards ports: in vmctl's words, and not for each connection."""

from __future__ import annotations

import io

from vm_manager.cli.openssh_messages import OpenSshMessages


def _told(*lines: bytes, ports: tuple[int, ...] = (80,)) -> list[str]:
    told: list[str] = []
    stream = io.BytesIO(b"".join(line + b"\r\n" for line in lines))
    OpenSshMessages(stream, name="web", ports=ports, tell=told.append).finish(30)
    return told


def test_a_refused_connection_is_told_once() -> None:
    line = b"channel 2: open failed: connect failed: Connection refused"
    listeners = "`vmctl ssh web -- 'ss -tln || netstat -tln'` shows what does"
    assert _told(line, line.replace(b"2", b"3"), line) == [f"nothing in VM 'web' listens on port 80: {listeners}"]
    assert _told(line, ports=(80, 443)) == [f"nothing in VM 'web' listens on one of the ports 80, 443: {listeners}"]


def test_other_failures_are_told_with_their_reason() -> None:
    assert _told(
        b"channel 2: open failed: administratively prohibited: open failed",
        b"channel 2: open failed: connect failed: No route to host",
        b"channel 2: open failed: resource shortage",
    ) == [
        "sshd in VM 'web' does not forward to port 80: its configuration forbids it (AllowTcpForwarding)",
        "VM 'web' did not connect to port 80: No route to host",
        "VM 'web' did not connect to port 80: resource shortage",
    ]


def test_anything_else_is_passed_on() -> None:
    assert _told(b"client_loop: send disconnect: Broken pipe") == ["client_loop: send disconnect: Broken pipe"]


def test_a_guest_that_makes_up_reasons_is_no_trouble() -> None:
    told = _told(
        *(b"channel 2: open failed: connect failed: \x1b[2J%d" % number + b"x" * 9999 for number in range(500))
    )
    assert len(told) == 20
    assert max(map(len, told)) < 300
    assert "\x1b" not in "".join(told)
