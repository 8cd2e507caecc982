"""Whole VMFiles: the language's own sample in both versions of KDL, what vm-manager's users write, and many mistakes at once."""

from __future__ import annotations

import gc
import re
import time
from pathlib import Path

import pytest

from unit.vmfile.bullets import HOST
from unit.vmfile.vmfiles import loaded, problems, write
from vm_manager.diagnostics.errors import VmFileInvalid
from vm_manager.domain.network import Network, NetworkMode
from vm_manager.domain.spec import CloudInit, ImageSource, ProvisionerKind, SshAccess, VmSpec
from vm_manager.vmfile.grammar import Entry
from vm_manager.vmfile.language import VM
from vm_manager.vmfile.load import load

_GIB = 1024**3
_EXAMPLE = Path(__file__).parents[3] / "VMFile.kdl.example"

#: Every construct of the language.
_SAMPLE = """\
vm "web" {
    image "disk.qcow2"                        // a comment
    arch "x86_64"
    vcpus 2
    memory 2048
    disk 20
    firmware "uefi"
    accel "auto"
    cpu "max"
    boot-timeout 900
    depends-on "db"
    depends-on "cache" "mail"
    network "user" isolated=#true {
        forward host=8080 guest=80
        forward host=5353 guest=53 protocol="udp" address="127.0.0.1"
    }
    drive "data" size=10
    mount "src" "/srv/src" read-only=#true
    cloud-init {
        hostname "web"
        ssh-key "id.pub"
        network-config "net.yaml"
        on-error "fail"
    }
    ssh {
        user "debian"
        private-key "id"
        port 22
    }
    provision "shell" { inline "sudo apt-get install -y nginx" }
    provision "shell" { script "setup.sh"; env "MODE" "dev"; env "LEVEL" ""; run "once" }
    provision "file"  { source "nginx.conf"; destination "/etc/nginx/nginx.conf"; mode "0644"; owner "root:root" }
}
vm "db" {
    image-url "https://example.org/debian.qcow2" sha512="DIGEST"
    network "tap" { bridge "br0" }
    network "tap" bridge="br1" mac="52:54:00:12:34:56"
}
vm "cache" { image-url "oci://ghcr.io/org/image:tag"; cloud-init { user-data "user-data.yaml" } }
vm "mail" { image-url "https://example.org/a" checksum-url="https://example.org/SHA512SUMS"; network "none"; memory "2GiB" }
""".replace("DIGEST", "0123456789abcdef" * 8)


def _kdl_1(text: str) -> str:
    """The same document in KDL 1: a node ends before a brace, and #true is true."""
    return re.sub(r"(?<=[^\s{;])( *)\}", r";\1}", text.replace("#true", "true"))


def _prepare(directory: Path) -> None:
    (directory / "src").mkdir()
    (directory / "net.yaml").write_text("version: 2\n")


@pytest.mark.parametrize("head", ["", "/- kdl-version 2\n", "/- kdl-version 1\n"], ids=["none", "2", "1"])
def test_every_construct_is_accepted_in_both_versions_of_kdl(tmp_path: Path, head: str) -> None:
    _prepare(tmp_path)
    text = head + (_kdl_1(_SAMPLE) if "1" in head else _SAMPLE)
    project = load(write(tmp_path, text), directory=tmp_path, platform=HOST)
    assert project.warnings == ()
    web, db, cache, mail = project.specs
    assert (web.vcpus, web.memory_mib, web.disk_bytes, web.boot_timeout_s) == (2, 2048, 20 * _GIB, 900)
    assert web.ssh == SshAccess(user="debian", private_key=f"{tmp_path}/id", port=22)
    assert (web.isolated, db.isolated) == (True, False)
    assert [step.kind for step in web.provisioners] == ["shell", "shell", "file"]
    assert (db.image.url, mail.networks, mail.memory_mib) == ("https://example.org/debian.qcow2", (), 2048)
    assert db.networks == (
        Network(mode=NetworkMode.TAP, bridge="br0"),
        Network(mode=NetworkMode.TAP, bridge="br1", mac="52:54:00:12:34:56"),
    )
    assert cache.cloud_init == CloudInit(hostname="cache", user_data=f"{tmp_path}/user-data.yaml")


def test_without_a_marker_the_same_in_kdl_1_is_read_too(tmp_path: Path) -> None:
    _prepare(tmp_path)
    text = _kdl_1(_SAMPLE)
    assert "=true" in text
    assert len(loaded(tmp_path, text).specs) == 4


def test_all_that_cannot_run_yet_is_refused_at_once_for_the_selected_vms_only(tmp_path: Path) -> None:
    _prepare(tmp_path)
    vnics = 'vm "zone" { image "disk.qcow2"; network "vnic" name="v0"; network "vnic" name="v1"; }'
    project = loaded(tmp_path, f"{_SAMPLE}\n{vnics}\n")
    with pytest.raises(VmFileInvalid) as caught:
        project.require_runnable(["web", "zone"])
    found = [caught.value.diagnostic, *caught.value.diagnostic.related]
    assert all(one.message.endswith(" is not supported yet") for one in found)
    marked = [one.labels[0].source.text[one.labels[0].span.start : one.labels[0].span.end] for one in found]
    assert marked == ['"vnic"', '"vnic"']
    project.require_runnable(["web", "db", "cache", "mail"])


@pytest.mark.parametrize(
    ("body", "marked"),
    [
        ('network "user"\nnetwork "vnic" name="v1"', '"vnic"'),
        ('network "vnic" name="v0"', '"vnic"'),
    ],
)
def test_a_word_that_cannot_run_yet_is_refused_where_it_stands(tmp_path: Path, body: str, marked: str) -> None:
    project = loaded(tmp_path, f'vm "web" {{ image "disk.qcow2"\n{body}\n}}')
    with pytest.raises(VmFileInvalid) as caught:
        project.require_runnable([])
    (label,) = caught.value.diagnostic.labels
    assert label.source.text[label.span.start : label.span.end] == marked


@pytest.mark.parametrize("body", ['firmware "bios"', 'cloud-init { on-error "warn" }', 'network "none"'])
def test_what_is_so_anyway_may_be_said(tmp_path: Path, body: str) -> None:
    loaded(tmp_path, f'vm "web" {{ image "disk.qcow2"\n{body}\n}}').require_runnable([])


def _names(entry: Entry) -> set[str]:
    return {entry.name, *(name for below in entry.entries for name in _names(below))}


def test_the_example_shows_every_word_of_the_language() -> None:
    shown = set(re.findall(r"[\w-]+", _EXAMPLE.read_text(encoding="utf-8")))
    assert _names(VM) - shown == set()


def test_the_example_is_right(tmp_path: Path) -> None:
    text = _EXAMPLE.read_text(encoding="utf-8")
    for name in ("images", "scripts", "keys", "src"):
        (tmp_path / name).mkdir()
    for name in ("images/debian-12.qcow2", "images/appliance.qcow2", "scripts/setup.sh"):
        (tmp_path / name).touch()
    (tmp_path / "keys" / "id_ed25519").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    (tmp_path / "keys" / "id_ed25519").chmod(0o600)
    (tmp_path / "keys" / "id_ed25519.pub").write_text("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 me@here\n")
    (tmp_path / "net.yaml").write_text("version: 2\n")
    (tmp_path / "cloud-config.yaml").write_text("#cloud-config\npackages: [nginx]\n")
    project = load(write(tmp_path, text), directory=tmp_path, platform=HOST)
    assert project.warnings == ()
    assert [spec.name for spec in project.specs] == ["web", "blank", "cache", "printer", "appliance", "db"]
    project.require_runnable([])


# What vm-manager documents, with the meaning that it documents


def test_a_vm_with_everything_that_vm_manager_documents(tmp_path: Path) -> None:
    text = """
vm "all" {
    image-url "https://example.org/noble.img"
    vcpus 4
    memory 4096
    disk 40
    network "user"
    cloud-init { hostname "all-of-it" }
    ssh { user "ubuntu" }
    provision "shell" { inline "make && make install" }
    provision "file" { source "nginx.conf"; destination "/home/ubuntu/.conf" }
    provision "shell" { script "setup.sh" }
}
vm "bridged" {
    image "disk.qcow2"
    network "tap" { bridge "br0" }
    cloud-init { hostname "other"; ssh-key "id.pub" }
    ssh { user "debian"; private-key "id" }
}
vm "least" { image-url "https://example.org/noble.img" }
"""
    everything, bridged, least = loaded(tmp_path, text).specs
    assert everything.image == ImageSource(url="https://example.org/noble.img")
    assert (everything.vcpus, everything.memory_mib, everything.disk_bytes) == (4, 4096, 40 * _GIB)
    assert (everything.networks, everything.hostname, everything.access.user) == (
        (Network(),),
        "all-of-it",
        "ubuntu",
    )
    assert [step.kind for step in everything.provisioners] == [
        ProvisionerKind.SHELL, ProvisionerKind.FILE, ProvisionerKind.SHELL
    ]  # fmt: skip
    assert bridged.networks == (Network(mode=NetworkMode.TAP, bridge="br0"),)
    assert (bridged.bridges, bridged.has_own_address, everything.has_own_address) == ({0: "br0"}, True, False)
    assert bridged.cloud_init == CloudInit(hostname="other", ssh_key=f"{tmp_path}/id.pub")
    assert least == VmSpec(name="least", image=ImageSource(url="https://example.org/noble.img"))
    assert not least.has_seed


def test_several_vms_keep_the_order_of_the_file(tmp_path: Path) -> None:
    text = "".join(
        f'vm "{name}" {{\n image-url "https://example.org/a.img"\n memory {memory}\n cloud-init {{\n hostname "{name}"\n }}\n}}\n'
        for name, memory in (("web", 2048), ("db", 4096))
    )
    assert [(spec.name, spec.memory_mib) for spec in loaded(tmp_path, text).specs] == [("web", 2048), ("db", 4096)]


def test_a_builder_with_scripts_and_an_archive(tmp_path: Path) -> None:
    (tmp_path / "src.tar.gz").touch()
    text = """
vm "omnios-builder" {
    image-url "https://example.org/omnios.cloud.qcow2"
    vcpus 4; memory 4096; disk 20
    cloud-init { hostname "omnios-builder" }
    ssh { user "smithy" }
    provision "shell" { script "setup.sh" }
    provision "file" { source "src.tar.gz"; destination "/tmp/src.tar.gz" }
    provision "shell" { script "setup.sh" }
}
"""
    (spec,) = loaded(tmp_path, text).specs
    assert [step.title for step in spec.provisioners] == [
        f"script {tmp_path}/setup.sh", "file /tmp/src.tar.gz", f"script {tmp_path}/setup.sh"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "url", ["https://example.org/a.qcow2", "https://example.org/a.raw.zst", "oci://ghcr.io/org/my-vm-image:latest"]
)
def test_images_come_from_the_same_places(tmp_path: Path, url: str) -> None:
    assert loaded(tmp_path, f'vm "a" {{ image-url "{url}" }}').specs[0].image == ImageSource(url=url)


def test_a_vnic_is_named_by_a_property(tmp_path: Path) -> None:
    (spec,) = loaded(tmp_path, 'vm "a" { image "disk.qcow2"; network "vnic" name="vnic0" }').specs
    assert [card.mode for card in spec.networks] == [NetworkMode.VNIC]


# Many mistakes

_TWELVE = """\
vm "web" {
    image "missing.qcow2"
    vcpus "four"
    memroy 2048
    accel "kmv"
    network "user" { forward host=8080 guest=80 }
    depends-on "dbs"
    cloud-init { ssh-key "id" }
    ssh { port 70000 }
    provision "shell" { inline "a"; script "setup.sh" }
    provision "file" { source "nginx.conf"; destination "etc/a" }
}
vm "../db" {
    image-url "ftp://example.org/a"
    network "user" { forward host=8080 guest=81 }
}
"""


def test_twelve_mistakes_are_twelve_diagnostics_in_the_order_of_the_file(tmp_path: Path) -> None:
    found = problems(tmp_path, _TWELVE)
    assert [
        (one.diagnostic.labels[0].source.position(one.diagnostic.labels[0].span.start), one.marked[0]) for one in found
    ] == [
        ((2, 11), '"missing.qcow2"'),
        ((3, 11), '"four"'),
        ((4, 5), "memroy"),
        ((5, 11), '"kmv"'),
        ((7, 16), '"dbs"'),
        ((8, 26), '"id"'),
        ((9, 16), "70000"),
        ((10, 37), "script"),
        ((11, 57), '"etc/a"'),
        ((13, 4), '"../db"'),
        ((14, 15), '"ftp://example.org/a"'),
        ((15, 30), "host=8080"),
    ]
    assert len(found) == 12


def test_a_misspelt_word_is_not_reported_as_missing_as_well(tmp_path: Path) -> None:
    for text in (
        'vm "web" { imgae "disk.qcow2" }',
        'vm "web" { imag-url "https://example.org/x" }',
        'vmm "web" { image "disk.qcow2" }',
        'vm "web" { image "disk.qcow2"; provision "shell" { inlien "x" } }',
        'vm "web" { image "disk.qcow2"; provision "file" { sorce "nginx.conf"; destination "/a" } }',
        'vm "web" { image "disk.qcow2"; provision "file" { source "nginx.conf"; dest "/a" } }',
        'vm "web" { image "disk.qcow2"; drive "a" sise=10 }',
        'vm "web" { image "disk.qcow2"; drive "a" { size 10 } }',
        'vm "web" { image 5 }',
    ):
        assert len(problems(tmp_path, text)) == 1, text


def test_an_unclosed_brace_is_blamed_where_it_was_opened(tmp_path: Path) -> None:
    lines = ['vm "web" {', '    image "disk.qcow2"', "    ssh {", *["    // more"] * 196, "}"]
    found = problems(tmp_path, "\n".join(lines))
    label = found[0].diagnostic.labels[0]
    assert label.source.position(label.span.start)[0] == 3


def test_three_syntax_errors_are_three_diagnostics(tmp_path: Path) -> None:
    found = problems(tmp_path, 'vm "web" {\n  vcpus 2x\n  memory "\\q"\n  image "disk.qcow2"\n  cpu #maybe\n}\n')
    assert [one.diagnostic.labels[0].source.position(one.diagnostic.labels[0].span.start)[0] for one in found] == [
        2,
        3,
        5,
    ]
    assert {one.code for one in found} == {"vm_manager::vmfile::parse_failed"}


# Large files


def _many(count: int) -> str:
    return (
        "".join(
            f'vm "vm-{i}" {{\n    image "disk.qcow2"\n    vcpus 2\n    memory "2GiB"\n    disk 20\n'
            f'    network "user" {{ forward host={2000 + i} guest=80 }}\n    depends-on "vm-{i + 1}"\n'
            f'    cloud-init {{ hostname "h{i}"; ssh-key "id.pub" }}\n    ssh {{ user "debian"; private-key "id" }}\n'
            '    provision "shell" { script "setup.sh"; env "A" "b" }\n}\n'
            for i in range(count)
        )
        + f'vm "vm-{count}" {{ image "disk.qcow2" }}\n'
    )


def _seconds(directory: Path, text: str) -> float:
    path = write(directory, text)
    times = []
    gc.disable()  # its passes go through all that pytest holds, too
    try:
        for _ in range(3):
            started = time.process_time()
            load(path, directory=directory, platform=HOST)
            times.append(time.process_time() - started)
    finally:
        gc.enable()
    return min(times)


def test_a_thousand_vms_are_checked_in_two_seconds_and_in_linear_time(tmp_path: Path) -> None:
    # On a busy machine in one of five tries.
    for _ in range(5):
        few, many = _seconds(tmp_path, _many(100)), _seconds(tmp_path, _many(1000))
        if many < 2 and many < 12 * few:
            return
    pytest.fail(f"100 VMs took {few:.2f} s, 1,000 took {many:.2f} s")


def test_a_cycle_through_a_thousand_vms_is_found(tmp_path: Path) -> None:
    text = "".join(f'vm "vm-{i}" {{ image "disk.qcow2"; depends-on "vm-{(i + 1) % 1000}" }}\n' for i in range(1000))
    (found,) = problems(tmp_path, text)
    assert len(found.diagnostic.labels) == 1000


def test_a_thousand_unknown_names_take_no_long_time(tmp_path: Path) -> None:
    text = "".join(f'vm "machine-{i}" {{ image "disk.qcow2"; depends-on "mahcine-{i}" }}\n' for i in range(1000))
    started = time.process_time()
    found = problems(tmp_path, text)
    assert len(found) == 101
    assert found[-1].message == "900 more problems are not shown"
    assert time.process_time() - started < 5
