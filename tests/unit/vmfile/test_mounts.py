"""Directories of the host in the guest: which ones may be, where, and what becomes of how they are written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from unit.vmfile.vmfiles import loaded, problems, vm_of
from vm_manager.domain.share import Mount

_NOBODY = 65534


def _file(*mounts: str) -> str:
    lines = "; ".join(f"mount {mount}" for mount in mounts)
    return f'vm "web" {{ image "disk.qcow2"; {lines}; }}\n'


def test_a_source_is_resolved_and_a_target_has_its_shortest_form(tmp_path: Path) -> None:
    (tmp_path / 'a, "b" ü').mkdir()
    (tmp_path / "link").symlink_to(tmp_path / 'a, "b" ü')
    spec = vm_of(tmp_path, 'mount "link" "//srv/./my files/" read-only=#true\nmount "." "/srv/x/../y"')
    assert spec.mounts == (
        Mount(source=f'{tmp_path}/a, "b" ü', target="/srv/my files", read_only=True),
        Mount(source=str(tmp_path), target="/srv/y"),
    )
    one, two = spec.mounts
    assert one.tag != two.tag
    # virtiofs takes 36 bytes, 9p 31.
    assert len(one.tag) <= 31


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (mount,) = vm_of(tmp_path, 'mount "~" "/srv"').mounts
    assert mount.source == str(tmp_path)


@pytest.mark.parametrize(
    ("mount", "message", "marked"),
    [
        ('"/" "/srv"', "the root directory cannot be shared with a guest", '"/"'),
        (
            '"/proc/sys" "/srv"',
            "the directory to mount is in /proc, /sys or /dev, which vmctl does not read",
            '"/proc/sys"',
        ),
        ('"/sys" "/srv"', "the directory to mount is in /proc, /sys or /dev, which vmctl does not read", '"/sys"'),
        ('"link" "/srv"', "the directory to mount is in /proc, /sys or /dev, which vmctl does not read", '"link"'),
        ('"." "/"', "a directory cannot be mounted on / of the guest", '"/"'),
        ('"." "/srv/.."', "a directory cannot be mounted on / of the guest", '"/srv/.."'),
        ('"." "/usr/"', "a directory cannot be mounted on /usr of the guest", '"/usr/"'),
        ('"." "/home"', "a directory on /home hides the keys of user 'vm'", '"/home"'),
        ('"." "/home/vm/"', "a directory on /home/vm hides the keys of user 'vm'", '"/home/vm/"'),
        ('"." "/home/vm/.ssh"', "a directory on /home/vm/.ssh hides the keys of user 'vm'", '"/home/vm/.ssh"'),
        ('"." "srv"', "a mount target that is not absolute", '"srv"'),
        ('"missing" "/srv"', "the directory to mount does not exist", '"missing"'),
        ('"disk.qcow2" "/srv"', "the directory to mount is not a directory", '"disk.qcow2"'),
    ],
)
def test_what_cannot_be_mounted_is_marked(tmp_path: Path, mount: str, message: str, marked: str) -> None:
    (tmp_path / "link").symlink_to("/proc/sys")
    (found,) = problems(tmp_path, _file(mount))
    assert (found.message, found.marked) == (message, [marked])


def test_beside_the_home_of_the_user_and_below_it_there_is_room(tmp_path: Path) -> None:
    for user, target in (("vm", "/home/vm/src"), ("vm", "/root"), ("root", "/home/vm"), ("root", "/root/src")):
        spec = vm_of(tmp_path, f'mount "." "{target}"\nssh {{ user "{user}"; }}')
        assert spec.mounts[0].target == target
    text = 'vm "web" { image "disk.qcow2"; mount "." "/root"; ssh { user "root"; }; }'
    (found,) = problems(tmp_path, text)
    assert found.help == ("mount it below, such as on /root/src",)


def test_two_mounts_at_one_place_are_marked_however_they_are_written(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, _file('"." "/srv/a"', '".." "//srv/./a/"'))
    assert found.message == "two directories are mounted on //srv/./a/"
    assert found.marked == ['"//srv/./a/"', '"/srv/a"']


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_another_users_directory_is_a_warning_with_its_owner(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", _NOBODY, _NOBODY)
    (warning,) = loaded(tmp_path, _file('"theirs" "/srv"')).warnings
    assert warning.message == "the directory to mount belongs to another user: nobody"
    assert warning.help == ("the guest reads and writes it as nobody",)
