"""What people write into a VM who know docker compose, Vagrant, Lima or cloud-init, and a VMFile says otherwise or not at all."""

from __future__ import annotations

_ADDRESS = 'for an address among VMs: network "private" name="…" address="10.5.0.2/24"; ports of this host: forward'
_INSTALL = 'install them in a step: provision { inline "sudo apt-get install -y …" }, or by `user-data`'

#: By the word, in which `_` counts as `-`.
ADVICE = {
    "name": 'a VM\'s name stands behind `vm`: vm "web" { … }',
    "restart": "leave it out: a VM runs until `vmctl down`; after a reboot of the host, `vmctl up` starts it",
    "autostart": "leave it out: after a reboot of the host, `vmctl up` starts the VMs",
    **dict.fromkeys(("ip", "ip-address", "ipv4-address", "private-network"), _ADDRESS),
    **dict.fromkeys(("packages", "package", "apt"), _INSTALL),
    "box": 'vmctl has no catalog: write image-url "https://…" with the URL of a cloud image, or image "disk.qcow2"',
    **dict.fromkeys(("build", "dockerfile"), 'vmctl builds no images: write image "disk.qcow2", and `provision` steps'),
}
