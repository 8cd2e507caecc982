"""A Debian guest from an image in a registry."""

from __future__ import annotations

import json
from pathlib import Path

from driver import Vmctl
from oci_registry import QCOW2_LAYER, digest_of, running_registry


def test_a_debian_guest_boots_from_an_image_in_a_registry(vmctl: Vmctl, debian_image: Path, tmp_path: Path) -> None:
    disk = debian_image.read_bytes()
    with running_registry(tmp_path / "registry") as registry:
        digest = registry.push("org/debian", "12", disk, kind=QCOW2_LAYER)
        image = f"{registry.reference}/org/debian:12@{digest}"
        vmctl.write(f'vm "web" {{\n    image-url "{image}"\n    vcpus 2\n    ssh {{ user "founder"; }}\n}}\n')
        vmctl("up")
    listed = json.loads(vmctl("image", "list", "--json").stdout)["images"]
    assert [(one["digest"], one["used_by"]) for one in listed] == [(digest_of(disk), ["web"])]
    assert vmctl("ssh", "web", "--", "cloud-init status; id -un").stdout == "status: done\nfounder\n"
