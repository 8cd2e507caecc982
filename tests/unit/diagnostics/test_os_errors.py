"""The operating system's refusals as failures of ours."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from vm_manager.diagnostics.errors import DiskFull, IoFailed, PermissionDenied, VmError, VmNotFound
from vm_manager.diagnostics.os_errors import diagnosed, os_errors


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, DiskFull),
        (errno.EDQUOT, DiskFull),
        (errno.EACCES, PermissionDenied),
        (errno.EPERM, PermissionDenied),
        (errno.EROFS, PermissionDenied),
        (errno.EIO, IoFailed),
        (errno.EISDIR, IoFailed),
        (errno.ENAMETOOLONG, IoFailed),
    ],
    ids=errno.errorcode.get,
)
def test_the_error_number_decides(number: int, kind: type[VmError]) -> None:
    assert type(diagnosed(OSError(number, "text"), "/data")) is kind


def test_the_number_decides_whatever_language_the_text_is_in() -> None:
    assert type(diagnosed(OSError(errno.ENOSPC, "Auf dem Gerät ist kein Speicherplatz mehr"), "/")) is DiskFull


def test_the_errors_own_file_is_named_before_the_given_one() -> None:
    assert "/data/a" in str(diagnosed(OSError(errno.EIO, "", "/data/a"), "/data"))
    assert "/data" in str(diagnosed(OSError(errno.EIO, ""), "/data"))


def test_a_full_disk_gets_the_command_that_shows_it() -> None:
    (advice,) = diagnosed(OSError(errno.ENOSPC, ""), "/my data/vm.json").diagnostic.help
    assert "`df -h /`" in advice


def test_a_real_refusal_is_the_cause(tmp_path: Path) -> None:
    with pytest.raises(IoFailed) as caught, os_errors(tmp_path):
        (tmp_path / "missing").read_bytes()
    (cause,) = caught.value.diagnostic.causes
    assert (cause.type, cause.errno) == ("FileNotFoundError", errno.ENOENT)
    assert str(tmp_path / "missing") in str(caught.value)


def test_other_failures_pass_through_as_they_are() -> None:
    with pytest.raises(VmNotFound), os_errors("/data"):
        raise VmNotFound("gone")
    with pytest.raises(ValueError, match="a bug"), os_errors("/data"):
        raise ValueError("a bug")
