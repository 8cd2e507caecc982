"""`vmctl image` and images in VMFiles, against nginx and a server that misbehaves."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from driver import LIMIT_S, VMCTL, Vmctl, small_file_system, wait_for
from proofs import prove
from servers import Server, nginx, serving

_MIB = 1024 * 1024


@pytest.fixture
def image(tmp_path: Path) -> bytes:
    """A disk with 6 MiB of noise."""
    raw, disk = tmp_path / "noise.raw", tmp_path / "noise.qcow2"
    raw.write_bytes(bytes(_MIB) + os.urandom(6 * _MIB))
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(disk)], check=True)
    return disk.read_bytes()


@pytest.fixture
def server(image: bytes) -> Iterator[Server]:
    """A server that does as the URL says."""
    with serving(image) as server:
        yield server


@pytest.fixture
def www(tmp_path: Path, image: bytes) -> Path:
    """A directory for nginx to serve, with the image."""
    root = tmp_path / "www"
    root.mkdir()
    root.chmod(0o755)
    (root / "disk.qcow2").write_bytes(image)
    return root


def sha512(data: bytes) -> str:
    """A checksum."""
    return hashlib.sha512(data).hexdigest()


def cached(vmctl: Vmctl) -> list[Any]:
    """What `vmctl image list` shows."""
    images = vmctl("image", "list", "--json").json["images"]
    assert isinstance(images, list)
    return images


def files(vmctl: Vmctl) -> set[str]:
    """The names of the files below the image cache, but for locks and metadata."""
    names = {path.name for path in (vmctl.data / "vmctl" / "images").rglob("*") if path.is_file()}
    return names - {"lock", "meta.json"}


def vm(name: str, image: str, more: str = "") -> str:
    """A vm block without a guest."""
    return f'vm "{name}" {{\n    {image}\n    memory 64\n    accel "tcg"\n    {more}\n}}\n'


# Pulling


def test_an_image_is_pulled_listed_inspected_and_removed(vmctl: Vmctl, www: Path, image: bytes, tmp_path: Path) -> None:
    with nginx(www, tmp_path / "nginx") as url:
        pulled = vmctl("image", "pull", f"{url}/disk.qcow2", "--sha512", sha512(image))
        assert re.fullmatch(r"disk\.qcow2: downloaded, \d+\.\d MiB\n", pulled.stdout)
        assert vmctl("image", "pull", f"{url}/disk.qcow2").stdout == "disk.qcow2: already in the cache\n"
        (found,) = cached(vmctl)
        assert (found["name"], found["format"], found["virtual_size_bytes"]) == ("disk.qcow2", "qcow2", 7 * _MIB)
        assert found["digest"] == f"sha512:{sha512(image)}"
        assert found["sources"][0]["url"] == f"{url}/disk.qcow2"
        assert Path(found["path"]).read_bytes() == image
        for reference in ("disk.qcow2", f"{url}/disk.qcow2", found["digest"], found["path"]):
            assert vmctl("image", "inspect", reference, "--json").json["image"]["digest"] == found["digest"]
        assert "disk.qcow2" in vmctl("image", "list").stdout
        assert vmctl("image", "rm", "disk.qcow2").stdout == "disk.qcow2: removed\n"
        assert (cached(vmctl), files(vmctl)) == ([], set())


def test_an_image_may_have_a_name_of_its_own(vmctl: Vmctl, server: Server) -> None:
    vmctl("image", "pull", f"{server.url}/a", "--name", "base")
    assert vmctl("image", "list", "--quiet").stdout == "base\n"
    assert vmctl("image", "pull", f"{server.url}/a", "--name", "other").stdout == "other: already in the cache\n"
    assert vmctl("image", "list", "--quiet").stdout == "other\n"


def test_a_file_of_this_host_is_pulled_by_its_path(vmctl: Vmctl, image: bytes) -> None:
    (vmctl.directory / "disk.qcow2.gz").write_bytes(gzip.compress(image))
    document = vmctl("image", "pull", "disk.qcow2.gz", "--json").json
    assert (document["image"]["name"], document["image"]["fetched"]) == ("disk.qcow2", True)
    assert Path(document["image"]["path"]).read_bytes() == image


@pytest.mark.parametrize("ranges", [True, False])
def test_a_pull_that_was_killed_is_finished_by_the_next(
    vmctl: Vmctl, www: Path, image: bytes, tmp_path: Path, ranges: bool
) -> None:
    log = tmp_path / "access.log"
    options = [f"access_log {log} combined;", "limit_rate_after 2m; limit_rate 500k;"]
    with nginx(www, tmp_path / "nginx", *options, "" if ranges else "max_ranges 0;") as url:
        pull = ("image", "pull", f"{url}/disk.qcow2", "--sha512", sha512(image))
        process = vmctl.start(*pull)
        wait_for(lambda: part_size(vmctl) > 2 * _MIB, "the first bytes")
        process.kill()
        process.communicate(timeout=LIMIT_S)
        arrived = part_size(vmctl)
        assert vmctl(*pull).stdout.startswith("disk.qcow2: downloaded")
    # "GET /disk.qcow2 HTTP/1.1" 206 <bytes of the body>
    answers = re.findall(r'" (\d+) (\d+) ', log.read_text())
    assert answers[-1] == (("206", str(len(image) - arrived)) if ranges else ("200", str(len(image))))
    assert Path(cached(vmctl)[0]["path"]).read_bytes() == image
    assert files(vmctl) == {"data"}


def part_size(vmctl: Vmctl) -> int:
    """How much of a download has arrived."""
    return sum(path.stat().st_size for path in (vmctl.data / "vmctl" / "images").rglob("*.part"))


def test_memory_does_not_grow_with_the_image(vmctl: Vmctl, www: Path, tmp_path: Path) -> None:
    peaks = []
    with nginx(www, tmp_path / "nginx") as url:
        for name, size in (("small", 32 * _MIB), ("large", 512 * _MIB)):
            with (www / name).open("wb") as file:
                file.truncate(size)
            process = vmctl.start("image", "pull", f"{url}/{name}")
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            stderr = process.communicate()[1]
            assert process.returncode == 0, stderr
            peaks.append(usage.ru_maxrss)
    assert peaks[1] < peaks[0] + 32 * 1024, peaks


@pytest.mark.parametrize("trouble", ["drop=1048576", "stall=3000000&times=1", "status=503&times=2"])
def test_a_server_in_trouble_is_asked_again(vmctl: Vmctl, server: Server, image: bytes, trouble: str) -> None:
    # A stall is waited for; here it ends when the server does.
    if trouble.startswith("stall"):
        server.ended.set()
    vmctl("image", "pull", f"{server.url}/disk?{trouble}", "--sha512", sha512(image))
    assert Path(cached(vmctl)[0]["path"]).read_bytes() == image


def test_a_server_that_redirects_in_a_circle(vmctl: Vmctl, server: Server) -> None:
    result = vmctl("image", "pull", f"{server.url}/disk?to=/disk%3Fto%3D", status=9)
    assert result.code == "vm_manager::image::download_failed"
    assert "redirect loop" in result.stderr


def test_a_page_instead_of_a_disk_is_refused_and_not_kept(vmctl: Vmctl, server: Server) -> None:
    result = vmctl("image", "pull", f"{server.url}/disk.qcow2?page", status=8)
    assert result.code == "vm_manager::image::refused"
    assert "<!DOCTYPE html>" in result.stderr.partition("= evidence: ")[2]
    assert (cached(vmctl), files(vmctl)) == ([], set())


def test_a_disk_that_was_cut_off_is_not_kept(vmctl: Vmctl, server: Server, image: bytes) -> None:
    # No length, no checksum: nothing but the image itself can tell.
    server.files["/disk"] = image[: len(image) // 2]
    result = vmctl("image", "pull", f"{server.url}/disk?length=none", status=8)
    assert result.code == "vm_manager::image::format_detection_failed"
    assert "it was downloaded from" in result.stderr
    assert (cached(vmctl), files(vmctl)) == ([], set())


def test_a_file_that_is_compressed_and_damaged_is_not_kept(vmctl: Vmctl, server: Server, image: bytes) -> None:
    server.files["/disk.gz"] = gzip.compress(image)[:-1000]
    assert "is truncated" in vmctl("image", "pull", f"{server.url}/disk.gz", status=8).stderr
    assert files(vmctl) == set()


def test_a_wrong_checksum(vmctl: Vmctl, server: Server, image: bytes) -> None:
    result = vmctl("image", "pull", f"{server.url}/disk.qcow2", "--sha256", "0" * 64, status=None)
    prove(result, "vm_manager::image::checksum_mismatch")
    assert f"sha256:{'0' * 64}" in result.stderr
    assert f"sha256:{hashlib.sha256(image).hexdigest()}" in result.stderr
    assert len(server.asked) == 2
    assert (cached(vmctl), files(vmctl)) == ([], set())


def test_a_failure_is_in_the_document_too(vmctl: Vmctl, server: Server) -> None:
    document = vmctl("image", "pull", f"{server.url}/disk?status=404", "--json", status=9).json
    assert document["image"] is None
    assert [one["code"] for one in document["diagnostics"]] == ["vm_manager::image::download_failed"]


@pytest.mark.parametrize(
    "words",
    [
        ("pull", "ftp://example.org/disk"),
        ("pull", "https://"),
        ("pull", "http://[/disk"),
        ("pull", "https://example.org/disk", "--sha256", "abc"),
        ("convert", "disk.qcow2", "new", "--format", "raw", "--compress"),
        ("convert", "disk.qcow2", "there"),
    ],
)
def test_mistakes_on_the_command_line(vmctl: Vmctl, image: bytes, words: tuple[str, ...]) -> None:
    (vmctl.directory / "disk.qcow2").write_bytes(image)
    (vmctl.directory / "there").touch()
    assert vmctl("image", *words, status=2).code == "vmctl::usage"


@pytest.mark.parametrize(
    "words", [("pull", "none.qcow2"), ("inspect", "none"), ("convert", "none", "x"), ("rm", "none")]
)
def test_an_image_that_is_not_there(vmctl: Vmctl, words: tuple[str, ...]) -> None:
    assert vmctl("image", *words, status=4).code == "vmctl::create::image_not_found"


def test_a_name_with_a_typing_mistake(vmctl: Vmctl, server: Server) -> None:
    vmctl("image", "pull", f"{server.url}/debian.qcow2")
    assert "did you mean 'debian.qcow2'?" in vmctl("image", "rm", "debain.qcow2", status=4).stderr


def test_a_disk_that_would_not_hold_it_is_noticed_before(vmctl: Vmctl, server: Server, tmp_path: Path) -> None:
    with small_file_system(tmp_path / "small", "2m") as data:
        small = Vmctl(vmctl.directory, data)
        result = small("image", "pull", f"{server.url}/disk", status=6)
        assert result.code == "vm_manager::host::disk_full"
        assert re.search(r"needs \d+ more bytes, but .* has \d+", result.stderr)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_disk_that_runs_full_is_left_as_it_was(
    vmctl: Vmctl, server: Server, image: bytes, tmp_path: Path, compressed: bool
) -> None:
    if compressed:
        server.files["/disk"] = gzip.compress(b"\1" * 8 * _MIB)
    with small_file_system(tmp_path / "small", "2m") as data:
        small = Vmctl(vmctl.directory, data)
        result = small("image", "pull", f"{server.url}/disk?length=none", status=6)
        assert result.code == "vm_manager::host::disk_full"
        assert files(small) == set()


def test_ctrl_c_ends_a_pull_from_a_server_that_stalls_and_the_next_goes_on(
    vmctl: Vmctl, server: Server, image: bytes
) -> None:
    pull = ("image", "pull", f"{server.url}/disk?stall=3000000&times=1")
    process = vmctl.start(*pull, start_new_session=True)
    wait_for(lambda: part_size(vmctl) > 0, "the first bytes")
    started = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(LIMIT_S) == 130
    process.communicate()
    assert time.monotonic() - started < 30, "a stall lasts 60 s"
    arrived = part_size(vmctl)
    vmctl(*pull)
    assert server.heads[-1]["range"] == f"bytes={arrived}-"
    assert Path(cached(vmctl)[0]["path"]).read_bytes() == image


def test_on_a_terminal_a_bar_shows_the_rate_and_the_time_left(vmctl: Vmctl, www: Path, tmp_path: Path) -> None:
    with nginx(www, tmp_path / "nginx", "limit_rate_after 1m; limit_rate 1m;") as url:
        child = pexpect.spawn(
            str(VMCTL),
            ["image", "pull", f"{url}/disk.qcow2"],
            cwd=str(vmctl.directory),
            env={**vmctl.environment(), "TERM": "xterm"},
            dimensions=(24, 120),
            timeout=LIMIT_S,
            encoding="utf-8",
        )
        child.expect(r"fetch \d+ of \d+ MiB")
        child.expect(r"━(?:\x1b\[[\d;]*m|[━╸╺ ])* (?:\x1b\[[\d;]*m)*\d+\.\d MiB/s(?:\x1b\[[\d;]*m| )+00:\d\d")
        child.expect("disk.qcow2: downloaded")
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 0


def test_elsewhere_lines_tell_how_far_it_is(vmctl: Vmctl, server: Server) -> None:
    shown = vmctl("image", "pull", f"{server.url}/disk?token=s3cret").stderr
    assert f"disk: downloading {server.url}/disk?…\n" in shown
    assert re.search(r"^disk: fetch: \d+ of \d+ MiB$", shown, re.MULTILINE)
    assert "s3cret" not in shown


# Converting


def test_the_disk_of_a_vm_is_converted_with_the_image_below_it(vmctl: Vmctl, image: bytes) -> None:
    (vmctl.directory / "base.qcow2").write_bytes(image)
    vmctl.write(vm("a", 'image "base.qcow2"'))
    vmctl("up")
    vmctl("down", "--timeout", "0")
    disk = str(vmctl.home("a") / "overlay.qcow2")
    shown = vmctl("image", "inspect", disk).stdout
    assert f"Backing file: {vmctl.directory / 'base.qcow2'}\n" in shown
    converted = vmctl("image", "convert", disk, "whole.raw", "--format", "raw")
    assert converted.stdout.startswith("whole.raw: converted to raw, ")
    compare = ["qemu-img", "compare", "-q", "-f", "raw", "-F", "qcow2", "whole.raw", "base.qcow2"]
    subprocess.run(compare, cwd=vmctl.directory, check=True)
    document = vmctl("image", "convert", disk, "small.qcow2", "--compress", "--json").json
    assert document["image"]["backing_chain"] == []
    assert sorted(path.name for path in vmctl.directory.iterdir()) == [
        "VMFile.kdl", "base.qcow2", "small.qcow2", "whole.raw",
    ]  # fmt: skip


def test_an_image_that_is_damaged_is_not_converted(vmctl: Vmctl, image: bytes) -> None:
    (vmctl.directory / "disk.qcow2").write_bytes(image)
    # The first L2 table is said to be where no table can be.
    with (vmctl.directory / "disk.qcow2").open("r+b") as file:
        file.seek(40)
        table = int.from_bytes(file.read(8), "big")
        file.seek(table)
        file.write((1 << 63 | 0x1234).to_bytes(8, "big"))
    result = vmctl("image", "convert", "disk.qcow2", "new.qcow2", status=None)
    prove(result, "vm_manager::image::format_detection_failed", evidence="qemu-img")
    assert [path.name for path in vmctl.directory.iterdir()] == ["disk.qcow2"]


@pytest.mark.parametrize("format", ["vdi", "vhdx", "vmdk", "vpc", "raw"])
def test_it_is_written_as_any_format_and_read_back(vmctl: Vmctl, image: bytes, format: str) -> None:
    (vmctl.directory / "disk.qcow2").write_bytes(image)
    written = vmctl("image", "convert", "disk.qcow2", "new", "--format", format, "--json").json["image"]
    assert (written["format"], written["virtual_size_bytes"] > 0) == (format, True)
    if format != "vpc":
        assert f"Format:       {format}" in vmctl("image", "inspect", "new").stdout
        vmctl("image", "convert", "new", "back.qcow2")
        compare = ["qemu-img", "compare", "-q", "-f", "qcow2", "-F", "qcow2", "disk.qcow2", "back.qcow2"]
        subprocess.run(compare, cwd=vmctl.directory, check=True)


@pytest.mark.parametrize("sandbox", ["", "off"])
def test_a_disk_that_would_not_hold_the_converted_image(
    vmctl: Vmctl, image: bytes, tmp_path: Path, sandbox: str
) -> None:
    vmctl.env["VMCTL_SANDBOX"] = sandbox
    (vmctl.directory / "disk.qcow2").write_bytes(image)
    with small_file_system(tmp_path / "small", "2m") as target:
        result = vmctl("image", "convert", "disk.qcow2", str(target / "new.qcow2"), status=6)
        assert result.code == "vm_manager::host::disk_full"
        assert list(target.iterdir()) == []


# In VMFiles


def test_five_vms_and_two_ups_at_a_time_fetch_an_image_once(vmctl: Vmctl, server: Server, image: bytes) -> None:
    url = f'image-url "{server.url}/disk.qcow2" sha512="{sha512(image)}"'
    processes = []
    for place in ("one", "two"):
        vmctl.write("".join(vm(f"{place}-{number}", url) for number in range(5)), f"{place}/VMFile.kdl")
        processes.append(vmctl.start("up", "--backend", "noop", "--file", f"{place}/VMFile.kdl"))
    outputs = [process.communicate(timeout=LIMIT_S) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert server.asked == ["/disk.qcow2"]
    shown = "".join(stderr for _, stderr in outputs)
    assert shown.count("downloaded the image (") == 1
    assert shown.count("from the cache (") + shown.count("another command downloaded it meanwhile (") == 9
    assert {vmctl.record("one-0")["base_image"]["digest"]} == {f"sha512:{sha512(image)}"}


def test_up_says_that_the_image_was_in_the_cache(vmctl: Vmctl, server: Server) -> None:
    vmctl.write(vm("a", f'image-url "{server.url}/disk.qcow2"'))
    assert "a: downloaded the image" in vmctl("up", "--backend", "noop").stderr
    vmctl("destroy", "a")
    assert "a: created, with the image from the cache" in vmctl("up", "--backend", "noop").stderr


def test_up_takes_the_checksum_from_a_list(vmctl: Vmctl, server: Server, image: bytes) -> None:
    server.files["/SHA512SUMS"] = f"{sha512(image)}  disk.qcow2\n".encode()
    lists = f'checksum-url="{server.url}/SHA512SUMS"'
    vmctl.write(vm("a", f'image-url "{server.url}/disk.qcow2" {lists}'))
    vmctl("up", "--backend", "noop")
    server.files["/disk.qcow2"] = b"\0" * 1024
    vmctl.write(vm("b", f'image-url "{server.url}/x/../disk.qcow2" {lists}'))
    server.files["/SHA512SUMS"] = f"{sha512(b'')}  disk.qcow2\n".encode()
    assert vmctl("up", "--backend", "noop", status=8).code == "vm_manager::image::checksum_mismatch"


def test_create_checks_what_it_fetches(vmctl: Vmctl, server: Server, image: bytes) -> None:
    create = ("create", "--backend", "noop", "--name", "a", "--image-url", f"{server.url}/disk.qcow2")
    assert vmctl(*create, "--sha512", "0" * 128, status=8).code == "vm_manager::image::checksum_mismatch"
    assert vmctl(*create, "--sha512", "0", status=2).code == "vmctl::usage"
    assert vmctl("create", "--name", "a", "--image", "x", "--sha512", "0" * 128, status=2).code == "vmctl::usage"
    vmctl(*create, "--sha512", sha512(image))
    assert vmctl.record("a")["base_image"]["digest"] == f"sha512:{sha512(image)}"


def test_a_disk_smaller_than_its_image_is_refused(vmctl: Vmctl, server: Server) -> None:
    vmctl.write(vm("a", f'image-url "{server.url}/disk.qcow2"', 'disk "2MiB"'))
    assert "is smaller than its image" in vmctl("up", status=8).stderr
    assert vmctl("list", "--quiet").stdout == ""


# Removing


@pytest.fixture
def used(vmctl: Vmctl, server: Server) -> Vmctl:
    """A VM whose disk stands on an image of the cache, and an image that nobody uses."""
    vmctl.write(vm("user", f'image-url "{server.url}/used.qcow2"'))
    vmctl("up")
    vmctl("down", "--timeout", "0")
    server.files["/unused.raw"] = bytes(1024)
    vmctl("image", "pull", f"{server.url}/unused.raw")
    return vmctl


def test_prune_removes_what_no_disk_stands_on(used: Vmctl) -> None:
    assert [(image["name"], image["used_by"]) for image in cached(used)] == [
        ("unused.raw", []),
        ("used.qcow2", ["user"]),
    ]
    assert used("image", "prune", "--dry-run").stdout.startswith("unused.raw: would be removed, ")
    assert len(cached(used)) == 2
    document = used("image", "prune", "--json").json
    assert [image["name"] for image in document["images"]] == ["unused.raw"]
    assert [image["name"] for image in cached(used)] == ["used.qcow2"]
    assert used("image", "prune").stdout == "nothing to remove\n"
    assert used("up").stdout == "user: started\n"
    used("destroy", "user")
    assert used("image", "prune").stdout.startswith("used.qcow2: removed, ")
    assert files(used) == set()


def test_an_image_that_a_disk_stands_on_is_not_removed(used: Vmctl) -> None:
    result = used("image", "rm", "unused.raw", "used.qcow2", status=5)
    assert result.code == "vm_manager::vm::invalid_state"
    assert "the disk of VM 'user' depends on the image used.qcow2" in result.stderr
    assert "keep it as long as there is that VM" in result.stderr
    assert "vmctl destroy" not in result.stderr
    assert len(cached(used)) == 2, "all or none"


def test_nothing_is_pruned_while_a_disk_cannot_be_read(used: Vmctl) -> None:
    overlay = used.home("user") / "overlay.qcow2"
    content = overlay.read_bytes()
    overlay.write_bytes(b"QFI\xfb" + b"\xff" * 1000)
    result = used("image", "prune", status=8)
    assert result.code == "vm_manager::image::format_detection_failed"
    assert "no image was removed" in result.stderr
    overlay.write_bytes(content)
    record = used.home("user") / "vm.json"
    content = record.read_bytes()
    record.write_bytes(content[:50])
    assert used("image", "prune", status=14).code == "vm_manager::state::corrupt"
    assert len(cached(used)) == 2
    assert "warning[vm_manager::state::corrupt]" in used("image", "list").stderr
    record.write_bytes(content)


def test_what_a_disk_itself_names_counts_whatever_the_record_says(used: Vmctl) -> None:
    record = used.home("user") / "vm.json"
    content = json.loads(record.read_text())
    content["base_image"]["path"] = "/elsewhere"
    record.write_text(json.dumps(content))
    used("image", "prune")
    assert [image["name"] for image in cached(used)] == ["used.qcow2"]


def test_a_vm_that_is_just_being_prepared_counts(used: Vmctl) -> None:
    used.home("user").rename(used.home(".preparing-user"))
    used("image", "prune")
    assert [image["name"] for image in cached(used)] == ["used.qcow2"]
    used.home(".preparing-user").rename(used.home("user"))


def test_prune_removes_what_a_broken_off_download_has_left_but_not_one_that_runs(vmctl: Vmctl, server: Server) -> None:
    process = vmctl.start("image", "pull", f"{server.url}/disk?stall=3000000")
    wait_for(lambda: part_size(vmctl) > 0, "the first bytes")
    assert vmctl("image", "prune").stdout == "nothing to remove\n"
    process.kill()
    process.communicate()
    assert vmctl("image", "prune").stdout.count(": removed\n") == 2
    assert files(vmctl) == set()


def test_an_up_and_a_prune_at_the_same_time_do_not_harm_each_other(vmctl: Vmctl, server: Server) -> None:
    vmctl.write(vm("a", f'image-url "{server.url}/disk.qcow2"'))
    for _ in range(5):
        pruning = [vmctl.start("image", "prune") for _ in range(2)]
        up = vmctl("up", "--backend", "noop", status=None)
        pruning.append(vmctl.start("image", "prune"))
        for process in pruning:
            assert process.communicate(timeout=LIMIT_S)[1].count("error[") == 0
        assert up.status == 0, up.stderr
        assert Path(vmctl.record("a")["base_image"]["path"]).exists()
        vmctl("destroy", "a")


# TLS


def test_a_certificate_that_nobody_vouches_for_is_not_accepted(vmctl: Vmctl, www: Path, tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    tls = f"ssl_certificate {certificate}; ssl_certificate_key {key};"
    with nginx(www, tmp_path / "nginx", tls=tls) as url:
        result = vmctl("image", "pull", f"{url}/disk.qcow2", status=9)
        assert "certificate verify failed" in result.stderr
        trusted = {"REQUESTS_CA_BUNDLE": str(certificate)}
        assert "downloaded" in vmctl("image", "pull", f"{url}/disk.qcow2", env=trusted).stdout


def test_a_redirect_from_https_to_plain_http_is_not_followed(
    vmctl: Vmctl, www: Path, server: Server, tmp_path: Path
) -> None:
    certificate, key = self_signed(tmp_path)
    tls = f"ssl_certificate {certificate}; ssl_certificate_key {key};"
    with nginx(www, tmp_path / "nginx", f"return 302 {server.url}/disk;", tls=tls) as url:
        env = {"REQUESTS_CA_BUNDLE": str(certificate)}
        assert "from https to plain http" in vmctl("image", "pull", f"{url}/disk.qcow2", status=9, env=env).stderr
    assert server.asked == []


def self_signed(directory: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that has signed itself, and its key."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = directory / "tls.pem", directory / "tls.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths
