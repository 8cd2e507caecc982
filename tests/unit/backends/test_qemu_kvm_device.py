"""What is said of a /dev/kvm that may not be opened, to whom."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from vm_manager.backends.qemu.kvm_device import device_finding

_USER, _GROUP = 65534, 64000  # nobody, and a group without a name
_NAMED = 6  # "disk", in every distribution


def _advice(device: Path, groups: list[int]) -> str:
    """The first help that a user without privileges gets, in these groups."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.setgroups(groups)
            os.setresgid(_USER, _USER, _USER)
            os.setresuid(_USER, _USER, _USER)
            finding = device_finding(device)
            os.write(writer, (finding.diagnostic.help[0] if finding else "opens").encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as said:
        return said.read()


@pytest.mark.skipif(os.geteuid() != 0, reason="to be somebody else takes root")
@pytest.mark.parametrize(
    ("owner", "mode", "groups", "said"),
    [
        (_NAMED, 0o660, [], 'join the group that owns it: `sudo usermod -aG disk "$USER"`'),
        (_NAMED, 0o600, [], "give a group access to it: "),
        (0, 0o660, [], "give a group access to it: "),
        (_GROUP, 0o660, [], "ask the administrator"),
        (_NAMED, 0o660, [_NAMED], "opens"),
    ],
)
def test_the_advice_goes_by_the_node_and_the_user(owner: int, mode: int, groups: list[int], said: str) -> None:
    # Not below pytest's own directory, which is closed to others.
    with TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        device = Path(directory, "kvm")
        device.touch()
        os.chown(device, 0, owner)
        device.chmod(mode)
        assert _advice(device, groups).startswith(said)
