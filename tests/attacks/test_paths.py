"""What is no file is not waited for, wherever an image is named."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from driver import Vmctl
from within import within


def _fifo(path: Path) -> str:
    os.mkfifo(path)
    return str(path)


def _link_to_proc(path: Path) -> str:
    path.symlink_to("/proc/self/environ")
    return str(path)


def _directory(path: Path) -> str:
    path.mkdir()
    return str(path)


_PLACES: dict[str, Callable[[Path], str]] = {
    "fifo": _fifo,
    "device": lambda path: "/dev/zero",
    "terminal": lambda path: "/dev/tty",
    "proc": lambda path: "/proc/kmsg",
    "link to proc": _link_to_proc,
    "sys": lambda path: "/sys/kernel/mm/transparent_hugepage/enabled",
    "directory": _directory,
}


@pytest.mark.parametrize("place", _PLACES)
def test_what_is_no_file_is_refused_at_once_as_an_image(place: str, vmctl: Vmctl) -> None:
    path = _PLACES[place](vmctl.directory / "disk.qcow2")
    for command in (
        ("image", "pull", path),
        ("image", "pull", f"file://{path}"),
        ("image", "inspect", path),
        ("image", "convert", path, "whole.qcow2"),
        ("create", "--name", "web", "--image", path),
    ):
        with within(15):
            result = vmctl(*command, status=None)
        assert result.code == "vm_manager::image::refused", (command, result.stderr)
        assert result.status == 8
        assert "Traceback" not in result.stderr
