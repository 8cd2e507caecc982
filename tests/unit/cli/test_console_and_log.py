"""`vmctl console` and `vmctl log` where nothing runs: what they refuse, and logs that mean harm."""

from __future__ import annotations

from pathlib import Path

import pytest

from driver import Vmctl


@pytest.fixture
def noop(vmctl: Vmctl) -> Vmctl:
    """A VM that is up on the noop backend."""
    (vmctl.directory / "disk.img").write_bytes(b"\0" * 512)
    vmctl.write('vm "web" { image "disk.img" }\n')
    vmctl.env["VMCTL_BACKEND"] = "noop"
    vmctl("up")
    return vmctl


def console_log(vmctl: Vmctl, content: bytes) -> Path:
    """Have the guest have said something."""
    log = vmctl.home("web") / "console.log"
    log.write_bytes(content)
    return log


def test_a_backend_without_consoles_says_so(noop: Vmctl) -> None:
    result = noop("console", "web", status=6)
    assert result.code == "vm_manager::backend::not_available"
    assert "the noop backend has no serial console" in result.stderr


def test_a_vm_that_does_not_exist_has_neither_a_console_nor_a_log(noop: Vmctl) -> None:
    missing = noop("console", "wab", status=4)
    assert missing.code == "vm_manager::vm::not_found"
    assert "did you mean 'web'?" in missing.stderr
    assert noop("log", "wab", status=4).code == "vm_manager::vm::not_found"


@pytest.mark.parametrize(("word", "meant"), [("logs", "log"), ("attach", "console")])
def test_the_words_of_peers_are_understood(noop: Vmctl, word: str, meant: str) -> None:
    assert f"did you mean `vmctl {meant}`?" in noop(word, "web", status=2).stderr


def test_what_a_guest_wrote_cannot_drive_the_terminal(noop: Vmctl) -> None:
    console_log(noop, b"\x1b[2J\x1b]0;title\x07one\r\n50%\r100%\n\xff\xfe\x9b31m\xe2\x80\xaetwo\nlast")
    assert noop("log", "web", "--console").stdout == "one\n100%\n\ufffd\ufffd\ufffd31m\\u{202e}two\nlast\n"


def test_commands_for_a_workflow_stay_text(noop: Vmctl) -> None:
    console_log(noop, b"::error::forged\n##[error]forged\n")
    shown = noop("log", "web", "--console", "--error-format", "github").stdout
    assert "forged" in shown
    assert not any(line.startswith(("::", "##[")) for line in shown.splitlines())


def test_an_endless_line_is_bounded(noop: Vmctl) -> None:
    console_log(noop, b"x" * 3_000_000)
    shown = noop("log", "web", "--console").stdout
    assert len(shown) < 5000
    assert "more bytes)" in shown


def test_several_logs_are_headed_and_empty_ones_are_told_of(noop: Vmctl) -> None:
    console_log(noop, b"a\nb\nc\n")
    both = noop("log", "web", "-n", "2")
    assert both.stdout == "==> console.log <==\nb\nc\n"
    assert both.stderr == "the provision log of VM 'web' is empty\n"
    assert noop("log", "web", "-q", "--provision").stderr == ""
    assert noop("log", "web", "--console", "-n", "0").stdout == ""


@pytest.mark.parametrize("record", [None, "{"], ids=["whole", "damaged"])
def test_a_log_that_its_backend_does_not_have_is_refused(noop: Vmctl, record: str | None) -> None:
    if record:
        (noop.home("web") / "vm.json").write_text(record)
    refused = noop("log", "web", "--console", "--qemu", status=6)
    assert refused.code == "vm_manager::backend::not_available"
    assert "VM 'web' has no qemu log" in refused.stderr
    assert "help: it has these logs: console, provision" in refused.stderr


def test_following_ends_when_the_vm_is_removed(noop: Vmctl) -> None:
    console_log(noop, b"here\n")
    follower = noop.start("log", "web", "-f", "--console")
    assert follower.stdout is not None
    assert follower.stdout.readline() == "here\n"
    noop("destroy", "web")
    assert follower.wait(60) == 0
    follower.communicate()


def test_a_log_can_be_read_although_the_record_cannot(noop: Vmctl) -> None:
    console_log(noop, b"here\n")
    (noop.home("web") / "vm.json").write_text("{")
    assert noop("log", "web", "--console").stdout == "here\n"
