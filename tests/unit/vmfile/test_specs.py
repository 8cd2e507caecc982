"""What a right VMFile means: defaults, units, paths, and where each thing stands."""

from __future__ import annotations

from pathlib import Path
from string import digits

import pytest

from unit.vmfile.vmfiles import IMAGE, loaded, vm_of
from vm_manager.diagnostics.errors import VmNotFound
from vm_manager.domain.network import Network
from vm_manager.domain.spec import (
    Accelerator,
    CloudInit,
    ImageSource,
    OnError,
    Provisioner,
    ProvisionerKind,
    SshAccess,
    VmSpec,
)
from vm_manager.vmfile.grammar import Entry
from vm_manager.vmfile.language import VM

_MIB = 1024**2
_GIB = 1024**3

_FULL = f"""
vm "web" {{
    {IMAGE}
    vcpus 2
    memory 2048
    disk 20
    accel "tcg"
    cpu "qemu64"
    boot-timeout 900
    network "user"
    cloud-init {{
        hostname "shop"
        ssh-key "id.pub"
        user-data "user-data.yaml"
        network-config "net.yaml"
        on-error "warn"
    }}
    ssh {{
        user "debian"
        private-key "id"
        port 2222
    }}
    provision "shell" {{ inline "echo hello" }}
    provision "shell" {{ script "setup.sh"; run "once"; env "MODE" "dev"; env "EMPTY" "" }}
    provision "file"  {{ source "nginx.conf"; destination "/etc/nginx.conf"; mode "0640"; owner "root:adm" }}
}}
"""


def test_everything_that_can_be_said(tmp_path: Path) -> None:
    (found,) = loaded(tmp_path, _FULL).specs
    assert found == VmSpec(
        name="web",
        image=ImageSource(path=f"{tmp_path}/disk.qcow2"),
        vcpus=2,
        memory_mib=2048,
        disk_bytes=20 * _GIB,
        accelerator=Accelerator.TCG,
        cpu="qemu64",
        boot_timeout_s=900,
        networks=(Network(),),
        cloud_init=CloudInit(
            hostname="shop", ssh_key=f"{tmp_path}/id.pub", user_data=f"{tmp_path}/user-data.yaml",
            network_config=f"{tmp_path}/net.yaml",
        ),
        ssh=SshAccess(user="debian", private_key=f"{tmp_path}/id", port=2222),
        provisioners=(
            Provisioner(kind=ProvisionerKind.SHELL, inline="echo hello"),
            Provisioner(
                kind=ProvisionerKind.SHELL, script=f"{tmp_path}/setup.sh", once=True, env=(("MODE", "dev"), ("EMPTY", "")),
            ),
            Provisioner(
                kind=ProvisionerKind.FILE, source=f"{tmp_path}/nginx.conf", destination="/etc/nginx.conf",
                mode=0o640, owner="root:adm",
            ),
        ),
    )  # fmt: skip
    # It changes nothing of the VM, so it takes no part in the comparison above.
    assert found.cloud_init
    assert found.cloud_init.on_error is OnError.WARN


def test_values_of_variables_are_hidden_in_what_is_quoted(tmp_path: Path) -> None:
    steps = 'provision "shell" { inline "a"; env "A" "s3cret"; env "B" #"""\n    s3\n    cret\n    """#; }'
    text = f'vm "web" {{ {IMAGE}\n{steps}\n}}\nvm "db" {{ {IMAGE} }}'
    project = loaded(tmp_path, text)
    assert "s3" not in project.source.text
    assert "cret" not in project.source.text
    assert len(project.source.text) == len(text)
    assert project.source.text.count("\n") == text.count("\n")
    assert project.source.text.endswith(f'vm "db" {{ {IMAGE} }}')


@pytest.mark.parametrize(("written", "mode"), [("644", 0o644), ("0644", 0o644), ("4755", 0o4755), ("04755", 0o4755)])
def test_modes_are_octal(tmp_path: Path, written: str, mode: int) -> None:
    step = f'provision "file" {{ source "nginx.conf"; destination "/a"; mode "{written}" }}'
    assert vm_of(tmp_path, step).provisioners[0].mode == mode


def test_a_directory_is_a_source_too(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    step = 'provision "file" { source "site"; destination "/srv/site" }'
    assert vm_of(tmp_path, step).provisioners[0].source == f"{tmp_path}/site"


def test_nothing_but_an_image_is_needed(tmp_path: Path) -> None:
    assert vm_of(tmp_path, "") == VmSpec(name="web", image=ImageSource(path=f"{tmp_path}/disk.qcow2"))


def test_empty_blocks_mean_their_defaults_and_a_seed(tmp_path: Path) -> None:
    found = vm_of(tmp_path, "cloud-init {}\nssh {}")
    assert found.cloud_init == CloudInit(hostname="web")
    assert found.ssh == SshAccess(user="vm", port=22)
    assert found.has_seed


def test_a_url_is_an_image_too(tmp_path: Path) -> None:
    (found,) = loaded(tmp_path, 'vm "web" { image-url "https://example.org/d.qcow2?x=1" }').specs
    assert found.image == ImageSource(url="https://example.org/d.qcow2?x=1")


def test_specs_know_where_they_stand(tmp_path: Path) -> None:
    project = loaded(tmp_path, _FULL)
    text, (found,) = project.source.text, project.specs
    spans = [found.span, *(step.span for step in found.provisioners)]
    assert [text[span.start : span.end] for span in spans if span] == [
        'vm "web"', 'provision "shell"', 'provision "shell"', 'provision "file"'
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("size", "mib"),
    [
        ("512", 512),
        ('"512MiB"', 512),
        ('"2GiB"', 2048),
        ('"2 GiB"', 2048),
        ('"1TiB"', 1024**2),
        ('"65536KiB"', 64),
        ('"2GB"', 1907),
        ('"512MB"', 488),
        ('"99999KB"', 95),
        ('"1TB"', 953674),
        ("0x200", 512),
    ],
)
def test_memory_is_in_mib_or_in_the_unit_that_is_written(tmp_path: Path, size: str, mib: int) -> None:
    assert vm_of(tmp_path, f"memory {size}").memory_mib == mib


@pytest.mark.parametrize(
    ("size", "size_bytes"),
    [
        ("20", 20 * _GIB),
        ('"20GiB"', 20 * _GIB),
        ('"512MiB"', 512 * _MIB),
        ('"20GB"', 20 * 10**9),
        ('"1TiB"', 1024 * _GIB),
    ],
)
def test_a_disk_is_in_gib_or_in_the_unit_that_is_written(tmp_path: Path, size: str, size_bytes: int) -> None:
    assert vm_of(tmp_path, f"disk {size}").disk_bytes == size_bytes


@pytest.mark.parametrize(
    ("line", "found"), [("vcpus 512", 512), ("vcpus 1", 1), ("memory 16", 16), ('memory "16TiB"', 16 * _MIB)]
)
def test_the_bounds_are_within(tmp_path: Path, line: str, found: int) -> None:
    spec = vm_of(tmp_path, line)
    assert found in (spec.vcpus, spec.memory_mib)


# Paths


def test_relative_paths_start_from_the_vmfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = vm_of(tmp_path, 'provision "shell" { script "./elsewhere/../setup.sh" }')
    assert found.provisioners[0].script == f"{tmp_path}/setup.sh"


def test_a_tilde_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert vm_of(tmp_path, 'ssh { private-key "~/id" }').access.private_key == f"{tmp_path}/id"


def test_an_absolute_path_stays_as_it_is(tmp_path: Path) -> None:
    assert vm_of(tmp_path, f'ssh {{ private-key "{tmp_path}/id" }}').access.private_key == f"{tmp_path}/id"


def test_raw_user_data_that_is_no_cloud_config_is_left_to_cloud_init(tmp_path: Path) -> None:
    (tmp_path / "script").write_bytes(b"#!/bin/sh\n: [}")
    (tmp_path / "packed").write_bytes(b"\x1f\x8b\x08\xff\xfe")
    for name in ("script", "packed"):
        found = vm_of(tmp_path, f'cloud-init {{ user-data "{name}" }}')
        assert found.cloud_init
        assert found.cloud_init.user_data == f"{tmp_path}/{name}"


# Several VMs


def test_vms_are_selected_by_name_in_the_order_of_the_file(tmp_path: Path) -> None:
    project = loaded(tmp_path, "".join(f'vm "{name}" {{ {IMAGE} }}\n' for name in ("web", "db", "mail")))
    assert [spec.name for spec in project.select(["mail", "web"])] == ["web", "mail"]
    assert [spec.name for spec in project.select([])] == ["web", "db", "mail"]


def test_a_name_that_the_file_does_not_define_is_not_found(tmp_path: Path) -> None:
    project = loaded(tmp_path, "".join(f'vm "{name}" {{ {IMAGE} }}\n' for name in ("web", "db")))
    with pytest.raises(VmNotFound) as caught:
        project.select(["wbe"])
    assert caught.value.diagnostic.help == ("did you mean 'web'?",)
    with pytest.raises(VmNotFound) as caught:
        project.select(["mailserver"])
    assert caught.value.diagnostic.help == ("it defines web, db",)


def test_the_defaults_that_the_reference_names_are_those_that_hold(tmp_path: Path) -> None:
    plain = f'vm "web" {{ {IMAGE}; network "user"; cloud-init; ssh; provision "shell" {{ inline "true" }} }}'
    blocks = {entry.name: entry for entry in VM.entries}

    def written(block: Entry, *but: str) -> str:
        """The lines and properties of a block that say what holds without them."""
        given = [entry for entry in block.entries if entry.default.startswith(("#", '"', *digits))]
        return "; ".join(f"{entry.name} {entry.default}" for entry in given if entry.name not in but)

    said = f"""
        vm "web" {{
            {IMAGE}
            {written(VM, "network", "boot-timeout", "cpu", "firmware")}
            network {blocks["network"].default} isolated={blocks["network"].entries[1].default}
            cloud-init {{ {written(blocks["cloud-init"])} }}
            ssh {{ {written(blocks["ssh"])} }}
            provision "shell" {{ inline "true"; {written(blocks["provision"])} }}
        }}
    """
    for word in ("vcpus 1", "memory 1024", 'accel "auto"', 'user "vm"', "port 22", 'on-error "fail"', 'run "always"'):
        assert word in said
    assert loaded(tmp_path, said).specs == loaded(tmp_path, plain).specs
