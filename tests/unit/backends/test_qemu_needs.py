"""What of a command line counts when a saved state is loaded."""

from __future__ import annotations

import pytest

from vm_manager.backends.qemu.needs import Needs, normalised, require_same_command_line
from vm_manager.diagnostics.errors import MigrationFailed

_ARGV = ("qemu", "-m", "256M", "-netdev", "user,id=net0,hostfwd=tcp:127.0.0.1:0-:22", "-cpu", "max")
_MORE_PORTS = "hostfwd=udp:0.0.0.0:53-:53,hostfwd=tcp:127.0.0.1:40022-:2222"
_NEEDS = Needs(qemu="7.2", argv=normalised(_ARGV), size_bytes=1, sha256="0")


@pytest.mark.parametrize(
    "argv",
    [
        _ARGV,
        (*_ARGV, "-incoming", "defer", "-S"),
        (*_ARGV, "-S"),
        tuple(word.replace(":0-", ":40022-") for word in _ARGV),
        tuple(word.replace("hostfwd=tcp:127.0.0.1:0-:22", _MORE_PORTS) for word in _ARGV),
    ],
)
def test_ports_of_the_host_and_how_it_waits_do_not_count(argv: tuple[str, ...]) -> None:
    require_same_command_line(_NEEDS, argv)


def test_the_number_of_a_descriptor_does_not_count() -> None:
    ran, composed = (("qemu", "-netdev", f"tap,id=net1,fd={number}", "-m", "256M") for number in ("17", "N"))
    assert normalised(ran) == normalised(composed) == ("qemu", "-netdev", "tap,id=net1", "-m", "256M")


def test_a_state_that_was_saved_when_some_of_the_ports_counted_is_still_of_use() -> None:
    old = tuple(word.replace(":0-", ":-") for word in _ARGV)
    require_same_command_line(Needs(qemu="7.2", argv=old, size_bytes=1, sha256="0"), _ARGV)


def test_a_state_that_was_saved_before_the_base_was_named_is_still_of_use() -> None:
    old = ("qemu", "-blockdev", '{"driver": "qcow2", "node-name": "root", "file": "root-file", "discard": "unmap"}')
    new = (
        "qemu",
        "-blockdev", '{"driver": "file", "node-name": "base-file", "filename": "/b", "read-only": true}',
        "-blockdev", '{"driver": "qcow2", "node-name": "base", "file": "base-file", "read-only": true, "backing": null}',
        "-blockdev", old[2].replace("}", ', "backing": "base"}'),
    )  # fmt: skip
    assert normalised(new) == normalised(old) == old


@pytest.mark.parametrize("word", ["{x", "{" + "[" * 100_000, '{"a": ' + "1" * 100_000 + "}", "{}", '{"backing": {}}'])
def test_what_a_qemu_writes_over_its_own_command_line_is_a_word(word: str) -> None:
    assert normalised(("qemu", word)) == ("qemu", word)


@pytest.mark.parametrize(
    ("old", "new"), [("256M", "512M"), ("max", "qemu64"), ("net0", "net1"), ("user,", "user,restrict=on,")]
)
def test_everything_else_does(old: str, new: str) -> None:
    with pytest.raises(MigrationFailed) as caught:
        require_same_command_line(_NEEDS, tuple(word.replace(old, new) for word in _ARGV))
    (evidence,) = caught.value.diagnostic.evidence
    assert [line.split(":")[0] for line in evidence.lines] == ["saved under", "would be now"]
    assert new in evidence.lines[1]


def test_an_option_more_is_named() -> None:
    with pytest.raises(MigrationFailed) as caught:
        require_same_command_line(_NEEDS, (*_ARGV, "-device", "usb-tablet"))
    assert caught.value.diagnostic.evidence[0].lines == ("would be now: -device", "would be now: usb-tablet")


def test_another_order_is_another_machine() -> None:
    with pytest.raises(MigrationFailed) as caught:
        require_same_command_line(_NEEDS, ("qemu", "-cpu", "max", *_ARGV[1:5]))
    assert caught.value.diagnostic.evidence[0].lines == ("the order of the options",)
