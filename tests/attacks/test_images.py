"""Images that are made to read files of the host, or to use it up: refused before QEMU or qemu-img sees them."""

from __future__ import annotations

import gzip
import json
import lzma
import os
import re
import resource
import shlex
import shutil
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from lzma import FORMAT_XZ, LZMACompressor
from pathlib import Path
from zlib import crc32

import pytest

from conftest import TinyGuest
from driver import BLANK, Result, Vmctl, blank_disk, qemu_processes, small_file_system, wait_for
from proofs import prove
from servers import serving
from unit.samples import spec
from vm_manager.backends.qemu.accelerator import Choice
from vm_manager.backends.qemu.command import command_line
from vm_manager.backends.qemu.disks import BaseDisk
from vm_manager.domain.spec import Accelerator
from vm_manager.host.image_header import CONVERTIBLE, read_header

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdCompressor
    from compression.zstd import compress as zstd_compress
else:
    from backports.zstd import ZstdCompressor
    from backports.zstd import compress as zstd_compress

_MIB = 1024 * 1024
_MOST_KIB = 200 * 1024
_SECRET = "-----BEGIN OPENSSH PRIVATE KEY----- c2VjcmV0"
# Only these run as they are.
_RUNNABLE = {"qcow2", "raw"}


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A private file of the user's."""
    path = tmp_path / "id_ed25519"
    path.write_text(_SECRET.ljust(4096, "x"))
    path.chmod(0o600)
    return path


def _qemu_img(*words: str | Path) -> None:
    subprocess.run(["qemu-img", *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _creatable() -> list[str]:
    """The formats of files that the installed qemu-img can make."""
    text = subprocess.run(["qemu-img", "--help"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"^Supported formats: (.*)$", text, re.MULTILINE)
    assert found
    protocols = {"file", "host_device", "host_cdrom", "nvme", "nbd", "ssh", "rbd", "iscsi", "nfs", "gluster", "luks"}
    return [name for name in found[1].split() if name not in protocols and _can_be_made(name)]


def _can_be_made(format: str) -> bool:
    options = ["qemu-img", "create", "-f", format, "-o", "help"]
    done = subprocess.run(options, capture_output=True, text=True, check=False)
    return done.returncode == 0 and done.stdout.startswith("Supported")


# References to other files


def _descriptor(secret: Path) -> bytes:
    name = os.path.relpath(secret, "/")
    return (
        "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
        'createType="monolithicFlat"\n# Extent description\n'
        f'RW 8 FLAT "{"../" * 12}{name}" 0\nddb.adapterType = "ide"\n'
    ).encode()


def _hidden_descriptor(secret: Path) -> bytes:
    """With the mark of a boot sector, and with comments before everything that QEMU looks for."""
    text = b"#" * 300 + b"\n" + _descriptor(secret).partition(b"\n")[2]
    padded = text.replace(b"# Extent description", b"#".ljust(510 - text.index(b"# Extent"), b"x"), 1)
    return padded[:510] + b"\x55\xaa" + padded[512:]


@pytest.mark.parametrize("name", ["disk.vmdk", "disk.qcow2", "disk"])
def test_a_vmdk_that_names_files_of_the_host_is_refused_wherever_it_comes_from(
    vmctl: Vmctl, secret: Path, name: str
) -> None:
    content = _descriptor(secret)
    (vmctl.directory / name).write_bytes(content)
    with serving(content) as server:
        vmctl.write(f'vm "a" {{\n    image-url "{server.url}/{name}"\n    memory 64\n}}\n')
        commands = [
            ("image", "pull", f"{server.url}/{name}"),
            ("image", "pull", name),
            ("up",),
            ("create", "--name", "b", "--image", name),
            ("image", "convert", name, "whole.raw", "--format", "raw"),
            ("image", "inspect", name),
        ]
        for words in commands:
            result = vmctl(*words, status=8)
            assert result.code == "vm_manager::image::refused", words
            assert "qemu-img convert" not in result.stderr
            assert _SECRET[:20] not in result.stdout + result.stderr
    assert vmctl("list", "--quiet").stdout == vmctl("image", "list", "--quiet").stdout == ""
    assert not (vmctl.directory / "whole.raw").exists()


def test_marks_of_a_disk_do_not_make_a_vmdk_of_text_one(vmctl: Vmctl, secret: Path) -> None:
    (vmctl.directory / "disk").write_bytes(_hidden_descriptor(secret))
    assert vmctl("image", "pull", "disk", status=8).code == "vm_manager::image::refused"


def test_a_guest_does_not_boot_from_a_disk_that_ends_in_a_private_key(
    vmctl: Vmctl, tiny: TinyGuest, secret: Path
) -> None:
    raw = vmctl.directory / "tiny.raw"
    _qemu_img("convert", "-O", "raw", tiny.image, raw)
    sectors = raw.stat().st_size // 512
    (vmctl.directory / "disk.vmdk").write_bytes(
        _descriptor(secret).replace(b"RW 8 FLAT", f'RW {sectors} FLAT "tiny.raw" 0\nRW 8 FLAT'.encode())
    )
    vmctl.write(tiny.vm(image='image "disk.vmdk"'))
    assert vmctl("up", status=8).code == "vm_manager::image::refused"
    assert qemu_processes(vmctl.data) == []


def _external_data(directory: Path, secret: Path) -> None:
    _qemu_img("create", "-f", "qcow2", "-o", f"data_file={directory}/data,data_file_raw=on", directory / "disk", "4096")
    _qemu_img("amend", "-f", "qcow2", "-o", f"data_file={secret}", directory / "disk")


def _with_backing(directory: Path, name: str) -> None:
    _qemu_img("create", "-u", "-f", "qcow2", "-F", "raw", "-b", name, directory / "disk", "4096")


def _bit_alone(directory: Path, secret: Path) -> None:
    """Says that its data is elsewhere, and not where."""
    _qemu_img("create", "-f", "qcow2", directory / "disk", "4096")
    with (directory / "disk").open("r+b") as file:
        file.seek(72)
        file.write((4).to_bytes(8, "big"))


def _json_backing(directory: Path, secret: Path) -> None:
    _with_backing(directory, "json:" + json.dumps({"driver": "raw", "file.filename": str(secret)}))


def _vmdk_child(directory: Path) -> None:
    _qemu_img("create", "-f", "vmdk", directory / "parent", "4096")
    _qemu_img("create", "-f", "vmdk", "-F", "vmdk", "-b", directory / "parent", directory / "disk")


_REFERENCES: dict[str, Callable[[Path, Path], None]] = {
    "a backing file": lambda directory, secret: _with_backing(directory, str(secret)),
    "a backing file by JSON": _json_backing,
    "a server": lambda directory, _: _with_backing(directory, "nbd://127.0.0.1:1/x"),
    "a data file": _external_data,
    "a data file without a name": _bit_alone,
    "a qcow's backing file": lambda directory, secret: _qemu_img(
        "create", "-u", "-f", "qcow", "-F", "raw", "-b", secret, directory / "disk", "4096"
    ),
    "a qed's backing file": lambda directory, secret: _qemu_img(
        "create", "-u", "-f", "qed", "-F", "raw", "-b", secret, directory / "disk", "4096"
    ),
    "a vmdk's parent": lambda directory, _: _vmdk_child(directory),
    "a vmdk's only extent": lambda directory, _: _qemu_img(
        "create", "-f", "vmdk", "-o", "subformat=monolithicFlat", directory / "disk", "4096"
    ),
}


@pytest.mark.parametrize("name", ["x" * 300, "a/" * 400, "x\n\x1b[2J", "nbd://[::1", "json:{" + "[" * 500])
def test_whatever_is_in_the_name_of_a_backing_file(blank: Vmctl, name: str) -> None:
    blank("up")
    blank("down", "--timeout", "0")
    disk = blank.directory / "disk"
    _qemu_img("create", "-f", "qcow2", disk, "1M")
    with disk.open("r+b") as file:
        file.seek(8)
        file.write(struct.pack(">QI", 512, len(name)))
        file.seek(512)
        file.write(name.encode())
    assert blank("image", "pull", "disk", status=8).code == "vm_manager::image::refused"
    result = blank("image", "inspect", "disk")
    assert "\x1b" not in result.stdout
    # The disk of a VM, which a guest that has broken out of it may write to as it likes, stops nobody else.
    disk.replace(blank.home("blank") / "overlay.qcow2")
    assert "bug" not in blank("image", "prune", "--dry-run", status=None).stderr
    blank("destroy", "blank")


def test_an_image_of_another_format_that_an_early_vmctl_kept_can_be_listed_and_removed(blank: Vmctl) -> None:
    blank("image", "pull", "blank.qcow2")
    (image,) = blank("image", "list", "--json").json["images"]
    Path(image["path"]).unlink()
    _qemu_img("create", "-f", "vmdk", image["path"], "1M")
    (Path(image["path"]).parent / "meta.json").unlink()
    (listed,) = blank("image", "list", "--json").json["images"]
    assert listed["digest"] == image["digest"]
    blank("image", "rm", image["digest"])
    assert blank("image", "list", "--json").json["images"] == []


@pytest.mark.parametrize("kind", _REFERENCES)
def test_no_image_that_refers_to(kind: str, blank: Vmctl, secret: Path) -> None:
    _REFERENCES[kind](blank.directory, secret)
    blank.write(BLANK.replace("blank.qcow2", "disk"))
    for words in (("image", "pull", "disk"), ("up",), ("image", "convert", "disk", "whole")):
        result = blank(*words, status=8)
        assert result.code == "vm_manager::image::refused", (words, result.stderr)
        assert "qemu-img convert" not in result.stderr
    assert not (blank.directory / "whole").exists()


@pytest.mark.parametrize("format", _creatable())
def test_of_all_formats_only_raw_and_qcow2_run_as_they_are(vmctl: Vmctl, format: str) -> None:
    disk = vmctl.directory / "disk"
    _qemu_img("create", "-f", format, disk, "1M")
    assert read_header(disk).format == format
    vmctl.write(BLANK.replace("blank.qcow2", "disk"))
    result = vmctl("up", status=None)
    assert result.status == (0 if format in _RUNNABLE else 8), result.stderr
    assert result.code == (None if format in _RUNNABLE else "vm_manager::image::refused")
    advised = re.findall("`(vmctl image convert .*)`", result.stderr)
    assert bool(advised) == (format in CONVERTIBLE)
    for command in advised:
        vmctl(*shlex.split(command)[1:])
        vmctl.write(BLANK.replace("blank.qcow2", "disk.qcow2"))
        assert "started" in vmctl("up").stdout
    assert vmctl("image", "pull", "disk", status=None).status == (0 if format in {*_RUNNABLE, *CONVERTIBLE} else 8)


@pytest.mark.parametrize(
    ("format", "options"), [(f, ()) for f in CONVERTIBLE] + [("vmdk", ("-o", "subformat=streamOptimized"))]
)
def test_what_others_have_is_converted_into_the_cache_whole(
    vmctl: Vmctl, tiny: TinyGuest, format: str, options: tuple[str, ...]
) -> None:
    disk = vmctl.directory / f"disk.{format}"
    _qemu_img("convert", "-O", format, *options, tiny.image, disk)
    with serving(disk.read_bytes()) as server:
        vmctl("image", "pull", f"{server.url}/{disk.name}")
    (image,) = json.loads(vmctl("image", "list", "--json").stdout)["images"]
    assert (image["format"], image["digest"]) == ("qcow2", f"sha256:{sha256(disk.read_bytes()).hexdigest()}")
    _qemu_img("compare", "-F", "qcow2", "-f", "qcow2", tiny.image, image["path"])
    assert sorted((vmctl.data / "vmctl" / "images").rglob("fetched*")) == []


def test_a_guest_boots_from_what_was_a_vmdk(vmctl: Vmctl, tiny: TinyGuest) -> None:
    disk = vmctl.directory / "disk.vmdk"
    _qemu_img("convert", "-O", "vmdk", "-o", "subformat=streamOptimized", tiny.image, disk)
    with serving(disk.read_bytes()) as server:
        vmctl.write(tiny.vm(image=f'image-url "{server.url}/disk.vmdk"'))
        vmctl("up")
    assert vmctl("ssh", "tiny", "--", "echo", "it runs").stdout == "it runs\n"


def test_nothing_is_converted_without_a_sandbox(vmctl: Vmctl) -> None:
    _qemu_img("create", "-f", "vdi", vmctl.directory / "disk", "1M")
    vmctl.env["VMCTL_SANDBOX"] = "off"
    for words in (("pull", "disk"), ("convert", "disk", "disk.qcow2")):
        result = vmctl("image", *words, status=8)
        assert result.code == "vm_manager::image::refused"
        assert "only in a sandbox" in result.stderr
    assert not (vmctl.directory / "disk.qcow2").exists()


def test_a_vmdk_whose_text_counts_although_it_is_a_sparse_one(vmctl: Vmctl, secret: Path) -> None:
    disk = vmctl.directory / "disk"
    header = struct.pack("<4sIIQQQQIQQQ", b"KDMV", 1, 3, 0, 128, 1, 20, 512, 0, 0, 0).ljust(512, b"\0")
    disk.write_bytes((header + _descriptor(secret)).ljust(64 * 1024, b"\0"))
    # It is what it is meant to be: without limits qemu-img opens the key.
    _qemu_img("convert", "-f", "vmdk", "-O", "raw", disk, vmctl.directory / "stolen")
    assert _SECRET.encode() in (vmctl.directory / "stolen").read_bytes()
    for words in (("pull", "disk"), ("convert", "disk", "whole")):
        assert vmctl("image", *words, status=8).code == "vm_manager::image::refused"


@pytest.mark.parametrize("format", CONVERTIBLE)
def test_a_disk_of_another_format_is_not_taken_beyond_the_limits(vmctl: Vmctl, format: str) -> None:
    _qemu_img("create", "-f", format, vmctl.directory / "disk", "3T" if format != "vdi" else "1T")
    assert _measured(vmctl, "image", "pull", "disk", "--max-size", "64MiB").code == "vm_manager::image::too_large"
    assert vmctl("image", "list", "--quiet").stdout == ""


def test_a_disk_that_becomes_larger_than_there_is_room_leaves_some_free(vmctl: Vmctl, tmp_path: Path) -> None:
    raw, disk = vmctl.directory / "raw", vmctl.directory / "disk.vmdk"
    raw.write_bytes(_BOOT_SECTOR + b"x" * (256 * _MIB - len(_BOOT_SECTOR)))
    _qemu_img("convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", raw, disk)
    raw.unlink()
    assert disk.stat().st_size < 4 * _MIB
    with small_file_system(tmp_path / "small", "200m") as data:
        result = Vmctl(vmctl.directory, data)("image", "pull", "disk.vmdk", status=6)
        assert result.code == "vm_manager::host::disk_full"
        assert "available" in result.stderr
        assert sorted(data.rglob("fetched*")) == []
    result = vmctl("image", "pull", "disk.vmdk", "--max-size", "256MiB", status=8)
    assert (result.code, "grows beyond" in result.stderr) == ("vm_manager::image::too_large", True)
    vmctl("image", "pull", "disk.vmdk", "--max-size", "257MiB")


@contextmanager
def _least_free_bytes(directory: Path) -> Iterator[list[int]]:
    """The least space that there was on a file system meanwhile."""
    least, over = [shutil.disk_usage(directory).free], threading.Event()

    def look() -> None:
        while not over.wait(0.01):
            least[0] = min(least[0], shutil.disk_usage(directory).free)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield least
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("format", ["raw", "qcow2"])
def test_a_conversion_that_takes_more_than_there_is_room_leaves_some_free(
    vmctl: Vmctl, tmp_path: Path, format: str
) -> None:
    raw = vmctl.directory / "raw"
    raw.write_bytes(_BOOT_SECTOR + b"x" * (128 * _MIB - len(_BOOT_SECTOR)))
    _qemu_img("convert", "-c", "-f", "raw", "-O", "qcow2", raw, vmctl.directory / "disk")
    raw.unlink()
    with small_file_system(tmp_path / "small", "200m") as small:
        (small / "others").write_bytes(bytes(130 * _MIB))
        with _least_free_bytes(small) as least:
            result = vmctl("image", "convert", "disk", str(small / "whole"), "--format", format, status=6)
        assert result.code == "vm_manager::host::disk_full"
        assert "no space available besides the reserve" in result.stderr
        assert least[0] > _MIB
        assert [path.name for path in small.iterdir()] == ["others"]


def test_a_disk_of_holes_is_converted_where_there_is_no_room_for_all_of_it(vmctl: Vmctl, tmp_path: Path) -> None:
    _qemu_img("create", "-f", "qcow2", vmctl.directory / "disk", "4G")
    with small_file_system(tmp_path / "small", "200m") as small:
        vmctl("image", "convert", "disk", str(small / "whole"), "--format", "raw")
        assert (small / "whole").stat().st_size == 4096 * _MIB


@pytest.mark.parametrize("name", ["nbd:127.0.0.1:1", "fat:rw:.", "json:{}", "-c", "file:x"])
def test_the_name_of_a_new_image_is_no_protocol(blank: Vmctl, name: str) -> None:
    blank("image", "convert", "--format", "raw", "--", "blank.qcow2", name)
    assert [path.name for path in blank.directory.iterdir() if path.name not in ("blank.qcow2", "VMFile.kdl")] == [name]


@pytest.mark.parametrize("format", CONVERTIBLE)
def test_a_disk_of_another_format_that_is_damaged_is_told(vmctl: Vmctl, tiny: TinyGuest, format: str) -> None:
    disk = vmctl.directory / "disk"
    _qemu_img("convert", "-O", format, tiny.image, disk)
    os.truncate(disk, 200)
    result = vmctl("image", "pull", "disk", status=8)
    assert result.code == "vm_manager::image::format_detection_failed", result.stderr
    assert vmctl("image", "list", "--quiet").stdout == ""


def test_a_disk_that_is_encrypted_is_refused(vmctl: Vmctl) -> None:
    blank_disk(vmctl.directory)
    disk = (vmctl.directory / "blank.qcow2").read_bytes()
    luks = (2).to_bytes(4, "big")  # what qemu-img itself sometimes cannot make on a busy host, as it measures the time
    (vmctl.directory / "disk").write_bytes(disk[:32] + luks + disk[36:])
    assert "is encrypted" in vmctl("image", "pull", "disk", status=8).stderr


def test_a_pipe_is_not_waited_for(vmctl: Vmctl) -> None:
    os.mkfifo(vmctl.directory / "disk")
    for words in (("pull", "disk"), ("inspect", "disk"), ("convert", "disk", "x")):
        assert vmctl("image", *words, status=8).code == "vm_manager::image::refused"


# Images that change after they were looked at


def _swap(base: Path, secret: Path) -> None:
    """Put an image with a backing file in the place of a base, with its size and time."""
    before = base.stat()
    replacement = base.with_name("swapped")
    _with_backing_of(secret, replacement)
    os.truncate(replacement, before.st_size)
    base.write_bytes(replacement.read_bytes())
    os.utime(base, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (base.stat().st_size, base.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def _with_backing_of(secret: Path, path: Path) -> None:
    _qemu_img("create", "-u", "-f", "qcow2", "-F", "raw", "-b", secret, path, "16M")


def test_a_base_that_was_swapped_behind_its_time_is_not_started(blank: Vmctl, secret: Path) -> None:
    blank("up")
    blank("down", "--timeout", "0")
    _swap(blank.directory / "blank.qcow2", secret)
    for words in (("start", "blank"), ("up",)):
        assert blank(*words, status=8).code == "vm_manager::image::base_changed"
    assert qemu_processes(blank.data) == []


def test_a_base_whose_links_permissions_or_place_have_changed_is_the_same(blank: Vmctl) -> None:
    blank("up")
    blank("down", "--timeout", "0")
    base = blank.directory / "blank.qcow2"
    base.chmod(0o444)
    base.with_name("link").hardlink_to(base)
    assert blank("start", "blank").stdout == "blank: started\n"
    blank("stop", "blank", "--timeout", "0")
    subprocess.run(["cp", "-p", str(base), str(base.with_name("copy"))], check=True)
    base.with_name("copy").replace(base)
    assert blank("start", "blank").stdout == "blank: started\n"
    # It was checked once, and is known from now on.
    assert blank.record("blank")["base_image"]["inode"] == base.stat().st_ino


def test_a_base_that_cannot_be_checked_now_is_not_called_another_one(blank: Vmctl, tmp_path: Path) -> None:
    blank("up")
    blank("down", "--timeout", "0")
    base = blank.directory / "blank.qcow2"
    base.with_name("link").hardlink_to(base)
    tools = _qemu_img_whose_check_ends_with(tmp_path, "exit 63")
    result = blank("start", "blank", status=8, env={"PATH": f"{tools}:{os.environ['PATH']}"})
    assert result.code == "vm_manager::image::format_detection_failed"
    assert "could not be checked for damage" in result.stderr
    assert blank("start", "blank").stdout == "blank: started\n"


@pytest.mark.parametrize("format", ["qcow2", "raw"])
def test_qemu_opens_nothing_but_the_chain_it_was_given(tmp_path: Path, secret: Path, format: str) -> None:
    # The base is swapped when vmctl has looked at it for the last time: the worst moment.
    base, home = tmp_path / "base", tmp_path / "home"
    home.mkdir()
    _with_backing_of(secret, base)
    _qemu_img("create", "-u", "-f", "qcow2", "-F", format, "-b", base, home / "overlay.qcow2", "16M")
    argv = command_line(
        spec(ssh=None, networks=()),
        base=BaseDisk(str(base), format),
        qemu=Path("qemu-system-x86_64"),
        choice=Choice(Accelerator.TCG, "tcg", "max", "chosen"),
        uuid="11111111-2222-3333-4444-555555555555",
        macs=(),
        forwards=(),
        with_seed=False,
    )
    with subprocess.Popen([*argv, "-S"], cwd=home, stderr=subprocess.PIPE, text=True) as qemu:
        try:
            wait_for(lambda: (home / "qmp.sock").exists() or qemu.poll() is not None, "QEMU")
            assert qemu.poll() is None, qemu.stderr and qemu.stderr.read()
            time.sleep(0.2)
            opened = {os.readlink(link) for link in Path(f"/proc/{qemu.pid}/fd").iterdir()}
        finally:
            qemu.kill()
    assert {str(base), str(home / "overlay.qcow2")} <= opened
    assert str(secret) not in opened


# Only a clear yes is a yes


def _qemu_img_whose_check_ends_with(base: Path, end: str) -> Path:
    """A directory for PATH, with a qemu-img that does everything else as the real one does."""
    tools = base / "bin"
    tools.mkdir()
    script = f'#!/bin/sh\ncase "$1" in check) {end};; esac\nexec {shutil.which("qemu-img")} "$@"\n'
    (tools / "qemu-img").write_text(script)
    (tools / "qemu-img").chmod(0o755)
    return tools


@pytest.mark.parametrize("end", ["exit 1", "exit 63", "kill -9 $$", "ulimit -v 1000; exec /usr/bin/env true"])
def test_a_check_that_does_not_come_to_its_end_is_no_yes(vmctl: Vmctl, tmp_path: Path, end: str) -> None:
    blank_disk(vmctl.directory)
    tools = _qemu_img_whose_check_ends_with(tmp_path, end)
    result = vmctl("image", "pull", "blank.qcow2", status=8, env={"PATH": f"{tools}:{os.environ['PATH']}"})
    assert result.code == "vm_manager::image::format_detection_failed"
    assert vmctl("image", "list", "--quiet").stdout == ""


_CHECK = """
import resource, sys
from contextlib import suppress
from pathlib import Path
from vm_manager.diagnostics.errors import FormatDetectionFailed
from vm_manager.host.qemu_img import require_sound
with suppress(FormatDetectionFailed):
    require_sound(Path(sys.argv[1]), "qcow2")
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@pytest.mark.parametrize("cluster_bytes", [512, 65536])
def test_a_check_that_would_take_memory_by_the_size_of_a_file_is_ended(tmp_path: Path, cluster_bytes: int) -> None:
    _qemu_img("create", "-f", "qcow2", "-o", f"cluster_size={cluster_bytes}", tmp_path / "disk", "1G")
    os.truncate(tmp_path / "disk", 1 << 40)
    # In a process of its own: a fork counts what its parent has, and the tests' own process is large.
    checked = subprocess.run(
        [sys.executable, "-c", _CHECK, tmp_path / "disk"], capture_output=True, text=True, check=True
    )
    assert int(checked.stdout) < _MOST_KIB


def _folded(path: Path, *, entries: int, snapshots: int = 0) -> None:
    """A disk whose first table points to the same second table all over, and that one to the same cluster."""
    cluster, l2 = 65536, 3 * 65536
    table = struct.pack(">Q", l2) * entries
    entry = struct.pack(">QIHHIIQIIQQQ", 5 * cluster, entries, 1, 0, 0, 0, 0, 0, 24, 0, 1 << 30, 0) + b"s".ljust(8)
    listed_at = 5 * cluster + -(-len(table) // cluster) * cluster
    header = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 3, 0, 0, 16, 1 << 30, 0, entries, 5 * cluster, cluster, 1, 0, 0)
    if snapshots:
        header = header[:60] + struct.pack(">IQ", snapshots, listed_at)
    content = {
        0: header + struct.pack(">QQQII", 0, 0, 0, 4, 104) + bytes(8),
        cluster: struct.pack(">Q", 2 * cluster),
        2 * cluster: b"\0\1" * 100,
        l2: struct.pack(">Q", 4 * cluster) * (cluster // 8),
        4 * cluster: _BOOT_SECTOR,
        5 * cluster: table,
        listed_at: (entry * snapshots).ljust(cluster, b"\0"),
    }
    with path.open("wb") as file:
        for place, piece in content.items():
            file.seek(place)
            file.write(piece)


@pytest.mark.parametrize(("entries", "snapshots"), [(1 << 18, 0), (1 << 14, 500)], ids=["entries", "snapshots"])
def test_a_check_that_would_take_minutes_for_a_small_file_is_ended(vmctl: Vmctl, entries: int, snapshots: int) -> None:
    _folded(vmctl.directory / "disk", entries=entries, snapshots=snapshots)
    before = _children_s()
    result = vmctl("image", "pull", "disk", status=8)
    assert result.code == "vm_manager::image::format_detection_failed"
    assert _children_s() - before < 10


# Few bytes that become many


def _bomb(size: int, head: bytes = b"", fill: bytes = b"\0") -> bytes:
    """A disk of that size, compressed."""
    compressor = ZstdCompressor(level=19)
    block = fill * _MIB
    pieces = [compressor.compress(head + block[len(head) :])]
    pieces += [compressor.compress(block) for _ in range(size // _MIB - 1)]
    return b"".join((*pieces, compressor.flush()))


_BOOT_SECTOR = bytes(510) + b"\x55\xaa"


_PEAK = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[2:]).returncode
open(sys.argv[1], "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(status)
"""


def _measured(vmctl: Vmctl, *words: str) -> Result:
    """How a command has ended; it and all that it ran took less than 200 MB."""
    peak = vmctl.data.parent / "peak"
    # In between, since a process's peak counts what its parent had when it was forked, and the tests' own is large.
    between = (*vmctl.prefix, sys.executable, "-I", "-S", "-c", _PEAK, str(peak))
    result = replace(vmctl, prefix=between)(*words, status=None)
    assert int(peak.read_text()) < _MOST_KIB
    return result


def test_a_bomb_is_given_up_at_the_limit(vmctl: Vmctl) -> None:
    bomb = _bomb(2048 * _MIB, _BOOT_SECTOR)
    assert len(bomb) < 300_000
    vmctl.env["VMCTL_MAX_IMAGE_SIZE"] = "512MiB"
    with serving(bomb) as server:
        result = _measured(vmctl, "image", "pull", f"{server.url}/disk.zst")
        prove(result, "vm_manager::image::too_large")
        assert sorted((vmctl.data / "vmctl" / "images").rglob("fetched*")) == []
        assert vmctl("image", "pull", f"{server.url}/disk.zst", "--max-size", "2GiB").status == 0


def _xz_with(dictionary: int) -> bytes:
    """300 MiB in a few KiB that say how large a dictionary it takes to decompress them: the code of its size."""
    compressor = LZMACompressor(FORMAT_XZ, preset=0)
    block = bytes(_MIB)
    text = b"".join((compressor.compress(_BOOT_SECTOR), *(compressor.compress(block) for _ in range(300))))
    text += compressor.flush()
    length = (text[12] + 1) * 4
    at = text.index(b"\x21\x01", 12) + 2
    head = text[12:at] + bytes([dictionary]) + text[at + 1 : 12 + length - 4]
    return text[:12] + head + crc32(head).to_bytes(4, "little") + text[12 + length :]


def _zstd_with(window_log: int) -> bytes:
    """The same, with a window of that many bytes, to the power of two."""
    text = _bomb(300 * _MIB, _BOOT_SECTOR)
    assert not text[4] & 0x20
    return text[:5] + bytes([(window_log - 10) << 3]) + text[6:]


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        pytest.param(_xz_with(29), True, id="xz, 96 MiB"),
        pytest.param(_xz_with(30), False, id="xz, 128 MiB"),
        pytest.param(_xz_with(31), False, id="xz, 192 MiB"),
        pytest.param(_xz_with(40), False, id="xz, 4 GiB"),
        pytest.param(_zstd_with(27), True, id="zstd, 128 MiB"),
        pytest.param(_zstd_with(28), False, id="zstd, 256 MiB"),
        pytest.param(_zstd_with(41), False, id="zstd, 2 TiB"),
    ],
)
def test_what_takes_much_memory_to_decompress_is_refused(vmctl: Vmctl, text: bytes, fits: bool) -> None:
    with serving(text) as server:
        result = _measured(vmctl, "image", "pull", f"{server.url}/disk")
    assert result.status == (0 if fits else 8), result.stderr
    assert fits or "more than 128 MiB of memory" in result.stderr


_SKIPPABLE = b"\x50\x2a\x4d\x18" + bytes(4)  # RFC 8878, section 3.1.2
_EMPTY = {
    "gzip": gzip.compress(b""),
    "xz": lzma.compress(b""),
    "zstd": zstd_compress(b""),
    "zstd, skippable frames": zstd_compress(b"") + _SKIPPABLE * 7,
}


@pytest.mark.parametrize("stream", _EMPTY.values(), ids=_EMPTY)
def test_millions_of_empty_streams_are_not_decompressed(vmctl: Vmctl, stream: bytes) -> None:
    before = _children_s()
    with serving(stream * (16 * _MIB // len(stream))) as server:
        result = _measured(vmctl, "image", "pull", f"{server.url}/disk")
    assert _children_s() - before < 10
    assert result.code == "vm_manager::image::format_detection_failed"
    assert "too many small streams" in result.stderr


def test_a_bomb_leaves_some_of_the_disk_free(vmctl: Vmctl, tmp_path: Path) -> None:
    bomb = _bomb(512 * _MIB, _BOOT_SECTOR, b"\1")
    assert len(bomb) < 131_000
    with serving(bomb) as server, small_file_system(tmp_path / "small", "200m") as data:
        result = _measured(Vmctl(vmctl.directory, data), "image", "pull", f"{server.url}/disk.zst")
        assert result.code == "vm_manager::host::disk_full"
        assert "available" in result.stderr
        assert sorted(data.rglob("fetched*")) == []


def test_a_server_that_never_ends_is_given_up_at_the_limit(vmctl: Vmctl) -> None:
    vmctl.env["VMCTL_MAX_IMAGE_SIZE"] = "3MiB"
    with serving(_BOOT_SECTOR + bytes(8 * _MIB)) as server:
        for query in ("", "?length=none"):
            result = vmctl("image", "pull", f"{server.url}/disk{query}", status=8)
            assert result.code == "vm_manager::image::too_large"


def test_a_disk_of_sixty_tebibytes_is_taken_only_when_that_is_asked_for(vmctl: Vmctl) -> None:
    _qemu_img("create", "-f", "qcow2", vmctl.directory / "disk", "60T")
    vmctl.write(BLANK.replace("blank.qcow2", "disk"))
    for words in (("image", "pull", "disk"), ("up",)):
        result = vmctl(*words, status=8)
        assert result.code == "vm_manager::image::too_large"
        assert "VMCTL_MAX_IMAGE_SIZE=61440GiB" in result.stderr
    assert vmctl("up", env={"VMCTL_MAX_IMAGE_SIZE": "61440GiB"}).stdout == "blank: created, started\n"


@pytest.mark.parametrize("word", ["much", "0GiB", "64", "-1GiB"])
def test_a_limit_that_is_none_is_a_mistake(vmctl: Vmctl, word: str) -> None:
    blank_disk(vmctl.directory)
    assert vmctl("image", "pull", "blank.qcow2", f"--max-size={word}", status=2).code == "vmctl::usage"
    assert vmctl("image", "pull", "blank.qcow2", status=2, env={"VMCTL_MAX_IMAGE_SIZE": word}).code == "vmctl::usage"
