"""Mistakes by the bullets of the language's rules, each in a VMFile of its own: what a golden diagnostic is kept of."""

from __future__ import annotations

from pathlib import Path

from unit.vmfile.vmfiles import IMAGE
from vm_manager.domain.capabilities import Capabilities, Feature
from vm_manager.domain.host_facts import HostFacts
from vm_manager.domain.network import NetworkMode
from vm_manager.domain.platform import Platform

#: A host of 8 CPUs and 16 GiB, with QEMU.
HOST = Platform(
    host=HostFacts(cpus=8, memory_mib=16384, lowest_port=1024),
    backend="qemu",
    capabilities=Capabilities(
        guests=True, networks=frozenset(NetworkMode) - {NetworkMode.VNIC}, mounts=True, features=frozenset(Feature)
    ),
)
#: The same with a backend that can do little.
POOR_HOST = Platform(
    host=HOST.host,
    backend="noop",
    capabilities=Capabilities(guests=False, networks=frozenset({NetworkMode.USER}), mounts=False, features=frozenset()),
)

_FILES = {
    "list.yaml": "#cloud-config\n- a\n",
    "bad.yaml": "#cloud-config\na: 1\nb: c: d\n",
    "typo.yaml": "#cloud-config\npackages: [nginx]\npasswrod: secret\nzzzzzz: 1\n",
    "bare.yaml": "packages: [nginx]\n",
    "cut.pub": "ssh-ed25519 AAAAC3NzaC1lZDI1 me@here\n",
    "windows.sh": "#!/bin/sh\r\ntrue\r\n",
    "windows.txt": "true\r\nfalse\r\n",
}


def write_files(directory: Path) -> None:
    """The files that these VMFiles name, beside the usual ones."""
    for name, text in _FILES.items():
        (directory / name).write_text(text)


def vm(body: str, name: str = "web") -> str:
    """A VMFile with one VM that has an image and these lines."""
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    return f'vm "{name}" {{\n    {IMAGE}\n{lines}}}\n'


def _bare(body: str) -> str:
    return f'vm "web" {{\n    {body}\n}}\n'


_DIGITS = "0123456789abcdef"
_SHA256, _SHA512 = _DIGITS * 4, _DIGITS * 8

BULLETS: dict[str, list[str]] = {
    "words": [
        vm("memroy 2"),
        vm('ssh { usr "x" }'),
        vm("ram 2048"),
        vm('image-uri "https://example.org/x"').replace(f"    {IMAGE}\n", ""),
        'vms "web" {}\n',
        vm('accel "kmv"'),
        vm('network "bridge"'),
        vm('mount "." "/srv" readonly=#true'),
        vm("vcpus 2 threads=4"),
        vm('ssh user="debian"'),
        vm('drive "data" { size 10 }'),
        vm('network "tap" { forward host=8080 guest=80 }'),
        vm('network "none" isolated=#true'),
        vm('provision "file" { source "nginx.conf"; destination "/a"; env "A" "b" }'),
        vm("vcpus 2\nvcpus 4"),
        vm('drive "data" size=1 size=2'),
        vm('network "tap" bridge="br0" { bridge "br1" }'),
        vm('drive "a" size=1\ndrive "a" size=2'),
        vm('mount "." "/srv"\nmount ".." "/srv"'),
        vm('network "none"\nnetwork "user"'),
    ],
    "values": [
        vm('vcpus "four"'),
        vm("vcpus 1.5"),
        vm("vcpus 0"),
        vm("vcpus -1"),
        vm("vcpus 4096"),
        vm('memory "2gib"'),
        vm('memory "1KiB"'),
        vm('memory "99999999GiB"'),
        vm("disk 0"),
        vm("boot-timeout 0"),
        vm("boot-timeout 86401"),
        vm("cpu 5"),
        vm('cpu ""'),
        vm('mount "." "/srv" read-only="yes"'),
        vm("memory (GiB)2"),
        vm("(MiB)memory 2048"),
        vm("vcpus"),
        vm("vcpus 2 4"),
        vm('mount "."'),
        vm('ssh "debian"'),
        vm("vcpus 2 {}"),
        vm('network "user" { forward 8080 host=8080 guest=80 }'),
        vm('network "user" mac="53:54:00:00:00:01"'),
        vm('network "tap" bridge="a bridge"'),
        vm('ssh { user "a b" }'),
        vm('cloud-init { hostname "a_b" }'),
        vm('drive "a_b" size=1'),
        vm('drive "data"'),
        vm('network "user" { forward host=8080 }'),
        vm('network "user" { forward host=8080 guest=80 protocol="sctp" }'),
        vm('network "user" { forward host=8080 guest=80 address="localhost" }'),
    ],
    "idioms": [
        vm('port "2222:22"'),
        vm('network "user" { forward "8080:80" }'),
        vm('network "user" { forward 8080 80 }'),
        vm('provision "shell" { inline "a"; env "FOO=bar" }'),
        vm('provision "shell" { inline "a"; env FOO="bar" }'),
        vm('volumes "./data:/data"'),
        vm('provision "apt-get update"'),
        vm('network "bridged"'),
        vm('restart "always"'),
    ],
    "units": [vm("memory 32"), vm("disk 20480"), vm('drive "data" size="20G"'), vm('memory "2048"')],
    "host": [vm("vcpus 9"), vm("memory 16385"), vm('cpu "pentium3"')],
    "vms": [
        "",
        f"vm {{ {IMAGE} }}\n",
        'vm "web"\n',
        vm("") + vm(""),
        *(vm("", name=name) for name in ("../x", "a/b", "a" * 64, "")),
    ],
    "images": [
        _bare("vcpus 2"),
        vm('image-url "https://example.org/x"'),
        _bare('image "images/missing.qcow2"'),
        _bare('image-url "ftp://example.org/x"'),
        _bare('image-url "example.org/x"'),
        _bare('image-url "oci://ghcr.io"'),
        _bare('image-url "oci://ghcr.io/Org/image"'),
        _bare('image-url "oci://me:s3cret@ghcr.io/image"'),
        _bare('image-url "oci://ghcr.io/image:one:two"'),
        _bare('image-url "oci://ghcr.io/image@sha256:0123"'),
        _bare('image-url "oci://my_host/image"'),
        _bare('image-url "http://example.org/x"'),
        _bare(f'image-url "https://example.org/x" sha256="{_SHA512}"'),
        _bare(f'image-url "https://example.org/x" sha512="{_SHA256}"'),
        _bare('image-url "https://example.org/x" checksum-url="SHA512SUMS"'),
    ],
    "provisioners": [
        vm('provision "shell" {}'),
        vm('provision "shell" { inline "a"; script "setup.sh" }'),
        vm('provision "file" { destination "/a" }'),
        vm('provision "file" { source "nginx.conf" }'),
        vm('provision "shell" { script "missing.sh" }'),
        vm('provision "file" { source "missing"; destination "/a" }'),
        vm('provision "file" { source "nginx.conf"; destination "etc/a" }'),
        vm('provision "file" { source "nginx.conf"; destination "/a"; mode "rw" }'),
        vm('provision "file" { source "nginx.conf"; destination "/a"; owner "a b" }'),
        vm('provision "shell" { inline "a"; env "A-B" "c" }'),
        vm('provision "shell" { inline "a"; run "never" }'),
        vm('provision "shell" { inline "a"; env "A" "1"; env "B" "2"; env "A" "3" }'),
        vm('provision "shell" { script "windows.sh" }'),
        vm('provision "shell" { script "windows.txt" }'),
        vm('cloud-init { user-data "windows.sh" }'),
    ],
    "keys": [
        vm('cloud-init { ssh-key "id.pub"; user-data "user-data.yaml" }'),
        vm('cloud-init { user-data "user-data.yaml" }\nprovision "shell" { inline "a" }'),
        vm('network "none"\nprovision "shell" { inline "a" }'),
        vm('cloud-init { ssh-key "missing.pub" }'),
        vm('cloud-init { ssh-key "cut.pub" }'),
        vm('cloud-init { ssh-key "id" }'),
        vm('ssh { private-key "id.pub" }'),
        vm('ssh { private-key "nginx.conf" }'),
    ],
    "ports": [
        vm('network "user" {\n    forward host=8080 guest=80\n    forward host=8080 guest=81\n}'),
        vm('network "user" { forward host=8080 guest=80 }')
        + vm('network "user" { forward host=8080 guest=80 address="0.0.0.0" }', name="db"),
        vm('network "user" { forward host=0 guest=80 }'),
        vm('network "user" { forward host=8080 guest=65536 }'),
        vm("ssh { port 65536 }"),
        vm('network "user" { forward host=80 guest=80 }'),
        vm('network "user" { forward host="atuo" guest=80 }'),
        vm('network "user"\nnetwork "user" { forward host="auto" guest=80 }'),
        vm('network "user" mac="52:54:00:00:00:01"') + vm('network "user" mac="52:54:00:00:00:01"', name="db"),
    ],
    "depends-on": [
        vm('depends-on "databse"') + vm("", name="database"),
        vm('depends-on "other"') + vm("", name="db"),
        vm('depends-on "web"'),
        vm('depends-on "db"') + vm('depends-on "mail" "cache"', name="db") + vm("", name="cache")
        + vm('depends-on "web"', name="mail"),
    ],
    "backends": [vm('network "vnic" name="vnic0"'), vm('mount "." "/srv"')],
    "user-data": [
        vm('cloud-init { user-data "bad.yaml" }'),
        vm('cloud-init { user-data "list.yaml" }'),
        vm('cloud-init { user-data "bare.yaml" }'),
        vm('cloud-init { user-data "typo.yaml" }'),
        vm('cloud-init { network-config "bad.yaml" }'),
        vm('cloud-init { network-config "missing.yaml" }'),
        vm('mount "missing" "/srv"'),
        vm('mount "/proc" "/srv"'),
        vm('mount "/" "/srv"'),
        vm('mount "." "/"'),
        vm('mount "." "/usr/"'),
        vm('mount "." "/srv/a"\nmount ".." "//srv/./a/"'),
    ],
}  # fmt: skip
