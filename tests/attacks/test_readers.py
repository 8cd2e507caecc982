"""What guests and servers write, read in a time that grows with its length, and no faster."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from vm_manager.backends.qemu import history
from vm_manager.backends.qemu.execution import execution_of
from vm_manager.backends.qemu.query import forwards_in
from vm_manager.diagnostics.errors import OciPullFailed
from vm_manager.diagnostics.excerpt import excerpt
from vm_manager.diagnostics.redact import redact
from vm_manager.diagnostics.safe_text import safe_lines
from vm_manager.domain.bounded_json import Unreadable, parse
from vm_manager.domain.oci_reference import NotAReference, parse_reference
from vm_manager.guest import forensics
from vm_manager.guest.cloud_init_report import read_report
from vm_manager.guest.remote_scripts import directory_of
from vm_manager.host.console_log import panic_lines
from vm_manager.images.checksums import entries
from vm_manager.images.oci.challenge import parse_challenges
from vm_manager.images.oci.manifest import read_manifest

_MAX_S = 2.0
_REFERENCE = parse_reference("oci://example.org/image:1")
_ENTRY = "2024-01-01 00:00:00,000 - util.py[WARNING]: "
_UNREAD = "Failed loading yaml blob. Invalid"


def _report(log: str = "", errors: object = (), recoverable: object = ()) -> str:
    result = {"v1": {"datasource": "DataSourceNoCloud", "errors": errors}}
    status = {"v1": {"init": {"errors": [], "recoverable_errors": {"WARNING": recoverable}}}}
    return f"vmctl:result\n{json.dumps(result)}\nvmctl:status\n{json.dumps(status)}\nvmctl:units\n\nvmctl:log\n{log}"


def _parsed(text: str) -> None:
    with suppress(Unreadable):
        parse(text, most_bytes=4 * 1024**2)


def _reference(text: str) -> None:
    with suppress(NotAReference):
        parse_reference(f"oci://{text}")


def _manifest(body: bytes) -> None:
    with suppress(OciPullFailed):
        read_manifest(body, "", _REFERENCE)


def _history(text: str) -> None:
    for time_, event, rest in history._LINE.findall(text.encode()):
        history._after(history.History(), float(time_), event, rest)


# By name: what reads, and what is read of that many characters.
_REPORTS: dict[str, Callable[[int], str]] = {
    "lines of one part that could not be read": lambda n: _report(f"{_ENTRY}{_UNREAD}\n" + "a\n" * (n // 2)),
    "parts that could not be read": lambda n: _report(f"{_ENTRY}{_UNREAD}\n" * (n // 78)),
    "recoverable errors beside errors": lambda n: _report(
        "", [f"e{i}" for i in range(n // 20)], [f"x: w{i}" for i in range(n // 20)]
    ),
    "recoverable errors beside a long error": lambda n: _report("", ["\n" * (n // 4)], ["a"] * (n // 10)),
    "run-parts without an end": lambda n: _report("", ["('scripts-user', " + "Runparts: 1 failures (" * (n // 22)]),
    "sections": lambda n: "vmctl:log\n" * (n // 10),
    "digits of a time": lambda n: _report("2024-01-01 00:00:00," + "1" * n),
    "nested objects": lambda n: "vmctl:result\n" + '{"a":' * (n // 5),
    "a number": lambda n: 'vmctl:result\n{"v1":' + "1" * n,
}
_TEXTS: dict[str, Callable[[str], object]] = {
    "redact": redact,
    "safe lines": safe_lines,
    "excerpt": lambda text: excerpt(text.splitlines(), 10),
    "panic": panic_lines,
    "stage": forensics.stage_of,
    "seed": forensics.ignored_seed,
    "dead end": lambda text: forensics.boot_failure(text.split("\n"), [text]),
    "directory": directory_of,
    "registers": execution_of,
    "forwards": forwards_in,
    "history": _history,
    "checksums": lambda text: list(entries(text)),
    "challenge": lambda text: parse_challenges(f"Bearer {text}"),
    "reference": _reference,
    "json": _parsed,
    "manifest": lambda text: _manifest(text.encode()),
}
_TRIES = 3
# Beginnings of what the readers look for, again and again.
_PIECES = (
    "\n", " ", "a", "\r", ",", ":", "@", "0", "\x1b[", "\x1b]", "\x1bP", "a=", 'a="\\', '"', '\\"', "[", "{", '{"a":', "a/", "a.",
    "://", "http://", "https://a:", "http://a?", "token=", 'token="', "bearer ", "authorization: basic ", "ghp_", "?sig",
    "-----BEGIN ", "-----BEGIN A ", "-----END PRIVATE KEY-----\nAAAA\n", "AAAA\n", "Cloud-init v. ", "Run x", "Run ",
    "Cloud-init v. x finished at ", "[    ", "grub rescue> ", "(initramfs) ", "emergency:", "login: ", "error ", "no errors ",
    "Kernel panic - not syncing\n", "SHA256 (", "SHA256 (a) = ", "a" * 64 + "  x", "RIP=0 ", "RIP=0 CPL", "CPL=", "1@1.0:a",
    "TCP[HOST_FORWARD] ", "TCP[HOST_FORWARD] a b 1 ", "vmctl:/tmp/vmctl.a",
)  # fmt: skip


def _seconds(read: Callable[[str], object], text: str) -> float:
    started = time.process_time()
    read(text)
    return time.process_time() - started


def _require_linear(read: Callable[[str], object], text_of: Callable[[int], str]) -> None:
    """Eight times as much takes no more than some eight times as long; sixty-four times would be the square of it."""
    # What took the square of the length took seconds; on a busy machine anything takes a little longer now and then.
    for _ in range(_TRIES):
        small, large = _seconds(read, text_of(40_000)), _seconds(read, text_of(320_000))
        if large < 0.5 or large < small * 24:
            break
    else:
        pytest.fail(f"{small:.3f} s and {large:.3f} s for eight times as much")
    assert large < _MAX_S


@pytest.mark.parametrize("of", _REPORTS)
def test_a_report_of_cloud_init_is_read_in_a_time_that_grows_with_its_length(of: str) -> None:
    _require_linear(read_report, _REPORTS[of])


@pytest.mark.parametrize("reader", _TEXTS)
def test_a_text_is_read_in_a_time_that_grows_with_its_length(reader: str) -> None:
    for piece in _PIECES:
        _require_linear(_TEXTS[reader], lambda length, piece=piece: piece * (length // len(piece)))  # type: ignore[misc]
