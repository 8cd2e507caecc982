"""Debian guests from images that are fetched: compressed, from a web server; and from a registry."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from driver import Vmctl
from oci_registry import QCOW2_LAYER, digest_of, running_registry
from servers import nginx


def test_debian_guests_boot_from_images_over_http_and_from_a_registry(
    vmctl: Vmctl, debian_image: Path, tmp_path: Path
) -> None:
    root = tmp_path / "www"
    root.mkdir()
    compressed = root / "debian.qcow2.zst"
    subprocess.run(["zstd", "-q", "-1", str(debian_image), "-o", str(compressed)], check=True)
    digest = hashlib.sha512(compressed.read_bytes()).hexdigest()
    (root / "SHA512SUMS").write_text(f"{'0' * 128}  other.qcow2\n{digest}  debian.qcow2.zst\n")
    disk = debian_image.read_bytes()
    with nginx(root, tmp_path / "nginx") as url, running_registry(tmp_path / "registry") as registry:
        pushed = registry.push("org/debian", "12", disk, kind=QCOW2_LAYER)
        sources = {
            "http": f'"{url}/debian.qcow2.zst" checksum-url="{url}/SHA512SUMS"',
            "oci": f'"{registry.reference}/org/debian:12@{pushed}"',
        }
        # Both at once: that takes little longer than one.
        vmctl.write(
            "".join(
                f'vm "{name}" {{\n    image-url {source}\n    vcpus 1\n    ssh {{ user "me" }}\n}}\n'
                for name, source in sources.items()
            )
        )
        up = vmctl("up")
    assert up.stdout == "http: created, started, ready\noci: created, started, ready\n"
    digests = {"http": f"sha512:{digest}", "oci": digest_of(disk)}
    for name in sources:
        assert f"{name}: fetched the image (" in up.stderr
        assert vmctl("ssh", name, "--", "cloud-init status; id -un").stdout == "status: done\nme\n"
        base = vmctl.record(name)["base_image"]
        assert base["digest"] == digests[name]
        assert Path(base["path"]).read_bytes() == disk
    listed = vmctl("image", "list", "--json").json["images"]
    assert {one["digest"]: one["used_by"] for one in listed} == {digests[name]: [name] for name in sources}
