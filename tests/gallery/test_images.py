"""Images of this host"""

from __future__ import annotations

import os
import struct
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from driver import BLANK, Vmctl, small_file_system, wait_for
from first_screen import Gallery
from servers import serving
from vm_manager.host.image_lock import is_written_to

_MIB = 1024 * 1024
_BOOT_SIGNATURE = bytes(510) + b"\x55\xaa"
_PLACE = "VMFile.kdl:2:11"
_REFUSED = "vm_manager::image::refused"
_INVALID = "vm_manager::vmfile::validation"


def _shell(vmctl: Vmctl, *argv: str) -> None:
    subprocess.run(argv, cwd=vmctl.directory, check=True, capture_output=True)


def _names(vmctl: Vmctl, image: str) -> Vmctl:
    """The VM's image is this file."""
    vmctl.write(BLANK.replace("blank.qcow2", image))
    return vmctl


def _raw(vmctl: Vmctl, name: str = "disk.img", size: int = 2 * _MIB) -> Path:
    """A raw disk of which nothing compresses."""
    path = vmctl.directory / name
    path.write_bytes(_BOOT_SIGNATURE + os.urandom(size - 512))
    return path


def _qcow2(vmctl: Vmctl, name: str = "disk.qcow2") -> Path:
    _raw(vmctl, "of.img")
    _shell(vmctl, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", "of.img", name)
    return vmctl.directory / name


def _fill(directory: Path, but: int) -> Path:
    """A file that takes all of a file system but so many bytes."""
    path = directory / "filler"
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(64 * 1024)):
            pass
    os.truncate(path, path.stat().st_size - but)
    return path


@contextmanager
def _writing(image: Path) -> Iterator[None]:
    """Another process that has an image open to write to it."""
    writer = subprocess.Popen(["qemu-io", "-f", "qcow2", str(image)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: is_written_to(image), "qemu-io")
        yield
    finally:
        writer.communicate(timeout=60)


@pytest.mark.parametrize("program", ["gzip", "xz", "zstd"])
def test_a_compressed_image(blank: Vmctl, gallery: Gallery, program: str) -> None:
    """The image is the file as it was downloaded: compressed."""
    _raw(blank)
    suffix = {"gzip": "gz", "xz": "xz", "zstd": "zst"}[program]
    _shell(blank, program, "-k", "disk.img")
    (blank.directory / "disk.img").unlink()
    _names(blank, f"disk.img.{suffix}")
    gallery.shows(
        blank("up", status=None), _INVALID, place=_PLACE, says=(f"compressed with {program}",), never=("partition",)
    )
    gallery.fix(blank, f"{program} -dk")
    gallery.works(_names(blank, "disk.img")("up"))


def test_a_compressed_image_with_another_name(blank: Vmctl, gallery: Gallery) -> None:
    """A compressed file that was renamed to .img is given to `vmctl create`."""
    _raw(blank)
    _shell(blank, "bzip2", "disk.img")
    (blank.directory / "disk.img.bz2").rename(blank.directory / "disk.img")
    gallery.shows(
        blank("create", "--name", "a", "--accel", "tcg", "--image", "disk.img", status=None),
        _REFUSED,
        place=None,
        says=("is compressed with bzip2",),
    )
    gallery.fix(blank, "bzip2 -dc")
    gallery.works(blank("create", "--name", "a", "--accel", "tcg", "--image", "disk.img.unpacked"))


def test_a_zip_archive(blank: Vmctl, gallery: Gallery) -> None:
    """The image is a zip archive with the disk in it."""
    _raw(blank)
    with zipfile.ZipFile(blank.directory / "disk.zip", "w") as archive:
        archive.write(blank.directory / "disk.img", "inner.img")
    gallery.shows(_names(blank, "disk.zip")("validate", status=None), _INVALID, place=_PLACE, says=("a zip archive",))
    gallery.fix(blank, "unzip -n")
    gallery.works(_names(blank, "inner.img")("up"))


def test_a_tar_archive_that_is_compressed(blank: Vmctl, gallery: Gallery) -> None:
    """The image is a .tar.gz."""
    _raw(blank)
    _shell(blank, "tar", "-czf", "disk.tar.gz", "disk.img")
    (blank.directory / "disk.img").unlink()
    gallery.shows(_names(blank, "disk.tar.gz")("plan", status=None), _INVALID, place=_PLACE, says=("a tar archive",))
    gallery.fix(blank, "tar -xkf")
    gallery.works(_names(blank, "disk.img")("up"))


def test_an_appliance(blank: Vmctl, gallery: Gallery) -> None:
    """The image is an .ova, as VirtualBox and VMware export them."""
    _raw(blank)
    _shell(
        blank,
        "qemu-img",
        "convert",
        "-f",
        "raw",
        "-O",
        "vmdk",
        "-o",
        "subformat=streamOptimized",
        "disk.img",
        "disk.vmdk",
    )
    blank.write("<Envelope/>", "box.ovf")
    _shell(blank, "tar", "-cf", "box.ova", "box.ovf", "disk.vmdk")
    (blank.directory / "disk.vmdk").unlink()
    (blank.directory / "box.ovf").unlink()
    gallery.shows(
        _names(blank, "box.ova")("up", status=None), _INVALID, place=_PLACE, says=("an OVA appliance", "VMDK")
    )
    gallery.fix(blank, "tar -xkf")
    blank("image", "convert", "disk.vmdk", "disk.qcow2")
    gallery.works(_names(blank, "disk.qcow2")("up"))


def test_a_web_page(blank: Vmctl, gallery: Gallery) -> None:
    """What was downloaded is the page of a log-in, not the image."""
    blank.write("<!DOCTYPE html>\n<html><body>please log in</body></html>\n", "disk.qcow2")
    gallery.shows(
        _names(blank, "disk.qcow2")("up", status=None),
        _INVALID,
        place=_PLACE,
        says=("the image is a web page",),
        never=("partition table", "please log in"),
    )
    gallery.by_hand("download the image again")
    _qcow2(blank)
    gallery.works(blank("up"))


def test_a_file_that_is_empty(blank: Vmctl, gallery: Gallery) -> None:
    """A download that never began has left an empty file."""
    (blank.directory / "disk.qcow2").touch()
    gallery.shows(_names(blank, "disk.qcow2")("up", status=None), _REFUSED, place=None, says=("is empty",))
    gallery.by_hand("download the image again")
    _qcow2(blank)
    gallery.works(blank("up"))


def test_a_text_file(blank: Vmctl, gallery: Gallery) -> None:
    """The image is a text, such as a list of checksums."""
    blank.write("0123456789abcdef  disk.qcow2\n" * 30, "disk.qcow2")
    gallery.shows(_names(blank, "disk.qcow2")("up", status=None), _REFUSED, place=None, says=("is a text file",))
    gallery.by_hand("use a disk image")
    _qcow2(blank)
    gallery.works(blank("up"))


def test_a_pointer_of_git_lfs(blank: Vmctl, gallery: Gallery) -> None:
    """The image was checked out without Git LFS."""
    blank.write(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12345\n", "disk.qcow2")
    gallery.shows(
        _names(blank, "disk.qcow2")("up", status=None), _INVALID, place=_PLACE, says=("is a Git LFS pointer",)
    )
    gallery.by_hand("lfs pull")
    _qcow2(blank)
    gallery.works(blank("up"))


def test_a_program(blank: Vmctl, gallery: Gallery) -> None:
    """The image is an executable."""
    _shell(blank, "cp", "/bin/true", "disk.img")
    gallery.shows(_names(blank, "disk.img")("up", status=None), _INVALID, place=_PLACE, says=("is a program",))
    gallery.by_hand("use a disk image")
    _raw(blank)
    gallery.works(blank("up"))


def test_the_image_of_a_cd(blank: Vmctl, gallery: Gallery) -> None:
    """The image is an .iso that does not boot as a disk."""
    (blank.directory / "disk.iso").write_bytes(bytes(32768) + b"\x01CD001\x01" + bytes(4096))
    gallery.shows(_names(blank, "disk.iso")("up", status=None), _INVALID, place=_PLACE, says=("a CD image",))
    gallery.by_hand("use a disk image")
    _raw(blank)
    gallery.works(_names(blank, "disk.img")("up"))


def test_a_qcow2_image_that_was_cut_off(blank: Vmctl, gallery: Gallery) -> None:
    """Half of the image is there: its download broke off."""
    path = _qcow2(blank)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    gallery.shows(
        _names(blank, "disk.qcow2")("up", status=None),
        "vm_manager::image::format_detection_failed",
        place=None,
        says=("is damaged or truncated",),
    )
    gallery.by_hand("download it again")
    path.write_bytes(whole)
    gallery.works(blank("up"))


def test_a_raw_image_that_was_cut_off(blank: Vmctl, gallery: Gallery) -> None:
    """A raw disk is shorter than its partitions."""
    entry = struct.pack("<16s16sQQQ72s", b"k" * 16, b"i" * 16, 2048, 8191, 0, b"")
    header = struct.pack("<8sIIIIQQQQ16sQII", b"EFI PART", 1 << 16, 92, 0, 0, 1, 8223, 34, 8190, b"g" * 16, 2, 128, 128)
    head = _BOOT_SIGNATURE + header.ljust(512, b"\0") + entry
    path = blank.directory / "disk.img"
    path.write_bytes(head.ljust(_MIB, b"\0"))
    gallery.shows(_names(blank, "disk.img")("validate", status=None), _INVALID, place=_PLACE, says=("cut off",))
    gallery.by_hand("download the image again")
    path.write_bytes(head.ljust(8224 * 512, b"\0"))
    gallery.works(blank("up"))


def test_a_directory(blank: Vmctl, gallery: Gallery) -> None:
    """`image` names a directory."""
    (blank.directory / "images").mkdir()
    gallery.shows(_names(blank, "images")("up", status=None), _INVALID, place=_PLACE, says=("is a directory",))
    gallery.by_hand("check the path")
    gallery.works(_names(blank, "blank.qcow2")("up"))


def test_an_image_that_is_a_url(blank: Vmctl, gallery: Gallery) -> None:
    """`image` has a URL, which belongs to `image-url`."""
    with serving(_qcow2(blank).read_bytes()) as server:
        _names(blank, f"{server.url}/disk.qcow2")
        gallery.shows(
            blank("up", status=None),
            _INVALID,
            place=_PLACE,
            says=("`image` takes a path, not a URL",),
            never=("exist",),
        )
        gallery.by_hand('image-url "https://…"')
        blank.write(BLANK.replace('image "blank.qcow2"', f'image-url "{server.url}/disk.qcow2"'))
        gallery.works(blank("up"))


def test_a_vmdk(blank: Vmctl, gallery: Gallery) -> None:
    """The image is in VMware's format."""
    _raw(blank)
    _shell(blank, "qemu-img", "convert", "-f", "raw", "-O", "vmdk", "disk.img", "disk.vmdk")
    gallery.shows(_names(blank, "disk.vmdk")("up", status=None), _REFUSED, place=None, says=("is in vmdk format",))
    gallery.fix(blank, "vmctl image convert")
    gallery.works(_names(blank, "disk.qcow2")("up"))


def test_an_encrypted_image(blank: Vmctl, gallery: Gallery) -> None:
    """The image asks for a passphrase."""
    secret = ("--object", "secret,id=key,data=opensesame")
    options = "encrypt.format=aes,encrypt.key-secret=key"
    _shell(blank, "qemu-img", "create", "-q", "-f", "qcow2", *secret, "-o", options, "secret.qcow2", "1M")
    gallery.shows(_names(blank, "secret.qcow2")("up", status=None), _REFUSED, place=None, says=("is encrypted",))
    gallery.by_hand("qemu-img convert makes one")
    image = "driver=qcow2,encrypt.key-secret=key,file.filename=secret.qcow2"
    _shell(blank, "qemu-img", "convert", *secret, "--image-opts", image, "-O", "qcow2", "open.qcow2")
    gallery.works(_names(blank, "open.qcow2")("up"))


def test_an_image_that_another_process_writes_to(blank: Vmctl, gallery: Gallery) -> None:
    """The image of a new VM is the disk of a QEMU that runs."""
    with _writing(blank.directory / "blank.qcow2"):
        gallery.shows(blank("up", status=None), _REFUSED, place=None, says=("is open for writing in qemu-io (pid ",))
    gallery.by_hand("stop that first")
    gallery.works(blank("up"))


def test_an_image_that_is_written_to_while_its_vm_is_off(blank: Vmctl, gallery: Gallery) -> None:
    """A VM that is off shall start, and somebody has opened its image to write to it."""
    blank("up")
    blank("down", "--timeout", "0")
    with _writing(blank.directory / "blank.qcow2"):
        gallery.shows(
            blank("up", status=None),
            "vm_manager::qemu::spawn_failed",
            place=None,
            says=("image: qemu-io (pid ", "disk: nobody else has it open"),
        )
    gallery.by_hand("stop qemu-io (pid ")
    gallery.works(blank("up"))


def test_a_disk_that_another_process_has_open(blank: Vmctl, gallery: Gallery) -> None:
    """A VM that is off shall start, and somebody looks at its disk with another program."""
    blank("up")
    blank("down", "--timeout", "0")
    with _writing(blank.home("blank") / "overlay.qcow2"):
        gallery.shows(
            blank("up", status=None),
            "vm_manager::qemu::spawn_failed",
            place=None,
            says=("disk: qemu-io (pid ", "image: nobody else has it open"),
        )
    gallery.by_hand("stop qemu-io (pid ")
    gallery.works(blank("up"))


def test_a_disk_that_is_gone(blank: Vmctl, gallery: Gallery) -> None:
    """The disk of a VM was deleted while it was off."""
    blank("up")
    blank("down", "--timeout", "0")
    (blank.home("blank") / "overlay.qcow2").unlink()
    gallery.shows(
        blank("up", status=None),
        "vm_manager::io",
        place=None,
        says=("the disk of VM 'blank' is missing", "so is what was on it"),
        never=("QEMU's log", "before its monitor answered"),
    )
    gallery.fix(blank, "vmctl reload")
    gallery.works(blank("up"))


def test_a_disk_that_is_gone_of_a_vm_without_vmfile(blank: Vmctl, gallery: Gallery) -> None:
    """The disk of a VM that was made with `vmctl create` was deleted."""
    new = ("create", "--name", "a", "--accel", "tcg", "--image", "blank.qcow2")
    blank(*new)
    (blank.home("a") / "overlay.qcow2").unlink()
    gallery.shows(
        blank("start", "a", status=None), "vm_manager::io", place=None, says=("the disk of VM 'a' is missing",)
    )
    gallery.by_hand("remove the VM and create it again")
    blank("destroy", "a")
    gallery.works(blank(*new))


def test_an_archive_from_a_server(blank: Vmctl, gallery: Gallery) -> None:
    """`vmctl image pull` of a zip archive, which vmctl does not unpack."""
    _raw(blank)
    with zipfile.ZipFile(blank.directory / "disk.zip", "w") as archive:
        archive.write(blank.directory / "disk.img", "disk.img")
    with serving((blank.directory / "disk.zip").read_bytes()) as server:
        gallery.shows(
            blank("image", "pull", f"{server.url}/disk.zip", status=None),
            _REFUSED,
            place=None,
            says=("disk.zip is a zip archive", "download it yourself"),
            never=("/fetched",),
        )
    (blank.directory / "disk.img").unlink()
    gallery.fix(blank, "unzip -n disk.zip")
    gallery.works(blank("image", "pull", "disk.img"))


def test_a_compressed_image_is_inspected(blank: Vmctl, gallery: Gallery) -> None:
    """`vmctl image inspect` of a compressed image: it was called "raw"."""
    _raw(blank)
    _shell(blank, "gzip", "disk.img")
    gallery.shows(
        blank("image", "inspect", "disk.img.gz", status=None), _REFUSED, place=None, says=("compressed with gzip",)
    )
    gallery.fix(blank, "gzip -dk")
    gallery.works(blank("image", "inspect", "disk.img"))


def test_a_cut_off_image_is_converted(blank: Vmctl, gallery: Gallery) -> None:
    """`vmctl image convert` of an image whose download broke off."""
    path = _qcow2(blank)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    gallery.shows(
        blank("image", "convert", "--format", "raw", "disk.qcow2", "new.img", status=None),
        "vm_manager::image::format_detection_failed",
        place=None,
        says=("is damaged or truncated",),
    )
    gallery.by_hand("download it again")
    path.write_bytes(whole)
    gallery.works(blank("image", "convert", "--format", "raw", "disk.qcow2", "new.img"))


def test_converting_into_a_directory_that_is_missing(blank: Vmctl, gallery: Gallery) -> None:
    """The new file of `vmctl image convert` is in a directory that does not exist."""
    command = ("image", "convert", "blank.qcow2", "new/disk.qcow2")
    gallery.shows(
        blank(*command, status=None),
        "vmctl::usage",
        place=None,
        says=("the directory new does not exist",),
        never=(".part", "probe"),
    )
    gallery.fix(blank, "mkdir -p")
    gallery.works(blank(*command))


def test_converting_into_a_file_that_is_there(blank: Vmctl, gallery: Gallery) -> None:
    """The new file of `vmctl image convert` is there already."""
    blank.write("precious", "disk.qcow2")
    gallery.shows(
        blank("image", "convert", "blank.qcow2", "disk.qcow2", status=None),
        "vmctl::usage",
        place=None,
        says=("disk.qcow2 already exists",),
    )
    gallery.by_hand("choose another file name")
    gallery.works(blank("image", "convert", "blank.qcow2", "new.qcow2"))
    assert (blank.directory / "disk.qcow2").read_text() == "precious"


def test_converting_onto_a_full_file_system(blank: Vmctl, gallery: Gallery) -> None:
    """`vmctl image convert` onto a file system that is full."""
    with small_file_system(blank.directory / "small", "8m") as small:
        filler = small / "filler"
        filler.write_bytes(bytes(7 * _MIB + _MIB // 2))
        command = ("image", "convert", str(_qcow2(blank)), "small/new.qcow2")
        gallery.shows(
            blank(*command, status=None),
            "vm_manager::host::disk_full",
            place=None,
            says=("small/new.qcow2 does not fit", "MiB are free there"),
            never=("install", "damaged", ".part", "probe"),
        )
        gallery.by_hand("free some disk space")
        filler.unlink()
        gallery.works(blank(*command))


def test_a_disk_on_a_full_file_system(blank: Vmctl, gallery: Gallery) -> None:
    """The file system of the data directory is full when a VM is made."""
    with small_file_system(blank.data, "8m"):
        blank("up")
        blank("down", "--destroy")
        filler = _fill(blank.data, but=100 * 1024)
        gallery.shows(
            blank("up", status=None),
            "vm_manager::host::disk_full",
            place=None,
            says=("no space left for", "of 8 MiB are free on that file system"),
            never=("install qemu-img", "base image exists"),
        )
        gallery.fix(blank, "df -h")
        filler.unlink()
        gallery.works(blank("up"))
        blank("down", "--destroy")


def test_an_empty_path(blank: Vmctl, gallery: Gallery) -> None:
    """QEMU is installed, and PATH is empty, as in some scripts and services."""
    gallery.shows(
        blank("up", status=None, env={"PATH": ""}),
        "vm_manager::qemu::spawn_failed",
        place=None,
        says=("QEMU is not on PATH",),
        never=("not installed", "apt-get install"),
    )
    gallery.fix(blank, "export PATH=")
    gallery.works(blank("up"))


def test_an_image_that_needs_another_file(blank: Vmctl, gallery: Gallery) -> None:
    """The image of the VMFile is an overlay, such as a running VM's disk that was copied."""
    _raw(blank, "below.img")
    _shell(blank, "qemu-img", "create", "-q", "-f", "qcow2", "-b", "below.img", "-F", "raw", "disk.qcow2")
    _names(blank, "disk.qcow2")
    for looking in ("validate", "plan"):
        told = blank(looking)
        assert f"warning[{_REFUSED}]: the image" in told.stderr
        assert "this image" in told.stderr
    assert blank("validate").stdout == "VMFile.kdl: 1 VM, 1 warning\n"
    gallery.shows(
        blank("up", status=None),
        _REFUSED,
        place=_PLACE,
        says=("depends on another file, below.img", "have it exported as a single file"),
        status=8,
    )
    gallery.by_hand("have it exported as a single file")
    _shell(blank, "qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", "disk.qcow2", "whole.qcow2")
    _names(blank, "whole.qcow2")
    assert blank("validate").stdout == "VMFile.kdl: 1 VM, no problems\n"
    gallery.works(blank("up"))


def test_a_new_file_that_is_named_after_another_format(blank: Vmctl, gallery: Gallery) -> None:
    """The name of the new file of `vmctl image convert` ends in .raw."""
    gallery.shows(
        blank("image", "convert", "blank.qcow2", "disk.raw"),
        None,
        place=None,
        says=("disk.raw is qcow2 in spite of its name",),
        never=("error",),
    )
    gallery.by_hand("for raw, remove it and add `--format raw`")
    (blank.directory / "disk.raw").unlink()
    result = blank("image", "convert", "blank.qcow2", "disk.raw", "--format", "raw")
    assert "in spite of" not in result.stderr
    gallery.works(result)
