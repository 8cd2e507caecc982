"""Guests from images that are fetched: compressed, from a web server; and from a registry."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from conftest import TinyGuest
from driver import Vmctl
from oci_registry import QCOW2_LAYER, digest_of, running_registry
from servers import nginx


def test_guests_boot_from_images_over_http_and_from_a_registry(vmctl: Vmctl, tiny: TinyGuest, tmp_path: Path) -> None:
    root = tmp_path / "www"
    root.mkdir()
    compressed = root / "tiny.qcow2.zst"
    subprocess.run(["zstd", "-q", "-1", str(tiny.image), "-o", str(compressed)], check=True)
    digest = hashlib.sha512(compressed.read_bytes()).hexdigest()
    (root / "SHA512SUMS").write_text(f"{'0' * 128}  other.qcow2\n{digest}  tiny.qcow2.zst\n")
    disk = tiny.image.read_bytes()
    with nginx(root, tmp_path / "nginx") as url, running_registry(tmp_path / "registry") as registry:
        pushed = registry.push("org/tiny", "1", disk, kind=QCOW2_LAYER)
        sources = {
            "http": f'image-url "{url}/tiny.qcow2.zst" checksum-url="{url}/SHA512SUMS"',
            "oci": f'image-url "{registry.reference}/org/tiny:1@{pushed}"',
        }
        vmctl.write("".join(tiny.vm(name, image=source) for name, source in sources.items()))
        up = vmctl("up")
    assert up.stdout == "http: created, started, ready\noci: created, started, ready\n"
    digests = {"http": f"sha512:{digest}", "oci": digest_of(disk)}
    for name in sources:
        assert f"{name}: downloaded the image (" in up.stderr
        assert vmctl("ssh", name, "--", "id -un").stdout == "root\n"
        base = vmctl.record(name)["base_image"]
        assert base["digest"] == digests[name]
        assert Path(base["path"]).read_bytes() == disk
    listed = vmctl("image", "list", "--json").json["images"]
    assert {one["digest"]: one["used_by"] for one in listed} == {digests[name]: [name] for name in sources}
