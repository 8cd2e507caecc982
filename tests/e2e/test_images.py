"""A Debian guest from an image that is fetched."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from driver import Vmctl
from servers import nginx


def test_a_debian_guest_boots_from_a_compressed_image_over_http(
    vmctl: Vmctl, debian_image: Path, tmp_path: Path
) -> None:
    root = tmp_path / "www"
    root.mkdir()
    compressed = root / "debian.qcow2.zst"
    subprocess.run(["zstd", "-q", "-1", str(debian_image), "-o", str(compressed)], check=True)
    digest = hashlib.sha512(compressed.read_bytes()).hexdigest()
    (root / "SHA512SUMS").write_text(f"{'0' * 128}  other.qcow2\n{digest}  debian.qcow2.zst\n")
    with nginx(root, tmp_path / "nginx") as url:
        source = f'image-url "{url}/debian.qcow2.zst" checksum-url="{url}/SHA512SUMS"'
        vmctl.write(f'vm "web" {{\n    {source}\n    vcpus 2\n    ssh {{ user "me"; }}\n}}\n')
        up = vmctl("up")
        assert up.stdout == "web: created, started, ready\n"
        assert "web: fetched the image (" in up.stderr
    assert vmctl("ssh", "web", "--", "cloud-init", "status").stdout.strip() == "status: done"
    base = vmctl.record("web")["base_image"]
    assert base["digest"] == f"sha512:{digest}"
    assert Path(base["path"]).read_bytes() == debian_image.read_bytes()
    assert vmctl("image", "list", "--json").json["images"][0]["used_by"] == ["web"]
